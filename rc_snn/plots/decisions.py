"""Histograms of decisions: how many at each step, and how many without a spike."""

from typing import Any

import numpy as np

from rc_snn.borders.numbers import tensor
from rc_snn.plots.axes import Axes, label, on
from rc_snn.regimes import Account
from rc_snn.spikes import Decision, check_labels, check_n_steps

RIGHT, DECIDED = "#0072b2", "0.75"
BINS = 50
"""Of decision times in continuous time."""


def histogram(
    decided: Any,
    *,
    labels: Any = None,
    n_steps: int | None = None,
    edges: Any = None,
    ax: Axes | None = None,
    **style: Any,
) -> Axes:
    """Draw how many samples are decided at each step; a bar apart holds those without a spike.

    Args:
        decided: a `Decision`; an `Account`, which counts forced answers at the last step; or the
            numbers of decisions at each step, `[T]`, from which no more can be told.
        labels: the right classes of a decision's samples: then right answers are drawn in front.
        n_steps: steps per frame, T; default: up to the last decision.
        edges: where the bars begin and end, `[T + 1]`, on a clock of yours, ascending; default: a
            bar around each step, and 50 bars up to the last spike in continuous time.
        ax: where to draw; default: axes of its own.
        **style: as of `Axes.stairs`, such as `label`, `color` and `fill`.

    Raises:
        ValueError: if edges or labels do not fit, or a step is not in 0..n_steps-1.

    Example:
        >>> import torch
        >>> d = Decision.at_steps(torch.tensor([0, 2, 2]), 3, torch.tensor([True, True, False]),
        ...                       torch.eye(2)[[0, 1, 1]])
        >>> [bars.get_data().values.tolist() for bars in histogram(d).patches]
        [[1, 0, 1], [1]]
    """
    if edges is not None:
        edges = tensor(edges, "edges").double().cpu().numpy()
        if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
            raise ValueError("edges must ascend, one more of them than there are bars.")
    series, silent, bounds = _counted(decided, labels, n_steps, edges)
    if len(bounds) != (n_bars := len(series[0][0])) + 1:
        raise ValueError(f"{n_bars} steps have {n_bars + 1} edges, got {len(bounds)}.")
    with on(ax) as axes:
        for counts, look in series:
            axes.stairs(counts, bounds, **{"fill": True} | look | style)
        if silent:
            _apart(axes, silent, bounds, style)
        stepwise = not isinstance(decided, Decision) or decided.step is not None
        clock = "step" if stepwise else "time (frames)"
        label(axes, f"decision {clock if edges is None or not stepwise else 'time'}", "samples")
    return axes


def _counted(decided: Any, labels: Any, n_steps: int | None, edges: Any) -> Any:
    """Return series of counts with their look, the counts without a spike, and where bars are."""
    if not isinstance(decided, Decision):
        if labels is not None:
            raise ValueError("labels belong to a Decision; an account has counted right answers.")
        parts: list[Any] = [decided]
        if isinstance(decided, Account):
            if decided.decided_at_step is None:
                raise ValueError("This account has no steps; pass the Decision: it has the times.")
            parts = [decided.decided_at_step, decided.correct_at_step]
        counts = [tensor(part, "Counts").cpu().numpy() for part in parts]
        return _look(counts), [], _around(len(counts[0])) if edges is None else edges
    fired = decided.fired.cpu().numpy()
    if decided.step is not None:
        at = decided.step.cpu().numpy()
        n = check_n_steps(int(at.max(initial=0)) + 1 if n_steps is None else n_steps)
        if at.max(initial=0) >= n:
            raise ValueError(f"A decision is at step {at.max()}, of n_steps={n}.")
        bins = _around(n)
    else:
        at = decided.time.detach().cpu().double().numpy()
        fired = fired & np.isfinite(at)
        bins = np.linspace(0.0, at[fired].max(initial=1e-9), BINS + 1) if edges is None else edges
    which = [np.ones(len(at), dtype=bool)]
    if labels is not None:
        classes = decided.scores.shape[1]
        which.append((decided.label == check_labels(labels, classes, len(at))).cpu().numpy())
    counts = [np.histogram(at[fired & one], bins)[0] for one in which]
    silent = [int((~fired & one).sum()) for one in which] if not fired.all() else []
    return _look(counts), silent, bins if edges is None else edges


def _around(n_steps: int) -> Any:
    return np.arange(n_steps + 1) - 0.5


def _look(counts: list[Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Return what each series looks like: one alone, or right answers before all."""
    looks = [{"color": DECIDED, "label": "wrong"}, {"color": RIGHT, "label": "right"}]
    return list(zip(counts, looks if len(counts) == 2 else [{"color": RIGHT}], strict=True))


def _apart(axes: Axes, silent: list[int], bounds: Any, style: dict[str, Any]) -> None:
    """Draw a bar of samples that never fired, behind the last, and say so on the axis."""
    width = bounds[-1] - bounds[-2]
    place = [bounds[-1] + width, bounds[-1] + 2 * width]
    for count, colour in zip(silent, (DECIDED, RIGHT)[-len(silent) :], strict=True):
        look = {"color": colour} | style | {"fill": False, "hatch": "///", "label": None}
        axes.stairs([count], place, **look)
    middles = (bounds[:-1] + bounds[1:]) / 2
    shown = middles[:: max(1, len(middles) // 6)]
    names = [f"{x:.3g}" for x in shown]
    axes.set_xticks([*shown, sum(place) / 2], [*names, "no spike"])
