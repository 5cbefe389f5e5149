"""What stands between the features of a network and its logits: read-out and dropout."""

import math
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rc_snn.borders.numbers import number
from rc_snn.cells import init_uniform

ReadOut: TypeAlias = Literal["softmax", "sigmoid"]


class LinearReadOut(nn.Linear):
    """Affine read-out whose logits always describe at least two classes.

    `softmax` has one output per class. `sigmoid`, for two classes, has the single output z of the
    paper's toy tasks and returns the logits `[0, z]`: their softmax is `[1 - σ(z), σ(z)]`, so
    θ = 0.95 means "> 0.95 is a positive spike, < 0.05 a negative one" (appendix A.1).
    """

    def __init__(
        self, n_features: int, n_classes: int, kind: ReadOut, generator: torch.Generator
    ) -> None:
        if kind not in ("softmax", "sigmoid"):
            raise ValueError(f'read_out must be "softmax" or "sigmoid", got {kind!r}.')
        if n_classes < 2 or (kind == "sigmoid" and n_classes != 2):
            raise ValueError(
                f"A {kind} read-out needs {'exactly' if kind == 'sigmoid' else 'at least'} two "
                f"classes, got {n_classes}."
            )
        # torch's own initialisation draws from the global generator: keep it out of this.
        with torch.random.fork_rng(devices=[]):
            super().__init__(n_features, 1 if kind == "sigmoid" else n_classes)
        self.kind = kind
        init_uniform(self, 1.0 / math.sqrt(n_features), generator)

    def forward(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of the features."""
        logits = super().forward(features)
        return F.pad(logits, (1, 0)) if self.kind == "sigmoid" else logits


def linear(n_features: int, n_units: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer whose initial weights come from this generator."""
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(n_features, n_units)
    init_uniform(layer, 1.0 / math.sqrt(n_features), generator)
    return layer


class Dropout(nn.Module):
    """Dropout whose masks come from a generator of its own, never from torch's global one."""

    def __init__(self, p: float, generator: torch.Generator) -> None:
        super().__init__()
        p = number(p, "dropout")
        if not 0.0 <= p < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got {p}.")
        self.p, self.generator = p, generator

    def forward(self, x: Tensor) -> Tensor:
        """Zero a share p of the values and scale up the rest, while training."""
        if not self.training or self.p == 0.0:
            return x
        source = self.generator
        if x.is_cuda:  # masks are drawn where they are used, from a seed of the generator's
            seed = int(torch.randint(2**62, (), generator=source))
            source = torch.Generator(x.device).manual_seed(seed)
        keep = torch.rand(x.shape, generator=source, device=source.device) >= self.p
        return x * keep.to(x.dtype).div_(1.0 - self.p)  # rand: 4 times bernoulli_'s speed
