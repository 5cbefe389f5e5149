"""Event-camera recordings: how units become pixels, and what AEDAT4, .es and .dat share.

Units of shape `(1 or 2 polarities, height, width)` are the pixels of that sensor. Missing leading
axes are 1: plain units lie in one row, in their order, and `(height, width)` has one polarity.
Other shapes are refused, and so is a side longer than the format's coordinates reach. With one
polarity all events are ON.

The files hold pixels, polarities and microseconds, nothing else: not the length of a sample, not
its silent end, no dt, no labels. Who reads them says sensor, duration and dt. One sample is one
file; several are a folder of files. Written by faery, read by an independent package.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from bridges.errors import BridgeError
from bridges.stream.clock import tick_us
from bridges.stream.stream import EVENT_DTYPE, Array, SpikeStream
from bridges.target import Target, load
from rc_snn.files import replacing

SensorSize: TypeAlias = tuple[int, int, int]
"""Width, height, polarities, as tonic has it."""
Paths: TypeAlias = Path | str | Sequence[Path | str]

LONGEST_SIDE = 2**15
"""Of a sensor in tonic's events, whose coordinates are int16."""


@dataclass(frozen=True)
class EventFormat:
    """A file format, as faery writes it and another package reads it.

    Args:
        target: the bridge's.
        read: returns the events of a file (fields x, y, t, p), and the width and height
            that the file states, None if it states none.
        side: longest side of a sensor.
        end_us: times are smaller than this.
    """

    target: Target
    read: Callable[[Path], tuple[Array, tuple[int, int] | None]]
    side: int = LONGEST_SIDE
    end_us: int = 2**53

    @property
    def suffix(self) -> str:
        """Return the suffix of its files."""
        return self.target.suffix


# ---- units and pixels, ticks and microseconds -------------------------------------------------


def as_image(stream: SpikeStream, side: int = LONGEST_SIDE) -> SpikeStream:
    """Return the stream with its units as pixels, by the rule at the top of this module.

    Raises:
        BridgeError: if the units are no image of one or two polarities, or a side is too long.

    Example:
        >>> as_image(SpikeStream.silent(1, n_units=10, n_steps=5, dt_s=1e-3)).shape
        (1, 1, 10)
    """
    shape = (1,) * (3 - len(stream.shape)) + stream.shape
    if len(shape) != 3 or shape[0] > 2 or max(shape[1:]) > side:
        raise BridgeError(
            "Events need units of shape (1 or 2 polarities, height, width), each side at most "
            f"{side} pixels, got {stream.shape}. Choose one: dataclasses.replace(stream, "
            "shape=(1, height, width))."
        )
    return replace(stream, shape=shape)


def sensor_size(stream: SpikeStream) -> SensorSize:
    """Return width, height and polarities of the sensor whose pixels the units are.

    Example:
        >>> sensor_size(SpikeStream.silent(1, n_units=10, n_steps=5, dt_s=1e-3))
        (10, 1, 1)
    """
    polarities, height, width = as_image(stream).shape
    return width, height, polarities


def to_recordings(
    stream: SpikeStream, side: int = LONGEST_SIDE, end_us: int = 2**53
) -> list[Array]:
    """Return tonic's event arrays, one per sample, sorted by time, then by unit.

    Args:
        stream: its units are laid out by the rule at the top of this module.
        side: longest side of a sensor.
        end_us: times must be smaller than this.

    Raises:
        BridgeError: if the units are no such sensor, a tick is no whole number of microseconds, or
            a spike is too late.
    """
    image = as_image(stream, side)
    last_us = int(stream.ticks.max(initial=0)) * tick_us(stream.dt_s)
    if last_us >= end_us:
        raise BridgeError(
            f"The last spike is at {last_us} µs; these files go up to {end_us - 1} µs. Take "
            "shorter samples, or AEDAT4, which goes further."
        )
    return image.to_events()


def tonic_events(events: Array) -> Array:
    """Return a package's events (fields x, y, t, p) as tonic has them, checked to fit."""
    if events.size and max(int(events["x"].max()), int(events["y"].max())) >= LONGEST_SIDE:
        raise BridgeError(f"An event lies beyond the {LONGEST_SIDE} pixels of tonic's coordinates.")
    copy = np.zeros(len(events), EVENT_DTYPE)
    for name in "xytp":  # faery and aedat name it "on", with "p" as its title: both find it
        copy[name] = events[name]
    return copy


# ---- files --------------------------------------------------------------------------------------


def export(form: EventFormat, stream: SpikeStream, path: Path | str) -> Path:
    """Write one sample as a file, several as a folder of that name with a file for each.

    Nothing appears under the path until everything is written. A file that was there is replaced;
    a folder is not.

    Raises:
        BridgeError: if the format does not carry the stream.
        FileExistsError: if a folder is there, or anything where a folder would go.
        ValueError: if the path has another suffix.
    """
    path = Path(path)
    if path.suffix != form.suffix:
        raise ValueError(
            f"{form.target.title} takes a file named *{form.suffix}, got {path.name!r}."
        )
    recordings = to_recordings(stream, form.side, form.end_us)
    if path.is_dir() or (path.exists() and len(recordings) > 1):
        raise FileExistsError(
            f"{path} exists, and a folder is never overwritten. Remove it, or name another."
        )
    faery, (width, height, _) = load(form.target, "faery"), sensor_size(stream)
    with replacing(path, form.suffix) as partial:
        places = [partial]
        if len(recordings) != 1:
            partial.mkdir()
            places = [partial / name for name in file_names(form, path.stem, len(recordings))]
        for place, events in zip(places, recordings, strict=True):
            native = np.zeros(len(events), faery.EVENTS_DTYPE)
            for column in "txyp":
                native[column] = events[column]
            # Without zero_t0=False faery starts the clock at the first event: no latency is left.
            faery.events_stream_from_array(native, (width, height)).to_file(place, zero_t0=False)
    return path


def file_names(form: EventFormat, stem: str, n: int) -> list[str]:
    """Return the names of n samples' files, in an order that sorting keeps."""
    digits = max(4, len(str(n - 1)))
    return [f"{stem}_{i:0{digits}}{form.suffix}" for i in range(n)]


def read_events(form: EventFormat, path: Path | str, sensor_size: SensorSize) -> Array:
    """Return the events of one file as tonic's event array, times in µs, in the file's order.

    Some cameras count from 1970. For a stream, begin at 0: `events["t"] -= events["t"][0]`, then
    `SpikeStream.from_events([events], ...)`.

    Args:
        form: the file's format.
        path: of one recording.
        sensor_size: width, height, polarities.

    Raises:
        BridgeError: if the file states another sensor.
        ValueError: if there is no such file, or it cannot be read.
    """
    path = Path(path)
    if not path.is_file() or path.suffix != form.suffix:
        raise ValueError(f"There is no {form.suffix} file {path}.")
    try:
        events, size = form.read(path)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read as {form.target.title} ({error}).") from error
    if size and size != tuple(sensor_size[:2]):
        raise BridgeError(
            f"{path} is of a sensor of (width, height) {size}, sensor_size says {sensor_size}. "
            "Pass that of the recording."
        )
    return tonic_events(events)


def files_of(form: EventFormat, paths: Paths) -> list[Path]:
    """Return the files of a path that `export` made, sorted by name; a list is taken as it is.

    Raises:
        ValueError: if there is none.
    """
    if not isinstance(paths, Path | str):
        return [Path(path) for path in paths]
    path = Path(paths)
    files = sorted(path.glob(f"*{form.suffix}")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"The folder {path} holds no {form.suffix} file.")
    return files


def from_files(
    form: EventFormat, paths: Paths, sensor_size: SensorSize, duration_us: int, dt_s: float
) -> SpikeStream:
    """Read recordings as one sample each; the clock starts at 0, not at the first event.

    Args:
        form: the files' format.
        paths: a file, a folder of files (sorted by name), or a list of files.
        sensor_size: width, height, polarities; one polarity takes events that are all ON or all
            OFF.
        duration_us: length of a sample in microseconds, which the files do not hold.
        dt_s: seconds per tick; every event must be on a tick.

    Raises:
        BridgeError: if an event is between two ticks, has a polarity too many, or a file is of
            another sensor.
        ValueError: if an event lies outside the sensor or the duration, or there is no such file,
            or it cannot be read.
    """
    recordings = [read_events(form, path, sensor_size) for path in files_of(form, paths)]
    return SpikeStream.from_events(recordings, sensor_size, duration_us, dt_s)


def round_trip(form: EventFormat, stream: SpikeStream) -> SpikeStream:
    """Write the stream with faery, and return what the other package reads."""
    with tempfile.TemporaryDirectory() as folder:
        path = export(form, stream, Path(folder, f"spikes{form.suffix}"))
        duration_us = stream.n_steps * tick_us(stream.dt_s)
        back = from_files(form, path, sensor_size(stream), duration_us, stream.dt_s)
    return replace(back, shape=stream.shape)
