"""Event-camera digits, N-MNIST, decided in milliseconds: `python -m benchmarks.nmnist`.

An LSTM reads what an event camera saw, in steps of 20 ms, while the camera made three saccades over
a digit. One is trained by rank coding (RC), one from the end of the recording (EOS); both are read
out at many thresholds θ. 500 recordings are there to train, of which 100 choose θ, and 100 to test:
so few that every accuracy stands beside its binomial interval. Figure and table are drawn from the
records in results/nmnist; `--train` makes those first, and resumes where it was stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from benchmarks.nmnist.event_digits import (
    METHODS,
    SACCADES_MS,
    THETA,
    frames_of,
    interval,
    make,
    runs,
)
from benchmarks.record import Record
from benchmarks.report import figures
from benchmarks.tasks import TaskOptions, find, publish, spread
from encoders.event_frames import EventFrames
from encoders.nmnist import SUBSET_NAME, NeuromorphicMNIST
from rc_snn.exits import Curve, choose
from rc_snn.spikes import crossed, first_step

BUDGETS_MS = (80.0, 100.0, 120.0, 140.0, 160.0, 180.0, 200.0, 240.0, 280.0)
"""Mean decision times at which RC and EOS are compared."""
COLOURS = {"rc": "#0072b2", "eos": "#d55e00"}
STYLES = {"rc": "-", "eos": "--"}


@dataclass(frozen=True)
class EventDigits(TaskOptions):
    """Draw and print from the records of N-MNIST, or make them with --train."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """One network of each kind for each seed."""


def of(records: Sequence[Record], method: str) -> list[Record]:
    """Return the records of one method, by seed."""
    chosen = [r for r in records if r.config["train"]["method"] == method]
    return sorted(chosen, key=lambda r: int(r.config["train"]["seed"]))


def compared(
    rc: Sequence[Record], eos: Sequence[Record], budget_ms: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], tuple[float, float, float]]:
    """Compare seeds pairwise at a mean time: θ within it is chosen on validation for each network.

    Returns:
        The test points of both, and the difference of accuracy, RC - EOS, with its 95 % interval:
        the bootstrap over recordings (all seeds of a recording together; seed 0, 10,000 draws).
    """
    points: list[list[dict[str, Any]]] = []
    for records in (rc, eos):
        points.append([])
        for r in records:
            v = r.metrics["validation"]
            times = torch.tensor([p["mean_ms"] for p in v], dtype=torch.float64)
            right = torch.tensor([p["accuracy"] for p in v], dtype=torch.float64)
            at = choose(Curve(times, right), torch.tensor([budget_ms], dtype=torch.float64))
            points[-1].append(r.metrics["test"][int(at)])
    difference = _right(points[0]).mean(axis=0) - _right(points[1]).mean(axis=0)
    draws = np.random.default_rng(0).integers(len(difference), size=(10_000, len(difference)))
    low, high = np.quantile(difference[draws].mean(axis=1), [0.025, 0.975])
    return points[0], points[1], (float(difference.mean()), float(low), float(high))


def _right(points: list[dict[str, Any]]) -> Any:
    return np.array([[int(c) for c in p["right"]] for p in points], dtype=float)


def table(records: Sequence[Record]) -> str:
    """Return the table as text."""
    first = records[0]
    frames, n = frames_of(first.config), first.metrics["end"]["account"]["n"]
    seeds = [r.config["train"]["seed"] for r in of(records, "rc")]
    lines = [
        f"N-MNIST, {n} test recordings, each read once per record; profile "
        f"{first.config['profile']}, seeds {seeds}; mean ± std over seeds.",
        f"A step is {frames.step_us / 1000:g} ms, a recording {frames.duration_ms:g} ms; a "
        "decision at step s has seen (s + 1) steps.",
        f"CI: exact binomial 95 % interval of the mean count of {n} recordings. It is wide: "
        "differences of a few points are noise.",
        "",
        f"{'':14}{'θ':>12}{'accuracy %':>14}{'CI':>16}{'mean ms':>14}{'median':>8}"
        f"{'events seen':>13}{'regime':>9}{'fired':>7}{'MMAC':>7}{'of full':>9}",
    ]
    for method in METHODS:
        for key, what in (("fixed", "θ fixed"), ("chosen", "θ chosen"), ("end", "at the end")):
            if found := [r.metrics[key] for r in of(records, method)]:
                lines.append(_row(f"{method.upper()}, {what}", found))
    lines += ["", "Decisions by saccade (100 ms each, nominally): number of decisions, and % right"]
    for method in METHODS:
        if found := [r.metrics["fixed"] for r in of(records, method)]:
            lines.append(f"{method.upper()}, θ = {THETA}: {_saccades(found)}")
    return "\n".join(lines + _budgets(records)) + "\n"


def _row(name: str, found: list[dict[str, Any]]) -> str:
    accounts = [m["account"] for m in found]
    right = [a["correct"] for a in accounts]
    low, high = interval(round(mean(right)), accounts[0]["n"])
    theta = " ".join(sorted({"—" if m["theta"] is None else f"{m['theta']:g}" for m in found}))
    return (
        f"{name:14}{theta:>12}{spread([100 * a['accuracy'] for a in accounts], 1):>14}"
        f"{f'{100 * low:.1f}-{100 * high:.1f}':>16}"
        f"{spread([m['mean_ms'] for m in found], 0):>14}"
        f"{mean(m['median_ms'] for m in found):>8.0f}"
        f"{100 * mean(a['input_seen']['mean'] for a in accounts):>12.0f}%"
        f"{accounts[0]['strict_clock']['regime']:>9}"
        f"{100 * mean(a['fired'] / a['n'] for a in accounts):>6.0f}%"
        f"{mean(a['macs'] for a in accounts) / 1e6:>7.2f}"
        f"{100 * mean(a['macs'] / a['macs_full'] for a in accounts):>8.0f}%"
    )


def _saccades(found: list[dict[str, Any]]) -> str:
    parts = []
    for i in range(len(SACCADES_MS)):
        n = sum(m["decided_in_saccade"][i] for m in found)
        right = sum(m["correct_in_saccade"][i] for m in found)
        parts.append(f"{i + 1}: {n} ({100 * right / n:.0f} %)" if n else f"{i + 1}: 0")
    return ", ".join(parts)


def _budgets(records: Sequence[Record]) -> list[str]:
    """Return the lines that compare at equal mean time, where both methods have records."""
    rc, eos = of(records, "rc"), of(records, "eos")
    if not rc or len(rc) != len(eos):
        return []
    lines = [
        "",
        "At equal mean time: for each network the most accurate θ with that mean time on "
        "validation, measured on the test set.",
        "Interval of the difference: bootstrap over recordings; it holds for these seeds.",
        f"{'mean ms <=':>10}{'RC %':>8}{'at ms':>7}{'EOS %':>8}{'at ms':>7}{'RC - EOS':>10}",
    ]
    for budget in BUDGETS_MS:
        a, b, (difference, low, high) = compared(rc, eos, budget)
        cells = [
            f(p[key] for p in side)
            for side in (a, b)
            for key, f in (("accuracy", mean), ("mean_ms", mean))
        ]
        lines.append(
            f"{budget:>10g}{100 * cells[0]:>8.1f}{cells[1]:>7.0f}{100 * cells[2]:>8.1f}"
            f"{cells[3]:>7.0f}{100 * difference:>+10.1f}  [{100 * low:+.1f}, {100 * high:+.1f}]"
        )
    return lines


# ---- figure --------------------------------------------------------------------------------------


def draw(records: Sequence[Record], test: NeuromorphicMNIST, path: Path) -> None:
    """Draw an example with its decisions, accuracy against time, and the histogram of times."""
    figure = plt.figure(figsize=(9.0, 8.6), layout="constrained")
    rows: Any = figure.subfigures(3, 1, height_ratios=(1.0, 1.6, 2.4))
    top, middle, bottom = rows
    firsts: dict[str, Record] = {m: of(records, m)[0] for m in METHODS if of(records, m)}
    _draw_frames(top, test, frames_of(records[0].config))
    _draw_example(middle.subplots(), firsts, test)
    curve, histogram = bottom.subplots(1, 2)
    for method in firsts:
        _draw_curve(curve, method, of(records, method))
        _draw_histogram(histogram, method, of(records, method))
    curve.set(xlabel="mean decision time (ms)", ylabel="test accuracy (%)", ylim=(40, 100))
    curve.legend(frameon=False, loc="lower right", fontsize=8)
    histogram.set(xlabel=f"decision time at θ = {THETA} (ms)", ylabel="recordings, mean over seeds")
    histogram.legend(frameon=False, fontsize=8)
    for axis in (curve, histogram):
        _mark_saccades(axis)
        axis.spines[["top", "right"]].set_visible(False)
    seeds = len(of(records, next(iter(firsts))))
    figure.suptitle(
        f"N-MNIST, {len(test)} test recordings, {seeds} seed{'s' if seeds > 1 else ''}: decisions "
        "of an LSTM trained by rank coding (RC) and from the end (EOS)",
        size=10,
    )
    figures.save(figure, path)


def _mark_saccades(axis: Any) -> None:
    for begin, name in zip(SACCADES_MS[1:], ("2nd saccade", "3rd saccade"), strict=True):
        axis.axvline(begin, color="0.6", ls=":", lw=1)
        axis.text(
            *(begin, 1.0, f" {name}"),
            size=7,
            color="0.4",
            va="bottom",
            transform=axis.get_xaxis_transform(),
        )


def _draw_frames(figure: Any, test: NeuromorphicMNIST, frames: EventFrames) -> None:
    """Draw what the first test recording shows in each eighth of its duration: ON minus OFF."""
    us = int(frames.duration_ms * 1000) // 8
    shown = EventFrames(step_us=us, n_steps=8, factor=1, value="count")(test.events(0))
    on_off = shown.view(8, 2, 34, 34)
    axes = figure.subplots(1, 8)
    for i, axis in enumerate(axes):
        axis.imshow((on_off[i, 1] - on_off[i, 0]).numpy(), cmap="gray", vmin=-3, vmax=3)
        axis.set_title(f"{i * us / 1000:g}-{(i + 1) * us / 1000:g} ms", size=7)
        axis.set_axis_off()


def _draw_example(axis: Any, firsts: dict[str, Record], test: NeuromorphicMNIST) -> None:
    """Draw the largest probability over time of the first test recording, and its event rate."""
    frames = frames_of(next(iter(firsts.values())).config)
    ms = frames.seen_ms(torch.arange(frames.n_steps)).tolist()
    t_ms = test.events(0)["t"] / 1000
    rate = axis.twinx()
    rate.hist(t_ms, bins=[0.0, *ms], color="0.85")
    rate.set(ylabel=f"events per {frames.step_us / 1000:g} ms")
    axis.set_zorder(rate.get_zorder() + 1)
    axis.patch.set_visible(False)
    for method, r in firsts.items():
        example = r.metrics["example"]
        p = example["p"]
        axis.step(
            [0.0, *ms],
            [p[0], *p],
            where="pre",
            color=COLOURS[method],
            ls=STYLES[method],
            label=method.upper(),
        )
        at = int(first_step(crossed(torch.tensor(p, dtype=torch.float64), THETA).view(-1, 1)).step)
        axis.plot(
            ms[at], p[at], "o" if method == "rc" else "s", color=COLOURS[method], clip_on=False
        )
        axis.annotate(
            f"{method.upper()}: {example['label'][at]} at {ms[at]:g} ms",
            (ms[at], p[at]),
            size=8,
            xytext=(5, -12 if method == "rc" else -24),
            textcoords="offset points",
            annotation_clip=False,
        )
    axis.axhline(THETA, color="0.3", ls="--", lw=1)
    axis.set(
        xlabel="time since the recording's start (ms)",
        ylabel="largest probability",
        xlim=(0, frames.duration_ms),
        ylim=(0, 1.0),
    )
    axis.text(2, 0.86, f"θ = {THETA}; first test recording, a {example['digit']}", size=8)
    axis.legend(frameon=False, loc="lower right", fontsize=8)
    _mark_saccades(axis)


def _draw_curve(axis: Any, method: str, records: Sequence[Record]) -> None:
    """Draw accuracy against time over θ: each seed, and the θ that validation chose."""
    for i, r in enumerate(records):
        points = r.metrics["test"]
        axis.plot(
            [p["mean_ms"] for p in points],
            [100 * p["accuracy"] for p in points],
            color=COLOURS[method],
            ls=STYLES[method],
            lw=1,
            label=f"{method.upper()}, θ swept" if i == 0 else None,
        )
        chosen = r.metrics["chosen"]
        accuracy = 100 * chosen["account"]["accuracy"]
        low, high = (100 * x for x in chosen["interval"])
        axis.errorbar(
            chosen["mean_ms"],
            accuracy,
            [[accuracy - low], [high - accuracy]],
            fmt="o" if method == "rc" else "s",
            color=COLOURS[method],
            ms=5,
            elinewidth=0.8,
            label=f"{method.upper()}, θ chosen on validation, 95 % CI" if i == 0 else None,
        )


def _draw_histogram(axis: Any, method: str, records: Sequence[Record]) -> None:
    """Draw how many recordings are decided at each step, at the time which they have seen."""
    frames = frames_of(records[0].config)
    counts = [r.metrics["fixed"]["account"]["decided_at_step"] for r in records]
    edges = [0.0, *frames.seen_ms(torch.arange(frames.n_steps)).tolist()]
    axis.stairs(
        np.mean(counts, axis=0),
        edges,
        fill=method == "rc",
        alpha=0.7 if method == "rc" else 1.0,
        color=COLOURS[method],
        ls=STYLES[method],
        lw=1.2,
        label=method.upper(),
    )


def main(options: TaskOptions) -> int:
    """Make the records where asked to, draw the figure and write the table."""
    train, test = (NeuromorphicMNIST(options.data, train=part) for part in (True, False))
    for part in (train, test):
        if part.name != SUBSET_NAME:
            raise ValueError(
                f"The recipe and its records are for {SUBSET_NAME}, got {part.name} in "
                f"{part.origin}. Name the folder of the subset with --data."
            )
    if options.train:
        make(options, train, test)
    found = find(runs(options), options)
    publish(options, "nmnist", table(found), partial(draw, found, test))
    return 0
