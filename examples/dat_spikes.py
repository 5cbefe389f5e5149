"""Digits as .dat recordings, read by expelliarmus and framed by tonic for a trained RC-LSTM."""

import tempfile
from pathlib import Path

import torch
from expelliarmus import Wizard

from bridges.stream import SpikeStream
from bridges.targets import dat, tonic
from encoders import embedded_digits, encode_latency
from rc_snn import SpikeSequences, load, spike_frames, spike_steps, steps_from_frames

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
steps = spike_steps(encode_latency(digits.images[::20], **net.encoder), net.n_steps)
z = spike_frames(steps.view(-1, 1, 28, 28), net.n_steps)  # time, batch, polarity, height, width
sent = SpikeStream.from_tensor(z, dt_s=1e-3)

with tempfile.TemporaryDirectory() as folder:
    path = dat.export(sent, Path(folder, "digits.dat"))  # a file for each digit
    recordings = [Wizard("dat").read(file) for file in sorted(path.iterdir())]
    assert sent.same_spikes(dat.from_files(path, (28, 28, 1), net.n_steps * 1000, dt_s=1e-3))
frame = tonic.to_frame(sent)  # on the stream's clock: tonic's own starts at the first event
frames = torch.stack([torch.from_numpy(frame(events)) for events in recordings], dim=1)
steps = steps_from_frames(frames.float().flatten(start_dim=2))
decision = net.decide(SpikeSequences(steps, net.n_steps))
right = int((decision.label == digits.labels[::20]).sum())
print(f"{len(recordings)} files of {sent.n_spikes} events in all, {right} digits right")
assert torch.equal(frames.float(), z)
