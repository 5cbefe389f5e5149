"""Log-mel energies of a recording, whole or as it arrives, and what was heard at a step."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Float32
from torch import Tensor

from encoders.audio import SAMPLE_RATE, read_samples
from rc_snn.borders.numbers import check_fields, tensor, whole
from rc_snn.progress import Bar

Frames = Float32[np.ndarray, "frame mel"]


@cache
def _melspectrogram() -> Callable[..., Any]:
    """Return librosa's: to import it takes seconds, and half a minute the first time of all."""
    with Bar("load librosa, which compiles once", 1, unit="package") as bar:
        from librosa.feature import melspectrogram

        bar.update()
    found: Callable[..., Any] = melspectrogram
    return found


@dataclass(frozen=True)
class LogMel:
    r"""Log-mel energies of a clip of fixed length; call it on samples, as a tonic transform.

    .. math:: x_{km} = \ln \Big( \epsilon + \sum_f M_{mf} |X_{kf}|^2 \Big)

    X is the Fourier transform of a Hamming window centred at sample `k * hop`, M librosa's mel
    filters (Slaney's scale, each of unit area). Half a window of zeros lies before and after the
    clip, so that a second has 101 frames, at 0, 10, ..., 1000 ms. A step of the network reads
    `context + 1` frames: 81 steps, as in the paper, which takes ±10 frames around each. The
    arithmetic is double precision: a clip and the same clip as a stream agree to the last digit.

    Raises:
        ValueError: if window, hop and clip are not whole numbers of samples, the clip has fewer
            frames than the context needs, or the mel bands do not fit the frequencies.

    Source: Jeffares et al., ICLR 2022, appendix A.4: Hamming window of 25 ms, hop 10 ms, 20 mel
    coefficients, 10 frames on either side, 81 frames. The paper does not say the range of the mel
    bands nor the offset of the logarithm; see `fmin_hz`, `fmax_hz` and `offset`.

    Example:
        >>> front_end = LogMel()
        >>> front_end(np.zeros(16_000, np.float32)).shape
        (101, 20)
        >>> front_end.n_steps, front_end.n_inputs
        (81, 420)
    """

    sample_rate: int = SAMPLE_RATE
    """Samples per second."""
    window_ms: float = 25.0
    """Length of the Hamming window."""
    hop_ms: float = 10.0
    """From one frame to the next."""
    n_mels: int = 20
    """Mel bands."""
    fmin_hz: float = 20.0
    """Lower end of the mel bands; above zero, to keep out a constant offset of the signal."""
    fmax_hz: float = 8000.0
    """Upper end of the mel bands."""
    offset: float = 1e-8
    """Added to the energies before the logarithm: above the rounding noise of 16-bit silence
    (3e-10 in a band), below the noise of the rooms in which Speech Commands was recorded."""
    clip_ms: float = 1000.0
    """Length of a clip; shorter ones are padded with zeros."""
    context: int = 20
    """Further frames that a step reads: 10 on either side of its centre."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("window_ms", "hop_ms", "clip_ms"):
            n = getattr(self, name) * self.sample_rate / 1000
            if not (1 <= n < math.inf and n == int(n)):
                raise ValueError(
                    f"{name} must be a whole number of samples at {self.sample_rate} Hz, got "
                    f"{getattr(self, name)} ms = {n} samples."
                )
        if self.window_samples % 2 or self.window_samples < self.hop_samples:
            raise ValueError(
                "The window must have a middle, and reach from one frame to the next; got "
                f"{self.window_samples} samples with a hop of {self.hop_samples}."
            )
        if self.context < 0 or self.n_steps < 1:
            raise ValueError(
                f"A step reads context + 1 = {self.context + 1} frames, but a clip has "
                f"{self.n_frames}. Take a longer clip, or a smaller context (>= 0)."
            )
        if not 0.0 <= self.fmin_hz < self.fmax_hz <= self.sample_rate / 2 or self.n_mels < 1:
            raise ValueError(
                "There must be a mel band, and 0 <= fmin_hz < fmax_hz <= sample_rate / 2; got "
                f"n_mels={self.n_mels}, {self.fmin_hz}..{self.fmax_hz} Hz at {self.sample_rate} Hz."
            )
        if not 0.0 < self.offset < math.inf:
            raise ValueError(
                f"offset must be positive: silence has log(offset); got {self.offset}."
            )

    @property
    def window_samples(self) -> int:
        """Return the length of the window in samples."""
        return round(self.window_ms * self.sample_rate / 1000)

    @property
    def hop_samples(self) -> int:
        """Return the hop in samples."""
        return round(self.hop_ms * self.sample_rate / 1000)

    @property
    def clip_samples(self) -> int:
        """Return the length of a clip in samples."""
        return round(self.clip_ms * self.sample_rate / 1000)

    @property
    def n_frames(self) -> int:
        """Return the frames of a clip: one at its start, one after each hop."""
        return self.clip_samples // self.hop_samples + 1

    @property
    def n_steps(self) -> int:
        """Return the steps of a clip, T: each reads `context + 1` frames."""
        return self.n_frames - self.context

    @property
    def n_inputs(self) -> int:
        """Return the inputs of a step."""
        return (self.context + 1) * self.n_mels

    def __call__(self, samples: Any) -> Float32[np.ndarray, "*batch frame mel"]:
        """Return the log-mel energies of clips; shorter ones are padded with zeros at the end.

        Args:
            samples: `[samples]`, or `[*batch, samples]`; floats or int16, see
                `encoders.audio.read_samples`.

        Raises:
            TypeError: if they are integers of another size.
            ValueError: if they are longer than a clip (`LogMelStream` cuts nothing off either:
                take it clip by clip), look like `[samples, channels]`, or reach beyond full scale.
        """
        samples = read_samples(samples)
        n = samples.shape[-1] if samples.ndim else 0
        if samples.ndim != 1 and n < self.window_samples:
            raise ValueError(
                f"Time is the last axis of samples, got {list(samples.shape)}: {n} samples are no "
                f"window of {self.window_samples}. Of [samples, channels] pass x.mean(axis=1)."
            )
        if n > self.clip_samples:
            raise ValueError(
                f"A clip has at most {self.clip_samples} samples ({self.clip_ms} ms), got {n}. "
                "Cut it, or hear it clip by clip: python -m benchmarks.listen."
            )
        half = self.window_samples // 2
        around = [(0, 0)] * (samples.ndim - 1) + [(half, self.clip_samples - n + half)]
        return self.energies(np.pad(samples, around))

    def energies(self, samples: Any) -> Float32[np.ndarray, "*batch frame mel"]:
        """Return the log-mel energies of all full windows, without padding."""
        samples = read_samples(samples)
        if samples.ndim < 1 or samples.shape[-1] < self.window_samples:
            raise ValueError(
                f"Frames need a window of {self.window_samples} samples at least, time last; got "
                f"{list(samples.shape)}. Call the front end itself, which pads."
            )
        power = _melspectrogram()(
            y=np.asarray(samples, np.float64),
            sr=self.sample_rate,
            n_fft=self.window_samples,
            hop_length=self.hop_samples,
            window="hamming",
            center=False,
            power=2.0,
            n_mels=self.n_mels,
            fmin=self.fmin_hz,
            fmax=self.fmax_hz,
        )
        energies: npt.NDArray[np.float32] = np.log(power.swapaxes(-1, -2) + self.offset).astype(
            np.float32
        )
        return energies

    def silence(self) -> float:
        """Return the log-mel energy of silence."""
        return float(np.float32(np.log(self.offset)))

    def heard_ms(self, step: Any) -> Float[Tensor, "*batch"]:
        r"""Return how much of the clip had been heard at a step: its last window's last sample.

        .. math:: \min(\text{clip},\; (t + \text{context}) \, \text{hop} + \text{window} / 2)

        Returns:
            Milliseconds from the clip's start, float64, with context and window.

        Example:
            >>> import torch
            >>> LogMel().heard_ms(torch.tensor([0, 1, 78, 80])).tolist()
            [212.5, 222.5, 992.5, 1000.0]
        """
        known: Tensor = whole(tensor(step, "Steps"), "Steps", 0, self.n_steps - 1)
        last = (known.double() + self.context) * self.hop_ms + self.window_ms / 2
        return last.clamp(max=self.clip_ms)

    def seen(self, step: Any) -> Float[Tensor, "*batch"]:
        """Return the share of the clip that had been heard at a step, in (0, 1].

        Example:
            >>> import torch
            >>> LogMel().seen(torch.tensor([0, 80])).tolist()
            [0.2125, 1.0]
        """
        return self.heard_ms(step) / self.clip_ms


def check_rate(front_end: LogMel) -> None:
    """Refuse a front end of another rate than that of everything that `read_audio` returns."""
    if front_end.sample_rate != SAMPLE_RATE:
        raise ValueError(
            f"Recordings are read at {SAMPLE_RATE} Hz, the front end hears at "
            f"{front_end.sample_rate} Hz. Resample them yourself, and pass it the samples."
        )


class LogMelStream:
    """The frames of one clip, as its samples arrive: the same numbers as `LogMel` on the whole.

    Frame k is complete as soon as the last sample of its window is there, half a window after its
    centre: after `10 k + 12.5` ms with the defaults.

    Example:
        >>> stream = LogMelStream(LogMel())
        >>> stream.push(np.zeros(200, np.float32)).shape  # 12.5 ms
        (1, 20)
        >>> stream.push(np.zeros(159, np.float32)).shape
        (0, 20)
        >>> stream.push(np.zeros(1, np.float32)).shape
        (1, 20)
        >>> stream.finish().shape
        (99, 20)
    """

    def __init__(self, front_end: LogMel) -> None:
        self.front_end = front_end
        self.reset()

    def reset(self) -> None:
        """Forget the clip, to begin with the next."""
        self.n_samples = 0
        """Samples heard."""
        self.n_frames = 0
        """Frames returned."""
        self._left = np.zeros(self.front_end.window_samples // 2, np.float32)

    def push(self, samples: Any) -> Frames:
        """Take the next samples; return the frames that they complete, none or several.

        Args:
            samples: `[samples]`, mono, floats or int16: see `encoders.audio.read_samples`.

        Raises:
            TypeError: if they are integers of another size.
            ValueError: if they go beyond the clip (`room` says how many fit), are not mono, or
                reach beyond full scale.
        """
        samples = read_samples(samples)
        if samples.ndim != 1:
            raise ValueError(
                f"Samples are [samples], mono, got {list(samples.shape)}. Of [samples, channels] "
                "pass x.mean(axis=1)."
            )
        if len(samples) > self.room:
            raise ValueError(
                f"The clip has room for {self.room} more samples, got {len(samples)}. Push these, "
                "then finish() and reset() for the next clip."
            )
        self.n_samples += len(samples)
        return self._advance(samples)

    @property
    def room(self) -> int:
        """Return how many samples the clip still takes."""
        return self.front_end.clip_samples - self.n_samples

    def finish(self) -> Frames:
        """End the clip: return the frames that are left, with zeros for what was not pushed."""
        missing = self.room + self.front_end.window_samples // 2
        self.n_samples = self.front_end.clip_samples
        return self._advance(np.zeros(missing, np.float32))

    def _advance(self, samples: Float[np.ndarray, " samples"]) -> Frames:
        front_end = self.front_end
        self._left = np.concatenate([self._left, samples])
        n = (len(self._left) - front_end.window_samples) // front_end.hop_samples + 1
        n = min(n, front_end.n_frames - self.n_frames)
        if n < 1:
            return np.zeros((0, front_end.n_mels), np.float32)
        used = front_end.window_samples + (n - 1) * front_end.hop_samples
        frames = front_end.energies(self._left[:used])
        self._left = self._left[n * front_end.hop_samples :]
        self.n_frames += n
        return frames
