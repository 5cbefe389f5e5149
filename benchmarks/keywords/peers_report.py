"""Table and figure of `benchmarks.keywords.peers`, from its records: means over seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Record
from benchmarks.report import figures, tables
from benchmarks.report.numbers import mean_and_half, seed_interval
from rc_snn.plots import frontier

REFERENCES = ("EOS + θ", "EOS best β + θ")
"""The early exit of the paper's Figure 5B; differences are to the first of these that exists."""
PANELS = {
    "training": (
        "EOS + θ",
        "max-pooling loss + θ",
        "every-step loss + θ",
        "RC best β + θ",
        "RC all β + θ",
        "RC random θ + θ",
        "RC random θ + prefix + θ",
    ),
    "exit rule, on EOS networks": (
        "EOS + θ",
        "EOS + per-step θ",
        "EOS + calibrated confidence",
        "EOS + confidence calibrated per step",
        "EOS + entropy",
        "EOS + top-2 gap",
        "EOS + patience",
    ),
}
COLOURS = ("black", "#0072b2", "#009e73", "#d55e00", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", "--", "-.", "-", (0, (1, 1)), (0, (5, 1, 1, 1)), "--")
NOTES = """\
Area: mean test accuracy over the mean times heard that the steps end at; at each, the rule is the
best on validation data among those within that mean time. "as chosen": the same with the mean time
kept on validation data. "optimistic": rules chosen on the test data, an upper bound of the area.
± is half of a 95 % t-interval over seeds: other initial weights and batches, the same test set.
Differences are paired by seed; * marks an interval without 0, of one row by itself: with this many
rows some are marked by chance. "best β": one network per seed, chosen on validation data. "all β":
the composite, whose budgets choose among several networks."""


def _columns(row: dict[str, Any]) -> dict[str, float]:
    """Return what the tables show of a row."""
    at = {f"{ms} ms": accuracy for ms, accuracy in row["at_ms"].items()}
    return {
        "area": row["area"],
        **at,
        "as chosen": row["area_as_chosen"],
        "optimistic": row["optimistic_area"],
    }


def _table(title: str, done: Sequence[Record], reference: str | None) -> list[str]:
    """Return one table: values, or differences to a row, paired by seed."""
    names = list(done[0].metrics["rows"])
    columns = list(_columns(done[0].metrics["rows"][names[0]]))
    lines = [[title, *columns]]
    for name in names:
        cells = []
        for column in columns:
            values = [_columns(r.metrics["rows"][name])[column] for r in done]
            if reference is not None:
                base = [_columns(r.metrics["rows"][reference])[column] for r in done]
                values = [v - b for v, b in zip(values, base, strict=True)]
            percent = [100 * v for v in values]
            cells.append(mean_and_half(percent, signed=bool(reference), starred=bool(reference)))
        lines.append([name, *cells])
    return tables.text(lines, "<>")


def report(records: Sequence[Record]) -> str:
    """Return both tables and what they mean.

    Raises:
        ValueError: if there is no EOS network to compare with.
    """
    m = records[0].metrics
    reference = next((name for name in REFERENCES if name in m["rows"]), None)
    if reference is None:
        raise ValueError(f"Differences are to {REFERENCES[0]}; the rows are {list(m['rows'])}.")
    head = (
        f"Exit rules on keywords: {len(records)} seeds, {m['n_test']:,} test samples, choices on "
        f"{m['n_validation']:,} validation samples; accuracy in % within a mean time heard"
    )
    values = _table("accuracy", records, None)
    differences = _table(f"minus {reference}", records, reference)
    return "\n".join([head, "", *values, "", *differences, "", NOTES])


README = (
    "EOS + θ",
    "EOS + per-step θ",
    "EOS + top-2 gap",
    "EOS + patience",
    "max-pooling loss + θ",
    "RC + θ",
    "RC + per-step θ",
    "RC random θ + θ",
    "RC random θ + per-step θ",
    "RC random θ + prefix + θ",
    "RC random θ + prefix + per-step θ",
    "every-step loss + θ",
    "every-step loss + per-step θ",
)
"""Rows that README shows: one network per seed each."""


def markdown(done: Sequence[Record]) -> list[str]:
    """Return the table that README shows."""
    rows = done[0].metrics["rows"]

    def areas(name: str) -> list[float]:
        return [100 * r.metrics["rows"][name]["area"] for r in done]

    base = areas(REFERENCES[0])
    lines = [["trained and stopped by", "area", f"minus {REFERENCES[0]}"]]
    for name in README:
        if name in rows:
            gain = [a - b for a, b in zip(areas(name), base, strict=True)]
            lines.append([name, mean_and_half(areas(name)), mean_and_half(gain, signed=True)])
    return tables.markdown(lines)


def draw(done: Sequence[Record], path: Path) -> None:
    """Draw accuracy against mean time heard, mean and interval over seeds."""
    heard = np.array(done[0].metrics["heard_ms"])
    figure, axes = figures.subplots(1, 2, figsize=(11, 4.8), sharey=True, layout="constrained")
    for axis, (title, wanted) in zip(axes, PANELS.items(), strict=True):
        found = (_named(name, done[0].metrics["rows"]) for name in wanted)
        names = dict.fromkeys(name for name in found if name is not None)  # each once
        for name, colour, dashes in zip(names, COLOURS, DASHES, strict=False):
            lines = np.array([r.metrics["rows"][name]["accuracy"] for r in done])
            mean, half = np.array([seed_interval(column) for column in lines.T]).T
            style: Any = {"color": colour, "ls": dashes, "label": name}
            style |= {"lw": 1.4, "drawstyle": "steps-post"}
            band = half if len(done) > 1 else None
            frontier((heard, mean), half=band, envelope=False, ax=axis, **style)
        axis.set(title=title, xlabel="mean time heard at the answer (ms)", xlim=heard[[0, -1]])
        axis.legend(loc="lower right")
        _steps_above(axis, heard)
    lowest = min(line.get_ydata().min() for axis in axes for line in axis.lines)
    axes[0].set(ylabel="test accuracy (%)", ylim=(max(lowest - 5.0, 0.0), 101.0))
    figures.save(figure, path)


def _named(name: str, rows: dict[str, Any]) -> str | None:
    """Return the row of a panel: where there is one β or several, it is called otherwise."""
    others = (name, name.replace(" best β", ""), name.replace(" all β", ""))
    several = name.replace("EOS +", "EOS best β +")
    return next((n for n in (*others, several) if n in rows), None)


def _steps_above(axis: Any, heard: Any) -> None:
    """Number the steps on the upper edge."""
    upper = axis.twiny()
    every = range(0, len(heard), max(1, len(heard) // 8))
    upper.set(xlim=axis.get_xlim(), xlabel="step")
    upper.set_xticks([heard[i] for i in every], [str(i) for i in every])
