"""What stopping early saves, as ratios measured in one process: `python -m benchmarks.speed`.

Two programs take turns on the same batch and threads; a ratio is the median over the turns of
(time of the slow one / time of the fast one), printed with its quartiles. No test asserts a time.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn
from tqdm import tqdm

from encoders.sources import load_mnist
from encoders.temporal_mnist import latency_sequences, take
from rc_snn.models import RCLSTM
from rc_snn.objective import rc_loss
from rc_snn.runner import Sequences, SpikeSequences, run
from rc_snn.spikes import first_spike, spike_frames
from rc_snn.training import Labelled

EARLY = 0.05
"""A threshold below the uniform output of ten classes: every sample fires at step 0."""
NEVER = 1.0 - 1e-6
"""A threshold that a network at its initial weights never reaches: every sample runs to the end."""


@dataclass(frozen=True)
class Speed:
    """Measure the saving of early answers on RC-LSTM 784-340-10."""

    n_steps: int = 10
    """Steps per frame, T."""
    batch_size: int = 128
    """Samples per training step."""
    repeats: int = 30
    """Turns of each program."""
    threads: int = 1
    """CPU threads."""
    data: Path | None = None
    """Folder with MNIST; default: as for table1."""
    json: Path | None = None
    """Also write the ratios to this file."""


@dataclass(frozen=True)
class Ratio:
    """A measured ratio and what is asked of it."""

    name: str
    ratio: float
    target: float | None
    """At least this; None: shown for orientation, no target yet."""
    unit: str
    spread: tuple[float, float] | None = None
    """Lower and upper quartile over the turns."""


def training_step(batch: Labelled, theta: float) -> Callable[[], None]:
    """Return one RC training step with Adam, on a network of its own."""
    model = RCLSTM()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)  # stays where nothing fires

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        rc_loss(run(model, batch.inputs, theta).logits, batch.labels, 0.1).backward()
        optimizer.step()

    return step


class AuthorsRecipe(nn.Module):
    """Dense input, nn.LSTM over all steps, gather at the first spike, as in the notebooks."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.output = nn.LSTM(784, 340), nn.Linear(340, 10)

    def forward(self, frames: Tensor, theta: float) -> Tensor:
        """Return the logits at each sample's first spike."""
        logits: Tensor = self.output(self.lstm(frames)[0])
        step, _ = first_spike(F.softmax(logits.detach(), dim=-1), theta)
        return logits[step, torch.arange(frames.shape[1])]


def authors_step(batch: Labelled, theta: float) -> Callable[[], None]:
    """Return one training step of the authors' recipe, on a network of its own."""
    assert isinstance(batch.inputs, SpikeSequences)
    model, steps, n_steps = AuthorsRecipe(), batch.inputs.steps, batch.inputs.n_steps
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        frames = spike_frames(steps, n_steps)  # the notebook expands every batch, too
        rc_loss(model(frames, theta), batch.labels, 0.1).backward()
        optimizer.step()

    return step


def compare(
    name: str,
    slow: Callable[[], None],
    fast: Callable[[], None],
    repeats: int,
    target: float | None,
) -> Ratio:
    """Let two programs take turns and return the ratio of their times."""
    for _ in range(3):
        slow()
        fast()
    ratios = []
    for _ in tqdm(range(repeats), desc=name, disable=None, leave=False):
        begin = time.perf_counter()
        slow()
        middle = time.perf_counter()
        fast()
        ratios.append((middle - begin) / (time.perf_counter() - middle))
    low, _, high = quantiles(ratios, n=4)
    return Ratio(name, round(median(ratios), 2), target, "x", (round(low, 2), round(high, 2)))


def bytes_for_backward(model: RCLSTM, inputs: Sequences, theta: float) -> int:
    """Return what autograd keeps between the passes of a run, parameters left out."""
    total = 0
    own = {parameter.data_ptr() for parameter in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        if tensor.data_ptr() not in own:
            total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(model, inputs, theta)
    return total


def measure(options: Speed) -> list[Ratio]:
    """Take all measurements."""
    digits = load_mnist(options.data).test
    split = take(digits, torch.arange(options.batch_size))
    batch = latency_sequences(split, options.n_steps)
    longer = latency_sequences(split, 20 * options.n_steps)
    early, full = training_step(batch, EARLY), training_step(batch, NEVER)
    authors, n = authors_step(batch, NEVER), options.repeats
    kept = bytes_for_backward(RCLSTM(), batch.inputs, EARLY)
    memory = bytes_for_backward(RCLSTM(), longer.inputs, EARLY) / kept
    saved = bytes_for_backward(RCLSTM(), batch.inputs, NEVER) / kept
    return [
        compare("training step: full length / all at step 0", full, early, n, 4.0),
        compare("training step: authors' recipe / all at step 0", authors, early, n, None),
        compare("training step: authors' recipe / full length", authors, full, n, None),
        Ratio("kept for backward, all at step 0: 20 T / T", round(memory, 3), None, "x"),
        Ratio("kept for backward: full length / all at step 0", round(saved, 2), None, "x"),
    ]


def main(options: Speed) -> int:
    """Print the ratios, and fail where a target is missed."""
    torch.set_num_threads(options.threads)
    ratios = measure(options)
    print(
        f"RC-LSTM 784-340-10, batch {options.batch_size}, T={options.n_steps}, float32, "
        f"{options.threads} thread(s) of {os.cpu_count()}, load {os.getloadavg()[0]:.1f}, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )
    for r in ratios:
        spread = "" if r.spread is None else f"  (quartiles {r.spread[0]:.2f} to {r.spread[1]:.2f})"
        target = "" if r.target is None else f"  target >= {r.target:g}"
        print(f"{r.name:<50} {r.ratio:>7.2f} {r.unit}{spread}{target}")
    if options.json is not None:
        rows = [{k: v for k, v in asdict(r).items() if k != "spread"} for r in ratios]
        options.json.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    return 1 if any(r.target is not None and r.ratio < r.target for r in ratios) else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Speed)))
