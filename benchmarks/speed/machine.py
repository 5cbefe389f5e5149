"""What a program takes, and what the machine could do: time, memory, profile and roofline."""

import cProfile
import gc
import pstats
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from rc_snn.fast.buffers import Buffers
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.regimes import training_macs
from rc_snn.runner import run
from rc_snn.sequences import Sequences


def seconds(
    program: Callable[[], object], repeats: int, device: torch.device | None = None
) -> float:
    """Return the median time of a program, until its device has done it."""
    program = waited(program, device)
    program()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        program()
        times.append(time.perf_counter() - begin)
    return median(times)


def waited(program: Callable[[], object], device: torch.device | None) -> Callable[[], None]:
    """Return a program that ends when its device has done it; None is the CPU."""

    def run() -> None:
        program()
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


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


def peak_bytes(step: Callable[[], None], model: torch.nn.Module) -> int:
    """Return the most that torch's allocator held at once during a step, above its start.

    Weights and the optimiser's state are there before the step, so they do not count; gradients do,
    and so does the memory that a cell keeps for its next run.
    """
    step()
    # What is older than the profile must not be freed in it: the profiler takes such a block for
    # one of any size that an earlier profile saw at the same address.
    model.zero_grad(set_to_none=True)
    for module in model.modules():
        if isinstance(memory := getattr(module, "memory", None), Buffers):
            memory.free.clear()
    gc.collect()
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
    """Matrix products, GFLOP/s; on a GPU in TF32, as cuDNN multiplies by default."""
    bf16: float
    memory: float
    """Copy of a large tensor, GB/s, reads and writes counted."""

    def __str__(self) -> str:
        """Return the rates in words."""
        return (
            f"this machine: {self.float32:.0f} GFLOP/s float32, {self.bf16:.0f} GFLOP/s bf16, "
            f"{self.memory:.1f} GB/s"
        )

    @staticmethod
    def measure(device: torch.device | None = None) -> "Machine":
        """Measure the rates; those of a GPU on larger tensors."""
        gpu = device is not None and device.type == "cuda"
        n, cells = (8192, 2**28) if gpu else (1536, 2**25)
        a = torch.randn(n, n, device=device)
        low, large = a.bfloat16(), torch.ones(cells, device=device)
        target = torch.empty_like(large)
        flops = 2 * n**3 / 1e9
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if gpu else before)
        try:
            float32 = flops / seconds(lambda: torch.mm(a, a), 7, device)
        finally:
            torch.set_float32_matmul_precision(before)
        return Machine(
            float32,
            flops / seconds(lambda: torch.mm(low, low), 7, device),
            2 * large.numel() * 4 / 1e9 / seconds(lambda: target.copy_(large), 7, device),
        )


def roofline(
    model: RCLSTM | RCConvLSTM, n_samples: int, step: int, took: float, machine: Machine
) -> str:
    """Say what a training step multiplies and moves, and what that takes at the machine's rates.

    `step` is that at which all samples answer. A step moves what Adam reads and writes: weight,
    gradient and two moments, three of them twice, of the weights that have a gradient.
    """
    at = torch.full((n_samples,), step)
    dense = 2 * int(training_macs(at, model.cost()).sum()) / 1e9
    adam = 7 * 4 * sum(p.numel() for p in model.parameters() if p.grad is not None) / 1e9
    return (
        f"{1e3 * took:.1f} ms; as dense products {dense:.2f} GFLOP = "
        f"{1e3 * dense / machine.float32:.1f} ms at the float32 rate, "
        f"{1e3 * dense / machine.bf16:.1f} ms at the bf16 rate; Adam moves "
        f"{1e3 * adam:.0f} MB = {1e3 * adam / machine.memory:.1f} ms"
    )


def profile(step: Callable[[], None], repeats: int = 20, most: int = 7) -> str:
    """Return where the time of a step goes, by the functions' own time."""
    step()
    profiler = cProfile.Profile()
    with profiler:
        for _ in range(repeats):
            step()
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    whole = sum(own for _, _, own, _, _ in stats.values())
    parts = sorted(((own, place) for place, (_, _, own, _, _) in stats.items()), reverse=True)
    return ", ".join(
        f"{_function(*place)} {100 * own / whole:.0f} %" for own, place in parts[:most]
    )


def _function(file: str, _line: int, name: str) -> str:
    if file == "~":  # built in: "<built-in method torch.mm>", "<method 'copy_' of ... objects>"
        return (
            name.strip("<>")
            .removeprefix("built-in method ")
            .removeprefix("method ")
            .split(" of ")[0]
        )
    return f"{Path(file).stem}.{name}"
