"""Answers of a trained RC-LSTM drive Brian2, and come back tick for tick."""

from bridges.stream import SpikeStream
from bridges.targets import brian2
from encoders import embedded_digits, encode_latency
from rc_snn import load

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
times = encode_latency(digits.images[:50], **net.encoder)
decision = net.decide(times)
sent = SpikeStream.from_decision(decision, net.n_steps, n_classes=10, dt_s=1e-3)

group = brian2.spike_generator(sent)  # a SpikeGeneratorGroup, for your own network
back = brian2.round_trip(sent)  # what a SpikeMonitor records of it
print(f"{group.N} neurons; {sent.n_spikes} spikes sent, {back.n_spikes} back")
assert sent.same_spikes(back)
