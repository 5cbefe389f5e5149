"""A first look at AEDAT4: its decoder panics, or asks for memory until Python aborts."""

import aedat
import numpy  # noqa: F401, which aedat imports when it first decodes, in each fork anew


def look(path: str, limit: str) -> None:
    """Decode a file to its end, or raise; its packets together may hold so many bytes."""
    decoder = aedat.Decoder(path)
    decoder.id_to_stream()
    left = int(limit)
    for packet in decoder:
        held = [packet, *(part for part in packet.values() if isinstance(part, dict))]
        left -= sum(getattr(array, "nbytes", 0) for part in held for array in part.values())
        if left < 0:
            raise ValueError(
                "it unpacks to more than a file of its size may: write it uncompressed"
            )
