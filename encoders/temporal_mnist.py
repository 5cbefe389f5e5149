"""Temporal MNIST: as a tonic data set of events, and as sequences for training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from tonic import Dataset
from torch import Tensor

from encoders.functional import (
    EVENT_DTYPE,
    FRAME_US,
    Events,
    Polarity,
    ZeroPixels,
    encode_latency,
    spikes_to_events,
)
from encoders.mnist import Digits, Split, load_mnist
from encoders.transforms import transformed
from rc_snn.borders.numbers import count
from rc_snn.sequences import Labelled, SpikeSequences
from rc_snn.spikes import spike_steps


class TemporalMNIST(Dataset):  # type: ignore[misc]
    """MNIST with each pixel's grey level as the latency of one spike, in tonic's conventions.

    A sample is `(events, target)`: a structured array with fields x, y, t (µs), p, sorted by time,
    and the digit. Without a copy of MNIST and without network it holds the embedded digits; see
    `encoders.mnist.load_mnist`, and `digits.title` for what was found.

    Args:
        save_to: folder that holds MNIST; None looks where `load_mnist` looks, downloads included.
        train: training or test subset.
        polarity: "bright_first" or "dark_first".
        zero_pixels: "last" or "silent".
        frame_us: duration of a frame in microseconds.
        download: whether the network may be used.
        transform: applied to the events.
        target_transform: applied to the target.
        transforms: applied to both, `transforms(events, target)`.

    Source: Jeffares et al., ICLR 2022, section 3.3.

    Example:
        >>> data = TemporalMNIST(train=False, zero_pixels="silent", download=False)
        >>> events, digit = data[0]
        >>> events.dtype.names, bool((events["t"] < FRAME_US).all())
        (('x', 'y', 't', 'p'), True)
    """

    classes = tuple(str(digit) for digit in range(10))
    sensor_size = (28, 28, 1)
    dtype = EVENT_DTYPE
    ordering = EVENT_DTYPE.names

    def __init__(
        self,
        save_to: str | Path | None = None,
        train: bool = True,
        *,
        polarity: Polarity = "bright_first",
        zero_pixels: ZeroPixels = "last",
        frame_us: int = FRAME_US,
        download: bool = True,
        transform: Callable[[Events], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        transforms: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    ) -> None:
        digits = load_mnist(save_to, download=download)
        super().__init__(digits.origin, transform, target_transform, transforms)
        self.digits: Digits = digits
        self.train, self.polarity, self.zero_pixels = train, polarity, zero_pixels
        self.frame_us = frame_us
        self.data: Tensor = (digits.train if train else digits.test).images
        self.targets: list[int] = (digits.train if train else digits.test).labels.tolist()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return events and target of one sample, transformed."""
        times = encode_latency(
            self.data[index][None], polarity=self.polarity, zero_pixels=self.zero_pixels
        )[0]
        events = spikes_to_events(times, self.sensor_size[0], self.frame_us)
        return transformed(self, events, self.targets[index])


def latency_sequences(
    split: Split,
    n_steps: int,
    *,
    polarity: Polarity = "bright_first",
    zero_pixels: ZeroPixels = "last",
    mean: Float[Tensor, "steps inputs"] | None = None,
) -> Labelled:
    """Encode a split once, into labelled sequences for training and accounting.

    `mean` is subtracted from the input of each step; `mean_input` makes one.

    Example:
        >>> from encoders.mnist import embedded_digits
        >>> data = latency_sequences(embedded_digits().test, n_steps=10, polarity="dark_first")
        >>> data.inputs.steps.shape, data.inputs.steps.dtype
        (torch.Size([1000, 784]), torch.int16)
    """
    steps = [
        spike_steps(encode_latency(part, polarity=polarity, zero_pixels=zero_pixels), n_steps)
        for part in split.images.split(10_000)  # spike times of all 60,000 would take 376 MB
    ]
    return Labelled(SpikeSequences(torch.cat(steps), n_steps, mean=mean), split.labels)


def deal(n: int, n_validation: int, *, seed: int = 0) -> tuple[list[int], list[int]]:
    """Deal the numbers of n samples into training and validation, the same for every run.

    Raises:
        ValueError: if nothing would be left on one side.

    Example:
        >>> training, validation = deal(5, 2)
        >>> len(training), len(validation), sorted(training + validation)
        (3, 2, [0, 1, 2, 3, 4])
    """
    n, n_validation = count(n, "n"), count(n_validation, "n_validation")
    if not 0 < n_validation < n:
        raise ValueError(f"n_validation must be in 1..{n - 1}, got {n_validation}.")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    return order[n_validation:], order[:n_validation]


def hold_out(split: Split, n_validation: int) -> tuple[Split, Split]:
    """Split into training and validation images by `deal`."""
    training, validation = deal(len(split.labels), n_validation)
    return take(split, torch.tensor(training)), take(split, torch.tensor(validation))


def take(split: Split, index: Int[Tensor, " rows"]) -> Split:
    """Return the images and labels at these positions."""
    return Split(split.images[index], split.labels[index])
