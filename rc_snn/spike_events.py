"""Spikes as events sorted by step: what the event-driven products read."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rc_snn.spikes import check_steps

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Events:
    """Spike steps of a data set, sorted once: which inputs spike at each step of each sample.

    Args:
        order: inputs of each stored sample, earliest spike first, silent ones last.
        starts: `starts[i, t]` inputs of sample i spike before step t; `starts[i, T]` spike at all.
        index: the stored samples that this batch holds, in its order.
        mean: subtracted from the input of each step, `[T, inputs]`; None is zero.

    Example:
        >>> events = Events.encode(torch.tensor([[1, 0, 1, 2]]), n_steps=2)  # input 3 is silent
        >>> events.order.tolist(), events.starts.tolist()
        ([[1, 0, 2, 3]], [[0, 1, 3]])
    """

    order: Int[Tensor, "stored inputs"]
    starts: Int[Tensor, "stored times"]
    index: Int[Tensor, " batch"]
    mean: Float[Tensor, "steps inputs"] | None = None

    @staticmethod
    def encode(
        steps: Int[Tensor, "batch inputs"],
        n_steps: int,
        mean: Float[Tensor, "steps inputs"] | None = None,
    ) -> "Events":
        """Sort spike steps in 0..n_steps (`n_steps` is silence) into events.

        Raises:
            ValueError: if a step is negative or beyond `n_steps`.
        """
        steps = check_steps(steps, n_steps)
        n, n_inputs = steps.shape
        dtype = torch.int16 if max(n_inputs, n_steps) < 2**15 else torch.int32
        order = torch.empty(n, n_inputs, dtype=dtype, device=steps.device)
        starts = torch.empty(n, n_steps + 1, dtype=dtype, device=steps.device)
        bounds = torch.arange(n_steps + 1, dtype=steps.dtype, device=steps.device)
        for begin in range(0, n, 10_000):  # sorting indices are int64: keep them few
            rows = slice(begin, begin + 10_000)
            ordered, inputs = steps[rows].sort(dim=1, stable=True)
            order[rows] = inputs.to(dtype)
            starts[rows] = torch.searchsorted(
                ordered, bounds.expand(len(ordered), -1).contiguous()
            ).to(dtype)
        return Events(order, starts, torch.arange(n, device=steps.device), mean)

    @property
    def n_inputs(self) -> int:
        """Return the number of inputs."""
        return self.order.shape[1]

    @property
    def n_steps(self) -> int:
        """Return the number of steps, T."""
        return self.starts.shape[1] - 1

    def __len__(self) -> int:
        """Return the number of samples in the batch."""
        return len(self.index)

    def rows(self, index: Int[Tensor, " rows"]) -> "Events":
        """Return the samples at these positions; the stored events are shared, not copied."""
        return Events(self.order, self.starts, self.index[index], self.mean)

    def at(self, step: int) -> "StepEvents":
        """Return the events of one step."""
        return StepEvents(self, step)

    @cached_property
    def arrays(self) -> tuple[Array, Array, Array]:
        """Return order, starts and index as numpy arrays that share their memory."""
        return self.order.numpy(), self.starts.numpy(), self.index.numpy()


@dataclass(frozen=True)
class StepEvents:
    """The inputs that spike at one step: `x_t` without its zeros, and the mean it is centred by."""

    events: Events
    step: int

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.events)

    @property
    def mean(self) -> Tensor | None:
        """Return what is subtracted from this step's input."""
        return None if self.events.mean is None else self.events.mean[self.step]

    @cached_property
    def complement(self) -> Array:
        """Return in which samples more than half of the inputs spike: those sum the others."""
        _, starts, index = self.events.arrays
        counts = starts[index, self.step + 1] - starts[index, self.step]
        return np.asarray(counts > self.events.n_inputs // 2)

    def dense(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "batch inputs"]:
        """Return x_t with its zeros, centred."""
        order, inside = self._inside()
        x = torch.zeros(inside.shape, dtype=dtype, device=order.device)
        x.scatter_(1, order.long(), inside.to(dtype))
        return x if self.mean is None else x - self.mean.to(dtype)

    def _inside(self) -> tuple[Tensor, Tensor]:
        """Return each sample's order, and which places of it spike at this step."""
        events = self.events
        starts = events.starts[events.index]
        place = torch.arange(events.n_inputs, device=starts.device)
        inside = (place >= starts[:, self.step, None]) & (place < starts[:, self.step + 1, None])
        return events.order[events.index], inside

    def ragged(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the inputs to sum, where each sample's begin, and whether they are the complement.

        Shapes `[chosen]`, `[batch]`, `[batch]`.
        """
        order, inside = self._inside()
        counts = inside.sum(dim=1)
        complement = 2 * counts > self.events.n_inputs
        chosen = inside ^ complement.unsqueeze(1)
        counts = chosen.sum(dim=1)
        return order[chosen].long(), counts.cumsum(0) - counts, complement
