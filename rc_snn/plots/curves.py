"""Accuracy against time, and activations over time with the threshold θ."""

from typing import Any

import torch
from torch import Tensor

from rc_snn import exits
from rc_snn.borders.numbers import count, finite, tensor
from rc_snn.exits import Curve
from rc_snn.plots.axes import Axes, label, on
from rc_snn.spikes import check_theta, crossed, first_step


def frontier(
    curve: Any,
    *,
    half: Any = None,
    envelope: bool = True,
    ax: Axes | None = None,
    **style: Any,
) -> Axes:
    """Draw accuracy in percent against mean decision time: the best within each time.

    Args:
        curve: an `rc_snn.exits.Curve`, or a pair of arrays, mean times and accuracies in [0, 1].
        half: half widths of an interval around each accuracy, drawn as a band.
        envelope: only the points that no earlier one equals (`rc_snn.exits.frontier`), whatever
            their order; False draws all of them in the order given, such as a sweep of θ.
        ax: where to draw; default: axes of its own.
        **style: as of `Axes.plot`, such as `label`, `color`, `ls`, `marker` and `drawstyle`.

    Raises:
        ValueError: if there is no point, there are not as many accuracies, or one is no number.

    Example:
        >>> ax = frontier(([3.0, 0.0, 2.0], [0.75, 0.5, 0.875]), label="RC, θ swept")
        >>> ax.lines[0].get_xydata().tolist()  # a mean step of 3 is worse than one of 2
        [[0.0, 50.0], [2.0, 87.5]]
    """
    if not isinstance(curve, Curve):
        curve = Curve(*(finite(_double(x, "a curve"), "a curve") for x in curve))
    if len(curve) == 0:
        raise ValueError("A curve needs at least one point, got none.")
    if envelope:
        kept = exits.frontier(curve)
        curve = curve.rows(kept)
        half = None if half is None else _double(half, "half")[kept]
    x, y = curve.time.cpu().numpy(), 100.0 * curve.accuracy.double().cpu().numpy()
    name = style.pop("label", None)
    with on(ax) as axes:
        (line,) = axes.plot(x, y, label=name, **style)
        if half is not None:
            band = 100.0 * _double(half, "half").numpy()
            post = line.get_drawstyle() == "steps-post"
            look: dict[str, Any] = {"color": line.get_color(), "alpha": 0.15, "lw": 0}
            axes.fill_between(x, y - band, y + band, step="post" if post else None, **look)
        label(axes, "mean decision step", "accuracy (%)")
    return axes


def trace(
    activations: Any,
    theta: float | None = None,
    *,
    sample: int = 0,
    clock: Any = None,
    classes: Any = None,
    ax: Axes | None = None,
    **style: Any,
) -> Axes:
    """Draw what a network makes of one sample, step by step, with θ and the step at which it fires.

    Of logits the probability of each class: those that lead at some step in colour, others grey. A
    mark is where `rc_snn.decide` answers; without one nothing reached θ.

    Args:
        activations: logits `[time, batch, classes]`, as `rc_snn.runner.trace` gives them; or a
            score at each step, `[time]`, such as one of `rc_snn.exits`, as it is.
        theta: threshold θ in (0, 1), reached with `>=`; drawn dashed. None: neither line nor mark.
        sample: which of the batch.
        clock: when each step is over, `[time]`, ascending; default: steps are counted from 0.
        classes: names of the classes; default: their numbers.
        ax: where to draw; default: axes of its own.
        **style: as of `Axes.plot`; `marker` is of the mark.

    Raises:
        ValueError: if shapes do not fit, θ is outside (0, 1), or an activation is NaN.

    Example:
        >>> logits = torch.tensor([[[0.0, 0.0]], [[0.0, 2.0]], [[0.0, 4.0]]])
        >>> trace(logits, theta=0.95).lines[1].get_markevery()  # class 1 fires at step 2
        [2]
    """
    scores, names = _scores(activations, sample, classes)
    n, ends = len(scores), None
    if clock is not None:
        ends = _double(clock, "clock")
        if ends.shape != (n,):
            raise ValueError(f"clock must be [{n}], one time for each step, got {len(ends)}.")
    best = scores.amax(dim=1)
    at = None if theta is None else first_step(crossed(best, check_theta(theta)).view(-1, 1))
    leading = set(scores.argmax(dim=1).tolist())
    marker, name = style.pop("marker", "o"), style.pop("label", None)
    x = torch.arange(n) if ends is None else torch.cat([ends.new_zeros(1), ends])
    ahead = int(ends is not None)  # on a clock a step's value is drawn from the step before on
    with on(ax) as axes:
        for k, y in enumerate(scores.T.double()):
            values = torch.cat([y[:ahead], y]).numpy()
            look: dict[str, Any] = {"drawstyle": "steps-pre" if ahead else "steps-mid"}
            if k not in leading:
                axes.plot(x, values, color="0.8", lw=0.6, ls="-", **look)
                continue
            look["label"] = name or names[k]
            if at is not None and at.fired and k == int(scores[int(at.step)].argmax()):
                look |= {"marker": marker, "markevery": [int(at.step) + ahead]}
            axes.plot(x, values, **look | style)
        said = f"θ = {theta}"
        if theta is not None and said not in axes.get_legend_handles_labels()[1]:
            axes.axhline(theta, color="0.3", ls="--", lw=1, label=said)
        several = scores.shape[1] > 1
        label(axes, "time" if ahead else "step", "class probability" if several else "score")
    return axes


def _scores(activations: Any, sample: int, classes: Any) -> tuple[Tensor, list[str | None]]:
    """Return one sample's scores `[time, classes]`, and the names of the classes."""
    given = tensor(activations, "activations").detach().cpu()
    if given.dim() == 1 and len(given):
        return given.view(-1, 1), [None]
    if given.dim() != 3 or 0 in given.shape:
        raise ValueError(
            f"activations are logits [time, batch, classes], or scores [time], got "
            f"{list(given.shape)}. Logits of one sample: logits.unsqueeze(1)."
        )
    one = given[:, count(sample, "sample", 0, given.shape[1] - 1)].softmax(dim=-1)
    numbered = (f"class {k}" for k in range(one.shape[1]))
    names = [str(name) for name in (numbered if classes is None else classes)]
    if len(names) != one.shape[1]:
        raise ValueError(f"classes must name {one.shape[1]} classes, got {len(names)}.")
    return one, [*names]


def _double(values: Any, name: str) -> Tensor:
    return tensor(values, name).detach().cpu().double()
