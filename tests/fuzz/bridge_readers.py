"""Readers of bridges: streams, files of event cameras, SONATA, NWB, NIR."""

import numpy as np

from bridges.stream import SpikeStream
from bridges.stream import file as stream_file
from tests.fuzz.engine import Reader
from tests.fuzz.mutations import inside_zip


def stream() -> SpikeStream:
    """Return spikes of two samples, with labels and metadata."""
    empty = SpikeStream.silent(2, 12, 50, 1e-3)
    rng = np.random.default_rng(0)
    spikes = rng.integers(0, 2, 40), rng.integers(0, 50, 40), rng.integers(0, 12, 40)
    return empty.with_spikes(*spikes)


def _saved(suffix: str):
    return lambda folder: [stream_file.save(stream(), folder / f"spikes{suffix}")]


def _as_bytes(found: SpikeStream) -> tuple:
    arrays = (found.ticks, found.units, found.offsets)
    return (*(a.tobytes() for a in arrays), found.dt_s, found.n_units, found.n_steps, found.shape)


READERS = (
    Reader("stream-npz", _saved(".npz"), stream_file.load, _as_bytes, layers=(inside_zip,)),
    Reader("stream-h5", _saved(".h5"), stream_file.load, _as_bytes),
)
