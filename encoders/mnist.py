"""Where the data come from: a folder, the cache, a checked download, or the embedded digits."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from encoders import fetch
from encoders.fetch import DataError, Unreachable, cache_folder, folders, named_folder
from encoders.idx import Digits as Digits
from encoders.idx import Split as Split
from encoders.idx import unpacked
from rc_snn import files
from rc_snn.commands import one_line
from rc_snn.shown.citation import used


@dataclass(frozen=True)
class MnistFile:
    """One of the four idx files, known by the MD5 of its raw bytes (gzip output differs)."""

    name: str
    md5: str
    size: int


MNIST_FILES = (
    MnistFile("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb", 47_040_016),
    MnistFile("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", 60_008),
    MnistFile("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea", 7_840_016),
    MnistFile("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637", 10_008),
)

MNIST_TITLE = "MNIST (60,000 train / 10,000 test)"
"""What a table on all of MNIST is headed."""

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def load_mnist(
    data: Path | str | None = None,
    *,
    download: bool = True,
    mirrors: Sequence[str] = MIRRORS,
) -> Digits:
    """Load MNIST, every byte checked; without any network and without a copy, the embedded digits.

    A folder that is named, by `data` or by the environment variable RC_SNN_DATA, is the only
    one looked at. Otherwise: `../shared/data` beside the project, the user cache
    (`$XDG_CACHE_HOME/rc_snn` or `~/.cache/rc_snn`), a download into the cache, and if no connection
    can be made to any mirror, the 5,000 digits that this package ships, with a warning. A
    download that began and failed is an error: it never ends in other digits. In each folder the
    four idx files, raw or .gz, are looked for at the top, in `mnist/` and in `MNIST/raw/`. Of two
    processes that find no MNIST one downloads, and the other waits for it.

    Args:
        data: folder to read from.
        download: whether the network may be used.
        mirrors: base URLs tried in turn.

    Raises:
        DataError: if a named folder has no MNIST, or a file is missing, truncated, swapped or
            corrupt; the message names file, expected and found. If a download fails.
        OSError: if the cache cannot be written.

    Example:
        >>> digits = load_mnist(download=False)
        >>> digits.test.images.dtype, digits.name in ("MNIST", "MNIST-5k")
        (torch.uint8, True)
    """
    base = folders(data)[0]
    folder = _find(base)
    if folder is not None:
        return _read_folder(folder)
    if named_folder(data) is not None:
        raise DataError(
            f"No MNIST in {base}: looked for {MNIST_FILES[0].name}[.gz] and three more there, "
            "in mnist/ and in MNIST/raw/. Name the folder that holds them, or none at all."
        )
    cache = cache_folder() / "mnist"
    if download and not all(_candidates(cache, file) for file in MNIST_FILES):
        try:
            _fill(cache, mirrors)
        except Unreachable as error:
            warnings.warn(
                f"MNIST is not at hand and there is no network; using the 5,000 embedded digits. "
                f"Tried: {error}",
                stacklevel=1,  # said once, however many callers look for MNIST
            )
            return embedded_digits()
    return _read_folder(cache) if _find(cache) else embedded_digits()


EMBEDDED = Path(__file__).with_name("digits") / "mnist_5k.npz"
"""The embedded digits; SOURCE.txt beside it says where they come from."""


def embedded_digits() -> Digits:
    """Return the 5,000 real MNIST training digits that ship with this package, in a fixed split.

    The file has 500 of each class, in order; every fifth is a test image (4,000 train, 1,000
    test). All are MNIST *training* images: never score weights on them that were trained on MNIST.
    """
    held = files.load_npz(EMBEDDED, "the embedded digits")
    images = torch.from_numpy(held["images"])
    target = torch.from_numpy(held["labels"]).long()
    test = torch.arange(len(target)) % 5 == 4
    used("lecun1998")
    return Digits(
        train=Split(images[~test], target[~test]),
        test=Split(images[test], target[test]),
        name="MNIST-5k",
        title="5,000 embedded MNIST training digits (4,000 train / 1,000 test), not MNIST itself",
        origin=str(EMBEDDED),
    )


def _candidates(folder: Path, file: MnistFile) -> list[Path]:
    return [p for p in (folder / file.name, folder / f"{file.name}.gz") if p.exists()]


def _find(base: Path) -> Path | None:
    """Return the folder below `base` that holds at least one of the four files."""
    for folder in (base, base / "mnist", base / "MNIST" / "raw"):
        if any(_candidates(folder, file) for file in MNIST_FILES):
            return folder
    return None


def _read_folder(folder: Path) -> Digits:
    raw = []
    for file in MNIST_FILES:
        paths = _candidates(folder, file)
        if not paths:
            raise DataError(
                f"{folder} holds some of MNIST's files but not {file.name}[.gz]. Add it, or move "
                "the others away."
            )
        raw.append(read_checked(paths[0], file))
    train_images, train_labels, test_images, test_labels = raw
    used("lecun1998")
    return Digits(
        train=Split(_images(train_images), _labels(train_labels)),
        test=Split(_images(test_images), _labels(test_labels)),
        name="MNIST",
        title=MNIST_TITLE,
        origin=str(folder),
    )


def _images(raw: bytes) -> UInt8[Tensor, "batch height width"]:
    return torch.frombuffer(bytearray(raw[16:]), dtype=torch.uint8).view(-1, 28, 28)


def _labels(raw: bytes) -> Int[Tensor, " batch"]:
    return torch.frombuffer(bytearray(raw[8:]), dtype=torch.uint8).long()


def read_checked(path: Path, file: MnistFile) -> bytes:
    """Read an idx file, raw or gzip, and return its raw bytes if they are the right ones.

    Raises:
        DataError: naming the file, what was expected and what was found.
    """
    expected = f"{file.size} raw bytes with MD5 {file.md5} ({file.name})"
    most = max(known.size for known in (file, *MNIST_FILES))  # it may be swapped with another
    raw = unpacked(path, expected, most)
    md5 = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if md5 == file.md5:
        return raw
    other = next((f.name for f in MNIST_FILES if f.md5 == md5), None)
    found = f"the bytes of {other}" if other else f"{len(raw)} bytes with MD5 {md5}"
    raise DataError(f"{path}: expected {expected}, found {found}. Delete or replace the file.")


def _fill(cache: Path, mirrors: Sequence[str]) -> None:
    """Put what is missing into the cache, alone, or wait for another process to do it.

    Raises:
        Unreachable: if no mirror can be connected to, and nothing has been fetched yet.
    """
    try:
        with fetch.filling(cache, ""):
            for file in MNIST_FILES:
                _fetch(file, cache, mirrors)
    except (DataError, *fetch.NETWORK_ERRORS):
        raise
    except OSError as error:  # nothing can be written; but is there anything to be written?
        if not any(map(fetch.reachable, mirrors)):
            raise Unreachable(
                f"{', '.join(mirrors)}. Nor can {cache} be written: {error}"
            ) from error
        raise


def _fetch(file: MnistFile, cache: Path, mirrors: Sequence[str]) -> None:
    """Put one file into the cache unless it is there: resume, check, then rename into place."""
    target = cache / f"{file.name}.gz"
    if _candidates(cache, file):
        return
    tried, unreachable = [], True
    for mirror in mirrors:
        url = f"{mirror}{file.name}.gz"
        # A part is resumed only from its own mirror: their gzip bytes need not agree.
        tag = hashlib.md5(mirror.encode(), usedforsecurity=False).hexdigest()[:8]
        part = cache / f"{file.name}.{tag}.part.gz"
        try:
            fetch.download(part, url, partial(read_checked, file=file))
        except (DataError, *fetch.NETWORK_ERRORS) as error:
            unreachable &= isinstance(error, Unreachable)
            tried.append(f"{url}: {one_line(error)}")
        else:
            files.publish(part, target)
            for left in cache.glob(f"{file.name}.*.part.gz"):  # of mirrors that failed
                left.unlink()
            return
    message = f"Tried: {'; '.join(tried)}."
    begun = any(_candidates(cache, other) for other in MNIST_FILES) or any(cache.glob("*.part.gz"))
    if unreachable and not begun:
        raise Unreachable(message.removeprefix("Tried: "))
    raise DataError(
        f"No mirror delivered the right {file.name}. {message} Try again: it goes on where it "
        "stopped. Or name a folder that holds MNIST."
    )
