"""α-PSP and ReL-PSP networks in NEST: `iaf_psc_exp_ps`, whose spike times are not on the grid."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from baselines.continuous import ContinuousNetwork
from bridges.networks.continuous import (
    Layer,
    Pairs,
    check_run,
    dense_pairs,
    input_pairs,
    input_spikes,
    layers,
    pulse_pairs,
)
from bridges.targets.nest import kernel, quiet

RAMP_FRAMES = 1e12
"""Time constant that stands for none: a ramp of s frames is then low by a share of s / 1e12."""


@dataclass(frozen=True)
class NestNetwork:
    """Populations in NEST's kernel, one per layer: all samples side by side."""

    inputs: Any
    """Spike generators: one for each input that spikes, of each sample; None if none does."""
    populations: list[Any]
    """Neuron `sample * n_neurons + neuron` of each layer."""
    recorders: list[Any]
    shifts: list[float]
    """Milliseconds by which each layer spikes later than in the network: NEST's delays."""
    frame_ms: float

    def spike_times(self, batch: int) -> list[Float64[Tensor, "batch neurons"]]:
        """Return the first spikes of every layer in frames, `inf` for silence, after a run."""
        out = []
        for population, recorder, shift in zip(
            self.populations, self.recorders, self.shifts, strict=True
        ):
            events = recorder.get("events")
            times = torch.full((len(population),), torch.inf, dtype=torch.float64)
            neuron = torch.from_numpy(np.asarray(events["senders"], np.int64))
            at = (np.asarray(events["times"], np.float64) - shift) / self.frame_ms
            times[neuron - int(population[0].global_id)] = torch.from_numpy(at)
            out.append(times.view(batch, -1))
        return out


def create(
    network: ContinuousNetwork,
    times: Float[Tensor, "batch inputs"],
    *,
    dt: float = 1e-3,
    frames: float = 2.0,
    precise: bool = True,
    frame_ms: float = 1000.0,
) -> NestNetwork:
    r"""Build a network and its input in NEST's kernel, which is reset: all nodes of others go.

    A neuron is a leaky integrate-and-fire neuron whose synaptic and membrane time constants are
    equal, 1 / K, so that its postsynaptic potential is the α kernel; without decay both are
    10^12 frames, which makes ramps. Each neuron spikes once: it stays refractory until the end.

    NEST's spikes travel at least one step: layer l spikes (l + 2) steps late (one more, because
    generators refuse time 0), and so do its pulses; `NestNetwork.spike_times` undoes that exactly.

    Args:
        network: dense layers of α-PSP or ReL-PSP neurons.
        times: input spikes in frames; `inf` is silence.
        dt: step of the clock, in frames.
        frames: after which neurons may not fire any more.
        precise: `iaf_psc_exp_ps`, which solves for the time of the crossing within a step, on input
            times as they are; else `iaf_psc_exp`, with all spikes on the grid.
        frame_ms: milliseconds that NEST simulates for one frame.

    Raises:
        BridgeError: if a layer is a convolution.
        ImportError: if NEST is not installed.
    """
    check_run(network, times, dt, frames, frame_ms)
    nest = kernel()
    nest.ResetKernel()
    nest.resolution = dt * frame_ms
    step = float(nest.resolution)
    stages = layers(network)
    sample, unit, at = input_spikes(times)
    inputs = before = _generators(nest, at * frame_ms + step, step, precise)
    populations: list[Any] = []
    recorders, shifts = [], []
    for i, layer in enumerate(stages):
        shift = (i + 2) * step
        neurons = nest.Create(
            "iaf_psc_exp_ps" if precise else "iaf_psc_exp",
            len(times) * layer.n_neurons,
            _neuron(layer, frame_ms, frames),
        )
        pairs = dense_pairs(layer, len(times)) if populations else input_pairs(layer, sample, unit)
        _connect(nest, before, neurons, pairs, step, frame_ms)
        pulses = _generators(nest, layer.pulses * frame_ms + shift - step, step, precise)
        _connect(nest, pulses, neurons, pulse_pairs(layer, len(times)), step, frame_ms)
        recorder = nest.Create("spike_recorder")
        nest.Connect(neurons, recorder)
        populations.append(neurons)
        before = neurons
        recorders.append(recorder)
        shifts.append(shift)
    return NestNetwork(inputs, populations, recorders, shifts, frame_ms)


def spike_times(
    network: ContinuousNetwork,
    times: Float[Tensor, "batch inputs"],
    *,
    dt: float = 1e-3,
    frames: float = 2.0,
    precise: bool = True,
) -> list[Float64[Tensor, "batch neurons"]]:
    """Simulate a network in NEST, and return the first spikes of every layer, in frames.

    The counterpart of `ContinuousNetwork.spike_times`; see `create`.

    Example:
        >>> from baselines.rel_psp import rel_psp
        >>> net = rel_psp((4, 3, 2), generator=torch.Generator().manual_seed(0))
        >>> [t.shape[1] for t in spike_times(net, torch.rand(1, 4), dt=1e-2)]
        [3, 2]
    """
    nest = kernel()
    with quiet(nest):
        built = create(network, times, dt=dt, frames=frames, precise=precise)
        nest.Simulate(np.ceil(frames / dt) * dt * built.frame_ms + built.shifts[-1])
        found = built.spike_times(len(times))
        nest.ResetKernel()
    return found


def _neuron(layer: Layer, frame_ms: float, frames: float) -> dict[str, float]:
    tau = frame_ms / layer.decay if layer.decay else RAMP_FRAMES * frame_ms
    return {
        "C_m": 1.0,
        "E_L": 0.0,
        "V_m": 0.0,
        "V_reset": 0.0,
        "V_th": layer.theta,
        "tau_m": tau,
        "tau_syn_ex": tau,
        "tau_syn_in": tau,
        "t_ref": (frames + 1.0) * frame_ms,  # one spike is all
    }


def _generators(nest: Any, at: Float64[np.ndarray, " _"], step: float, precise: bool) -> Any:
    """Return one spike generator for each time in ms, off the grid or rounded to it."""
    if len(at) == 0:  # NEST has no empty collections
        return None
    if not precise:
        at = np.rint(at / step) * step
    return nest.Create(
        "spike_generator",
        len(at),
        [{"spike_times": [float(t)], "precise_times": precise} for t in at],
    )


def _connect(
    nest: Any, before: Any, neurons: Any, pairs: Pairs, step: float, frame_ms: float
) -> None:
    """Connect pairs of nodes one to one: NEST takes them as arrays of node numbers."""
    if before is None:
        return
    nest.Connect(
        pairs.source + before[0].global_id,
        pairs.target + neurons[0].global_id,
        "one_to_one",
        {
            "weight": pairs.weight / frame_ms,
            "delay": np.full(len(pairs.weight), step),
            "synapse_model": "static_synapse",
        },
    )
