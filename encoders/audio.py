"""Read recordings: mono float32 at one sample rate, in one piece or in constant memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from encoders.recording_files import FORMATS, GUESSED, announced, trimmed
from rc_snn.borders.numbers import count, plain
from rc_snn.files import allowance

SAMPLE_RATE = 16_000
"""Samples per second of Speech Commands, and of everything that `read_audio` returns."""

MIN_SAMPLES = 400
"""One window of the front end, 25 ms: what is shorter cannot be analysed."""

RATES = (4_000, 768_000)
"""Sample rates that are believed: below there is no speech, beyond it the header is broken."""

MAX_LEVEL = 10.0
"""Full scale is 1; lossy formats overshoot a little. Far beyond it are integers kept as floats."""

Samples = Float32[np.ndarray, " samples"]
Source = Path | str | BufferedIOBase


class AudioError(ValueError):
    """A recording that cannot be analysed; the message says what it is and what to do."""


def read_samples(x: Any, what: str = "Samples") -> npt.NDArray[np.floating[Any]]:
    """Return samples as floats whose full scale is 1; time is their last axis.

    int16 is divided by its full scale, 32768, exactly; float32 and float64 stay as they are, and
    float16 becomes float32. Integers of other sizes are refused: 24-bit samples are kept as int32,
    8-bit ones with an offset, and what their full scale is they do not say.

    Raises:
        TypeError: if they are no such numbers.
        ValueError: if they hold NaN or infinity, or reach beyond `MAX_LEVEL`: integers as floats.

    Example:
        >>> read_samples(np.array([-32768, 16384], np.int16))
        array([-1. ,  0.5], dtype=float32)
    """
    array = plain(x, what)
    if array.dtype == np.int16:
        return np.asarray(array / np.float32(32768.0), np.float32)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{what} must be floats whose full scale is 1, or int16, got {array.dtype}. Divide "
            "integers by their own full scale: 2^31 for 24 bits kept in 32, and 8 bits are "
            "(x - 128) / 128."
        )
    if array.size and not (level := float(np.abs(array).max())) <= MAX_LEVEL:
        problem = f"reach {level:g}" if np.isfinite(level) else "hold NaN or infinity"
        raise ValueError(
            f"{what} {problem}; full scale is 1. Divide integers by theirs, 32768 for 16 bits, and "
            "repair what is no number."
        )
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array


@dataclass(frozen=True)
class AudioInfo:
    """What a file was before it became mono float32 at 16 kHz.

    Example:
        >>> AudioInfo("a.wav", sample_rate=44_100, channels=2, n_samples=441).notes()
        ['2 channels were averaged', '44100 Hz was resampled to 16000 Hz']
    """

    name: str
    sample_rate: int
    """Samples per second in the file."""
    channels: int
    n_samples: int | None
    """Samples per channel in the file; None if that is not known before it is read."""

    def notes(self) -> list[str]:
        """Return what was changed, one line each; nothing for mono at 16 kHz."""
        notes = []
        if self.channels > 1:
            notes.append(f"{self.channels} channels were averaged")
        if self.sample_rate != SAMPLE_RATE:
            notes.append(f"{self.sample_rate} Hz was resampled to {SAMPLE_RATE} Hz")
        return notes


@dataclass(frozen=True)
class Audio:
    """A recording as mono float32 at 16 kHz, full scale ±1, and what it was in the file."""

    samples: Samples
    info: AudioInfo


def read_audio(source: Source) -> Audio:
    """Read a whole recording; mix it down to mono and resample it to 16 kHz where necessary.

    WAV (also RF64, Wave64, and what a pipe was given, with no length in its header), AIFF, AU, CAF,
    NIST SPHERE, 8SVX, FLAC, Ogg and MP3, integer, float or compressed. Integers are divided by
    their full scale. A clipped or silent recording is a valid recording; one that was cut is
    refused, where its header says so: an MP3 without a frame that counts the others does not.

    Args:
        source: a path, or an open binary file.

    Raises:
        AudioError: if there is no such file, it is not audio, it is empty, cut, shorter than one
            25 ms window, holds NaN or infinity, or unpacks to far more than its size
            (`rc_snn.files.allowance`): `stream_audio` reads such a one.

    Example:
        >>> import io, soundfile
        >>> file = io.BytesIO()
        >>> soundfile.write(file, np.zeros((8_000, 2)), 8_000, format="WAV")
        >>> _ = file.seek(0)
        >>> audio = read_audio(file)
        >>> audio.samples.shape, audio.samples.dtype, audio.info.channels
        ((16000,), dtype('float32'), 2)
    """
    file, info, size = _open(source)
    with file:
        samples = _whole(file, info, size)
    info = replace(info, n_samples=len(samples))
    if info.sample_rate != SAMPLE_RATE:
        import soxr  # what librosa.resample calls

        samples = soxr.resample(samples, info.sample_rate, SAMPLE_RATE, quality="HQ")
    _check_length(len(samples), info)
    return Audio(samples, info)


def stream_audio(
    source: Source, n_samples: int = SAMPLE_RATE
) -> tuple[AudioInfo, Iterator[Samples]]:
    """Read a recording of any length in pieces of `n_samples`, in constant memory.

    The pieces, put together, are the samples of `read_audio`: mono float32 at 16 kHz. Only the
    last one is shorter.

    Raises:
        AudioError: as `read_audio`; what lies within the recording is refused when it is reached.

    Example:
        >>> import io, soundfile
        >>> file = io.BytesIO()
        >>> soundfile.write(file, np.zeros(40_000), 16_000, format="WAV")
        >>> _ = file.seek(0)
        >>> info, pieces = stream_audio(file)
        >>> [len(piece) for piece in pieces]
        [16000, 16000, 8000]
    """
    if count(n_samples, "n_samples") < 1:
        raise ValueError(f"n_samples must be at least 1, got {n_samples}.")
    file, info, _ = _open(source)
    return info, _cut(_resampled(file, info), n_samples)


def _whole(file: Any, info: AudioInfo, size: int) -> Samples:
    """Return the recording at its own rate."""
    # A resampled copy lies beside it.
    most = int(allowance(size) / 4 / (1 + SAMPLE_RATE / info.sample_rate))
    held = bytearray()
    for piece in _pieces(file, info):
        held += piece.tobytes()
        if len(held) > 4 * most:
            raise AudioError(
                f"{info.name} unpacks from {size} bytes to more than {most} samples. Read it with "
                "stream_audio, or cut it into clips."
            )
    return np.frombuffer(held, np.float32)


def _pieces(file: Any, info: AudioInfo) -> Iterator[Samples]:
    """Yield the recording in pieces of at most a second, mono, at its own rate."""
    n, done = max(1, min(info.sample_rate, 2**20 // info.channels)), 0
    while info.n_samples is None or done < info.n_samples:
        due = n if info.n_samples is None else min(n, info.n_samples - done)
        raw = _read(file, info, due)
        yield _mono(raw, done, info)
        done += len(raw)
        if len(raw) < due:
            break
    _check_complete(done, info)


def _resampled(file: Any, info: AudioInfo) -> Iterator[Samples]:
    """Yield the recording piece by piece, at 16 kHz."""
    import soxr

    same, made = info.sample_rate == SAMPLE_RATE, 0
    stream = None if same else soxr.ResampleStream(info.sample_rate, SAMPLE_RATE, 1)
    with file:
        for piece in _pieces(file, info):
            if stream is not None:
                piece = stream.resample_chunk(piece)
            made += len(piece)
            yield piece
        if stream is not None:
            piece = stream.resample_chunk(np.zeros(0, np.float32), last=True)
            made += len(piece)
            yield piece
        _check_length(made, info)


def _cut(pieces: Iterator[Samples], n_samples: int) -> Iterator[Samples]:
    """Cut pieces of any size into pieces of one size; the last may be shorter."""
    left = np.zeros(0, np.float32)
    for piece in pieces:
        left = np.concatenate([left, piece])
        while len(left) >= n_samples:
            yield left[:n_samples]
            left = left[n_samples:]
    if len(left):
        yield left


@cache
def _forward() -> Any:
    """Return soundfile's reader that only goes forward.

    It seeks to where it is after each read. MP3 and Opus then go on with other samples, and codecs
    that cannot seek, such as GSM 6.10 and G.721, refuse.
    """
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False

    return Forward


def _open(source: Source) -> tuple[Any, AudioInfo, int]:
    """Open a file as libsndfile does, or say why that is impossible; return its size, too."""
    name = _name(source)
    if not isinstance(source, str | Path) and not hasattr(source, "seek"):
        raise TypeError(
            f"A recording is a path or an open binary file, got {type(source).__name__}. Of bytes "
            "pass io.BytesIO(x); samples need no reading: see read_samples."
        )
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if not path.is_file():
            raise AudioError(f"{name} is not a file. Name a recording: WAV, FLAC or Ogg.")
        if path.stat().st_size == 0:
            raise AudioError(f"{name} is an empty file of 0 bytes. Record it again.")
        with path.open("rb") as raw:
            counted, size = _announced(raw, name), path.stat().st_size
        source = path
    else:
        counted, size = _announced(source, name), source.seek(0, 2)
        source.seek(0)
    try:
        file = _forward()(source)
    except Exception as error:
        # A file without a header ends as TypeError: libsndfile asks for rate and channels.
        raise AudioError(
            f"{name} is not audio that libsndfile can read ({error}). Convert it to WAV."
        ) from error
    try:
        return file, _info(file, name, counted), size
    except AudioError:
        file.close()
        raise


def _announced(file: Any, name: str) -> int | None:
    try:
        return announced(file)
    except ValueError as error:
        raise AudioError(f"{name} is damaged: {error}. Copy or record it again.") from error


def _name(source: Source) -> str:
    return str(source) if isinstance(source, str | Path) else getattr(source, "name", "the file")


def _info(file: Any, name: str, counted: int | None) -> AudioInfo:
    """Return what a file says of itself, if that can be a recording."""
    if file.format not in FORMATS or file.subtype.startswith("DWVW"):
        raise AudioError(
            f"{name} is {file.format}, {file.subtype}, which is not read here: whether it is whole "
            "cannot be told. Convert it to WAV or FLAC."
        )
    known = counted != GUESSED and file.frames < 2**62  # libsndfile's number for "not known"
    n_samples = trimmed(file.frames, counted) if known else None
    info = AudioInfo(name, file.samplerate, file.channels, n_samples)
    if not RATES[0] <= info.sample_rate <= RATES[1]:
        raise AudioError(
            f"{info.name} claims {info.sample_rate} samples per second; speech has {RATES[0]} to "
            f"{RATES[1]}. Correct its header, or record it anew."
        )
    if info.n_samples == 0:
        raise AudioError(f"{info.name} holds no samples: it is empty, or cut off. Record it again.")
    return info


def _read(file: Any, info: AudioInfo, n: int) -> npt.NDArray[np.float32]:
    import soundfile

    try:
        raw: npt.NDArray[np.float32] = file.read(n, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise AudioError(
            f"{info.name} is damaged ({error}). Convert or record it again."
        ) from error
    return raw


def _mono(raw: npt.NDArray[np.float32], start: int, info: AudioInfo) -> Samples:
    """Average the channels; refuse NaN, infinity and integers kept as floats, naming the first."""
    finite = np.isfinite(raw).all(axis=1)
    if not finite.all():
        at = int(start + np.flatnonzero(~finite)[0])
        raise AudioError(
            f"{info.name} holds NaN or infinity, first at sample {at} ({at / info.sample_rate:.3f} "
            "s). Repair the program that wrote it, or replace these samples."
        )
    if len(raw) and (level := float(np.abs(raw).max())) > MAX_LEVEL:
        raise AudioError(
            f"{info.name} reaches {level:g}, full scale is 1. Divide integers by their full scale, "
            "32768 for 16 bits, before they are written as floats."
        )
    return np.ascontiguousarray(raw[:, 0] if raw.shape[1] == 1 else raw.mean(axis=1))


def _check_complete(n_samples: int, info: AudioInfo) -> None:
    """Refuse a recording that ends before its header says."""
    if info.n_samples is not None and n_samples < info.n_samples:
        raise AudioError(
            f"{info.name} is damaged: it announces {info.n_samples} samples, {n_samples} can be "
            "read. Copy or record it again."
        )


def _check_length(n_samples: int, info: AudioInfo) -> None:
    """Refuse a recording without a single full window."""
    if n_samples < MIN_SAMPLES:
        raise AudioError(
            f"{info.name} lasts {1000 * n_samples / SAMPLE_RATE:.1f} ms; one analysis "
            f"window takes {1000 * MIN_SAMPLES / SAMPLE_RATE:.0f} ms. Record a longer clip."
        )
