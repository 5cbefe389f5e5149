"""What sparsity and early answers save, as ratios measured in one process: `benchmarks.speed`.

Two programs take turns on the same batch and threads; a ratio is the median over the turns of
(time of the slow one / time of the fast one), printed with its quartiles. The machine's own rates
of matrix products and memory are measured beside them, so that a ratio can be judged: what a step
must multiply and move, and how close it comes. `--sweep` shows how cost grows. No test asserts a
time.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn
from tqdm import tqdm

from encoders.sources import load_mnist
from encoders.temporal_mnist import latency_sequences, take
from rc_snn.cells import StepModel
from rc_snn.events import SpikeSequences
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.objective import rc_loss
from rc_snn.regimes import training_macs
from rc_snn.runner import Sequences, decide, run
from rc_snn.spikes import first_spike, spike_frames
from rc_snn.training import ANSWER_AT_ONCE, Adam, Labelled

NEVER = 1.0 - 1e-6
"""A threshold that a network at its initial weights never reaches: every sample runs to the end."""


@dataclass(frozen=True)
class Speed:
    """Measure what the fast path saves, against the authors' recipe and the dense network."""

    n_steps: int = 10
    """Steps per frame, T."""
    batch_size: int = 128
    """Samples per training step."""
    repeats: int = 30
    """Turns of each program; a fifth of them for the ConvLSTM."""
    threads: int = 1
    """CPU threads."""
    sweep: bool = False
    """Show instead how cost grows with T, hidden size, batch and spike time."""
    data: Path | None = None
    """Folder with MNIST; default: as for table1."""
    json: Path | None = None
    """Also write the ratios to this file."""
    report: Path | None = None
    """Also write what is printed to this file."""


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
    seconds: tuple[float, float] | None = None
    """Median times of the slow and the fast program."""


# -- The programs -------------------------------------------------------------------------------


def training_step(
    model: RCLSTM | RCConvLSTM, batch: Labelled, theta: float, *, fused: bool = True
) -> Callable[[], None]:
    """Return one RC training step with Adam, as `rc_snn.training` takes it."""
    # The rate is 0, so that the network stays where it fires, or does not; the work is the same.
    optimizer = Adam(model, lr=0.0)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        logits = run(model, batch.inputs, theta, fused=fused).logits
        rc_loss(logits, batch.labels, 0.1).backward()
        optimizer.step()

    return step


class AuthorsRecipe(nn.Module):
    """Dense input, nn.LSTM over all steps, gather at the first spike, as in the notebooks."""

    def __init__(self, n_hidden: int = 340) -> None:
        super().__init__()
        self.recurrent, self.output = nn.LSTM(784, n_hidden), nn.Linear(n_hidden, 10)

    def forward(self, frames: Tensor, theta: float) -> Tensor:
        """Return the logits at each sample's first spike."""
        logits: Tensor = self.output(self.recurrent(frames)[0])
        step, _ = first_spike(F.softmax(logits.detach(), dim=-1), theta)
        return logits[step, torch.arange(frames.shape[1])]


class DenseConvLSTM(nn.Module):
    """The same recipe for a ConvLSTM as commonly written: torch's layout, every step computed."""

    def __init__(self, channels: int, kernel_size: int = 5) -> None:
        super().__init__()
        self.gates = nn.Conv2d(1, 4 * channels, kernel_size, padding="same")
        self.recurrent = nn.Conv2d(channels, 4 * channels, kernel_size, padding="same", bias=False)
        self.output = nn.Linear(channels * 784, 10)

    def forward(self, frames: Tensor, theta: float) -> Tensor:
        """Return the logits at each sample's first spike."""
        all_logits, h, c = [], None, None
        for x in frames.view(*frames.shape[:2], 1, 28, 28):
            gates = self.gates(x)
            if h is not None:
                gates = gates + self.recurrent(h)
            i, f, g, o = gates.chunk(4, dim=1)
            new = torch.sigmoid(i) * torch.tanh(g)
            c = new if c is None else new + torch.sigmoid(f) * c
            h = torch.sigmoid(o) * torch.tanh(c)
            all_logits.append(self.output(h.flatten(1)))
        logits = torch.stack(all_logits)
        step, _ = first_spike(F.softmax(logits.detach(), dim=-1), theta)
        return logits[step, torch.arange(frames.shape[1])]


def dense_step(
    model: AuthorsRecipe | DenseConvLSTM, batch: Labelled, theta: float
) -> Callable[[], None]:
    """Return one training step of a dense full-length network."""
    assert isinstance(batch.inputs, SpikeSequences)
    steps, n_steps = batch.inputs.steps, batch.inputs.n_steps
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        frames = spike_frames(steps, n_steps)  # the notebook expands every batch, too
        rc_loss(model(frames, theta), batch.labels, 0.1).backward()
        optimizer.step()

    return step


def dense_inference(
    model: AuthorsRecipe | DenseConvLSTM, batch: Labelled, theta: float
) -> Callable[[], None]:
    """Return inference by a dense full-length network."""
    assert isinstance(batch.inputs, SpikeSequences)
    steps, n_steps = batch.inputs.steps, batch.inputs.n_steps

    @torch.no_grad()
    def infer() -> None:
        model(spike_frames(steps, n_steps), theta).argmax(dim=1)

    return infer


def inference(model: StepModel, batch: Labelled, theta: float) -> Callable[[], None]:
    """Return rank-coded inference."""

    def infer() -> None:
        decide(model, batch.inputs, theta)

    return infer


# -- Measuring ----------------------------------------------------------------------------------


def compare(
    name: str,
    slow: Callable[[], None],
    fast: Callable[[], None],
    repeats: int,
    target: float | None,
) -> Ratio:
    """Let two programs take turns of about the same length; return the ratio of their times.

    In its turn the fast program runs many times, as a training does: a single run would measure
    the caches that the slow one left behind.
    """
    per_turn = max(1, round(seconds(slow, 2) / seconds(fast, 3)))
    times = []
    for _ in tqdm(range(max(2, repeats)), desc=name, disable=None, leave=False):
        begin = time.perf_counter()
        slow()
        middle = time.perf_counter()
        for _ in range(per_turn):
            fast()
        times.append((middle - begin, (time.perf_counter() - middle) / per_turn))
    ratios = [s / f for s, f in times]
    low, _, high = quantiles(ratios, n=4)
    s, f = (median(part) for part in zip(*times, strict=True))
    return Ratio(
        name, round(median(ratios), 2), target, "x", (round(low, 2), round(high, 2)), (s, f)
    )


def seconds(program: Callable[[], object], repeats: int) -> float:
    """Return the median time of a program."""
    program()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        program()
        times.append(time.perf_counter() - begin)
    return median(times)


def bytes_for_backward(model: RCLSTM | RCConvLSTM, inputs: Sequences, theta: float) -> int:
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


def peak_bytes(step: Callable[[], None]) -> int:
    """Return the most that torch's allocator held at once during a step, above its start.

    Weights and the optimiser's state are there before the step, so they do not count; gradients do.
    """
    step()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        step()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return int(held.max(initial=0))


@dataclass(frozen=True)
class Machine:
    """What the machine reaches with this number of threads."""

    float32: float
    """Matrix products, GFLOP/s."""
    bf16: float
    memory: float
    """Copy of a large tensor, GB/s, reads and writes counted."""

    @staticmethod
    def measure() -> "Machine":
        """Measure the rates."""
        a = torch.randn(1536, 1536)
        low, large = a.bfloat16(), torch.ones(2**25)
        target = torch.empty_like(large)
        flops = 2 * a.shape[0] ** 3 / 1e9
        return Machine(
            flops / seconds(lambda: torch.mm(a, a), 7),
            flops / seconds(lambda: torch.mm(low, low), 7),
            2 * large.numel() * 4 / 1e9 / seconds(lambda: target.copy_(large), 7),
        )


def roofline(
    name: str,
    model: RCLSTM | RCConvLSTM,
    batch: Labelled,
    step: int,
    ratio: Ratio,
    machine: Machine,
) -> str:
    """Say what a training step multiplies and moves, and what that takes at the machine's rates."""
    assert ratio.seconds is not None
    at = torch.full((len(batch),), step)
    dense = 2 * int(training_macs(at, model.cost()).sum()) / 1e9
    n = sum(p.numel() for p in model.parameters() if p.grad is not None)
    adam = 7 * 4 * n / 1e9
    return (
        f"{name}: {1e3 * ratio.seconds[1]:.1f} ms; as dense products {dense:.2f} GFLOP = "
        f"{1e3 * dense / machine.float32:.1f} ms at the float32 rate, "
        f"{1e3 * dense / machine.bf16:.1f} ms at the bf16 rate; Adam moves "
        f"{1e3 * adam:.0f} MB = {1e3 * adam / machine.memory:.1f} ms"
    )


def measure(options: Speed) -> tuple[list[Ratio], list[str]]:
    """Take all measurements; return the ratios, and remarks to print below them."""
    split = take(load_mnist(options.data).test, torch.arange(options.batch_size))
    batch = latency_sequences(split, options.n_steps)
    longer = latency_sequences(split, 20 * options.n_steps)
    n, few, last = options.repeats, options.repeats // 5, options.n_steps - 1
    machine = Machine.measure()
    lstm, conv = RCLSTM(), RCConvLSTM((20,), 5)
    authors = dense_step(AuthorsRecipe(), batch, NEVER)
    dense = dense_step(DenseConvLSTM(20), batch, NEVER)
    at_once = training_step(lstm, batch, ANSWER_AT_ONCE)
    name = "LSTM training, nothing fires"
    ratios = [
        compare(f"{name}, float32", authors, training_step(lstm, batch, NEVER), n, 2.5),
        compare(
            f"{name}, bf16", authors, training_step(RCLSTM(precision="bf16"), batch, NEVER), n, 5.0
        ),
        compare("LSTM training, all at step 0", authors, at_once, n, 20.0),
        compare(
            "LSTM inference, all at step 0",
            dense_inference(AuthorsRecipe(), batch, NEVER),
            inference(lstm, batch, ANSWER_AT_ONCE),
            n,
            30.0,
        ),
    ]
    name = "ConvLSTM training, nothing fires"
    early = training_step(conv, batch, ANSWER_AT_ONCE)
    ratios += [
        compare(f"{name}, float32", dense, training_step(conv, batch, NEVER), few, 1.5),
        compare(
            f"{name}, bf16",
            dense,
            training_step(RCConvLSTM((20,), 5, precision="bf16"), batch, NEVER),
            few,
            3.0,
        ),
        compare("ConvLSTM training, all at step 0", dense, early, few, 40.0),
    ]
    reference = training_step(conv, batch, NEVER, fused=False)
    ratios.append(
        compare(
            "ConvLSTM, nothing fires: our own dense path / fast path, float32",
            reference,
            training_step(conv, batch, NEVER),
            few,
            None,
        )
    )
    peaks = peak_bytes(authors), peak_bytes(at_once)
    kept = bytes_for_backward(lstm, batch.inputs, ANSWER_AT_ONCE)
    memory = bytes_for_backward(lstm, longer.inputs, ANSWER_AT_ONCE) / kept
    ratios += [
        Ratio("LSTM peak memory, all at step 0", round(peaks[0] / peaks[1], 2), 5.0, "x"),
        Ratio("LSTM kept for backward, all at step 0: 20 T / T", round(memory, 3), None, "x"),
    ]
    at = {r.name: r for r in ratios}
    remarks = [
        f"this machine: {machine.float32:.0f} GFLOP/s float32, {machine.bf16:.0f} GFLOP/s bf16, "
        f"{machine.memory:.1f} GB/s",
        f"peak memory of a step: authors' recipe {peaks[0] / 1e6:.1f} MB, "
        f"ours {peaks[1] / 1e6:.1f} MB",
        roofline(
            "LSTM float32, full",
            lstm,
            batch,
            last,
            at["LSTM training, nothing fires, float32"],
            machine,
        ),
        roofline(
            "LSTM bf16, full", lstm, batch, last, at["LSTM training, nothing fires, bf16"], machine
        ),
        roofline("LSTM, step 0", lstm, batch, 0, at["LSTM training, all at step 0"], machine),
        roofline(
            "ConvLSTM float32, full",
            conv,
            batch,
            last,
            at["ConvLSTM training, nothing fires, float32"],
            machine,
        ),
        roofline(
            "ConvLSTM bf16, full",
            conv,
            batch,
            last,
            at["ConvLSTM training, nothing fires, bf16"],
            machine,
        ),
        roofline(
            "ConvLSTM, step 0", conv, batch, 0, at["ConvLSTM training, all at step 0"], machine
        ),
    ]
    return ratios, remarks


# -- Growth -------------------------------------------------------------------------------------


def cut(batch: Labelled, step: int) -> Labelled:
    """Return the sequences as far as this step: every sample that runs to the end answers there."""
    assert isinstance(batch.inputs, SpikeSequences)
    steps = batch.inputs.steps.clamp(max=step + 1)
    return Labelled(SpikeSequences(steps, step + 1), batch.labels)


def fit(x: list[float], y: list[float]) -> str:
    """Return the least-squares line through points, and how much of the variance it explains."""
    slope, offset = np.polyfit(x, y, 1)
    left = np.array(y) - (slope * np.array(x) + offset)
    r2 = 1.0 - float((left**2).sum() / ((np.array(y) - np.mean(y)) ** 2).sum())
    return f"time = {1e3 * offset:.2f} ms + {1e3 * slope:.3f} ms * steps computed, R² = {r2:.4f}"


def sweep(options: Speed) -> Iterator[str]:
    """Yield lines on how cost grows with T, hidden size, batch and mean spike time."""
    digits = load_mnist(options.data).test
    split = take(digits, torch.arange(options.batch_size))
    n = max(3, options.repeats // 5)

    def step_seconds(batch: Labelled, theta: float, hidden: int = 340) -> float:
        return seconds(training_step(RCLSTM(784, hidden), batch, theta), n)

    def line(name: str, value: object, batch: Labelled, hidden: int = 340) -> str:
        authors = seconds(dense_step(AuthorsRecipe(hidden), batch, NEVER), max(3, n // 2))
        full, early = (step_seconds(batch, theta, hidden) for theta in (NEVER, ANSWER_AT_ONCE))
        kept = bytes_for_backward(RCLSTM(784, hidden), batch.inputs, ANSWER_AT_ONCE)
        return (
            f"{name:<8}{value!s:>6}{1e3 * authors:>11.1f}{1e3 * full:>12.1f}{1e3 * early:>12.2f}"
            f"{authors / full:>9.1f}{authors / early:>9.1f}{kept / 1e6:>11.3f}"
        )

    yield (
        f"{'':<14}{'authors ms':>11}{'full ms':>12}{'step 0 ms':>12}{'full x':>9}{'step0 x':>9}"
        f"{'kept MB':>11}"
    )
    for n_steps in (5, 10, 20, 50, 100, 200):
        yield line("T", n_steps, latency_sequences(split, n_steps))
    batch = latency_sequences(split, options.n_steps)
    for hidden in (64, 128, 256, 512, 1024, 2048):
        yield line("hidden", hidden, batch, hidden)
    for size in (8, 32, 128, 512):
        part = take(digits, torch.arange(size))
        yield line("batch", size, latency_sequences(part, options.n_steps))
    long = latency_sequences(split, 200)
    computed = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]
    times = [step_seconds(cut(long, int(c) - 1), NEVER) for c in computed]
    for c, t in zip(computed, times, strict=True):
        yield f"T = 200, all answer at step {int(c) - 1:>3}: {1e3 * t:>8.2f} ms"
    yield fit(computed, times)


def main(options: Speed) -> int:
    """Print the measurements, and fail where a target is missed."""
    torch.set_num_threads(options.threads)
    # Over 200 steps gradients fade into denormal numbers, which processors handle 10 times slower.
    torch.set_flush_denormal(True)
    try:
        return _report(options)
    finally:
        torch.set_flush_denormal(False)


def _report(options: Speed) -> int:
    """Measure, print and write; return the exit status."""
    lines = [
        f"batch {options.batch_size}, T={options.n_steps}, bright first, {options.threads} "
        f"thread(s) of {os.cpu_count()}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    ]
    print(lines[0])
    ratios: list[Ratio] = []
    if options.sweep:
        for line in sweep(options):
            print(line, flush=True)
            lines.append(line)
    else:
        ratios, remarks = measure(options)
        more = [
            "slow: the authors' recipe (LSTM 784-340-10), or the same network dense, in torch's "
            "layout and full length (ConvLSTM 784-20-10, 5x5); fast: ours.",
            *map(_line, ratios),
            *remarks,
        ]
        print("\n".join(more))
        lines += more
    if options.report is not None:
        options.report.write_text("\n".join(lines) + "\n")
    if options.json is not None:
        rows = [{k: getattr(r, k) for k in ("name", "ratio", "target", "unit")} for r in ratios]
        options.json.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    return 1 if any(r.target is not None and r.ratio < r.target for r in ratios) else 0


def _line(r: Ratio) -> str:
    spread = "" if r.spread is None else f"  (quartiles {r.spread[0]:.2f} to {r.spread[1]:.2f}"
    if r.seconds is not None:
        spread += f"; {1e3 * r.seconds[0]:.1f} ms / {1e3 * r.seconds[1]:.2f} ms"
    spread += ")" if spread else ""
    target = "" if r.target is None else f"  target >= {r.target:g}"
    missed = "  MISSED" if r.target is not None and r.ratio < r.target else ""
    return f"{r.name:<64} {r.ratio:>7.2f} {r.unit}{spread}{target}{missed}"


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Speed)))
