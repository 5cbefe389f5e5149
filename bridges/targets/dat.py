"""Prophesee's .dat: written by faery, read by expelliarmus, as tonic does.

EVT2 and EVT3 (.raw) are not offered. expelliarmus takes an EVT2 recording whose first word begins
with a percent sign (a first event at 2,412 µs, say) for more header, and loses events or never
ends; of EVT3 it reads times across 4,096 µs wrongly.
"""

import re
from pathlib import Path

import numpy as np

from bridges.stream import event_files
from bridges.stream.event_files import EventFormat, Paths, SensorSize
from bridges.stream.stream import EVENT_DTYPE, Array, SpikeStream
from bridges.target import Target, load

TARGET = Target(
    name="dat",
    title="DAT",
    kind="file",
    needs=("faery", "expelliarmus"),
    versions="faery 0.7.1, expelliarmus 1.1.12",
    unit="µs",
    repeats=True,
    twice=True,
    samples="one file each, in a folder",
    limits="ticks of whole µs; times below 2^32 µs; sensor up to 16,383 × 16,383; dt, duration and "
    "labels stay here",
    suffix=".dat",
)

_HEADER = re.compile(rb"(?:%[^\n]*\n)+[\x00\x0c]\x08")
"""Lines of text, then the type of the events and their size: 8 bytes."""


def read_events(path: Path | str, sensor_size: SensorSize) -> Array:
    """Return the events of one file: see `bridges.stream.event_files.read_events`.

    Raises:
        BridgeError: if the file states another sensor.
        ValueError: if there is no such file, or it is damaged. (A file that was cut between two
            events is not noticed: the format does not say how many there are.)
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
        ...     path = export(sent, Path(folder) / "spikes.dat")
        ...     back = from_files(path, (6, 1, 1), duration_us=10_000, dt_s=1e-3)
        >>> back.ticks.tolist(), back.units.tolist(), len(back)
        ([0, 9], [5, 5], 2)
    """
    return event_files.from_files(_FORMAT, paths, sensor_size, duration_us, dt_s)


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Write the spikes with faery, and return what expelliarmus reads."""
    return event_files.round_trip(_FORMAT, stream)


def export(stream: SpikeStream, path: Path | str) -> Path:
    """Write one sample as a file, several as a folder: see `bridges.stream.event_files.export`."""
    return event_files.export(_FORMAT, stream, path)


def _read(path: Path) -> tuple[Array, tuple[int, int] | None]:
    # expelliarmus never ends in a header that was cut, and reads an empty recording and a broken
    # file alike as None.
    content = path.read_bytes()
    header = _HEADER.match(content)
    if not header or (len(content) - header.end()) % 8:
        raise RuntimeError("its header is not one of .dat, or it was cut within an event")
    found = [re.search(rb"% " + side + rb" (\d+)", header[0]) for side in (b"Width", b"Height")]
    width, height = (int(match[1]) if match else 0 for match in found)
    events = load(TARGET, "expelliarmus").Wizard("dat").read(path)
    if events is None:
        events = np.zeros(0, EVENT_DTYPE)
    return events, (width, height) if width and height else None


_FORMAT = EventFormat(TARGET, _read, side=2**14 - 1, end_us=2**32)
