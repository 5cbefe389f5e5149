"""How the advantage over the authors' recipe holds as threads are added: `--sweep`."""

import os
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

import torch

from benchmarks.speed.machine import profile, seconds
from benchmarks.speed.programs import NEVER, AuthorsRecipe, dense_step, training_step
from benchmarks.speed.ratios import Ratio, compare
from encoders.mnist import Split
from encoders.temporal_mnist import latency_sequences, take
from rc_snn.models import RCLSTM
from rc_snn.optimizer import Adam
from rc_snn.training import ANSWER_AT_ONCE

TARGET = 8.0
"""Of the ratio where all answer at step 0, however many threads."""


def counts() -> list[int]:
    """Return the numbers of threads: 1, 2, 4, … up to the processors that this process may use."""
    most = len(os.sched_getaffinity(0))
    return sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | {most})


def measure(digits: Split, n_steps: int, batch_size: int, repeats: int) -> dict[str, Any]:
    """Compare a training step with each number of threads, and say where its own time goes.

    Beside it stand what does not become less: Adam, which waits for memory, and the step of a
    network of 8 hidden units, which is calls and small tensors.
    """
    batch = latency_sequences(take(digits, torch.arange(batch_size)), n_steps)
    before, rows = torch.get_num_threads(), []
    try:
        for n in counts():
            torch.set_num_threads(n)
            authors = dense_step(AuthorsRecipe(), batch, NEVER)
            floor = seconds(training_step(RCLSTM(n_hidden=8), batch, ANSWER_AT_ONCE), repeats)
            for name, theta, target in (
                ("all at step 0", ANSWER_AT_ONCE, TARGET),
                ("nothing fires", NEVER, None),
            ):
                model = RCLSTM()
                step = training_step(model, batch, theta)
                found = compare(f"LSTM {name}, {n} threads", authors, step, repeats, target)
                parts = {"optimizer": _optimizer(model), "floor": floor, "own": profile(step)}
                rows.append(asdict(found) | {"threads": n} | parts)
    finally:
        torch.set_num_threads(before)
    return {"rows": rows}


def _optimizer(model: RCLSTM) -> float:
    """Return what Adam takes alone: a pass over memory, which threads share."""
    optimizer = Adam(model, lr=0.0)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    return seconds(optimizer.step, 10)


def lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each number of threads and each ratio."""
    for row in metrics["rows"]:
        known = {field.name: row[field.name] for field in fields(Ratio)}
        yield (
            f"{Ratio(**known)}; Adam alone {1e3 * row['optimizer']:.2f} ms, "
            f"with 8 hidden units {1e3 * row['floor']:.2f} ms"
        )
        yield f"    own time: {row['own']}"
