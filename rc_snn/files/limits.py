"""What is read from a file: never more than its size allows, and refused by one kind of error.

A file of a few bytes can claim, or unpack to, gigabytes. So what a file may become in memory is
bounded by its size before anything is unpacked, and whatever a parser raises on damaged bytes
leaves here as `ValueError`.
"""

import io
import json
import re
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Shaped

Array: TypeAlias = Shaped[np.ndarray, "..."]

FLOOR = 1 << 29
"""Bytes that any file may unpack to, however small it is."""
RATIO = 64
"""Times its own size that a larger file may unpack to; deflate reaches 1,032 on zeros alone."""
_PIECE = 1 << 12
"""Bytes of a gzip stream that are unpacked at once."""
_BRACKET = re.compile(r"[][{}]")
_DEEPEST = 100
"""Brackets of a JSON text that may be open at once."""


def allowance(packed: int) -> int:
    """Return to how many bytes a file of this size may unpack.

    Example:
        >>> allowance(3_000_000) == 2**29, allowance(2**30) == 2**36
        (True, True)
    """
    return max(FLOOR, RATIO * packed)


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """Return a regular file's content.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no regular file (a pipe or a device has no end), or is larger.
    """
    if not path.is_file():
        path.stat()  # what is not there is an OSError that says so
        raise ValueError(f"{path} is no regular file. Pass the path of a file.")
    size = path.stat().st_size
    if limit is not None and size > limit:
        raise ValueError(
            f"{path} has {size} bytes; at most {limit} are expected here. Is it the right file?"
        )
    return path.read_bytes()


def parse_json(text: str | bytes, what: str) -> Any:
    """Return what a JSON text says, numbers finite.

    Args:
        text: UTF-8.
        what: whose text it is, for the message.

    Raises:
        ValueError: if it is no JSON, nests too deep, says something twice, or holds NaN or an
            infinity.

    Example:
        >>> parse_json('{"n_steps": 10}', "a header")
        {'n_steps': 10}
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        if _depth(text) > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} brackets are open at once")
        hooks: Any = {"parse_constant": _refuse_constant, "parse_float": _finite}
        return json.loads(text, object_pairs_hook=_distinct, **hooks)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is no JSON that can be read ({error}).") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it says something twice")
    return found


def _depth(text: str) -> int:
    """Return how many brackets are open at most, those inside strings included."""
    deepest = depth = 0
    for found in _BRACKET.finditer(text) if len(text) > _DEEPEST else ():
        depth += 1 if found[0] in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if np.isfinite(number) else _refuse_constant(digits)


def gunzip(packed: bytes, what: str, limit: int | None = None) -> bytes:
    """Return what a gzip stream holds, all members of it.

    Args:
        packed: the stream.
        what: whose bytes they are, for the message.
        limit: bytes that it may hold; None: `allowance` of its size.

    Raises:
        ValueError: if it is broken, cut short, or holds more.

    Example:
        >>> import gzip
        >>> gunzip(gzip.compress(b"spikes"), "an example")
        b'spikes'
    """
    limit = allowance(len(packed)) if limit is None else limit
    parts, size, at, member = [], 0, 0, zlib.decompressobj(wbits=31)
    try:
        # Piece by piece: what follows a member is copied, and there may be a million of them.
        while at < len(packed):
            piece = packed[at : at + _PIECE]
            if member.eof:
                rest = piece.lstrip(b"\0")  # padding, as gzip takes it
                member = zlib.decompressobj(wbits=31) if rest else member
            else:
                parts.append(member.decompress(piece, limit - size + 1))
                rest, size = member.unused_data, size + len(parts[-1])
            if size > limit:
                raise ValueError(f"it holds more than the {limit} bytes that are expected")
            at += len(piece) - len(rest)
        if packed and not member.eof:
            raise ValueError("it ends before its last member does")
    except (zlib.error, ValueError) as error:
        raise ValueError(
            f"{what}: a broken gzip stream of {len(packed)} bytes ({error}). Fetch it again."
        ) from error
    return b"".join(parts)


def unzipped(archive: zipfile.ZipFile, name: str, what: str, limit: int | None = None) -> bytes:
    """Return one member of a zip archive.

    Raises:
        KeyError: if it has no such member.
        ValueError: if the member is damaged, encrypted, packed in a way that is not read here, or
            larger than the limit, None: `allowance` of its packed size.
    """
    member = archive.getinfo(name)
    limit = allowance(member.compress_size) if limit is None else limit
    if member.file_size > limit:
        raise ValueError(
            f"{what}: {name} would unpack from {member.compress_size} to {member.file_size} bytes; "
            f"at most {limit} are expected. Is it the right file?"
        )
    try:
        return _member(archive, member)
    except _ZIP_ERRORS as error:
        raise ValueError(f"{what}: {name} cannot be unpacked ({error}). Fetch it again.") from error


_ZIP_ERRORS = (
    *(OSError, ValueError, RuntimeError, EOFError, KeyError, OverflowError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, UnicodeError),
)
"""What Python's zipfile raises on damaged bytes; encryption is a RuntimeError."""


def load_npz(path: Path, what: str, limit: int | None = None) -> dict[str, Array]:
    """Return the arrays of an npz file, all of them, bounded by the file's size.

    Objects are refused: nothing is unpickled. An array that its header makes larger than its bytes
    is refused before memory is asked for.

    Args:
        path: of the file.
        what: it should be, for the message.
        limit: bytes that its arrays may hold; None: `allowance` of its size.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is damaged, holds objects, or unpacks to more.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.npz")
        ...     np.savez(path, steps=np.arange(3))
        ...     load_npz(path, "an example")
        {'steps': array([0, 1, 2])}
    """
    content = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _arrays(archive, len(content), limit)
    except _ZIP_ERRORS as error:
        raise ValueError(
            f"{path} cannot be read as {what} ({error}). Copy it again, or make it again."
        ) from error


def _arrays(archive: zipfile.ZipFile, packed: int, limit: int | None) -> dict[str, Array]:
    members = archive.infolist()
    size = sum(member.file_size for member in members)
    limit = allowance(packed) if limit is None else limit
    if size > limit:
        raise ValueError(f"it would unpack from {packed} to {size} bytes, more than {limit}")
    names = [member.filename.removesuffix(".npy") for member in members]
    if len(set(names)) < len(names):
        raise ValueError("two of its arrays have one name")
    return {
        name: parse_npy(_member(archive, member))
        for name, member in zip(names, members, strict=True)
    }


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return what a member holds, no more than it says.

    `archive.read` unpacks all there is, whatever size was said, and cuts it afterwards; bzip2 and
    LZMA are always unpacked to their end, and the latter takes the gigabytes that a field asks for.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is neither stored nor deflated: pack it again so")
    with archive.open(member) as file:
        return file.read(member.file_size + 1)  # the end, too: there the checksum is compared


def parse_npy(content: bytes) -> Array:
    """Return the array of npy bytes, in C order; no objects, and as many bytes as it says.

    Raises:
        ValueError: if the bytes are no such array.
    """
    file = io.BytesIO(content)
    read_magic: Any = np.lib.format.read_magic
    version = read_magic(file)
    readers: Mapping[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"npy version {version} is not read here")
    try:
        shape, fortran, dtype = readers[version](file)
    except (SyntaxError, TypeError, tokenize.TokenError, MemoryError, RecursionError) as error:
        raise ValueError(f"its npy header cannot be read ({error})") from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    count = 1
    for side in shape:
        count *= side
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"its shape {shape} of {dtype} is not the size of its bytes")
    array = np.frombuffer(content, dtype, count, file.tell()) if count else np.zeros(0, dtype)
    return array.reshape(shape, order="F" if fortran else "C").copy(order="C")
