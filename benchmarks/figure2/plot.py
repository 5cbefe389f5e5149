"""How Figure 2 is drawn: inputs, spike times over training, accuracy against mean time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.figure2.bayes_stopping import limit_of
from benchmarks.figure2.table import PUBLISHED
from benchmarks.record import Record
from benchmarks.report import figures
from encoders.two_sequence import TwoSequence, two_sequence
from rc_snn.plots import frontier
from rc_snn.sequences import DenseSequences

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"
STYLE: dict[str, dict[str, Any]] = {
    "rc": {"color": BLUE, "marker": "o"},
    "eos": {"color": ORANGE, "marker": "s"},
}
N_EXAMPLES = 3
"""Input examples of each class: of low, middle and high noise."""


def draw(records: Sequence[Record], limit: Record, path: Path) -> None:
    """Draw the figure from the records of networks and limit."""
    figure = figures.figure(figsize=(11.0, 8.2), layout="constrained")
    axes = figure.subplot_mosaic([["A", "C"], ["B", "C"]], width_ratios=(1, 1.5))
    _inputs(axes["A"], records[0])
    _over_training(axes["B"], records)
    _accuracy(axes["C"], records, limit)
    seeds = {r.config["train"]["seed"] for r in records}
    figure.suptitle(
        f"Two-sequence problem: LSTM 1-125-1, θ = {records[0].config['train']['theta']:g}, "
        f"{records[0].config['profile']} profile, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}",
        size=11,
    )
    figures.save(figure, path)


def _inputs(axis: Any, one: Record) -> None:
    """Draw the first sequences of the test set: of each class the least and the most noisy."""
    d = one.config["data"]
    problem = TwoSequence(**{k: d[k] for k in ("n_steps", "mean", "low", "high")})
    data = two_sequence(d["n_test"], torch.Generator().manual_seed(d["test_seed"]), problem)
    assert isinstance(data.inputs, DenseSequences)
    frames, labels = data.inputs.frames[:, :200, 0], data.labels[:200]
    apart = 6.0 * problem.high
    ticks: list[float] = []
    for label, color in ((1, "black"), (0, GREY)):
        rows = (labels == label).nonzero().flatten()
        by_noise = rows[frames[:, rows].std(dim=0).argsort()]
        for i in torch.linspace(0, len(rows) - 1, N_EXAMPLES).long().tolist():
            x = frames[:, by_noise[i]]
            ticks.append(len(ticks) * -apart)
            axis.axhline(ticks[-1], color=GREY, lw=0.6, ls=":")
            axis.plot(ticks[-1] + x, color=color, lw=0.9, marker=".", ms=3)
    classes = [f"{sign}{problem.mean:g}" for sign in ("+", "−") for _ in range(N_EXAMPLES)]
    axis.set_yticks(ticks, classes)
    axis.set(xlabel="step", ylabel="mean of the class", xlim=(-0.5, problem.n_steps + 2.5))
    axis.plot([problem.n_steps + 1] * 2, [ticks[-1], ticks[-1] + 0.5], color="black", lw=3)
    axis.text(problem.n_steps + 1, ticks[-1] + 0.55, "0.5", size=8, ha="center")
    axis.set_title("A  inputs of the test set, by class and noise", loc="left", size=10)


def _over_training(axis: Any, records: Sequence[Record]) -> None:
    """Draw the first spikes on the validation set over training: mean, and 10 to 90 %."""
    said = set()
    for r in records:
        method, history = r.config["train"]["method"], r.training["history"]
        name = "val_spike_" if method == "eos" else "val_"
        n = r.config["data"]["n_epoch"] / 1e6
        x = [(row["epoch"] + 1) * n for row in history]
        color = STYLE[method]["color"]
        label = None if method in said else method.upper() + ", mean"
        said.add(method)
        ls = "-" if method == "rc" else "--"
        axis.plot(
            x, [h[name + "mean_step"] for h in history], color=color, ls=ls, lw=1.2, label=label
        )
        if name + "step_q10" in history[0] and r.config["train"]["seed"] == min(
            s.config["train"]["seed"] for s in records
        ):
            low, high = ([h[f"{name}step_q{q}"] for h in history] for q in (10, 90))
            band = f"{method.upper()}, 10 to 90 %"
            axis.fill_between(x, low, high, color=color, alpha=0.15, lw=0, label=band)
        kept = r.training["best_epoch"]
        axis.plot(
            x[kept],
            history[kept][name + "mean_step"],
            color="white",
            mec=color,
            ms=6,
            zorder=3,
            marker=STYLE[method]["marker"],
            ls="",
        )
    axis.set(
        xlabel="training sequences (millions)", ylabel="decision step (validation)", ylim=(0, 40)
    )
    axis.legend(fontsize=7, loc="lower left", ncols=2)
    axis.set_title("B  first spikes over training; marker: epoch kept", loc="left", size=10)


def _accuracy(axis: Any, records: Sequence[Record], limit: Record) -> None:
    """Draw accuracy against mean time: limit, simpler rules, θ sweeps, published points."""
    best, rules = limit_of(limit.metrics), limit.metrics["fresh"]
    steps = [*best.mean_steps, float(limit.config["problem"]["n_steps"] - 1)]
    reached = [*best.accuracies, best.accuracies[-1]]
    style: Any = {"color": "black", "lw": 2, "label": "Bayes-optimal stopping"}
    frontier((steps, reached), envelope=False, ax=axis, **style)
    percent = [100 * a for a in reached]
    axis.fill_between(steps, percent, 100, color="0.93", lw=0)
    for rule, ls, label in (
        ("posterior", "--", "exact posterior ≥ θ"),
        ("deadline", ":", "exact posterior at a fixed step"),
    ):
        points = rules[rule]["mean_step"], rules[rule]["accuracy"]
        style = {"color": "0.35", "ls": ls, "lw": 1.2, "label": label}
        frontier(points, envelope=False, ax=axis, **style)
    for method, style in STYLE.items():
        _networks(axis, [r for r in records if r.config["train"]["method"] == method], style)
    _published(axis)
    axis.set(xlabel="mean decision step (0..39; inputs read: one more)", ylabel="test accuracy (%)")
    axis.set(xlim=(0, 40), ylim=(85, 97.6))
    axis.text(1.0, 97.2, "no stopping rule gets here", size=8, color="0.35")
    axis.legend(loc="lower right")
    axis.set_title("C  accuracy against mean time", loc="left", size=10)


def _networks(axis: Any, records: Sequence[Record], style: dict[str, Any]) -> None:
    """Draw the θ sweeps of a method, and where its θ and its fixed steps lie."""
    for i, r in enumerate(records):
        name = r.config["train"]["method"].upper()
        for which, full in (("chosen", "full"), ("last", "none")):
            m = r.metrics[which]
            swept = tuple([s[key] for s in m["sweep"]] for key in ("mean_step", "accuracy"))
            at = m["account"]
            epoch = "epoch kept" if which == "chosen" else "last epoch"
            ls = "-" if which == "chosen" else "-."
            frontier(swept, envelope=False, ax=axis, color=style["color"], lw=1.0, ls=ls)
            frontier(
                ([at["time_to_insight"]], [at["accuracy"]]),
                ax=axis,
                ls="",
                ms=7,
                zorder=4,
                fillstyle=full,
                **style,
                label=None if i else f"{name}, θ swept, {epoch}",
            )
        if name == "EOS":
            cut = r.metrics["chosen"]["cut"]
            frontier(
                (range(len(cut)), cut),
                envelope=False,
                ax=axis,
                color=style["color"],
                ls=":",
                lw=1.0,
                label=None if i else "EOS at a fixed step",
            )


def _published(axis: Any) -> None:
    """Draw the published points from the one to the other way to count their steps."""
    for i, (key, p) in enumerate(PUBLISHED.items()):
        axis.plot(
            [p.steps - 1, p.steps],
            [p.accuracy] * 2,
            color="black",
            lw=0.8,
            marker="*",
            ms=8,
            mfc="white",
            zorder=5,
            label=None if i else "published (steps from 1, from 0)",
        )
        name = {"rc": "RC", "eos": "EOS, spike", "end": "EOS, end", "cut": "EOS, cut"}[key]
        at, side = ((-2, -12), "right") if key == "end" else ((4, -9), "left")
        axis.annotate(name, (p.steps, p.accuracy), at, textcoords="offset points", size=8, ha=side)
