"""SHD, SSC and DVS-Gesture as tonic has them, but never downloaded unasked."""

from pathlib import Path
from typing import Any

import numpy as np
import tonic.datasets

from encoders.fetch import DataError, filling, folders
from rc_snn.files import publish, scratch


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


class SHD(_AtHand, tonic.datasets.SHD):  # type: ignore[misc]
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


class SSC(_AtHand, tonic.datasets.SSC):  # type: ignore[misc]
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
        order = np.argsort(self.data)
        for name in ("data", "targets", "users", "lighting"):
            setattr(self, name, [getattr(self, name)[i] for i in order])
