"""tonic-style transforms: frozen dataclasses around `encoders.functional`, one sample at a time.

They compose in `tonic.transforms.Compose` and with tonic's own transforms. A grey image becomes
spike times, these become steps, frames or events, and come back. Note that `Compose` stops at an
empty event array, so a sample without any spike leaves it as an empty array of events.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int
from tonic import Dataset
from torch import Tensor

from encoders.functional import (
    FRAME_US,
    Events,
    Polarity,
    ZeroPixels,
    encode_latency,
    encode_notebook,
    events_to_spikes,
    spikes_to_events,
    steps_to_times,
)
from rc_snn.borders.numbers import tensor
from rc_snn.spikes import check_n_steps, spike_frames, spike_steps, steps_from_frames


def transformed(data: Dataset, sample: Any, target: Any) -> tuple[Any, Any]:
    """Apply the transforms of a tonic data set: to the sample, to the target, then to both."""
    if data.transform is not None:
        sample = data.transform(sample)
    if data.target_transform is not None:
        target = data.target_transform(target)
    if data.transforms is not None:
        sample, target = data.transforms(sample, target)
    return sample, target


def _batch_of_one(image: Tensor | npt.NDArray[np.uint8]) -> Tensor:
    return tensor(image, "An image").unsqueeze(0)


@dataclass(frozen=True)
class Latency:
    """Grey image `[height, width]`, uint8, to spike times; see `encode_latency`.

    Example:
        >>> import torch
        >>> from tonic.transforms import Compose
        >>> encode = Compose([Latency(polarity="dark_first"), ToSteps(n_steps=10), ToFrames(10)])
        >>> encode(torch.zeros(28, 28, dtype=torch.uint8)).shape  # steps, pixels
        torch.Size([10, 784])
    """

    polarity: Polarity = "bright_first"
    zero_pixels: ZeroPixels = "last"

    def __call__(self, image: Tensor | npt.NDArray[np.uint8]) -> Float[Tensor, " neuron"]:
        """Return the spike times of the pixels, row-major, in frames."""
        return encode_latency(
            _batch_of_one(image), polarity=self.polarity, zero_pixels=self.zero_pixels
        )[0]


@dataclass(frozen=True)
class NotebookLatency:
    """Grey image to spike times, as the authors' notebook bins it; see `encode_notebook`."""

    n_steps: int = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_steps", check_n_steps(self.n_steps))

    def __call__(self, image: Tensor | npt.NDArray[np.uint8]) -> Float[Tensor, " neuron"]:
        """Return the spike times of the pixels, row-major, in frames."""
        return encode_notebook(_batch_of_one(image), self.n_steps)[0]


@dataclass(frozen=True)
class ToSteps:
    """Spike times to steps; see `rc_snn.spikes.spike_steps`."""

    n_steps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_steps", check_n_steps(self.n_steps))

    def __call__(self, times: Any) -> Int[Tensor, "*shape"]:
        """Return the step of each spike, `n_steps` for silence."""
        return spike_steps(times, self.n_steps)


@dataclass(frozen=True)
class FromSteps:
    """Steps to spike times, at each step's start; see `steps_to_times`."""

    n_steps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_steps", check_n_steps(self.n_steps))

    def __call__(self, steps: Any) -> Float[Tensor, "*shape"]:
        """Return the time of each spike in frames, `inf` for silence."""
        return steps_to_times(steps, self.n_steps)


@dataclass(frozen=True)
class ToFrames:
    """Steps to dense frames, time first; see `rc_snn.spikes.spike_frames`."""

    n_steps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_steps", check_n_steps(self.n_steps))

    def __call__(self, steps: Any) -> Float[Tensor, "time *shape"]:
        """Return 1 where a pixel spikes, else 0."""
        return spike_frames(steps, self.n_steps)


@dataclass(frozen=True)
class FromFrames:
    """Dense frames `[T, ...]` to steps, tonic's too; see `rc_snn.spikes.steps_from_frames`."""

    def __call__(self, frames: Any) -> Int[Tensor, "*shape"]:
        """Return the step of each spike, the number of steps for silence."""
        return steps_from_frames(frames)


@dataclass(frozen=True)
class ToEvents:
    """Spike times to a tonic event array (x, y, t in µs, p); see `spikes_to_events`."""

    sensor_size: tuple[int, int, int] = (28, 28, 1)
    frame_us: int = FRAME_US

    def __call__(self, times: Any) -> Events:
        """Return the events, sorted by time."""
        width, height, _ = self.sensor_size
        times = tensor(times, "times")
        if times.numel() != width * height:
            raise ValueError(
                f"{times.numel()} spike times do not fill a sensor of {width}x{height} pixels. "
                "Pass the image's own sensor_size (width, height, 1)."
            )
        return spikes_to_events(times, width, self.frame_us)


@dataclass(frozen=True)
class FromEvents:
    """A tonic event array to spike times; see `events_to_spikes`."""

    sensor_size: tuple[int, int, int] = (28, 28, 1)
    frame_us: int = FRAME_US

    def __call__(self, events: Events) -> Float[Tensor, " neuron"]:
        """Return the time of each pixel's spike in frames, `inf` for silence."""
        width, height, _ = self.sensor_size
        return events_to_spikes(events, width, height, self.frame_us)
