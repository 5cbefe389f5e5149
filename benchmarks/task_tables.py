"""What the README shows of the tasks beyond Table 1, from their records."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks import figure5
from benchmarks.figure1 import spotting as figure1_runs
from benchmarks.figure1 import task as figure1
from benchmarks.figure2 import table as figure2_table
from benchmarks.figure2 import task as figure2
from benchmarks.figure2.bayes_stopping import limit_of, made
from benchmarks.figure2.frontier import distance_to_frontier
from benchmarks.keywords import peers, peers_report
from benchmarks.keywords import task as keywords
from benchmarks.keywords.task import KeywordOptions
from benchmarks.nmnist import task as nmnist
from benchmarks.nmnist.event_digits import THETA
from benchmarks.nmnist.event_digits import runs as nmnist_runs
from benchmarks.record import Record
from benchmarks.report import tables
from benchmarks.report.numbers import count_interval, mean_and_half, seeds, spread
from benchmarks.tasks import TaskOptions, find

PEERS = (
    "EOS + θ",
    "EOS + per-step θ",
    "EOS + top-2 gap",
    "EOS + patience",
    "max-pooling loss + θ",
    "RC best β + θ",
    "RC best β + per-step θ",
    "every-step loss + θ",
    "every-step loss + per-step θ",
)
"""Rows of the comparison with peers that the README shows: one network per seed each."""


def block(results: Path) -> str:
    """Return all of it, as Markdown."""
    parts: list[Callable[[Path], list[str]]] = [
        _spotting,
        _two_sequence,
        _keywords,
        _peers,
        _events,
    ]
    return "\n".join(line for part in parts for line in [*part(results), ""])


def _spotting(results: Path) -> list[str]:
    options = TaskOptions(results=results)
    records = find(figure1_runs.runs(options), options)
    lines = [line.split(maxsplit=1) for line in figure1.targets(records)]
    n = records[0].metrics["spikes"]["n"]
    return [
        f"**Sequence spotting** (Figure 1; {n:,} test sequences, {seeds(options.seeds)})",
        "",
        *(f"- {claim}: {word}" for word, claim in lines),
    ]


def _two_sequence(results: Path) -> list[str]:
    options = TaskOptions(results=results)
    records = find(figure2.runs(options), options)
    limit = limit_of(made("paper", results).metrics, "on_test")
    lines = [
        f"**Two-sequence problem** (Figure 2; {seeds(options.seeds)}; below the limit: points "
        "that the best stopping rule has more at the same mean step)",
        "",
    ]
    rows = [["network", "accuracy %", "mean step", "below the limit", "published"]]
    for which, when in figure2_table.WHICH.items():
        for key, points in figure2_table.readings(records, which).items():
            far = [distance_to_frontier(p.step, p.accuracy, limit) for p in points]
            published = figure2_table.PUBLISHED[key]
            rows.append(
                [
                    f"{figure2_table.LABELS[key]}, {when}",
                    spread([100 * p.accuracy for p in points]),
                    spread([p.step for p in points]),
                    spread([100 * d.accuracy for d in far]),
                    f"{published.accuracy:g} at {published.steps}",
                ]
            )
    return lines + tables.markdown(rows)


def _keywords(results: Path) -> list[str]:
    options = KeywordOptions(results=results)
    done = keywords.records(options)
    found = figure5.within(done, torch.tensor(peers.AT_MS, dtype=torch.float64))
    n = done[0].metrics["n"]
    lines = [
        f"**Keywords** (Figure 5; accuracy in % within a mean time heard, {n:,} test clips; ± 95 % "
        f"over {seeds(options.seeds)}; choices on validation)",
        "",
    ]
    rows = [["", *(f"{ms:g} ms" for ms in peers.AT_MS)]]
    rows += [[name, *figure5.cells(values)] for name, values in found.items()]
    return [*lines, *tables.markdown(rows), "", *(f"{line}." for line in figure5.verdict(found))]


def _peers(results: Path) -> list[str]:
    options = KeywordOptions(results=results)
    done = peers.find(results / "peers", options.profile, options.seeds)
    rows = done[0].metrics["rows"]
    lines = [
        "**Peers in early inference** (the same keyword networks; area under the accuracy-time "
        f"curve in %, ± 95 % over {seeds(options.seeds)})",
        "",
    ]
    table = [["trained and stopped by", "area", f"minus {peers_report.REFERENCES[0]}"]]
    for name in PEERS:
        if name in rows:
            area = [100 * r.metrics["rows"][name]["area"] for r in done]
            base = [100 * r.metrics["rows"][peers_report.REFERENCES[0]]["area"] for r in done]
            gain = [a - b for a, b in zip(area, base, strict=True)]
            table.append([name, mean_and_half(area), mean_and_half(gain, signed=True)])
    return lines + tables.markdown(table)


def _events(results: Path) -> list[str]:
    options = nmnist.EventDigits(results=results)
    records = find(nmnist_runs(options), options)
    lines = [
        f"**N-MNIST** ({_count(records)} test recordings of an event camera, θ = {THETA}, "
        f"{seeds(options.seeds)})",
        "",
    ]
    rows = [["network", "accuracy %", "95 % interval", "mean ms", "events seen"]]
    for method in ("rc", "eos"):
        found = [r.metrics["fixed"] for r in nmnist.of(records, method)]
        accounts = [m["account"] for m in found]
        right = sum(a["correct"] for a in accounts) / len(accounts)
        low, high = count_interval(round(right), accounts[0]["n"])
        seen = sum(a["input_seen"]["mean"] for a in accounts) / len(accounts)
        rows.append(
            [
                method.upper(),
                spread([100 * a["accuracy"] for a in accounts], 1),
                f"{100 * low:.1f}-{100 * high:.1f}",
                spread([m["mean_ms"] for m in found], 0),
                f"{100 * seen:.0f} %",
            ]
        )
    return lines + tables.markdown(rows)


def _count(records: Sequence[Record]) -> int:
    return int(records[0].metrics["fixed"]["account"]["n"])
