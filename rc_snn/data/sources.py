"""How to go through what a user passed as data: by samples' numbers, or by a loader's batches."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from rc_snn.borders.checks import named
from rc_snn.data.packed import Piece, pack_sample

Array: TypeAlias = npt.NDArray[Any]

AT_ONCE = 64
"""Samples that a worker reads before it hands them over."""
WORTH_WORKERS = 256
"""Samples from which on starting workers takes less time than they save."""


@dataclass(frozen=True)
class Source:
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
        if workers and self.order:  # here, where an error has no worker's trace around it
            pack_item(self.samples, self.order[0])
        loader = DataLoader(
            Packing(self.samples),
            sampler=self.order,
            batch_size=AT_ONCE,
            collate_fn=list,
            **reading(workers),
        )
        for batch in loader:
            yield from batch


def reading(workers: int) -> dict[str, Any]:
    """Return the options of a loader with so many workers; each reads two batches ahead."""
    return {"num_workers": workers, "prefetch_factor": 2 if workers else None}


class Packing(Dataset[Any]):
    """A data set whose samples are packed where they are read: less goes between processes."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __getitem__(self, index: int) -> tuple[Piece, Any]:
        return pack_item(self.samples, index)


def pack_item(samples: Any, index: int) -> tuple[Piece, Any]:
    """Return one sample of a map-style data set, packed, and its label as it came.

    Raises:
        TypeError: if it is no pair, or its sample no numbers `[T, …]`.
    """
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
    if x.dtype.kind not in "buif" or x.ndim == 0 or x.dtype.itemsize > 8:
        raise TypeError(
            f"{what} must be numbers of shape [T, …], got {x.dtype} of shape {list(x.shape)}."
        )
    return x.astype(x.dtype.newbyteorder("="), copy=False)  # torch reads no other


def source_of(data: Any, batch_first: bool | None) -> Source:
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
                return Source(data.dataset, _order(data), None, None, data.num_workers)
            batch_first = getattr(data.collate_fn, "batch_first", True)
        return Source(None, (), data, batch_first, data.num_workers)
    if isinstance(data, IterableDataset):
        return Source(None, (), data, None, 0)
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
    return Source(data, range(len(data)), None, None, workers)


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
