"""Inputs that spike at most once: as spike steps, and as events sorted by step."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rc_snn.spikes import check_n_steps

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
        check_n_steps(n_steps)
        n, n_inputs = steps.shape
        if steps.numel() and not 0 <= int(steps.min()) <= int(steps.max()) <= n_steps:
            raise ValueError(
                f"Spike steps must be in 0..{n_steps} ({n_steps} is silence), got "
                f"{int(steps.min())}..{int(steps.max())}. Encode with the same n_steps."
            )
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


@dataclass(frozen=True)
class SpikeSequences:
    """Inputs that spike at most once, held as spike steps; a step's dense input is made on demand.

    Memory does not grow with `n_steps`. The events, for models with an event-driven product, are
    sorted once; parts of a data set (`rows`) share them.

    Args:
        steps: spike steps in 0..n_steps, `n_steps` for silence.
        n_steps: steps per frame, T.
        mean: subtracted from the input of each step, `[T, inputs]`; None is zero. Where nearly all
            inputs spike together (a background), centring them is what lets Adam learn.

    Raises:
        ValueError: if mean is not finite or not `[T, inputs]`.

    Example:
        >>> SpikeSequences(torch.tensor([[1, 0, 2]]), n_steps=2).at(1)
        tensor([[1., 0., 0.]])
    """

    steps: Int[Tensor, "batch inputs"]
    n_steps: int
    dtype: torch.dtype = torch.float32
    mean: Float[Tensor, "steps inputs"] | None = None

    def __post_init__(self) -> None:
        check_n_steps(self.n_steps)
        if self.mean is not None:
            shape = (self.n_steps, self.steps.shape[1])
            if self.mean.shape != shape or not torch.isfinite(self.mean).all():
                raise ValueError(
                    f"mean must be finite and of shape {shape}, got {tuple(self.mean.shape)}."
                )

    @property
    def n_inputs(self) -> int:
        """Return the number of inputs."""
        return self.steps.shape[1]

    def __len__(self) -> int:
        """Return the number of sequences."""
        return self.steps.shape[0]

    @cached_property
    def events(self) -> Events:
        """Return the same spikes, sorted by step."""
        return Events.encode(self.steps, self.n_steps, self.mean)

    def at(self, step: int) -> Float[Tensor, "batch inputs"]:
        """Return 1 for the inputs that spike at this step, else 0, minus the mean."""
        x = (self.steps == step).to(self.dtype)
        return x if self.mean is None else x - self.mean[step].to(self.dtype)

    def rows(self, index: Int[Tensor, " rows"]) -> "SpikeSequences":
        """Return the sequences at these positions."""
        part = SpikeSequences(self.steps[index], self.n_steps, self.dtype, self.mean)
        vars(part)["events"] = self.events.rows(index)
        return part

    def mean_input(self) -> Float[Tensor, "steps inputs"]:
        """Return the share of the sequences in which each input spikes at each step.

        Example:
            >>> SpikeSequences(torch.tensor([[1, 0], [1, 2]]), n_steps=2).mean_input()
            tensor([[0.0000, 0.5000],
                    [1.0000, 0.0000]])
        """
        return torch.stack([(self.steps == t).float().mean(dim=0) for t in range(self.n_steps)])

    def to(self, device: torch.device | str) -> "SpikeSequences":
        """Return the sequences on another device."""
        mean = None if self.mean is None else self.mean.to(device)
        return SpikeSequences(self.steps.to(device), self.n_steps, self.dtype, mean)
