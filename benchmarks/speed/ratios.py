"""Ratios of two programs' times, taken in turns; what they compare, and what is asked of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

import torch
from torch import nn

from baselines.continuous_training import Timed
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
    NEVER,
    AuthorsRecipe,
    DenseConvLSTM,
    dense_inference,
    dense_step,
    inference,
    training_step,
)
from encoders.functional import encode_latency
from encoders.mnist import Split
from encoders.temporal_mnist import latency_sequences, take
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.network import load
from rc_snn.progress import progress
from rc_snn.training import ANSWER_AT_ONCE


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

    @property
    def missed(self) -> bool:
        """Return whether less than the target is reached."""
        return self.target is not None and self.ratio < self.target

    def __str__(self) -> str:
        """Return the ratio as a line."""
        shown = ""
        if self.spread is not None:
            shown = f"  (quartiles {self.spread[0]:.2f} to {self.spread[1]:.2f}"
            if self.seconds is not None:
                shown += f"; {1e3 * self.seconds[0]:.1f} ms / {1e3 * self.seconds[1]:.2f} ms"
            shown += ")"
        target = "" if self.target is None else f"  target >= {self.target:g}"
        missed = "  MISSED" if self.missed else ""
        return f"{self.name:<64} {self.ratio:>7.2f} {self.unit}{shown}{target}{missed}"


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
    for _ in progress(range(max(2, repeats)), name, unit="turns"):
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


def measure(digits: Split, n_steps: int, batch_size: int, n: int) -> tuple[list[Ratio], list[str]]:
    """Compare training and inference, n turns each; return the ratios, and remarks on them."""
    split = take(digits, torch.arange(batch_size))
    batch, few, last = latency_sequences(split, n_steps), n // 5, n_steps - 1
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
    longer = latency_sequences(split, 20 * n_steps)
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
    return ratios, remarks


def measure_baselines(digits: Split, batch_size: int, n: int) -> list[Ratio]:
    """Time the event kernels of the trained baselines that ship, and α-PSP's tensor path."""
    split = take(digits, torch.arange(batch_size))
    batch = Timed(encode_latency(split.images, zero_pixels="silent").float(), split.labels)
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
