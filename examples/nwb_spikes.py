"""Answers of a trained RC-LSTM as an NWB file, and trial by trial in pynapple."""

import tempfile
from pathlib import Path

from bridges.stream import SpikeStream
from bridges.targets import nwb
from encoders import embedded_digits, encode_latency
from rc_snn import load

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
times = encode_latency(digits.images[::20], **net.encoder)
decision = net.decide(times)
sent = SpikeStream.from_decision(decision, net.n_steps, n_classes=10, dt_s=1e-3)

with tempfile.TemporaryDirectory() as folder:
    back = nwb.from_file(nwb.export(sent, Path(folder, "answers.nwb")))
group = nwb.to_tsgroup(back)  # a TsGroup, for your own analysis
counts = group.count(ep=group.time_support, bin_size=back.duration_s)  # trials × classes
print(f"{len(counts)} trials; how often each class was the answer: {counts.d.sum(axis=0).tolist()}")
assert sent.same_spikes(back)
assert (counts.d == sent.to_tensor().sum(dim=0).numpy()).all()
