"""A first look at an Event Stream file, whose decoder is C++."""

import event_stream
import numpy  # noqa: F401, as for AEDAT4


def look(path: str, limit: str) -> None:
    """Decode a file to its end, or raise; its events together may take so many bytes."""
    left = int(limit)
    with event_stream.Decoder(path) as decoder:
        for packet in decoder if decoder.type == "dvs" else ():
            left -= packet.nbytes
            if left < 0:
                raise ValueError(
                    "it unpacks to more than a file of its size may: write it uncompressed"
                )
