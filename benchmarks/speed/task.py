"""What sparsity and early answers save, as ratios measured in one process: `benchmarks.speed`.

Two programs take turns on the same batch and threads; a ratio is the median over the turns of
(time of the slow one / time of the fast one), shown with its quartiles. The machine's own rates of
matrix products and memory are measured beside them, so that a ratio can be judged: what a step must
multiply and move, and how close it comes. Another run shows how cost grows. `python -m
benchmarks.speed` says what the records in results/speed hold; `--train` measures what they lack,
and `--force` all of it, on your machine. No test asserts a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch

from benchmarks.record import Record, read_all
from benchmarks.run import Measurement, Measures
from benchmarks.speed import anytime, device, growth, ratios, threads
from benchmarks.speed.ratios import Ratio
from benchmarks.task import Task
from encoders.mnist import Split, load_mnist

What: TypeAlias = Literal["ratios", "baselines", "growth", "anytime"]
KINDS = (*get_args(What), "threads", "device")
"""Of records, in the order of the text."""


@dataclass(frozen=True)
class SpeedOptions(Measures):
    """The options of every task, and what to measure; --train measures."""

    what: tuple[What, ...] = ("ratios", "baselines", "growth", "anytime")
    """ratios: the fast path against the authors' recipe and the dense network. baselines: the event
    kernels of the spiking baselines. growth: cost with T, hidden size, batch and spike time.
    anytime: drawn thresholds and the loss of the prefix, against rank coding at equal mean step."""
    n_steps: int = 10
    """Steps per frame, T."""
    batch_size: int = 128
    """Samples per training step."""
    repeats: int = 30
    """Turns of each program; a fifth of them for the ConvLSTM."""
    threads: int | None = 1
    """CPU threads."""
    sweep: bool = False
    """Measure the ratios of the LSTM with 1, 2, 4, … threads instead."""
    device: Literal["cpu", "cuda"] = "cpu"
    """cuda measures against cuDNN on a GPU (`what` is then without meaning)."""


def make(run: Measurement, options: SpeedOptions, command: str) -> Record:
    """Measure ratios, kernels or growth."""
    c, digits = run.config, load_mnist(options.data).test
    if c["what"] == "device":
        return _on_device(run, options, digits, command)

    def measure() -> dict[str, Any]:
        # Over 200 steps gradients fade into denormal numbers, which processors handle 10 times
        # slower.
        torch.set_flush_denormal(True)
        try:
            if c["what"] == "threads":
                found = threads.measure(digits, c["n_steps"], c["batch_size"], options.repeats)
            elif c["what"] == "growth":
                found = growth.measure(digits, c["n_steps"], c["batch_size"], options.repeats)
            elif c["what"] == "baselines":
                rows = ratios.measure_baselines(digits, c["batch_size"], options.repeats)
                found = {"ratios": [asdict(r) for r in rows]}
            elif c["what"] == "anytime":
                rows, remarks = anytime.measure(
                    digits, options.data, c["batch_size"], options.repeats
                )
                found = {"ratios": [asdict(r) for r in rows], "remarks": remarks}
            else:
                rows, remarks = ratios.measure(
                    digits, c["n_steps"], c["batch_size"], options.repeats
                )
                found = {"ratios": [asdict(r) for r in rows], "remarks": remarks}
        finally:
            torch.set_flush_denormal(False)
        return found | {"repeats": options.repeats}

    return run.record(measure, command)


def _on_device(run: Measurement, options: SpeedOptions, digits: Split, command: str) -> Record:
    if not torch.cuda.is_available():
        raise ValueError(
            "--device cuda needs a GPU that torch sees, and there is none: torch.cuda."
            "is_available() is False. Leave out --device to measure the CPU."
        )

    def measure() -> dict[str, Any]:
        rows, remarks = device.measure(digits, options.repeats, torch.device("cuda"))
        return {"ratios": [asdict(r) for r in rows], "remarks": remarks}

    return run.record(measure, command)


def lines(done: Record) -> Iterator[str]:
    """Yield what a record says."""
    c, m, here, versions = done.config, done.metrics, done.machine, done.versions
    if c["what"] == "device":
        yield (
            f"{here['gpu']}, torch {versions['torch']}; slow: the same network by cuDNN over whole "
            "sequences; fast: ours."
        )
        yield from (str(Ratio(**r)) for r in m["ratios"])
        yield from m["remarks"]
        return
    used = f"1 to {c['threads']}" if c["what"] == "threads" else here["threads"]
    yield (
        f"batch {c['batch_size']}, T={c['n_steps']}, bright first; {here['cpu']}, "
        f"{used} thread(s) of {here['cores']}, load {here['load'][0]:.1f}, torch "
        f"{versions['torch']}, Python {versions['python']}"
    )
    if c["what"] == "threads":
        yield from threads.lines(m)
        return
    if c["what"] == "growth":
        yield from growth.lines(m)
        return
    if c["what"] == "ratios":
        yield (
            "slow: the authors' recipe (LSTM 784-340-10), or the same network dense, in torch's "
            "layout and full length (ConvLSTM 784-20-10, 5x5); fast: ours."
        )
    yield from (str(Ratio(**r)) for r in m["ratios"])
    yield from m.get("remarks", [])


class Speed(Task):
    """What the fast path saves, against the authors' recipe and the dense network."""

    name, options = "speed", SpeedOptions
    make = staticmethod(make)

    def runs(self, options: SpeedOptions) -> list[Measurement]:
        """Return one run for each thing to measure."""
        if options.device == "cuda":
            name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
            return [Measurement(self.name, {"what": "device", "device": name})]
        about: dict[str, Any] = {
            "n_steps": options.n_steps,
            "batch_size": options.batch_size,
            "threads": options.threads or 1,
        }
        if options.sweep:
            about["threads"] = threads.counts()[-1]
            return [Measurement(self.name, {"what": "threads", **about})]
        return [Measurement(self.name, {"what": what, **about}) for what in options.what]

    def find(self, options: SpeedOptions) -> list[Record]:
        """Return all that was measured with these steps, this batch and these threads.

        Sweeps and GPUs, too, whatever this call measures: the text is one, and none takes the
        other's place in it.
        """
        asked = {"n_steps": options.n_steps, "batch_size": options.batch_size}
        alone = asked | {"threads": options.threads or 1}
        wanted = {"threads": asked, "device": {}}
        found = [
            done
            for done in read_all(options.results / self.name)
            if wanted.get(done.config["what"], alone).items() <= done.config.items()
        ]
        if not found:
            return super().find(options)  # which says what to do
        return sorted(found, key=lambda done: KINDS.index(done.config["what"]))

    def text(self, records: Sequence[Record]) -> str:
        """Return all that was measured."""
        return "\n\n".join("\n".join(lines(done)) for done in records)


TASK = Speed()
