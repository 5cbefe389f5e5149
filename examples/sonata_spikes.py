"""Latency-coded digits as a SONATA spike file, read by libsonata."""

import tempfile
from dataclasses import replace
from pathlib import Path

import libsonata

from bridges.stream import SpikeStream
from bridges.targets import sonata
from encoders import embedded_digits, encode_latency

digits = embedded_digits().test
times = encode_latency(digits.images[::50], zero_pixels="silent")
sent = SpikeStream.from_times(times, steps_per_frame=255, dt_s=1e-3)  # a grey level per tick
sent = replace(sent, samples={"label": digits.labels[::50].numpy()})

with tempfile.TemporaryDirectory() as folder:
    path = sonata.export(sent, Path(folder, "digits.h5"))
    digit = libsonata.SpikeReader(str(path))["sample_07"]  # a population, for your own analysis
    spikes = digit.get(tstop=50.0)  # ms
    back = sonata.from_file(path)
print(f"Sample 7, a {back.samples['label'][7]}: {len(spikes)} pixels spike within 50 ms")
assert sent.same_spikes(back)
assert len(spikes) == (sent.take([7]).ticks <= 50).sum()
