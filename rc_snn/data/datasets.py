"""Anybody's data set as sequences: read by workers, padded, packed; or read batch by batch."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader

from rc_snn.borders.checks import named
from rc_snn.borders.numbers import check_fields, indices
from rc_snn.data.packed import Packed, Piece, Pieces, pack_sample
from rc_snn.data.sources import Packing, pack_item, reading, source_of
from rc_snn.progress import progress
from rc_snn.spikes import check_n_steps

Classes: TypeAlias = Sequence[Any] | Mapping[Any, int]


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
    source = source_of(data, batch_first)
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
    samples = source.read(workers)
    for piece, label in progress(samples, "read", unit="samples"):
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

    def __post_init__(self) -> None:
        check_fields(self, n_steps=1, shape=1, workers=0)
        if not hasattr(self.samples, "__getitem__"):
            raise TypeError(
                f"samples must be a data set, samples[i] a (sample, target); got "
                f"{named(self.samples)}. See Labelled.from_dataset."
            )
        object.__setattr__(self, "index", indices(self.index, "index"))
        object.__setattr__(self, "device", torch.device(self.device))

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
        return self._assemble([pack_item(self.samples, int(i)) for i in self.index]).to(self.device)

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
            Packing(self.samples),
            batch_sampler=[self.index[part].tolist() for part in parts],
            collate_fn=self._assemble,
            **reading(self.workers),
        )
        for batch in loader:
            yield batch.to(self.device)

    def to(self, device: torch.device | str) -> "LoadedSequences":
        """Return the sequences, to be read onto another device."""
        return replace(self, device=device)

    def digest(self) -> tuple[Any, ...]:
        """Return what these sequences are, for a checkpoint (`rc_snn.checkpoint.digest`).

        No sample of a data set is read, because its transforms may draw anew: it counts with its
        own `digest()`, or with class, length and transform.
        """
        source = self.samples
        if not isinstance(source, list | tuple) and not hasattr(source, "digest"):
            # Functions are written with their address, which is another one in every process.
            transform = re.sub(r" at 0x[0-9a-f]+", "", repr(getattr(source, "transform", None)))
            source = (type(source).__qualname__, len(source), transform)
        return (source, self.n_steps, self.shape, self.index, self.cut)

    def _assemble(self, read: Sequence[tuple[Piece, Any]]) -> Packed:
        fitting = [_fitting(piece, self.shape, "A sample") for piece, _ in read]
        for piece in fitting:
            _check_length(piece.length, self.n_steps, self.cut, "A sample")
        return Pieces(fitting, self.n_steps).packed()


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
    known = isinstance(plain, int | float) and math.isfinite(plain) and plain == int(plain)
    if not known or plain < 0:
        raise ValueError(
            f"{what} must have one label, the index of its class, got {label!r}. Use the data "
            "set's target_transform, or classes=[…] for names."
        )
    return int(plain)


def _plain(name: Any) -> Any:
    return name.decode() if isinstance(name, bytes) else name
