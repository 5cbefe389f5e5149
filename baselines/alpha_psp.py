"""α-PSP: first-spike networks with α-shaped postsynaptic potentials, solved exactly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from baselines import kernels
from baselines.continuous import ContinuousNetwork, Dense, layer_sizes, normal
from baselines.first_spike import Crossing, Parts, Run, Sorted, check_crossing
from baselines.network_file import read_parameters
from rc_snn.borders.numbers import check_fields
from rc_snn.models import fresh_generator

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

    def cross(self, spikes: Sorted, weight: Float[Tensor, "inputs neurons"]) -> Crossing:
        """Find the first crossings by tensors: an event loop over all rows at once."""
        times, order, count = spikes
        k, most = self.decay, int(count.max()) if count.numel() else 0
        shape = (*times.shape[:2], weight.shape[1])
        p, q = weight.new_zeros(shape), weight.new_zeros(shape)
        open_ = torch.ones(shape, dtype=torch.bool, device=weight.device)
        kept = [weight.new_ones(shape) for _ in range(4)]  # p, q, t, dt at the crossing
        causal = torch.zeros(shape, dtype=torch.int32, device=weight.device)
        after = torch.cat([times[..., 1:], torch.full_like(times[..., :1], torch.inf)], dim=-1)
        for e in range(most):
            here = (e < count).unsqueeze(-1)
            p = p + torch.where(here, weight[order[..., e].long()], 0.0)
            now = torch.where(here, times[..., e : e + 1], 0.0)
            dt = torch.where(here, after[..., e : e + 1] - now, 0.0)
            end = torch.isposinf(dt)
            finite = torch.where(end, 0.0, dt)
            fade = torch.exp(-k * finite)
            then = fade * (q + p * finite)
            rise = p - k * q
            inside = (p > 0.0) & (rise >= 0.0) & (rise < p * k * dt)
            high = self._excess(torch.where(p > 0.0, p, 1.0), q) >= 0.0
            fire = open_ & here & (dt > 0.0) & (((then >= self.theta) & ~end) | (inside & high))
            for kept_, value in zip(kept, (p, q, now, dt), strict=True):
                kept_[fire] = value.expand(shape)[fire]
            causal[fire] = e + 1
            open_ &= ~fire
            p, q = torch.where(end, p, p * fade), torch.where(end, q, then)
        return self._crossing(kept, causal)

    def _excess(self, p: Tensor, q: Tensor) -> Tensor:
        """Return z, the logarithm of the peak over θ."""
        return torch.log(p / (self.decay * self.theta)) + self.decay * q / p - 1.0

    def _crossing(self, kept: list[Tensor], causal: Tensor) -> Crossing:
        (p, q, t, dt), fired = kept, causal > 0
        u = crossing(torch.where(fired, self._excess(p, q), 1.0).clamp_min(0.0))
        s = torch.minimum(torch.exp(-u) / self.decay - q / p, dt).clamp_min(0.0)
        slope = self.theta * self.decay * torch.expm1(u)
        return Crossing(
            torch.where(fired, t + s, torch.inf), causal, torch.where(fired, slope, 1.0)
        )

    def cross_fast(self, spikes: Sorted, weight: Tensor, out: Crossing) -> None:
        """Find the first crossings by the kernels."""
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

    def derivatives(self, lag: Tensor, weight: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Return dt/dw and dt/dt_i of an input that came `lag` before the spike, clipped."""
        fade = torch.exp(-self.decay * lag) / slope.clamp_min(1e-30)
        bound = self.clip or math.inf
        to_weight = (-lag * fade).clamp(-bound, bound)
        return to_weight, (weight * (1.0 - self.decay * lag) * fade).clamp(-bound, bound)

    def back_fast(self, run: Run, upstream: Tensor, since: int, parts: Parts) -> None:
        """Add up the gradients by the kernels."""
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


def crossing(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Solve u + exp(-u) = 1 + z for z >= 0 and u >= 0, that is u = -ln(-W0(-exp(-1 - z))).

    Newton's method from a series; four steps reach the last digits of float64.

    Example:
        >>> u = crossing(torch.tensor([0.0, 1.0], dtype=torch.float64))
        >>> u + torch.exp(-u)
        tensor([1., 2.], dtype=torch.float64)
    """
    root = (2.0 * z).sqrt()
    u = torch.where(z < 1.0, root + z / 3.0 + z * root / 18.0, 1.0 + z)
    for _ in range(4):
        grade = -torch.expm1(-u)
        u = u - torch.where(grade > 0.0, (u - grade - z) / grade.clamp_min(1e-30), 0.0)
    return u.clamp_min(0.0)


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
