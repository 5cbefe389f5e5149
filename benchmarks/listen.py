"""Hear keywords, and say when each was clear: `python -m benchmarks.listen clip.wav`.

A recording is streamed, 10 ms at a time, through the log-mel front end and the streaming runner, as
a microphone would deliver it. Each second is a clip of its own: the network answers at the first
step at which a class reaches θ, and hears no more of that second. What it had heard by then is
printed in milliseconds of the recording, context and window included.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from encoders.audio import MIN_SAMPLES, SAMPLE_RATE, Samples, read_samples, stream_audio
from encoders.keyword_network import KeywordStream, load_network
from encoders.log_mel import check_rate
from rc_snn import commands
from rc_snn.borders.numbers import check_fields
from rc_snn.network import Network
from rc_snn.spikes import check_theta


@dataclass(frozen=True)
class Listen:
    """Hear keywords in recordings, or from the microphone."""

    clips: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Recordings: WAV, FLAC, Ogg and more, any rate, any number of channels, any length."""
    model: str = "rc-lstm-keywords"
    """Name of a keyword network that ships, or a .safetensors file."""
    theta: float | None = None
    """Threshold θ; default: that of the network."""
    microphone: bool = False
    """Listen to the microphone, until Ctrl-C; needs the package sounddevice."""
    seconds: int | None = None
    """Stop after this many seconds of each recording, or of the microphone."""

    def __post_init__(self) -> None:
        check_fields(self, seconds=1)
        if self.microphone == bool(self.clips):
            raise ValueError("Name recordings, or pass --microphone: one of the two.")
        if self.theta is not None:
            check_theta(self.theta)


@dataclass(frozen=True)
class Heard:
    """The answer to one clip of a recording."""

    start_ms: float
    """Where the clip begins in the recording."""
    heard_ms: float
    """How much of the clip had been heard at the answer."""
    label: str
    p: float
    """Probability of the label at the answer."""
    fired: bool
    """False where nothing reached θ and the clip's end forced the answer."""
    silent: bool
    """Whether the samples that were heard are digital silence."""

    def line(self) -> str:
        """Return one line for the reader, with absolute times."""
        at = self.start_ms + self.heard_ms
        if self.fired:
            text = f"{self.label}, p = {self.p:.3f}, fired at {at:.1f} ms"
        else:
            text = (
                f"no keyword fired by {at:.0f} ms: best guess {self.label}, p = {self.p:.3f} "
                "(forced)"
            )
        return text + (" [digital silence]" if self.silent else "")


def hear(
    network: Network, pieces: Iterable[Samples], theta: float | None = None
) -> Iterator[Heard]:
    """Answer clip after clip, each as soon as its answer is out; memory does not grow.

    A last clip shorter than one analysis window (25 ms) is left out: there is nothing in it.

    Args:
        network: what listens.
        pieces: consecutive samples at 16 kHz, in pieces of any size.
        theta: threshold θ; None takes the network's.
    """
    stream = KeywordStream(network, theta)
    check_rate(stream.front_end)
    clip_samples = stream.front_end.clip_samples
    taken, silent = 0, True
    for part in _within_clips(pieces, clip_samples):
        start = taken - taken % clip_samples
        taken += len(part)
        last = taken % clip_samples == 0
        if stream.decision is None:
            silent = silent and not part.any()
            stream.push(part)
            if last:
                stream.finish()
            if stream.decision is not None:
                yield _heard(stream, start, silent)
        if last:
            stream.reset()
            silent = True
    if taken % clip_samples >= MIN_SAMPLES and stream.decision is None:
        stream.finish()
        yield _heard(stream, taken - taken % clip_samples, silent)


def _within_clips(pieces: Iterable[Samples], clip_samples: int) -> Iterator[Samples]:
    """Cut pieces where clips end, so that none belongs to two."""
    room = clip_samples
    for piece in pieces:
        piece = read_samples(piece)
        while len(piece):
            part, piece = piece[:room], piece[room:]
            room = room - len(part) or clip_samples
            yield part


def _heard(stream: KeywordStream, start: int, silent: bool) -> Heard:
    decision, heard_ms, network = stream.decision, stream.heard_ms, stream.network
    assert decision is not None
    assert heard_ms is not None
    label = int(decision.label)
    return Heard(
        start_ms=1000.0 * start / stream.front_end.sample_rate,
        heard_ms=heard_ms,
        label=network.classes[label],
        p=float(decision.scores[0, label]),
        fired=bool(decision.fired),
        silent=silent,
    )


def microphone(block: int = SAMPLE_RATE // 100) -> Iterator[Samples]:
    """Yield blocks of samples from the default input device, for ever.

    Raises:
        ValueError: if sounddevice is not installed, or there is no microphone.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise ValueError(
            "The microphone needs the package sounddevice: pip install 'rc_snn[microphone]'. Or "
            "name a recording."
        ) from error
    except OSError as error:
        raise ValueError(
            f"sounddevice does not find the library PortAudio ({error}). On Linux: apt install "
            "libportaudio2. Or name a recording."
        ) from error
    try:
        options: dict[str, Any] = {"samplerate": SAMPLE_RATE, "channels": 1, "dtype": "float32"}
        with sounddevice.InputStream(blocksize=block, **options) as device:
            while True:
                samples, overflowed = device.read(block)
                if overflowed:
                    print("samples were lost: this machine is too slow", file=sys.stderr)
                yield np.ascontiguousarray(samples[:, 0])
    except sounddevice.PortAudioError as error:
        raise ValueError(
            f"No microphone can be opened ({error}). Connect one, or name a recording."
        ) from error


def limited(pieces: Iterable[Samples], seconds: int | None) -> Iterator[Samples]:
    """Yield pieces until this many seconds are over; None yields all."""
    left = None if seconds is None else seconds * SAMPLE_RATE
    for piece in pieces:
        if left is None:
            yield piece
            continue
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


def listen_to(network: Network, pieces: Iterable[Samples], options: Listen) -> None:
    """Print one line for each clip, as soon as it is answered."""
    for heard in hear(network, limited(pieces, options.seconds), options.theta):
        print(f"  {heard.line()}", flush=True)


def main(options: Listen) -> int:
    """Listen to what was asked for; return the exit status: 1 if a recording was refused."""
    network = load_network(options.model)
    theta = network.theta if options.theta is None else options.theta
    print(f"{network.name}, theta = {theta:g}: {', '.join(network.classes)}")
    if options.microphone:
        print("microphone, until Ctrl-C")
        try:
            listen_to(network, microphone(), options)
        except KeyboardInterrupt:
            print()
        return 0
    status = 0
    for clip in options.clips:
        try:
            info, pieces = stream_audio(clip, SAMPLE_RATE // 100)
            notes = "".join(f"; {note}" for note in info.notes())
            n = info.n_samples
            length = "of unknown length" if n is None else f"{n / info.sample_rate:.3f} s"
            print(f"{clip}: {length}{notes}")
            listen_to(network, pieces, options)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    commands.run(main, Listen)
