"""A trained RC-LSTM in NIR: its read-out as a graph, hidden states, and answers as events."""

import tempfile
from pathlib import Path

import nir
import numpy as np

from bridges.networks import nir as nir_models
from bridges.stream import SpikeStream
from bridges.targets import nir as nir_bridge
from encoders import embedded_digits, encode_latency
from rc_snn import load

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
inputs = net.sequences(encode_latency(digits.images[:50], **net.encoder))
decision = net.decide(inputs)
sent = SpikeStream.from_decision(decision, net.n_steps, n_classes=10, dt_s=1e-3)

with tempfile.TemporaryDirectory() as folder:
    nir.write(Path(folder, "read_out.nir"), nir_models.read_out(net.model, net.theta))
    graph = nir.read(Path(folder, "read_out.nir"))
    back = nir_bridge.from_file(nir_bridge.export(sent, Path(folder, "answers.h5")), dt_s=1e-3)
states = nir_models.hidden_states(net.model, inputs, dt_s=1e-3)  # [sample, time, h and log Z]

log_p = states.data @ graph.nodes["log_p"].weight.T + graph.nodes["log_p"].bias
fired = (log_p > graph.nodes["decision"].threshold).any(axis=2)  # what a Threshold node does
print(f"graph {' -> '.join(graph.nodes)}: fires on {int(fired.any(axis=1).sum())} of 50 images")
assert np.array_equal(fired.any(axis=1), decision.fired.numpy())
assert sent.same_spikes(back)
