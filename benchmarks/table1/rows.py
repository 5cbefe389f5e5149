"""The rows of Table 1: what was published, and how each rank-coded row is trained here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import torch

from baselines.lif import LIFNetwork
from baselines.lif_training import TTFSConfig
from baselines.zoo import LIF_MODELS, LIF_NEURONS, Library
from encoders.functional import Polarity, ZeroPixels
from rc_snn.loop import Select
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.training import TrainConfig

Profile: TypeAlias = Literal["quick", "paper"]
Protocol: TypeAlias = Literal["held-out", "paper"]
RecipeName: TypeAlias = Literal["weights", "published", "tuned", "augmented"]
"""weights: the authors' own network, measured here. published: as its authors describe. tuned:
ours, on the same images. augmented: ours, with randomly moved training images."""
Augment: TypeAlias = Literal["bicubic affine"]
"""`encoders.random_affine` with its own bounds. Another reading of the images or other bounds are
another name, because a record is known by its configuration."""
RowName: TypeAlias = Literal[
    "rc-lstm-fast",
    "rc-convlstm-10-fast",
    "rc-convlstm-20-fast",
    "rc-lstm-slow",
    "rc-convlstm-10-slow",
    "rc-convlstm-20-slow",
    "rc-lstm-strict",
    "rc-convlstm-deep-fast",
    "alpha-psp-340-fast",
    "alpha-psp-1000-fast",
    "alpha-psp-340-slow",
    "rel-psp-340-slow",
    "rel-psp-800-slow",
    "rel-psp-1000-slow",
    "conv-rel-psp-slow",
    "lif-snntorch",
    "lif-norse",
    "rc-lif-snntorch",
    "rc-lif-norse",
]


@dataclass(frozen=True)
class Published:
    """A line of the paper's Table 1 (Jeffares et al., ICLR 2022)."""

    regime: str
    model: str
    architecture: str
    accuracy: str
    row: RowName | None = None
    """Name of our row that answers it; None: not trained here."""


PUBLISHED = (
    Published("fast", "α-PSP", "784-340-10", "97.4", "alpha-psp-340-fast"),
    Published("fast", "α-PSP", "784-1000-10", "< 97.4", "alpha-psp-1000-fast"),
    Published("fast", "RC-LSTM", "784-340-10", "98.14", "rc-lstm-fast"),
    Published("fast", "RC-ConvLSTM", "784-10-10", "98.90", "rc-convlstm-10-fast"),
    Published("fast", "RC-ConvLSTM", "784-20-10", "99.19", "rc-convlstm-20-fast"),
    Published("slow", "α-PSP", "784-340-10", "97.96", "alpha-psp-340-slow"),
    Published("slow", "ReL-PSP", "784-340-10", "98.1", "rel-psp-340-slow"),
    Published("slow", "ReL-PSP", "784-800-10", "98.5", "rel-psp-800-slow"),
    Published("slow", "ReL-PSP", "784-1000-10", "98.1", "rel-psp-1000-slow"),
    Published("slow", "RC-LSTM", "784-340-10", "—", "rc-lstm-slow"),
    Published("slow", "RC-ConvLSTM", "784-10-10", "99.16", "rc-convlstm-10-slow"),
    Published("slow", "RC-ConvLSTM", "784-20-10", "99.29", "rc-convlstm-20-slow"),
    Published(
        "slow, larger",
        "ConvReL-PSP",
        "784-16C5-P2-32C5-P2-800-128-10",
        "99.4",
        "conv-rel-psp-slow",
    ),
    Published("strictly fast", "RC-LSTM", "784-340-10, T=40", "—", "rc-lstm-strict"),
    Published(
        "fast, larger", "RC-ConvLSTM", "784-16C5-P2-32C5-P2-10", "—", "rc-convlstm-deep-fast"
    ),
    Published("first try", "LIF (snnTorch), TTFS", "784-340-10", "—", "lif-snntorch"),
    Published("first try", "LIF (norse), TTFS", "784-340-10", "—", "lif-norse"),
    Published("first try", "RC-LIF (snnTorch)", "784-340-10", "—", "rc-lif-snntorch"),
    Published("first try", "RC-LIF (norse)", "784-340-10", "—", "rc-lif-norse"),
)
"""All rows of the published table, in its order, and ours that it does not have."""


@dataclass(frozen=True)
class ModelConfig:
    """A network of Table 1."""

    kind: Literal["lstm", "convlstm", "rc-lif", "ttfs-lif"]
    """The last two: LIF neurons trained by rank coding, or to spike first (surrogate gradients)."""
    width: int
    """LSTM units, channels of the first ConvLSTM layer, or hidden LIF neurons."""
    kernel_size: int | None = None
    """Side of the ConvLSTM's kernel; the paper does not state it."""
    forget_bias: float = 0.0
    dropout: float = 0.0
    deeper: tuple[int, ...] = ()
    """Channels of further ConvLSTM layers."""
    pool: int = 1
    library: Library | None = None
    """Whose LIF neurons."""

    def build(self, seed: int) -> RCLSTM | RCConvLSTM | LIFNetwork:
        """Make the network with the initial weights of this seed."""
        generator = torch.Generator().manual_seed(seed)
        if self.library is not None:
            return LIF_MODELS[self.kind](
                LIF_NEURONS[self.library](), n_hidden=self.width, generator=generator
            )
        if self.kind == "lstm":
            return RCLSTM(
                784,
                self.width,
                10,
                forget_bias=self.forget_bias,
                dropout=self.dropout,
                generator=generator,
            )
        return RCConvLSTM(
            (self.width, *self.deeper),
            self.kernel_size or 5,
            pool=self.pool,
            forget_bias=self.forget_bias,
            dropout=self.dropout,
            generator=generator,
        )


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result; its hash names the record."""

    row: RowName
    profile: Profile
    protocol: Protocol
    """held-out: every choice on 5,000 held-out training images, the test set touched once.
    paper: all training images, the epoch chosen by test accuracy (as published)."""
    data: str
    polarity: Polarity
    zero_pixels: ZeroPixels
    n_steps: int
    n_train: int
    """Images to train on, at most; the rest is left out."""
    n_validation: int
    n_test: int
    model: ModelConfig
    train: TrainConfig | TTFSConfig
    device: str = "cpu"
    recipe: RecipeName = "published"
    centred: bool = False
    """Subtract the training images' mean from the input of each step."""
    augment: Augment | None = None
    """Move the training images at random before each epoch; the name says how."""

    @property
    def seed(self) -> int:
        """Return the seed of initial weights and batch order."""
        return self.train.seed


_ADDED: Mapping[str, Mapping[str, Any]] = {
    "run": {"recipe": "published", "centred": False, "augment": None},
    "model": {"dropout": 0.0, "deeper": (), "pool": 1, "library": None},
    "train": {
        "weight_decay": 0.0,
        "schedule": "constant",
        "first_step_epochs": 0,
        "precision": "float32",
        "max_norm": None,
        "judge": "method",
    },
}
"""Options that came after the first records, and their value when off."""


def as_config(config: RunConfig) -> dict[str, Any]:
    """Return a configuration as it is recorded and hashed.

    Options added after the first records are left out while they are off, so that a record made
    before them keeps its name.
    """
    whole = asdict(config)
    for part, options in ((whole, "run"), (whole["model"], "model"), (whole["train"], "train")):
        for name, off in _ADDED[options].items():
            if name in part and part[name] == off:
                del part[name]
    return whole


@dataclass(frozen=True)
class Recipe:
    """How a row is trained in a profile."""

    model: ModelConfig
    train: TrainConfig | TTFSConfig
    n_train: int = 60_000
    n_validation: int = 5_000
    n_test: int = 10_000
    centred: bool = False
    augment: Augment | None = None
    polarity: Polarity = "bright_first"
    """Which pixels spike first, where the command line does not say."""
    zero_pixels: ZeroPixels = "last"
    """What pixels without drive do, where the command line does not say."""
    n_steps: int = 10
    """Steps per frame, where the command line does not say."""


# Slow rows of the published recipe start as torch does. With a forget bias of 3 the credit of the
# last steps reaches the first one sooner: chosen on validation among 0, 1 and 3.
_LSTM_SLOW = ModelConfig("lstm", 340)
_LSTM_FAST = ModelConfig("lstm", 340, forget_bias=3.0)


def _conv(channels: int, kernel_size: int, forget_bias: float, dropout: float = 0.0) -> ModelConfig:
    return ModelConfig("convlstm", channels, kernel_size, forget_bias, dropout)


def _published(model: ModelConfig, select: Select, epochs: int) -> Recipe:
    """Constant rate, no regularisation; β as published for the slow regime, 0 for the fast one."""
    beta = 0.165 if select == "slow" else 0.0
    return Recipe(model, TrainConfig(epochs=epochs, beta=beta, select=select))


def _recipe(model: ModelConfig, train: TrainConfig, **options: Any) -> Recipe:
    """Dark first, because its first step tells more (99 % against 98.8 % for an ordinary CNN)."""
    return Recipe(model, train, centred=True, polarity="dark_first", **options)


def _fast(epochs: int, first: int, **options: Any) -> TrainConfig:
    """Learn to answer at step 0 for `first` epochs, then learn when to wait."""
    options = {"lr": 3e-3, "beta": 0.1, "weight_decay": 0.1} | options
    return TrainConfig(
        epochs=epochs, schedule="one_cycle", first_step_epochs=first, select="fast", **options
    )


def _slow(epochs: int, **options: Any) -> TrainConfig:
    """Wait for the ink: β just below the critical one.

    From the published start β = 0.165 is enough. A network that has learned to answer at step 0 is
    sure there, and waits only if β leaves it hardly above θ (0.951 at 0.203).
    """
    options = {"lr": 3e-3, "beta": 0.165, "weight_decay": 0.1} | options
    return TrainConfig(epochs=epochs, schedule="one_cycle", select="slow", **options)


def _lif(
    kind: Literal["rc-lif", "ttfs-lif"],
    library: Library,
    train: TrainConfig | TTFSConfig,
    **options: Any,
) -> Recipe:
    """LIF networks on the spikes of the published protocol: bright first, nothing centred."""
    return Recipe(ModelConfig(kind, 340, library=library), train, **options)


def _lif_rc(lr: float, epochs: int = 12) -> TrainConfig:
    return TrainConfig(epochs=epochs, lr=lr, schedule="one_cycle")


_DEEP = ModelConfig("convlstm", 16, 5, 3.0, 0.2, deeper=(32,), pool=2)
_SMALL = {"n_train": 5_000, "n_validation": 1_000}
_TINY = {"n_train": 1_000, "n_validation": 200, "n_test": 500}

RECIPES: dict[Profile, dict[RecipeName, dict[RowName, Recipe]]] = {
    "quick": {
        "published": {},
        "tuned": {
            "rc-lstm-fast": _recipe(_LSTM_FAST, _fast(8, 5, batch_size=64), **_SMALL),
            "rc-lstm-slow": _recipe(_LSTM_SLOW, _slow(4, batch_size=64), **_SMALL),
            "lif-snntorch": _lif("ttfs-lif", "snntorch", TTFSConfig(epochs=4, lr=3e-3), **_SMALL),
            "lif-norse": _lif("ttfs-lif", "norse", TTFSConfig(epochs=4, lr=1e-2), **_SMALL),
            "rc-lif-snntorch": _lif("rc-lif", "snntorch", _lif_rc(5e-3, 4), **_SMALL),
            "rc-lif-norse": _lif("rc-lif", "norse", _lif_rc(1e-2, 4), **_SMALL),
            "rc-convlstm-10-fast": _recipe(_conv(10, 5, 3.0), _fast(6, 4, batch_size=20), **_TINY),
            "rc-convlstm-20-fast": _recipe(_conv(20, 5, 3.0), _fast(6, 4, batch_size=20), **_TINY),
            "rc-convlstm-10-slow": _recipe(
                _conv(10, 5, 0.0), _slow(3, batch_size=20, precision="bf16"), **_TINY
            ),
            "rc-convlstm-20-slow": _recipe(
                _conv(20, 5, 0.0), _slow(2, batch_size=20, precision="bf16"), **_TINY
            ),
        },
        "augmented": {},
    },
    "paper": {
        "published": {
            "rc-lstm-fast": _published(_LSTM_FAST, "fast", 30),
            "rc-lstm-slow": _published(_LSTM_SLOW, "slow", 12),
            "rc-convlstm-10-fast": _published(_conv(10, 5, 3.0), "fast", 50),
            "rc-convlstm-20-fast": _published(_conv(20, 5, 3.0), "fast", 50),
            "rc-convlstm-10-slow": _published(_conv(10, 5, 0.0), "slow", 50),
            "rc-convlstm-20-slow": _published(_conv(20, 5, 0.0), "slow", 50),
        },
        "tuned": {
            "rc-lstm-fast": _recipe(replace(_LSTM_FAST, dropout=0.3), _fast(20, 8)),
            "lif-snntorch": _lif("ttfs-lif", "snntorch", TTFSConfig(epochs=12, lr=3e-3)),
            "lif-norse": _lif("ttfs-lif", "norse", TTFSConfig(epochs=12, lr=1e-2)),
            "rc-lif-snntorch": _lif("rc-lif", "snntorch", _lif_rc(5e-3)),
            "rc-lif-norse": _lif("rc-lif", "norse", _lif_rc(1e-2)),
            "rc-lstm-slow": _recipe(replace(_LSTM_SLOW, dropout=0.3), _slow(10)),
            "rc-convlstm-10-fast": _recipe(
                _conv(10, 9, 3.0, 0.5), _fast(10, 4, beta=0.0, precision="bf16")
            ),
            "rc-convlstm-20-fast": _recipe(
                _conv(20, 9, 3.0, 0.5), _fast(10, 4, beta=0.0, precision="bf16")
            ),
            "rc-convlstm-10-slow": _recipe(
                _conv(10, 9, 3.0, 0.5),
                _slow(10, first_step_epochs=6, beta=0.203, precision="bf16"),
            ),
            "rc-convlstm-20-slow": _recipe(
                _conv(20, 5, 3.0, 0.5),
                _slow(10, first_step_epochs=6, beta=0.203, precision="bf16"),
            ),
        },
        "augmented": {
            "rc-lstm-fast": _recipe(
                _LSTM_FAST, _fast(20, 6, beta=0.05, weight_decay=0.05), augment="bicubic affine"
            ),
            # θ = 0.5: in 40 steps a sample that waits to the end costs as much as 40 that do not.
            "rc-lstm-strict": _recipe(
                _LSTM_FAST,
                _fast(14, 11, beta=0.05, weight_decay=0.05, theta=0.5),
                augment="bicubic affine",
                n_steps=40,
            ),
            "rc-convlstm-deep-fast": _recipe(
                _DEEP,
                _fast(30, 20, lr=4e-3, beta=0.05, weight_decay=0.02, precision="bf16"),
                augment="bicubic affine",
            ),
            "rc-convlstm-10-fast": _recipe(
                _conv(10, 9, 3.0, 0.2),
                _fast(16, 10, beta=0.0, precision="bf16"),
                augment="bicubic affine",
            ),
            "rc-convlstm-20-fast": _recipe(
                _conv(20, 9, 3.0, 0.2),
                _fast(16, 10, beta=0.0, precision="bf16"),
                augment="bicubic affine",
            ),
        },
    },
}
