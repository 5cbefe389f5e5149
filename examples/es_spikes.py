"""Answers of a trained RC-LSTM as Event Stream files, one pixel per class."""

import tempfile
from pathlib import Path

from bridges.stream import SpikeStream
from bridges.targets import es
from encoders import embedded_digits, encode_latency
from rc_snn import load

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
times = encode_latency(digits.images[::20], **net.encoder)
decision = net.decide(times)
sent = SpikeStream.from_decision(decision, net.n_steps, n_classes=10, dt_s=1e-3)

with tempfile.TemporaryDirectory() as folder:
    path = es.export(sent, Path(folder, "answers.es"))  # a file for each digit
    bytes_written = sum(file.stat().st_size for file in path.iterdir())
    back = es.from_files(path, (10, 1, 1), duration_us=net.n_steps * 1000, dt_s=1e-3)
print(f"{len(back)} files of {bytes_written} bytes in all; {back.n_spikes} answers came back")
assert sent.same_spikes(back)
