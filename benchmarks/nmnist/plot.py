"""How N-MNIST is drawn: a recording and its decisions, accuracy against time, decision times."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.nmnist.event_digits import METHODS, SACCADES_MS, THETA, frames_of, of
from benchmarks.record import Record
from benchmarks.report import figures
from encoders.event_frames import EventFrames
from encoders.nmnist import NeuromorphicMNIST
from rc_snn.plots import frontier, trace
from rc_snn.plots import histogram as draw_histogram

COLOURS = {"rc": "#0072b2", "eos": "#d55e00"}
STYLES = {"rc": "-", "eos": "--"}
MARKS = {"rc": "o", "eos": "s"}


def draw(records: Sequence[Record], test: NeuromorphicMNIST, path: Path) -> None:
    """Draw an example with its decisions, accuracy against time, and the histogram of times."""
    figure = figures.figure(figsize=(9.0, 8.6), layout="constrained")
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
    curve.legend(loc="lower right")
    histogram.set(xlabel=f"decision time at θ = {THETA} (ms)", ylabel="recordings, mean over seeds")
    histogram.legend()
    for axis in (curve, histogram):
        _mark_saccades(axis)
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
    for each in (axis, rate):
        each.spines[:].set_visible(True)
    for method, r in firsts.items():
        example = r.metrics["example"]
        p = example["p"]
        look: Any = {"color": COLOURS[method], "ls": STYLES[method], "marker": MARKS[method]}
        trace(p, THETA, clock=ms, ax=axis, label=method.upper(), clip_on=False, **look)
        at = next((t for t, x in enumerate(p) if x >= THETA), len(p) - 1)
        axis.annotate(
            f"{method.upper()}: {example['label'][at]} at {ms[at]:g} ms",
            (ms[at], p[at]),
            size=8,
            xytext=(5, -12 if method == "rc" else -24),
            textcoords="offset points",
            annotation_clip=False,
        )
    axis.set(
        xlabel="time since the recording's start (ms)",
        ylabel="largest probability",
        xlim=(0, frames.duration_ms),
        ylim=(0, 1.0),
    )
    axis.text(2, 0.86, f"first test recording, a {example['digit']}", size=8)
    axis.legend(loc="lower right")
    _mark_saccades(axis)


def _draw_curve(axis: Any, method: str, records: Sequence[Record]) -> None:
    """Draw accuracy against time over θ: each seed, and the θ that validation chose."""
    for i, r in enumerate(records):
        points = r.metrics["test"]
        frontier(
            ([p["mean_ms"] for p in points], [p["accuracy"] for p in points]),
            envelope=False,
            ax=axis,
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
            fmt=MARKS[method],
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
    draw_histogram(
        np.mean(counts, axis=0),
        edges=edges,
        ax=axis,
        fill=method == "rc",
        alpha=0.7 if method == "rc" else 1.0,
        color=COLOURS[method],
        ls=STYLES[method],
        lw=1.2,
        label=method.upper(),
    )
