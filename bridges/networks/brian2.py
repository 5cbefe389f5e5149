"""α-PSP and ReL-PSP networks in Brian2: its equations and clock, with spike times within a step."""

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
from bridges.target import load
from bridges.targets.brian2 import TARGET, interpreted

_NEVER = 1e9
"""Spike time, in frames, of who has not spiked: Brian2's expressions know no infinity."""

_NEURON = """
dv/dt = (current - K * v) / frame : 1
dcurrent/dt = -K * current / frame : 1
before : 1
at : 1
"""
_SYNAPSE = """
late = (t + dt) / frame - at_pre
current_post += w * exp(-K * late)
v_post += w * late * exp(-K * late)
"""
_END_OF_STEP = "at = (t + dt) / frame"
_WITHIN_STEP = "at = (t + dt * (theta - before) / (v - before)) / frame"


@dataclass(frozen=True)
class BrianNetwork:
    """A Brian2 network of all samples side by side."""

    network: Any
    """The `Network`, to run; add monitors of its groups to it."""
    groups: list[Any]
    """A `NeuronGroup` per layer: neuron `sample * n_neurons + neuron`, its spike time in `at`."""
    batch: int

    def spike_times(self) -> list[Float64[Tensor, "batch neurons"]]:
        """Return the first spikes of every layer in frames, `inf` for silence, after a run."""
        held = [torch.from_numpy(np.array(group.at[:])) for group in self.groups]
        return [at.masked_fill(at >= _NEVER, torch.inf).view(self.batch, -1) for at in held]


def create(
    network: ContinuousNetwork,
    times: Float[Tensor, "batch inputs"],
    *,
    dt: float = 1e-3,
    precise: bool = True,
    frame_ms: float = 1000.0,
) -> BrianNetwork:
    """Build a network and its input in Brian2.

    Between spikes the equations are integrated exactly, and a neuron spikes once. With `precise`,
    every spike carries the time within its step at which it happened: inputs have their own, a
    neuron that at which the line between V at the step's ends crosses the threshold; a synapse adds
    what its kernel has become since. Else spikes happen at the ends of steps, as in any network
    that a clock drives. Layers follow each other within a step, without delay.

    Args:
        network: dense layers of α-PSP or ReL-PSP neurons.
        times: input spikes in frames; `inf` is silence.
        dt: step of the clock, in frames.
        precise: whether spikes happen within steps.
        frame_ms: milliseconds that Brian2 simulates for one frame.

    Raises:
        BridgeError: if a layer is a convolution.
        ImportError: if Brian2 is not installed.
    """
    check_run(network, times, dt, max(dt, 1.0), frame_ms)
    b2 = load(TARGET)
    build = _Builder(b2, dt, precise, frame_ms * b2.ms)
    sample, unit, at = input_spikes(times)
    before = build.source(at)
    objects: list[Any] = [before]
    groups: list[Any] = []
    for i, layer in enumerate(layers(network)):
        group = build.neurons(layer, len(times), order=3 * i)
        pairs = dense_pairs(layer, len(times)) if groups else input_pairs(layer, sample, unit)
        objects += [
            group,
            *group.contained_objects,
            *build.synapses(before, group, pairs, layer, 3 * i),
        ]
        if len(layer.pulses):
            pulses = build.source(layer.pulses)
            shared = pulse_pairs(layer, len(times))
            objects += [pulses, *build.synapses(pulses, group, shared, layer, 3 * i)]
        groups.append(group)
        before = group
    return BrianNetwork(b2.Network(*objects), groups, len(times))


def spike_times(
    network: ContinuousNetwork,
    times: Float[Tensor, "batch inputs"],
    *,
    dt: float = 1e-3,
    frames: float = 2.0,
    precise: bool = True,
) -> list[Float64[Tensor, "batch neurons"]]:
    """Simulate a network in Brian2, and return the first spikes of every layer, in frames.

    The counterpart of `ContinuousNetwork.spike_times`; see `create`.

    Args:
        network: dense layers of α-PSP or ReL-PSP neurons.
        times: input spikes in frames; `inf` is silence.
        dt: step of the clock, in frames.
        frames: simulated time; later spikes are silence.
        precise: whether spikes happen within steps.

    Example:
        >>> from baselines.rel_psp import rel_psp
        >>> net = rel_psp((4, 3, 2), generator=torch.Generator().manual_seed(0))
        >>> [t.shape[1] for t in spike_times(net, torch.rand(1, 4), dt=0.1, frames=0.5)]
        [3, 2]
    """
    check_run(network, times, dt, frames)
    b2 = load(TARGET)
    with interpreted():  # to set weights takes a program, too
        built = create(network, times, dt=dt, precise=precise)
        built.network.run(frames * 1000.0 * b2.ms, namespace={})
    return built.spike_times()


@dataclass(frozen=True)
class _Builder:
    """What all parts of a network share."""

    b2: Any
    dt: float
    precise: bool
    frame: Any

    def source(self, at: Float64[np.ndarray, " _"]) -> Any:
        """Return neurons that spike once each, in the step that holds their time."""
        if not self.precise:
            at = np.rint(at / self.dt) * self.dt
        group = self.b2.NeuronGroup(
            max(len(at), 1),  # Brian2 has no empty groups
            "at : 1",
            threshold="at <= (t + (1 + 1e-9) * dt) / frame",  # on the edge: rounding must not delay
            refractory="at < never",
            dt=self.dt * self.frame,
            namespace={"frame": self.frame, "never": _NEVER},
        )
        group.at = at if len(at) else _NEVER
        return group

    def neurons(self, layer: Layer, batch: int, order: int) -> Any:
        """Return the neurons of a layer, whose spikes come after `order` in a step."""
        group = self.b2.NeuronGroup(
            batch * layer.n_neurons,
            _NEURON,
            threshold="v >= theta",
            reset=_WITHIN_STEP if self.precise else _END_OF_STEP,
            refractory="at < never",
            method="exact",
            dt=self.dt * self.frame,
            namespace={
                "frame": self.frame,
                "K": layer.decay,
                "theta": layer.theta,
                "never": _NEVER,
            },
        )
        group.at = _NEVER
        group.run_regularly("before = v", when="start")
        for part, place in ((group.thresholder, order + 1), (group.resetter, order + 2)):
            part["spike"].when, part["spike"].order = "synapses", place
        return group

    def synapses(
        self, source: Any, target: Any, pairs: Pairs, layer: Layer, order: int
    ) -> list[Any]:
        """Return the synapses between two groups, whose spikes arrive at `order` in a step."""
        if len(pairs.weight) == 0:
            return []
        synapses = self.b2.Synapses(
            source,
            target,
            "w : 1",
            on_pre=_SYNAPSE,
            dt=self.dt * self.frame,
            namespace={"frame": self.frame, "K": layer.decay},
        )
        synapses.connect(i=pairs.source, j=pairs.target)
        synapses.w = pairs.weight
        synapses.pre.when, synapses.pre.order = "synapses", order
        return [synapses]
