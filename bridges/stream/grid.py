"""What a stream must be: its grid, the order of its spikes, and what it says of its samples."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from jaxtyping import Int32, Int64

from rc_snn.borders.numbers import count, plain

Array: TypeAlias = npt.NDArray[Any]


def read_grid(n_units: Any, n_steps: Any, shape: Sequence[Any]) -> tuple[int, int, tuple[int, ...]]:
    """Return units, ticks and axes as Python's ints, which files can hold.

    Raises:
        TypeError: if they are no numbers.
        ValueError: if they are not whole, too small or too large, or not of as many units.
    """
    n_units, n_steps = count(n_units, "n_units"), count(n_steps, "n_steps")
    shape = tuple(count(size, "A side of the shape") for size in shape) or (n_units,)
    if not 1 <= n_steps < 2**53 or not 1 <= n_units < 2**31 or math.prod(shape) != n_units:
        raise ValueError(
            "A stream needs n_steps >= 1, n_units in 1..2^31-1 and a shape of as many units, got "
            f"n_steps={n_steps}, n_units={n_units}, shape={shape}."
        )
    if min(shape) < 1:
        raise ValueError(f"A side of the shape must be at least 1, got {shape}.")
    return n_units, n_steps, shape


def read_rows(samples: Mapping[str, Any], n: int) -> dict[str, Array]:
    """Return what is said of the samples as arrays, one row for each.

    Raises:
        TypeError: if one has a unit or a mask, which would be lost.
        ValueError: if one has not as many rows.
    """
    rows = {}
    for name, held in samples.items():
        array = rows[name] = plain(held, f"samples[{name!r}]")
        if array.ndim == 0 or len(array) != n:
            raise ValueError(
                f"samples[{name!r}] must have one row for each of {n} samples, got "
                f"{len(array) if array.ndim else 'one value'}."
            )
    return rows


def check_array(name: str, array: Any, dtype: type) -> None:
    """Refuse what is no array of this type with one axis."""
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array)
        raise ValueError(f"{name} must be a {dtype.__name__} array with one axis, got {got}.")


def check_order(
    ticks: Int64[np.ndarray, " spikes"],
    units: Int32[np.ndarray, " others"],
    offsets: Int64[np.ndarray, " bounds"],
    n_steps: int,
    n_units: int,
) -> None:
    """Refuse spikes that are out of range, or not sorted by sample, tick and unit."""
    n = len(ticks)
    if len(offsets) == 1:
        raise ValueError("A stream needs at least one sample, got none. Was the choice empty?")
    if len(units) != n or len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != n:
        raise ValueError(
            f"offsets must begin with 0 and end with the number of spikes; got {n} ticks, "
            f"{len(units)} units and offsets {offsets[:1]}..{offsets[-1:]}."
        )
    if (offsets[1:] < offsets[:-1]).any():
        raise ValueError("offsets must not fall: samples come one after the other.")
    if n == 0:
        return
    for name, values, size in (("ticks", ticks, n_steps), ("units", units, n_units)):
        if values.min() < 0 or values.max() >= size:
            raise ValueError(
                f"{name} must be in 0..{size - 1}, got {values.min()}..{values.max()}. Is the grid "
                "that of the spikes?"
            )
    later = ticks[1:] > ticks[:-1]
    fine = later | ((ticks[1:] == ticks[:-1]) & (units[1:] >= units[:-1]))
    starts = offsets[1:-1]
    fine[starts[(starts > 0) & (starts < n)] - 1] = True  # a new sample may begin anywhere
    if not fine.all():
        raise ValueError(
            "Spikes must be sorted by tick, then unit, within each sample. SpikeStream.silent(...)"
            ".with_spikes(sample, ticks, units) sorts them."
        )
