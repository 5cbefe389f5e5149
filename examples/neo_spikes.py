"""Answers of a trained RC-LSTM as Neo's spike trains; Elephant counts when they come."""

import quantities as pq
from elephant.conversion import BinnedSpikeTrain

from bridges.stream import SpikeStream
from bridges.targets import neo
from encoders import embedded_digits, encode_latency
from rc_snn import load

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
times = encode_latency(digits.images[::20], **net.encoder)
decision = net.decide(times)
sent = SpikeStream.from_decision(decision, net.n_steps, n_classes=10, dt_s=1e-3)

block = neo.to_block(sent)  # a Segment per digit, a SpikeTrain per class, for your own analysis
trains = [train for segment in block.segments for train in segment.spiketrains]
binned = BinnedSpikeTrain(trains, bin_size=sent.dt_s * pq.s, n_bins=sent.n_steps)
per_step = binned.to_array().sum(axis=0)
print(f"{len(trains)} trains; answers in each step: {per_step.tolist()}")
assert (per_step == sent.to_tensor().sum(dim=(1, 2)).numpy()).all()
assert sent.same_spikes(neo.from_block(block))
