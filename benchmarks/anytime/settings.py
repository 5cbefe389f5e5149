"""The data sets of the comparison, and how all methods are trained alike on each.

Data and networks are those of the rooms that present a data set; what is trained here differs from
theirs in that every method has the same epochs, the same falling rate, no entropy reward, and keeps
the epoch with the largest validation area. The toy tasks learn within 100 epochs by a higher rate
and a forget bias that the paper does not have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.early import task as early
from benchmarks.figure1 import spotting
from benchmarks.figure2 import bayes_stopping
from benchmarks.figure2 import task as figure2
from benchmarks.figure2.frontier import Frontier, frontier
from benchmarks.methods import THETA_HIGH, THETA_LOW
from benchmarks.nmnist import event_digits
from benchmarks.poisson import task as poisson
from benchmarks.run import Data, Options, TaskModel, TaskRun, find
from encoders.functional import Polarity
from encoders.mnist import MNIST_TITLE, load_mnist
from encoders.sequence_spotting import N_STEPS
from encoders.temporal_mnist import hold_out, latency_sequences, take
from encoders.ucr import load_ucr
from rc_snn.training import TrainConfig

THETA = 0.95
TRAIN = TrainConfig(schedule="one_cycle", theta=THETA, beta=0.0, judge="area")
"""What is alike everywhere."""


def _steps(run: TaskRun, n_steps: int) -> Float[Tensor, " time"]:
    """Count steps from 0, as t_sp does."""
    return torch.arange(n_steps, dtype=torch.float64)


@dataclass(frozen=True)
class Setting:
    """A data set, and how networks are trained on it."""

    name: str
    title: str
    at: tuple[float, ...]
    """Mean times at which the table compares, on the clock."""
    plan: Callable[[Options], TaskRun]
    """Data, network and training, for any method and seed."""
    data: Callable[[TaskRun, Options], Data]
    clock: Callable[[TaskRun, int], Float[Tensor, " time"]] = _steps
    """When the answer of each step is given, of that many steps."""
    unit: str = "steps"
    """Of the clock."""
    low: float = THETA_LOW
    """Lower bound of drawn thresholds; of two classes one always has a half."""
    high: float = THETA_HIGH
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Of those that are asked for."""
    limit: Callable[[Path], Frontier] | None = None
    """Best accuracy at each mean time, where it is known exactly."""


def _planned(
    name: str, base: TaskRun, data: dict[str, Any], model: TaskModel, **train: Any
) -> TaskRun:
    """Return the run of a room as one of ours."""
    quick = base.profile == "quick"
    train["epochs"] = 2 if quick else train["epochs"]
    return replace(
        base,
        task="anytime",
        data={"setting": name} | base.data | data,
        model=model,
        train=replace(TRAIN, **train),
    )


# ---- N-MNIST -------------------------------------------------------------------------------------


def _nmnist(options: Options) -> TaskRun:
    base = event_digits.runs(replace(Options(), profile=options.profile))[0]
    return _planned("nmnist", base, {}, base.model, epochs=60, batch_size=32, lr=6e-3)


def _nmnist_data(run: TaskRun, options: Options) -> Data:
    return event_digits.data(run, *event_digits.recordings(options.data))


def _nmnist_clock(run: TaskRun, n_steps: int) -> Tensor:
    return event_digits.frames_of(run.config).seen_ms(torch.arange(n_steps))


# ---- temporal MNIST ------------------------------------------------------------------------------


_POLARITIES: tuple[tuple[str, Polarity], ...] = (("dark", "dark_first"), ("bright", "bright_first"))


def _mnist(name: str, polarity: Polarity) -> Callable[[Options], TaskRun]:
    def plan(options: Options) -> TaskRun:
        about = {
            "name": "MNIST",
            "polarity": polarity,
            "zero_pixels": "last",
            "n_steps": 10,
            "n_train": 2_000 if options.profile == "quick" else 55_000,
            "n_validation": 5_000,
        }
        model = TaskModel(784, 340, 10, forget_bias=3.0, dropout=0.3)
        base = TaskRun("anytime", options.profile, {}, model, TRAIN)
        train = {"epochs": 10, "lr": 3e-3, "weight_decay": 0.1, "precision": "bf16"}
        return _planned(name, base, about, model, **train)

    return plan


def _mnist_data(run: TaskRun, options: Options) -> Data:
    d = run.data
    digits = load_mnist(options.data)
    if digits.title != MNIST_TITLE:
        raise ValueError(
            f"The comparison is on MNIST, found {digits.title} ({digits.origin}). Name the folder "
            "of MNIST with --data."
        )
    learned, validation = hold_out(digits.train, d["n_validation"])
    parts = take(learned, torch.arange(d["n_train"])), validation, digits.test
    kind = {"polarity": d["polarity"], "zero_pixels": d["zero_pixels"]}
    training, held_out, test = (latency_sequences(part, d["n_steps"], **kind) for part in parts)
    return Data(training, held_out, test)


# ---- Poisson MNIST -------------------------------------------------------------------------------


def _poisson(options: Options) -> TaskRun:
    base = poisson.runs(replace(Options(), profile=options.profile))[0]
    model = TaskModel(784, 128, 10, forget_bias=1.0)
    train = {"epochs": 15, "lr": 3e-3, "max_norm": 1.0, "precision": "bf16"}
    return _planned("poisson", base, {"n_train": 15_000}, model, **train)


def _poisson_data(run: TaskRun, options: Options) -> Data:
    digits = poisson.digits_of(run.data["name"], options.data)
    fewer = take(digits.train, torch.arange(min(len(digits.train.labels), _dealt(run))))
    return poisson.data(run, replace(digits, train=fewer))


def _dealt(run: TaskRun) -> int:
    return int(run.data["n_train"] + run.data["n_validation"])


# ---- toy tasks with an exact limit ---------------------------------------------------------------

_TOY: Any = {"epochs": 100, "lr": 1e-3, "batch_size": 128, "max_norm": 1.0}
_TOY_MODEL = TaskModel(1, 125, 2, read_out="sigmoid", forget_bias=1.0)


def _spotting(options: Options) -> TaskRun:
    base = spotting.runs(replace(Options(), profile=options.profile))[0]
    return _planned("spotting", base, {"n_test": 20_000}, _TOY_MODEL, **_TOY)


def _spotting_data(run: TaskRun, options: Options) -> Data:
    return spotting.data(run)[0]


def _spotting_limit(results: Path) -> Frontier:
    return frontier((rule.mean_step, rule.accuracy) for rule in spotting.frontier())


def _two_sequence(options: Options) -> TaskRun:
    base = figure2.trainings(replace(Options(), profile=options.profile))[0]
    return _planned("two-sequence", base, {"n_test": 20_000}, _TOY_MODEL, **_TOY)


def _two_sequence_data(run: TaskRun, options: Options) -> Data:
    return figure2.data(run)


def _two_sequence_limit(results: Path) -> Frontier:
    (known,) = find([bayes_stopping.Limit("paper")], results / "figure2")
    return bayes_stopping.limit_of(known.metrics)


# ---- UCR and UEA sets ----------------------------------------------------------------------------


def _ucr(name: str) -> Callable[[Options], TaskRun]:
    def plan(options: Options) -> TaskRun:
        about = {"name": name, "validation": early.VALIDATION}
        n_inputs, n_classes = UCR[name]
        model = TaskModel(n_inputs, early.N_HIDDEN, n_classes, forget_bias=1.0)
        base = TaskRun("anytime", options.profile, about, model, TRAIN)
        train = {"epochs": 100, "lr": 5e-3, "batch_size": 16, "max_norm": 1.0}
        return _planned(name, base, {}, model, **train)

    return plan


def _ucr_data(run: TaskRun, options: Options) -> Data:
    """Hold other series out for each seed, as the room does."""
    d = run.data
    try:
        loaded = _load_ucr(d["name"], d["validation"], run.train.seed, options.data)
    except ImportError as error:
        raise ValueError(str(error)) from error
    return Data(loaded.train.labelled, loaded.validation.labelled, loaded.test.labelled)


@cache
def _load_ucr(name: str, validation: float, seed: int, folder: Path | None) -> Any:
    return load_ucr(name, validation=validation, seed=seed, folder=folder)


UCR = {
    "ItalyPowerDemand": (1, 2),
    "GunPoint": (1, 2),
    "BasicMotions": (6, 4),
    "JapaneseVowels": (12, 9),
}
"""Channels and classes."""


def _at(n_steps: int) -> tuple[float, ...]:
    """Return mean steps of comparison: 5 % to 75 % of the sequence."""
    return tuple(round(share * n_steps, 2) for share in (0.05, 0.1, 0.2, 0.4, 0.75))


SETTINGS: Sequence[Setting] = (
    Setting(
        name="nmnist",
        title="N-MNIST (500 recordings)",
        unit="ms",
        at=(60.0, 80.0, 120.0, 160.0, 240.0),
        plan=_nmnist,
        data=_nmnist_data,
        clock=_nmnist_clock,
    ),
    *(
        Setting(
            name=f"mnist-{name}",
            title=f"temporal MNIST, {name} first, T=10",
            at=(0.25, 0.5, 1.0, 2.0, 5.0),
            plan=_mnist(f"mnist-{name}", polarity),
            data=_mnist_data,
            seeds=(0, 1, 2),
        )
        for name, polarity in _POLARITIES
    ),
    Setting(
        name="poisson",
        title="Poisson MNIST (15,000 images), T=25",
        at=_at(25),
        plan=_poisson,
        data=_poisson_data,
        seeds=(0, 1, 2),
    ),
    Setting(
        name="spotting",
        title="sequence spotting",
        at=_at(N_STEPS),
        plan=_spotting,
        data=_spotting_data,
        low=0.55,
        high=0.999,
        limit=_spotting_limit,
    ),
    Setting(
        name="two-sequence",
        title="two-sequence problem",
        at=_at(40),
        plan=_two_sequence,
        data=_two_sequence_data,
        low=0.55,
        limit=_two_sequence_limit,
    ),
    *(
        Setting(
            name=name,
            title=name,
            at=_at(n_steps),
            plan=_ucr(name),
            data=_ucr_data,
            low=0.55 if UCR[name][1] == 2 else THETA_LOW,
        )
        for name, n_steps in (
            ("ItalyPowerDemand", 24),
            ("GunPoint", 150),
            ("BasicMotions", 100),
            ("JapaneseVowels", 29),
        )
    ),
)
