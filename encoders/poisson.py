"""Rate code: grey levels as Poisson spike trains, as a transform and as sequences for training."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from encoders.functional import check_images
from encoders.mnist import Split
from rc_snn.borders.checks import check_step
from rc_snn.borders.numbers import check_fields, tensor, whole
from rc_snn.sequences import Labelled
from rc_snn.spikes import check_n_steps


def _check_max_rate(max_rate: float) -> None:
    if not 0.0 < max_rate <= 1.0:
        raise ValueError(
            f"max_rate is a probability, spikes per step of a white pixel, in (0, 1]; got "
            f"{max_rate}. A rate in Hz is multiplied by the step in seconds: 63.75 Hz in steps of "
            "1 ms are 0.06375."
        )


@dataclass(frozen=True)
class Poisson:
    r"""Grey image to Poisson spike trains: each pixel spikes at each step with its own probability.

    .. math:: P(x_t = 1) = \frac{g}{255}\, r_{\max}

    In each step one draw, a Bernoulli process: the Poisson process on a grid, as in snnTorch's
    `spikegen.rate` (which has r_max = 1). A pixel may spike many times.

    Args:
        n_steps: steps, T.
        max_rate: spikes per step of a white pixel (g = 255), r_max in (0, 1].
        generator: source of the draws; the same state gives the same spikes.

    Raises:
        ValueError: if max_rate is no such probability, n_steps < 1, or images are not uint8.

    Example:
        >>> encode = Poisson(n_steps=25, max_rate=0.1, generator=torch.Generator().manual_seed(0))
        >>> encode(torch.zeros(28, 28, dtype=torch.uint8)).shape  # steps, pixels
        torch.Size([25, 784])
        >>> encode(torch.zeros(3, 28, 28, dtype=torch.uint8)).shape  # steps, images, pixels
        torch.Size([25, 3, 784])
    """

    n_steps: int
    max_rate: float
    generator: torch.Generator

    def __post_init__(self) -> None:
        check_fields(self)
        check_n_steps(self.n_steps)
        _check_max_rate(self.max_rate)

    def __call__(
        self, image: UInt8[Tensor, "*batch height width"] | npt.NDArray[np.uint8]
    ) -> Float[Tensor, "time *batch pixels"]:
        """Return 1 where a pixel spikes, else 0: of one image, or of a batch."""
        images = tensor(image, "Images")
        check_images(images if images.dim() == 3 else images.unsqueeze(0))
        return _draw(images.flatten(-2), self.n_steps, self.max_rate, self.generator).float()


def _draw(
    grey: Tensor, n_steps: int, max_rate: float, generator: torch.Generator
) -> Bool[Tensor, "time *batch pixels"]:
    # rand() is a multiple of 2^-24 below 1: a probability of 1 always spikes, one of 0 never.
    drawn = torch.rand((n_steps, *grey.shape), generator=generator)
    return drawn < grey.double().mul_(max_rate / 255.0).float()


@dataclass(frozen=True)
class PoissonSequences:
    """Images as Poisson spike trains, drawn when they are read: of 60,000 none lies in memory.

    A sequence is decided by its image and its seed: it is the same whenever and beside whichever
    others it is read, and equals what `Poisson` gives with a generator of that seed.

    Args:
        images: grey levels 0..255.
        seeds: one for each image.
        n_steps: steps, T.
        max_rate: spikes per step of a white pixel.

    Raises:
        ValueError: as `Poisson`, or if there is not one seed for each image.

    Example:
        >>> images = torch.full((2, 1, 3), 255, dtype=torch.uint8)
        >>> PoissonSequences(images, torch.tensor([0, 1]), n_steps=4, max_rate=1.0).at(0)
        tensor([[1., 1., 1.],
                [1., 1., 1.]])
    """

    images: UInt8[Tensor, "batch height width"]
    seeds: Int[Tensor, " batch"]
    n_steps: int
    max_rate: float

    def __post_init__(self) -> None:
        check_images(self.images)
        check_fields(self)
        check_n_steps(self.n_steps)
        _check_max_rate(self.max_rate)
        object.__setattr__(self, "seeds", whole(tensor(self.seeds, "seeds"), "seeds"))
        if self.seeds.dim() != 1 or len(self.seeds) != len(self.images):
            raise ValueError(
                f"There must be one seed per image, got {len(self.images)} images and "
                f"{len(self.seeds)} seeds."
            )

    @property
    def n_inputs(self) -> int:
        """Return the number of pixels."""
        return math.prod(self.images.shape[1:])

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.images)

    @cached_property
    def spikes(self) -> Bool[Tensor, "batch time inputs"]:
        """Return all spikes; drawn once, and handed on to parts that are taken later."""
        generator = torch.Generator()
        found = torch.empty(len(self), self.n_steps, self.n_inputs, dtype=torch.bool)
        for i, (grey, seed) in enumerate(zip(self.images, self.seeds.tolist(), strict=True)):
            generator.manual_seed(seed)
            found[i] = _draw(grey.flatten(), self.n_steps, self.max_rate, generator)
        return found

    def at(self, step: int) -> Float[Tensor, "batch inputs"]:
        """Return 1 for the pixels that spike at this step, else 0."""
        check_step(step, self.n_steps)
        return self.spikes[:, step].float()

    def rows(self, index: Int[Tensor, " rows"]) -> "PoissonSequences":
        """Return the sequences at these positions."""
        part = PoissonSequences(self.images[index], self.seeds[index], self.n_steps, self.max_rate)
        if "spikes" in vars(self):
            vars(part)["spikes"] = self.spikes[index]
        return part


def poisson_sequences(
    split: Split, n_steps: int, max_rate: float, generator: torch.Generator
) -> Labelled:
    """Return labelled images as Poisson spike trains; the generator draws a seed for each image.

    Call it again with the same generator, and the spikes are drawn anew: see `fresh` of
    `rc_snn.training.train`.

    Example:
        >>> from encoders.mnist import embedded_digits
        >>> data = poisson_sequences(embedded_digits().test, 25, 0.1, torch.Generator())
        >>> len(data), data.inputs.n_steps, data.rows(torch.arange(2)).inputs.at(0).shape
        (1000, 25, torch.Size([2, 784]))
    """
    # torch's generator keeps 32 bits of a seed.
    seeds = torch.randint(2**32, (len(split.labels),), generator=generator)
    return Labelled(PoissonSequences(split.images, seeds, n_steps, max_rate), split.labels)
