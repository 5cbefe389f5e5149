"""The rows of Table 1 whose neurons spike once, in continuous time: α-PSP and ReL-PSP."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from baselines.alpha_psp import alpha_psp
from baselines.continuous import ContinuousNetwork
from baselines.continuous_training import ContinuousConfig
from baselines.conv import conv_rel_psp
from baselines.rel_psp import rel_psp
from benchmarks.table1 import mapped_rows
from benchmarks.table1.rows import Recipe, Row


@dataclass(frozen=True)
class ContinuousModel:
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

    def build(self, seed: int) -> ContinuousNetwork:
        """Make the network with the initial weights of this seed."""
        generator = torch.Generator().manual_seed(seed)
        if self.kind == "alpha_psp":
            return alpha_psp(self.sizes, generator=generator)
        options: Any = {"gain": self.gain, "min_slope": self.min_slope}
        if self.kind == "rel_psp":
            return rel_psp(self.sizes, generator=generator, **options)
        return conv_rel_psp(self.sizes[:2], self.sizes[2:], generator=generator, **options)


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


def _recipe(model: ContinuousModel, train: ContinuousConfig, **options: Any) -> Recipe:
    return Recipe(model, train, **({"n_steps": None, "zero_pixels": "silent"} | options))


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


_DARK: Any = {"lr": 5e-4, "jitter": 0.03, "drift": 1.0}
"""Dark first, most pixels spike at once: an update moves every potential six times as far, and at
the rate of bright-first networks all outputs fall silent, whatever the drift."""
_DROPOUT: Any = {"drift": 1.0, "spike_dropout": 0.2}
"""From random weights, for longer."""


def _conv(epochs: int) -> ContinuousConfig:
    """ConvReL-PSP: five layers take longer than a frame, so the horizon must be far."""
    # Through five layers the noise keeps it from fitting the training images: it ends before that.
    quiet = round(0.8 * epochs)
    return _rel(epochs, lr=1e-3, weight_decay=0.01, horizon=5.0, jitter=0.03, jitter_epochs=quiet)


_SMALL: Any = {"n_train": 5_000, "n_validation": 1_000}
_CONV = ContinuousModel("conv_rel_psp", (16, 32, 800, 128), gain=2.0)
_ALPHA = ContinuousModel("alpha_psp", (784, 340, 10))


def _authors(which: str) -> Recipe:
    # Nothing is trained: no image is held out, and the configuration of the training is idle.
    model = replace(_ALPHA, file=f"alpha_{which}.npz")
    return _recipe(model, README, encoder="alpha_psp", n_train=0, n_validation=0)


def _row(name: str, line: int, regime: str, size: str, published: str, **more: Any) -> Row:
    kind = "α-PSP" if name.startswith("alpha") else "ReL-PSP"
    return Row(name, line, regime, kind, size, published, kind, "continuous", **more)


ROWS = (
    _row(
        *("alpha-psp-340-fast", 1, "fast", "784-340-10", "97.4"),
        recipes={
            "quick": {
                "weights": _authors("fast"),
                "tuned": _recipe(_ALPHA, _alpha(8, batch_size=16), **_SMALL),
            },
            "paper": {
                "weights": _authors("fast"),
                "published": _recipe(_ALPHA, README, encoder="alpha_psp"),
                "tuned": _recipe(_ALPHA, _alpha(30)),
            },
        },
    ),
    _row(
        *("alpha-psp-1000-fast", 2, "fast", "784-1000-10", "< 97.4"),
        recipes={
            "paper": {"tuned": _recipe(replace(_ALPHA, sizes=(784, 1000, 10)), _alpha(20))},
        },
    ),
    _row(
        *("alpha-psp-340-slow", 6, "slow", "784-340-10", "97.96"),
        recipes={
            "quick": {"weights": _authors("slow")},
            "paper": {
                "weights": _authors("slow"),
                "published": _recipe(_ALPHA, replace(PAPER, select="slow"), encoder="alpha_psp"),
                **mapped_rows.ALPHA,
            },
        },
    ),
    *(
        _row(
            *(f"rel-psp-{n}-slow", line, "slow", f"784-{n}-10", published),
            recipes={
                "quick": {
                    "tuned": _recipe(
                        ContinuousModel("rel_psp", (784, n, 10)),
                        _rel(8),
                        train_other=_rel(8, **_DARK),
                        **_SMALL,
                    )
                },
                "paper": {
                    "tuned": _recipe(
                        ContinuousModel("rel_psp", (784, n, 10)),
                        _rel(epochs),
                        train_other=_rel(epochs, **_DARK),
                    ),
                    "dropout": _recipe(
                        ContinuousModel("rel_psp", (784, n, 10)),
                        _rel(100, **_DROPOUT),
                        train_other=_rel(100, **_DROPOUT | _DARK),
                    ),
                    **mapped_rows.dense(n),
                },
            },
        )
        for n, line, published, epochs in (
            (340, 7, "98.1", 40),
            (800, 8, "98.5", 30),
            (1000, 9, "98.1", 30),
        )
    ),
    Row(
        *("conv-rel-psp-slow", 13, "slow, larger", "ConvReL-PSP"),
        *("784-16C5-P2-32C5-P2-800-128-10", "99.4", "ConvReL-PSP", "continuous"),
        recipes={
            "quick": {"tuned": _recipe(_CONV, _conv(4), **_SMALL)},
            "paper": {
                "augmented": _recipe(_CONV, _conv(40), augment="bicubic affine"),
                **mapped_rows.CONV_SLOW,
            },
        },
    ),
)
