"""Rank coding on a GPU against cuDNN's whole sequences: `benchmarks.speed --device cuda`.

The same programs take turns as on the CPU (`benchmarks.speed.ratios`), each ended by a wait for the
device. Beside each ratio: launches per step, the multiply-adds and bytes that a step cannot do
without, and which of the three binds. Without a GPU the programs run on the CPU, to be tested.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from baselines.continuous_training import Timed
from benchmarks.speed.continuous_programs import alpha_update, rel_update
from benchmarks.speed.machine import Machine
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
from encoders.functional import encode_latency
from encoders.mnist import Split
from encoders.temporal_mnist import latency_sequences, take
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.network import load
from rc_snn.operations import training_macs
from rc_snn.optimizer import Adam
from rc_snn.runner import decide, trace
from rc_snn.sequences import DenseSequences, Labelled
from rc_snn.training import ANSWER_AT_ONCE

Program = Callable[[], None]


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


SMALL = Sizes((8,), (20,), 2, ((16, 8),), 8, 2)
TRAINED = {128: 0.9, 8_192: 1.2, 32_768: 3.0}
AT_ONCE = {128: 2.0, 32_768: 5.0}
INFERENCE = {10_000: 1.0, 32_768: 3.0}
LONG = {128: 0.8, 1_024: 1.5}
"""Targets, by batch or hidden units."""


def waited(program: Program, device: torch.device) -> Program:
    """Return a program that ends when the device has done it."""
    if device.type != "cuda":
        return program

    def run() -> None:
        program()
        torch.cuda.synchronize(device)

    return run


def launches(program: Program, device: torch.device) -> int | None:
    """Return how many kernels and copies a program launches; None without a GPU."""
    if device.type != "cuda":
        return None
    program()
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        program()
    names = ("cudaLaunchKernel", "cuLaunchKernel", "cudaMemcpyAsync", "cudaMemsetAsync")
    return sum(e.count for e in profile.key_averages() if e.key.startswith(names))


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
    digits: Split, n_steps: int, repeats: int, device: torch.device, sizes: Sizes | None = None
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
        *_lstm(digits, n_steps, device, sizes, against),
        *_conv(digits, n_steps, device, sizes, against),
        *_long(device, sizes, against),
        *_timing(digits, device, sizes, repeats),
    ]
    return ratios, remarks


def _batch(digits: Split, n: int, n_steps: int, device: torch.device) -> Labelled:
    """Return n digits, again from the first where there are too few."""
    part = take(digits, torch.arange(n) % len(digits.labels))
    return latency_sequences(part, n_steps).to(device)


def _lstm(
    digits: Split, n_steps: int, device: torch.device, sizes: Sizes, against: Callable[..., Ratio]
) -> list[Ratio]:
    found = []
    shipped = load("rc-lstm-340-fast")
    model, theta = shipped.model.to(device).train(), shipped.theta
    authors = AuthorsRecipe().to(device)
    for n in sizes.batches:
        batch = _batch_of(shipped, digits, n, n_steps, device)
        slow = dense_step(authors, batch, NEVER)
        step = decide(model, batch.inputs, theta).step
        for name, limit, at, targets in (
            ("trained", theta, step, TRAINED),
            ("all at step 0", ANSWER_AT_ONCE, torch.zeros(n), AT_ONCE),
        ):
            title = f"LSTM training, {name}, batch {n}"
            fast = training_step(model, batch, limit)
            at = at.long() if at is not None else None
            found.append(against(title, slow, fast, targets.get(n), model, at))
    for n in sizes.inference:
        batch = _batch_of(shipped, digits, n, n_steps, device)
        title, slow = f"LSTM inference of {n}", dense_inference(authors, batch, NEVER)
        found.append(
            against(title, slow, inference(model, batch, theta), INFERENCE.get(n), model, None)
        )
    return found


def _batch_of(shipped: Any, digits: Split, n: int, n_steps: int, device: torch.device) -> Labelled:
    """Return digits as the network that ships reads them."""
    part = take(digits, torch.arange(n) % len(digits.labels))
    return Labelled(shipped.sequences(part.images), part.labels).to(device)


def _conv(
    digits: Split, n_steps: int, device: torch.device, sizes: Sizes, against: Callable[..., Ratio]
) -> list[Ratio]:
    batch = _batch(digits, sizes.conv, n_steps, device)
    slow = dense_step(DenseConvLSTM(20).to(device), batch, NEVER)
    model = RCConvLSTM((20,), 5).to(device)
    last = torch.full((sizes.conv,), n_steps - 1)
    shipped = load("rc-convlstm-20-fast")
    trained, own = shipped.model.to(device).train(), _batch_of(
        shipped, digits, sizes.conv, n_steps, device
    )
    step = decide(trained, own.inputs, shipped.theta).step
    return [
        against(
            f"ConvLSTM-20 training, nothing fires, batch {sizes.conv}",
            slow,
            training_step(model, batch, NEVER),
            1.0,
            model,
            last,
        ),
        against(
            f"ConvLSTM-20 training, trained, batch {sizes.conv}",
            dense_step(DenseConvLSTM(20, shipped.model.layers[0].weight_hh.shape[-1]).to(device),
                       batch, NEVER),
            training_step(trained, own, shipped.theta),
            2.0,
            trained,
            step,
        ),
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


def _long(device: torch.device, sizes: Sizes, against: Callable[..., Ratio]) -> list[Ratio]:
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


def _timing(digits: Split, device: torch.device, sizes: Sizes, repeats: int) -> list[Ratio]:
    found = []
    for name, title, update, n, target in (
        ("alpha-psp-340-fast-published", "α-PSP 784-340-10", alpha_update, sizes.timing, 3e5),
        ("rel-psp-340-slow", "ReL-PSP 784-340-10", rel_update, sizes.timing, 3e5),
        ("conv-rel-psp-slow", "ConvReL-PSP", rel_update, sizes.conv_timing, 1e4),
    ):
        part = take(digits, torch.arange(n) % len(digits.labels))
        times = encode_latency(part.images, zero_pixels="silent").float()
        batch = Timed(times.to(device), part.labels.to(device))
        program = waited(update(load(name).model.to(device), batch), device)
        found.append(throughput(f"{title} training, batch {n}", program, batch, repeats, target))
    return found
