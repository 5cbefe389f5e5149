"""Networks whose neurons spike at most once, in continuous time: layers, decisions, their cost."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from baselines.first_spikes import Neuron, first_spike_probabilities, first_spikes
from rc_snn.borders.numbers import count, number
from rc_snn.spikes import Decision, check_times
from rc_snn.step_model import evaluated

BATCH = 250
"""Samples that `decide` computes together."""


class Dense(nn.Module):
    """Neurons that see all inputs, and pulses of their own.

    Args:
        neuron: the neuron model.
        weight: one row per input, then one per pulse.
        pulses: spike times in frames, learned; None has none.
        fast: kernels, tensors, or (None) kernels where they apply.
    """

    def __init__(
        self,
        neuron: Neuron,
        weight: Float[Tensor, "inputs neurons"],
        pulses: Float[Tensor, " pulses"] | None = None,
        *,
        fast: bool | None = None,
    ) -> None:
        super().__init__()
        if weight.dim() != 2 or 0 in weight.shape:
            raise ValueError(
                f"weight must be [inputs, neurons], none of them 0, got {list(weight.shape)}."
            )
        if pulses is not None and not (pulses.dim() == 1 and len(pulses) <= len(weight)):
            raise ValueError(
                f"pulses are [pulses], each with a row of the weight {list(weight.shape)}, got "
                f"{list(pulses.shape)}."
            )
        self.neuron, self.fast = neuron, fast
        self.weight = nn.Parameter(weight)
        self.pulses = None if pulses is None else nn.Parameter(pulses)
        self.n_inputs = weight.shape[0] - (0 if pulses is None else len(pulses))
        self.n_outputs = weight.shape[1]

    def forward(self, times: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch neurons"]:
        """Return the first spikes."""
        _check_size(times, self.n_inputs)
        out = first_spikes(self.neuron, times, self.weight, pulses=self.pulses, fast=self.fast)
        return out.squeeze(1)

    def potential(
        self, times: Float[Tensor, "batch inputs"], at: float
    ) -> Float[Tensor, "batch neurons"]:
        """Return the potentials at one time, had nobody fired."""
        if self.pulses is not None:
            times = torch.cat([times, self.pulses.expand(len(times), -1)], dim=1)
        return self.neuron.psp((at - times).clamp_min(0.0)) @ self.weight

    def fan_out(self) -> Int[Tensor, " inputs"]:
        """Return the synapses of each input."""
        return torch.full((self.n_inputs,), self.n_outputs)


class Conv(nn.Module):
    """Neurons that see a square of a grid, the same weights at every place; then pooling.

    Pooling takes the earliest spike of each square. Grids are channels last, as everywhere.

    Args:
        neuron: the neuron model.
        weight: one row per place of the kernel and channel of the input, rows and columns first.
        size: height, width and channels of the input.
        kernel_size: side of the kernel; places where it does not fit are left out.
        pool: side of the pooled squares; what does not fill one is left out.
        fast: kernels, tensors, or (None) kernels where they apply.
    """

    index: Tensor

    def __init__(
        self,
        neuron: Neuron,
        weight: Float[Tensor, "inputs neurons"],
        size: tuple[int, int, int],
        kernel_size: int,
        pool: int = 1,
        *,
        fast: bool | None = None,
    ) -> None:
        super().__init__()
        height, width, channels = size
        if not 1 <= kernel_size <= min(height, width):
            raise ValueError(
                f"A kernel of side {kernel_size} does not fit into {height}x{width}. Choose one "
                f"in 1..{min(height, width)}."
            )
        places = kernel_size**2 * channels
        if weight.dim() != 2 or len(weight) != places or weight.shape[1] == 0:
            raise ValueError(f"weight must be [{places}, neurons], got {list(weight.shape)}.")
        if not 1 <= pool <= min(height, width) - kernel_size + 1:
            raise ValueError(
                f"pool={pool} leaves nothing of {height}x{width}. Choose a smaller one."
            )
        self.neuron, self.pool, self.fast = neuron, pool, fast
        self.weight = nn.Parameter(weight)
        self.grid = height - kernel_size + 1, width - kernel_size + 1
        self.n_inputs = height * width * channels
        self.size = self.grid[0] // pool, self.grid[1] // pool, weight.shape[1]
        numbered = torch.arange(self.n_inputs, dtype=torch.int32).view(size)
        squares = numbered.unfold(0, kernel_size, 1).unfold(1, kernel_size, 1)  # [H, W, C, k, k]
        index = squares.permute(0, 1, 3, 4, 2).reshape(self.grid[0] * self.grid[1], -1)
        self.register_buffer("index", index.contiguous(), persistent=False)

    def forward(self, times: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch neurons"]:
        """Return the first spikes, pooled, as `[batch, height * width * channel]`."""
        _check_size(times, self.n_inputs)
        out = first_spikes(self.neuron, times, self.weight, self.index, fast=self.fast)
        (rows, columns, channels), p = self.size, self.pool
        out = out.view(len(out), *self.grid, channels)[:, : rows * p, : columns * p]
        out = out.reshape(len(out), rows, p, columns, p, channels)
        parts = [out[:, :, i, :, j] for i in range(p) for j in range(p)]
        earliest = parts[0]
        for part in parts[1:]:
            earliest = torch.minimum(earliest, part)
        return earliest.flatten(1)

    def fan_out(self) -> Int[Tensor, " inputs"]:
        """Return the synapses of each input."""
        places = torch.bincount(self.index.flatten().long(), minlength=self.n_inputs)
        return places.cpu() * self.weight.shape[1]


class ContinuousNetwork(nn.Module):
    """Layers of neurons that spike at most once; the first output spike is the answer.

    Args:
        layers: from the input to the output; the last one is dense.
        maker: what made the layers, such as `baselines.rel_psp.rel_psp`; None: a network of layers
            of its own, which cannot be written to a file.
        options: the maker's keyword arguments, JSON values.
    """

    layers: Any  # an nn.ModuleList of Dense and Conv, which its own type does not say

    def __init__(
        self,
        layers: Sequence[Dense | Conv],
        maker: Callable[..., Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
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

        Args:
            times: input spikes in frames, >= 0; `inf` is silence.
            jitter: standard deviation of what is added to hidden spike times, in training.
            generator: where the jitter is drawn from.

        Raises:
            ValueError: if a time is NaN or negative, or their number is not the network's.
        """
        check_spike_times(times, self.n_inputs)
        jitter = number(jitter, "jitter")
        if not 0.0 <= jitter < math.inf:
            raise ValueError(f"jitter must be >= 0 frames and finite, got {jitter}.")
        own = self.layers[0].weight
        times = times.to(own.device, own.dtype)
        out: list[Tensor] = []
        for layer in self.layers:
            if out and jitter > 0.0:
                noise = torch.randn(times.shape, generator=generator, dtype=times.dtype)
                times = (times + jitter * noise.to(times.device)).clamp_min(0.0)
            times = layer(times)
            out.append(times)
        return out

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
            temperature: of the softmax of -t that gives the scores.
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
        layers = self.spike_times(times)
        time, label = layers[-1].min(dim=1)
        fired = torch.isfinite(time)
        scores = first_spike_probabilities(layers[-1] / temperature)
        if fallback:
            late = ~(time <= 1.0)
            last = self.layers[-1]
            assert isinstance(last, Dense)
            before = layers[-2] if len(layers) > 1 else times.to(time.device, time.dtype)
            potential = last.potential(before, 1.0)
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
        for layer, before in zip(self.layers, [times.to(end), *layers[:-1]], strict=True):
            arrived = (before <= end) & torch.isfinite(before)
            total += arrived.double().cpu() @ layer.fan_out().double()
            if getattr(layer, "pulses", None) is not None:
                total += (layer.pulses <= end).sum(dim=1).double().cpu() * layer.n_outputs
        return total


def check_spike_times(times: Tensor, n_inputs: int) -> None:
    """Refuse what are not spike times of this many inputs."""
    _check_size(times, n_inputs)
    check_times(times, latest=math.inf)


def _check_size(times: Tensor, n_inputs: int) -> None:
    if not isinstance(times, Tensor) or times.dim() != 2 or times.shape[1] != n_inputs:
        got = list(times.shape) if isinstance(times, Tensor) else type(times).__name__
        raise ValueError(
            f"Spike times must be a tensor [batch, {n_inputs}], got {got}. Flatten the images, or "
            "build the network for these inputs."
        )


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
