"""Spikes as events sorted by step: what the event-driven products read."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rc_snn.borders.checks import version
from rc_snn.spikes import check_steps

Array: TypeAlias = npt.NDArray[Any]

_INTEGERS = (torch.int16, torch.int32, torch.int64)


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
    _known: ClassVar[tuple[int, ...]]
    """How often order, starts and index had been changed in place when they were found right."""
    _arrays: ClassVar[tuple[Array, Array, Array] | None]

    def __post_init__(self) -> None:
        _check_tensors(self)
        _check_values(self)
        vars(self).update(_known=self._versions(), _arrays=None)

    @classmethod
    def _sound(cls, *parts: Tensor | None, known: tuple[int, ...] | None = None) -> "Events":
        """Return events whose numbers are known to be right, at these versions or as they are."""
        made: Events = object.__new__(cls)
        vars(made).update(zip(("order", "starts", "index", "mean"), parts, strict=True))
        vars(made).update(_known=known or made._versions(), _arrays=None)
        return made

    def _versions(self) -> tuple[int, int, int]:
        return version(self.order), version(self.starts), version(self.index)

    @staticmethod
    def encode(
        steps: Int[Tensor, "batch inputs"],
        n_steps: int,
        mean: Float[Tensor, "steps inputs"] | None = None,
    ) -> "Events":
        """Sort spike steps in 0..n_steps (`n_steps` is silence) into events.

        Raises:
            TypeError: if steps are no integers.
            ValueError: if a step is negative or beyond `n_steps`, or the mean is not `[T, inputs]`.
        """
        steps = check_steps(steps, n_steps)
        if steps.dim() != 2 or steps.shape[1] == 0:
            raise ValueError(
                f"Spike steps must be [batch, inputs], with inputs, got {list(steps.shape)}."
            )
        n, n_inputs = steps.shape
        _check_mean(mean, n_steps, n_inputs)
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
        return Events._sound(order, starts, torch.arange(n, device=steps.device), mean)

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
        chosen = self.index[index]
        known = (*self._known[:2], version(chosen))
        return Events._sound(self.order, self.starts, chosen, self.mean, known=known)

    def at(self, step: int) -> "StepEvents":
        """Return the events of one step."""
        return StepEvents(self, step)

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        """Return order, starts and index as numpy arrays, for kernels, which index by them.

        Raises:
            ValueError: if one was changed in place to what it cannot be.
        """
        if self._known != self._versions():
            _check_tensors(self)
            _check_values(self)
            vars(self).update(_known=self._versions(), _arrays=None)
        found = self._arrays
        if found is None:
            parts = (self.order, self.starts, self.index)
            order, starts, index = (part.contiguous().numpy() for part in parts)
            vars(self)["_arrays"] = found = order, starts, index
        return found


@dataclass(frozen=True)
class StepEvents:
    """The inputs that spike at one step: `x_t` without its zeros, and the mean it is centred by."""

    events: Events
    step: int

    def __post_init__(self) -> None:
        if not isinstance(self.step, int) or not 0 <= self.step < self.events.n_steps:
            raise ValueError(
                f"A step must be a whole number in 0..{self.events.n_steps - 1}, got {self.step!r}."
            )

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


def _check_tensors(events: Events) -> None:
    """Refuse what are not three tensors of integers that fit each other."""
    order, starts, index = events.order, events.starts, events.index
    fit = order.dim() == starts.dim() == 2 and index.dim() == 1 and len(order) == len(starts)
    if not fit or starts.shape[1] < 2 or order.shape[1] < 1:
        raise ValueError(
            "Events are order [stored, inputs], starts [stored, steps + 1] and index [batch], got "
            f"{list(order.shape)}, {list(starts.shape)} and {list(index.shape)}. Events.encode "
            "makes them of spike steps."
        )
    for part in (order, starts, index):
        if part.dtype not in _INTEGERS or part.device != order.device:
            raise ValueError(
                "Events are int16, int32 or int64 on one device, got "
                f"{[f'{x.dtype} on {x.device}' for x in (order, starts, index)]}."
            )
    _check_mean(events.mean, events.n_steps, events.n_inputs)


def _check_values(events: Events) -> None:
    """Refuse numbers by which a kernel would reach beyond its arrays, or count an input twice."""
    order, starts, index = events.order, events.starts, events.index
    n_stored, n_inputs = order.shape
    wrong = None
    if not (order.sort(dim=1).values == torch.arange(n_inputs, device=order.device)).all():
        wrong = f"each row of order holds every input in 0..{n_inputs - 1} once"
    elif starts.numel() and not (
        (starts[:, 0] == 0).all()
        and (starts[:, 1:] >= starts[:, :-1]).all()
        and int(starts.max()) <= n_inputs
    ):
        wrong = f"starts rise from 0 to {n_inputs} at most"
    elif index.numel() and not 0 <= int(index.min()) <= int(index.max()) < n_stored:
        wrong = f"index is in 0..{n_stored - 1}"
    if wrong is not None:
        raise ValueError(
            f"These are no events: {wrong}. Events.encode makes them of spike steps; do not change "
            "them in place."
        )


def _check_mean(mean: Tensor | None, n_steps: int, n_inputs: int) -> None:
    if mean is not None and (mean.shape != (n_steps, n_inputs) or not mean.isfinite().all()):
        raise ValueError(
            f"mean must be finite and of shape {(n_steps, n_inputs)}, got {tuple(mean.shape)}."
        )
