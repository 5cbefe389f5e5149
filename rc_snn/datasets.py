"""Anybody's data set as sequences: read by workers, padded, packed; or read batch by batch."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset
from tqdm import tqdm

from rc_snn.borders import named
from rc_snn.packed import Packed, Piece, Pieces, pack_sample
from rc_snn.spikes import check_n_steps

Array: TypeAlias = npt.NDArray[Any]
Classes: TypeAlias = Sequence[Any] | Mapping[Any, int]

AT_ONCE = 64
"""Samples that a worker reads before it hands them over."""
WORTH_WORKERS = 256
"""Samples from which on starting workers takes less time than they save."""


def read(
    data: Any,
    n_steps: int | None,
    classes: Classes | None,
    *,
    cut: bool,
    lazy: bool,
    batch_first: bool | None,
    workers: int | None,
) -> "tuple[Packed | LoadedSequences, Int[Tensor, ' batch']]":
    """Return a data set's sequences and labels; see `rc_snn.sequences.Labelled.from_dataset`."""
    if n_steps is not None:
        check_n_steps(n_steps)
    source = _source(data, batch_first)
    if workers is None:
        workers = source.workers
    if lazy and source.samples is None:
        raise TypeError(
            "lazy=True reads samples when they are asked for, by their number: pass the data set, "
            f"with __getitem__ and __len__, not {named(data)} with an order of its own."
        )
    names = _class_names(data) if classes is None else classes
    pieces: list[Piece] = []
    labels: list[int] = []
    form: Piece | None = None  # of the first sample that is not silent
    reading = source.read(workers)
    for piece, label in tqdm(reading, desc="read", unit=" samples", disable=None, leave=False):
        what = f"Sample {len(pieces)}"
        form = form or (piece if piece.entries else None)
        piece = _fitting(piece, form and form.shape, what)
        _check_length(piece.length, n_steps, cut, what)
        # Of a lazy data set only the form is kept.
        pieces.append(piece._replace(dense=None, units=None, values=None) if lazy else piece)
        labels.append(_class_of(label, names, classes is not None, what))
    if not pieces:
        raise ValueError("The data set is empty; training needs at least one sample.")
    shape = (form or pieces[0]).shape
    n_steps = n_steps or max(1, *(piece.length for piece in pieces))
    if not lazy:
        fitting = [_fitting(piece, shape, "") for piece in pieces]
        return Pieces(fitting, n_steps).packed(), torch.tensor(labels)
    order = torch.as_tensor(source.order)
    loaded = LoadedSequences(source.samples, n_steps, shape, order, cut, workers)
    return loaded, torch.tensor(labels)


@dataclass(frozen=True)
class LoadedSequences:
    """Sequences that are read from their data set when they are asked for, batch by batch.

    For data larger than memory, and for transforms that draw anew in every epoch. `batches` has
    workers read ahead; a part that `rows` names is read, and then kept, at its first step.

    Args:
        samples: the data set: `samples[i]` is `(sample, target)`.
        n_steps: steps, T.
        shape: of one step of one sample.
        index: which samples, in which order.
        cut: whether longer samples lose their end; else they are refused.
        workers: processes that read; 0 reads here.
        device: where a batch goes.

    Example:
        >>> data = [(torch.eye(3), 0), (torch.ones(2, 3), 1)]
        >>> x = LoadedSequences(data, 3, (3,), torch.tensor([0, 1]))
        >>> x.rows(torch.tensor([1])).at(1), x.rows(torch.tensor([1])).at(2)  # silence at the end
        (tensor([[1., 1., 1.]]), tensor([[0., 0., 0.]]))
    """

    samples: Any
    n_steps: int
    shape: tuple[int, ...]
    index: Int[Tensor, " batch"]
    cut: bool = False
    workers: int = 0
    device: torch.device | str = "cpu"

    @property
    def n_inputs(self) -> int:
        """Return the number of values per step."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.index)

    @cached_property
    def packed(self) -> Packed:
        """Return all of these sequences, read."""
        return self._assemble([_pack(self.samples, int(i)) for i in self.index]).to(self.device)

    def at(self, step: int) -> Tensor:
        """Return the input at one step; the first time, all of these sequences are read."""
        return self.packed.at(step)

    def rows(self, index: Int[Tensor, " rows"]) -> "LoadedSequences | Packed":
        """Return the sequences at these positions; what has been read is not read again."""
        if "packed" in vars(self):
            return self.packed.rows(index)
        return replace(self, index=self.index[index])

    def batches(self, parts: Sequence[Tensor]) -> Iterator[Packed]:
        """Return the sequences at these positions, part by part; workers read ahead."""
        if "packed" in vars(self):
            yield from map(self.packed.rows, parts)
            return
        loader = DataLoader(
            _Packing(self.samples),
            batch_sampler=[self.index[part].tolist() for part in parts],
            collate_fn=self._assemble,
            **_reading(self.workers),
        )
        for batch in loader:
            yield batch.to(self.device)

    def to(self, device: torch.device | str) -> "LoadedSequences":
        """Return the sequences, to be read onto another device."""
        return replace(self, device=device)

    def _assemble(self, read: Sequence[tuple[Piece, Any]]) -> Packed:
        fitting = [_fitting(piece, self.shape, "A sample") for piece, _ in read]
        for piece in fitting:
            _check_length(piece.length, self.n_steps, self.cut, "A sample")
        return Pieces(fitting, self.n_steps).packed()


@dataclass(frozen=True)
class _Source:
    """How to go through what a user passed: by the samples' numbers, or by their batches."""

    samples: Any
    """A map-style data set, or None."""
    order: Sequence[int]
    loader: Any
    """What gives batches, or single samples; None where there are `samples`."""
    batch_first: bool | None
    workers: int

    def read(self, workers: int) -> Iterator[tuple[Piece, Any]]:
        """Go through all samples, packed, with their labels."""
        if self.samples is None:
            yield from _unbatched(self.loader, self.batch_first)
            return
        if self.order:  # here, where an error has no worker's trace around it
            _pack(self.samples, self.order[0])
        loader = DataLoader(
            _Packing(self.samples),
            sampler=self.order,
            batch_size=AT_ONCE,
            collate_fn=list,
            **_reading(workers),
        )
        for batch in loader:
            yield from batch


def _reading(workers: int) -> dict[str, Any]:
    """Return the options of a loader with so many workers; each reads two batches ahead."""
    return {"num_workers": workers, "prefetch_factor": 2 if workers else None}


class _Packing(Dataset[Any]):
    """A data set whose samples are packed where they are read: less goes between processes."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __getitem__(self, index: int) -> tuple[Piece, Any]:
        return _pack(self.samples, index)


def _pack(samples: Any, index: int) -> tuple[Piece, Any]:
    sample, label = _pair(samples[index], f"Sample {index}")
    return pack_sample(_array(sample, f"Sample {index}")), label


def _pair(item: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        n = f" of {len(item)}" if isinstance(item, tuple | list) else ""
        raise TypeError(f"{what} must be (sample, target), got {named(item)}{n}.")
    return item[0], item[1]


def _array(sample: Any, what: str) -> Array:
    """Return a sample as numbers `[T, …]`; an empty array of events as no step at all."""
    if isinstance(sample, Tensor):
        sample = sample.detach().cpu()
        sample = sample.to_dense() if sample.layout != torch.strided else sample
        sample = sample.float() if sample.dtype == torch.bfloat16 else sample
    x = np.asarray(sample)
    if x.dtype.names is not None:
        if len(x) == 0:  # tonic's Compose hands on a silent recording as it is
            return np.zeros((0, 0), np.uint8)
        raise TypeError(
            f"{what} is an array of events {x.dtype.names}. Give the data set a transform that "
            "makes steps of them: transform=tonic.transforms.ToFrame(sensor_size, "
            "time_window=…, start_time=0)."
        )
    if x.dtype.kind not in "buif" or x.ndim == 0:
        raise TypeError(
            f"{what} must be numbers of shape [T, …], got {x.dtype} of shape {list(x.shape)}."
        )
    return x


def _fitting(piece: Piece, shape: tuple[int, ...] | None, what: str) -> Piece:
    """Return a piece in the shape of the others, or refuse it."""
    if shape is None or piece.shape == shape:
        return piece
    if piece.entries == 0:  # tonic's ToFrame gives an empty recording axes in another order
        return pack_sample(np.zeros((0, *shape), np.uint8))
    raise ValueError(
        f"{what} has steps of shape {list(piece.shape)}, the first {list(shape)}. All samples need "
        "the same; only their number of steps may differ."
    )


def _check_length(length: int, n_steps: int | None, cut: bool, what: str) -> None:
    if n_steps is not None and length > n_steps and not cut:
        raise ValueError(
            f"{what} has {length} steps, more than n_steps={n_steps}. Leave n_steps out to pad all "
            "to the longest, or pass cut=True to lose what comes after step n_steps."
        )


def _class_names(data: Any) -> Classes | None:
    """Return the classes that a data set names, through loaders and subsets."""
    while data is not None:
        if (names := getattr(data, "classes", None)) is not None:
            found: Classes = names if isinstance(names, Mapping) else list(names)
            return found
        data = getattr(data, "dataset", None)
    return None


def _class_of(label: Any, classes: Classes | None, given: bool, what: str) -> int:
    """Return the index of a label's class."""
    label = label.cpu().numpy() if isinstance(label, Tensor) else label
    if isinstance(label, np.ndarray | np.generic) and label.size == 1:
        label = label.item()
    plain = _plain(label)
    if classes is not None and (given or isinstance(plain, str)):
        names = {_plain(name): i for i, name in enumerate(classes)}
        if isinstance(classes, Mapping):
            names = {_plain(name): i for name, i in classes.items()}
        if isinstance(plain, str) and plain not in names:
            raise ValueError(f"{what} has the label {plain!r}, not among classes={list(names)}.")
        plain = names.get(plain, plain)
        n = max(names.values(), default=-1) + 1
        if isinstance(plain, int) and plain >= n:
            raise ValueError(f"{what} has the label {plain}; there are {n} classes.")
    if isinstance(plain, str):
        raise ValueError(f"{what} has the label {plain!r}. Pass classes=[…] in their order.")
    if not isinstance(plain, int | float) or plain != int(plain) or plain < 0:
        raise ValueError(
            f"{what} must have one label, the index of its class, got {label!r}. Use the data "
            "set's target_transform, or classes=[…] for names."
        )
    return int(plain)


def _plain(name: Any) -> Any:
    return name.decode() if isinstance(name, bytes) else name


def _source(data: Any, batch_first: bool | None) -> _Source:
    """Find out how to go through what a user passed.

    Of a loader that batches as torch or tonic does, only the order is taken: samples are read one
    by one, so that neither their lengths nor the layout of a batch can be mistaken.
    """
    if isinstance(data, DataLoader):
        _check_whole(data)
        pads = type(data.collate_fn).__name__ == "PadTensors"
        standard = pads or data.collate_fn is torch.utils.data.default_collate
        if standard and data.batch_sampler is not None:
            if not isinstance(data.dataset, IterableDataset):
                return _Source(data.dataset, _order(data), None, None, data.num_workers)
            batch_first = getattr(data.collate_fn, "batch_first", True)
        return _Source(None, (), data, batch_first, data.num_workers)
    if isinstance(data, IterableDataset):
        return _Source(None, (), data, None, 0)
    arrays = isinstance(data, Tensor | np.ndarray) or (
        isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], tuple | list)
    )
    if arrays:
        raise TypeError(
            "from_dataset reads data sets and loaders; arrays are sequences as they are: "
            "Labelled(DenseSequences(x), labels), x of shape [T, B, …], time first."
        )
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise TypeError(
            "from_dataset reads a data set (with __getitem__ and __len__, or an IterableDataset) "
            f"or a DataLoader, got {named(data)}."
        )
    mine = getattr(os, "sched_getaffinity", lambda pid: range(os.cpu_count() or 1))(0)
    workers = min(8, len(mine)) if len(data) >= WORTH_WORKERS else 0
    return _Source(data, range(len(data)), None, None, workers)


def _check_whole(loader: "DataLoader[Any]") -> None:
    """Refuse a loader that would leave samples out."""
    if not loader.drop_last:
        return
    n = len(loader.sampler)  # type: ignore[arg-type]
    if loader.batch_size and n % loader.batch_size:
        raise ValueError(
            f"The loader has drop_last=True and would leave out {n % loader.batch_size} of {n} "
            "samples. Pass the data set itself, or a loader with drop_last=False."
        )


def _order(loader: "DataLoader[Any]") -> Sequence[int]:
    """Return the samples of a loader in its order; shuffled ones in the data set's.

    Training shuffles by its own seed, and a result should not hang on torch's global generator.
    """
    sampler = loader.sampler
    n = len(loader.dataset)  # type: ignore[arg-type]
    if type(sampler) is torch.utils.data.RandomSampler and not sampler.replacement:
        if sampler.num_samples == n:
            return range(n)
    return [int(i) for batch in loader.batch_sampler or [] for i in batch]


def _unbatched(loader: Any, batch_first: bool | None) -> Iterator[tuple[Piece, Any]]:
    """Go through the samples of what gives batches, or single samples: those have one label."""
    waiting: list[tuple[Array, Any]] = []  # batches whose layout is not known yet
    for b, item in enumerate(loader):
        what = f"Batch {b}"
        sample, labels = _pair(item, what)
        x = _array(sample, what)
        if np.ndim(labels) == 0:
            yield pack_sample(x), labels
            continue
        told = _layout(x, len(labels), what)
        if batch_first is None:
            batch_first = told
        elif told is not None and told != batch_first:
            raise ValueError(
                f"{what} of {len(labels)} labels has shape {list(x.shape)}, which is "
                f"{'[B, T, …]' if told else '[T, B, …]'}, unlike batch_first={batch_first}."
            )
        waiting.append((x, labels))
        if batch_first is not None:
            yield from _samples(waiting, batch_first)
            waiting.clear()
    if waiting:
        raise ValueError(
            f"In no batch do the sizes tell samples from steps: {list(waiting[0][0].shape)}. Pass "
            "batch_first=True for [B, T, …], or False for [T, B, …]."
        )


def _layout(x: Array, n: int, what: str) -> bool | None:
    """Return whether a batch is batch first; None if its sizes do not tell."""
    first, second = x.shape[0] == n, x.ndim > 1 and x.shape[1] == n
    if not first and not second:
        raise ValueError(
            f"{what} has {n} labels, but shape {list(x.shape)}: neither [B, T, …] nor [T, B, …]."
        )
    return None if first and second else first


def _samples(
    batches: Sequence[tuple[Array, Any]], batch_first: bool
) -> Iterator[tuple[Piece, Any]]:
    for x, labels in batches:
        for i, label in enumerate(labels):
            yield pack_sample(x[i] if batch_first else x[:, i]), label
