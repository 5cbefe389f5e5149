"""How large the sums of a ReLU network become: on samples, or at most."""

from typing import Protocol

import torch
from torch import Tensor

from baselines.relu_chain import Stage

QUANTILE = 0.99
"""Of the absolute sums of the weights of active inputs, over neurons, places and samples."""


class Bounds(Protocol):
    """Bounds of each layer in turn: `of` a layer, then `advance` to the next."""

    def of(self, stage: Stage, scale: float, margin: float) -> tuple[float, float]:
        """Return θ, and the spread of the sums of the weights of active inputs.

        Args:
            stage: the layer.
            scale: the activation that its inputs' clock calls 1.
            margin: θ over the largest sum, if that is one of samples.
        """

    def advance(self, stage: Stage, theta: float, scale: float, rate: float) -> None:
        """Go on to the next layer, whose clock runs `rate` times as fast."""


class Sampled:
    """What samples reach; the black one, whose sums are the biases, is among them."""

    def __init__(self, samples: Tensor) -> None:
        self.parts = list(samples.split(250))

    def of(self, stage: Stage, scale: float, margin: float) -> tuple[float, float]:
        """Return θ and spread; see `Bounds.of`."""
        top, size, spread = float(stage.bias.max()), float(stage.bias.abs().max()), 0.0
        for a in self.parts:
            z = stage.sums(a, stage.weight) + stage.offset(stage.bias)
            top, size = max(top, float(z.max())), max(size, float(z.abs().max()))
            sums = stage.sums((a > 0.0).double(), stage.weight).abs().flatten()
            spread = max(spread, float(sums.kthvalue(max(1, int(QUANTILE * len(sums)))).values))
        return _theta(margin * top, size), spread

    def advance(self, stage: Stage, theta: float, scale: float, rate: float) -> None:
        """Compute the activations that the next layer reads."""
        self.parts = [
            stage.pooled(torch.relu(stage.sums(a, stage.weight) + stage.offset(stage.bias)))
            for a in self.parts
        ]


class Interval:
    r"""What inputs in [0, 1] can reach at most: nobody crosses before the reference.

    Before it, a potential is at most what all excitation and the bias make of it, and that is
    largest at the reference. Activations are bounded by what a first spike can say of them,
    1 - (1 - z) / (1 + S / R), rather than by z.
    """

    def __init__(self) -> None:
        self.high: Tensor | None = None

    def of(self, stage: Stage, scale: float, margin: float) -> tuple[float, float]:
        """Return θ and spread; see `Bounds.of`."""
        high = self._high(stage)
        excited, reach = self._sums(stage, high)
        inhibited = stage.sums((high > 0.0).double(), -stage.weight.clamp_max(0.0))
        return (
            _theta(float(excited.max()), float(excited.abs().max())),
            float(torch.maximum(reach, inhibited).max()),
        )

    def advance(self, stage: Stage, theta: float, scale: float, rate: float) -> None:
        """Bound the activations that the next layer reads."""
        excited, reach = self._sums(stage, self._high(stage))
        local = 1.0 - (1.0 - excited / theta) / (1.0 + reach * scale / theta / rate)
        self.high = stage.pooled(theta * local.clamp_min(0.0))

    def _high(self, stage: Stage) -> Tensor:
        if self.high is None:
            self.high = torch.ones(1, *stage.shape, dtype=torch.float64)
        return self.high

    def _sums(self, stage: Stage, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return the largest sums, and those of the weights of what excites."""
        up = stage.weight.clamp_min(0.0)
        excited = stage.sums(high, up) + stage.offset(stage.bias)
        return excited, stage.sums((high > 0.0).double(), up)


def _theta(top: float, size: float) -> float:
    """Return a threshold that is none of a vanishing unit, whatever the sums."""
    return max(top, 1e-3 * size) or 1.0
