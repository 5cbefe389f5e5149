"""Pure functions: grey images to spike times, spike times to event arrays and back."""

import math
from typing import Any, Literal, TypeAlias, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from encoders.events import EVENT_DTYPE as EVENT_DTYPE
from encoders.events import Events as Events
from encoders.events import event_columns
from rc_snn.borders.numbers import count, counts, finite, tensor
from rc_snn.spikes import SpikeTimes, check_n_steps, check_steps, check_times

Polarity: TypeAlias = Literal["bright_first", "dark_first"]
ZeroPixels: TypeAlias = Literal["last", "silent"]


class Encoding(TypedDict):
    """The options of `encode_latency`, to hand on as a whole."""

    polarity: Polarity
    zero_pixels: ZeroPixels


FRAME_US = 255_000
"""Default duration of a frame: every grey level is then exactly one millisecond."""


def encode_latency(
    images: UInt8[Tensor, "batch height width"],
    *,
    polarity: Polarity = "bright_first",
    zero_pixels: ZeroPixels = "last",
) -> SpikeTimes:
    r"""Time to first spike (TTFS): each pixel spikes once, the earlier the stronger its drive.

    .. math:: t = 1 - g/255 \;\text{(bright first)}, \qquad t = g/255 \;\text{(dark first)}

    The polarity must be said with every result. The paper writes "darker pixels spike earlier",
    the authors' notebook lets the bright ink spike first, and the two differ in what the first
    step can tell.

    Args:
        images: grey levels g, 0 (background) to 255 (ink).
        polarity: which end of the grey scale spikes first.
        zero_pixels: pixels without drive (g = 0 if bright first, 255 if dark first) would spike
            at the very end of the frame: "last" lets them, as the authors' notebook does;
            "silent" gives them no spike (`inf`), as the spiking baselines' papers do.

    Returns:
        Spike times in frames, float64, one row per image, pixels in row-major order.

    Raises:
        ValueError: if the images are not uint8 `[batch, height, width]`, or an option is unknown.

    Source: Jeffares et al., ICLR 2022, section 3.3 and rank_coding_mnist.ipynb.

    Example:
        >>> image = torch.tensor([[[255, 51, 0]]], dtype=torch.uint8)
        >>> encode_latency(image)
        tensor([[0.0000, 0.8000, 1.0000]], dtype=torch.float64)
        >>> encode_latency(image, polarity="dark_first", zero_pixels="silent")
        tensor([[   inf, 0.2000, 0.0000]], dtype=torch.float64)
    """
    check_images(images)
    if polarity not in ("bright_first", "dark_first"):
        raise ValueError(f'polarity must be "bright_first" or "dark_first", got {polarity!r}.')
    if zero_pixels not in ("last", "silent"):
        raise ValueError(f'zero_pixels must be "last" or "silent", got {zero_pixels!r}.')
    grey = images.flatten(1)
    # One rounding only: 1 - g/255 would round twice and miss some step edges by one step.
    numerator = 255 - grey if polarity == "bright_first" else grey
    times = numerator.double() / 255.0
    return times.masked_fill(numerator == 255, torch.inf) if zero_pixels == "silent" else times


def check_images(images: Tensor) -> None:
    """Refuse anything but uint8 images `[batch, height, width]`."""
    if not isinstance(images, Tensor):
        raise ValueError(
            f"Images must be a torch tensor, got {type(images).__name__}. Wrap an array with "
            "torch.from_numpy, or use encoders.transforms.Latency for single images."
        )
    if images.dtype != torch.uint8:
        raise ValueError(
            f"Images must be uint8 grey levels (0..255), got {images.dtype}. Floats in [0, 1] "
            "become (255 * x).round().to(torch.uint8)."
        )
    if images.dim() != 3:
        raise ValueError(
            f"Images must have shape [batch, height, width], got {list(images.shape)}. Add a "
            "batch axis with [None], or drop a channel axis of size one."
        )


def encode_notebook(images: UInt8[Tensor, "batch height width"], n_steps: int = 10) -> SpikeTimes:
    """Encode as the authors' notebook does, to the last float32 rounding.

    `rank_coding_mnist.ipynb` bins the intensity with edges `1 - arange(0, 1, 1 / n_steps)` in
    float32 and flips the bins, so that bright pixels come first and the background last. On the
    grid of `n_steps` it equals `encode_latency(images)` except for grey levels that lie on an edge
    which float32 rounds down (51 and 102 for 10 steps): those spike one step earlier. Use it to
    reproduce the notebook's tensors; spikes are put at the middle of their step.

    Returns:
        Spike times in frames, float64.

    Source: `to_temporal` in rank_coding_mnist.ipynb, github.com/NeuromorphicComputing/RankCoding.

    Example:
        >>> encode_notebook(torch.tensor([[[255, 51, 0]]], dtype=torch.uint8))
        tensor([[0.0500, 0.7500, 0.9500]], dtype=torch.float64)
    """
    check_images(images)
    check_n_steps(n_steps)
    edges = (1.0 - torch.arange(0.0, 1.0, 1.0 / n_steps)[:n_steps]).flip(0)
    levels = torch.arange(256, dtype=torch.float32) / 255.0
    step = n_steps - 1 - torch.bucketize(levels, edges)
    return (step.double()[images.flatten(1).long()] + 0.5) / n_steps


def encode_alpha_psp(images: UInt8[Tensor, "batch height width"]) -> SpikeTimes:
    """Encode as the authors of α-PSP do: t = 1 - p / 256, and a pixel of grey 0 never spikes.

    It differs from `encode_latency(images, zero_pixels="silent")` in the divisor: ink of 255 spikes
    at 1/256, not at 0. Their published networks were trained on it.

    Returns:
        Spike times in frames, float64.

    Source: google/ihmehimmeli, tempcoding; Comşa et al. 2020 (arXiv 1907.13223).

    Example:
        >>> encode_alpha_psp(torch.tensor([[[255, 64, 0]]], dtype=torch.uint8))
        tensor([[0.0039, 0.7500,    inf]], dtype=torch.float64)
    """
    check_images(images)
    grey = images.flatten(1)
    return (1.0 - grey.double() / 256.0).masked_fill(grey == 0, torch.inf)


def spikes_to_events(times: Any, width: int, frame_us: int = FRAME_US) -> Events:
    """Write the spikes of one sample as tonic events, sorted by time; silence leaves no event.

    Args:
        times: spike times in frames, or `inf`.
        width: columns of the grid: neuron i is at x = i % width, y = i // width.
        frame_us: duration of the frame in microseconds.

    Raises:
        ValueError: if a spike does not fall on a whole microsecond (nothing is rounded away in
            silence), or the grid does not fit the neurons.

    Example:
        >>> times = torch.tensor([0.8, torch.inf, 0.0], dtype=torch.float64)
        >>> spikes_to_events(times, width=3)["t"].tolist()
        [0, 204000]
    """
    largest, width, times = np.iinfo(np.int16).max, count(width, "width"), tensor(times, "times")
    if times.dim() != 1:
        raise ValueError(f"times are those of one sample, [neuron], got {list(times.shape)}.")
    if not 1 <= width <= largest or times.numel() % width or times.numel() // width > largest:
        raise ValueError(
            f"{times.numel()} neurons do not fill rows of width {width}, or a side exceeds the "
            f"{largest} columns and rows of tonic's int16 coordinates."
        )
    frame_us = check_frame_us(frame_us)
    times = check_times(times)
    index = torch.isfinite(times).nonzero().squeeze(1)
    exact = times[index].double() * frame_us
    t = exact.round()
    # Ticks come back as t / frame_us: the spike is kept if and only if that gives the same time.
    lost = (t / frame_us).to(times.dtype) != times[index]
    if lost.any():
        raise ValueError(
            f"{int(lost.sum())} spikes do not fall on a whole microsecond of a {frame_us} us frame "
            f"(first: {times[index][lost][0].item()} frames). Choose a frame_us that the time grid "
            f"divides: {FRAME_US} for grey levels, a multiple of n_steps for steps."
        )
    events = np.zeros(len(index), dtype=EVENT_DTYPE)
    events["x"], events["y"] = (index % width).numpy(), (index // width).numpy()
    events["t"], events["p"] = t.long().numpy(), True
    return events[np.argsort(events["t"], kind="stable")]


def events_to_spikes(
    events: Events, width: int, height: int, frame_us: int = FRAME_US
) -> Float[Tensor, " neuron"]:
    """Read the spike times of one sample from tonic events; the inverse of `spikes_to_events`.

    Returns:
        Spike times in frames, float64, row-major; pixels without an event are silent (`inf`).

    Raises:
        TypeError: if events are no array of tonic's fields.
        ValueError: if a number is not whole, an event lies outside grid or frame, or a
            pixel spikes twice.

    Example:
        >>> times = torch.tensor([0.8, torch.inf, 0.0], dtype=torch.float64)
        >>> events_to_spikes(spikes_to_events(times, width=3), width=3, height=1)
        tensor([0.8000,    inf, 0.0000], dtype=torch.float64)
    """
    frame_us = check_frame_us(frame_us)
    width, height = counts(width=width, height=height)
    x, y, t, _ = event_columns(events).values()
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (t >= 0) & (t <= frame_us)
    if not inside.all():
        raise ValueError(
            f"{int((~inside).sum())} of {len(events)} events lie outside {width}x{height} pixels "
            f"and 0..{frame_us} us. Crop the recording, or pass its own size and frame_us."
        )
    neuron = y * width + x
    if len(np.unique(neuron)) != len(neuron):
        raise ValueError(
            f"{len(neuron) - len(np.unique(neuron))} events are not the first of their pixel; a "
            "latency code has one spike per pixel. Keep first events only."
        )
    times = torch.full((width * height,), torch.inf, dtype=torch.float64)
    times[torch.from_numpy(neuron)] = torch.from_numpy(t).double() / frame_us
    return times


def check_frame_us(frame_us: int) -> int:
    """Return the duration of a frame in whole microseconds; refuse none."""
    found = count(frame_us, "frame_us")
    if found < 1:
        raise ValueError(f"frame_us must be at least 1 microsecond, got {frame_us}.")
    return found


def steps_to_times(steps: Any, n_steps: int) -> Float[Tensor, "*shape"]:
    """Return the start of each spike's step in frames, float64; `inf` for silence.

    The inverse of `rc_snn.spikes.spike_steps`, so steps survive the way through times and events.

    Example:
        >>> steps_to_times(torch.tensor([0, 9, 10]), n_steps=10)
        tensor([0.0000, 0.9000,    inf], dtype=torch.float64)
    """
    found: Tensor = check_steps(steps, n_steps)
    return (found.double() / n_steps).masked_fill(found >= n_steps, torch.inf)


def encode(
    images: UInt8[Tensor, "batch height width"],
    *,
    name: Literal["latency", "alpha_psp"] = "latency",
    polarity: Polarity = "bright_first",
    zero_pixels: ZeroPixels = "last",
) -> SpikeTimes:
    """Encode by the encoder of this name, with the options that a trained network holds.

    Example:
        >>> encode(torch.tensor([[[255, 51, 0]]], dtype=torch.uint8), polarity="dark_first")
        tensor([[1.0000, 0.2000, 0.0000]], dtype=torch.float64)
    """
    if name == "alpha_psp":
        return encode_alpha_psp(images)
    if name != "latency":
        raise ValueError(f'name must be "latency" or "alpha_psp", got {name!r}.')
    return encode_latency(images, polarity=polarity, zero_pixels=zero_pixels)


def random_affine(
    images: UInt8[Tensor, "batch height width"],
    generator: torch.Generator,
    *,
    degrees: float = 8.0,
    shift: float = 1.5,
    scale: float = 0.08,
    shear: float = 0.08,
) -> UInt8[Tensor, "batch height width"]:
    """Turn, shift, stretch and shear each image at random: augmentation before the encoding.

    Images are read by bicubic interpolation: bilinear blurs, and so thickens the ink just where the
    first of ten dark-first steps ends. Every parameter is drawn uniformly from plus or minus its
    bound, for each image by itself.

    Args:
        images: grey levels 0..255; what is moved in from outside is 0.
        generator: source of the draws.
        degrees: bound of the rotation.
        shift: bound of the shift along each axis, in pixels.
        scale: bound of the relative stretch along each axis.
        shear: bound of the horizontal shear.

    Raises:
        ValueError: if the images are not uint8 `[batch, height, width]`, or a bound is negative.

    Example:
        >>> image = torch.full((1, 28, 28), 255, dtype=torch.uint8)
        >>> still = {"degrees": 0.0, "shift": 0.0, "scale": 0.0, "shear": 0.0}
        >>> same = random_affine(image, torch.Generator(), **still)
        >>> bool((same == image).all())
        True
    """
    check_images(images)
    bounds = finite([degrees, shift, scale, shear], "Bounds of random_affine")
    if (bounds < 0).any():
        raise ValueError(f"Bounds of random_affine must be >= 0, got {bounds.tolist()}.")
    n, height, width = images.shape
    draw = torch.rand(6, n, generator=generator) * 2 - 1
    angle = draw[0] * math.radians(degrees)
    stretch_x, stretch_y = 1 + scale * draw[1], 1 + scale * draw[2]
    cos, sin = angle.cos(), angle.sin()
    across, down = -sin * stretch_x + shear * draw[3], sin * stretch_y
    rows = [  # in torch's coordinates both sides have the length 2
        torch.stack([cos * stretch_x, across * height / width, 2 * shift / width * draw[4]]),
        torch.stack([down * width / height, cos * stretch_y, 2 * shift / height * draw[5]]),
    ]
    grid = F.affine_grid(torch.stack(rows).permute(2, 0, 1), [n, 1, height, width], False)
    moved = F.grid_sample(images.float().unsqueeze(1), grid, "bicubic", align_corners=False)
    return moved.squeeze(1).round().clamp(0, 255).to(torch.uint8)
