"""The table of Figure 2: published values beside ours, and how far each is from the limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from textwrap import wrap
from typing import Any

import numpy as np

from benchmarks.figure2.bayes_stopping import limit_of
from benchmarks.figure2.frontier import Frontier, distance_to_frontier
from benchmarks.record import Record
from benchmarks.report import tables
from benchmarks.report.numbers import spread

WHICH = {"chosen": "epoch kept by validation", "last": "last epoch"}
CUT = 14
"""Inputs read where the paper stops the EOS network."""


@dataclass(frozen=True)
class Published:
    """A value of section 3.2: accuracy in percent, and the time-steps it names."""

    accuracy: float
    steps: int

    def __str__(self) -> str:
        """Return both, as tables show them."""
        return f"{self.accuracy:g} at {self.steps}"


PUBLISHED = {
    "rc": Published(95.45, 14),
    "eos": Published(96.32, 23),
    "end": Published(96.84, 40),
    "cut": Published(89.0, CUT),
}


@dataclass(frozen=True)
class Point:
    """Accuracy and mean decision step of one network, read out in one way."""

    accuracy: float
    step: float


def readings(records: Sequence[Record], which: str) -> dict[str, list[Point]]:
    """Return the points of all seeds: RC, EOS with RC inference, at the end, and cut."""
    found: dict[str, list[Point]] = {"rc": [], "eos": [], "end": [], "cut": []}
    for r in records:
        m, method = r.metrics[which], r.config["train"]["method"]
        a, cut = m["account"], m["cut"]
        found[method].append(Point(a["accuracy"], a["time_to_insight"]))
        if method == "eos":
            found["end"].append(Point(cut[-1], len(cut) - 1.0))
            found["cut"].append(Point(cut[CUT - 1], CUT - 1.0))
    return found


LABELS = {
    "rc": "RC, first spike",
    "eos": "EOS, first spike",
    "end": "EOS, last step",
    "cut": f"EOS, cut after {CUT} inputs",
}


def text(records: Sequence[Record], limit: Record) -> str:
    """Return the table: networks, published values, rules with the exact posterior, θ sweeps."""
    on_test = limit_of(limit.metrics, "on_test")
    lines = _networks(records, on_test)
    lines += _equal_times(records, on_test)
    lines += _published(limit_of(limit.metrics))
    lines += _rules(limit)
    for which in WHICH:
        lines += _sweeps(records, which, on_test)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def markdown(records: Sequence[Record], limit: Record) -> list[str]:
    """Return what README shows: networks beside the published values."""
    on_test = limit_of(limit.metrics, "on_test")
    rows = [["network", "accuracy %", "mean step", "below the limit", "published"]]
    for which, when in WHICH.items():
        for key, points in readings(records, which).items():
            if not points:
                continue
            _, accuracy, step, _, below, _ = _row("", points, on_test)
            rows.append([f"{LABELS[key]}, {when}", accuracy, step, below, str(PUBLISHED[key])])
    return tables.markdown(rows)


WIDTH = 116
HEAD = ("accuracy %", "mean step", "inputs read", "below limit", "behind limit")
WIDTHS = (30, 14, 14, 14, 14, 14, 16)


def _row(label: str, points: list[Point], limit: Frontier) -> list[str]:
    """Return the cells of a line; distances are taken seed by seed."""
    far = [distance_to_frontier(p.step, p.accuracy, limit) for p in points]
    steps = [d.steps for d in far if d.steps is not None]
    return [
        label,
        spread([100 * p.accuracy for p in points]),
        spread([p.step for p in points]),
        spread([p.step + 1 for p in points]),
        spread([100 * d.accuracy for d in far]),
        spread(steps) if len(steps) == len(far) else "—",
    ]


def _table(title: str, rows: list[list[str]], more: str = "") -> list[str]:
    """Lay rows out; all tables have the same widths."""
    head = [title, *HEAD, more] if more else [title, *HEAD]
    return tables.text([head, *rows], "<>", widths=WIDTHS, gap="")


def _networks(records: Sequence[Record], limit: Frontier) -> list[str]:
    n, seeds = records[0].config["data"]["n_test"], {r.config["train"]["seed"] for r in records}
    about = (
        "Two-sequence problem (Figure 2). Mean step: decision step, 0..39, silent sequences at 39; "
        "inputs read: one more. Below limit: points of accuracy that the best stopping rule has "
        "more at the same mean step. Behind limit: steps that it needs less for the same accuracy; "
        f"— where no rule reaches it. Both on the test set of the networks ({n:,} sequences), so "
        f"that noise is shared. Seeds: {len(seeds)}; ± is the standard deviation over them."
    )
    lines = wrap(about, WIDTH)
    for which, label in WHICH.items():
        rows = [
            [*_row(LABELS[k], p, limit), str(PUBLISHED[k])]
            for k, p in readings(records, which).items()
            if p
        ]
        lines += ["", *_table(label, rows, "published")]
    return lines


TIMES = (6, 8, 10, 12, 14, 16, 18, 20, 22)
"""Mean decision steps at which the θ sweeps are compared."""


def accuracy_at(record: Record, which: str, step: float) -> float:
    """Return the accuracy of a θ sweep at a mean step, linear between neighbours.

    It is reached by tossing a coin between two θ. Outside the sweep it is not a number.
    """
    points = sorted((r["mean_step"], r["accuracy"]) for r in record.metrics[which]["sweep"])
    x, y = zip(*points, strict=True)
    return float(np.interp(step, x, y, left=np.nan, right=np.nan))


def _equal_times(records: Sequence[Record], limit: Frontier) -> list[str]:
    """Return what training by rank coding gains at equal mean time, θ swept."""
    rows = [["", *map(str, TIMES)]]
    for which, label in WHICH.items():
        for method in ("rc", "eos"):
            mine = [r for r in records if r.config["train"]["method"] == method]
            if mine:
                cells = ([100 * accuracy_at(r, which, t) for r in mine] for t in TIMES)
                shown = ["—" if any(map(isnan, c)) else spread(c) for c in cells]
                rows.append([f"{method.upper()}, {label}", *shown])
    rows.append(["limit", *(f"{100 * limit.accuracy_at(t):.2f}" for t in TIMES)])
    table = tables.text(rows, "<>", widths=(36, 14), gap="")
    return ["", "Accuracy % at equal mean steps, θ swept:", *table]


def _published(limit: Frontier) -> list[str]:
    """Return the published points against the limit, for both ways to count their steps."""
    about = (
        "Published values against the limit, its accuracy known to a few thousandths: first as if "
        "their steps counted inputs read, as the paper's 40th time-step does, then as if they were "
        "decision steps from 0. The size of the paper's test set is not stated; with 2,000 "
        "sequences, as for validation, an accuracy of 95 % has a standard error of 0.5 points."
    )
    rows = [
        _row(LABELS[key], [Point(p.accuracy / 100, float(p.steps - back))], limit)
        for key, p in PUBLISHED.items()
        for back in ((1, 0) if key != "end" else (1,))
    ]
    return ["", *wrap(about, WIDTH), *_table("", rows)]


def _rules(limit: Record) -> list[str]:
    """Return what rules with the exact posterior achieve on fresh sequences."""
    found, c = limit.metrics["fresh"], limit.config
    best = limit_of(limit.metrics)
    named = [("optimal", i, f"best, c = {x:g}") for i, x in enumerate(c["costs"])][::4]
    named += [("posterior", i, f"posterior >= {x:g}") for i, x in enumerate(c["thetas"])]
    named += [
        ("deadline", i, f"at step {i}") for i in (CUT - 1, len(found["deadline"]["counted"]) - 1)
    ]
    noise = max(max(r["accuracy_error"]) for r in found.values())
    about = (
        f"Rules with the exact posterior on {c['n']:,} fresh sequences. Standard errors of the "
        f"accuracy are at most {100 * noise:.3f} points; a grid coarser by half changes "
        f"P(error) + c E[step] by at most {limit.metrics['refinement']:.0e}."
    )
    rows = [
        _row(label, [Point(found[rule]["accuracy"][i], found[rule]["mean_step"][i])], best)
        for rule, i, label in named
    ]
    return ["", *wrap(about, WIDTH), *_table("", rows)]


def _sweeps(records: Sequence[Record], which: str, limit: Frontier) -> list[str]:
    lines = []
    for method in ("rc", "eos"):
        swept: list[list[dict[str, Any]]] = [
            r.metrics[which]["sweep"] for r in records if r.config["train"]["method"] == method
        ]
        for rows in zip(*swept, strict=True):
            points = [Point(r["accuracy"], r["mean_step"]) for r in rows]
            lines.append(_row(f"{method.upper()}, θ = {rows[0]['theta']:g}", points, limit))
    return ["", *_table(f"θ swept, {WHICH[which]}", lines)]
