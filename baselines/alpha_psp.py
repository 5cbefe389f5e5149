"""α-PSP: first-spike networks with α-shaped postsynaptic potentials, solved exactly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines import kernels
from baselines.continuous import ContinuousNetwork, Dense, layer_sizes, normal
from baselines.first_spike import Parts, Run, check_crossing
from baselines.network_file import read_parameters
from baselines.tensor_path import Alpha, Crossing, Sorted
from rc_snn.borders.numbers import check_fields
from rc_snn.models import fresh_generator
from rc_snn.shown.citation import used

DECAY = 0.18176949150701854
"""Decay rate K, per frame, of the published networks and of their training command."""
THETA = 1.1673205005788956
"""Threshold θ of the same command; the published files say 1.16732."""
CLIP = 539.69973904211679
"""Bound of the derivatives of spike times, of the same command."""


@dataclass(frozen=True)
class AlphaPSP:
    r"""A neuron whose potential is a sum of α kernels, ε(s) = s exp(-K s) for s >= 0.

    .. math:: V(t) = \sum_i w_i\, \epsilon(t - t_i)
                   = e^{-K t} (A t - B), \quad A = \sum_C w_i e^{K t_i}, \;
                   B = \sum_C w_i t_i e^{K t_i}

    .. math:: t_{out} = B / A - W_0(x) / K, \quad x = -(K \theta / A)\, e^{K B / A}

    with the principal branch of Lambert's W, for the smallest causal set C whose crossing comes
    before the next input. Derivatives, for p in C:

    .. math:: \partial t_{out} / \partial w_p = -\epsilon(t_{out} - t_p) / V'(t_{out}), \qquad
              \partial t_{out} / \partial t_p = w_p\, \epsilon'(t_{out} - t_p) / V'(t_{out})

    Instead of A and B, which overflow, q = V(t_i) and p = Σ w exp(-K (t_i - t_p)) are carried from
    input to input: V(t_i + s) = exp(-K s) (q + p s). With z = ln(peak of V / θ) >= 0 and
    y = -W_0(x), the equation is y - ln y = 1 + z; u = -ln y makes it u + exp(-u) = 1 + z, which is
    well conditioned even where the crossing is nearly a tangent; and V'(t_out) = θ K (exp(u) - 1).

    Source: Comşa et al. 2020 (arXiv 1907.13223); google/ihmehimmeli. Its Lambert iteration stops at
    1e-3 of a logarithm, so that its spike times are off by up to 1e-6 frames; these are exact.
    """

    theta: float = THETA
    """Threshold θ."""
    decay: float = DECAY
    """Decay rate K, per frame."""
    clip: float = 0.0
    """Each derivative is clamped to ±clip before the upstream gradient multiplies it; 0: off."""

    def __post_init__(self) -> None:
        check_fields(self)
        used("comsa2020")
        if not (0.0 < self.theta < math.inf and 0.0 < self.decay < math.inf and self.clip >= 0.0):
            raise ValueError(
                "theta and decay must be positive and clip >= 0, got "
                f"theta={self.theta}, decay={self.decay}, clip={self.clip}."
            )

    def psp(self, lag: Tensor) -> Tensor:
        """Return ε(lag)."""
        lag = lag.clamp_min(0.0)
        # Silent inputs have the lag 0 by now: inf never comes here.
        return lag * torch.exp(-self.decay * lag)

    def in_units(self, unit: float) -> "AlphaPSP":
        """Return the neuron on a clock whose unit lasts so many frames."""
        return replace(self, decay=self.decay * unit)

    def alpha(self) -> Alpha:
        """Return its numbers."""
        return Alpha(self.theta, self.decay, self.clip or math.inf, 1e-30)

    def cross_fast(self, spikes: Sorted, weight: Tensor, out: Crossing) -> None:
        """Find the first crossings by numba's kernels."""
        check_crossing(spikes, weight, out)
        w = weight.contiguous().numpy()
        number = w.dtype.type
        kernels.alpha_forward(
            *(x.numpy() for x in spikes),
            w,
            number(self.theta),
            number(self.decay),
            *(x.numpy() for x in (out.time, out.causal, out.slope)),
        )

    def back_fast(self, run: Run, upstream: Tensor, since: int, parts: Parts) -> None:
        """Add up the gradients by numba's kernels."""
        number = run.weight.numpy().dtype.type
        tensors = (
            run.spikes.times,
            run.spikes.order,
            run.index,
            run.weight.contiguous(),
            run.crossing.time,
            run.crossing.causal,
            run.crossing.slope,
            upstream,
        )
        kernels.alpha_backward(
            *(x.numpy() for x in tensors),
            number(self.decay),
            number(self.clip or math.inf),
            since,
            parts.weight.numpy(),
            parts.times.numpy(),
        )


def alpha_psp(
    sizes: Sequence[int] = (784, 340, 10),
    *,
    generator: torch.Generator | None = None,
    n_pulses: int = 10,
    theta: float = THETA,
    decay: float = DECAY,
    clip: float = CLIP,
    weight_mean: float = -0.2754188425913906,
    pulse_mean: float = 7.8391245503824578,
) -> ContinuousNetwork:
    """Make an α-PSP network with the authors' random weights.

    Glorot normal, σ² = 2 / (n_out + n_in + n_pulses), with means in units of σ: one for the inputs,
    one for the pulses, which begin evenly spread over the frame.

    Args:
        sizes: units per layer, input first.
        generator: source of the weights; default: a new one with seed 0.
        n_pulses: synchronisation pulses of each layer.
        theta: threshold θ.
        decay: decay rate K, per frame.
        clip: bound of the derivatives of spike times; 0 leaves them exact.
        weight_mean: mean of the inputs' weights, in σ.
        pulse_mean: mean of the pulses' weights, in σ.

    Source: google/ihmehimmeli: initialisation in the code, values in the README's command.

    Example:
        >>> net = alpha_psp((784, 340, 10), generator=torch.Generator().manual_seed(0))
        >>> net.layers[0].pulses[:2] * 11
        tensor([1., 2.], grad_fn=<MulBackward0>)
    """
    generator = fresh_generator(generator)
    neuron, layers = AlphaPSP(theta, decay, clip), []
    pulses = torch.arange(1, n_pulses + 1) / (n_pulses + 1)
    for n_in, n_out in layer_sizes(sizes):
        std = math.sqrt(2.0 / (n_out + n_in + n_pulses))
        parts = [(n_in, weight_mean), (n_pulses, pulse_mean)]
        weight = [normal((n, n_out), mean * std, std, generator) for n, mean in parts]
        layers.append(Dense(neuron, torch.cat(weight), pulses.clone() if n_pulses else None))
    return ContinuousNetwork(layers, alpha_psp, _options(sizes, n_pulses, neuron))


def _options(sizes: Sequence[int], n_pulses: int, neuron: AlphaPSP) -> dict[str, Any]:
    """Return what `alpha_psp` makes another such network of."""
    sized = {"sizes": [int(size) for size in sizes], "n_pulses": n_pulses}
    return sized | {"theta": neuron.theta, "decay": neuron.decay, "clip": neuron.clip}


def load_network(
    path: Path | str,
    *,
    decay: float | None = None,
    clip: float = CLIP,
    dtype: torch.dtype = torch.float64,
) -> ContinuousNetwork:
    """Load an α-PSP network: the authors' public text files, or npz with the same content.

    Args:
        path: text as google/ihmehimmeli writes it, or npz with theta, sizes, pulses, w0, w1, ...
        decay: decay rate K, per frame, which the text format does not hold; default: what the file
            says, else 0.181769, which the published networks need.
        clip: bound of the derivatives, should it be trained further.
        dtype: of weights and spike times.

    Raises:
        ValueError: if the file is damaged, foreign or absurdly large.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "net").write_text("pulses_per_layer 1.0 2 1 1 0 9.5 ")
        ...     net = load_network(Path(folder, "net"))
        >>> out = net.spike_times(torch.zeros(1, 1, dtype=torch.float64))[-1]
        >>> 9.5 * net.layers[0].neuron.psp(out)  # the potential at the spike
        tensor([[1.0000]], dtype=torch.float64, grad_fn=<MulBackward0>)
    """
    held = read_parameters(path)
    rate = decay if decay is not None else held.decay if held.decay is not None else 0.181769
    neuron, layers = AlphaPSP(held.theta, rate, clip), []
    for weight, pulses in zip(held.weights, held.pulses, strict=False):
        own = pulses.to(dtype).clone() if len(pulses) else None
        layers.append(Dense(neuron, weight.t().contiguous().to(dtype), own))
    sizes = [layers[0].n_inputs, *(layer.n_outputs for layer in layers)]
    return ContinuousNetwork(layers, alpha_psp, _options(sizes, len(held.pulses[0]), neuron))
