"""First spikes and their gradients by tensors: any device, any type of floats.

Also what this path and Triton's (`baselines.triton_kernels`) are given: a neuron by its numbers,
sorted inputs, and what a backward pass needs, which is no order. Memory is bounded by `AT_ONCE`:
as many inputs at once in the forward pass, and samples in the backward pass, as it allows.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

AT_ONCE = 2**22
"""Elements of the largest tensors made on the way, unless one input or sample needs more."""


class Alpha(NamedTuple):
    """A neuron by the numbers of its kernel ε(s) = s exp(-K s), of which a ramp does not decay."""

    theta: float
    decay: float
    """K; 0 is a ramp."""
    clip: float
    """Bound of each derivative of a spike time; `inf` leaves them exact."""
    min_slope: float
    """Least dV/dt that derivatives are divided by."""


class Crossing(NamedTuple):
    """First crossings of the threshold."""

    time: Float[Tensor, "batch rows neurons"]
    """In frames; `inf` where a neuron stays silent."""
    causal: Int[Tensor, "batch rows neurons"]
    """Number of inputs that arrived before the spike; 0 where it is silent."""
    slope: Float[Tensor, "batch rows neurons"]
    """dV/dt at the spike; 1 where it is silent."""


class Sorted(NamedTuple):
    """The inputs of every row in order of time, silent ones last."""

    times: Float[Tensor, "batch rows inputs"]
    order: Int[Tensor, "batch rows inputs"]
    spiking: Int[Tensor, "batch rows"]
    """Number of inputs that spike."""


@dataclass(frozen=True)
class Causes:
    """What a backward pass without order needs.

    Equal times come as one, so input i is in the causal set of neuron j if and only if it came no
    later than the last input of that set: t_i <= last_j.
    """

    times: Float[Tensor, "batch all"]
    index: Int[Tensor, "rows inputs"]
    weight: Float[Tensor, "inputs neurons"]
    time: Float[Tensor, "batch rows neurons"]
    """First spikes; 0 where a neuron is silent."""
    last: Float[Tensor, "batch rows neurons"]
    """Time of the last input of the causal set; -1 where a neuron is silent."""
    slope: Float[Tensor, "batch rows neurons"]


def cross(neuron: Alpha, spikes: Sorted, weight: Float[Tensor, "inputs neurons"]) -> Crossing:
    """Find the first crossings, from one block of inputs to the next.

    At each input V = q and the sum of the PSPs' slopes, p, are known: until the next one
    V(t + s) = exp(-K s) (q + p s). Within a block both are a scan: what earlier inputs left fades
    until a later one, and is added.
    """
    times, order, count = spikes
    (batch, rows, _), n_out = times.shape, weight.shape[1]
    most, theta, k = int(count.max()) if count.numel() else 0, neuron.theta, neuron.decay
    at_once = max(1, AT_ONCE // max(1, batch * rows * n_out))
    after = torch.cat([times[..., 1:], torch.full_like(times[..., :1], torch.inf)], dim=-1)
    p_end, q_end = weight.new_zeros(2, batch, rows, 1, n_out)
    t_end = times.new_zeros(batch, rows, 1)
    kept = weight.new_ones(4, batch, rows, n_out)  # p, q, t, dt at the crossing
    causal = torch.zeros(kept.shape[1:], dtype=torch.int32, device=weight.device)
    for low in range(0, most, at_once):
        block = slice(low, min(low + at_once, most))
        live = torch.isfinite(times[..., block])
        t = torch.where(live, times[..., block], 0.0)
        p = torch.where(live.unsqueeze(3), weight[order[..., block].long()], 0.0)
        gap = (t[..., :1] - t_end).clamp_min(0.0).unsqueeze(3)  # < 0 where nothing comes any more
        q, fade = torch.zeros_like(p), torch.exp(-k * gap)
        q[..., :1, :] = fade * (q_end + p_end * gap)
        p[..., :1, :] += fade * p_end
        _scan(p, q, t, k)
        p_end, q_end, t_end = p[..., -1:, :], q[..., -1:, :], t[..., -1:]
        end = torch.isposinf(after[..., block])
        dt = torch.where(end, 0.0, after[..., block] - t)
        reached = _reached(p, q, dt.unsqueeze(3), end.unsqueeze(3), theta, k)
        reached &= (live & (end | (dt > 0.0))).unsqueeze(3)  # equal times come as one
        first = reached.int().argmax(dim=2, keepdim=True)
        fires = reached.any(dim=2) & (causal == 0)
        dt = torch.where(end, torch.inf, dt)
        for known, value in zip(kept, (p, q, t.unsqueeze(3), dt.unsqueeze(3)), strict=True):
            known.copy_(torch.where(fires, value.take_along_dim(first, dim=2).squeeze(2), known))
        causal = torch.where(fires, first.squeeze(2).int() + low + 1, causal)
        if bool((causal > 0).all()):
            break
    (p, q, t, dt), fired = kept, causal > 0
    if k:
        u = crossing(torch.where(fired, _excess(p, q, theta, k), 1.0).clamp_min(0.0))
        lag, slope = torch.exp(-u) / k - q / p, theta * k * torch.expm1(u)
    else:
        lag, slope = (theta - q) / p, p
    time = torch.where(fired, t + torch.minimum(lag, dt).clamp_min(0.0), torch.inf)
    return Crossing(time, causal, torch.where(fired, slope, 1.0))


def _scan(p: Tensor, q: Tensor, t: Tensor, decay: float) -> None:
    """Add to p and q at each input, in place, what all earlier ones of the block left."""
    shift = 1
    while shift < t.shape[-1]:
        gap = (t[..., shift:] - t[..., :-shift]).clamp_min(0.0).unsqueeze(3)
        fade = torch.exp(-decay * gap)
        more_p = fade * p[..., :-shift, :]
        more_q = fade * q[..., :-shift, :] + more_p * gap
        p[..., shift:, :] += more_p
        q[..., shift:, :] += more_q
        shift *= 2


def _reached(p: Tensor, q: Tensor, dt: Tensor, end: Tensor, theta: float, k: float) -> Tensor:
    """Say whether V reaches θ before the next input; at the end there is none."""
    then = torch.exp(-k * dt) * (q + p * dt) >= theta
    if not k:
        return torch.where(end, p > 0.0, then)
    rise = p - k * q
    inside = (p > 0.0) & (rise >= 0.0) & (end | (rise < p * (k * dt)))
    high = _excess(torch.where(p > 0.0, p, 1.0), q, theta, k) >= 0.0
    return (then & ~end) | (inside & high)


def _excess(p: Tensor, q: Tensor, theta: float, decay: float) -> Tensor:
    """Return z, the logarithm of the peak over θ."""
    return torch.log(p / (decay * theta)) + decay * q / p - 1.0


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


def back(
    neuron: Alpha, run: Causes, upstream: Tensor, n_all: int, since: int
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the weight, and of the input times from `since` on.

    Each derivative is clipped before the upstream gradient, 0 for silent neurons, multiplies it.
    """
    d_weight = torch.zeros_like(run.weight)
    d_times = run.weight.new_zeros(len(upstream), n_all)
    index, bound = run.index.long(), neuron.clip
    at_once = max(1, AT_ONCE // (len(index) * run.weight.numel()))
    seen = (run.times, run.time, run.last, run.slope, upstream, d_times)
    for times, *by_neuron, found in zip(*(x.split(at_once) for x in seen), strict=True):
        t = times[:, index].unsqueeze(3)  # [samples, rows, inputs, 1]
        time, last, slope, grad = (x.unsqueeze(2) for x in by_neuron)  # [samples, rows, 1, neurons]
        inside = t <= last
        lag = torch.where(inside, time - t, 0.0)
        grad = torch.where(inside, grad, 0.0)
        fade = torch.exp(-neuron.decay * lag) / slope.clamp_min(neuron.min_slope)
        d_weight += ((-lag * fade).clamp(-bound, bound) * grad).sum(dim=(0, 1))
        if since < n_all:
            slew = run.weight * (1.0 - neuron.decay * lag) * fade
            found.index_add_(
                1, index.flatten(), (slew.clamp(-bound, bound) * grad).sum(dim=3).flatten(1)
            )
    return d_weight, d_times[:, since:]
