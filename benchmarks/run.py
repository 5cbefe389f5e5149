"""Runs: what decides a result has a name; it is made once, and found again.

A run is anything with a name and a config. Its name ends in the hash of its config, so that a
record that exists is never made twice, and one of another config never taken for it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import torch

from benchmarks import record
from benchmarks.methods import method_name
from rc_snn import families, network
from rc_snn.borders.numbers import check_fields
from rc_snn.files import check_room, locked
from rc_snn.loop import Samples, TrainResult
from rc_snn.models import RCLSTM, ReadOut
from rc_snn.training import TrainConfig

Profile: TypeAlias = Literal["quick", "paper"]
"""quick: minutes, to see it work. paper: as published, hours."""


class Run(Protocol):
    """What decides one result."""

    @property
    def name(self) -> str:
        """Return the name of record and run folder; it ends in the config's hash."""

    @property
    def config(self) -> dict[str, Any]:
        """Return everything that decides the result, as it is recorded: JSON values only."""


class Trains(Run, Protocol):
    """A run that trains a network of a family."""

    @property
    def train(self) -> Any:
        """Return the family's configuration of a training; it holds the seed."""

    @property
    def task(self) -> str:
        """Return the name of the task: the folder of its records."""

    @property
    def family(self) -> str:
        """Return the name of the network's family: see `rc_snn.families`."""

    @property
    def title(self) -> str:
        """Return what a progress bar shows."""

    def build(self) -> Any:
        """Make the network with the initial weights of the run's seed."""


@dataclass(frozen=True)
class Options:
    """What the command line of every task says."""

    train: bool = False
    """Make the records that do not exist yet; a stopped training goes on where it was."""
    profile: Profile = "paper"
    """quick: about a minute, to see it work. paper: as published."""
    seeds: tuple[int, ...] = (0,)
    """One run of each kind for each seed."""
    threads: int | None = None
    """CPU threads of a run; default: torch's, and one on Ray."""
    data: Path | None = None
    """Folder with the data, where the task reads any."""
    results: Path = record.RESULTS
    """Where records, texts and figures go."""
    runs: Path = record.RUNS
    """Where checkpoints, logs and weights go; a stopped run resumes from here."""
    force: bool = False
    """Run again what has a record already."""
    ray: bool = False
    """Make the runs as tasks of a local Ray (extra "cluster")."""
    ray_address: str | None = None
    """Make the runs as tasks of this Ray cluster; it must see the folders runs and results."""
    tensorboard: bool = False
    """Also write TensorBoard events beside the checkpoints."""

    ONLY_TRAIN: ClassVar[tuple[str, ...]] = ("force", "ray", "ray_address", "tensorboard")
    """Options without effect where nothing is made: refused without `train`. `runs` is not one of
    them: it says where things are, not what is to be done."""
    IDLE: ClassVar[tuple[str, ...]] = ()
    """Options that a command has from here, and no use for: always refused."""

    def __post_init__(self) -> None:
        """Take folders as strings, too; refuse numbers that count nothing."""
        for name in ("data", "results", "runs"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        # Samples are counted where the data are, of which there may be too few.
        check_fields(
            self, **{f.name: int(f.name not in ("seeds", "samples")) for f in fields(self)}
        )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(
                f"seeds must be one or more, each once, got {list(self.seeds)}: a run that counts "
                "twice would make a mean look surer than it is."
            )

    def check_used(self) -> None:
        """Refuse options that have no effect.

        Raises:
            ValueError: if there is one; the message names it.
        """
        given = {f.name for f in fields(self) if getattr(self, f.name) != f.default}
        if idle := [name for name in self.IDLE if name in given]:
            raise ValueError(f"This command has no use for {_flags(idle)}. Leave it out.")
        if idle := [name for name in self.ONLY_TRAIN if name in given and not self.train]:
            raise ValueError(
                f"Without --train nothing is made, and {_flags(idle)} would have no effect. Add "
                "--train, or leave it out."
            )


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def check_folders(options: Options, *names: str) -> None:
    """Refuse folders in which nothing can be written, before anything is made for them.

    Args:
        options: say where results and runs go.
        names: of the folders in results that will be written to.

    Raises:
        OSError: naming the folder.
    """
    for folder in (options.results / name for name in names):
        check_room(folder)
    if not isinstance(options, Measures):
        check_room(options.runs)
    if getattr(options, "ship", False):
        check_room(network.SHELF)


@dataclass(frozen=True)
class Measures(Options):
    """What the command line of a task that trains nothing says; --train measures."""

    IDLE: ClassVar[tuple[str, ...]] = ("seeds", "profile", "tensorboard")


@dataclass(frozen=True)
class Data:
    """The samples of a training, as its family reads them, and the test set."""

    training: Samples
    validation: Samples
    test: Any
    fresh: Callable[[torch.Generator], Any] | None = None
    """Draws the training samples of an epoch anew, as many as `training` has."""


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


@dataclass(frozen=True)
class TaskRun:
    """A training on dense inputs, and everything that decides its result."""

    task: str
    """Folder of the records in results/, for example "figure1"."""
    profile: Profile
    data: dict[str, Any]
    """What decides the data: sizes, seeds, front end, digests. JSON values only."""
    model: TaskModel
    train: TrainConfig

    family = "rank-coded"

    @property
    def config(self) -> dict[str, Any]:
        """Return the configuration as it is recorded and hashed."""
        whole = asdict(self)
        return whole | {"train": without_idle(whole["train"])}

    @property
    def name(self) -> str:
        """Return the name of record and run folder."""
        t = self.train
        return (
            f"{self.profile}_{method_name(t).replace('_', '-')}_beta{t.beta:g}_seed{t.seed}_"
            f"{record.config_key(self.config)}"
        )

    @property
    def title(self) -> str:
        """Return what a progress bar shows."""
        t = self.train
        return f"{self.task} {method_name(t)} β={t.beta:g} seed {t.seed}"

    def build(self) -> RCLSTM:
        """Make the network with the initial weights of the run's seed."""
        generator = torch.Generator().manual_seed(self.train.seed)
        return RCLSTM(**asdict(self.model), dense_input=True, generator=generator)


IDLE: Mapping[str, Any] = {"theta_low": None, "theta_high": None, "prefix": 0.0}
"""Options of a training that came after the first records, and their values when off."""


def without_idle(part: Mapping[str, Any], idle: Mapping[str, Any] = IDLE) -> dict[str, Any]:
    """Leave options out while they are off, so that a record made before them keeps its name."""
    return {k: v for k, v in part.items() if k not in idle or v != idle[k]}


def not_trained_here() -> dict[str, Any]:
    """Return what a record says of a training that was not ours."""
    return {"best_epoch": None, "regime_reached": True, "history": []}


@dataclass(frozen=True)
class Measurement:
    """A run that trains nothing: what is measured, and by what."""

    task: str
    """Folder of the records in results/."""
    config: dict[str, Any]
    """Everything that decides the result: JSON values."""

    @property
    def name(self) -> str:
        """Return the name of the record."""
        return f"{self.task}_{record.config_key(self.config)}"

    def record(self, measure: Callable[[], dict[str, Any]], command: str) -> record.Record:
        """Measure, and return the record."""
        source, began = record.source(), time.perf_counter()
        metrics = measure()
        seconds = time.perf_counter() - began
        return record.new_record(
            self.task, self.name, self.config, metrics, {}, seconds, source, command
        )


class Outcome(NamedTuple):
    """What became of a run."""

    run: str
    failed: bool
    line: str
    """For the reader."""
    missing: bool = False
    """Whether it failed for want of a package."""


def run_folder(run: Trains, options: Options) -> Path:
    """Return where a run keeps checkpoint, log and weights."""
    return options.runs / run.task / run.name


class Done(NamedTuple):
    """A training that has ended."""

    model: Any
    """On the CPU, with the weights that it keeps."""
    result: TrainResult
    source: record.Source
    """What the code was when it began."""


def trained(run: Trains, data: Data, options: Options, folder: Path | None = None) -> Done:
    """Train, or go on with what was stopped; `folder` holds the checkpoint, or `run_folder`."""
    source, folder = record.source(), folder or run_folder(run, options)
    if options.force:
        with locked(folder, "training"):
            (folder / "checkpoint.pt").unlink(missing_ok=True)
    model = run.build()
    result = families.family(run.family).train(
        model,
        data.training,
        data.validation,
        run.train,
        folder,
        fresh=data.fresh,
        tensorboard=options.tensorboard,
        description=run.title,
    )
    return Done(model, result, source)


def recorded(run: Trains, done: Done, metrics: dict[str, Any], command: str) -> record.Record:
    """Return the record of a training, with what was measured on the test set."""
    history = done.result.history
    seconds = sum(row["seconds"] for row in history)
    about = run.task, run.name, run.config
    return record.new_record(*about, metrics, asdict(done.result), seconds, done.source, command)


def once(
    run: Run,
    folder: Path,
    make: Callable[[], record.Record],
    say: Callable[[record.Record], str] = lambda done: done.name,
    *,
    force: bool = False,
) -> Outcome:
    """Make a run's record unless it exists; a run that fails says why, and takes no other down.

    So does one whose network is of a library that is not installed.

    Two processes that make one record each write it whole; of two that train in one folder the
    second fails.
    """
    path = record.place(folder / f"{run.name}.json")
    if path.exists():
        found = record.read(path)
        if isinstance(found, str):
            line = f"skipped: {path} {found}; move it away to make this run again"
            return Outcome(run.name, True, line)
        if not force:
            return Outcome(run.name, False, f"known: {path}")
    try:
        done = make()
        saved = record.save(done, folder)
    except ValueError as error:
        return Outcome(run.name, True, f"skipped: {run.name}: {type(error).__name__}: {error}")
    except ImportError as error:
        return Outcome(run.name, True, f"left out: {run.name}: {error}", missing=True)
    return Outcome(run.name, False, f"{say(done)} -> {saved}")


def find(runs: Sequence[Run], folder: Path) -> list[record.Record]:
    """Read the records of these runs, those that exist, in this order.

    Raises:
        ValueError: if there is none, or one is damaged.
    """
    found = []
    for path in (record.place(folder / f"{run.name}.json") for run in runs):
        if path.exists():
            known = record.read(path)
            if isinstance(known, str):
                raise ValueError(f"{path} {known}; move it away to make this run again.")
            found.append(known)
    if not found:
        raise ValueError(
            f"{folder} has no record of what was asked for: "
            f"{', '.join(run.name for run in runs) or 'no run'}. Add --train to make them."
        )
    return found
