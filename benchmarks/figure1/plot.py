"""How Figure 1 is drawn: rasters of spikes and activations, lags, and the exact limit."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.figure1.spotting import METHODS, THETA, frontier, of, points, pooled
from benchmarks.record import Record
from benchmarks.report import figures
from encoders.sequence_spotting import N_STEPS, RUN, posterior_of, posterior_rule
from rc_snn.plots import frontier as draw_frontier
from rc_snn.plots import raster
from rc_snn.spikes import crossed

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"
SIGNS: tuple[dict[str, Any], ...] = (
    {"marker": "v", "facecolors": "white", "edgecolors": ORANGE},
    {"marker": "^", "facecolors": BLUE, "edgecolors": BLUE},
)
"""How negative and positive spikes are drawn: by shape and filling, not by colour alone."""
SPIKES = {
    "rc": "first spikes: ▲ positive, ▽ negative; | certain",
    "eos": "spikes; large: the first; | certain",
}
ACTIVATIONS = {"rc": "activations until the first spike", "eos": "activations"}
SHADES: dict[str, Any] = {"cmap": "cividis", "vmin": 0.0, "vmax": 1.0, "aspect": "auto"}
NONE = N_STEPS + 1
"""Where a sequence without a spike is drawn."""
EDGES = {"positive": (-3, 6), "negative": (-8, 4)}
"""Smallest and largest lag with a bar of its own; what is beyond is added to it."""


def draw(records: Sequence[Record], path: Path) -> None:
    """Draw the rasters of the first seed, and what all seeds have in common, from the records."""
    figure = figures.figure(figsize=(13.0, 12.5), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(2.1, 1))
    rasters, summary = parts
    axes = rasters.subplot_mosaic([list("ABCD"), list("HEFG")], width_ratios=(5, 0.7, 5, 5))
    shown = {
        m: next((r for r in records if r.config["train"]["method"] == m), None) for m in METHODS
    }
    some: list[dict[str, Any]] = records[0].metrics["examples"]
    _inputs(axes["A"], some)
    image = _posterior(axes["H"], some)
    for method, letters in zip(METHODS, ("BCD", "EFG"), strict=True):
        label, spike, activation = list(letters)
        name, done = method.upper(), shown[method]
        _labels(axes[label], some, label)
        _frame(axes[spike], some, f"{spike}  {name}: " + SPIKES[method])
        _frame(axes[activation], some, f"{activation}  {name}: " + ACTIVATIONS[method])
        if done is None:
            continue
        _spikes(axes[spike], done)
        _activations(axes[activation], done)
    bar = rasters.colorbar(image, ax=[axes["D"], axes["G"]], label="P(positive)", aspect=40)
    for level in (THETA, 1.0 - THETA):
        bar.ax.axhline(level, color="black" if level > 0.5 else "white", ls="--", lw=1)
    _summary(summary, records)
    n = len({r.config["train"]["seed"] for r in records})
    figure.suptitle(
        f"Sequence spotting: {RUN} equal values in a row (boxes). LSTM 125-1, θ = {THETA}; "
        f"{n} seed{'s' if n > 1 else ''}, {records[0].metrics['spikes']['n']:,} test sequences",
        size=11,
    )
    figures.save(figure, path)


def _frame(axis: Any, some: list[dict[str, Any]], title: str) -> None:
    """Prepare an axis of steps and sequences; a line parts negative from positive sequences."""
    n_negative = sum(1 - e["label"] for e in some)
    axis.set(
        xlim=(-0.5, N_STEPS - 0.5),
        ylim=(len(some) - 0.5, -0.5),
        xlabel="step",
        xticks=range(0, N_STEPS, 6),
        yticks=[],
    )
    axis.spines[:].set_visible(True)
    axis.set_title(title, loc="left", size=9)
    axis.axhline(n_negative - 0.5, color=GREY, lw=0.8)


def _inputs(axis: Any, some: list[dict[str, Any]]) -> None:
    """Draw the sequences; a box marks the first run of a positive one."""
    from matplotlib.patches import Rectangle

    bits = np.array([[int(b) for b in e["bits"]] for e in some])
    _frame(axis, some, "A  inputs (dark: spike)")
    axis.imshow(bits, cmap="Greys", vmin=0, vmax=1.7, aspect="auto")
    for row, e in enumerate(some):
        if e["label"]:
            left = e["certain"] - RUN + 0.5
            axis.add_patch(Rectangle((left, row - 0.5), RUN, 1, fill=False, ec="black", lw=1.6))
    axis.set_ylabel("test sequence: negative above, positive below")


def _labels(axis: Any, some: list[dict[str, Any]], title: str) -> None:
    """Draw the labels, one sign per sequence."""
    _frame(axis, some, title)
    axis.set(xlim=(-1, 1), xticks=[], xlabel="label")
    for k, sign in enumerate(SIGNS):
        rows = [row for row, e in enumerate(some) if e["label"] == k]
        raster((np.zeros(len(rows)), rows), ax=axis, rows="", s=28, **sign)


def _posterior(axis: Any, some: list[dict[str, Any]]) -> Any:
    """Draw what an optimal observer believes at each step of the same sequences."""
    frames = torch.tensor([[float(b) for b in e["bits"]] for e in some]).T.unsqueeze(2)
    _frame(axis, some, "H  exact posterior; bars: label certain")
    image = axis.imshow(posterior_of(frames)[:, :, 1].T.numpy(), **SHADES)
    _certain(axis, some, "white")
    axis.set_ylabel("test sequence, as above")
    return image


def _certain(axis: Any, some: list[dict[str, Any]], color: str) -> None:
    """Mark the step at which each label is certain, the earliest for a sure spike."""
    steps = [e["certain"] for e in some]
    look: dict[str, Any] = {"s": 60, "color": color, "lw": 1.2, "zorder": 1}
    raster((steps, range(len(some))), ax=axis, rows="", **look)


def spikes_of(example: dict[str, Any], method: str) -> list[tuple[int, int]]:
    """Return step and class of the spikes of an example: the first one (RC), or all (EOS)."""
    p = torch.tensor(example["positive"], dtype=torch.float64)
    up, down = crossed(p, THETA), crossed(1.0 - p, THETA)
    found = [(t, int(up[t])) for t in (up | down).nonzero().flatten().tolist()]
    return found[:1] if method == "rc" else found


def _spikes(axis: Any, done: Record) -> None:
    """Draw spikes by sign, the first of a sequence larger; a cross where there is none."""
    some, method = done.metrics["examples"], done.config["train"]["method"]
    _certain(axis, some, "0.6")
    found = [(row, k, *s) for row, e in enumerate(some) for k, s in enumerate(spikes_of(e, method))]
    for label, sign in enumerate(SIGNS):
        for first, size in ((False, 7), (True, 30)):
            at = [
                (t, row) for row, k, t, of_class in found if of_class == label and (k == 0) == first
            ]
            if at:
                pair = tuple(zip(*at, strict=True))
                raster(pair, ax=axis, rows="", s=size, zorder=3 if first else 2, **sign)
    silent = [row for row, e in enumerate(some) if not spikes_of(e, method)]
    raster(([NONE] * len(silent), silent), ax=axis, rows="", marker="x", s=22, color=GREY)
    ticks = range(0, N_STEPS - 1, 6)
    axis.set(xlim=(-0.5, NONE + 0.5), xticks=[*ticks, NONE], xticklabels=[*ticks, "none"])


def _activations(axis: Any, done: Record) -> None:
    """Draw P(positive) by step; of rank coding only what is computed, up to the first spike."""
    some, method = done.metrics["examples"], done.config["train"]["method"]
    p = np.array([e["positive"] for e in some])
    if method == "rc":
        for row, e in enumerate(some):
            for step, _ in spikes_of(e, method):
                p[row, step + 1 :] = np.nan
    axis.imshow(p, **SHADES)


def _summary(part: Any, records: Sequence[Record]) -> None:
    """Draw the lags of both classes, decisions over time, and accuracy against mean step."""
    positive, negative, time, frontier_axis = part.subplots(1, 4)
    rc, eos = of(records, "rc"), of(records, "eos")
    bars = [
        (positive, "positive", rc, "first", "RC, first spike"),
        (positive, "positive", eos, "positive_only", "EOS, negatives ignored"),
        (negative, "negative", rc, "first", "RC, first spike"),
        (negative, "negative", eos, "first", "EOS, first spike"),
    ]
    for k, (axis, sign, spikes, kind, label) in enumerate(bars):
        if spikes:
            _lags(axis, spikes, kind, sign, label, k % 2)
    for axis, letter, sign, from_ in (
        (positive, "I", "positive", "the run's last value"),
        (negative, "J", "negative", "the label is certain"),
    ):
        axis.set(xlabel=f"spike after {from_} (steps)", ylabel=f"share of {sign}s (%)")
        axis.set_title(f"{letter}  {sign} spikes: lag", loc="left", size=9)
        axis.set_ylim(0, 125)
        axis.set_yticks(range(0, 101, 20))
        axis.legend(fontsize=7, loc="upper left")
    _decided(time, rc, eos)
    _tradeoff(frontier_axis, records)


def _lags(
    axis: Any, spikes: list[dict[str, Any]], kind: str, sign: str, label: str, side: int
) -> None:
    """Draw one lag histogram, and beside it the share without such a spike."""
    low, high = EDGES[sign]
    n_positive = sum(s["n_positive"] for s in spikes)
    n = n_positive if sign == "positive" else sum(s["n"] for s in spikes) - n_positive
    counts = pooled(spikes, kind, f"{sign}_lag")
    shares: Counter[int] = Counter()
    for lag, count in counts.items():
        shares[min(max(lag, low), high)] += count
    shares[high + 2] = n - counts.total()
    x = range(low, high + 3)
    look: dict[str, Any] = ({"color": BLUE}, {"color": "white", "ec": ORANGE, "hatch": "///"})[side]
    axis.bar(
        [t + 0.4 * side - 0.2 for t in x],
        [100 * shares[t] / n for t in x],
        0.4,
        label=label,
        **look,
    )
    names = [f"≤{low}", *map(str, range(low + 1, high)), f"≥{high}", "", "none"]
    shown = [t for t in x if t in (low, high, high + 2) or (low + 1 < t < high - 1 and t % 2 == 0)]
    axis.set_xticks(shown, [names[t - low] for t in shown], size=8)
    axis.axvline(0, color=GREY, lw=0.8, ls=":", zorder=0)


def _decided(axis: Any, rc: list[dict[str, Any]], eos: list[dict[str, Any]]) -> None:
    """Draw the share of decided sequences over steps, beside the exact rule's."""
    rule = posterior_rule(THETA)
    exact = np.add(rule.positives_at_step, rule.negatives_at_step)
    axis.step(range(N_STEPS), 100 * np.cumsum(exact), where="post", color="black", label="exact")
    for spikes, label, color, style in (
        (rc, "RC, first spike", BLUE, "--"),
        (eos, "EOS, first spike", ORANGE, ":"),
    ):
        if spikes:
            at = np.sum([s["first"]["step"] for s in spikes], axis=0)
            share = 100 * np.cumsum(at) / at.sum()
            axis.step(range(N_STEPS), share, where="post", color=color, ls=style, label=label)
    axis.set(xlabel="step", ylabel="decided (%)")
    axis.set_title(f"K  decided; exact: posterior ≥ {THETA}", loc="left", size=9)
    axis.legend(fontsize=7)


def _tradeoff(axis: Any, records: Sequence[Record]) -> None:
    """Draw accuracy against the mean decision step, with the frontier that nothing can pass."""
    rules, certain = frontier(), posterior_rule(1.0)
    limit = [r.mean_step for r in rules], [r.accuracy for r in rules]
    draw_frontier(limit, ax=axis, color="black", lw=1, label="exact limit")
    axis.plot(certain.mean_step, 100, "k*", ms=9, label="exact: certainty")
    for point, marker in zip(points(records), "^vso", strict=False):
        color = BLUE if point.name.startswith("RC") else ORANGE
        fill = color if point.name.startswith("RC") else "white"
        look: dict[str, Any] = {"ls": "", "marker": marker, "color": color, "mfc": fill}
        seeds = point.mean_step, point.accuracy
        draw_frontier(seeds, ax=axis, envelope=False, label=point.name, **look)
    axis.set(xlabel="mean decision step", ylabel="accuracy (%)", ylim=(25, 103))
    axis.set_title("L  accuracy against time", loc="left", size=9)
    axis.legend(fontsize=7, loc="lower right")
