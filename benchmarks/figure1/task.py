"""Figure 1 of the paper, continuous sequence spotting: `python -m benchmarks.figure1`.

An LSTM reads 25 binary steps and says whether five equal values occur in a row. One is trained by
rank coding (RC), one from the end of the sequence (EOS), as appendix A.1 says. The figure shows
sequences, labels, first spikes and activations of both, how late spikes are against the earliest
possible step, and the exact limit: what an optimal observer decides, and when. It is drawn from the
records in results/figure1; `--train` makes those first, and resumes where it was stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.figure1 import plot, spotting
from benchmarks.figure1.spotting import METHODS, THETA, Judge, least_step, of, points, pooled
from benchmarks.record import Record
from benchmarks.report import tables
from benchmarks.report.numbers import seeds, spread
from benchmarks.run import Options, TaskRun
from benchmarks.task import Task
from encoders.sequence_spotting import N_STEPS, RUN, posterior, posterior_rule

COUNTS = ("fired", "negative", "fired_of_positives", "negative_of_positives", "silent_negatives")
LAGS = (
    ("first", "positive_lag", "positives"),
    ("first", "negative_lag", "negatives"),
    ("positive_only", "positive_lag", "positives"),
)


def targets(records: Sequence[Record]) -> list[str]:
    """Say of each claim of the paper whether our networks meet it, and by how much."""
    rc, eos, lines = of(records, "rc"), of(records, "eos"), []

    def line(claim: str, values: list[float], met: bool) -> None:
        lines.append(
            f"{'met   ' if met else 'MISSED'}  {claim}: {spread([100 * v for v in values])} %"
        )

    if rc:
        right = [s["first"]["correct"] / s["n"] for s in rc]
        line("RC accuracy >= 99.9 % (paper: 100 %)", right, min(right) >= 0.999)
        prompt = [s["first"]["positive_lag"].get("0", 0) / s["n_positive"] for s in rc]
        line(
            "RC positive spikes at the earliest possible step in >= 95 % of positives "
            '(paper: "almost all")',
            prompt,
            min(prompt) >= 0.95,
        )
    if eos:
        negative = [s["first"]["negative"] / max(s["first"]["fired"], 1) for s in eos]
        line(
            'EOS first spikes are negative in >= 95 % (paper: "always")',
            negative,
            min(negative) >= 0.95,
        )
        late = pooled(eos, "positive_only", "positive_lag")
        mode = max(late, key=lambda lag: late[lag]) if late else None
        line(
            f"EOS positive spikes, negative ones ignored, are most often one step late (paper: one "
            f"step; here most often {mode}); share one step late",
            [s["positive_only"]["positive_lag"].get("1", 0) / s["n_positive"] for s in eos],
            mode == 1,
        )
    return lines


def table(records: Sequence[Record]) -> list[str]:
    """Return the ways to answer beside the exact limit."""
    head = ("", "accuracy %", "mean step", "least step possible")
    rows = [
        (f"exact: posterior >= {level:g}", f"{100 * r.accuracy:.2f}", f"{r.mean_step:.2f}", "")
        for level in (0.9, THETA, 1.0)
        for r in (posterior_rule(level),)
    ]
    for point in points(records):
        least = [least_step(a) for a in point.accuracy]
        rows.append(
            (
                point.name,
                spread([100 * a for a in point.accuracy]),
                spread(point.mean_step),
                spread(least),
            )
        )
    return tables.text([head, *rows], "<>")


def text(records: Sequence[Record]) -> str:
    """Return everything that the records and the exact limit say, for figure1.txt."""
    first = records[0]
    n = first.metrics["spikes"]["n"]
    prior = 100 * posterior()[0, 0].item()
    names = ", ".join(r.name for r in records)
    counts = [r.config["train"]["epochs"] * r.config["data"]["n_epoch"] for r in records]
    lines = [
        f"Sequence spotting: {RUN} equal values in a row within {N_STEPS} steps.",
        f"{100 * first.metrics['spikes']['n_positive'] / n:.2f} % of {n:,} test sequences are "
        f"positive; exactly {prior:.3f} % of all sequences.",
        f"Trained on {max(counts):,} sequences; records: {names}",
        "",
        *table(records),
        "",
        "least step possible: the mean step of an optimal observer with the same accuracy (exact).",
        f"No posterior lies between {100 * closest():.2f} % and certainty, so that for any "
        f"threshold above it (θ = {THETA}) the rule is to be certain.",
        "",
        *targets(records),
        "",
        *details(records),
    ]
    return "\n".join(lines)


def closest() -> float:
    """Return the largest posterior of either class that is not certainty."""
    f = posterior()
    p = torch.maximum(f, 1.0 - f)
    return float(p[p < 1.0].max())


def details(records: Sequence[Record]) -> list[str]:
    """Say how first spikes and lags are distributed, over all seeds."""
    lines = []
    for method in METHODS:
        spikes = of(records, method)
        if not spikes:
            continue
        n, n_positive = (sum(s[k] for s in spikes) for k in ("n", "n_positive"))
        total = {k: sum(s["first"][k] for s in spikes) for k in COUNTS}
        lines += [
            f"{method.upper()}: fired {100 * total['fired'] / n:.2f} %; negative are "
            f"{100 * total['negative'] / max(total['fired'], 1):.2f} % of first spikes, "
            f"{100 * total['negative_of_positives'] / max(total['fired_of_positives'], 1):.2f} % of"
            f" those of positive sequences; silent: {n - total['fired']:,}, of which negative "
            f"{total['silent_negatives']:,}"
        ]
        for kind, which, whole in LAGS:
            base = n_positive if whole == "positives" else n - n_positive
            shares = sorted(pooled(spikes, kind, which).items())
            shown = "  ".join(f"{k:+d}: {100 * v / base:.2f}" for k, v in shares)
            lines.append(f"  {kind}, {which}, % of {whole} at each lag: {shown}")
    return lines


@dataclass(frozen=True)
class Figure1Options(Options):
    """The options of every task, for three seeds."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """One network of each kind for each seed."""
    judge: Judge = "method"
    """What EOS's kept epoch is best at: its answers at the end, or first spikes (appendix A.2)."""


class Figure1(Task):
    """Sequence spotting: draw Figure 1 and say what it shows, from records."""

    name, options = "figure1", Figure1Options
    make = staticmethod(spotting.make)
    text = staticmethod(text)

    def runs(self, options: Figure1Options) -> list[TaskRun]:
        """Return the runs behind the figure."""
        return spotting.runs(options, options.judge)

    def draw(self, records: Sequence[Record], options: Options, path: Path) -> None:
        """Draw rasters, lags and the exact limit."""
        plot.draw(records, path)

    def readme(self, results: Path) -> list[str]:
        """Return the paper's claims, and whether they are met."""
        options = Figure1Options(results=results)
        records = self.find(options)
        n, lines = records[0].metrics["spikes"]["n"], targets(records)
        return [
            f"**Sequence spotting** (Figure 1; {n:,} test sequences, {seeds(options.seeds)})",
            "",
            *(f"- {claim}: {word}" for word, claim in (line.split(maxsplit=1) for line in lines)),
        ]


TASK = Figure1()
