"""Rasters of spikes, in every form that spikes have here."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rc_snn.borders.numbers import count, number, tensor
from rc_snn.plots.axes import Axes, label, on
from rc_snn.sequences import Sequences, SpikeSequences
from rc_snn.spikes import check_n_steps, check_steps

_PAINT = {"c", "color", "facecolor", "facecolors", "edgecolor", "edgecolors"}


class Points(NamedTuple):
    """Spikes of one sample: when, and of which unit; and how far both axes go, if that is known."""

    times: Tensor
    units: Tensor
    n_steps: int | None = None
    n_units: int | None = None
    clock: str = "step"


def raster(
    spikes: Any,
    *,
    sample: int = 0,
    n_steps: int | None = None,
    dt_s: float | None = None,
    rows: str = "unit",
    ax: Axes | None = None,
    **style: Any,
) -> Axes:
    """Draw the spikes of one sample: a mark for each, over time and unit.

    Args:
        spikes: `SpikeSequences`, a `SpikeStream`, or any other sequences (what is not zero is a
            spike); a spike tensor `[time, batch, unit]`; spike steps `[unit]` or `[batch, unit]`,
            integers, with `n_steps`; spike times in frames of the same shapes, floats, where `inf`
            is silence; or a pair of arrays, the times and the units of all spikes.
        sample: which of several.
        n_steps: steps per frame, T, of spike steps: silent units hold it.
        dt_s: seconds per step; then time is in milliseconds. A stream has its own.
        rows: what a row is, for the axis.
        ax: where to draw; default: axes of its own.
        **style: as of `Axes.scatter`, such as `marker`, `s` and `color`.

    Raises:
        TypeError: if they are no spikes.
        ValueError: if there is no such sample, spike steps come without `n_steps`, or `dt_s` with
            what has no steps.

    Example:
        >>> ax = raster(torch.tensor([3, 0, 5]), n_steps=5)  # the last unit is silent
        >>> ax.collections[0].get_offsets().tolist()
        [[3.0, 0.0], [0.0, 1.0]]
    """
    found = points(spikes, sample, n_steps)
    dt_s = getattr(spikes, "dt_s", None) if dt_s is None else dt_s
    scale, clock = 1.0, found.clock
    if dt_s is not None:
        if clock != "step":
            raise ValueError(f"dt_s={dt_s} is of a step, and these are times in frames. Leave it.")
        scale, clock = 1000.0 * number(dt_s, "dt_s"), "ms"
    unit = "step" if clock == "step" else f"time ({clock})"
    size = min(60.0, max(1.0, 4000.0 / (found.n_units or 100)))
    look: dict[str, Any] = {"marker": "|", "s": size}
    if not _PAINT & style.keys():
        look["color"] = "black"
    with on(ax) as axes:
        axes.scatter(scale * found.times.double(), found.units, **look | style)
        if found.n_steps is not None:
            axes.set_xlim(-0.5 * scale, (found.n_steps - 0.5) * scale)
        if found.n_units is not None:
            axes.set_ylim(-0.5, found.n_units - 0.5)
        label(axes, unit, rows)
    return axes


def points(spikes: Any, sample: int, n_steps: int | None) -> Points:
    """Return the spikes of one sample, whatever form they have."""
    if isinstance(spikes, tuple) and len(spikes) == 2:
        times, units = (tensor(x, "Spikes").detach().cpu() for x in spikes)
        if times.shape != units.shape or times.dim() != 1:
            raise ValueError(
                f"A pair is times and units of spikes, [spikes] both, got {list(times.shape)} and "
                f"{list(units.shape)}."
            )
        return Points(times, units)
    if isinstance(spikes, SpikeSequences):
        return _of_steps(_row(spikes.steps, sample), spikes.n_steps)
    if hasattr(spikes, "of_sample"):
        ticks, units = spikes.of_sample(_place(sample, len(spikes)))
        times, units = map(torch.from_numpy, (ticks, units))
        return Points(times, units, spikes.n_steps, spikes.n_units)
    if isinstance(spikes, Sequences):
        one = spikes.rows(torch.tensor([_place(sample, len(spikes))]))
        return _of_tensor(torch.stack([one.at(t).flatten() for t in range(one.n_steps)]))
    given = tensor(spikes, "Spikes").detach().cpu()
    if given.dim() == 3:
        return _of_tensor(given[:, _place(sample, given.shape[1])])
    if given.is_floating_point():
        times = _row(given, sample)
        units = times.isfinite().nonzero().squeeze(1)
        return Points(times[units], units, None, len(times), "frames")
    if n_steps is None:
        raise ValueError(
            "Spike steps need n_steps, the step that silent units hold. Times in frames are floats."
        )
    return _of_steps(_row(check_steps(given, check_n_steps(n_steps)), sample), n_steps)


def _of_steps(steps: Tensor, n_steps: int) -> Points:
    units = (steps < n_steps).nonzero().squeeze(1)
    return Points(steps[units].cpu(), units.cpu(), n_steps, len(steps))


def _of_tensor(z: Tensor) -> Points:
    times, units = (z != 0).nonzero().cpu().T
    return Points(times, units, *z.shape)


def _row(values: Tensor, sample: int) -> Tensor:
    if values.dim() not in (1, 2):
        raise ValueError(
            f"Spikes are [unit], [batch, unit] or [time, batch, unit], got {list(values.shape)}."
        )
    return values if values.dim() == 1 else values[_place(sample, len(values))]


def _place(sample: int, n: int) -> int:
    return count(sample, "sample", 0, n - 1)
