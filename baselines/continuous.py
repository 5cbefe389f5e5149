"""Networks whose neurons spike at most once, in continuous time: decisions, and their cost."""

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from baselines.clocks import Clock, check_clocks, composed
from baselines.first_spike import first_spike_probabilities
from baselines.layers import Conv as Conv
from baselines.layers import Dense as Dense
from baselines.layers import check_size
from rc_snn.borders.numbers import count, number
from rc_snn.spikes import Decision, check_times
from rc_snn.step_model import evaluated

BATCH = 250
"""Samples that `decide` computes together."""


class ContinuousNetwork(nn.Module):
    """Layers of neurons that spike at most once; the first output spike is the answer.

    Args:
        layers: from the input to the output; the last one is dense.
        maker: what made the layers, such as `baselines.rel_psp.rel_psp`; None: a network of layers
            of its own, which cannot be written to a file.
        options: the maker's keyword arguments, JSON values.
        clocks: start and rate of each layer's clock and of the outputs', each relative to the one
            before, the first to frames (`baselines.clocks`). Weights and pulses are then in units
            of the layer's clock, decay rates per frame. A buffer, so that weights and clocks travel
            together. None: all layers read frames.
    """

    layers: Any  # an nn.ModuleList of Dense and Conv, which its own type does not say
    clocks: Tensor | None

    def __init__(
        self,
        layers: Sequence[Dense | Conv],
        maker: Callable[..., Any] | None = None,
        options: Mapping[str, Any] | None = None,
        clocks: Float[Tensor, "clocks 2"] | None = None,
    ) -> None:
        super().__init__()
        if clocks is not None:
            check_clocks(clocks, len(layers))
        self.register_buffer("clocks", clocks)
        self.maker, self.options = maker, options
        self.layers = nn.ModuleList(layers)
        self.n_inputs: int = layers[0].n_inputs
        self.n_classes: int = layers[-1].weight.shape[1]

    def spike_times(
        self,
        times: Float[Tensor, "batch inputs"],
        *,
        jitter: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> list[Tensor]:
        """Return the spike times of every layer, hidden ones first, in frames; `inf` is silence.

        Those of a network with clocks are float64, whatever its weights: float32 cannot tell late
        layers' spikes apart in frames. Train such a network on `local_times`.

        Args:
            times: input spikes in frames, >= 0; `inf` is silence.
            jitter: standard deviation of what is added to hidden spike times, in frames.
            generator: where the jitter is drawn from.

        Raises:
            ValueError: if a time is NaN or negative, or their number is not the network's.
        """
        local = self.local_times(times, jitter=jitter, generator=generator)
        if self.clocks is None:
            return local
        *hidden, _, out = self._clocks()
        return [clock.in_frames(x) for clock, x in zip([*hidden, out], local, strict=True)]

    def local_times(
        self,
        times: Float[Tensor, "batch inputs"],
        *,
        jitter: float = 0.0,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> list[Tensor]:
        """Return the spike times of every layer, each in its clock: what training reads.

        The last ones are in the outputs' clock. Without clocks, all are in frames.

        Args:
            times: input spikes in frames, >= 0; `inf` is silence.
            jitter: standard deviation of what is added to hidden spike times, in frames.
            dropout: share p of the hidden spikes that the next layer does not see, drawn for each
                sample; the weights of all others then count 1 / (1 - p).
            generator: where both are drawn from.

        Raises:
            ValueError: if a time is NaN or negative, or their number is not the network's.
        """
        check_spike_times(times, self.n_inputs)
        jitter = number(jitter, "jitter")
        if not 0.0 <= jitter < math.inf:
            raise ValueError(f"jitter must be >= 0 frames and finite, got {jitter}.")
        dropout = number(dropout, "dropout")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}.")
        own, frames = self.layers[0].weight, Clock(0.0, 1.0)
        clocks = [frames] * len(self.layers) if self.clocks is None else self._clocks()
        before, times = frames, times.to(own.device, own.dtype)
        out: list[Tensor] = []
        for i, (layer, clock) in enumerate(zip(self.layers, clocks, strict=False)):
            if out and jitter > 0.0:
                noise = torch.randn(times.shape, generator=generator, dtype=times.dtype)
                times = times + jitter / before.unit * noise.to(times.device)
                times = times.clamp_min(before.local(0.0))
            read, gain = self._read(times, i), 1.0
            if out and dropout > 0.0:
                left_out = torch.rand(read.shape, generator=generator) < dropout
                read = read.masked_fill(left_out.to(read.device), torch.inf)
                gain = 1.0 / (1.0 - dropout)
            times = layer(read, None if self.clocks is None else clock.unit, gain)
            out.append(times)
            before = clock
        return [*out[:-1], self._read(out[-1], len(out))]

    def _clocks(self) -> list[Clock]:
        """Return the clocks in frames: of each layer, then of the outputs."""
        assert self.clocks is not None
        return composed(self.clocks.tolist())

    def _read(self, times: Tensor, i: int) -> Tensor:
        """Return times of one clock in the next one, which is number i."""
        if self.clocks is None:
            return times
        start, rate = map(float, self.clocks[i])
        return (times - start) * rate

    def in_frames(self) -> "ContinuousNetwork":
        """Return an equal network whose layers all read frames, in float64.

        It is what simulators and files of other tools can take: weights and pulses in frames. A
        network without clocks is one already, and is returned as it is.
        """
        if self.clocks is None:
            return self
        layers = []
        for layer, clock in zip(self.layers, self._clocks(), strict=False):
            layer = copy.deepcopy(layer).double()
            with torch.no_grad():
                layer.weight /= clock.unit
                if layer.pulses is not None:
                    layer.pulses.copy_(clock.in_frames(layer.pulses))
            layers.append(layer)
        options = None if self.options is None else {**self.options, "clocks": False}
        return ContinuousNetwork(layers, self.maker, options)

    def decide(
        self,
        times: Float[Tensor, "batch inputs"],
        *,
        temperature: float = 1.0,
        fallback: bool = False,
    ) -> Decision:
        """Answer with the first output spike; the lowest class wins a tie.

        A sample whose outputs all stay silent has no answer: `fired=False`, time `inf`, and its
        label, 0, means nothing (`rc_snn.regimes.account` counts it as wrong).

        Args:
            times: input spikes in frames, >= 0; `inf` is silence.
            temperature: of the softmax of -t that gives the scores; t in the outputs' clock.
            fallback: where nothing has fired by the frame's end, let the largest potential there
                answer, forced, at time 1.

        Raises:
            ValueError: if a time is NaN or negative, their number is not the network's or zero, or
                a weight is not finite.

        Example:
            >>> from baselines.rel_psp import rel_psp
            >>> net = rel_psp((4, 3, 2), generator=torch.Generator().manual_seed(0))
            >>> net.decide(torch.full((1, 4), torch.inf)).fired
            tensor([False])
        """
        check_spike_times(times, self.n_inputs)
        temperature = number(temperature, "temperature")
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, got {temperature}.")
        if len(times) == 0:
            raise ValueError("The batch is empty; a decision needs at least one sample.")
        with torch.no_grad(), evaluated(self):
            parts = [self._decide(x, temperature, fallback) for x in times.split(BATCH)]
        return Decision.cat(parts)

    def _decide(self, times: Tensor, temperature: float, fallback: bool) -> Decision:
        layers = self.local_times(times)
        time, label = layers[-1].min(dim=1)
        if self.clocks is not None:
            time = self._clocks()[-1].in_frames(time)
        fired = torch.isfinite(time)
        scores = first_spike_probabilities(layers[-1] / temperature)
        if fallback:
            late = ~(time <= 1.0)
            last = self.layers[-1]
            assert isinstance(last, Dense)
            before = layers[-2] if len(layers) > 1 else times.to(layers[-1])
            at, unit = 1.0, None
            if self.clocks is not None:
                clock = self._clocks()[-2]
                at, unit = clock.local(1.0), clock.unit
            potential = last.potential(self._read(before, len(layers) - 1), at, unit)
            label = torch.where(late, potential.argmax(dim=1), label)
            scores = torch.where(late[:, None], potential.softmax(dim=1), scores)
            time, fired = torch.where(late, 1.0, time), fired & ~late
        return Decision(label=label, time=time, step=None, fired=fired, scores=scores)

    def synaptic_operations(self, times: Float[Tensor, "batch inputs"]) -> Float[Tensor, " batch"]:
        """Return one accumulate per spike and synapse, of all spikes until the decision."""
        check_spike_times(times, self.n_inputs)
        with torch.no_grad(), evaluated(self):
            parts = [self._operations(x) for x in times.split(BATCH)]
        return torch.cat(parts)

    def _operations(self, times: Tensor) -> Tensor:
        layers = self.spike_times(times)
        end = layers[-1].amin(dim=1, keepdim=True)
        total = torch.zeros(len(times), dtype=torch.float64)
        clocks = [None] * len(layers) if self.clocks is None else self._clocks()
        befores = [times.to(end), *layers[:-1]]
        for layer, before, clock in zip(self.layers, befores, clocks, strict=False):
            arrived = (before <= end) & torch.isfinite(before)
            total += arrived.double().cpu() @ layer.fan_out().double()
            if layer.pulses is not None:
                pulses = layer.pulses if clock is None else clock.in_frames(layer.pulses)
                total += (pulses <= end).sum(dim=1).double().cpu() * layer.n_neurons
        return total


def check_spike_times(times: Tensor, n_inputs: int) -> None:
    """Refuse what are not spike times of this many inputs."""
    check_size(times, n_inputs)
    check_times(times, latest=math.inf)


def layer_sizes(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return inputs and outputs of each layer; refuse what is not a network."""
    found = [count(size, "Each size of a layer") for size in sizes]
    if len(found) < 2 or min(found) < 1:
        raise ValueError(
            f"A network needs at least two sizes, each at least 1, got {list(sizes)}; for example "
            "(784, 340, 10)."
        )
    return list(itertools.pairwise(found))


def normal(
    shape: tuple[int, int], mean: float, std: float, generator: torch.Generator, **options: Any
) -> Tensor:
    """Draw weights from N(mean, std²)."""
    return torch.randn(shape, generator=generator, **options) * std + mean
