"""SHD, SSC and DVS-Gesture as tonic has them, but never downloaded unasked."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tonic.datasets

from encoders.fetch import DataError, filling, folders
from encoders.transforms import transformed
from rc_snn.borders.numbers import finite, whole
from rc_snn.files import HDF5, allowance, first_look, publish, read_bytes, scratch
from rc_snn.files.limits import parse_npy
from rc_snn.shown.citation import used


def find(name: str, place: str, data: Path | str | None, download: bool) -> Path:
    """Return the folder below which tonic keeps a data set: the one that holds it.

    Args:
        name: tonic's class, and the folder's name.
        place: what it must hold, below `FOLDER/name`.
        data: the folder that is looked in; None: see `encoders.fetch.folders`.
        download: whether the first of these folders will do if none holds it.

    Raises:
        DataError: if no folder holds it, and nothing may be downloaded.
    """
    bases = folders(data)
    found = next((base for base in bases if (base / name / place).exists()), None)
    if found is None and not download:
        raise DataError(
            f"No {name} in {' or '.join(map(str, bases))}: looked for {name}/{place} there. Name "
            "the folder, or pass download=True to fetch it with tonic."
        )
    return found or bases[-1]


class _AtHand:
    """A data set of tonic that is there, however it came: tonic asks for the archive as well."""

    location_on_system: str
    place: str

    def _check_exists(self) -> bool:
        return (Path(self.location_on_system) / self.place).exists()

    def download(self) -> None:
        """Fetch and unpack it elsewhere, alone: what bears its name is all of it."""
        home = Path(self.location_on_system)
        with filling(home, self.place):
            if self._check_exists():  # another process has done it meanwhile
                return
            with scratch(home / self.place) as apart:
                self.location_on_system = str(apart)
                try:
                    super().download()  # type: ignore[misc]
                except RuntimeError as error:  # what tonic says of a wrong checksum
                    raise DataError(f"{home / self.place}: {error} Try again.") from error
                finally:
                    self.location_on_system = str(home)
                publish(apart / self.place, home / self.place)


_ARRAYS = ("/spikes/times", "/spikes/units", "/labels")
_CHANNELS = 700


class _Heidelberg(_AtHand):
    """A file of spikes in HDF5, which a child process reads first (`rc_snn.files.first_look`)."""

    dtype: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            super().__init__(*arguments, **options)
        except (KeyError, AttributeError, TypeError) as error:  # tonic reads the classes' names
            raise DataError(f"{self.path} lacks {error}. Unpack the archive again.") from error
        with h5py.File(self.path) as file:
            arrays = [file.get(name) for name in _ARRAYS]
            shapes: list[Any] = [getattr(array, "shape", None) for array in arrays]
        if len(set(shapes)) > 1 or len(shapes[0] or ()) != 1:
            raise DataError(
                f"{self.path}: expected lists of recordings, {', '.join(_ARRAYS)}, found the "
                f"shapes {shapes}. Unpack the archive again."
            )
        self.n = shapes[0][0]

    @property
    def path(self) -> Path:
        """Return the file."""
        return Path(self.location_on_system) / self.place

    def _check_exists(self) -> bool:
        """Return whether it is there, and look at it: tonic opens it next."""
        if not super()._check_exists():
            return False
        limit = str(allowance(self.path.stat().st_size))
        first_look(self.path, HDF5, limit, *_ARRAYS, "/extra")
        return True

    def __len__(self) -> int:
        """Return the number of recordings."""
        return int(self.n)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return events and target of one recording, transformed."""
        with h5py.File(self.path) as file:
            times, units, label = (file[name][index] for name in _ARRAYS)
        try:
            seconds = finite(times, "times of spikes in seconds")
            # As tonic has them: whole microseconds, the rest cut off.
            columns = {
                "t": whole(np.floor(seconds * 1e6), "times of spikes in microseconds", 0),
                "x": whole(units, "channels", 0, _CHANNELS - 1),
            }
            target = int(whole(label, "labels", 0))
            if columns["t"].ndim != 1 or columns["t"].shape != columns["x"].shape:
                raise ValueError(f"{len(seconds)} times belong to {len(columns['x'])} channels")
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{self.path}: recording {index} cannot be read ({error}). Unpack the archive "
                "again."
            ) from error
        events: Any = np.ones(len(seconds), self.dtype)
        for name, column in columns.items():
            events[name] = column
        return transformed(self, events, target)


class SHD(_Heidelberg, tonic.datasets.SHD):  # type: ignore[misc]
    """Spiking Heidelberg Digits, `tonic.datasets.SHD`: `FOLDER/SHD/shd_train.h5`, `shd_test.h5`.

    A sample is `(events, target)`, with the spikes of 700 cochlear channels.

    Source: Cramer et al., IEEE TNNLS 33:2744, 2022, https://doi.org/10.1109/TNNLS.2020.3044364.
    """

    def __init__(
        self, data: Path | str | None = None, train: bool = True, *, download: bool = False,
        transform: Any = None,
    ) -> None:  # fmt: skip
        self.place = f"shd_{'train' if train else 'test'}.h5"
        folder = find("SHD", self.place, data, download)
        super().__init__(str(folder), train=train, transform=transform)
        used("cramer2022")


class SSC(_Heidelberg, tonic.datasets.SSC):  # type: ignore[misc]
    """Spiking Speech Commands, `tonic.datasets.SSC`: `FOLDER/SSC/ssc_train.h5`, `_valid`, `_test`.

    Source: as SHD.
    """

    def __init__(
        self, data: Path | str | None = None, split: str = "train", *, download: bool = False,
        transform: Any = None,
    ) -> None:  # fmt: skip
        self.place = f"ssc_{split}.h5"
        folder = find("SSC", self.place, data, download)
        super().__init__(str(folder), split=split, transform=transform)
        used("cramer2022")


class DVSGesture(_AtHand, tonic.datasets.DVSGesture):  # type: ignore[misc]
    """DVS128 Gesture as tonic cut it: `FOLDER/DVSGesture/ibmGestureTrain/user…/<class>.npy`.

    Samples are sorted by their path, on every file system alike.

    Source: Amir et al., CVPR 2017.
    """

    def __init__(
        self, data: Path | str | None = None, train: bool = True, *, download: bool = False,
        transform: Any = None,
    ) -> None:  # fmt: skip
        self.place = f"ibmGesture{'Train' if train else 'Test'}"
        folder = find("DVSGesture", self.place, data, download)
        super().__init__(str(folder), train=train, transform=transform)
        if not self.data:
            raise DataError(
                f"{Path(self.location_on_system) / self.place} holds no recording "
                "(user…/<class>.npy). Unpack the archive again."
            )
        used("amir2017")
        order = np.argsort(self.data)
        for name in ("data", "targets", "users", "lighting"):
            setattr(self, name, [getattr(self, name)[i] for i in order])

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return events and target of one recording, transformed; times from ms to µs."""
        path = Path(self.data[index])
        try:
            columns = finite(parse_npy(read_bytes(path)), "events")
            if columns.ndim != 2 or columns.shape[1] != 4:
                raise ValueError(f"it has the shape {columns.shape}, not [events, 4]")
            x, y, p, ms = columns.T
            events: Any = np.zeros(len(columns), self.dtype)
            for name, column, high in (("x", x, 127), ("y", y, 127), ("p", p, 1)):
                events[name] = whole(column, name, 0, high)
            events["t"] = whole(np.floor(ms * 1000), "times in microseconds", 0)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{path} cannot be read ({error}). Unpack the archive again."
            ) from error
        return transformed(self, events, self.targets[index])
