"""Digits as AEDAT4 recordings, which iniVation's software plays; an RC-LSTM answers from them."""

import tempfile
from pathlib import Path

from bridges.stream import SpikeStream
from bridges.targets import aedat4
from encoders import embedded_digits, encode_latency
from rc_snn import SpikeSequences, load, spike_frames, spike_steps, steps_from_frames

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
steps = spike_steps(encode_latency(digits.images[::20], **net.encoder), net.n_steps)
z = spike_frames(steps.view(-1, 1, 28, 28), net.n_steps)  # time, batch, polarity, height, width
sent = SpikeStream.from_tensor(z, dt_s=1e-3)

with tempfile.TemporaryDirectory() as folder:
    path = aedat4.export(sent, Path(folder, "digits.aedat4"))  # a file for each digit
    first = aedat4.read_events(next(iter(sorted(path.iterdir()))), (28, 28, 1))
    back = aedat4.from_files(path, (28, 28, 1), duration_us=net.n_steps * 1000, dt_s=1e-3)
steps = steps_from_frames(back.to_tensor().flatten(start_dim=2))
decision = net.decide(SpikeSequences(steps, net.n_steps))
right = int((decision.label == digits.labels[::20]).sum())
print(f"{len(back)} files, {len(first)} events in the first; {right} digits right")
assert sent.same_spikes(back)
