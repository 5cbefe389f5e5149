"""Prophesee's .dat: written by faery, read by expelliarmus, as tonic does.

EVT2 and EVT3 (.raw) are not offered. expelliarmus takes an EVT2 recording whose first word begins
with a percent sign (a first event at 2,412 µs, say) for more header, and loses events or never
ends; of EVT3 it reads times across 4,096 µs wrongly.
A file that was cut between two events is not noticed: the format does not say how many there are.
"""

import re
from pathlib import Path

import numpy as np

from bridges.stream.event_files import EventFormat
from bridges.stream.stream import Array
from bridges.target import Target, load
from encoders.functional import EVENT_DTYPE

TARGET = Target(
    name="dat",
    title="DAT",
    row=180,
    kind="file",
    needs=("faery", "expelliarmus"),
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

_HEADER = re.compile(rb"(?:%[^\n]*\n)+[\x00\x0c]\x08")
"""Lines of text, then the type of the events and their size: 8 bytes."""


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


FORMAT = EventFormat(TARGET, _read)
read_events, from_files = FORMAT.read_events, FORMAT.from_files
round_trip, export = FORMAT.round_trip, FORMAT.export
