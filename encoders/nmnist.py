"""N-MNIST: recordings of an event camera, as a tonic data set."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tonic import Dataset

from encoders.fetch import DataError, folders
from encoders.functional import EVENT_DTYPE, Events
from encoders.transforms import transformed
from rc_snn.files import load_npz, read_bytes
from rc_snn.shown.citation import used

SIDE = 34
"""Pixels of a recording's side."""


@dataclass(frozen=True)
class Subset:
    """A file of the subset, known by the SHA-256 of its bytes."""

    name: str
    sha256: str


SUBSET = {
    True: Subset(
        "nmnist_train500.npz", "1b420dd28245705ab15a98d1d2013316393242661bb0193ed6510557f44d7cc5"
    ),
    False: Subset(
        "nmnist_test100.npz", "f2ea8a0628c8c78ded598fdddf59c81527bc61c222fe336cb90933b835fb4a8b"
    ),
}
"""500 training and 100 test recordings, by `train`."""

_CLOCK = 240
SUBSET_NAME = "N-MNIST-600"
"""What the subset is called in tables."""

FULL = {True: ("Train", 60_000), False: ("Test", 10_000)}
"""Folder and number of recordings of the whole data set in tonic's layout, by `train`."""


class NeuromorphicMNIST(Dataset):  # type: ignore[misc]
    """N-MNIST: digits seen by an event camera that makes three saccades of about 100 ms each.

    A sample is `(events, target)`: a structured array with fields x, y, t (µs), p, sorted by time,
    and the digit. Two forms are read: the subset of 500 training and 100 test recordings
    (`nmnist_train500.npz`, `nmnist_test100.npz`, checked by their SHA-256), and the whole data set
    as `tonic.datasets.NMNIST` unpacks it, `NMNIST/Train/<digit>/*.bin` and `NMNIST/Test/...`.

    A folder that is named, by `save_to` or by the environment variable RC_SNN_DATA, is the only
    one looked at; otherwise `../shared/data` beside the project and the user cache are. In each
    the subset is looked for at the top and in `nmnist/`, then the whole data set. Nothing is
    downloaded.

    Args:
        save_to: folder that holds the recordings.
        train: training or test recordings.
        transform: applied to the events.
        target_transform: applied to the target.
        transforms: applied to both, `transforms(events, target)`.

    Raises:
        DataError: if there are no recordings, or files are missing or damaged.

    Source: Orchard et al., Frontiers in Neuroscience 9:437, 2015,
    https://doi.org/10.3389/fnins.2015.00437.

    Example:
        >>> NeuromorphicMNIST.sensor_size, NeuromorphicMNIST.ordering  # as tonic's NMNIST
        ((34, 34, 2), ('x', 'y', 't', 'p'))
    """

    classes = tuple(str(digit) for digit in range(10))
    sensor_size = (SIDE, SIDE, 2)
    dtype = EVENT_DTYPE
    ordering = EVENT_DTYPE.names

    def __init__(
        self,
        save_to: str | Path | None = None,
        train: bool = True,
        *,
        transform: Callable[[Events], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        transforms: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    ) -> None:
        place = _find(save_to, train)
        super().__init__(str(place.parent), transform, target_transform, transforms)
        self.train, self.origin = train, str(place)
        self.data: Sequence[Events | Path]
        self.targets: list[int]
        self.sample_ids: list[int]
        read = _read_subset if place.is_file() else _list_folder
        self.data, self.targets, self.sample_ids = read(place, train)
        self.name = "N-MNIST" if place.is_dir() else SUBSET_NAME
        used("orchard2015")

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.targets)

    def events(self, index: int) -> Events:
        """Return the events of a recording, as they were recorded; the array is the caller's."""
        found = self.data[index]
        return _read_recording(found) if isinstance(found, Path) else found.copy()

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return events and target of one recording, transformed."""
        events = self.events(index)
        return transformed(self, events, self.targets[index])


def _find(save_to: str | Path | None, train: bool) -> Path:
    """Return the subset's file, or the folder of the whole data set."""
    bases = folders(save_to)
    name, (folder, _) = SUBSET[train].name, FULL[train]
    for base in bases:
        places = (base / name, base / "nmnist" / name, base / "NMNIST" / folder)
        found = next((place for place in places if place.exists()), None)
        if found is not None:
            return found
    raise DataError(
        f"No N-MNIST in {' or '.join(map(str, bases))}: looked for {name} there and in nmnist/, "
        f"and for NMNIST/{folder}. Name the folder that holds one of them, or fetch all of N-MNIST "
        f'with tonic.datasets.NMNIST("FOLDER", train={train}).'
    )


def _read_subset(path: Path, train: bool) -> tuple[list[Events], list[int], list[int]]:
    """Read a checked npz: events one after another, cut at `offsets`; polarities packed in bits."""
    raw = read_bytes(path)
    digest = hashlib.sha256(raw).hexdigest()
    if digest != SUBSET[train].sha256:
        raise DataError(
            f"{path}: expected the SHA-256 {SUBSET[train].sha256}, found {len(raw)} bytes with "
            f"{digest}. Replace the file; it is damaged, or another one."
        )
    file = load_npz(path, "recordings of N-MNIST")
    events = np.zeros(len(file["x"]), EVENT_DTYPE)
    for name, column in (("x", "x"), ("y", "y"), ("t", "t_us")):
        events[name] = file[column]
    events["p"] = np.unpackbits(file["p"])[: len(events)]
    labels, ids = file["labels"].tolist(), file["sample_id"].tolist()
    return np.split(events, file["offsets"][1:-1]), labels, ids


def _list_folder(folder: Path, train: bool) -> tuple[list[Path], list[int], list[int]]:
    """List the recordings of tonic's layout in tonic's order; they are read when asked for."""
    paths = sorted(folder.glob("[0-9]/*.bin"))
    expected = FULL[train][1]
    if len(paths) != expected:
        raise DataError(
            f"{folder}: expected {expected} recordings (<digit>/*.bin), found {len(paths)}. Unpack "
            "the archive again; part of it is missing."
        )
    return paths, [int(p.parent.name) for p in paths], [int(p.stem) for p in paths]


def _read_recording(path: Path) -> Events:
    """Read one .bin file as tonic does, sorted by time.

    An event is five bytes: x, y, the polarity before the upper bits of the time, two bytes of time.
    An event with y = 240 stands for 2^13 µs that the clock has gone on. What no camera of 34x34
    pixels has seen is refused.
    """
    content = read_bytes(path)
    if not content or len(content) % 5:
        raise DataError(
            f"{path}: expected events of 5 bytes each, found {len(content)}. Unpack the archive "
            "again."
        )
    x, y, high, middle, low = np.frombuffer(content, np.uint8).reshape(-1, 5).T.astype(np.int64)
    later = y == _CLOCK
    t = ((high & 127) << 16 | middle << 8 | low) + (np.cumsum(later) << 13)
    events = np.zeros(len(x) - int(later.sum()), EVENT_DTYPE)
    for name, column in (("x", x), ("y", y), ("t", t), ("p", high >> 7)):
        events[name] = column[~later]
    outside = (events["x"] >= SIDE) | (events["y"] >= SIDE)
    if len(events) == 0 or outside.any():
        raise DataError(
            f"{path}: expected events within {SIDE}x{SIDE} pixels, found {int(outside.sum())} of "
            f"{len(events)} outside. The file is damaged, or not from N-MNIST."
        )
    return events[np.argsort(events["t"], kind="stable")]
