"""Damage: what disks, networks, editors and attackers do to the bytes of a file."""

import gzip
import io
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import TypeAlias

Damage: TypeAlias = Callable[[bytes, random.Random], bytes]
Layer: TypeAlias = Callable[[bytes, random.Random, Damage], bytes]
"""Damages what lies inside a container, and packs it again, so that its checksums are right."""

_NUMBERS = ("-1", "0", "1", "1.5", "1e400", "NaN", "null", "1000000000000000000000", '"1"', "[]")
_EDGES = (0, 1, -1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**62)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return the content after one to three accidents."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(_ACCIDENTS)(content, rng)
    return content


def _place(content: bytes, rng: random.Random) -> int:
    """Return a place; headers, at either end of a file, are hit more often than their share."""
    n = max(1, len(content))
    kind = rng.random()
    if kind < 0.4:
        return rng.randrange(min(n, 512))
    return n - 1 - rng.randrange(min(n, 512)) if kind < 0.5 else rng.randrange(n)


def _flip(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _byte(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + bytes([rng.choice((0, 255, rng.randrange(256)))]) + content[at + 1 :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: _place(content, rng)]


def _lose(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 4, 8, 512)) :]


def _twice(content: bytes, rng: random.Random) -> bytes:
    at, n = _place(content, rng), rng.choice((1, 4, 8, 512))
    return content[: at + n] + content[at:]


def _noise(content: bytes, rng: random.Random) -> bytes:
    at, n = _place(content, rng), rng.choice((1, 4, 64))
    return content[:at] + rng.randbytes(n) + content[at:]


def _zeros(content: bytes, rng: random.Random) -> bytes:
    at, n = _place(content, rng), rng.choice((8, 512, 4096))
    return content[:at] + bytes(min(n, len(content) - at)) + content[at + n :]


def _edge(content: bytes, rng: random.Random) -> bytes:
    """Put an extreme integer where one may be."""
    width = rng.choice((2, 4, 8))
    at = _place(content, rng) // width * width
    number = rng.choice(_EDGES) % (1 << 8 * width)
    order = rng.choice(("little", "big"))
    return content[:at] + number.to_bytes(width, order) + content[at + width :]


def _number(content: bytes, rng: random.Random) -> bytes:
    """Put another number, or what is none, where a text has one."""
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?", content[:65536]))
    if not found:
        return _flip(content, rng)
    spot = rng.choice(found)
    return content[: spot.start()] + rng.choice(_NUMBERS).encode() + content[spot.end() :]


def _swap(content: bytes, rng: random.Random) -> bytes:
    """Exchange two parts."""
    a, b = sorted((_place(content, rng), _place(content, rng)))
    n = min(rng.choice((1, 8, 64)), b - a)
    return (
        content[:a]
        + content[b : b + n]
        + content[a + n : b]
        + content[a : a + n]
        + content[b + n :]
    )


def _whole(function: Damage) -> Damage:
    return lambda content, rng: function(content, rng) if content else content


_ACCIDENTS = tuple(
    _whole(accident)
    for accident in (
        *(_flip, _flip, _byte, _cut, _lose, _twice),
        *(_noise, _zeros, _edge, _number, _swap),
    )
)


def inside_zip(content: bytes, rng: random.Random, damage: Damage) -> bytes:
    """Damage one member of a zip archive, or its name; also npz."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    hit = rng.choice(sorted(members))
    out = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, inner in members.items():
            if name != hit:
                archive.writestr(name, inner)
            elif rng.random() < 0.9:
                archive.writestr(name, damage(inner, rng))
            elif rng.random() < 0.5:
                archive.writestr(name + "x", inner)
    return out.getvalue()


def inside_gzip(content: bytes, rng: random.Random, damage: Damage) -> bytes:
    """Damage what a gzip stream holds."""
    return gzip.compress(damage(gzip.decompress(content), rng), 1)


def header_of_safetensors(content: bytes, rng: random.Random, damage: Damage) -> bytes:
    """Damage the JSON at the head of a safetensors file, whose length is then right."""
    (length,) = struct.unpack("<Q", content[:8])
    header = damage(content[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]
