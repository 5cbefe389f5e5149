"""Rank coding on a GPU against cuDNN's whole sequences: `benchmarks.speed --device cuda`.

The same programs take turns as on the CPU (`benchmarks.speed.ratios`), each ended by a wait for the
device. Beside each ratio: launches per step, the multiply-adds and bytes that a step cannot do
without, and which of the three binds. Without a GPU the programs run on the CPU, to be tested.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from baselines.continuous_training import Timed
from benchmarks.speed.continuous_programs import alpha_update, rel_update
from benchmarks.speed.machine import Machine, waited
from benchmarks.speed.programs import (
    NEVER,
    AuthorsRecipe,
    DenseConvLSTM,
    dense_inference,
    dense_step,
    inference,
    training_step,
)
from benchmarks.speed.ratios import Ratio, compare, throughput
from encoders.functional import encode, encode_latency
from encoders.mnist import Split
from encoders.temporal_mnist import take
from rc_snn.models import RCLSTM
from rc_snn.network import Network, load
from rc_snn.operations import training_macs
from rc_snn.runner import decide, run, trace
from rc_snn.runs.chunks import chooser
from rc_snn.sequences import DenseSequences, Labelled, SpikeSequences
from rc_snn.training import ANSWER_AT_ONCE

Program: TypeAlias = Callable[[], None]
Against: TypeAlias = Callable[[str, Program, Program, float | None, Any, Tensor | None], Ratio]
"""Compare a slow and a fast program: name, both, target, model, and when its samples decide."""


@dataclass(frozen=True)
class Sizes:
    """Samples of each program; small ones run anywhere."""

    batches: tuple[int, ...] = (128, 8_192, 32_768)
    inference: tuple[int, ...] = (10_000, 32_768)
    conv: int = 512
    long: tuple[tuple[int, int], ...] = ((128, 128), (1_024, 2_048))
    """Hidden units and samples of the sequences of 81 steps."""
    timing: int = 8_192
    conv_timing: int = 1_024


TRAINED = {128: 0.9, 8_192: 1.2, 32_768: 3.0}
AT_ONCE = {128: 2.0, 32_768: 5.0}
INFERENCE = {10_000: 1.0, 32_768: 3.0}
LONG = {128: 0.8, 1_024: 1.5}
"""Targets, by batch or hidden units."""


def launches(program: Program, device: torch.device) -> int | None:
    """Return how many kernels and copies a program launches; None without a GPU."""
    if device.type != "cuda":
        return None
    program()
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        program()
    names = ("cudaLaunchKernel", "cuLaunchKernel", "cudaMemcpyAsync", "cudaMemsetAsync")
    return sum(int(e.count) for e in profile.key_averages() if e.key.startswith(names))


def binding(model: Any, step: Tensor, took: float, n_launches: int | None, machine: Machine) -> str:
    """Say what a training step cannot do without, and which of it binds."""
    products = 2 * int(training_macs(step, model.cost()).sum()) / 1e9 / machine.float32
    weights = 4 * sum(p.numel() for p in model.parameters())
    moved = 7 * weights / 1e9 / machine.memory  # Adam: weight, gradient, two moments
    called = 5e-6 * (n_launches or 0)  # what a launch takes the host, at the least
    most = max((products, "products"), (moved, "memory"), (called, "launches"))
    return (
        f"{1e3 * took:.2f} ms; products {1e3 * products:.2f} ms, Adam's memory "
        f"{1e3 * moved:.3f} ms, {n_launches or '—'} launches {1e3 * called:.2f} ms: {most[1]} bind"
    )


def measure(
    digits: Split, repeats: int, device: torch.device, sizes: Sizes | None = None
) -> tuple[list[Ratio], list[str]]:
    """Compare all programs on a device; return the ratios and remarks on them."""
    sizes = sizes or Sizes()
    machine = Machine.measure(device)
    remarks = [str(machine)]

    def against(
        name: str, slow: Program, fast: Program, target: float | None, model: Any, step: Any
    ) -> Ratio:
        fast = waited(fast, device)
        ratio = compare(name, waited(slow, device), fast, repeats, target)
        if step is not None and ratio.seconds is not None:
            known = launches(fast, device)
            remarks.append(f"{name}: {binding(model, step, ratio.seconds[1], known, machine)}")
        return ratio

    ratios = [
        *_lstm(digits, device, sizes, against),
        *_conv(digits, device, sizes, against),
        *_memory(device, sizes),
        *_long(device, sizes, against),
        *_timing(digits, device, sizes, repeats),
    ]
    return ratios, remarks


def _lstm(digits: Split, device: torch.device, sizes: Sizes, against: Against) -> list[Ratio]:
    found = []
    shipped = load("rc-lstm-340-fast")
    model, theta = shipped.model.to(device).train(), shipped.theta
    assert theta is not None
    authors = AuthorsRecipe().to(device)
    for n in sizes.batches:
        batch = _read_by(shipped, digits, n, device)
        slow = dense_step(authors, batch, NEVER)
        step = decide(model, batch.inputs, theta).step
        for name, limit, at, targets in (
            ("trained", theta, step, TRAINED),
            ("all at step 0", ANSWER_AT_ONCE, torch.zeros(n, dtype=torch.long), AT_ONCE),
        ):
            title = f"LSTM training, {name}, batch {n}"
            fast = training_step(model, batch, limit)
            found.append(against(title, slow, fast, targets.get(n), model, at))
    for n in sizes.inference:
        batch = _read_by(shipped, digits, n, device)
        title, slow = f"LSTM inference of {n}", dense_inference(authors, batch, NEVER)
        found.append(
            against(title, slow, inference(model, batch, theta), INFERENCE.get(n), model, None)
        )
    return found


def _read_by(shipped: Network, digits: Split, n: int, device: torch.device) -> Labelled:
    """Return n digits as a network that ships reads them."""
    part = take(digits, torch.arange(n) % len(digits.labels))
    times = encode(part.images, **shipped.encoder)
    return Labelled(shipped.sequences(times), part.labels).to(device)


def _conv(digits: Split, device: torch.device, sizes: Sizes, against: Against) -> list[Ratio]:
    shipped = load("rc-convlstm-20-fast")
    model = shipped.model.to(device).train()
    batch = _read_by(shipped, digits, sizes.conv, device)
    side = model.layers[0].weight_hh.shape[-1]
    slow = dense_step(DenseConvLSTM(20, side).to(device), batch, NEVER)
    last = torch.full((sizes.conv,), batch.inputs.n_steps - 1)
    step = decide(model, batch.inputs, shipped.theta).step
    fast = {
        ("nothing fires", 1.0): (NEVER, last),
        ("trained", 2.0): (shipped.theta, step),
    }
    return [
        against(
            f"ConvLSTM-20 {side}x{side} training, {name}, batch {sizes.conv}",
            slow,
            training_step(model, batch, theta),
            target,
            model,
            at,
        )
        for (name, target), (theta, at) in fast.items()
    ]


class WholeSequence(nn.Module):
    """An LSTM over all steps of a dense input, read at its end: what EOS trains by cuDNN."""

    def __init__(self, n_hidden: int) -> None:
        super().__init__()
        self.recurrent, self.output = nn.LSTM(420, n_hidden), nn.Linear(n_hidden, 9)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the logits of the last step."""
        logits: Tensor = self.output(self.recurrent(frames)[0][-1])
        return logits


def _long(device: torch.device, sizes: Sizes, against: Against) -> list[Ratio]:
    """Compare on sequences of 81 steps, whose decisions spread over the steps 5 to 65."""
    found = []
    for n_hidden, n in sizes.long:
        generator = torch.Generator().manual_seed(0)
        frames = torch.randn(81, n, 420, generator=generator).to(device)
        labels = torch.randint(9, (n,), generator=generator).to(device)
        batch = Labelled(DenseSequences(frames), labels)
        model = RCLSTM(420, n_hidden, 9).to(device)
        # A network that has learned nothing, and for each sample the θ that it first reaches by a
        # step drawn from 5 to 65.
        at = torch.randint(5, 66, (n,), generator=generator).to(device)
        with torch.no_grad():
            p = torch.softmax(trace(model, batch.inputs), dim=2).amax(dim=2).cummax(dim=0).values
        theta = p[at, torch.arange(n, device=device)].clamp(1e-6, 1 - 1e-6)
        dense = WholeSequence(n_hidden).to(device)
        optimizer = torch.optim.Adam(dense.parameters(), lr=0.0)

        def slow(
            dense: nn.Module = dense,
            optimizer: Any = optimizer,
            frames: Tensor = frames,
            labels: Tensor = labels,
        ) -> None:
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(dense(frames), labels).backward()
            optimizer.step()

        step = decide(model, batch.inputs, theta).step
        fast = training_step(model, batch, theta)
        title = f"T=81, LSTM {n_hidden}, batch {n}, decisions at 5-65"
        found.append(against(title, slow, fast, LONG.get(n_hidden), model, step))
    return found


def _memory(device: torch.device, sizes: Sizes) -> list[Ratio]:
    """Compare what a step that ends at step 0 holds at most: of 100 steps, and of 10."""
    if device.type != "cuda":
        return []
    model, peaks, n = RCLSTM().to(device), [], max(sizes.batches)
    for n_steps in (10, 100):
        inputs = SpikeSequences(torch.zeros(n, 784, dtype=torch.int16, device=device), n_steps)
        chunks = chooser(model, n_steps, training=True)
        for _ in range(3):  # by the third the rule knows that all answer at once
            torch.cuda.reset_peak_memory_stats(device)
            run(model, inputs, ANSWER_AT_ONCE, chunks=chunks).logits.sum().backward()
        peaks.append(torch.cuda.max_memory_allocated(device))
    title = "peak memory, all at step 0: T = 100 / T = 10"
    return [Ratio(title, round(peaks[1] / peaks[0], 3), None, "x")]


def _timing(digits: Split, device: torch.device, sizes: Sizes, repeats: int) -> list[Ratio]:
    found = []
    for name, title, update, n, target in (
        ("alpha-psp-340-fast-published", "α-PSP 784-340-10", alpha_update, sizes.timing, 3e5),
        ("rel-psp-340-slow", "ReL-PSP 784-340-10", rel_update, sizes.timing, 3e5),
        ("conv-rel-psp-slow-augmented", "ConvReL-PSP", rel_update, sizes.conv_timing, 1e4),
    ):
        part = take(digits, torch.arange(n) % len(digits.labels))
        times = encode_latency(part.images, zero_pixels="silent").float()
        batch = Timed(times.to(device), part.labels.to(device))
        program = waited(update(load(name).model.to(device), batch), device)
        found.append(throughput(f"{title} training, batch {n}", program, batch, repeats, target))
    return found
