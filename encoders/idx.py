"""Images in MNIST's idx format, of any size: FashionMNIST, KMNIST, EMNIST and one's own."""

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from encoders.fetch import DataError
from rc_snn.files import gunzip, read_bytes

KINDS = {3: "images", 1: "labels"}
"""What a file holds, by its number of axes."""


@dataclass(frozen=True)
class Split:
    """Images with their classes."""

    images: UInt8[Tensor, "batch height width"]
    labels: Int[Tensor, " batch"]


@dataclass(frozen=True)
class Digits:
    """Images in two splits, and what to call them in a table."""

    train: Split
    test: Split
    name: str
    """Such as "MNIST", or "MNIST-5k" for the embedded digits."""
    title: str
    """One line for the head of a table."""
    origin: str
    """Folder or file they were read from."""


def load_idx(
    folder: Path | str,
    *,
    name: str | None = None,
    parts: tuple[str, str] = ("train", "t10k"),
    md5: Mapping[str, str] | None = None,
) -> Digits:
    """Load a folder of four idx files, as FashionMNIST has them, raw or .gz; any image size.

    Every size is checked: the header's against the bytes, labels against images, one split's
    images against the other's. Files that are swapped within a split are named. Their contents
    are compared with `md5` where it is given.

    Args:
        folder: holds `{part}-images-idx3-ubyte` and `{part}-labels-idx1-ubyte` of both parts.
        name: what the data are called in tables; None: the folder's name.
        parts: how the files of training and test begin; `("emnist-letters-train",
            "emnist-letters-test")` for EMNIST.
        md5: MD5 of a file's raw bytes, unpacked, by its name without .gz.

    Raises:
        DataError: if a file is missing, truncated, swapped or corrupt; the message names file,
            expected and found.
    """
    base = Path(folder).expanduser()
    train, test = (_read_split(base, part, md5 or {}) for part in parts)
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = [f"{h}x{w}" for h, w in (x.images.shape[1:] for x in (train, test))]
        raise DataError(
            f"{base}: the images of {parts[0]} are {sizes[0]}, those of {parts[1]} {sizes[1]}. "
            "They are of two data sets; replace one of them."
        )
    called = name or base.resolve().name
    title = f"{called} ({len(train.labels):,} train / {len(test.labels):,} test)"
    return Digits(train, test, called, title, str(base))


def _read_split(base: Path, part: str, md5: Mapping[str, str]) -> Split:
    images, labels = (_read(base, f"{part}-{KINDS[n]}-idx{n}-ubyte", n, md5) for n in (3, 1))
    if len(images) != len(labels):
        raise DataError(
            f"{base}: {part} has {len(images)} images and {len(labels)} labels. They are of two "
            "data sets; replace one of them."
        )
    return Split(images, labels.long())


def _read(base: Path, name: str, n_axes: int, md5: Mapping[str, str]) -> UInt8[Tensor, "*axes"]:
    path = next((p for p in (base / name, base / f"{name}.gz") if p.exists()), None)
    if path is None:
        raise DataError(f"{base} holds no {name}[.gz]. Name the folder that holds all four files.")
    raw = unpacked(path, f"an idx file of {KINDS[n_axes]}")
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if (expected := md5.get(name)) not in (None, found):
        raise DataError(
            f"{path}: expected raw bytes with MD5 {expected}, found {len(raw)} bytes with MD5 "
            f"{found}. Delete or replace the file."
        )
    return _parse(path, raw, n_axes)


def _parse(path: Path, raw: bytes, n_axes: int) -> UInt8[Tensor, "*axes"]:
    """Return the bytes in the shape that their header gives, if they are as many."""
    expected, advice = f"{path}: expected unsigned bytes of {n_axes} axes", "Replace the file."
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise DataError(f"{expected}, found no idx header but {raw[:4].hex(' ')}. {advice}")
    if raw[3] != n_axes:
        kind = KINDS.get(raw[3], "something else")
        raise DataError(f"{expected}, found {raw[3]} axes: the file holds {kind}. {advice}")
    begin = 4 + 4 * n_axes
    if len(raw) < begin:
        raise DataError(f"{expected}, found a header of {len(raw)} bytes. {advice}")
    shape = struct.unpack(f">{n_axes}I", raw[4:begin])
    if math.prod(shape) != len(raw) - begin or 0 in shape:
        raise DataError(
            f"{path}: expected {math.prod(shape)} bytes behind the header, for "
            f"{'x'.join(map(str, shape))}, found {len(raw) - begin}. {advice}"
        )
    return torch.frombuffer(bytearray(raw[begin:]), dtype=torch.uint8).view(shape)


def unpacked(path: Path, expected: str, limit: int | None = None) -> bytes:
    """Return the raw bytes of a file that may be gzip.

    Args:
        path: of the file; gzip if it ends in .gz.
        expected: what it should be, for the message.
        limit: bytes that it may unpack to; None: `rc_snn.files.allowance` of its size.

    Raises:
        DataError: if it is a broken gzip stream, or unpacks to more.
        OSError: if it cannot be read.
    """
    packed = read_bytes(path)
    try:
        return gunzip(packed, str(path), limit) if path.suffix == ".gz" else packed
    except ValueError as error:
        raise DataError(
            f"{path}: expected {expected}, found a broken gzip stream of {len(packed)} bytes "
            f"({error.__cause__}). Delete or replace the file."
        ) from error
