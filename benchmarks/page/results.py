"""What the page shows of the records: every number is of a record, and says of which."""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import figure3, figure4, figure5, record
from benchmarks.figure1 import task as figure1
from benchmarks.figure2 import task as figure2
from benchmarks.keywords import peers
from benchmarks.page.provenance import Provenance
from benchmarks.page.text import base64_of
from benchmarks.record import Record
from benchmarks.report.numbers import mean_and_half
from benchmarks.speed import task as speed
from benchmarks.table1 import table, tradeoff
from benchmarks.table1.accuracy_time import CLOCKS
from benchmarks.table1.all_rows import ROWS
from benchmarks.table1.rows import YOURS, Row
from encoders.mnist import load_mnist

FIGURES: dict[str, Any] = {
    "Figure 1: sequence spotting, beside the exact limit": figure1.TASK,
    "Figure 2: the two-sequence problem, beside Bayes-optimal stopping": figure2.TASK,
    "Figure 4: keywords, accuracy and spike time while learning": figure4.TASK,
    "Figure 5: keywords, accuracy against time over θ": figure5.TASK,
    "Peers in early inference, on the same keyword networks": peers.TASK,
}
COMPARED = {
    "device": "ours against cuDNN over whole sequences",
    "ratios": "ours against the authors' recipe (LSTM), and against the dense network (ConvLSTM)",
    "baselines": "spiking baselines, by events",
    "anytime": "drawn thresholds against rank coding with one",
    "growth": "how cost grows with length, width and batch",
    "threads": "more threads",
}
"""What the records of `benchmarks.speed` compare, in the order in which they are shown."""


def content(known: Provenance) -> dict[str, Any]:
    """Return all that the first tab shows."""
    found = table1_records(known.results)
    return {
        "title": "rc_snn: rank coding, measured",
        "clocks": CLOCKS,
        "table1": table1(found, known),
        "notes": [*table.NOTES, table.YOURS_NOTE],
        "curves": curves(known),
        "figures": figures(known),
        "peers": peer_rows(known),
        "speed": speed_rows(known),
        "training": training_times(known),
    }


def table1_records(results: Path) -> list[Record]:
    """Return the records of Table 1 on MNIST, and of networks of others.

    Where there is none of these, those on the embedded digits.
    """
    folder = results / "table1"
    found = table.records_on(folder, "MNIST", quick=False)
    return found or table.records_on(folder, "MNIST-5k")


def table1(records: Sequence[Record], known: Provenance) -> list[dict[str, Any]]:
    """Return the lines of Table 1: the cells as the table writes them, and what they are sorted by.

    A published row without a record has its claim alone.
    """
    found = table.groups(records)
    lines = [(row, group) for row, group in found]
    lines += [(row, []) for row in ROWS if row.name not in {of.name for of, _ in found}]
    return [_line(row, group, known) for row, group in sorted(lines, key=lambda x: x[0].line)]


def _line(row: Row, group: list[Record], known: Provenance) -> dict[str, Any]:
    texts = table.line(row, group) if group else [row.regime, row.model, row.architecture]
    cells = dict(zip(table.HEADER, texts, strict=False)) | {"published %": row.published}
    shown = table.stand_for(group)
    return {
        "cells": cells,
        "legend": row.legend,
        "yours": bool(group) and group[0].config["profile"] == YOURS,
        "values": _values(shown) if shown else {},
        "records": known.of(group),
    }


def _values(group: Sequence[Record]) -> dict[str, Any]:
    """Return the means over seeds behind the cells; None where there is none, or it is infinite."""

    def of(value: Callable[[dict[str, Any]], float | None]) -> float | None:
        values = [value(r.metrics) for r in group]
        known = [v for v in values if v is not None]
        return mean(known) if len(known) == len(values) else None

    return {
        "accuracy": of(lambda m: 100 * m["accuracy"]),
        **{clock: of(lambda m, c=clock: m[c] and m[c]["mean"]) for clock in CLOCKS},  # type: ignore[misc]
        "fired": of(lambda m: 100 * m["fired"] / m["n"]),
        "synops": of(lambda m: m["synops_ac"] and m["synops_ac"] + (m["synops_mac"] or 0)),
        "macs": of(lambda m: m["macs"]),
    }


def curves(known: Provenance) -> list[dict[str, Any]]:
    """Return accuracy against mean time on the strict clock, as θ or a temperature is swept."""
    found = record.read_all(known.results / "tradeoff")
    return [
        {
            "label": c.label,
            "points": [(time, 100 * accuracy) for time, accuracy in c.points],
            "records": known.of(c.records),
        }
        for c in tradeoff.curves(found)
        if c.points
    ]


def figures(known: Provenance) -> list[dict[str, Any]]:
    """Return the figures, drawn from their records, and what their records say.

    One without records has the reason in place of the image.
    """
    found = []
    for title, task in FIGURES.items():
        try:
            options = _options(task, known.results)
            records = task.find(options)
            image = _drawn(partial(task.draw, records, options))
            shown = {"image": image, "text": task.text(records), "records": known.of(records)}
        except ValueError as error:
            shown = {"missing": str(error)}
        found.append({"title": title, **shown})
    found.insert(2, {"title": "Figure 3: learning slowly first, then fast", **_figure3(known)})
    return found


def _options(task: Any, results: Path) -> Any:
    """Return the options of a task, with the seeds that have a record where it asks for all."""
    if task is not peers.TASK:
        return task.options(results=results)
    folder = record.read_all(results / task.name)
    seeds = sorted(r.config["seed"] for r in folder if r.config["profile"] == "paper")
    if not seeds:
        raise ValueError(f"{results / task.name} has no record of the paper profile.")
    return task.options(results=results, seeds=tuple(seeds))


def _figure3(known: Provenance) -> dict[str, Any]:
    records = record.read_all(known.results / "figure3")[:1]
    if not records:
        return {"missing": f"{known.results / 'figure3'} has no record."}
    digits = load_mnist(download=False)
    image = _drawn(partial(figure3.draw, records[0], digits))
    return {
        "image": image,
        "text": figure3.TASK.summary(records[0]),
        "records": known.of(records),
    }


def _drawn(draw: Callable[[Path], None]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "figure.png")
        draw(path)
        return f"data:image/png;base64,{base64_of(path.read_bytes())}"


def peer_rows(known: Provenance) -> dict[str, Any]:
    """Return what each training and exit rule reaches: areas, and accuracies within a mean time."""
    try:
        records = peers.TASK.find(_options(peers.TASK, known.results))
    except ValueError as error:
        return {"missing": str(error)}
    rows = records[0].metrics["rows"]
    times = list(next(iter(rows.values()))["at_ms"])

    def cell(name: str, value: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
        values = [100 * value(r.metrics["rows"][name]) for r in records]
        return {"text": mean_and_half(values), "value": mean(values)}

    return {
        "columns": ["trained and stopped by", "area", *(f"{t} ms" for t in times)],
        "rows": [
            {
                "name": name,
                "cells": [
                    cell(name, lambda row: row["area"]),
                    *(cell(name, lambda row, t=t: row["at_ms"][t]) for t in times),  # type: ignore[misc]
                ],
            }
            for name in rows
        ],
        "records": known.of(records),
    }


def speed_rows(known: Provenance) -> list[dict[str, Any]]:
    """Return what was compared on each machine, GPUs first, with the text of each record."""
    order = list(COMPARED)
    found = [r for r in record.read_all(known.results / "speed") if r.config["what"] in order]
    return [
        {
            "what": COMPARED[r.config["what"]],
            "machine": f"{r.machine.get('gpu') or r.machine['cpu']}, torch {r.versions['torch']}",
            "gpu": r.machine.get("gpu") is not None,
            "ratios": r.metrics.get("ratios", []),
            "text": "\n".join(speed.lines(r)),
            "records": known.of([r]),
        }
        for r in sorted(found, key=lambda r: order.index(r.config["what"]))
    ]


def training_times(known: Provenance) -> list[dict[str, Any]]:
    """Return how long each recipe trained until it was right often enough."""
    records = record.read_all(known.results / "time_to_accuracy")
    return [
        {
            "recipe": r.config["recipe"],
            "records": known.of([r]),
            **{k: r.metrics[k] for k in ("reached", "minutes", "epochs", "best_accuracy")},
        }
        for r in reversed(records)  # ours first
    ]
