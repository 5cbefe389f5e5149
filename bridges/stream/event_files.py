"""What AEDAT4, .es and .dat share: recordings of event cameras, as files.

The files hold pixels (see `bridges.stream.pixels`), polarities and microseconds, nothing else: not
the length of a sample, not its silent end, no dt, no labels. Who reads them says sensor, duration
and dt. One sample is one file; several are a folder of files. Written by faery, read by an
independent package.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from bridges.errors import BridgeError
from bridges.reading import reading
from bridges.stream.clock import tick_us
from bridges.stream.pixels import LONGEST_SIDE, SensorSize, sensor_size, to_recordings
from bridges.stream.stream import Array, SpikeStream
from bridges.target import Target, load
from encoders.functional import EVENT_DTYPE
from rc_snn.borders.numbers import polarities, whole
from rc_snn.files import replacing

Paths: TypeAlias = Path | str | Sequence[Path | str]


@dataclass(frozen=True)
class EventFormat:
    """A file format, as faery writes it and another package reads it.

    The functions of a bridge to such a format are these methods.

    Args:
        target: the bridge's.
        read: returns the events of a file (fields x, y, t, p), and the width and height
            that the file states, None if it states none.
        look: program of `bridges.looks` that reads a file first; "": `read` is safe on any bytes.
    """

    target: Target
    read: Callable[[Path], tuple[Array, tuple[int, int] | None]]
    look: str = ""

    @property
    def suffix(self) -> str:
        """Return the suffix of its files."""
        return self.target.suffix

    def export(self, stream: SpikeStream, path: Path | str) -> Path:
        """Write one sample as a file, several as a folder of that name with a file for each.

        Nothing appears under the path until everything is written. A file that was there is
        replaced; a folder is not.

        Raises:
            BridgeError: if the format does not carry the stream: see `Target.admit`.
            FileExistsError: if a folder is there, or anything where a folder would go.
            ValueError: if the path has another suffix.
        """
        path = self.target.named(path)
        self.target.admit(stream)
        recordings = to_recordings(stream)
        if path.is_dir() or (path.exists() and len(recordings) > 1):
            raise FileExistsError(
                f"{path} exists, and a folder is never overwritten. Remove it, or name another."
            )
        faery, (width, height, _) = load(self.target, "faery"), sensor_size(stream)
        with replacing(path, self.suffix) as partial:
            places = [partial]
            if len(recordings) != 1:
                partial.mkdir()
                places = [partial / name for name in self.file_names(path.stem, len(recordings))]
            for place, events in zip(places, recordings, strict=True):
                native = np.zeros(len(events), faery.EVENTS_DTYPE)
                for column in "txyp":
                    native[column] = events[column]
                # Else faery starts the clock at the first event: no latency is left.
                events_stream = faery.events_stream_from_array(native, (width, height))
                events_stream.to_file(place, zero_t0=False)
        return path

    def file_names(self, stem: str, n: int) -> list[str]:
        """Return the names of n samples' files, in an order that sorting keeps."""
        digits = max(4, len(str(n - 1)))
        return [f"{stem}_{i:0{digits}}{self.suffix}" for i in range(n)]

    def read_events(self, path: Path | str, sensor_size: SensorSize) -> Array:
        """Return the events of one file as tonic's event array, times in µs, in the file's order.

        Some cameras count from 1970. For a stream, begin at 0: `events["t"] -= events["t"][0]`,
        then `SpikeStream.from_events([events], ...)`.

        Args:
            path: of one recording.
            sensor_size: width, height, polarities.

        Raises:
            BridgeError: if the file states another sensor, or holds what is no stream of events.
            ValueError: if there is no such file, it cannot be read, or an event lies outside the
                sensor.
        """
        path = Path(path)
        if not path.is_file() or path.suffix != self.suffix:
            raise ValueError(f"There is no {self.suffix} file {path}.")
        if self.look:
            load(self.target, self.target.needs[-1])  # or say how to install it
        with reading(path, self.target.title, self.look, 16):
            events, size = self.read(path)
        if size and size != tuple(sensor_size[:2]):
            raise BridgeError(
                f"{path} is of a sensor of (width, height) {size}, sensor_size says {sensor_size}. "
                "Pass that of the recording."
            )
        for name, side in zip("xy", sensor_size, strict=False):
            if events.size and int(events[name].max()) >= side:
                raise ValueError(
                    f"{path}: an event has {name} = {events[name].max()}, outside the sensor of "
                    f"(width, height) {tuple(sensor_size[:2])}. Is that of the recording?"
                )
        return _tonic_events(events)

    def files_of(self, paths: Paths) -> list[Path]:
        """Return the files of a path that `export` made, sorted by name; a list as it is.

        Raises:
            ValueError: if there is none.
        """
        if not isinstance(paths, Path | str):
            return [Path(path) for path in paths]
        path = Path(paths)
        files = sorted(path.glob(f"*{self.suffix}")) if path.is_dir() else [path]
        if not files:
            raise ValueError(f"The folder {path} holds no {self.suffix} file.")
        return files

    def from_files(
        self, paths: Paths, sensor_size: SensorSize, duration_us: int, dt_s: float = 1e-6
    ) -> SpikeStream:
        """Read recordings as one sample each; the clock starts at 0, not at the first event.

        Args:
            paths: a file, a folder of files (sorted by name), or a list of files.
            sensor_size: width, height, polarities; one polarity takes events that are all ON or
                all OFF.
            duration_us: length of a sample in microseconds, which the files do not hold.
            dt_s: seconds per tick; every event must be on a tick.

        Raises:
            BridgeError: if an event is between two ticks, has a polarity too many, or a file is of
                another sensor.
            ValueError: if an event lies outside the sensor or the duration, or there is no such
                file, or it cannot be read.

        Example:
            >>> from bridges.targets import es
            >>> sent = SpikeStream.silent(2, 6, 10, dt_s=1e-3).with_spikes([0, 0], [0, 9], [5, 5])
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = es.export(sent, Path(folder) / "spikes.es")
            ...     back = es.from_files(path, (6, 1, 1), duration_us=10_000, dt_s=1e-3)
            >>> back.ticks.tolist(), back.units.tolist(), len(back)
            ([0, 9], [5, 5], 2)
        """
        recordings = [self.read_events(path, sensor_size) for path in self.files_of(paths)]
        return SpikeStream.from_events(recordings, sensor_size, duration_us, dt_s)

    def round_trip(self, stream: SpikeStream) -> SpikeStream:
        """Write the spikes with faery, and return what the other package reads."""
        with tempfile.TemporaryDirectory() as folder:
            path = self.export(stream, Path(folder, f"spikes{self.suffix}"))
            duration_us = stream.n_steps * tick_us(stream.dt_s)
            back = self.from_files(path, sensor_size(stream), duration_us, stream.dt_s)
        return replace(back, shape=stream.shape)


def _tonic_events(events: Array) -> Array:
    """Return a package's events (fields x, y, t, p) as tonic has them, checked to fit."""
    if events.size and max(int(events["x"].max()), int(events["y"].max())) >= LONGEST_SIDE:
        raise BridgeError(f"An event lies beyond the {LONGEST_SIDE} pixels of tonic's coordinates.")
    copy = np.zeros(len(events), EVENT_DTYPE)
    for name, low in (("x", 0), ("y", 0), ("t", None)):
        copy[name] = whole(events[name], name, low)
    copy["p"] = polarities(events["p"], "p")  # faery and aedat name it "on", with "p" as its title
    return copy
