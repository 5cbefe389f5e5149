"""Event-camera digits, N-MNIST, decided in milliseconds: `python -m benchmarks.nmnist`.

An LSTM reads what an event camera saw, in steps of 20 ms, while the camera made three saccades over
a digit. One is trained by rank coding (RC), one from the end of the recording (EOS); both are read
out at many thresholds θ. 500 recordings are there to train, of which 100 choose θ, and 100 to test:
so few that every accuracy stands beside its binomial interval. Figure and table are drawn from the
records in results/nmnist; `--train` makes those first, and resumes where it was stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from benchmarks.nmnist import event_digits, plot
from benchmarks.nmnist.event_digits import METHODS, SACCADES_MS, THETA, frames_of, of
from benchmarks.record import Record
from benchmarks.report import tables
from benchmarks.report.numbers import bootstrap_interval, count_interval, seeds, spread
from benchmarks.run import Options
from benchmarks.task import Task
from rc_snn.exits import Curve, choose

BUDGETS_MS = (80.0, 100.0, 120.0, 140.0, 160.0, 180.0, 200.0, 240.0, 280.0)
"""Mean decision times at which RC and EOS are compared."""


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
    return points[0], points[1], (float(difference.mean()), *bootstrap_interval(difference))


def _right(points: list[dict[str, Any]]) -> Any:
    return np.array([[int(c) for c in p["right"]] for p in points], dtype=float)


def table(records: Sequence[Record]) -> str:
    """Return the table as text."""
    first = records[0]
    frames, n = frames_of(first.config), first.metrics["end"]["account"]["n"]
    of_seeds = [r.config["train"]["seed"] for r in of(records, "rc")]
    lines = [
        f"N-MNIST, {n} test recordings, each read once per record; profile "
        f"{first.config['profile']}, seeds {of_seeds}; mean ± std over seeds.",
        f"A step is {frames.step_us / 1000:g} ms, a recording {frames.duration_ms:g} ms; a "
        "decision at step s has seen (s + 1) steps.",
        f"CI: exact binomial 95 % interval of the mean count of {n} recordings. It is wide: "
        "differences of a few points are noise.",
        "",
    ]
    rows: list[tuple[str, ...]] = [HEAD]
    for method in METHODS:
        for key, what in (("fixed", "θ fixed"), ("chosen", "θ chosen"), ("end", "at the end")):
            if found := [r.metrics[key] for r in of(records, method)]:
                rows.append(_row(f"{method.upper()}, {what}", found))
    lines += tables.text(rows, "<>", widths=WIDTHS, gap="")
    lines += ["", "Decisions by saccade (100 ms each, nominally): number of decisions, and % right"]
    for method in METHODS:
        if found := [r.metrics["fixed"] for r in of(records, method)]:
            lines.append(f"{method.upper()}, θ = {THETA}: {_saccades(found)}")
    return "\n".join(lines + _budgets(records)) + "\n"


HEAD = (
    *("", "θ", "accuracy %", "CI", "mean ms", "median"),
    *("events seen", "regime", "fired", "MMAC", "of full"),
)
WIDTHS = (14, 12, 14, 16, 14, 8, 13, 9, 7, 7, 9)


def _row(name: str, found: list[dict[str, Any]]) -> tuple[str, ...]:
    accounts = [m["account"] for m in found]
    right = [a["correct"] for a in accounts]
    low, high = count_interval(round(mean(right)), accounts[0]["n"])
    return (
        name,
        " ".join(sorted({"—" if m["theta"] is None else f"{m['theta']:g}" for m in found})),
        spread([100 * a["accuracy"] for a in accounts], 1),
        f"{100 * low:.1f}-{100 * high:.1f}",
        spread([m["mean_ms"] for m in found], 0),
        f"{mean(m['median_ms'] for m in found):.0f}",
        f"{100 * mean(a['input_seen']['mean'] for a in accounts):.0f}%",
        accounts[0]["strict_clock"]["regime"],
        f"{100 * mean(a['fired'] / a['n'] for a in accounts):.0f}%",
        f"{mean(a['macs'] for a in accounts) / 1e6:.2f}",
        f"{100 * mean(a['macs'] / a['macs_full'] for a in accounts):.0f}%",
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
    ]
    rows = [("mean ms <=", "RC %", "at ms", "EOS %", "at ms", "RC - EOS", "")]
    for budget in BUDGETS_MS:
        a, b, (difference, low, high) = compared(rc, eos, budget)
        (rc_right, rc_ms), (eos_right, eos_ms) = (
            [mean(p[key] for p in side) for key in ("accuracy", "mean_ms")] for side in (a, b)
        )
        rows.append(
            (
                f"{budget:g}",
                f"{100 * rc_right:.1f}",
                f"{rc_ms:.0f}",
                f"{100 * eos_right:.1f}",
                f"{eos_ms:.0f}",
                f"{100 * difference:+.1f}",
                f"  [{100 * low:+.1f}, {100 * high:+.1f}]",
            )
        )
    return lines + tables.text(rows, ">>>>>><", widths=(10, 8, 7, 8, 7, 10, 0), gap="")


@dataclass(frozen=True)
class EventDigits(Options):
    """The options of every task, for three seeds."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """One network of each kind for each seed."""


class NMNIST(Task):
    """Event-camera digits: draw and tabulate decisions in milliseconds, from records."""

    name, options = "nmnist", EventDigits
    runs = staticmethod(event_digits.runs)
    make = staticmethod(event_digits.make)
    text = staticmethod(table)

    def draw(self, records: Sequence[Record], options: Options, path: Path) -> None:
        """Draw a recording with its decisions, accuracy against time, and decision times."""
        _, test = event_digits.recordings(options.data)
        plot.draw(records, test, path)

    def readme(self, results: Path) -> list[str]:
        """Return both methods at their θ."""
        options = EventDigits(results=results)
        records = self.find(options)
        n = records[0].metrics["fixed"]["account"]["n"]
        rows = [["network", "accuracy %", "95 % interval", "mean ms", "events seen"]]
        for method in METHODS:
            _, _, accuracy, within, ms, _, seen, *_ = _row(
                "", [r.metrics["fixed"] for r in of(records, method)]
            )
            rows.append([method.upper(), accuracy, within, ms, seen.replace("%", " %")])
        return [
            f"**N-MNIST** ({n} test recordings of an event camera, θ = {THETA}, "
            f"{seeds(options.seeds)})",
            "",
            *tables.markdown(rows),
        ]


TASK = NMNIST()
