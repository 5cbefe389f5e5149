"""Networks whose neurons spike once, as simulators need them: per layer one linear equation."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from baselines.alpha_psp import AlphaPSP
from baselines.continuous import ContinuousNetwork, Conv, Dense, check_spike_times
from baselines.rel_psp import ReLPSP
from bridges.errors import BridgeError


@dataclass(frozen=True)
class Layer:
    r"""Neurons with a synaptic current I and a potential V, both linear below the threshold.

    .. math:: \dot V = I - K V, \qquad \dot I = -K I, \qquad I \mathrel{+}= w \text{ at each input}

    K > 0 makes V a sum of α kernels, w s exp(-K s); K = 0 one of ramps, w s. Time is in frames.

    Source: Comşa et al. 2020 (α-PSP), Zhang et al. 2021 (ReL-PSP); the equations are those whose
    impulse responses their potentials are.
    """

    weight: Float64[np.ndarray, "inputs neurons"]
    pulse_weight: Float64[np.ndarray, "pulses neurons"]
    pulses: Float64[np.ndarray, " pulses"]
    """Times of synchronisation pulses, in frames, the same for every sample."""
    theta: float
    decay: float
    """Decay rate K, per frame."""

    @property
    def n_neurons(self) -> int:
        """Return the number of neurons."""
        return int(self.weight.shape[1])


def layers(network: ContinuousNetwork) -> list[Layer]:
    """Return the layers of an α-PSP or ReL-PSP network, in frames.

    Raises:
        BridgeError: if a layer pools by the earliest spike, which no target does.

    Example:
        >>> from baselines.rel_psp import rel_psp
        >>> net = rel_psp((4, 3, 2), generator=torch.Generator().manual_seed(0))
        >>> [(layer.weight.shape, layer.theta, layer.decay) for layer in layers(net)]
        [((4, 3), 1.0, 0.0), ((3, 2), 1.0, 0.0)]
    """
    return [_layer(part) for part in network.in_frames().layers]


def _layer(part: Any) -> Layer:
    if isinstance(part, Conv) and part.pool == 1:
        part = part.as_dense()
    if not isinstance(part, Dense):
        raise BridgeError(
            f"A layer of kind {type(part).__name__} pools by the earliest spike, which no target "
            "expresses. Export a dense network, or the spikes of this one with "
            "SpikeStream.from_times."
        )
    weight = part.weight.detach().double().cpu().numpy()
    pulses = torch.zeros(0) if part.pulses is None else part.pulses.detach()
    if len(pulses) and float(pulses.min()) < 0.0:
        raise BridgeError(
            f"A pulse comes at {float(pulses.min())} frames, before the start, which no simulator "
            "plays. Clamp the pulses to 0 and measure the network again."
        )
    neuron = part.neuron
    assert isinstance(neuron, AlphaPSP | ReLPSP)
    return Layer(
        weight[: part.n_inputs],
        weight[part.n_inputs :],
        pulses.double().cpu().numpy(),
        neuron.theta,
        neuron.decay if isinstance(neuron, AlphaPSP) else 0.0,
    )


class Pairs(NamedTuple):
    """Synapses between neurons numbered side by side, `sample * n_neurons + neuron`."""

    source: Int64[np.ndarray, " pairs"]
    target: Int64[np.ndarray, " pairs"]
    weight: Float64[np.ndarray, " pairs"]


def input_spikes(
    times: Float[Tensor, "batch inputs"],
) -> tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"], Float64[np.ndarray, " _"]]:
    """Return sample, unit and time of each input that spikes.

    Example:
        >>> [x.tolist() for x in input_spikes(torch.tensor([[torch.inf, 0.5], [0.25, torch.inf]]))]
        [[0, 1], [1, 0], [0.5, 0.25]]
    """
    sample, unit = torch.isfinite(times).nonzero().unbind(1)
    at = times.detach()[sample, unit].double()
    return sample.cpu().numpy(), unit.cpu().numpy(), at.cpu().numpy()


def input_pairs(
    layer: Layer, sample: Int64[np.ndarray, " _"], unit: Int64[np.ndarray, " _"]
) -> Pairs:
    """Connect each input that spikes, numbered as `input_spikes`, to the neurons of its sample."""
    n = layer.n_neurons
    target = sample[:, None] * n + np.arange(n)
    source = np.repeat(np.arange(len(sample)), n)
    return _connected(source, target.ravel(), layer.weight[unit].ravel())


def _connected(source: Any, target: Any, weight: Any) -> Pairs:
    """Leave out synapses of weight 0, of which a convolution has many."""
    there = weight != 0.0
    return Pairs(source[there], target[there], weight[there])


def dense_pairs(layer: Layer, batch: int) -> Pairs:
    """Connect all neurons of each sample to those of its next layer."""
    sample, source, target = np.indices((batch, *layer.weight.shape)).reshape(3, -1)
    n_in, n = layer.weight.shape
    weight = np.tile(layer.weight.ravel(), batch)
    return _connected(sample * n_in + source, sample * n + target, weight)


def pulse_pairs(layer: Layer, batch: int) -> Pairs:
    """Connect the pulses, which all samples share, to all neurons."""
    source, target = np.indices((len(layer.pulses), batch * layer.n_neurons)).reshape(2, -1)
    return Pairs(source, target, np.tile(layer.pulse_weight, batch).ravel())


def check_run(
    network: ContinuousNetwork, times: Tensor, dt: float, frames: float, frame_ms: float = 1000.0
) -> None:
    """Refuse what no clock-driven run can be made of."""
    check_spike_times(times, network.n_inputs)
    if len(times) == 0:
        raise ValueError("The batch is empty; a simulation needs at least one sample.")
    if not 0.0 < dt <= frames < math.inf:
        raise ValueError(f"dt must be in (0, frames] frames, got dt={dt} and frames={frames}.")
    if not 0.0 < frame_ms < math.inf:
        raise ValueError(f"frame_ms must be positive and finite, got {frame_ms}.")


@dataclass(frozen=True)
class Agreement:
    """How a simulation's first spikes differ from the closed form's, among neurons that fire."""

    neurons: int
    """Neurons of all samples."""
    fired: int
    """Neurons that fire before the end in at least one of both."""
    within: float
    """Share of those whose two times differ by at most one dt."""
    median: float
    """Median difference in frames, of those that fire in both."""
    largest: float
    """Largest difference in frames, of those that fire in both."""
    only_one: int
    """Neurons that fire in one of both only."""


def agreement(
    simulated: Float[Tensor, "batch neurons"],
    exact: Float[Tensor, "batch neurons"],
    dt: float,
    end: float,
) -> Agreement:
    """Compare first spikes; those after `end` frames are silent in both.

    Example:
        >>> exact = torch.tensor([[0.5, torch.inf, 0.7, 3.0]], dtype=torch.float64)
        >>> ours = torch.tensor([[0.5004, torch.inf, 0.75, torch.inf]], dtype=torch.float64)
        >>> a = agreement(ours, exact, dt=1e-3, end=2.0)
        >>> a.fired, a.within, a.only_one
        (2, 0.5, 0)
    """
    times = (t.detach().double() for t in (simulated, exact))
    a, b = (torch.where(t < end, t, torch.inf) for t in times)
    either, both = (torch.isfinite(torch.stack([a, b])).any(0), torch.isfinite(a + b))
    error = (a - b)[both].abs()
    n = int(either.sum())
    return Agreement(
        neurons=a.numel(),
        fired=n,
        within=float((error <= dt * (1.0 + 1e-9)).sum()) / max(n, 1),
        median=float(error.median()) if len(error) else 0.0,
        largest=float(error.max()) if len(error) else 0.0,
        only_one=n - int(both.sum()),
    )
