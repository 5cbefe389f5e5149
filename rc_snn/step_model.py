"""The contract that any recurrent model can meet: one step, a read-out, what a step costs."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rc_snn.borders.signatures import typed

State: TypeAlias = tuple[Tensor, ...]
"""What a model carries from step to step: tensors whose first axis is the batch."""


@typed
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

    It reads `[batch, n_inputs]` in the dtype of its weights, whatever the sequences hold; a model
    that names an `input_shape`, such as (2, 34, 34), reads `[batch, *input_shape]`.

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


class Inflow(NamedTuple):
    """What came into one product of a step, and what the product took of each sample."""

    key: Hashable
    """Which product: the same in every step."""
    binary: bool
    """Whether everything that came in was 0 or 1."""
    accumulates: Float[Tensor, " batch"]
    """One for each synapse of what is not 0: what the product takes if spikes come in."""
    dense: int
    """Its multiply-adds: what it takes if anything else comes in."""

    @classmethod
    def of(cls, key: Hashable, x: Tensor, fan_out: Tensor, dense: int) -> "Inflow":
        """Look at what comes in, `[batch, ...]`; `fan_out` are the synapses of each value.

        Example:
            >>> x, fan_out = torch.tensor([[0.0, 1.0, 1.0]]), torch.full((3,), 10.0)
            >>> Inflow.of("hidden spikes", x, fan_out, dense=30)[1:]
            (True, tensor([20.], dtype=torch.float64), 30)
        """
        flat = x.detach().flatten(1)
        spikes = flat != 0
        binary = torch.equal(spikes.to(flat.dtype), flat)
        return cls(key, binary, spikes.double() @ fan_out.double().to(flat.device), dense)


@runtime_checkable
class WatchedModel(Protocol):
    """A model that tells of a step what came into its products, so that spikes can be counted."""

    def cost(self) -> StepCost:
        """Return what a step costs one sample."""

    def watch(self, x: Tensor, state: State | None) -> tuple[State, Sequence[Inflow]]:
        """Advance by one step; return the new state, and what came into the products of the step.

        All but the product with the network's input, of which the caller knows the spikes.
        """


@runtime_checkable
class FusedModel(StepModel, Protocol):
    """A step model with a fast path of its own."""

    def fused(self) -> "Advance | None":
        """Return a faster `step` for one run; None where it does not apply."""


Advance: TypeAlias = Callable[[int, Any, State | None], tuple[Tensor, State]]
"""Advance by one step of a run: `(step, inputs, state) -> (features, state)`."""


@contextmanager
def evaluated(model: Any) -> Iterator[None]:
    """Evaluate a module for a while, and leave every part of it in the mode that it was in.

    That holds after an exception, too. What is no `nn.Module` has no modes.

    Example:
        >>> model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5).eval())
        >>> with evaluated(model):
        ...     print(model.training, model[0].training)
        False False
        >>> model.training, [part.training for part in model]
        (True, [True, False])
    """
    parts = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [(part, part.training) for part in parts]
    if not any(training for _, training in modes):
        yield
        return
    try:
        model.eval()
        yield
    finally:
        for part, training in modes:  # parents first
            if part.training != training and type(part).train is not nn.Module.train:
                part.train(training)  # which does more than to set the mode
            part.training = training
