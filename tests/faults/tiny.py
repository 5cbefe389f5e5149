"""A task of milliseconds: its data, its training, its command; run in children, too."""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import task
from benchmarks.record import Record
from benchmarks.run import Data, Options, TaskModel, TaskRun, recorded, trained
from rc_snn import checkpoint, commands
from rc_snn.models import RCLSTM
from rc_snn.sequences import DenseSequences, Labelled
from rc_snn.training import TrainConfig, train

T, N, K = 4, 6, 3
SIZES = TaskModel(N, 8, K, dropout=0.2)


def samples(seed: int = 0, n: int = 24) -> Labelled:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % K
    return Labelled(DenseSequences(torch.randn(T, n, N, generator=generator)), labels)


def run_of(epochs: int, seed: int = 0) -> TaskRun:
    config = TrainConfig(epochs=epochs, batch_size=8, lr=0.01, seed=seed)
    return TaskRun("tiny", "paper", {"n": 24}, SIZES, config)


def learn(folder: Path, epochs: int = 2, fresh: Any = None) -> RCLSTM:
    """Train in a folder, or go on."""
    net = run_of(epochs).build()
    train(net, samples(0), samples(1), run_of(epochs).train, folder, fresh=fresh)
    return net


def learn_slowly(folder: Path, epochs: int) -> None:
    """Train an epoch, and go on when there is a file `go`."""
    learn(folder, epochs, fresh=partial(until, folder, folder / "go"))


def epochs_of(folder: Path) -> tuple[list[int], list[int]]:
    """Return the epochs in the checkpoint, which must be whole, and in the log."""
    path, log = folder / "checkpoint.pt", folder / "log.csv"
    there = checkpoint.read(path)["history"] if path.exists() else []
    rows = log.read_text().splitlines()[1:] if log.exists() else []
    columns = {row.count(",") for row in rows}
    assert len(columns) < 2, "a row is torn"
    return [int(row["epoch"]) for row in there], [int(float(row.split(",")[0])) for row in rows]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()} - {".lock"}


class Tiny(task.Task):
    """A training of as many epochs as the environment says."""

    name = "tiny"

    def runs(self, options: Options) -> list[TaskRun]:
        return [run_of(int(os.environ.get("EPOCHS", "3")), seed) for seed in options.seeds]

    def make(self, run: TaskRun, options: Options, command: str) -> Record:
        hook = os.environ.get("FRESH")
        data = Data(
            samples(0), samples(1), None, fresh=partial(HOOKS[hook], options) if hook else None
        )
        return recorded(run, trained(run, data, options), {"answer": 42}, command)

    def text(self, records: Any) -> str:
        return "\n".join(done.name for done in records)


def fill(options: Options, generator: torch.Generator) -> Labelled:
    """Before an epoch that has one behind it: leave no room on the disk."""
    if any(options.runs.rglob("checkpoint.pt")):
        with (options.runs / "filler").open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
    return samples(0)


def wait(options: Options, generator: torch.Generator) -> Labelled:
    """Before an epoch that has one behind it: wait until there is a file `go`."""
    return until(options.runs, options.runs / "go")


def until(folder: Path, go: Path, generator: Any = None) -> Labelled:
    while any(folder.rglob("checkpoint.pt")) and not go.exists():
        time.sleep(0.005)
    return samples(0)


HOOKS = {"fill": fill, "wait": wait}


def command(folder: Path, *arguments: str) -> None:
    """Run the task by its command line."""
    where = ["--results", str(folder / "results"), "--runs", str(folder / "runs")]
    sys.argv = ["tiny", *where, *arguments]
    sys.modules["__main__"].__spec__ = None
    commands.run(partial(task.command, Tiny()), Options)
