"""Samples one after the other on one float clock: every spike finds its sample and its tick."""

import numpy as np
import pytest

from bridges import support
from bridges.errors import BridgeError
from bridges.stream import clock, timeline
from bridges.stream.stream import SpikeStream


@pytest.mark.parametrize("dt_s", [1e-6, 1e-4, 5e-3, 0.1, 1 / 3, 1 / 30000, 0.7e-3])
def test_the_longest_timeline_keeps_its_last_ticks(dt_s):
    n, n_steps = 8, clock.LONGEST // 8
    at = np.concatenate([np.arange(50), n_steps - 1 - np.arange(50)])
    sent = SpikeStream.silent(n, 3, n_steps, dt_s).with_spikes(
        np.repeat(np.arange(n), 100), np.tile(at, n), np.arange(100 * n) % 3
    )
    times, ends = timeline.by_unit(sent)
    units = np.repeat(np.arange(3), np.diff(ends, prepend=0))
    assert timeline.cut(times, units, timeline.starts(sent), sent).same_spikes(sent)


def test_each_sample_ends_between_its_last_tick_and_the_next_start():
    stream = support.sample_stream()
    last = timeline.starts(stream) + (stream.n_steps - 1) * stream.dt_s
    stops = timeline.stops(stream)
    assert (last < stops).all()
    assert (stops[:-1] < timeline.starts(stream)[1:]).all()


def test_spikes_in_no_sample_are_refused():
    like = SpikeStream.silent(2, 1, 10, 1e-3)
    unit = np.zeros(1, int)
    for time in (-0.001, 0.010, 0.030):
        with pytest.raises(BridgeError, match="in no sample"):
            timeline.cut(np.array([time]), unit, np.array([0.0, 0.02]), like)
    with pytest.raises(BridgeError, match="one after the other"):
        timeline.cut(np.array([0.0]), unit, np.array([0.02, 0.0]), like)


def test_a_spike_one_rounding_before_its_trial_belongs_to_it():
    like = SpikeStream.silent(2, 1, 400, 1e-3)
    start = np.array([0.0, 0.1 + 0.2])
    assert 0.3 < start[1]
    assert timeline.cut(np.array([0.3]), np.zeros(1, int), start, like).of_sample(1)[0] == [0]
