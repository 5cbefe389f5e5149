"""One clock for targets that hold float times: samples one after the other."""

import numpy as np
from jaxtyping import Float, Int

from bridges.errors import BridgeError
from bridges.stream.clock import seconds, to_ticks
from bridges.stream.stream import SpikeStream


def starts(stream: SpikeStream) -> Float[np.ndarray, " samples"]:
    """Return when each sample starts if they follow each other: sample i at i × duration, in s."""
    return seconds(np.arange(len(stream)) * stream.n_steps, stream.dt_s)


def stops(stream: SpikeStream) -> Float[np.ndarray, " samples"]:
    """Return when each sample ends, in s: half a tick before the next starts.

    Spikes are on ticks. So a reader that counts an interval's end as part of it finds the same
    spikes as one that does not, and no two intervals touch.
    """
    return seconds(np.arange(1, len(stream) + 1) * stream.n_steps, stream.dt_s) - 0.5 * stream.dt_s


def by_unit(
    stream: SpikeStream,
) -> tuple[Float[np.ndarray, " spikes"], Int[np.ndarray, " units"]]:
    """Return spike times on the samples' common timeline, in s, unit by unit, and where each ends.

    Example:
        >>> stream = SpikeStream.silent(2, 3, 10, 1e-3).with_spikes([0, 1, 1], [4, 0, 2], [2, 0, 2])
        >>> times, ends = by_unit(stream)
        >>> times.tolist(), ends.tolist()
        ([0.01, 0.004, 0.012], [1, 1, 3])
    """
    order = np.argsort(stream.units, kind="stable")  # the spikes of each unit stay in order
    ticks = stream.sample_ids * stream.n_steps + stream.ticks
    ends = np.searchsorted(stream.units[order], np.arange(1, stream.n_units + 1))
    return seconds(ticks[order], stream.dt_s), ends


def cut(
    times: Float[np.ndarray, " spikes"],
    units: Int[np.ndarray, " spikes"],
    start: Float[np.ndarray, " samples"],
    like: SpikeStream,
    stop: Float[np.ndarray, " samples"] | None = None,
) -> SpikeStream:
    """Return a stream like another, with spikes given by their times on the common timeline.

    A spike belongs to the last sample that starts no later than half a tick after it: starts and
    spikes of others may differ by a rounding. A sample's end is part of it.

    Args:
        times: in seconds, in any order.
        units: unit of each spike.
        start: when the samples start, in seconds.
        like: says the grid.
        stop: when the samples end, in seconds; NaN, or None: nobody knows.

    Raises:
        BridgeError: if the samples do not start one after the other, or overlap, a time is on no
            tick, or a spike is in no sample.
    """
    if not (np.isfinite(start).all() and (np.diff(start) > 0).all()):
        raise BridgeError("Samples must start one after the other. Sort the trials by start.")
    ends = np.full(len(start), np.inf) if stop is None else np.where(np.isnan(stop), np.inf, stop)
    known, half = np.isfinite(ends), 0.5 * like.dt_s
    overlapping = known[:-1] & (ends[:-1] > start[1:] + half)
    if overlapping.any():
        i = int(overlapping.argmax())
        raise BridgeError(
            f"Samples {i} and {i + 1} overlap: one ends at {ends[i]} s, the other starts at "
            f"{start[i + 1]} s, and a spike between would be lost to one. Read them one by one."
        )
    sample = np.searchsorted(start - 0.5 * like.dt_s, times, side="right") - 1
    ticks = to_ticks(times - start[np.maximum(sample, 0)], like.dt_s)
    outside = (sample < 0) | (ticks >= like.n_steps)
    outside |= times > ends[np.maximum(sample, 0)] + half
    if outside.any():
        raise BridgeError(
            f"{int(outside.sum())} spikes are in no sample of {like.n_steps} ticks (first: "
            f"{times[outside][0]} s): before the first, between two, or too late for n_steps. Pass "
            "a larger n_steps, or drop them yourself."
        )
    return like.with_spikes(sample, ticks, units)
