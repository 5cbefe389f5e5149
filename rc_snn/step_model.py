"""The contract that any recurrent model can meet: one step, a read-out, what a step costs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float
from torch import Tensor

State: TypeAlias = tuple[Tensor, ...]
"""What a model carries from step to step: tensors whose first axis is the batch."""


@dataclass(frozen=True)
class StepCost:
    """Multiply-adds (MACs) of one sample in one step, by when they are spent.

    Products of matrices and convolutions only; biases and gate arithmetic are not counted.

    Args:
        input: product with the step's input; every step.
        inner: products between layers; every step.
        recurrent: product with the previous state; from the second step on (the first has none).
        read_out: product with the read-out; every step.
        fan_out: synapses of each input, so one operation per input spike and synapse.
    """

    input: int
    inner: int
    recurrent: int
    read_out: int
    fan_out: Float[Tensor, " inputs"]


@runtime_checkable
class StepModel(Protocol):
    """A recurrent classifier that the runner can advance one step at a time.

    The sigmoid read-out of two-class tasks returns the logits `[0, z]`, so that softmax gives
    `[1 - sigmoid(z), sigmoid(z)]` and every model has at least two classes.
    """

    n_inputs: int
    n_classes: int

    def step(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Advance by one step; return the features for the read-out, and the new state."""

    def read_out(self, features: Tensor) -> Tensor:
        """Return the logits `[batch, classes]` of the features."""

    def cost(self) -> StepCost:
        """Return what a step costs one sample."""


@runtime_checkable
class FusedModel(StepModel, Protocol):
    """A step model with a fast path of its own."""

    def fused(self) -> "Advance | None":
        """Return a faster `step` for one run; None where it does not apply."""


Advance: TypeAlias = Callable[[int, Any, State | None], tuple[Tensor, State]]
"""Advance by one step of a run: `(step, inputs, state) -> (features, state)`."""
