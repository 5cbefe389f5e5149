"""Answers of a trained RC-LSTM drive neurons in PyNN: each answer makes its neuron spike."""

import numpy as np

from bridges.stream import SpikeStream
from bridges.targets import pynn
from bridges.targets.brian2 import interpreted
from encoders import embedded_digits, encode_latency
from rc_snn import load

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
times = encode_latency(digits.images[:20], **net.encoder)
decision = net.decide(times)
sent = SpikeStream.from_decision(decision, net.n_steps, n_classes=10, dt_s=1e-3)

sim = pynn.setup(sent.dt_s)  # or simulator="nest"
sources = sim.Population(len(sent) * 10, pynn.spike_source_array(sent, sim))
cells = sim.Population(len(sent) * 10, sim.IF_curr_exp(tau_refrac=50.0))  # ms
synapse = sim.StaticSynapse(weight=30.0, delay=1.0)  # nA, ms
sim.Projection(sources, cells, sim.OneToOneConnector(), synapse)
sources.record("spikes")
cells.record("spikes")
with interpreted():  # do without Brian2's compiler
    sim.run((sent.n_steps + 10) * 1.0)
back = pynn.from_population(sources, sent, sim)
fired = np.array([len(train) for train in cells.get_data("spikes").segments[0].spiketrains])
print(f"{cells.size} neurons; {sent.n_spikes} spikes sent, {back.n_spikes} back")
assert sent.same_spikes(back)
assert np.flatnonzero(fired).tolist() == (sent.sample_ids * 10 + sent.units).tolist()
