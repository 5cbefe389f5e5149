"""Event data sets ready for training: which steps they are read in, and what they are called."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tonic

from encoders import event_datasets
from encoders.events import Events, event_columns
from encoders.fetch import folders
from encoders.nmnist import NeuromorphicMNIST
from rc_snn.borders.numbers import check_fields
from rc_snn.sequences import Labelled
from rc_snn.spikes import check_n_steps

_MOST = 1 << 29
"""Numbers that the frames of one recording may have: 16 s of DVS-Gesture in steps of 1 ms."""


@dataclass(frozen=True)
class CountFrames:
    """Events to their number in each step, `[T, polarity, …]`, as far as there are events.

    Step s holds the events with `s * step_us <= t < (s + 1) * step_us` since the recording's start.
    It is tonic's `ToFrame(sensor, time_window=step_us, start_time=0)` up to the end of the last
    event's step: ToFrame by itself leaves out the last, incomplete window, or, with
    `include_incomplete`, an event that lies on its very end.

    Args:
        sensor: width, height and polarities, as tonic's `sensor_size`.
        step_us: duration of a step in whole microseconds.

    Raises:
        ValueError: from a call, if an event is before time 0 or outside of the sensor.

    Example:
        >>> events = np.array([(0, 1, 0), (2, 1, 30)], [("x", int), ("p", int), ("t", int)])
        >>> CountFrames((3, 1, 2), step_us=10)(events)[:, 1].tolist()
        [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
    """

    sensor: tuple[int, int, int]
    step_us: int

    def __post_init__(self) -> None:
        if type(self.step_us) is not int or self.step_us < 1:
            raise ValueError(
                f"step_us must be a whole number of microseconds, at least 1, got {self.step_us!r}."
            )

    def __call__(self, events: Events) -> npt.NDArray[np.int32]:
        """Return the events of each step; none at all for a silent recording."""
        width, height, polarities = self.sensor
        grid = "y" in (events.dtype.names or ())
        shape = (polarities, height, width) if grid else (polarities, width)
        if len(events) == 0:
            return np.zeros((0, *shape), np.int32)
        found = event_columns(events, self.sensor)
        step = found["t"] // self.step_us
        n_steps = int(step.max()) + 1
        if n_steps * math.prod(shape) > _MOST:
            raise ValueError(
                f"The last event is in step {n_steps - 1}, of {self.step_us} µs: too many steps "
                "to be held. The file is damaged, or its steps must be longer."
            )
        counts = np.zeros((n_steps, *shape), np.int32)
        rows = (found["y"],) if grid else ()
        np.add.at(counts, (step, found["p"], *rows, found["x"]), 1)
        return counts


@dataclass(frozen=True)
class Preset:
    """An event data set, and how its recordings become sequences.

    `dataclasses.replace(SHD, n_steps=50, step_us=28_000)` is the same data in other steps.

    Example:
        >>> SHD.n_steps * SHD.step_us / 1e6, SHD.n_inputs, SHD.n_classes
        (1.4, 700, 20)
    """

    name: str
    classes: tuple[str, ...] | int
    """Names in the order of their labels; only their number where the names come with the files
    (`open().classes`)."""
    sensor: tuple[int, int, int]
    """Width, height and polarities."""
    step_us: int
    """Duration of a step in microseconds."""
    n_steps: int
    """Steps of every sequence, T; shorter recordings end in silence."""
    opener: Callable[..., Any]
    """Opens a part: `(data, part, download=…, transform=…)`."""
    parts: tuple[str, ...] = ("train", "test")
    cut: bool = False
    """Whether longer recordings lose their end; else they are refused."""

    def __post_init__(self) -> None:
        check_fields(self, step_us=1)
        check_n_steps(self.n_steps)

    @property
    def n_classes(self) -> int:
        """Return the number of classes."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    @property
    def n_inputs(self) -> int:
        """Return the values of a step."""
        return int(np.prod(self.sensor))

    @property
    def transform(self) -> CountFrames:
        """Return what makes steps of events."""
        return CountFrames(self.sensor, self.step_us)

    def open(
        self, data: Path | str | None = None, part: str = "train", *, download: bool = False
    ) -> Any:
        """Return the data set itself, whose samples are `(frames, target)`.

        Args:
            data: folder that holds it, in tonic's layout; None: see `encoders.fetch.folders`.
            part: one of `parts`.
            download: whether tonic may fetch what is not there.

        Raises:
            DataError: if it is not there.
            ValueError: for another part.
        """
        if part not in self.parts:
            raise ValueError(f"{self.name} has the parts {self.parts}, got {part!r}.")
        return self.opener(data, part, download=download, transform=self.transform)

    def read(
        self, part: str, data: Path | str | None = None, *, download: bool = False, **options: Any
    ) -> Labelled:
        """Return a part as labelled sequences.

        `options` are those of `Labelled.from_dataset`: lazy, workers.
        """
        classes = range(self.classes) if isinstance(self.classes, int) else None
        opened = self.open(data, part, download=download)
        return Labelled.from_dataset(opened, self.n_steps, classes, cut=self.cut, **options)

    def train(self, data: Path | str | None = None, **options: Any) -> Labelled:
        """Return the training samples; see `read`."""
        return self.read("train", data, **options)

    def test(self, data: Path | str | None = None, **options: Any) -> Labelled:
        """Return the test samples; see `read`."""
        return self.read("test", data, **options)


def _shd(data: Any, part: str, **options: Any) -> event_datasets.SHD:
    return event_datasets.SHD(data, part == "train", **options)


def _dvs_gesture(data: Any, part: str, **options: Any) -> event_datasets.DVSGesture:
    return event_datasets.DVSGesture(data, part == "train", **options)


def _nmnist(data: Any, part: str, *, download: bool, transform: CountFrames) -> Any:
    if download:
        tonic.datasets.NMNIST(str(folders(data)[-1]), part == "train")
    return NeuromorphicMNIST(data, part == "train", transform=transform)


SHD = Preset("SHD", 20, (700, 1, 1), step_us=14_000, n_steps=100, opener=_shd)
"""Spiking Heidelberg Digits: 1.4 s, as its authors' own examples take them."""

SSC = Preset(
    "SSC",
    35,
    (700, 1, 1),
    step_us=14_000,
    n_steps=100,
    opener=event_datasets.SSC,
    parts=("train", "valid", "test"),
)
"""Spiking Speech Commands; `SSC.read("valid")` is the third part."""

DVSGesture = Preset(
    "DVS128 Gesture",
    tuple(tonic.datasets.DVSGesture.classes),
    tonic.datasets.DVSGesture.sensor_size,
    step_us=60_000,
    n_steps=100,
    opener=_dvs_gesture,
    cut=True,
)
"""DVS128 Gesture: the first 6 s of each recording."""

NMNIST = Preset(
    "N-MNIST",
    NeuromorphicMNIST.classes,
    NeuromorphicMNIST.sensor_size,
    step_us=20_000,
    n_steps=17,
    opener=_nmnist,
)
"""N-MNIST: three saccades, 340 ms."""
