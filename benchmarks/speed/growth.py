"""How the cost of a training step grows: with T, hidden size, batch, and when samples answer."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.report import tables
from benchmarks.speed.machine import bytes_for_backward, seconds
from benchmarks.speed.programs import NEVER, AuthorsRecipe, dense_step, training_step
from encoders.mnist import Split
from encoders.temporal_mnist import latency_sequences, take
from rc_snn.models import RCLSTM
from rc_snn.progress import say
from rc_snn.sequences import Labelled, SpikeSequences
from rc_snn.training import ANSWER_AT_ONCE


def cut(batch: Labelled, step: int) -> Labelled:
    """Return the sequences as far as this step: every sample that runs to the end answers there."""
    assert isinstance(batch.inputs, SpikeSequences)
    steps = batch.inputs.steps.clamp(max=step + 1)
    return Labelled(SpikeSequences(steps, step + 1), batch.labels)


def fit(x: list[float], y: list[float]) -> dict[str, float]:
    """Return the least-squares line through points, and how much of the variance it explains."""
    slope, offset = np.polyfit(x, y, 1)
    left = np.array(y) - (slope * np.array(x) + offset)
    r2 = 1.0 - float((left**2).sum() / ((np.array(y) - np.mean(y)) ** 2).sum())
    return {"offset": float(offset), "slope": float(slope), "r2": r2}


def measure(digits: Split, n_steps: int, batch_size: int, repeats: int) -> dict[str, Any]:
    """Return how cost grows with T, hidden size, batch and mean spike time."""
    split = take(digits, torch.arange(batch_size))
    n, rows = max(3, repeats // 5), []

    def step_seconds(batch: Labelled, theta: float, hidden: int = 340) -> float:
        return seconds(training_step(RCLSTM(784, hidden), batch, theta), n)

    def add(of: str, value: int, batch: Labelled, hidden: int = 340) -> None:
        authors = seconds(dense_step(AuthorsRecipe(hidden), batch, NEVER), max(3, n // 2))
        full, early = (step_seconds(batch, theta, hidden) for theta in (NEVER, ANSWER_AT_ONCE))
        row = {
            "of": of,
            "value": value,
            "authors_ms": 1e3 * authors,
            "full_ms": 1e3 * full,
            "step0_ms": 1e3 * early,
            "full_x": authors / full,
            "step0_x": authors / early,
            "kept_mb": bytes_for_backward(RCLSTM(784, hidden), batch.inputs, ANSWER_AT_ONCE) / 1e6,
        }
        say(_line(row))
        rows.append(row)

    for steps in (5, 10, 20, 50, 100, 200):
        add("T", steps, latency_sequences(split, steps))
    batch = latency_sequences(split, n_steps)
    for hidden in (64, 128, 256, 512, 1024, 2048):
        add("hidden", hidden, batch, hidden)
    for size in (8, 32, 128, 512):
        add("batch", size, latency_sequences(take(digits, torch.arange(size)), n_steps))
    long = latency_sequences(split, 200)
    computed = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]
    times = [step_seconds(cut(long, int(c) - 1), NEVER) for c in computed]
    at = [{"step": int(c) - 1, "ms": 1e3 * t} for c, t in zip(computed, times, strict=True)]
    return {"rows": rows, "all_answer_at": at, "fit": fit(computed, times)}


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield what was measured, line by line."""
    yield _cells("", "", "authors ms", "full ms", "step 0 ms", "full x", "step0 x", "kept MB")
    yield from map(_line, found["rows"])
    for at in found["all_answer_at"]:
        yield f"T = 200, all answer at step {at['step']:>3}: {at['ms']:>8.2f} ms"
    yield in_words(found["fit"])


def in_words(line: dict[str, float]) -> str:
    """Say a fitted line in milliseconds."""
    return (
        f"time = {1e3 * line['offset']:.2f} ms + {1e3 * line['slope']:.3f} ms * steps computed, "
        f"R² = {line['r2']:.4f}"
    )


def _line(row: dict[str, Any]) -> str:
    times = f"{row['authors_ms']:.1f}", f"{row['full_ms']:.1f}", f"{row['step0_ms']:.2f}"
    ratios = f"{row['full_x']:.1f}", f"{row['step0_x']:.1f}"
    return _cells(row["of"], str(row["value"]), *times, *ratios, f"{row['kept_mb']:.3f}")


def _cells(*shown: str) -> str:
    (row,) = tables.text([shown], "<>", widths=(8, 6, 11, 12, 12, 9, 9, 11), gap="")
    return row
