"""AEDAT4, the files of iniVation's cameras and DV software: written by faery, read by aedat.

A file that is damaged or cut short is refused, and so is one that has not one stream of events.
"""

from pathlib import Path

import numpy as np

from bridges.errors import BridgeError
from bridges.stream.event_files import EventFormat
from bridges.stream.stream import Array
from bridges.target import Target, load

TARGET = Target(
    name="aedat4",
    title="AEDAT4",
    row=160,
    kind="file",
    needs=("faery", "aedat"),
    versions="faery 0.7.1, aedat 2.3.0",
    unit="µs",
    repeats=True,
    per_tick=None,
    end_us=2**53,
    side=2**15 - 1,
    samples="one file each, in a folder",
    limits="ticks of whole µs; sensor up to 32,767 × 32,767; dt, duration and labels stay here",
    suffix=".aedat4",
)


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


FORMAT = EventFormat(TARGET, _read, look="aedat4")
read_events, from_files = FORMAT.read_events, FORMAT.from_files
round_trip, export = FORMAT.round_trip, FORMAT.export
