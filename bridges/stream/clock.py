"""Ticks to times and back: the only place where a tick becomes a float."""

from fractions import Fraction
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int64

from bridges.errors import BridgeError

Unit: TypeAlias = Literal["s", "ms", "us"]

LONGEST = 2**41
"""Ticks. Writing a time, taking it from another start, reading dt and dividing by it round once
each, by 2^-53 of the time: up to here, less than the thousandth of a tick `to_ticks` allows."""
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}
_OFF_GRID = 1e-3
"""Share of a tick by which a time read back may miss its tick: rounding, not another time."""


def tick_length(dt_s: float, unit: Unit = "s") -> Fraction:
    """Return a tick as the decimal fraction that dt prints as, in a unit of time.

    Example:
        >>> tick_length(0.1, "ms")
        Fraction(100, 1)
    """
    return Fraction(repr(float(dt_s))) * _PER_SECOND[unit]


def tick_us(dt_s: float, target: str = "An event file") -> int:
    """Return a tick in microseconds, for targets that count them.

    Raises:
        BridgeError: if it is no whole number of microseconds.

    Example:
        >>> tick_us(5e-3)
        5000
    """
    length = tick_length(dt_s, "us")
    if length.denominator != 1:
        raise BridgeError(
            f"{target} counts whole microseconds; a tick of {dt_s} s is {float(length)} µs. Make "
            "the stream with a dt_s that is a multiple of 1e-6."
        )
    return length.numerator


def seconds(
    ticks: Int64[np.ndarray, "*shape"], dt_s: float, unit: Unit = "s"
) -> Float[np.ndarray, "*shape"]:
    """Return ticks as float64 times, each the closest to `tick * dt` with dt as it is written.

    `tick * 0.0001` in floats is often one rounding off, and programs that floor then lose a step;
    `tick / 10000` is not. So dt is read as the decimal fraction that it prints as.

    Example:
        >>> 3 * 0.1, seconds(np.array([3]), 0.1)[0]
        (0.30000000000000004, np.float64(0.3))
    """
    dt = tick_length(dt_s, unit)
    if (ticks.size and int(np.abs(ticks).max()) * dt.numerator >= 2**53) or dt.denominator >= 2**53:
        return np.asarray(ticks * float(dt), np.float64)
    return np.asarray(ticks * dt.numerator / dt.denominator, np.float64)


def to_ticks(
    times: Float[np.ndarray, " spikes"], dt_s: float, unit: Unit = "s"
) -> Int64[np.ndarray, " spikes"]:
    """Return the tick of each time; the inverse of `seconds`.

    Raises:
        BridgeError: if a time misses its tick by more than a thousandth of it.

    Example:
        >>> to_ticks(np.array([0.3, 0.30000000000000004]), 0.1).tolist()
        [3, 3]
    """
    exact = np.asarray(times, np.float64) / float(tick_length(dt_s, unit))
    ticks = np.rint(exact)
    off = ~(np.abs(exact - ticks) <= _OFF_GRID)
    if off.any():
        raise BridgeError(
            f"{int(off.sum())} times are on no tick of {dt_s} s (first: {times[off][0]} {unit}). "
            "Was the target run with another dt?"
        )
    return ticks.astype(np.int64)
