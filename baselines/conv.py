"""ConvReL-PSP: convolutions of ReL-PSP neurons, pooling by the earliest spike."""

from collections.abc import Sequence

import torch

from baselines.continuous import ContinuousNetwork, Conv, Dense, layer_sizes, normal
from baselines.rel_psp import ReLPSP
from rc_snn.models import fresh_generator


def conv_rel_psp(
    channels: Sequence[int] = (16, 32),
    hidden: Sequence[int] = (800, 128),
    *,
    generator: torch.Generator | None = None,
    size: Sequence[int] = (28, 28),
    n_classes: int = 10,
    kernel_size: int = 5,
    pool: int = 2,
    theta: float = 1.0,
    min_slope: float = 2.0,
    gain: float = 1.0,
) -> ContinuousNetwork:
    """Make a ConvReL-PSP network with random weights; 784-16C5-P2-32C5-P2-800-128-10 by default.

    The paper names kernels of side 5 and pooling of side 2. It does not say how borders are
    treated: here kernels stay inside the grid, so 28x28 becomes 12x12x16, then 4x4x32.

    Args:
        channels: of each convolution, each followed by pooling.
        hidden: units of the dense hidden layers.
        generator: source of the weights; default: a new one with seed 0.
        size: height and width of the image.
        n_classes: number of classes.
        kernel_size: side of the kernels.
        pool: side of the pooled squares.
        theta: threshold θ.
        min_slope: bound of 1 / S in gradients.
        gain: multiplies the spread of all weights.

    Source: Zhang et al. 2021 (arXiv 2003.11837) for the architecture; initial weights are ours.

    Example:
        >>> net = conv_rel_psp(generator=torch.Generator().manual_seed(0))
        >>> [t.shape[1] for t in net.spike_times(torch.zeros(1, 784))]
        [2304, 512, 800, 128, 10]
    """
    generator, neuron = fresh_generator(generator), ReLPSP(theta, min_slope)
    layers: list[Dense | Conv] = []
    height, width = size
    grid = (height, width, 1)
    for i, n_out in enumerate(channels):
        n_in = kernel_size**2 * grid[2]
        # The first kernel sees a piece of a stroke: about ten of its inputs spike.
        mean, n = (3.0 / n_in, n_in) if i else (1.0 / n_in, min(10, n_in))
        weight = normal((n_in, n_out), theta * mean, theta * gain * _SPREAD / n**0.5, generator)
        layer = Conv(neuron, weight, grid, kernel_size, pool)
        layers.append(layer)
        grid = layer.size
    for n_in, n_out in layer_sizes((grid[0] * grid[1] * grid[2], *hidden, n_classes)):
        weight = normal(
            (n_in, n_out), theta * 3.0 / n_in, theta * gain * _SPREAD / n_in**0.5, generator
        )
        layers.append(Dense(neuron, weight))
    options = {
        "channels": list(channels),
        "hidden": list(hidden),
        "size": list(size),
        "n_classes": n_classes,
        "kernel_size": kernel_size,
        "pool": pool,
        "theta": theta,
        "min_slope": min_slope,
        "gain": gain,
    }
    return ContinuousNetwork(layers, conv_rel_psp, options)


_SPREAD = 0.5
