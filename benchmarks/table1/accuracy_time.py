"""Accuracy against decision time of every row of Table 1, on each clock, from the records.

`python -m benchmarks.table1.accuracy_time` draws results/accuracy_time.png; with networks of others
among the records, accuracy_time.yours.png. Nothing here measures.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import record
from benchmarks.record import Record
from benchmarks.report import figures
from benchmarks.table1.rows import YOURS
from benchmarks.table1.table import PAPER, groups, kind, shown_of, stand_for
from rc_snn import commands
from rc_snn.plots import frontier
from rc_snn.progress import Bar
from rc_snn.regimes import FAST_BELOW, SLOW_ABOVE

CLOCKS = {
    "step_clock": "step clock: t_sp / T, or spike time",
    "strict_clock": "strict clock: (t_sp + 1) / T, or spike time",
    "input_seen": "share of the input spikes seen",
}
MARKERS = {
    "weights": "*",
    "published": "x",
    "tuned": "o",
    "dropout": "h",
    "augmented": "^",
    "mapped": "D",
    "fine-tuned": "s",
}
OTHER = "P"
"""Marker of networks of others, and of recipes that are not known here."""


@dataclass(frozen=True)
class AccuracyTime:
    """Draw accuracy against decision time from the records of Table 1."""

    results: Path = record.RESULTS
    """Where records are read and the figure is written."""


def draw(records: list[Record], path: Path) -> None:
    """Draw one panel per clock; a point is the mean over the seeds of a line of the table.

    A line without a finite mean time has no point; it is named on stderr.
    """
    from matplotlib.lines import Line2D

    lines = [(row, stand_for(group)) for row, group in groups(records)]
    names = sorted({row.legend for row, _ in lines})
    colours = {name: f"C{i}" for i, name in enumerate(names)}
    others = sorted({_recipe(group[0]) for _, group in lines} - MARKERS.keys())
    markers = MARKERS | dict.fromkeys(others, OTHER)
    figure, axes = figures.subplots(1, 3, figsize=(13, 5), sharey=True, layout="constrained")
    for axis, (clock, title) in zip(axes, CLOCKS.items(), strict=True):
        for row, group in lines:
            times = [r.metrics[clock] and r.metrics[clock]["mean"] for r in group]
            if None in times:
                print(f"not drawn: {row.name} has no mean of: {title}", file=sys.stderr)
                continue
            point = [mean(times)], [mean(r.metrics["accuracy"] for r in group)]
            look: Any = {"color": colours[row.legend], "ms": 7, "mfc": "none", "mew": 1.5}
            frontier(point, ax=axis, marker=markers[_recipe(group[0])], **look)
        axis.set(xlabel="mean decision time (frames)" if clock != "input_seen" else "mean share")
        axis.set_title(title, size=9)
        if clock != "input_seen":
            axis.set_xscale("symlog", linthresh=0.01)
            for border in (FAST_BELOW, SLOW_ABOVE):
                axis.axvline(border, color="0.6", lw=1, ls="--")
    axes[0].set_ylabel("test accuracy (%)")
    handles = [Line2D([], [], color=c, marker="s", ls="", label=n) for n, c in colours.items()]
    handles += [
        Line2D([], [], color="0.3", marker=m, ls="", mfc="none", label=n)
        for n, m in markers.items()
    ]
    figure.legend(handles=handles, loc="outside right center")
    figures.save(figure, path)


def _recipe(r: Record) -> str:
    return str(r.config.get("recipe", "published"))


def main(options: AccuracyTime) -> int:
    """Draw the figure; return the exit status."""
    records = shown_of(options.results / "table1", lambda r: kind(r) in (PAPER, f"MNIST.{YOURS}"))
    if not records:
        raise ValueError(f"{options.results} holds no records of Table 1.")
    yours = f".{YOURS}" if any(r.config["profile"] == YOURS for r in records) else ""
    path = options.results / f"accuracy_time{yours}.png"
    record.check_ours(path, options.results / "table1")
    with Bar(f"draw {path.name}", 1):
        draw(records, path)
    print(path)
    return 0


if __name__ == "__main__":
    commands.run(main, AccuracyTime)
