"""Where the samples of a recording end by its own header: libsndfile reads a cut file as shorter.

A file that ends before its header says is refused. The lengths that programs write which cannot go
back to the header, because they write into a pipe, stand for "until the file ends".
"""

import struct
from typing import Any

UNKNOWN = 0x7FFF_E000
"""A WAV's data chunk from which on a size is no size, if the file is shorter: ffmpeg writes
0xFFFFFFFF, SoX 0x7FFFF000 less a remainder, arecord 0x80000000 or a little less."""
_NO_LENGTH = (0, 0xFFFF_FFFF)
_AHEAD = 8192
"""Samples of padding that a last block may have beyond the number that is announced."""
_PLAIN_WAV = (1, 3, 6, 7, 0xFFFE)
"""PCM, float, A-law, µ-law, extensible: as many samples as bytes say."""
_PLAIN_AIFF = (
    *(b"NONE", b"sowt", b"twos", b"raw ", b"fl32", b"FL32", b"fl64", b"FL64"),
    *(b"in24", b"in32", b"ulaw", b"ULAW", b"alaw", b"ALAW"),
)

GUESSED = -1
"""What `announced` returns for an MP3 that does not count its frames: libsndfile then guesses."""
FORMATS = frozenset(
    {"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3", "SVX", "NIST"}
)
"""Formats of libsndfile whose end is known here. It reads others, cut or not, and SDS wrongly."""


def announced(file: Any) -> int | None:
    """Return how many samples per channel a header counts, where blocks or tags say it.

    Args:
        file: from its beginning, where it is left.

    Returns:
        None where libsndfile knows it by itself: from the size, or from a field that it reads.

    Raises:
        ValueError: if the file ends before its header says.

    Example:
        >>> import io
        >>> announced(io.BytesIO(b"RIFF    WAVEdata" + struct.pack("<I", 100) + bytes(60)))
        Traceback (most recent call last):
        ...
        ValueError: it ends after 60 of the 100 bytes of samples that its header announces
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    try:
        look = next(look for magic, look in _LOOKS.items() if head.startswith(magic))
        return look(file, size, head)
    except struct.error as error:
        raise ValueError("it ends within its header") from error
    finally:
        file.seek(0)


def trimmed(n_read: int, n_announced: int | None) -> int:
    """Return how many of the samples that were read are the recording's: a last block is padded."""
    if n_announced is None or not 0 < n_announced <= n_read <= n_announced + _AHEAD:
        return n_read
    return n_announced


def _must_hold(size: int, begin: int, n: int) -> None:
    if begin + n > size:
        raise ValueError(
            f"it ends after {max(0, size - begin)} of the {n} bytes of samples that its header "
            "announces"
        )


def _take(file: Any, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _wav(file: Any, size: int, head: bytes) -> int | None:
    """Walk through the chunks of a RIFF, RF64 or BW64 file, or its big-endian twin."""
    order = ">" if head[:4] == b"RIFX" else "<"
    long_size, plain, fact, at = 0, True, None, 12
    while at + 8 <= size:
        file.seek(at)
        kind, n = _take(file, f"{order}4sI")
        if kind == b"data":
            if head[:4] in (b"RF64", b"BW64") and n == 0xFFFF_FFFF:
                n = long_size
            if n < UNKNOWN or size > UNKNOWN:
                _must_hold(size, at + 8, n)
            return None if plain else fact
        if kind == b"ds64":
            _, long_size = _take(file, f"{order}QQ")
        elif kind == b"fmt ":
            (tag,) = _take(file, f"{order}H")
            plain = tag in _PLAIN_WAV
        elif kind == b"fact":
            (fact,) = _take(file, f"{order}I")
        at += 8 + n + n % 2
    raise ValueError("it ends before its samples begin")


def _iff(file: Any, size: int, head: bytes) -> int | None:
    """Walk through the chunks of an AIFF or 8SVX file."""
    frames, at = None, 12
    while at + 8 <= size:
        file.seek(at)
        kind, n = _take(file, ">4sI")
        if kind in (b"SSND", b"BODY"):
            _must_hold(size, at + 8, n)
        elif kind == b"COMM":
            _, frames, _ = _take(file, ">hIh")
            if head[8:12] == b"AIFC":
                file.seek(10, 1)
                frames = frames if file.read(4) in _PLAIN_AIFF else None
        at += 8 + n + n % 2
    return frames


def _w64(file: Any, size: int, head: bytes) -> int | None:
    """Walk through the chunks of Sony's Wave64: names of 16 bytes, sizes that count themselves."""
    plain, fact, at = True, None, 40
    while at + 24 <= size:
        file.seek(at)
        kind, n = _take(file, "<16sQ")
        if kind.startswith(b"data"):
            _must_hold(size, at, n)
            return None if plain else fact
        if kind.startswith(b"fmt "):
            (tag,) = _take(file, "<H")
            plain = tag in _PLAIN_WAV
        elif kind.startswith(b"fact"):
            (fact,) = _take(file, "<Q")
        at += max(24, n + -n % 8)
    raise ValueError("it ends before its samples begin")


def _au(file: Any, size: int, head: bytes) -> int | None:
    begin, n = struct.unpack("<II" if head[:4] == b"dns." else ">II", head[4:12])
    if n not in _NO_LENGTH:
        _must_hold(size, begin, n)
    return None


def _caf(file: Any, size: int, head: bytes) -> int | None:
    at = 8
    while at + 12 <= size:
        file.seek(at)
        kind, n = _take(file, ">4sq")
        if kind == b"data" and n == -1:
            return None
        _must_hold(size, at + 12, max(0, n))
        at += 12 + max(0, n)
    return None


def _nist(file: Any, size: int, head: bytes) -> int | None:
    """Compare the fields of a SPHERE header, text of 1,024 bytes, with the size."""
    file.seek(0)
    words = [line.split() for line in file.read(1024).splitlines()]
    said = {w[0]: int(w[2]) for w in words if len(w) == 3 and w[1] == b"-i" and w[2].isdigit()}
    needed = [said.get(k, 1) for k in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    _must_hold(size, int(words[1][0]), needed[0] * needed[1] * needed[2])
    return None


def _ogg(file: Any, size: int, head: bytes) -> int | None:
    """Walk through the pages of an Ogg file: the last of each stream says that it is."""
    at, open_streams = 0, set[int]()
    while at + 27 <= size:
        file.seek(at)
        magic, kind, stream, n_parts = _take(file, "<4sxB8xI8xB")
        if magic != b"OggS":
            break
        at += 27 + n_parts + sum(file.read(n_parts))
        (open_streams.discard if kind & 4 else open_streams.add)(stream)
    if open_streams or at > size:
        raise ValueError("it ends before the last page of its stream")
    return None


def _mp3(file: Any, size: int, head: bytes) -> int | None:
    """Look for a frame that counts the others, behind the tags; LAME writes it, and others do.

    Whatever is no other format may be an MP3: its frames begin with eleven ones.
    """
    skip = 0
    if head.startswith(b"ID3"):
        skip = 10 + sum((byte & 127) << 7 * i for i, byte in enumerate(head[9:5:-1]))
    file.seek(skip)
    first = file.read(2048)
    return None if any(tag in first for tag in (b"Xing", b"Info", b"VBRI")) else GUESSED


_LOOKS = {
    **dict.fromkeys((b"RIFF", b"RIFX", b"RF64", b"BW64"), _wav),
    b"riff": _w64,
    b"FORM": _iff,
    b".snd": _au,
    b"dns.": _au,
    b"caff": _caf,
    b"NIST_1A": _nist,
    b"OggS": _ogg,
    b"fLaC": lambda *_: None,
    b"": _mp3,
}
