"""What a model reads, one step at a time: spikes, dense inputs, windows; and with labels."""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rc_snn.borders.checks import (
    check_inputs,
    check_numbers,
    check_samples,
    check_step,
    version,
)
from rc_snn.borders.numbers import count, indices
from rc_snn.data import datasets
from rc_snn.data.datasets import Classes, LoadedSequences
from rc_snn.data.packed import DenseSequences, SparseSequences, steps_from
from rc_snn.spike_events import Events
from rc_snn.spikes import check_n_steps, check_steps
from rc_snn.step_model import StepModel

__all__ = [
    "ContextSequences",
    "DenseSequences",
    "Labelled",
    "LoadedSequences",
    "Sequences",
    "SparseSequences",
    "SpikeSequences",
    "check_paired",
    "in_turn",
    "input_size",
]


@runtime_checkable
class Sequences(Protocol):
    """A batch of input sequences, read one step at a time, so that unread steps cost nothing."""

    @property
    def n_steps(self) -> int:
        """Return the number of steps, T."""

    def __len__(self) -> int:
        """Return the number of sequences."""

    def at(self, step: int) -> Tensor:
        """Return the input at one step."""

    def rows(self, index: Tensor) -> "Sequences":
        """Return the sequences at these positions."""


def input_size(inputs: Sequences) -> int:
    """Return how many values a step shows of one sequence.

    Sequences that know their `n_inputs` are asked; of others the first step of one is read.
    """
    known = getattr(inputs, "n_inputs", None)
    if known is not None:
        return int(known)
    return math.prod(inputs.rows(torch.zeros(1, dtype=torch.long)).at(0).shape[1:])


def in_turn(data: Any, parts: Sequence[Tensor]) -> Iterable[Any]:
    """Return the parts of sequences, or of labelled samples, one after another.

    What reads from disk (`batches`) reads ahead of the part that is asked for.
    """
    batches = getattr(data, "batches", None)
    return map(data.rows, parts) if batches is None else batches(parts)


@dataclass(frozen=True)
class SpikeSequences:
    """Inputs that spike at most once, held as spike steps; a step's dense input is made on demand.

    Memory does not grow with `n_steps`. The events, for models with an event-driven product, are
    sorted once; parts of a data set (`rows`) share them.

    Args:
        steps: spike steps in 0..n_steps, `n_steps` for silence; integers of any type.
        n_steps: steps per frame, T.
        mean: subtracted from the input of each step, `[T, inputs]`; None is zero. Where nearly all
            inputs spike together (a background), centring them is what lets Adam learn.

    Raises:
        ValueError: if a step is not in 0..n_steps, steps are not `[batch, inputs]`, or mean is not
            finite or not `[T, inputs]`.

    Example:
        >>> SpikeSequences(torch.tensor([[1, 0, 2]]), n_steps=2).at(1)
        tensor([[1., 0., 0.]])
    """

    steps: Int[Tensor, "batch inputs"]
    n_steps: int
    dtype: torch.dtype = torch.float32
    mean: Float[Tensor, "steps inputs"] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.dtype, torch.dtype) or not self.dtype.is_floating_point:
            raise TypeError(f"dtype must be a floating one of torch, got {self.dtype!r:.60}.")
        object.__setattr__(self, "n_steps", check_n_steps(self.n_steps))
        object.__setattr__(self, "steps", check_steps(self.steps, self.n_steps))
        if self.steps.dim() != 2:
            raise ValueError(
                f"Spike steps must be [batch, inputs], got {list(self.steps.shape)}: flat images."
            )
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

    @property
    def events(self) -> Events:
        """Return the same spikes, sorted by step; sorted once, unless steps change in place."""
        held, now = vars(self).get("_events"), version(self.steps)
        if held is None or held[0] != now:
            held = now, Events.encode(self.steps, self.n_steps, self.mean)
            vars(self)["_events"] = held
        found: Events = held[1]
        return found

    def at(self, step: int) -> Float[Tensor, "batch inputs"]:
        """Return 1 for the inputs that spike at this step, else 0, minus the mean."""
        check_step(step, self.n_steps)
        x = (self.steps == step).to(self.dtype)
        return x if self.mean is None else x - self.mean[step].to(self.dtype)

    def span(self, first: int | Tensor, length: int) -> Float[Tensor, "length batch inputs"]:
        """Return the inputs of `length` steps from `first` on, or from each one's own step."""
        at = steps_from(first, length, self.n_steps, self.steps.device)
        x = (self.steps.unsqueeze(0) == at.unsqueeze(2)).to(self.dtype)
        return x if self.mean is None else x - self.mean[at].to(self.dtype)

    def rows(self, index: Int[Tensor, " rows"]) -> "SpikeSequences":
        """Return the sequences at these positions."""
        part, steps = copy.copy(self), self.steps[index]  # checked once; samples leave at each step
        vars(part).update(steps=steps, _events=None)
        if steps.device.type == "cpu":  # elsewhere no product reads events
            vars(part)["_events"] = version(steps), self.events.rows(index)
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


@dataclass(frozen=True)
class ContextSequences:
    """Dense frames, of which each step shows `context + 1` in a row, flattened.

    Step t reads the frames t..t+context, so that of F frames there are F - context steps. With ±10
    frames around its centre (section 3.4) a step has `context=20`. Frames that overlap are stored
    once: of 81 steps with 21 frames each, a twentieth of the memory.

    Args:
        frames: all frames, in memory order such that the frames of a sample lie together.
        context: further frames in a window.
        index: which samples, and in which order; None is all of them. Rows are looked up only when
            a step is read, so that samples that leave a run cost no copy of those that stay.

    Raises:
        ValueError: if there are fewer frames than one window has, or one is NaN or infinite.

    Example:
        >>> x = ContextSequences(torch.arange(8.0).view(1, 4, 2), context=1)
        >>> x.n_steps, x.at(2).tolist()  # the frames 2 and 3
        (3, [[4.0, 5.0, 6.0, 7.0]])
    """

    frames: Float[Tensor, "samples frame channel"]
    context: int = 20
    index: Int[Tensor, " batch"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "context", count(self.context, "context"))
        if self.frames.dim() != 3:
            raise ValueError(
                f"Frames must be [samples, frame, channel], got {list(self.frames.shape)}."
            )
        if self.context < 0 or self.n_steps < 1:
            raise ValueError(
                f"A window of context + 1 = {self.context + 1} frames needs at least as many, got "
                f"{self.frames.shape[1]}. Pad the sequences, or take a smaller context (>= 0)."
            )
        check_numbers(self.frames, "frames")

    @property
    def n_steps(self) -> int:
        """Return the number of steps, T."""
        return self.frames.shape[1] - self.context

    @property
    def n_inputs(self) -> int:
        """Return the number of values per step."""
        return (self.context + 1) * self.frames.shape[2]

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.frames) if self.index is None else len(self.index)

    def at(self, step: int) -> Float[Tensor, "batch inputs"]:
        """Return the window of one step."""
        check_step(step, self.n_steps)
        n_channels = self.frames.shape[2]
        begin, width = step * n_channels, (self.context + 1) * n_channels
        window = self.frames.flatten(1)[:, begin : begin + width]
        return window if self.index is None else window.index_select(0, self.index)

    def span(self, first: int | Tensor, length: int) -> Float[Tensor, "length batch inputs"]:
        """Return the windows of `length` steps from `first` on, or from each one's own step."""
        n_channels, device = self.frames.shape[2], self.frames.device
        windows = self.frames.flatten(1).unfold(1, self.n_inputs, n_channels)  # a view
        own = torch.arange(len(self), device=device) if self.index is None else self.index
        return windows[own.unsqueeze(0), steps_from(first, length, self.n_steps, device)]

    def rows(self, index: Int[Tensor, " rows"]) -> "ContextSequences":
        """Return the sequences at these positions."""
        chosen = index if self.index is None else self.index[index]
        part = copy.copy(self)  # what was checked once
        vars(part)["index"] = chosen
        return part

    def to(self, device: torch.device | str) -> "ContextSequences":
        """Return the sequences on another device."""
        index = None if self.index is None else self.index.to(device)
        return ContextSequences(self.frames.to(device), self.context, index)


@dataclass(frozen=True)
class Labelled:
    """Sequences with their classes.

    Args:
        inputs: sequences, such as `DenseSequences(x)` with x of shape `[T, B, …]`, time first.
        labels: the index of each one's class `[B]`; held as int64, whatever integers they are.

    Raises:
        TypeError: if inputs are no sequences, or labels no integer tensor; the message says how
            to make them.
        ValueError: if there are none, not one label for each sequence, or a label is negative.
    """

    inputs: Sequences
    labels: Int[Tensor, " batch"]

    def __post_init__(self) -> None:
        check_inputs(self.inputs)
        check_samples(self.labels, len(self.inputs), self.inputs.n_steps)
        check_paired(len(self.inputs), len(self.labels), "sequence")
        object.__setattr__(self, "labels", indices(self.labels, "Labels"))

    @staticmethod
    def from_dataset(
        data: Any,
        n_steps: int | None = None,
        classes: Classes | None = None,
        *,
        cut: bool = False,
        lazy: bool = False,
        batch_first: bool | None = None,
        workers: int | None = None,
    ) -> "Labelled":
        """Read a data set of tonic or torch, or a DataLoader, into labelled sequences.

        Workers read the samples ahead. They are held exactly, in what takes less memory: the values
        that are not zero, or one byte for each value; numbers that no byte holds keep their type.

        Args:
            data: its samples are `(sample, target)`: numbers of any type `[T, …]`, as tonic's
                ToFrame makes them of events; their lengths may differ. A shuffling loader is read
                in the order of its data set; training shuffles by its own seed.
            n_steps: steps of all sequences, T; shorter ones end in silence. None: the longest's.
            classes: names, or values, of the classes in their order, where targets are those; None
                asks the data set.
            cut: leave out what comes after step `n_steps`, instead of refusing longer samples.
            lazy: read once for labels and lengths only, and each batch when it is asked for: for
                data larger than memory, and for transforms that draw anew in every epoch.
            batch_first: of batches that a loader's own collate_fn makes, where the sizes do not
                tell: whether they are `[B, T, …]`.
            workers: processes that read, 0 for none; None: the loader's own, or as many as there
                are processors (at most 8) for 256 samples or more.

        Raises:
            TypeError: if it is no such data set, or samples are events, or no numbers.
            ValueError: if shapes differ, a sample is longer than `n_steps`, a target is no class,
                or the loader would leave samples out.

        Example:
            >>> samples = [(torch.eye(3), "no"), (torch.ones(2, 3), "yes")]
            >>> data = Labelled.from_dataset(samples, classes=["no", "yes"])
            >>> data.inputs.n_steps, data.labels.tolist(), data.inputs.at(2).tolist()
            (3, [0, 1], [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
        """
        read = datasets.read(
            data,
            n_steps,
            classes,
            cut=cut,
            lazy=lazy,
            batch_first=batch_first,
            workers=workers,
        )
        return Labelled(*read)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def rows(self, index: Int[Tensor, " rows"]) -> "Labelled":
        """Return the samples at these positions."""
        return Labelled(self.inputs.rows(index), self.labels[index])

    def batches(self, parts: Sequence[Tensor]) -> Iterator["Labelled"]:
        """Return the samples at these positions, part by part; see `in_turn`."""
        for part, inputs in zip(parts, in_turn(self.inputs, parts), strict=True):
            yield Labelled(inputs, self.labels[part])

    def to(self, device: torch.device | str) -> "Labelled":
        """Return the samples on another device."""
        there: Any = self.inputs
        return Labelled(there.to(device), self.labels.to(device))


def check_paired(samples: int, labels: int, what: str) -> None:
    """Refuse a data set that is empty, or without one label for each sample."""
    if labels == 0:
        raise ValueError("The data set is empty; training needs at least one sample.")
    if samples != labels:
        raise ValueError(
            f"There must be one label per {what}, got {samples} {what}s and {labels} labels."
        )


def check_input_size(n_inputs: int, n_read: int) -> None:
    """Refuse inputs of another size than the model's: compiled code would read beyond its arrays.

    Raises:
        ValueError: if the sizes differ.
    """
    if n_read != n_inputs:
        raise ValueError(
            f"The model reads {n_inputs} inputs per step, got sequences of {n_read}. Check "
            "the image size, build the model for these data, or put time first: [T, B, …]."
        )


def check_image(model: StepModel, inputs: Sequences) -> None:
    """Refuse frames of another image than the model's with as many pixels: it would be cut anew.

    Flat frames say nothing of an image, and are read row by row; an axis of length 1 is none.

    Raises:
        ValueError: if height, width or channels differ.
    """
    own = getattr(model, "input_shape", getattr(model, "image_shape", None))
    if own is None or not isinstance(inputs, DenseSequences | SparseSequences):
        return
    shape = inputs.shape if isinstance(inputs, SparseSequences) else inputs.frames.shape[2:]
    ours, theirs = ([n for n in sizes if n != 1] for sizes in (own, shape))
    if len(theirs) > 1 and ours != theirs:
        raise ValueError(
            f"The model reads images {list(own)}, got sequences of {list(shape)}. Transpose or "
            "reshape them yourself, or build the model for these data."
        )
