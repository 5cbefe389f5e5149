r"""Clocks of layers: each layer's times in a unit of its own, so that float32 resolves them all.

A deep network whose layers answer within ever shorter windows has no good common unit: spikes of
the last layer may differ by a millionth of a frame. So each layer reads a clock, said relative to
the layer before,

.. math:: t_{local} = (t_{before} - start) \cdot rate

the first one relative to frames. Neurons have no clock and no origin of time: in units of u frames
weights are w u, and a decay rate K per frame is K u.
"""

import math
from typing import NamedTuple

from jaxtyping import Float, Float64
from torch import Tensor


class Clock(NamedTuple):
    """A clock, in frames."""

    start: float
    """When it says 0, in frames."""
    unit: float
    """Frames that its unit lasts."""

    def in_frames(self, times: Float[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Return times of this clock in frames.

        Example:
            >>> import torch
            >>> Clock(1.0, 0.25).in_frames(torch.tensor([2.0, torch.inf]))
            tensor([1.5000,    inf], dtype=torch.float64)
        """
        return self.start + self.unit * times.double()

    def local(self, frames: float) -> float:
        """Return a time in frames on this clock."""
        return (frames - self.start) / self.unit


def check_clocks(clocks: Tensor, n_layers: int) -> None:
    """Refuse what are not clocks of this many layers and of their outputs."""
    if clocks.shape != (n_layers + 1, 2) or not clocks.is_floating_point():
        raise ValueError(
            f"clocks must be [{n_layers + 1}, 2], start and rate of each layer and of the outputs, "
            f"got {list(clocks.shape)} of {clocks.dtype}."
        )


def composed(clocks: list[list[float]]) -> list[Clock]:
    """Return clocks, each relative to the one before, in frames.

    Raises:
        ValueError: if a start is not finite, or a rate not positive and finite.

    Example:
        >>> composed([[0.0, 2.0], [1.0, 4.0]])
        [Clock(start=0.0, unit=0.5), Clock(start=0.5, unit=0.125)]
    """
    found, last = [], Clock(0.0, 1.0)
    for start, rate in clocks:
        if not (math.isfinite(start) and 0.0 < rate < math.inf):
            raise ValueError(
                "A clock has a finite start and a positive, finite rate, got "
                f"start={start}, rate={rate}."
            )
        last = Clock(last.start + last.unit * start, last.unit / rate)
        found.append(last)
    return found
