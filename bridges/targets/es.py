"""Event Stream (.es): written by faery, read by event_stream.

The format's y axis points up, that of tonic, faery and these streams down: event_stream returns
the picture upside down, and this bridge turns it.
A file that was cut short is not noticed: the format does not say how many events there are.
"""

from pathlib import Path

import numpy as np

from bridges.errors import BridgeError
from bridges.stream.event_files import EventFormat
from bridges.stream.stream import Array
from bridges.target import Target, load

TARGET = Target(
    name="es",
    title="Event Stream",
    row=170,
    kind="file",
    needs=("faery", "event_stream"),
    versions="faery 0.7.1, event_stream 1.6.3",
    unit="µs",
    repeats=True,
    per_tick=None,
    end_us=2**36,  # the format has no last time, but a byte per 127 µs: these are 0.5 GB
    side=2**15,
    samples="one file each, in a folder",
    limits="ticks of whole µs; times below 2^36 µs, 8 kB per second; dt, duration and labels stay "
    "here",
    suffix=".es",
)


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


FORMAT = EventFormat(TARGET, _read, look="es")
read_events, from_files = FORMAT.read_events, FORMAT.from_files
round_trip, export = FORMAT.round_trip, FORMAT.export
