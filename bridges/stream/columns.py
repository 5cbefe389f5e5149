"""Spikes of tensors, times, decisions and events as columns: a sample, a tick, a unit for each.

Each function says what it takes, in which unit, order, range and shape; it converts exactly, or
refuses. `SpikeStream` has a method for each.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from bridges.errors import BridgeError
from bridges.stream.clock import tick_length
from bridges.stream.grid import Array
from encoders.events import event_columns
from rc_snn.borders.numbers import count, flags, plain, polarities, tensor, whole
from rc_snn.spikes import Decision, check_times

Column: TypeAlias = Int64[np.ndarray, " spikes"]
SensorSize: TypeAlias = tuple[int, int, int]
"""Width, height, polarities, as tonic has it."""

CELLS = 1 << 22
"""Cells of a spike tensor that are searched at once, so that memory goes with the spikes."""
DECISION = ("label", "time", "step", "fired", "scores")
_FIELDS = ("p", "y", "x", "t")


class Columns(NamedTuple):
    """Spikes, in any order."""

    sample: Column
    ticks: Column
    units: Column


def joined(parts: Sequence[Array]) -> Array:
    """Return arrays one after the other; none make an empty one."""
    return np.concatenate([np.zeros(0, np.int64), *parts])


def as_tensor(x: Any, what: str) -> Tensor:
    """Return a tensor without its gradient, dense, on its device; or an array as a tensor."""
    z = tensor(x, what).detach()
    return z if z.layout == torch.strided else z.to_dense()


def of_counts(counts: Any, what: str, most: int | None = None) -> tuple[Columns, tuple[int, ...]]:
    """Read how often each unit spikes in each step, `[sample, step, units…]`.

    Args:
        counts: whole numbers of any type, a tensor or an array, with a gradient or not.
        what: they are, for the message.
        most: spikes per unit and step.

    Returns:
        The spikes, sorted; and the shape that the counts have.

    Raises:
        TypeError: if they are no numbers.
        ValueError: if one is no count, or larger, or there are less than three axes.

    Example:
        >>> of_counts([[[0, 2]]], "Counts")[0].units.tolist()
        [1, 1]
    """
    z = as_tensor(counts, what)
    if z.dim() < 3:
        raise ValueError(
            f"{what} must have axes for samples, steps and units, got {list(z.shape)}. Of one "
            "sample, or one unit, give the axis of length 1: unsqueeze."
        )
    shape = tuple(z.shape)
    flat = z.reshape(*shape[:2], math.prod(shape[2:]))
    n = max(1, CELLS // max(1, math.prod(shape[1:])))
    found = []
    for i, some in enumerate(flat.split(n)):
        where = (some != 0).nonzero().unbind(1)  # where NaN is, too
        values = some[where]
        if not (values == 1).all():  # as they are nearly always
            often = whole(values, what, 0, most)
            where = tuple(column.repeat_interleave(often) for column in where)
        sample, tick, unit = (column.cpu().numpy() for column in where)
        found.append(Columns(sample + i * n, tick, unit))
    return Columns(*(joined(column) for column in zip(*found, strict=True))), shape


def of_times(
    times: Any, steps_per_frame: Any, frames: Any, off_grid: Literal["refuse", "floor"]
) -> tuple[Columns, tuple[int, int], int]:
    """Read spike times in frames; return spikes, samples and neurons, and ticks per sample.

    See `SpikeStream.from_times`.
    """
    steps_per_frame = count(steps_per_frame, "steps_per_frame", 1, 2**53)
    frames = count(frames, "frames", 1, 2**53)
    if off_grid not in ("refuse", "floor"):
        raise ValueError(f'off_grid must be "refuse" or "floor", got {off_grid!r}.')
    given = plain(times, "Spike times")
    if given.dtype.kind not in "iuf" or given.ndim != 2:
        raise (TypeError if given.dtype.kind not in "iuf" else ValueError)(
            f"Spike times must be numbers [batch, neuron], got {given.dtype} {list(given.shape)}."
        )
    n_steps, held = steps_per_frame * frames, given.astype(np.float64)
    check_times(torch.from_numpy(held / frames))
    eps = float(np.finfo(given.dtype if given.dtype.kind == "f" else np.float64).eps)
    if isinstance(times, Tensor) and times.is_floating_point():
        eps = torch.finfo(times.dtype).eps
    rounding = 4.0 * eps
    if rounding * n_steps >= 0.5:
        raise ValueError(
            f"Four roundings of these times, {rounding:.2g} of each, are half a tick of {n_steps}: "
            "they do not tell ticks apart. Compute the times in float64, or take fewer steps."
        )
    sample, unit = np.nonzero(np.isfinite(held))
    exact = held[sample, unit] * steps_per_frame
    ticks = np.floor(exact * (1.0 + rounding))
    off = (np.abs(exact - ticks) > rounding * exact) | (ticks >= n_steps)
    if off_grid == "refuse" and off.any():
        raise BridgeError(
            f"{int(off.sum())} spikes are on no tick of {steps_per_frame} per frame (first: "
            f"{given[sample, unit][off][0]} frames). Choose a finer grid, or pass "
            'off_grid="floor".'
        )
    at = np.minimum(ticks, n_steps - 1).astype(np.int64)
    return Columns(sample, at, unit), (given.shape[0], given.shape[1]), n_steps


def of_decision(
    decision: Decision, n_steps: Any, n_classes: Any, *, forced: Literal["silent", "spike"]
) -> tuple[Columns, dict[str, Array]]:
    """Return the answers as spikes, and the decision as arrays with one row per sample.

    See `SpikeStream.from_decision`.
    """
    if forced not in ("silent", "spike"):
        raise ValueError(f'forced must be "silent" or "spike", got {forced!r}.')
    if decision.step is None:
        raise BridgeError(
            "A decision in continuous time has no steps. Write the output's spike times with "
            'SpikeStream.from_times(times, steps_per_frame, dt_s, off_grid="floor").'
        )
    kept = {f"decision_{k}": plain(getattr(decision, k), f"decision.{k}") for k in DECISION}
    last = count(n_classes, "n_classes", low=1) - 1
    label = whole(kept["decision_label"], "Class indices", 0, last)
    step = whole(kept["decision_step"], "Decision steps", 0, count(n_steps, "n_steps", low=1) - 1)
    fired = flags(kept["decision_fired"], "fired")
    for name, read in (("label", label), ("step", step), ("fired", fired)):
        if kept[f"decision_{name}"].dtype.kind not in ("b" if name == "fired" else "iu"):
            kept[f"decision_{name}"] = read
    sample = np.flatnonzero(fired | (forced == "spike"))
    return Columns(sample, step[sample], label[sample]), kept


def of_events(
    recordings: Sequence[Array], sensor_size: SensorSize, duration_us: Any, dt_s: float
) -> tuple[Columns, tuple[int, ...], int]:
    """Return events of a camera as spikes, the units' shape, and the ticks of `duration_us`.

    See `SpikeStream.from_events`.
    """
    size = read_sensor(sensor_size)
    duration_us = count(duration_us, "duration_us", low=1)
    per_tick = tick_length(dt_s, "us")
    n_steps = math.ceil(duration_us / per_tick)
    columns = read_events(recordings, size)
    t = whole(columns["t"], f"t of {duration_us} µs", 0, duration_us - 1)
    if duration_us * per_tick.denominator >= 2**63:
        t = t.astype(object)  # Python's numbers, which do not wrap round
    ticks, rest = np.divmod(t * per_tick.denominator, per_tick.numerator)
    if off := int((rest != 0).sum()):
        raise BridgeError(
            f"{off} events are between two ticks of {dt_s} s. Choose a dt_s that divides their "
            "times; 1e-6 always does."
        )
    sample = np.repeat(np.arange(len(recordings)), [len(events) for events in recordings])
    shape = size[::-1]
    units = (
        np.ravel_multi_index(tuple(columns[k] for k in "pyx"), shape) if len(t) else columns["p"]
    )
    return Columns(sample, ticks.astype(np.int64), units), shape, n_steps


def read_sensor(sensor_size: SensorSize) -> SensorSize:
    """Return width, height and polarities of a sensor as Python's ints.

    Raises:
        TypeError: if they are no numbers.
        ValueError: if they are not three, not whole or too small.
    """
    sides = tuple(count(side, "A side of sensor_size", low=1) for side in sensor_size)
    if len(sides) != 3 or sides[2] > 2:
        raise ValueError(
            f"sensor_size must be (width, height, polarities), 1 or 2 of them, got {sensor_size}."
        )
    return sides[0], sides[1], sides[2]


def read_events(recordings: Sequence[Array], sensor_size: SensorSize) -> dict[str, Column]:
    """Return polarity, row, column and time (in µs) of all events, one recording after the other.

    Fields may be of any type that holds whole numbers; polarities say 0 and 1, or -1 and 1. Of a
    sensor of one polarity all are 0, whatever they say, if they say the same.

    Raises:
        BridgeError: if there is a polarity too many.
        TypeError: if a field holds no numbers.
        ValueError: if a recording is no events, or one is not whole, or outside the sensor.
    """
    columns: dict[str, list[Array]] = {name: [] for name in _FIELDS}
    for events in recordings:
        whole_sensor = (*sensor_size[:2], 2)  # a polarity too many is said, not dropped
        found = event_columns(events, whole_sensor)
        for name in _FIELDS:
            columns[name].append(found[name])
    joined_columns = {name: joined(parts) for name, parts in columns.items()}
    said = [np.asarray(events["p"], np.int64) for events in recordings]  # of one convention in all
    p = joined_columns["p"] = polarities(joined(said), "p")
    if sensor_size[2] == 1 and p.any():
        if not p.all():
            raise BridgeError(
                f"Both polarities are in these events; sensor_size {sensor_size} has one. Give "
                "it two, or choose one of them yourself: events[events['p'] == 1]."
            )
        joined_columns["p"] = np.zeros_like(p)
    return joined_columns
