"""Recipes of first-spike networks that are mapped from ReLU networks, and rows of their own."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from baselines.continuous import ContinuousNetwork
from baselines.continuous_training import ContinuousConfig
from baselines.relu_mapping import NeuronName
from baselines.relu_training import MappedConfig, mapped_form
from benchmarks.table1.rows import Recipe, RecipeName, Row


@dataclass(frozen=True)
class MappedModel:
    """A network of the form that `baselines.from_relu` gives; training fills it."""

    kind: Literal["dense", "conv"]
    sizes: tuple[int, ...]
    """Units per layer, input first; of conv the two channels, then the hidden units."""
    neuron: NeuronName = "rel_psp"
    gate: bool = True

    def build(self, seed: int) -> ContinuousNetwork:
        """Make the form; weights are drawn by the training, which has the seed, too."""
        convolutions: list[dict[str, Any]] = []
        dense = self.sizes
        if self.kind == "conv":  # 784-16C5-P2-32C5-P2-..., kernels inside the grid
            first, second = self.sizes[:2]
            convolutions = [
                {"size": [28, 28, 1], "kernel_size": 5, "neurons": first, "pool": 2},
                {"size": [12, 12, first], "kernel_size": 5, "neurons": second, "pool": 2},
            ]
            dense = (16 * second, *self.sizes[2:], 10)
        layers = [{"inputs": n_in, "neurons": n_out} for n_in, n_out in pairwise(dense)]
        return mapped_form([*convolutions, *layers], neuron=self.neuron, gate=self.gate)


TUNED = ContinuousConfig(
    epochs=5, batch_size=128, optimizer="adamw", lr=1e-4, lr_pulses=0.0, schedule="cosine"
)
"""By first spikes. In the outputs' clock times are negative logits, and τ = 1 is their softmax."""

DENSE = MappedConfig(epochs=100, lr=2e-3, dropout_input=0.2, dropout=0.4)
INK = replace(DENSE, offset=1.0)
"""Dark first: all is active but the ink. Less 1, ink is what dropout of inputs takes away, as it is
bright first."""
CONV = MappedConfig(epochs=30, batch_size=256, lr=3e-3, dropout=0.3)
STRICT = 0.04
"""Deadline in frames of the strictly fast rows: with k = 8 the answers are out at 0.0457."""


def mapped(
    model: MappedModel, train: MappedConfig, other: MappedConfig | None = None, **options: Any
) -> dict[RecipeName, Recipe]:
    """Return two recipes: mapped, and trained by first spikes from there."""
    given = {"n_steps": None, "zero_pixels": "silent"} | options

    def recipe(**more: Any) -> Recipe:
        train_other = None if other is None else replace(other, **more)
        return Recipe(model, replace(train, **more), train_other=train_other, **given)

    return {"mapped": recipe(), "fine-tuned": recipe(first_spikes=TUNED)}


def dense(hidden: int) -> dict[RecipeName, Recipe]:
    """Return the recipes of a ReL-PSP network with one hidden layer."""
    return mapped(MappedModel("dense", (784, hidden, 10)), DENSE, INK)


_CNN = MappedModel("conv", (16, 32, 800, 128))
_MOVED: Any = {"augment": "bicubic affine"}
_DARK: Any = {"polarity": "dark_first", "zero_pixels": "last"}

ALPHA = mapped(MappedModel("dense", (784, 340, 10), neuron="alpha_psp"), DENSE, INK)
CONV_SLOW = mapped(_CNN, CONV, **_MOVED)

ROWS = (
    Row(
        *("rel-psp-340-strict", 14, "strictly fast", "ReL-PSP", "784-340-10", "—", "ReL-PSP"),
        "continuous",
        recipes={
            "paper": mapped(
                MappedModel("dense", (784, 340, 10)),
                *(replace(config, deadline=STRICT) for config in (INK, DENSE)),
                **_DARK,
            )
        },
    ),
    Row(
        *("conv-rel-psp-strict", 14, "strictly fast", "ConvReL-PSP"),
        *("784-16C5-P2-32C5-P2-800-128-10", "—", "ConvReL-PSP", "continuous"),
        recipes={"paper": mapped(_CNN, replace(CONV, deadline=STRICT), **_DARK, **_MOVED)},
    ),
)
