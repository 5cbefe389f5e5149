"""Ticks to times and back: the only place where a tick becomes a float."""

from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int64, Shaped

from bridges.errors import BridgeError
from rc_snn.borders.numbers import THOUSANDTH, finite, plain, whole

Unit: TypeAlias = Literal["s", "ms", "us"]

LONGEST = 2**41
"""Ticks. Writing a time, taking it from another start, reading dt and dividing by it round once
each, by 2^-53 of the time: up to here, less than the thousandth of a tick `to_ticks` allows."""
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


def read_dt(dt_s: Any) -> float:
    """Return seconds per tick as a float, of a number of Python's or numpy's.

    One of less precision is read as the decimal fraction that it prints as, as all are: that of
    `np.float32(1e-3)` is 0.001, and a tick's.

    Raises:
        TypeError: if it is no number, or one with a unit, which nobody would look at.
        ValueError: if it is not positive and finite.

    Example:
        >>> read_dt(np.float32(1e-3)), float(np.float32(1e-3))
        (0.001, 0.0010000000474974513)
    """
    number = dt_s[()] if type(dt_s) is np.ndarray and dt_s.ndim == 0 else dt_s
    if isinstance(number, np.floating):
        number = float(str(number))
    if not isinstance(number, int | float | np.integer) or isinstance(number, bool):
        raise TypeError(f"dt_s must be a number of seconds per tick, got {dt_s!r}.")
    if not 0.0 < number < 1e300:  # an int may be larger than any float
        raise ValueError(f"dt_s must be positive and finite seconds, got {dt_s}.")
    return float(number)


def tick_length(dt_s: float, unit: Unit = "s") -> Fraction:
    """Return a tick as the decimal fraction that dt prints as, in a unit of time.

    Example:
        >>> tick_length(0.1, "ms")
        Fraction(100, 1)
    """
    if unit not in _PER_SECOND:
        raise ValueError(f"Times are in one of {', '.join(_PER_SECOND)}, got {unit!r}.")
    return Fraction(repr(read_dt(dt_s))) * _PER_SECOND[unit]


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
    ticks: Shaped[np.ndarray, "*shape"], dt_s: float, unit: Unit = "s"
) -> Float[np.ndarray, "*shape"]:
    """Return ticks as float64 times, each the closest to `tick * dt` with dt as it is written.

    `tick * 0.0001` in floats is often one rounding off, and programs that floor then lose a step;
    `tick / 10000` is not. So dt is read as the decimal fraction that it prints as.

    Example:
        >>> 3 * 0.1, seconds(np.array([3]), 0.1)[0]
        (0.30000000000000004, np.float64(0.3))
    """
    dt = tick_length(dt_s, unit)
    if ticks.dtype != np.int64:  # of which smaller ones would wrap round
        ticks = whole(ticks, "Ticks")
    if (ticks.size and int(np.abs(ticks).max()) * dt.numerator >= 2**53) or dt.denominator >= 2**53:
        return np.asarray(ticks * float(dt), np.float64)
    return np.asarray(ticks * dt.numerator / dt.denominator, np.float64)


def to_ticks(
    times: Shaped[np.ndarray, " spikes"], dt_s: float, unit: Unit = "s"
) -> Int64[np.ndarray, " spikes"]:
    """Return the tick of each time; the inverse of `seconds`.

    Args:
        times: numbers in this unit, since the start.
        dt_s: seconds per tick.
        unit: of the times.

    Raises:
        BridgeError: if a time misses its tick by more than a thousandth of it, or is too late to
            have one.
        TypeError: if they are no plain numbers.

    Example:
        >>> to_ticks(np.array([0.3, 0.30000000000000004]), 0.1).tolist()
        [3, 3]
    """
    times = plain(times, "Times")
    if times.dtype.kind != "f":
        times = finite(times, "Times")
    exact = times.astype(np.float64) / float(tick_length(dt_s, unit))
    with np.errstate(invalid="ignore"):
        ticks = np.rint(exact)
        off = ~(np.abs(exact - ticks) <= THOUSANDTH)
    if off.any():
        raise BridgeError(
            f"{int(off.sum())} times are on no tick of {dt_s} s (first: {times[off][0]} {unit}). "
            "Was the target run with another dt?"
        )
    if (late := np.abs(ticks) >= 2**53).any():  # where every float64 is whole
        raise BridgeError(
            f"{int(late.sum())} times are 2^53 ticks of {dt_s} s or more from their start (first: "
            f"{times[late][0]} {unit}), where float64 has no ticks. In which unit are they?"
        )
    return ticks.astype(np.int64)
