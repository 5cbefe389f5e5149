"""Streams that hypothesis draws."""

import numpy as np
from hypothesis import strategies as st

from bridges.stream.stream import SpikeStream

DTS = st.sampled_from([1e-4, 1e-3, 5e-3, 0.1])
STEPS = st.sampled_from([1, 2, 10, 1000])


@st.composite
def drawn_spikes(draw, *, once=False, twice=False):
    """Spikes anywhere, first and last step, ties, silence and empty samples included.

    They are made a stream outside the strategy: the tests' shape checks draw at random themselves.
    """
    n, n_units = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    n_steps, dt_s = draw(STEPS), draw(DTS)
    tick = st.one_of(st.sampled_from([0, n_steps - 1]), st.integers(0, n_steps - 1))
    cell = st.tuples(st.integers(0, n - 1), tick, st.integers(0, n_units - 1))
    key = None if twice else (lambda c: (c[0], c[2])) if once else (lambda c: c)
    cells = draw(st.lists(cell, max_size=24, unique_by=key))
    return (n, n_units, n_steps, dt_s), np.array(cells, dtype=np.int64).reshape(-1, 3).T


def stream_of(drawn) -> SpikeStream:
    grid, columns = drawn
    return SpikeStream.silent(*grid).with_spikes(*columns)
