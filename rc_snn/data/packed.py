"""Sequences as memory holds them: dense numbers of any type, or only those that are not zero."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from rc_snn.borders.checks import check_numbers, check_step, named
from rc_snn.borders.numbers import count, whole
from rc_snn.borders.signatures import typed
from rc_snn.spikes import check_n_steps

Array: TypeAlias = npt.NDArray[Any]


SMALL = (torch.bool, torch.uint8, torch.int8, torch.int16)
"""Whole numbers that float32 holds, all of them, and that torch can look up by index."""


def _as_float32_holds(x: Tensor) -> Tensor:
    """Return whole numbers as they are, unsigned ones as signed; refuse what float32 rounds."""
    x = x.to({torch.uint16: torch.int32, torch.uint32: torch.int64}.get(x.dtype, x.dtype))
    x = whole(x, "Frames") if x.dtype == torch.uint64 else x
    low, high = torch.aminmax(x) if x.numel() else (0, 0)
    if low < -(2**24) or high > 2**24:
        raise ValueError(
            f"Whole numbers in frames must be within ±2^24, got {int(low)}..{int(high)}: a run "
            "reads them in float32, which rounds larger ones. Scale them, or pass floats."
        )
    return x


def steps_from(
    first: int | Tensor, length: int, n_steps: int, device: torch.device
) -> Int[Tensor, "length *batch"]:
    """Return the steps of a span from one step, or from each sequence's own; the last one stays."""
    steps: Tensor = first + torch.arange(length, device=device).unsqueeze(1)
    return steps.clamp_max(n_steps - 1)


@dataclass(frozen=True)
class DenseSequences:
    """Inputs given as one dense tensor of numbers, **time first**: `[T, B, …]`.

    A tensor alone does not tell time from batch. `Labelled` refuses one that is batch first,
    `[B, T, …]`, by its number of labels, unless T = B.

    Args:
        frames: booleans, integers or floating-point numbers; a run reads them in the dtype of its
            model, one step at a time.

    Raises:
        TypeError: if it is no tensor of real numbers.
        ValueError: if there is no axis of time and one of samples, a number is NaN or infinite, or
            a whole one beyond ±2^24, up to which float32 holds all of them.

    Example:
        >>> DenseSequences(torch.zeros(40, 3, 1)).at(0).shape
        torch.Size([3, 1])
    """

    frames: Shaped[Tensor, "time batch *inputs"]

    def __post_init__(self) -> None:
        if not isinstance(self.frames, Tensor) or self.frames.is_complex():
            array = not isinstance(self.frames, Tensor)
            what = named(self.frames) if array else self.frames.dtype
            raise TypeError(f"frames must be a tensor of real numbers, got {what}.")
        if self.frames.dim() < 2:
            raise ValueError(f"frames must be [T, B, …], got {list(self.frames.shape)}.")
        check_n_steps(self.n_steps)
        if self.frames.dtype not in SMALL and not self.frames.is_floating_point():
            object.__setattr__(self, "frames", _as_float32_holds(self.frames))
        check_numbers(self.frames, "frames")

    @property
    def n_steps(self) -> int:
        """Return the number of steps, T."""
        return self.frames.shape[0]

    @property
    def n_inputs(self) -> int:
        """Return the number of values per step."""
        return math.prod(self.frames.shape[2:])

    @property
    def nbytes(self) -> int:
        """Return the bytes that these sequences take."""
        return self.frames.nbytes

    def __len__(self) -> int:
        """Return the number of sequences."""
        return self.frames.shape[1]

    def at(self, step: int) -> Shaped[Tensor, "batch *inputs"]:
        """Return the input at one step; float32 where the frames are whole numbers."""
        check_step(step, self.n_steps)
        x = self.frames[step]
        return x if x.is_floating_point() else x.float()

    def span(self, first: int | Tensor, length: int) -> Shaped[Tensor, "length batch *inputs"]:
        """Return the inputs of `length` steps from `first` on, or from each one's own step."""
        if isinstance(first, int):
            x = self.frames[first : first + length]
        else:
            own = torch.arange(len(self), device=first.device)
            x = self.frames[steps_from(first, length, self.n_steps, first.device), own]
        return x if x.is_floating_point() else x.float()

    def rows(self, index: Int[Tensor, " rows"]) -> "DenseSequences":
        """Return the sequences at these positions."""
        part = copy.copy(self)  # what was checked once; samples leave a run at every step
        vars(part)["frames"] = self.frames[:, index]
        return part

    def to(self, device: torch.device | str) -> "DenseSequences":
        """Return the sequences on another device."""
        return DenseSequences(self.frames.to(device))


@typed
@dataclass(frozen=True)
class SparseSequences:
    """Inputs of which only the values that are not zero are held; a step is made on demand.

    Parts of a data set (`rows`) share its memory.

    Args:
        units: which value of a step each entry is, sample by sample and step by step.
        values: what the entries are worth; None: each counts one, and those of a unit add up.
        starts: where the entries of step t of sample i begin, at `i * n_steps + t`; and the end.
        n_steps: steps, T.
        shape: of one step of one sample.
        index: the stored samples that this batch holds, in its order.

    Raises:
        ValueError: if a unit is none of a step, a value is NaN or infinite, or starts or index do
            not fit the entries: they would be those of another sample.

    Example:
        >>> x = pack([np.array([[0, 2, 0, 0], [1, 0, 0, 0]])]).sparse()
        >>> x.units.tolist(), x.starts.tolist()  # unit 1 twice at step 0, unit 0 at step 1
        ([1, 1, 0], [0, 2, 3])
        >>> x.at(0)
        tensor([[0., 2., 0., 0.]])
    """

    units: Int[Tensor, " entries"]
    values: Shaped[Tensor, " entries"] | None
    starts: Int[Tensor, " cells"]
    n_steps: int
    shape: tuple[int, ...]
    index: Int[Tensor, " batch"]

    def __post_init__(self) -> None:
        check_n_steps(self.n_steps)
        shape = tuple(count(size, "shape", low=1) for size in self.shape)
        whole(self.units, "units", 0, math.prod(shape) - 1)
        starts, entries, cells = self.starts, len(self.units), len(self.starts) - 1
        if (
            cells < 0
            or cells % self.n_steps
            or (int(starts[0]), int(starts[-1])) != (0, entries)
            or (starts[1:] < starts[:-1]).any()
        ):
            raise ValueError(
                f"starts must rise from 0 to the {entries} entries, one for each of n_steps="
                f"{self.n_steps} steps of each sample, and the end; got {len(starts)} of them."
            )
        whole(self.index, "index", 0, cells // self.n_steps - 1)
        if self.values is not None:
            if len(self.values) != entries:
                raise ValueError(f"{entries} entries need as many values, got {len(self.values)}.")
            check_numbers(self.values, "values")

    @property
    def n_inputs(self) -> int:
        """Return the number of values per step."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Return the bytes that the stored sequences take, all of them."""
        return sum(x.nbytes for x in (self.units, self.values, self.starts) if x is not None)

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.index)

    def at(self, step: int) -> Shaped[Tensor, "batch *inputs"]:
        """Return the input at one step; float32, or the values' own floating-point type."""
        check_step(step, self.n_steps)
        cell = self.index * self.n_steps + step
        begin = self.starts[cell].long()
        counts = self.starts[cell + 1] - begin
        before = counts.cumsum(0) - counts  # entries of the samples before, in this batch
        row = torch.repeat_interleave(torch.arange(len(self), device=cell.device), counts)
        entry = torch.arange(len(row), device=cell.device) + (begin - before)[row]
        kept = self.values is not None and self.values.is_floating_point()
        dtype = self.values.dtype if self.values is not None and kept else torch.float32
        x = torch.zeros(len(self) * self.n_inputs, dtype=dtype, device=cell.device)
        worth = torch.ones(1, dtype=dtype, device=cell.device).expand(len(entry))
        if self.values is not None:
            worth = self.values[entry].to(dtype)
        x.index_add_(0, row * self.n_inputs + self.units[entry], worth)
        return x.view(len(self), *self.shape)

    def rows(self, index: Int[Tensor, " rows"]) -> "SparseSequences":
        """Return the sequences at these positions."""
        return self._with(index=self.index[index])

    def to(self, device: torch.device | str) -> "SparseSequences":
        """Return the sequences on another device."""
        there = {key: x.to(device) for key, x in vars(self).items() if isinstance(x, Tensor)}
        return self._with(**there)

    def _with(self, **changed: Any) -> "SparseSequences":
        part = copy.copy(self)  # what was checked once; samples leave a run at every step
        vars(part).update(changed)
        return part


Packed: TypeAlias = DenseSequences | SparseSequences


class Piece(NamedTuple):
    """One sample, packed: dense, or the entries that are not zero."""

    length: int
    shape: tuple[int, ...]
    """Of one step."""
    dtype: np.dtype[Any]
    """Of the sample as it came."""
    entries: int
    """Values that are not zero."""
    total: int | None
    """Their sum, if all of them are whole numbers in 0..255, which a byte holds; else None."""
    dense: Array | None
    """`[T, values]`, or None where the entries are smaller."""
    units: Array | None
    values: Array | None
    counts: Array
    """Entries of each step."""


def pack_sample(x: Array) -> Piece:
    """Pack one sample `[T, …]` into what takes less memory, exactly.

    Example:
        >>> pack_sample(np.eye(50)).total, pack_sample(np.full((2, 3), 0.5)).total
        (50, None)
    """
    length, shape = len(x), x.shape[1:] or (1,)
    flat = x.reshape(length, math.prod(shape))
    small = _bytes_of(flat)
    held = flat if small is None else small
    mask = held != 0
    counts = np.count_nonzero(mask, axis=1)
    entries, total = int(counts.sum()), None if small is None else int(small.sum(dtype=np.int64))
    dense = units = values = None
    if entries * (_unit_type(flat.shape[1]).itemsize + held.itemsize) < held.nbytes:
        units, values = _entries(held, mask)
    else:
        dense = np.ascontiguousarray(held)
    return Piece(length, shape, x.dtype, entries, total, dense, units, values, counts)


def _bytes_of(x: Array) -> Array | None:
    """Return the same numbers in bytes, or None where a byte does not hold one of them."""
    if x.dtype == np.uint8:
        return x
    if x.size and not (x.min() >= 0 and x.max() <= 255):  # false for NaN, too
        return None
    small = x.astype(np.uint8)
    return small if np.array_equal(small, x) else None


def _unit_type(n_units: int) -> np.dtype[Any]:
    return np.dtype(np.int16 if n_units <= 2**15 else np.int32)


def _entries(x: Array, mask: Array) -> tuple[Array, Array]:
    units = np.nonzero(mask)[1].astype(_unit_type(x.shape[1]))
    return units, x[mask]


class Pieces:
    """Packed samples of one data set, and how they are best held together.

    Args:
        pieces: the samples.
        n_steps: steps of all; shorter ones end in silence, of longer ones the end is left out.
    """

    def __init__(self, pieces: Sequence[Piece], n_steps: int) -> None:
        self.pieces, self.n_steps = list(pieces), n_steps
        first = self.pieces[0]
        self.shape, self.n_inputs = first.shape, math.prod(first.shape)
        exact = all(piece.total is not None for piece in pieces)
        types = {piece.dtype for piece in pieces}
        self.dtype = np.dtype(np.uint8) if exact else np.result_type(*types)
        self.entries = sum(piece.entries for piece in pieces)
        self.total = sum(piece.total or 0 for piece in pieces)
        # A count of two is held as one entry twice, unless values of their own are smaller.
        unit = _unit_type(self.n_inputs).itemsize
        self.repeats = exact and self.total * unit <= self.entries * (unit + 1)

    def packed(self) -> Packed:
        """Return the samples in the form that takes less memory."""
        unit = _unit_type(self.n_inputs).itemsize
        starts = self._start_type().itemsize * (len(self.pieces) * self.n_steps + 1)
        each = self.total * unit if self.repeats else self.entries * (unit + self.dtype.itemsize)
        dense = len(self.pieces) * self.n_steps * self.n_inputs * self.dtype.itemsize
        return self.sparse() if each + starts < dense else self.dense()

    def dense(self) -> DenseSequences:
        """Return them as one dense tensor."""
        frames = np.zeros((self.n_steps, len(self.pieces), self.n_inputs), self.dtype)
        for i, piece in enumerate(self.pieces):
            keep = min(piece.length, self.n_steps)
            if piece.dense is not None:
                frames[:keep, i] = piece.dense[:keep]
            else:
                units, values, counts = self._cut(piece)
                frames[np.repeat(np.arange(keep), counts[:keep]), i, units] = values
        return DenseSequences(torch.from_numpy(frames).unflatten(2, self.shape))

    def sparse(self) -> SparseSequences:
        """Return what is not zero of them."""
        size = self.total if self.repeats else self.entries
        units = np.empty(size, _unit_type(self.n_inputs))
        values = None if self.repeats else np.empty(size, self.dtype)
        lengths = np.zeros((len(self.pieces), self.n_steps), np.int64)
        end = 0
        for i, piece in enumerate(self.pieces):
            own, worth, counts = self._cut(piece)
            if self.repeats:
                step = np.repeat(np.arange(len(counts)), counts)
                counts = np.bincount(step, worth, minlength=len(counts)).astype(np.int64)
                own = np.repeat(own, worth)
            units[end : end + len(own)] = own
            if values is not None:
                values[end : end + len(own)] = worth
            lengths[i, : len(counts)] = counts
            end += len(own)
        starts = np.zeros(lengths.size + 1, self._start_type())
        np.cumsum(lengths, out=starts[1:])
        return SparseSequences(
            torch.from_numpy(units[:end]),
            None if values is None else torch.from_numpy(values[:end]),
            torch.from_numpy(starts),
            self.n_steps,
            self.shape,
            torch.arange(len(self.pieces)),
        )

    def _start_type(self) -> np.dtype[Any]:
        return np.dtype(np.int32 if max(self.total, self.entries) < 2**31 else np.int64)

    def _cut(self, piece: Piece) -> tuple[Array, Array, Array]:
        """Return units, values and counts of a piece up to the last step."""
        counts = piece.counts[: self.n_steps]
        if piece.dense is not None:
            x = piece.dense[: self.n_steps]
            return *_entries(x, x != 0), counts
        assert piece.units is not None
        assert piece.values is not None
        end = int(counts.sum())
        return piece.units[:end], piece.values[:end], counts


def pack(samples: Sequence[Array], n_steps: int | None = None) -> Pieces:
    """Pack samples `[T, …]` of one shape; `n_steps` is that of the longest unless it is given."""
    pieces = [pack_sample(x) for x in samples]
    return Pieces(pieces, n_steps or max(piece.length for piece in pieces))
