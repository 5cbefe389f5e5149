"""What sparsity and early answers save, as ratios measured in one process: `benchmarks.speed`.

Two programs take turns on the same batch and threads; a ratio is the median over the turns of
(time of the slow one / time of the fast one), printed with its quartiles. The machine's own rates
of matrix products and memory are measured beside them, so that a ratio can be judged: what a step
must multiply and move, and how close it comes. `--sweep` shows how cost grows. No test asserts a
time.
"""

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from baselines.continuous_training import Timed
from benchmarks import record
from benchmarks.report import tables
from benchmarks.speed.continuous_programs import (
    alpha_update,
    rel_update,
    set_path,
    timing_inference,
)
from benchmarks.speed.machine import (
    Machine,
    bytes_for_backward,
    peak_bytes,
    profile,
    roofline,
    seconds,
)
from benchmarks.speed.programs import (
    AuthorsRecipe,
    DenseConvLSTM,
    dense_inference,
    dense_step,
    inference,
    training_step,
)
from encoders.functional import encode_latency
from encoders.mnist import Split, load_mnist
from encoders.temporal_mnist import latency_sequences, take
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.network import load
from rc_snn.sequences import Labelled, SpikeSequences
from rc_snn.training import ANSWER_AT_ONCE

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
    baselines_only: bool = False
    """Measure only the event kernels of the spiking baselines."""
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


def measure(options: Speed) -> tuple[list[Ratio], list[str]]:
    """Take all measurements; return the ratios, and remarks to print below them."""
    split = take(load_mnist(options.data).test, torch.arange(options.batch_size))
    batch = latency_sequences(split, options.n_steps)
    n, few, last = options.repeats, options.repeats // 5, options.n_steps - 1
    lstm, conv = RCLSTM(), RCConvLSTM((20,), 5)
    authors = dense_step(AuthorsRecipe(), batch, NEVER)
    dense = dense_step(DenseConvLSTM(20), batch, NEVER)
    machine = Machine.measure()
    ratios, remarks = [], [str(machine)]
    full, at_once = "training, nothing fires", "training, all at step 0"
    for name, slow, model, theta, step, repeats, target in (
        (f"LSTM {full}, float32", authors, lstm, NEVER, last, n, 2.5),
        (f"LSTM {full}, bf16", authors, RCLSTM(precision="bf16"), NEVER, last, n, 5.0),
        (f"LSTM {at_once}", authors, lstm, ANSWER_AT_ONCE, 0, n, 20.0),
        (f"ConvLSTM {full}, float32", dense, conv, NEVER, last, few, 1.5),
        (
            f"ConvLSTM {full}, bf16",
            dense,
            RCConvLSTM((20,), 5, precision="bf16"),
            NEVER,
            last,
            few,
            3.0,
        ),
        (f"ConvLSTM {at_once}", dense, conv, ANSWER_AT_ONCE, 0, few, 40.0),
    ):
        ours = training_step(model, batch, theta)
        ratio = compare(name, slow, ours, repeats, target)
        ratios.append(ratio)
        assert ratio.seconds is not None
        remarks += [
            f"{name}: {roofline(model, len(batch), step, ratio.seconds[1], machine)}",
            f"    own time: {profile(ours, max(1, repeats // 3))}",
        ]
    ratios.insert(
        3,
        compare(
            "LSTM inference, all at step 0",
            dense_inference(AuthorsRecipe(), batch, NEVER),
            inference(lstm, batch, ANSWER_AT_ONCE),
            n,
            30.0,
        ),
    )
    ratios.append(
        compare(
            "ConvLSTM, nothing fires: our own dense path / fast path, float32",
            training_step(conv, batch, NEVER, fused=False),
            training_step(conv, batch, NEVER),
            few,
            None,
        )
    )
    early = training_step(lstm, batch, ANSWER_AT_ONCE)
    peaks = peak_bytes(authors, nn.Module()), peak_bytes(early, lstm)
    longer = latency_sequences(split, 20 * options.n_steps)
    kept, memory = (bytes_for_backward(lstm, x.inputs, ANSWER_AT_ONCE) for x in (batch, longer))
    ratios += [
        Ratio("LSTM peak memory, all at step 0", round(peaks[0] / peaks[1], 2), 5.0, "x"),
        Ratio(
            "LSTM kept for backward, all at step 0: 20 T / T", round(memory / kept, 3), None, "x"
        ),
    ]
    remarks.append(
        f"peak memory of a step: authors' recipe {peaks[0] / 1e6:.1f} MB, "
        f"ours {peaks[1] / 1e6:.1f} MB"
    )
    ratios += measure_baselines(split, options)
    return ratios, remarks


def measure_baselines(split: Split, options: Speed) -> list[Ratio]:
    """Time the event kernels of the trained baselines that ship, and α-PSP's tensor path."""
    times = encode_latency(split.images, zero_pixels="silent").float()
    batch, n = Timed(times, split.labels), options.repeats
    alpha, rel = (load(name).model for name in ("alpha-psp-340-fast-published", "rel-psp-340-slow"))
    reference = set_path(load("alpha-psp-340-fast-published").model, fast=False)
    return [
        throughput("α-PSP 784-340-10 training", alpha_update(alpha, batch), batch, n, 6_000),
        throughput("α-PSP 784-340-10 forward", timing_inference(alpha, batch), batch, n, 10_000),
        compare(
            "α-PSP training, our tensor path / kernels",
            alpha_update(reference, batch),
            alpha_update(alpha, batch),
            max(3, n // 5),
            8.0,
        ),
        throughput("ReL-PSP 784-340-10 training", rel_update(rel, batch), batch, n, 15_000),
    ]


def throughput(
    name: str, program: Callable[[], None], batch: Timed, repeats: int, target: float
) -> Ratio:
    """Return the samples per second of a program, median over its turns."""
    program()
    times = []
    for _ in range(max(2, repeats)):
        begin = time.perf_counter()
        program()
        times.append(time.perf_counter() - begin)
    rates = sorted(len(batch) / t for t in times)
    low, _, high = quantiles(rates, n=4)
    return Ratio(name, round(median(rates)), target, "img/s", (round(low), round(high)))


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
        times = f"{1e3 * authors:.1f}", f"{1e3 * full:.1f}", f"{1e3 * early:.2f}"
        ratios = f"{authors / full:.1f}", f"{authors / early:.1f}"
        return cells(name, str(value), *times, *ratios, f"{kept / 1e6:.3f}")

    def cells(*shown: str) -> str:  # line by line, as they are measured
        (row,) = tables.text([shown], "<>", widths=(8, 6, 11, 12, 12, 9, 9, 11), gap="")
        return row

    yield cells("", "", "authors ms", "full ms", "step 0 ms", "full x", "step0 x", "kept MB")
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
    here = record.machine()
    lines = [
        f"batch {options.batch_size}, T={options.n_steps}, bright first; {here['cpu']}, "
        f"{here['threads']} thread(s) of {here['cores']}, load {here['load'][0]:.1f}, torch "
        f"{torch.__version__}, Python {platform.python_version()}"
    ]
    print(lines[0])
    ratios: list[Ratio] = []
    if options.sweep:
        for line in sweep(options):
            print(line, flush=True)
            lines.append(line)
    elif options.baselines_only:
        split = take(load_mnist(options.data).test, torch.arange(options.batch_size))
        ratios = measure_baselines(split, options)
        more = [_line(r) for r in ratios]
        print("\n".join(more))
        lines += more
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
