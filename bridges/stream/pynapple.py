"""pynapple: spikes as a `TsGroup`, with the time support that its guess would get wrong."""

from typing import Any

import numpy as np

from bridges.errors import BridgeError
from bridges.stream.clock import to_ticks
from bridges.stream.stream import SpikeStream
from bridges.stream.timeline import by_unit, cut, refuse_timeline, starts, stops
from bridges.target import load
from bridges.targets.nwb import TARGET


def to_tsgroup(stream: SpikeStream) -> Any:
    """Return a pynapple `TsGroup`: one `Ts` per unit; its time support holds the samples.

    Samples follow each other, as in `bridges.targets.nwb`. Without a time support, pynapple takes
    the span from a unit's first spike to its last, which is empty for a unit that spikes once, as
    all do in a rank code; then it drops the spike, also when its `load_file` reads an NWB file. So
    read NWB files by `to_tsgroup(bridges.targets.nwb.from_file(path))`.

    `group.count(bin_size=stream.duration_s)` counts each sample exactly. Bins of one tick are not
    exact, for spikes lie on their edges: `from_tsgroup(group, dt_s).to_tensor()` is.

    Raises:
        BridgeError: if the samples together are too long for float64 times.
        ImportError: if pynapple is not installed.

    Example:
        >>> stream = SpikeStream.silent(2, 3, 10, dt_s=1e-3).with_spikes([1], [4], [2])
        >>> group = to_tsgroup(stream)
        >>> len(group), group[2].times().tolist(), group.time_support.end.tolist()
        (3, [0.014], [0.0095, 0.0195])
        >>> from_tsgroup(group, dt_s=1e-3).same_spikes(stream)
        True
    """
    refuse_timeline(stream)
    nap = load(TARGET, "pynapple")
    support = nap.IntervalSet(starts(stream), stops(stream))
    times, ends = by_unit(stream)
    trains = np.split(times, ends[:-1])
    units = {unit: nap.Ts(train, time_support=support) for unit, train in enumerate(trains)}
    return nap.TsGroup(units, time_support=support)


def from_tsgroup(group: Any, dt_s: float) -> SpikeStream:
    """Return the spikes of a pynapple `TsGroup`; each interval of its time support is a sample.

    Its keys are the units, the largest of them the last unit. The intervals end half a tick before
    a whole number of ticks, as those of `to_tsgroup` do.

    Args:
        group: made by `to_tsgroup`, or by what you did with that.
        dt_s: seconds per tick.

    Raises:
        BridgeError: if a time is on no tick, or the intervals differ in length.
    """
    support = group.time_support
    start = np.asarray(support.start, np.float64)
    lengths = np.unique(to_ticks(np.asarray(support.end) - start + 0.5 * dt_s, dt_s))
    if len(lengths) != 1:
        raise BridgeError(f"Samples must have one length, got {lengths.tolist()} ticks.")
    keys = [int(key) for key in group.keys()]
    trains = [np.asarray(group[key].times(), np.float64) for key in keys]
    like = SpikeStream.silent(len(start), max(keys) + 1, int(lengths[0]), dt_s)
    units = np.repeat(keys, [len(train) for train in trains])
    return cut(np.concatenate(trains), units, start, like)
