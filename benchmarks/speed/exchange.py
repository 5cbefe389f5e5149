"""What the exchange of spikes costs: events per second on one core, and memory.

Rank codes on grids of 10, 100 and 1,000 steps go from tensor to stream and back and through files.
`python -m benchmarks.speed.exchange` says what the record in results/exchange holds; `--train`
measures, and makes it.
"""

import ctypes
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from benchmarks.record import Record
from benchmarks.report import tables
from benchmarks.run import Measurement, Measures
from benchmarks.task import Task, start
from bridges.stream import file as stream_file
from bridges.stream.stream import SpikeStream
from rc_snn.progress import progress

RATE = 10e6
"""Events per second asked for, from tensor to stream and back."""
MEMORY = 3.0
"""Most memory asked for, in units of the events themselves."""
SEEN = 2**25
"""Bytes of events from which on the system's own figures show what a program takes."""


@dataclass(frozen=True)
class ExchangeOptions(Measures):
    """The options of every task, and which streams to measure; --train measures."""

    steps: tuple[int, ...] = (10, 100, 1000)
    """Steps per sample."""
    cells: int = 40_000_000
    """Size of the spike tensor: samples are as many as fill it."""
    units: int = 784
    """Units, each of which spikes once."""
    repeats: int = 9
    """Runs of each program, in turn; medians and quartiles are shown."""
    threads: int | None = 1
    """CPU threads."""


def peak_bytes(program: Callable[[], object]) -> int:
    """Return by how much a program's memory rose at most above where it began (Linux, glibc)."""
    ctypes.CDLL(None).malloc_trim(0)  # a program that takes what lies free adds nothing else
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark
    before = _status("VmRSS")
    kept = program()
    peak = _status("VmHWM")
    del kept
    return peak - before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))


def measure(n_steps: int, cells: int, units: int, repeats: int) -> dict[str, Any]:
    """Measure one grid."""
    n = max(1, cells // (n_steps * units))
    g = torch.Generator().manual_seed(0)
    step = torch.randint(n_steps, (n, units), generator=g)
    z = torch.zeros(n_steps, n, units).scatter_(0, step.unsqueeze(0), 1.0)
    stream = SpikeStream.from_tensor(z, 1e-3)
    events = stream.n_spikes * (stream.ticks.itemsize + stream.units.itemsize)
    with tempfile.TemporaryDirectory() as folder:
        h5, npz = Path(folder, "x.h5"), Path(folder, "x.npz")
        programs: dict[str, Callable[[], object]] = {
            "from tensor": partial(SpikeStream.from_tensor, z, 1e-3),
            "to tensor": stream.to_tensor,
            "save HDF5": partial(stream_file.save, stream, h5),
            "load HDF5": partial(stream_file.load, h5),
            "save npz": partial(stream_file.save, stream, npz),
            "load npz": partial(stream_file.load, npz),
        }
        times: dict[str, list[float]] = {name: [] for name in programs}
        for _ in progress(range(repeats), f"{n_steps:,} steps", unit="turns"):
            for name, program in programs.items():
                begin = perf_counter()
                program()
                times[name].append(perf_counter() - begin)
    times["tensor and back"] = [
        a + b for a, b in zip(times["from tensor"], times["to tensor"], strict=True)
    ]
    rates = {
        name: [stream.n_spikes / t for t in sorted(taken, reverse=True)]
        for name, taken in times.items()
    }
    peaks = {}
    if events >= SEEN:
        peaks["from tensor"] = peak_bytes(programs["from tensor"])
        peaks["to tensor"] = peak_bytes(stream.to_tensor) - z.numel() * z.element_size()
    return {
        "n_steps": n_steps,
        "samples": n,
        "spikes": stream.n_spikes,
        "per_second": {
            name: {"median": median(r), "quartiles": [r[len(r) // 4], r[-1 - len(r) // 4]]}
            for name, r in rates.items()
        },
        "memory": {name: peak / events for name, peak in peaks.items()},
    }


def text(done: Record) -> str:
    """Lay the figures out, with what was asked for."""
    here, grids = done.machine, done.metrics["grids"]
    lines = [
        f"Spike streams: {here['cpu']}, {here['threads']} thread, load {here['load']}",
        "million events per second: median (quartiles) of alternating runs",
        "",
    ]
    for grid in grids:
        lines.append(f"T={grid['n_steps']}, {grid['samples']} samples, {grid['spikes']} spikes")
        rows = []
        for name, rate in grid["per_second"].items():
            low, high = (q / 1e6 for q in rate["quartiles"])
            rows.append((f"  {name}", f"{rate['median'] / 1e6:.2f}", f"({low:.2f}..{high:.2f})"))
        for name, share in grid["memory"].items():
            rows.append((f"  {name}", f"{share:.2f}", "x the events' memory, beside the tensor"))
        lines += tables.text(rows, "<><", widths=(18, 8, 0), gap=" ")
    rate = grids[0]["per_second"]["tensor and back"]["median"]
    share = grids[0]["memory"].get("from tensor")
    lines += [
        "",
        f"asked at T={grids[0]['n_steps']}: {RATE / 1e6:g} M events/s, tensor and back: "
        + ("met" if rate >= RATE else "MISSED"),
    ]
    if share is not None:
        met = "met" if share <= MEMORY else "MISSED"
        lines.append(f"asked: memory within {MEMORY:g} x the events: {met}")
    lines.append(
        "A tensor has T cells per spike of a rank code, and every cell is read: on finer grids the "
        "rate falls with 1 / T, whatever is done with the spikes."
    )
    return "\n".join(lines)


def make(run: Measurement, options: ExchangeOptions, command: str) -> Record:
    """Measure all grids."""
    c = run.config

    def grids() -> dict[str, Any]:
        sizes = c["cells"], c["units"], options.repeats
        return {"grids": [measure(n, *sizes) for n in c["steps"]], "repeats": options.repeats}

    return run.record(grids, command)


class Exchange(Task):
    """What the exchange of spikes costs: events per second, and memory."""

    name, options = "exchange", ExchangeOptions
    make = staticmethod(make)

    def runs(self, options: ExchangeOptions) -> list[Measurement]:
        """Return the one run."""
        config = {"steps": options.steps, "cells": options.cells, "units": options.units}
        return [Measurement(self.name, config)]

    def text(self, records: Sequence[Record]) -> str:
        """Return all rates, and whether the targets are met."""
        return "\n".join(map(text, records))


TASK = Exchange()

if __name__ == "__main__":
    start(TASK)
