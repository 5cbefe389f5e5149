"""Prophesee's .dat: written by faery, read here by its documented layout.

Both versions are read, whose addresses are packed differently, and so are times beyond 32 bits and
the T0 that faery takes off all times. expelliarmus, by which tonic reads, takes version 1 for
version 2, never ends in a header that was cut, and reads an empty recording and a broken file alike
as None.

EVT2 and EVT3 (.raw) are not offered. expelliarmus takes an EVT2 recording whose first word begins
with a percent sign (a first event at 2,412 µs, say) for more header, and loses events or never
ends; of EVT3 it reads times across 4,096 µs wrongly.
A file that was cut between two events is not noticed: the format does not say how many there are.
"""

import re
from pathlib import Path

import numpy as np

from bridges.errors import BridgeError
from bridges.stream.event_files import EventFormat
from bridges.stream.stream import Array
from bridges.target import Target
from encoders.functional import EVENT_DTYPE
from rc_snn.files import read_bytes

TARGET = Target(
    name="dat",
    title="DAT",
    row=180,
    kind="file",
    needs=("faery",),
    versions="faery 0.7.1, expelliarmus 1.1.12",
    unit="µs",
    repeats=True,
    per_tick=None,
    end_us=2**32,
    side=2**14 - 1,
    samples="one file each, in a folder",
    limits="ticks of whole µs; times below 2^32 µs; sensor up to 16,383 × 16,383; dt, duration and "
    "labels stay here",
    suffix=".dat",
)

_HEADER = re.compile(rb"((?:%[^\n]*\n)*)(.)\x08", re.DOTALL)
"""Lines of text, then the type of the events and their size: 8 bytes."""
_KINDS = {b"\x00": "2D", b"\x0c": "CD"}
"""Types of events with x, y and one polarity."""
_BITS = {1: (9, 8), 2: (14, 14)}
"""Bits of x and y by version, from the lowest; polarity follows."""


def _read(path: Path) -> tuple[Array, tuple[int, int] | None]:
    content = read_bytes(path)
    header = _HEADER.match(content)
    if not header or (len(content) - header.end()) % 8:
        raise ValueError("its header is not one of .dat, or it was cut within an event")
    said = dict(re.findall(rb"% *(\w+) +(\d{1,18})\s*\n", header[1]))
    version = int(said.get(b"Version", 0))
    if header[2] not in _KINDS or version not in _BITS:
        raise BridgeError(
            f"{path} holds events of type {header[2][0]}, version {version or 'not said'}; this "
            "bridge reads types 0 (2D) and 12 (CD) of versions 1 and 2. Write it again by faery, "
            "or, if you know its version, as a line of its header: % Version 2."
        )
    time, address = np.frombuffer(content, "<u4", offset=header.end()).reshape(-1, 2).T
    x_bits, y_bits = _BITS[version]
    polarity = address >> (x_bits + y_bits)
    if (polarity > 1).any():
        raise ValueError(f"an event has polarity {polarity.max()}, neither 0 nor 1")
    events = np.zeros(len(time), EVENT_DTYPE)
    events["x"] = address & (1 << x_bits) - 1
    events["y"] = (address >> x_bits) & (1 << y_bits) - 1
    events["p"] = polarity
    times = time.astype(np.int64)
    over = np.diff(times, prepend=times[:1]) < -(2**31)
    events["t"] = times + (over.cumsum() << 32) + int(said.get(b"T0", 0))
    width, height = (int(said.get(side, 0)) for side in (b"Width", b"Height"))
    return events, (width, height) if width and height else None


FORMAT = EventFormat(TARGET, _read)
read_events, from_files = FORMAT.read_events, FORMAT.from_files
round_trip, export = FORMAT.round_trip, FORMAT.export
