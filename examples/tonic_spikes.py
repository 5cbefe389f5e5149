"""Digits as a tonic data set: a trained RC-LSTM answers from the batches of tonic's loader."""

from tonic.collation import PadTensors
from torch.utils.data import DataLoader

from bridges.stream import SpikeStream
from bridges.targets import tonic
from encoders import embedded_digits, encode_latency
from rc_snn import SpikeSequences, load, spike_frames, spike_steps, steps_from_frames

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
times = encode_latency(digits.images[::20], **net.encoder)
steps = spike_steps(times, net.n_steps)
z = spike_frames(steps.view(-1, 1, 28, 28), net.n_steps)  # time, batch, polarity, height, width
stream = SpikeStream.from_tensor(z, dt_s=1e-3)

data = tonic.event_data(stream, digits.labels[::20], transform=tonic.to_frame(stream))
loader = DataLoader(data, batch_size=25, collate_fn=PadTensors(batch_first=False))
right = 0
for frames, label in loader:  # frames as snnTorch, norse and torch's LSTM take them
    steps = steps_from_frames(frames.flatten(start_dim=2))
    decision = net.decide(SpikeSequences(steps, net.n_steps))
    right += int((decision.label == label).sum())
print(f"{len(data)} recordings of {stream.n_spikes} events, {right} digits right")
assert right == int((net.decide(times).label == digits.labels[::20]).sum())
assert stream.same_spikes(tonic.round_trip(stream))
