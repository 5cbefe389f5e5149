"""ReL-PSP: first-spike networks with ramp-shaped postsynaptic potentials, in closed form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines import kernels
from baselines.continuous import ContinuousNetwork, Dense, layer_sizes, normal
from baselines.first_spike import Parts, Run, check_crossing
from baselines.tensor_path import Alpha, Crossing, Sorted
from rc_snn.borders.numbers import check_fields
from rc_snn.models import fresh_generator
from rc_snn.shown.citation import used


@dataclass(frozen=True)
class ReLPSP:
    r"""A neuron whose potential is a sum of ramps, K(s) = max(0, s).

    .. math:: V_j(t) = \sum_i w_{ij} K(t - t_i), \qquad
              t_j = \frac{\theta + \sum_{C_j} w_{ij} t_i}{S_j}, \quad S_j = \sum_{C_j} w_{ij}

    .. math:: \partial t_j / \partial w_{ij} = (t_i - t_j) / S_j, \qquad
              \partial t_j / \partial t_i = w_{ij} / S_j

    for i in the causal set C_j. Ramps do not decay: a neuron whose weights sum to more than 0 fires
    sooner or later.

    Source: Zhang et al. 2021 (arXiv 2003.11837); derivatives are ours, no public code was found.
    """

    theta: float = 1.0
    """Threshold θ, reached with >=. With the frame as unit of time it only scales the weights."""
    min_slope: float = 0.0
    """In gradients 1 / S is at most 1 / min_slope; 0 leaves them exact."""

    def __post_init__(self) -> None:
        check_fields(self)
        used("zhang2021")
        if not (0.0 < self.theta < math.inf and 0.0 <= self.min_slope < math.inf):
            raise ValueError(
                "theta must be positive and min_slope >= 0, both finite, got "
                f"theta={self.theta}, min_slope={self.min_slope}."
            )

    def psp(self, lag: Tensor) -> Tensor:
        """Return K(lag)."""
        return lag.clamp_min(0.0)

    def in_units(self, unit: float) -> "ReLPSP":
        """Return the neuron itself: ramps look alike on every clock."""
        return self

    def alpha(self) -> Alpha:
        """Return its numbers."""
        return Alpha(self.theta, 0.0, math.inf, self.min_slope)

    def cross_fast(self, spikes: Sorted, weight: Tensor, out: Crossing) -> None:
        """Find the first crossings by numba's kernels."""
        check_crossing(spikes, weight, out)
        w = weight.contiguous().numpy()
        kernels.rel_forward(
            *(x.numpy() for x in spikes), w, w.dtype.type(self.theta), *(x.numpy() for x in out)
        )

    def back_fast(self, run: Run, upstream: Tensor, since: int, parts: Parts) -> None:
        """Add up the gradients by numba's kernels."""
        factor = upstream / run.crossing.slope.clamp_min(self.min_slope)
        tensors = (run.spikes.times, run.spikes.order, run.index, run.weight.contiguous())
        outs = (run.crossing.time, run.crossing.causal, factor)
        kernels.rel_backward(
            *(x.numpy() for x in (*tensors, *outs)),
            since,
            parts.weight.numpy(),
            parts.times.numpy(),
        )


def rel_psp(
    sizes: Sequence[int] = (784, 340, 10),
    *,
    generator: torch.Generator | None = None,
    theta: float = 1.0,
    min_slope: float = 2.0,
    gain: float = 1.0,
) -> ContinuousNetwork:
    """Make a fully connected ReL-PSP network with random weights.

    The first layer's weights are centred, for about 100 inputs that spike; all later layers begin
    with a drift towards θ, so that hidden neurons fire about a third of a frame after their inputs.
    The paper gives no recipe; this one is ours.

    Args:
        sizes: units per layer, input first.
        generator: source of the weights; default: a new one with seed 0.
        theta: threshold θ.
        min_slope: bound of 1 / S in gradients.
        gain: multiplies the spread of all weights.

    Example:
        >>> net = rel_psp((784, 340, 10), generator=torch.Generator().manual_seed(0))
        >>> [t.shape[1] for t in net.spike_times(torch.zeros(1, 784))]
        [340, 10]
    """
    generator, neuron = fresh_generator(generator), ReLPSP(theta, min_slope)
    layers = []
    for i, (n_in, n_out) in enumerate(layer_sizes(sizes)):
        mean, n = (3.0 / n_in, n_in) if i else (0.0, min(100, n_in))
        weight = normal((n_in, n_out), theta * mean, theta * gain * 0.5 / n**0.5, generator)
        layers.append(Dense(neuron, weight))
    options = {"sizes": list(sizes), "theta": theta, "min_slope": min_slope, "gain": gain}
    return ContinuousNetwork(layers, rel_psp, options)
