"""Answers of a trained RC-LSTM go through Lava, in an environment of its own, and come back."""

import os

from bridges.stream import SpikeStream
from bridges.targets import lava
from encoders import embedded_digits, encode_latency
from rc_snn import load

if not os.environ.get(lava.TARGET.own_environment):
    print(f"Set {lava.TARGET.own_environment} to a Python 3.10 that has lava-nc.")
    raise SystemExit(0)

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
times = encode_latency(digits.images[:50], **net.encoder)
decision = net.decide(times)
sent = SpikeStream.from_decision(decision, net.n_steps, n_classes=10, dt_s=1e-3)

data = lava.ring_buffer_data(sent)  # np.save it, for a source.RingBuffer of your own
back = lava.round_trip(sent)  # what came out of Lava
print(f"{len(data)} neurons; {sent.n_spikes} spikes sent, {back.n_spikes} back")
assert sent.same_spikes(back)
