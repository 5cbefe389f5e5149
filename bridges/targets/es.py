"""Event Stream (.es): written by faery, read by event_stream.

The format's y axis points up, that of tonic, faery and these streams down: event_stream returns
the picture upside down, and this bridge turns it.
"""

from pathlib import Path

import numpy as np

from bridges.errors import BridgeError
from bridges.stream import event_files
from bridges.stream.event_files import EventFormat, Paths, SensorSize
from bridges.stream.stream import Array, SpikeStream
from bridges.target import Target, load

TARGET = Target(
    name="es",
    title="Event Stream",
    kind="file",
    needs=("faery", "event_stream"),
    versions="faery 0.7.1, event_stream 1.6.3",
    unit="µs",
    repeats=True,
    twice=True,
    samples="one file each, in a folder",
    limits="ticks of whole µs; times below 2^36 µs, 8 kB per second; dt, duration and labels stay "
    "here",
    suffix=".es",
)


def read_events(path: Path | str, sensor_size: SensorSize) -> Array:
    """Return the events of one file, y pointing down: see `bridges.stream.event_files.read_events`.

    Raises:
        BridgeError: if the file is of another sensor or type.
        ValueError: if there is no such file, or it is damaged. (A file that was cut short is not
            noticed: the format does not say how many events there are.)
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
        ...     path = export(sent, Path(folder) / "spikes.es")
        ...     back = from_files(path, (6, 1, 1), duration_us=10_000, dt_s=1e-3)
        >>> back.ticks.tolist(), back.units.tolist(), len(back)
        ([0, 9], [5, 5], 2)
    """
    return event_files.from_files(_FORMAT, paths, sensor_size, duration_us, dt_s)


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Write the spikes with faery, and return what event_stream reads."""
    return event_files.round_trip(_FORMAT, stream)


def export(stream: SpikeStream, path: Path | str) -> Path:
    """Write one sample as a file, several as a folder: see `bridges.stream.event_files.export`."""
    return event_files.export(_FORMAT, stream, path)


def _read(path: Path) -> tuple[Array, tuple[int, int]]:
    package = load(TARGET, "event_stream")
    with package.Decoder(str(path)) as decoder:
        if decoder.type != "dvs":
            raise BridgeError(f"{path} holds {decoder.type!r} events; this bridge reads 'dvs'.")
        packets = list(decoder)
        width, height = decoder.width, decoder.height
    events = np.concatenate([np.zeros(0, package.dvs_dtype), *packets])
    events["y"] = height - 1 - events["y"]
    return events, (width, height)


# The format knows no last time, but pads with a byte per 127 µs: 2^36 µs, 19 hours, are 0.5 GB.
_FORMAT = EventFormat(TARGET, _read, end_us=2**36)
