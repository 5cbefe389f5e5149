"""The rows of Table 1 whose neurons spike once, in continuous time: how each is trained here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from baselines.alpha_psp import alpha_psp, load_network
from baselines.continuous import ContinuousNetwork
from baselines.continuous_training import ContinuousConfig
from baselines.conv import conv_rel_psp
from baselines.rel_psp import rel_psp
from benchmarks.table1.rows import Augment, Profile, Protocol, RecipeName, RowName
from encoders.functional import Polarity, ZeroPixels, encode


@dataclass(frozen=True)
class TimingModel:
    """A network whose neurons spike once."""

    kind: Literal["alpha_psp", "rel_psp", "conv_rel_psp"]
    sizes: tuple[int, ...]
    """Units per layer, input first; of a ConvReL-PSP the channels, then the hidden units."""
    gain: float = 1.0
    """Spread of ReL-PSP's initial weights."""
    min_slope: float = 2.0
    """Bound of 1 / slope in ReL-PSP's gradients."""
    file: str | None = None
    """The authors' network, a file in the folder alpha_psp beside MNIST; None is trained here."""

    def build(self, seed: int, data: Path | None = None) -> ContinuousNetwork:
        """Make the network with the initial weights of this seed, or read the authors'."""
        generator = torch.Generator().manual_seed(seed)
        if self.file is not None:
            return load_network(_published(self.file, data))
        if self.kind == "alpha_psp":
            return alpha_psp(self.sizes, generator=generator)
        options: Any = {"gain": self.gain, "min_slope": self.min_slope}
        if self.kind == "rel_psp":
            return rel_psp(self.sizes, generator=generator, **options)
        return conv_rel_psp(self.sizes[:2], self.sizes[2:], generator=generator, **options)


def _published(name: str, data: Path | None) -> Path:
    """Find the authors' file in `alpha_psp`, in the folder of the data or beside it."""
    places = [] if data is None else [data / "alpha_psp" / name, data.parent / "alpha_psp" / name]
    for place in places:
        if place.exists():
            return place
    raise ValueError(
        f"The authors' network {name} is not there; looked at {', '.join(map(str, places))}. "
        "Convert or copy it to alpha_psp/ beside MNIST."
    )


@dataclass(frozen=True)
class TimingRun:
    """Everything that decides a run's result; its hash names the record."""

    row: RowName
    profile: Profile
    protocol: Protocol
    data: str
    polarity: Polarity
    zero_pixels: ZeroPixels
    encoder: Literal["latency", "alpha_psp"]
    """encoders.encode_latency, or the encoding of α-PSP's authors (bright first, zeros silent)."""
    n_train: int
    n_validation: int
    n_test: int
    model: TimingModel
    train: ContinuousConfig
    device: str = "cpu"
    recipe: RecipeName = "tuned"
    augment: Augment | None = None

    @property
    def seed(self) -> int:
        """Return the seed of initial weights and batch order."""
        return self.train.seed

    def encode(self, images: Tensor) -> Tensor:
        """Return the spike times of images."""
        return encode(
            images, name=self.encoder, polarity=self.polarity, zero_pixels=self.zero_pixels
        )


def as_timing_config(config: TimingRun) -> dict[str, Any]:
    """Return a configuration as it is recorded and hashed; later options are left out while off."""
    whole = asdict(config)
    if whole["train"]["jitter_epochs"] is None:
        del whole["train"]["jitter_epochs"]
    return whole


@dataclass(frozen=True)
class TimingRecipe:
    """How a row is trained in a profile."""

    model: TimingModel
    train: ContinuousConfig
    encoder: Literal["latency", "alpha_psp"] = "latency"
    n_train: int = 60_000
    n_validation: int = 5_000
    n_test: int = 10_000
    augment: Augment | None = None
    polarity: Polarity = "bright_first"
    zero_pixels: ZeroPixels = "silent"


README = ContinuousConfig(
    epochs=100,
    batch_size=32,
    lr=0.0010186407877494507,
    lr_pulses=0.09537534860701444,
    silence=48.374830659132556,
)
"""The training command of α-PSP's authors: README of google/ihmehimmeli."""

PAPER = replace(README, epochs=12, batch_size=5, lr=2.01864e-4, lr_pulses=5.95375e-2)
"""The paper's own table of hyper-parameters; the epochs are ours, it has at most 100."""


def _alpha(epochs: int, **options: Any) -> ContinuousConfig:
    """α-PSP by the authors' optimiser and penalty, with a rate that falls."""
    given: Any = {"batch_size": 64, "lr": 2e-3} | options
    return replace(README, epochs=epochs, schedule="cosine", **given)


def _rel(epochs: int, **options: Any) -> ContinuousConfig:
    """ReL-PSP: the paper gives no recipe; chosen on validation."""
    given: Any = {
        "batch_size": 128,
        "lr": 3e-3,
        "weight_decay": 0.1,
        "temperature": 0.1,
        "horizon": 2.0,
        "jitter": 0.1,
        "max_norm": 1.0,
        "drift": 0.1,
        "select": "slow",
    } | options
    return ContinuousConfig(epochs=epochs, optimizer="adamw", schedule="cosine", **given)


def _rel_row(hidden: int, epochs: int, **options: Any) -> TimingRecipe:
    return TimingRecipe(TimingModel("rel_psp", (784, hidden, 10)), _rel(epochs), **options)


def _conv(epochs: int) -> ContinuousConfig:
    """ConvReL-PSP: five layers take longer than a frame, so the horizon must be far."""
    # Through five layers the noise keeps it from fitting the training images: it ends before that.
    quiet = round(0.8 * epochs)
    return _rel(epochs, lr=1e-3, weight_decay=0.01, horizon=5.0, jitter=0.03, jitter_epochs=quiet)


_SMALL: Any = {"n_train": 5_000, "n_validation": 1_000}


_CONV = TimingModel("conv_rel_psp", (16, 32, 800, 128), gain=2.0)
_ALPHA = TimingModel("alpha_psp", (784, 340, 10))


def _authors(which: str) -> TimingRecipe:
    # Nothing is trained: no image is held out, and the configuration of the training is idle.
    model = replace(_ALPHA, file=f"alpha_{which}.npz")
    return TimingRecipe(model, README, encoder="alpha_psp", n_train=0, n_validation=0)


TIMING_RECIPES: Mapping[Profile, Mapping[RecipeName, Mapping[RowName, TimingRecipe]]] = {
    "quick": {
        "weights": {
            "alpha-psp-340-fast": _authors("fast"),
            "alpha-psp-340-slow": _authors("slow"),
        },
        "tuned": {
            "alpha-psp-340-fast": TimingRecipe(_ALPHA, _alpha(8, batch_size=16), **_SMALL),
            "rel-psp-340-slow": _rel_row(340, 8, **_SMALL),
            "rel-psp-800-slow": _rel_row(800, 8, **_SMALL),
            "rel-psp-1000-slow": _rel_row(1000, 8, **_SMALL),
            "conv-rel-psp-slow": TimingRecipe(_CONV, _conv(4), **_SMALL),
        },
    },
    "paper": {
        "weights": {
            "alpha-psp-340-fast": _authors("fast"),
            "alpha-psp-340-slow": _authors("slow"),
        },
        "published": {
            "alpha-psp-340-fast": TimingRecipe(_ALPHA, README, encoder="alpha_psp"),
            "alpha-psp-340-slow": TimingRecipe(
                _ALPHA, replace(PAPER, select="slow"), encoder="alpha_psp"
            ),
        },
        "tuned": {
            "alpha-psp-340-fast": TimingRecipe(_ALPHA, _alpha(30)),
            "alpha-psp-1000-fast": TimingRecipe(replace(_ALPHA, sizes=(784, 1000, 10)), _alpha(20)),
            "rel-psp-340-slow": _rel_row(340, 40),
            "rel-psp-800-slow": _rel_row(800, 30),
            "rel-psp-1000-slow": _rel_row(1000, 30),
        },
        "augmented": {
            "conv-rel-psp-slow": TimingRecipe(
                _CONV,
                _conv(40),
                augment="bicubic affine",
            ),
        },
    },
}
