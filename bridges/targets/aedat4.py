"""AEDAT4, the files of iniVation's cameras and DV software: written by faery, read by aedat."""

from pathlib import Path

import numpy as np

from bridges.errors import BridgeError
from bridges.stream import event_files
from bridges.stream.event_files import EventFormat, Paths, SensorSize
from bridges.stream.stream import Array, SpikeStream
from bridges.target import Target, load

TARGET = Target(
    name="aedat4",
    title="AEDAT4",
    kind="file",
    needs=("faery", "aedat"),
    versions="faery 0.7.1, aedat 2.3.0",
    unit="µs",
    repeats=True,
    twice=True,
    samples="one file each, in a folder",
    limits="ticks of whole µs; sensor up to 32,767 × 32,767; dt, duration and labels stay here",
    suffix=".aedat4",
)


def read_events(path: Path | str, sensor_size: SensorSize) -> Array:
    """Return the events of one file: see `bridges.stream.event_files.read_events`.

    Raises:
        BridgeError: if the file is of another sensor, or has not one stream of events.
        ValueError: if there is no such file, or it is damaged or cut short.
    """
    return event_files.read_events(_FORMAT, path, sensor_size)


def from_files(
    paths: Paths, sensor_size: SensorSize, duration_us: int, dt_s: float = 1e-6
) -> SpikeStream:
    """Read recordings as one sample each: see `bridges.stream.event_files.from_files`.

    Example:
        >>> import tempfile
        >>> sent = SpikeStream.silent(2, 6, 10, dt_s=1e-3).with_spikes([0, 0], [0, 9], [5, 5])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = export(sent, Path(folder) / "spikes.aedat4")
        ...     back = from_files(path, (6, 1, 1), duration_us=10_000, dt_s=1e-3)
        >>> back.ticks.tolist(), back.units.tolist(), len(back)
        ([0, 9], [5, 5], 2)
    """
    return event_files.from_files(_FORMAT, paths, sensor_size, duration_us, dt_s)


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Write the spikes with faery, and return what aedat reads."""
    return event_files.round_trip(_FORMAT, stream)


def export(stream: SpikeStream, path: Path | str) -> Path:
    """Write one sample as a file, several as a folder: see `bridges.stream.event_files.export`."""
    return event_files.export(_FORMAT, stream, path)


def _read(path: Path) -> tuple[Array, tuple[int, int]]:
    decoder = load(TARGET, "aedat").Decoder(path)
    found = {i: s for i, s in decoder.id_to_stream().items() if s["type"] == "events"}
    if len(found) != 1:
        raise BridgeError(
            f"{path} has {len(found)} streams of events; this bridge reads files with one. Take "
            "them apart with aedat or faery."
        )
    ((stream_id, about),) = found.items()
    packets = [p["events"] for p in decoder if p["stream_id"] == stream_id]
    none = np.zeros(0, load(TARGET).EVENTS_DTYPE)
    return np.concatenate([none, *packets]), (about["width"], about["height"])


_FORMAT = EventFormat(TARGET, _read, side=2**15 - 1)
