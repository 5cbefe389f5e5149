"""Runs in chunks of steps: where many steps cost hardly more than one, as on a GPU.

There a step of its own is some thirty launches and a wait for the device, about as long as cuDNN
takes for a whole sequence. So a run advances by chunks: every sample that is there computes the
whole chunk, one look says who has fired in it, and these leave. Decisions and gradients are those
of single steps; what is computed beyond a spike is at most the rest of its chunk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from rc_snn.borders.checks import Form
from rc_snn.borders.numbers import count
from rc_snn.step_model import State, StepCost, StepModel

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Chunk(NamedTuple):
    """How a model advances by many steps at once, during one run."""

    advance: Callable[[Tensor, State | None], tuple[Tensor, State]]
    """`(inputs [L, B, …], state) -> (features [L, B, features], state)`."""
    values: int
    """Numbers that a step of a chunk holds of one sample, for batches that fit a memory."""


@runtime_checkable
class ChunkedModel(StepModel, Protocol):
    """A step model that can advance by many steps in one call."""

    def chunked(self) -> Chunk | None:
        """Return how; None where it would not be the steps of `step`."""


def chunk_of(model: Any) -> Chunk | None:
    """Return how a model advances by chunks; None if it does not."""
    own = getattr(model, "chunked", None)
    found: Chunk | None = None if own is None else own()
    return found


def chunked_by_itself(model: Any) -> bool:
    """Return whether runs advance by chunks unless asked otherwise: where a call is a launch."""
    own = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return own is not None and own.device.type != "cpu"


def chooser(model: StepModel, n_steps: int, *, training: bool) -> "Chunks | None":
    """Return what chooses the chunks of several runs of a model; None: it advances by steps."""
    if not chunked_by_itself(model) or chunk_of(model) is None:
        return None
    return Chunks(model.cost(), n_steps, training)


def fitting(model: Any, n_steps: int) -> int:
    """Return how many sequences to advance together.

    On the CPU few enough for their state to stay in the cache. On a GPU half of what is free holds
    their chunks even if one is the whole sequence; a model without chunks holds a step at a time.
    """
    if not chunked_by_itself(model):
        return 250
    device = next(model.parameters()).device
    chunk = chunk_of(model)
    if chunk is None or device.type != "cuda":
        return 4096
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(1, free // (2 * 4 * chunk.values * n_steps))


def span(model: StepModel, inputs: Any, first: int | Int[Tensor, " batch"], length: int) -> Tensor:
    """Return the inputs of `length` steps as the model reads them, `[length, batch, …]`.

    Args:
        model: whose dtype and input shape they take.
        inputs: sequences; those with a `span` of their own are asked, of others each step is read.
        first: the first step, or one for each sequence; beyond the last step, that is shown again.
        length: steps.

    Raises:
        ValueError: if `first` is one for each sequence, and the sequences have no `span`.
    """
    own = getattr(inputs, "span", None)
    if own is not None:
        x = own(first, length)
    elif isinstance(first, int):
        x = torch.stack([inputs.at(step) for step in range(first, first + length)])
    else:
        raise ValueError(
            f"refill reads each sequence from its own step, which {type(inputs).__name__} does "
            "not show. Use SpikeSequences, DenseSequences or ContextSequences, or refill=False."
        )
    read = Form.of(model).read(x.flatten(0, 1))
    return read.view(length, -1, *read.shape[1:])


MEMORY = 16
"""Runs that are remembered: one in which few samples wait should not decide alone."""
BOUNDARY = {True: 2.5e-3, False: 5e-4}
"""Seconds that a further chunk costs whatever it computes, in training and in inference: launches,
the wait for the look, and the graph of the samples that stay."""
LATENCY = 25e-6
"""Seconds of one step of cuDNN's LSTM that is too small to fill the device."""
RATE = 6e13
"""Multiply-adds per second of a step that fills it, forward and backward counted thrice."""


@dataclass
class Chunks:
    r"""Chooses the lengths of a run's chunks from the decision steps of the runs before it.

    Of the samples that are undecided before step a, a share s_a, the chunk [a, b) takes

    .. math:: p_a (c + (b - a) \max(l, 3 n s_a m / r)), \qquad p_a = \min(1, n s_a)

    seconds: c for a boundary (`BOUNDARY`; not before the first chunk), l the latency of a step
    (`LATENCY`), m its multiply-adds, r the device's rate (`RATE`), n samples. The lengths with the
    smallest sum are found exactly, by dynamic programming over the boundaries. The constants were
    measured on one NVIDIA H200; they decide about speed only, never about an answer. Before
    anything is known lengths double: 1, 1, 2, 4, ….

    The rule depends on decisions, not on clocks, so a training that is resumed takes the same
    chunks.

    Args:
        cost: of a step of the model.
        n_steps: steps of a sequence, T.
        training: whether runs record a graph.

    Example:
        >>> from rc_snn.models import RCLSTM
        >>> chunks = Chunks(RCLSTM().cost(), n_steps=10, training=True)
        >>> chunks.lengths(32_768)
        [1, 1, 2, 4, 2]
        >>> chunks.note([900] + 8 * [30], 32_768)  # undecided after each step, of so many
        >>> chunks.lengths(32_768), chunks.lengths(128)
        ([1, 9], [10])
    """

    cost: StepCost
    n_steps: int
    training: bool
    _seen: list[Array] = field(default_factory=list)
    _shares: Array | None = None

    def note(self, undecided: Sequence[int], n: int) -> None:
        """Remember how many of n samples were undecided after each step that was computed."""
        run = np.zeros(self.n_steps)  # before each step
        run[0] = n
        run[1 : 1 + len(undecided)] = undecided[: self.n_steps - 1]
        self._seen = [*self._seen[1 - MEMORY :], run]
        total = np.sum(self._seen, axis=0)
        self._shares = total / total[0]

    def lengths(self, n: int) -> list[int]:
        """Return the lengths for a run of n samples; they sum to `n_steps`."""
        if self._shares is None:
            doubled = [0, *(2**i for i in range(self.n_steps.bit_length())), self.n_steps]
            return [b - a for a, b in pairwise(doubled) if a < b]
        macs = self.cost.input + self.cost.inner + self.cost.recurrent
        there = n * self._shares
        reached = np.minimum(1.0, there)
        work = 3 if self.training else 1
        each = reached * np.maximum(LATENCY, work * there * macs / RATE)
        begin = reached * BOUNDARY[self.training]
        begin[0] = 0.0
        best, ends = np.zeros(self.n_steps + 1), np.zeros(self.n_steps, int)
        steps = np.arange(self.n_steps + 1)
        for a in reversed(range(self.n_steps)):
            total = begin[a] + each[a] * (steps[a + 1 :] - a) + best[a + 1 :]
            ends[a] = a + 1 + int(total.argmin())
            best[a] = total.min()
        found: list[int] = []
        a = 0
        while a < self.n_steps:
            found.append(int(ends[a]) - a)
            a = int(ends[a])
        return found


def check_lengths(lengths: Sequence[int], n_steps: int) -> list[int]:
    """Refuse lengths of chunks that do not make up the sequence.

    Raises:
        ValueError: if one is below 1, or their sum is not `n_steps`.

    Example:
        >>> check_lengths([1, 9], n_steps=10)
        [1, 9]
    """
    found = [count(length, "Each length of a chunk", low=1) for length in lengths]
    if sum(found) != n_steps:
        raise ValueError(
            f"The lengths of the chunks must sum to the {n_steps} steps of the sequences, got "
            f"{found}, which sum to {sum(found)}."
        )
    return found
