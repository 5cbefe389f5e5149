"""Answers of a trained RC-LSTM drive neurons in NEST, which repeat each at its tick."""

import nest

from bridges.stream import SpikeStream
from bridges.targets import nest as to_nest
from encoders import embedded_digits, encode_latency
from rc_snn import load

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
times = encode_latency(digits.images[:50], **net.encoder)
decision = net.decide(times)
sent = SpikeStream.from_decision(decision, net.n_steps, n_classes=10, dt_s=1e-3)

nest.verbosity = nest.VerbosityLevel.ERROR
nest.resolution = to_nest.resolution_ms(sent.dt_s)
generators = to_nest.spike_generators(sent)  # a NodeCollection, for your own network
parrots, recorder = nest.Create("parrot_neuron", len(generators)), nest.Create("spike_recorder")
nest.Connect(generators, parrots, "one_to_one", {"delay": 1.0})  # ms: one tick
nest.Connect(parrots, recorder)
late = sent.shifted(1)
nest.Simulate(late.duration_s * 1e3)
back = to_nest.from_recorder(recorder, parrots, like=late)
print(f"{len(parrots)} neurons; {sent.n_spikes} spikes sent, {back.n_spikes} back, a tick later")
assert late.same_spikes(back)
