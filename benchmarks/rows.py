"""The rows of Table 1: what was published, and how each rank-coded row is trained here."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch

from encoders.functional import Polarity, ZeroPixels
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.training import TrainConfig

Profile: TypeAlias = Literal["quick", "paper"]
Protocol: TypeAlias = Literal["held-out", "paper"]
RowName: TypeAlias = Literal[
    "rc-lstm-fast",
    "rc-convlstm-10-fast",
    "rc-convlstm-20-fast",
    "rc-lstm-slow",
    "rc-convlstm-10-slow",
    "rc-convlstm-20-slow",
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
    Published("fast", "α-PSP", "784-340-10", "97.4"),
    Published("fast", "α-PSP", "784-1000-10", "< 97.4"),
    Published("fast", "RC-LSTM", "784-340-10", "98.14", "rc-lstm-fast"),
    Published("fast", "RC-ConvLSTM", "784-10-10", "98.90", "rc-convlstm-10-fast"),
    Published("fast", "RC-ConvLSTM", "784-20-10", "99.19", "rc-convlstm-20-fast"),
    Published("slow", "α-PSP", "784-340-10", "97.96"),
    Published("slow", "ReL-PSP", "784-340-10", "98.1"),
    Published("slow", "ReL-PSP", "784-800-10", "98.5"),
    Published("slow", "ReL-PSP", "784-1000-10", "98.1"),
    Published("slow", "RC-LSTM", "784-340-10", "—", "rc-lstm-slow"),
    Published("slow", "RC-ConvLSTM", "784-10-10", "99.16", "rc-convlstm-10-slow"),
    Published("slow", "RC-ConvLSTM", "784-20-10", "99.29", "rc-convlstm-20-slow"),
    Published("slow, larger", "ConvReL-PSP", "784-16C5-P2-32C5-P2-800-128-10", "99.4"),
)
"""All rows of the published table, in its order, and RC-LSTM slow, which it does not have."""


@dataclass(frozen=True)
class ModelConfig:
    """A network of Table 1."""

    kind: Literal["lstm", "convlstm"]
    width: int
    """LSTM units, or ConvLSTM channels."""
    kernel_size: int | None = None
    """Side of the ConvLSTM's kernel; the paper does not state it."""
    forget_bias: float = 0.0

    def build(self, seed: int) -> RCLSTM | RCConvLSTM:
        """Make the network with the initial weights of this seed."""
        generator = torch.Generator().manual_seed(seed)
        if self.kind == "lstm":
            return RCLSTM(784, self.width, 10, forget_bias=self.forget_bias, generator=generator)
        return RCConvLSTM(
            (self.width,), self.kernel_size or 5, forget_bias=self.forget_bias, generator=generator
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
    train: TrainConfig
    device: str = "cpu"

    @property
    def seed(self) -> int:
        """Return the seed of initial weights and batch order."""
        return self.train.seed


@dataclass(frozen=True)
class Recipe:
    """How a row is trained in a profile."""

    model: ModelConfig
    train: TrainConfig
    n_train: int = 60_000
    n_validation: int = 5_000
    n_test: int = 10_000
    by_polarity: dict[Polarity, TrainConfig] = field(default_factory=dict)
    """Other training for one polarity, where validation asked for it."""


# Slow rows start as torch does. With a forget bias of 3 the credit of the last steps reaches the
# first one sooner: chosen on validation among 0, 1 and 3 (docs/ARCHITECTURE.md).
_LSTM_SLOW = ModelConfig("lstm", 340)
_LSTM_FAST = ModelConfig("lstm", 340, forget_bias=3.0)


def _slow(epochs: int, batch_size: int = 128) -> TrainConfig:
    return TrainConfig(epochs=epochs, batch_size=batch_size, beta=0.165, select="slow")


def _fast(epochs: int, batch_size: int = 128) -> TrainConfig:
    return TrainConfig(epochs=epochs, batch_size=batch_size, beta=0.0, select="fast")


def _conv(channels: int, kernel_size: int, forget_bias: float) -> ModelConfig:
    return ModelConfig("convlstm", channels, kernel_size, forget_bias)


RECIPES: dict[Profile, dict[RowName, Recipe]] = {
    "quick": {
        "rc-lstm-fast": Recipe(_LSTM_FAST, _fast(6, 64), 5_000, 1_000),
        "rc-lstm-slow": Recipe(_LSTM_SLOW, _slow(3, 64), 5_000, 1_000),
        "rc-convlstm-10-fast": Recipe(_conv(10, 3, 3.0), _fast(2, 10), 1_000, 200, 500),
        "rc-convlstm-20-fast": Recipe(_conv(20, 3, 3.0), _fast(2, 10), 400, 100, 500),
        "rc-convlstm-10-slow": Recipe(_conv(10, 3, 0.0), _slow(2, 10), 1_000, 200, 500),
        "rc-convlstm-20-slow": Recipe(_conv(20, 3, 0.0), _slow(2, 10), 400, 100, 500),
    },
    "paper": {
        # The credit of dark-first input travels slowly: its last steps bring the strong ink.
        "rc-lstm-fast": Recipe(_LSTM_FAST, _fast(30), by_polarity={"dark_first": _fast(80)}),
        "rc-lstm-slow": Recipe(_LSTM_SLOW, _slow(12)),
        "rc-convlstm-10-fast": Recipe(_conv(10, 5, 3.0), _fast(50)),
        "rc-convlstm-20-fast": Recipe(_conv(20, 5, 3.0), _fast(50)),
        "rc-convlstm-10-slow": Recipe(_conv(10, 5, 0.0), _slow(50)),
        "rc-convlstm-20-slow": Recipe(_conv(20, 5, 0.0), _slow(50)),
    },
}
