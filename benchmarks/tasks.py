"""Runs of the tasks beyond Table 1: what a figure trains on, and the record that it leaves."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks import record
from rc_snn import files
from rc_snn.loop import TrainResult
from rc_snn.models import RCLSTM, ReadOut
from rc_snn.sequences import Labelled
from rc_snn.training import TrainConfig, train

Profile = Literal["quick", "paper"]


@dataclass(frozen=True)
class TaskModel:
    """An RC-LSTM on dense inputs, by its sizes; `rc_snn.models.RCLSTM` says what they mean."""

    n_inputs: int
    n_hidden: int
    n_classes: int
    read_out: ReadOut = "softmax"
    n_dense: int | None = None
    forget_bias: float = 0.0
    dropout: float = 0.0

    def build(self, seed: int) -> RCLSTM:
        """Make the network with the initial weights of this seed."""
        generator = torch.Generator().manual_seed(seed)
        return RCLSTM(**asdict(self), dense_input=True, generator=generator)


@dataclass(frozen=True)
class TaskRun:
    """Everything that decides a run's result; its hash ends the record's name."""

    task: str
    """Folder of the records in results/, for example "figure1"."""
    profile: Profile
    data: dict[str, Any]
    """What decides the data: sizes, seeds, front end, digests. JSON values only."""
    model: TaskModel
    train: TrainConfig

    @property
    def config(self) -> dict[str, Any]:
        """Return the configuration as it is recorded and hashed."""
        return asdict(self)

    @property
    def name(self) -> str:
        """Return the name of record and run folder."""
        t = self.train
        return (
            f"{self.profile}_{t.method.replace('_', '-')}_beta{t.beta:g}_seed{t.seed}_"
            f"{record.config_key(self.config)}"
        )


@dataclass(frozen=True)
class TaskData:
    """The samples of a task."""

    training: Labelled
    validation: Labelled
    test: Labelled
    fresh: Callable[[torch.Generator], Labelled] | None = None
    """Draws the training samples of an epoch anew, as many as `training` has."""


@dataclass(frozen=True)
class TaskOptions:
    """What the command line of every task says."""

    train: bool = False
    """Make the records that do not exist yet; a stopped training goes on where it was."""
    profile: Profile = "paper"
    """quick: about a minute, to see it work. paper: as published."""
    seeds: tuple[int, ...] = (0,)
    """One run of each kind for each seed."""
    threads: int | None = None
    """CPU threads; default: torch's."""
    data: Path | None = None
    """Folder with the data, where the task reads any."""
    results: Path = record.RESULTS
    """Where records and figures go."""
    runs: Path = record.RUNS
    """Where checkpoints and logs go."""


def run_folder(run: TaskRun, options: TaskOptions) -> Path:
    """Return where a run keeps its checkpoint and log."""
    return options.runs / run.task / run.name


def trained(run: TaskRun, data: TaskData, options: TaskOptions) -> tuple[RCLSTM, TrainResult]:
    """Train, or go on with what was stopped; return the network with the weights it keeps.

    Whatever the precision of training, its products are in float32.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model = run.model.build(run.train.seed)
    result = train(
        model,
        data.training,
        data.validation,
        run.train,
        run_folder(run, options),
        fresh=data.fresh,
        description=f"{run.task} {run.train.method} β={run.train.beta:g} seed {run.train.seed}",
    )
    model.precision = "float32"
    return model, result


def execute(
    run: TaskRun,
    data: TaskData,
    options: TaskOptions,
    measure: Callable[[RCLSTM, Labelled], dict[str, Any]],
) -> record.Record:
    """Return the record of a run: read it, or train, measure once on the test set, and save it."""
    folder, source = options.results / run.task, record.source()
    path = folder / f"{run.name}.json"
    if path.exists():
        return _read(path)
    model, result = trained(run, data, options)
    done = record.new_record(
        run.task,
        run.name,
        run.config,
        measure(model, data.test),
        {"best_epoch": result.best_epoch, "history": result.history},
        sum(row["seconds"] for row in result.history),
        source,
    )
    print(record.save(done, folder), file=sys.stderr)
    return done


def find(runs: Sequence[TaskRun], options: TaskOptions) -> list[record.Record]:
    """Read the records of these runs, those that exist, in this order.

    Raises:
        ValueError: if there is none, or one is damaged.
    """
    paths = [options.results / run.task / f"{run.name}.json" for run in runs]
    found = [_read(path) for path in paths if path.exists()]
    if not found:
        raise ValueError(
            f"{options.results / runs[0].task} has no record of the profile {options.profile} for "
            f"the seeds {options.seeds}. Add --train to make them."
        )
    return found


def publish(options: TaskOptions, task: str, text: str, draw: Callable[[Path], object]) -> None:
    """Write a task's text and figure beside its records, the quick profile's apart, and print."""
    short = "" if options.profile == "paper" else f".{options.profile}"
    picture = options.results / task / f"{task}{short}.png"
    files.write_text(picture.with_suffix(".txt"), text.removesuffix("\n") + "\n")
    draw(picture)
    print(text, picture, sep="\n")


def _read(path: Path) -> record.Record:
    known = record.read(path)
    if isinstance(known, str):
        raise ValueError(f"{path} {known}; move it away to run this again.")
    return known
