"""Runs of Table 1: what decides their results, their names, and the images they see."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks import record
from benchmarks.run import IDLE, Profile, without_idle
from benchmarks.table1.options import Table1
from benchmarks.table1.rows import (
    Augment,
    EncoderName,
    ModelConfig,
    ProtocolName,
    Recipe,
    RecipeName,
    known_rows,
    row_of,
)
from encoders.functional import Polarity, ZeroPixels, encode
from encoders.mnist import Digits, Split
from encoders.temporal_mnist import hold_out, take
from rc_snn.network import Network


@dataclass(frozen=True)
class RowRun:
    """Everything that decides a run's result; its hash ends the record's name."""

    row: str
    profile: Profile
    protocol: ProtocolName
    """held-out: every choice on 5,000 held-out training images, the test set touched once.
    paper: all training images, the epoch chosen by test accuracy (as published)."""
    data: str
    polarity: Polarity
    zero_pixels: ZeroPixels
    n_steps: int | None
    """Steps per frame, T; None in continuous time."""
    n_train: int
    """Images to train on, at most; the rest is left out."""
    n_validation: int
    n_test: int
    model: ModelConfig
    train: Any
    device: str = "cpu"
    recipe: RecipeName = "published"
    centred: bool = False
    """Subtract the training images' mean from the input of each step."""
    augment: Augment | None = None
    """Move the training images at random before each epoch; the name says how."""
    encoder: EncoderName = "latency"
    family: str = "rank-coded"
    task: str = "table1"
    """Whose record it leaves; other figures train rows, too."""

    @property
    def seed(self) -> int:
        """Return the seed of initial weights and batch order."""
        return int(self.train.seed)

    @property
    def file(self) -> str | None:
        """Return the file of a network that is not trained here."""
        return getattr(self.model, "file", None)

    @property
    def config(self) -> dict[str, Any]:
        """Return the configuration as it is recorded and hashed.

        Options added after the first records are left out while they are off, so that a record made
        before them keeps its name. Continuous time has no grid, and names its encoder.
        """
        whole = asdict(self)
        del whole["family"], whole["task"]  # the row says the one, the record the other
        if self.n_steps is None:
            del whole["n_steps"], whole["centred"]
            idle = {"jitter_epochs": None, "spike_dropout": 0.0, "offset": 0.0}
            return whole | {"train": without_idle(whole["train"], idle)}
        del whole["encoder"]
        whole = without_idle(whole, {"recipe": "published", "centred": False, "augment": None})
        return whole | {
            part: without_idle(whole[part], off) for part, off in _OFF.items() if part in whole
        }

    @property
    def name(self) -> str:
        """Return the name of the record and of the run's folder."""
        grid = "continuous" if self.n_steps is None else f"T{self.n_steps}"
        recipe = "" if self.recipe == "published" else f"_{self.recipe}"
        return (
            f"{self.profile}_{self.row}{recipe}_{self.data}_{self.polarity}_{grid}"
            f"_{self.protocol}_seed{self.seed}_{record.config_key(self.config)}"
        )

    @property
    def title(self) -> str:
        """Return what a progress bar shows."""
        return f"{self.row} {self.polarity} seed {self.seed}"

    @property
    def encoding(self) -> dict[str, Any]:
        """Return name and options of the encoder, as a network keeps them."""
        named = {"name": self.encoder}
        return named | {"polarity": self.polarity, "zero_pixels": self.zero_pixels}

    def encode(self, images: Tensor) -> Tensor:
        """Return the spike times of images, in frames."""
        return encode(images, **self.encoding)

    def build(self) -> Any:
        """Make the network with the initial weights of the run's seed."""
        return self.model.build(self.seed).to(self.device)

    def network(self, model: Any, like: Any = None, **about: Any) -> Network:
        """Return a trained model with what its use depends on; `like` are its training samples."""
        mean = getattr(getattr(like, "inputs", None), "mean", None)
        return Network(
            name=shipped_name(self),
            model=model,
            theta=getattr(self.train, "theta", None),
            n_steps=self.n_steps,
            encoder=self.encoding,
            tensors={} if mean is None else {"input_mean": mean.cpu().float()},
            family=self.family,
            **about,
        )


_OFF: Mapping[str, Mapping[str, Any]] = {
    "model": {"dropout": 0.0, "deeper": (), "pool": 1, "library": None},
    "train": {
        "weight_decay": 0.0,
        "schedule": "constant",
        "first_step_epochs": 0,
        "precision": "float32",
        "max_norm": None,
        "judge": "method",
        **IDLE,
    },
}
"""Options that came after the first records, and their value when off."""


def shipped_name(run: RowRun) -> str:
    """Return the name under which a run's network ships, for example "rc-lstm-340-fast".

    A polarity that is not the recipe's own ends it: "rc-lstm-340-fast-bright".
    """
    row = run.row
    if row.startswith("rc-lstm"):
        row = row.replace("rc-lstm", f"rc-lstm-{getattr(run.model, 'width', '')}")
    name = row if run.recipe == "tuned" else f"{row}-{run.recipe}"
    known = known_rows().get(run.row)  # of a row that only --model names, all is its own
    recipe = None if known is None else known.recipes.get(run.profile, {}).get(run.recipe)
    if recipe is None or run.polarity == recipe.polarity:
        return name
    return f"{name}-{run.polarity.removesuffix('_first')}"


def _recipes(row: str, options: Table1) -> Mapping[RecipeName, Recipe]:
    return row_of(row, options.model).recipes.get(options.profile, {})


def check_planned(options: Table1) -> None:
    """Refuse rows and recipes that would train nothing.

    Raises:
        ValueError: if a recipe is none of any row that is asked for, or a row that was named has
            none of the recipes; the message lists what there is.
    """
    has = {row: _recipes(row, options) for row in options.asked}
    if not has:
        raise ValueError(
            "--train trains rows, and only networks were named. Add --rows, or leave --train out."
        )
    there = "; ".join(f"{row}: {', '.join(r) or 'none'}" for row, r in has.items())
    for name in options.recipe:
        if not any(name in recipes for recipes in has.values()):
            raise ValueError(
                f"No row that is asked for has the recipe {name!r} in the profile "
                f"{options.profile!r}. There are {there}. Choose --recipe, --profile or --rows."
            )
    for row in options.rows:
        if not set(options.recipe) & set(has[row]):
            raise ValueError(
                f"The row {row!r} has none of the recipes {', '.join(options.recipe)} in the "
                f"profile {options.profile!r}. There are {there}."
            )


def planned(options: Table1, digits: Digits) -> Iterator[RowRun]:
    """Yield one run per recipe, row, protocol, seed and polarity that is asked for and exists."""
    for name, row, protocol, seed in product(
        options.recipe, options.asked, options.protocol, options.seeds
    ):
        recipe = _recipes(row, options).get(name)
        if recipe is None:
            continue
        if getattr(recipe.model, "file", None) is not None and (protocol, seed) != _ONCE:
            continue
        polarities = options.polarity if recipe.encoder == "latency" else None
        for polarity in polarities or (recipe.polarity,):
            own = polarity == recipe.polarity or recipe.train_other is None
            yield RowRun(
                row=row,
                profile=options.profile,
                protocol=protocol,
                data=digits.name,
                polarity=polarity,
                zero_pixels=options.zero_pixels or recipe.zero_pixels,
                n_steps=recipe.n_steps and (options.n_steps or recipe.n_steps),
                **sizes(recipe, protocol, digits),
                model=recipe.model,
                train=_asked(recipe.train if own else recipe.train_other, seed, options),
                device=options.device,
                recipe=name,
                centred=recipe.centred,
                augment=recipe.augment,
                encoder=recipe.encoder,
                family=row_of(row, options.model).family,
            )


_ONCE = ("held-out", 0)
"""Networks that are not trained here have no protocol and no seed: they are measured once."""


def _asked(train: Any, seed: int, options: Table1) -> Any:
    """Return a training's configuration with the seed, and the precision where it has one."""
    precise = options.precision is not None and hasattr(train, "precision")
    return replace(train, seed=seed, **({"precision": options.precision} if precise else {}))


def sizes(recipe: Recipe, protocol: ProtocolName, digits: Digits) -> dict[str, Any]:
    """Return how many images are trained on, held out, and tested on."""
    n_train = len(digits.train.labels)
    n_validation = min(recipe.n_validation, n_train // 8) if protocol == "held-out" else 0
    return {
        "n_train": min(recipe.n_train, n_train - n_validation),
        "n_validation": n_validation,
        "n_test": min(recipe.n_test, len(digits.test.labels)),
    }


def splits(run: RowRun, digits: Digits) -> tuple[Split, Split, Split]:
    """Return training, validation and test images of a run."""
    if run.protocol == "paper":
        training, validation = digits.train, digits.test
    else:
        training, validation = hold_out(digits.train, run.n_validation or 1)
    # The embedded digits come sorted by class: a part of them must be drawn, always the same.
    part = torch.randperm(len(training.labels), generator=torch.Generator().manual_seed(1))
    test = torch.randperm(len(digits.test.labels), generator=torch.Generator().manual_seed(2))
    if run.n_test == len(test):
        test = torch.arange(len(test))
    return (
        take(training, part[: run.n_train]),
        validation if run.protocol == "held-out" else take(validation, test[: run.n_test]),
        take(digits.test, test[: run.n_test]),
    )
