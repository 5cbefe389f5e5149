"""Rockpool: spikes as `TSEvent`s in seconds, and back from any of them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bridges.errors import BridgeError
from bridges.stream import script
from bridges.stream.clock import to_ticks
from bridges.stream.stream import SpikeStream
from bridges.target import Target, load

MOST_PER_TICK = 500
"""Spikes of a unit in one tick that `relay` still counts exactly."""

TARGET = Target(
    name="rockpool",
    title="Rockpool",
    row=50,
    kind="library",
    needs=("rockpool",),
    versions="rockpool 3.1.0",
    unit="s",
    repeats=True,
    per_tick=MOST_PER_TICK,
    samples="one TSEvent each",
    limits="spikes lie in the middle of their tick",
)


def ts_events(stream: SpikeStream) -> list[Any]:
    """Return one `TSEvent` per sample; each spike lies in the middle of its tick, in seconds.

    So does Rockpool's own `TSEvent.from_raster`. At the start of its tick a spike would be lost or
    early: `TSEvent.raster` floors time / dt, which for 137 of 2,000 ticks of 0.1 ms is one too
    small. The raster may have an empty row more than the sample has ticks (0.3 s / 0.1 s rounds up
    to 4): cut it, `series.raster(stream.dt_s)[: stream.n_steps]`.

    Example:
        >>> stream = SpikeStream.silent(1, 3, 10, 1e-3).with_spikes([0, 0], [0, 9], [2, 1])
        >>> series = ts_events(stream)[0]
        >>> series.times.round(6).tolist(), series.channels.tolist(), series.num_channels
        ([0.0005, 0.0095], [2, 1], 3)
    """
    event = load(TARGET, "rockpool.timeseries").TSEvent
    times = stream.times() + stream.dt_s / 2
    return [
        event(
            times[first:last],
            stream.units[first:last],
            t_start=0.0,
            t_stop=stream.duration_s,
            num_channels=stream.n_units,
        )
        for first, last in zip(stream.offsets[:-1], stream.offsets[1:], strict=True)
    ]


def from_ts_events(
    series: Sequence[Any], like: SpikeStream, *, spikes_at_bin_start: bool = False
) -> SpikeStream:
    """Return the spikes of one `TSEvent` per sample.

    Args:
        series: as many as `like` has samples, each starting at 0 s.
        like: the stream whose grid these spikes have.
        spikes_at_bin_start: whether times are the starts of ticks, as in the option of this name of
            `TSEvent.from_raster`, and not their middles.

    Raises:
        BridgeError: if a spike is on no tick, or a series does not start at 0 s.
        ValueError: if there are not as many series as samples, or a spike comes too late.

    Example:
        >>> stream = SpikeStream.silent(2, 3, 10, 1e-3).with_spikes([1, 1], [0, 9], [2, 1])
        >>> from_ts_events(ts_events(stream), stream).same_spikes(stream)
        True
    """
    for one in series:
        TARGET.holds(one, "a list of TSEvent", "t_start", "times", "channels", "num_channels")
    if len(series) != len(like):
        raise ValueError(f"There must be one series for each of {len(like)} samples.")
    if late := [s.t_start for s in series if not abs(s.t_start) < like.dt_s / 2]:
        raise BridgeError(
            f"A series starts at {late[0]} s; ticks count from 0. Move it: series.start_at(0.0)."
        )
    sample = np.repeat(np.arange(len(series)), [len(s.times) for s in series])
    times = np.concatenate([np.zeros(0), *(s.times for s in series)])
    units = np.concatenate([np.zeros(0, np.int64), *(s.channels for s in series)])
    n_units = max([1, *(s.num_channels for s in series)])
    middle = 0.0 if spikes_at_bin_start else like.dt_s / 2
    empty = SpikeStream.silent(len(like), n_units, like.n_steps, like.dt_s)
    return empty.with_spikes(sample, to_ticks(times - middle, like.dt_s), units)


def relay(n_units: int, dt_s: float) -> Any:
    r"""Return a layer that spikes whenever its input does: its output equals its input.

    .. math:: i' = e^{-20} (i + n), \quad v' = e^{-20} v + i', \quad
              \lfloor v' / \vartheta \rfloor = n, \quad \vartheta = e^{-20} (1 - 2^{-10})

    A `LIF` without memory: time constants of dt / 20 leave e^-20 of what a step brought, of which
    the threshold is a little less. Counts n up to 500 come out exactly: a surplus of n / 1,023 and
    what the step before left are less than one spike.

    Example:
        >>> relay(2, 1e-3)(np.array([[1.0, 0.0], [0.0, 3.0]]))[0].squeeze().tolist()
        [[1.0, 0.0], [0.0, 3.0]]
    """
    threshold = math.exp(-20.0) * (1.0 - 2.0**-10)
    tau_s = dt_s / 20.0
    lif = load(TARGET, "rockpool.nn.modules").LIF
    constants = {"tau_mem": tau_s, "tau_syn": tau_s, "threshold": threshold, "dt": dt_s}
    return lif(n_units, **constants, spiking_input=True)  # else it takes no TSEvent


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Run each sample's `TSEvent` through a `relay`, and return the `TSEvent`s that come out.

    Raises:
        BridgeError: if a unit spikes more than 500 times in one tick.
    """
    TARGET.admit(stream)
    timed = load(TARGET, "rockpool.nn.modules").TimedModuleWrapper
    back = []
    for series in ts_events(stream):
        layer = timed(relay(stream.n_units, stream.dt_s))
        back.append(layer(series, num_timesteps=stream.n_steps)[0])
    return from_ts_events(back, stream)


export = script.exporter(TARGET)
