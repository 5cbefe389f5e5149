"""Layers of neurons that spike at most once: dense ones, and convolutions that pool."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from baselines.first_spike import Fast, Neuron, first_spikes


class Layer(nn.Module):
    """What both kinds of layer are: neurons with weights, and pulses that all of them see.

    Times are frames, or, with `unit`, those of a clock whose unit lasts so many frames and in which
    a spike may come before 0 (`ContinuousNetwork`, clocks).
    """

    index: Tensor | None
    weight: nn.Parameter
    pulses: nn.Parameter | None

    def __init__(self, neuron: Neuron, n_inputs: int, fast: Fast) -> None:
        super().__init__()
        self.neuron, self.n_inputs, self.fast = neuron, n_inputs, fast

    def fire(
        self, times: Tensor, unit: float | None, gain: float = 1.0
    ) -> Float[Tensor, "batch rows neurons"]:
        """Return the first spikes of every row, with the weights of its inputs times a gain."""
        check_size(times, self.n_inputs)
        neuron, pulses = self.neuron_of(unit), self.pulses
        weight: Tensor = self.weight
        if gain != 1.0:
            n = len(weight) - _number(pulses)
            weight = torch.cat([gain * weight[:n], weight[n:]])
        times = self.padded(times)
        if unit is not None and bool((times < 0.0).any()):
            # What is early moves its whole sample to 0 and back: time has no origin for a neuron.
            early = times.detach().amin(dim=1, keepdim=True).clamp_max(0.0)
            if pulses is not None:
                times, pulses = torch.cat([times, pulses.expand(len(times), -1)], dim=1), None
            out = first_spikes(neuron, times - early, weight, self.index, fast=self.fast)
            return out + early[:, :, None]
        return first_spikes(neuron, times, weight, self.index, pulses, fast=self.fast)

    def neuron_of(self, unit: float | None) -> Neuron:
        """Return the neuron as a clock of this unit sees it."""
        return self.neuron if unit is None else self.neuron.in_units(unit)

    def padded(self, times: Tensor) -> Tensor:
        """Return the inputs, and what stands for places that never spike."""
        return times


class Dense(Layer):
    """Neurons that see all inputs, and pulses of their own.

    Args:
        neuron: the neuron model.
        weight: one row per input, then one per pulse.
        pulses: spike times in frames, learned; None has none.
        fast: which path computes, as in `first_spikes`.
    """

    def __init__(
        self,
        neuron: Neuron,
        weight: Float[Tensor, "inputs neurons"],
        pulses: Float[Tensor, " pulses"] | None = None,
        *,
        fast: Fast = None,
    ) -> None:
        if weight.dim() != 2 or 0 in weight.shape:
            raise ValueError(
                f"weight must be [inputs, neurons], none of them 0, got {list(weight.shape)}."
            )
        if pulses is not None and not (pulses.dim() == 1 and len(pulses) <= len(weight)):
            raise ValueError(
                f"pulses are [pulses], each with a row of the weight {list(weight.shape)}, got "
                f"{list(pulses.shape)}."
            )
        super().__init__(neuron, len(weight) - _number(pulses), fast)
        self.index = None
        self.weight = nn.Parameter(weight)
        self.pulses = None if pulses is None else nn.Parameter(pulses)
        self.n_outputs = self.n_neurons = weight.shape[1]

    def forward(
        self, times: Float[Tensor, "batch inputs"], unit: float | None = None, gain: float = 1.0
    ) -> Float[Tensor, "batch neurons"]:
        """Return the first spikes."""
        return self.fire(times, unit, gain).squeeze(1)

    def potential(
        self, times: Float[Tensor, "batch inputs"], at: float, unit: float | None = None
    ) -> Float[Tensor, "batch neurons"]:
        """Return the potentials at one time, had nobody fired."""
        if self.pulses is not None:
            times = torch.cat([times, self.pulses.expand(len(times), -1)], dim=1)
        return self.neuron_of(unit).psp((at - times).clamp_min(0.0)) @ self.weight

    def fan_out(self) -> Int[Tensor, " inputs"]:
        """Return the synapses of each input."""
        return torch.full((self.n_inputs,), self.n_outputs)


class Conv(Layer):
    """Neurons that see a square of a grid, the same weights at every place; then pooling.

    Pooling takes the earliest spike of each square. Grids are channels last, as everywhere.

    Args:
        neuron: the neuron model.
        weight: one row per place of the kernel and channel of the input, rows and columns first;
            then one per pulse.
        size: height, width and channels of the input.
        kernel_size: side of the kernel; places where it does not fit are left out.
        pool: side of the pooled squares; what does not fill one is left out.
        pulses: spike times in frames, learned, which all neurons see; None has none.
        padding: places around the grid, on each side.
        stride: from one place of the kernel to the next.
        edge: number of the pulse that the places of the padding spike with; None: they never do.
        fast: which path computes, as in `first_spikes`.
    """

    index: Tensor

    def __init__(
        self,
        neuron: Neuron,
        weight: Float[Tensor, "inputs neurons"],
        size: tuple[int, int, int],
        kernel_size: int,
        pool: int = 1,
        pulses: Float[Tensor, " pulses"] | None = None,
        *,
        padding: int = 0,
        stride: int = 1,
        edge: int | None = None,
        fast: Fast = None,
    ) -> None:
        height, width, channels = size
        if edge is not None and not 0 <= edge < _number(pulses):
            raise ValueError(f"edge must be one of {_number(pulses)} pulses, got {edge}.")
        if min(padding, stride - 1) < 0:
            raise ValueError(
                f"padding must be >= 0 and stride >= 1, got padding={padding}, stride={stride}."
            )
        around = height + 2 * padding, width + 2 * padding
        if not 1 <= kernel_size <= min(around):
            raise ValueError(
                f"A kernel of side {kernel_size} does not fit into {around[0]}x{around[1]}. Choose "
                f"one in 1..{min(around)}."
            )
        places = kernel_size**2 * channels + _number(pulses)
        if weight.dim() != 2 or len(weight) != places or weight.shape[1] == 0:
            raise ValueError(f"weight must be [{places}, neurons], got {list(weight.shape)}.")
        grid = tuple((side - kernel_size) // stride + 1 for side in around)
        if not 1 <= pool <= min(grid):
            raise ValueError(
                f"pool={pool} leaves nothing of {height}x{width}. Choose a smaller one."
            )
        super().__init__(neuron, height * width * channels, fast)
        self.pool, self.silent_edge = pool, padding > 0 and edge is None
        self.weight = nn.Parameter(weight)
        self.pulses = None if pulses is None else nn.Parameter(pulses)
        self.grid = grid
        self.size = grid[0] // pool, grid[1] // pool, weight.shape[1]
        self.n_neurons = grid[0] * grid[1] * weight.shape[1]
        outside = self.n_inputs + (0 if edge is None else edge)
        numbered = torch.full((*around, channels), outside, dtype=torch.int32)
        inside = numbered[padding : padding + height, padding : padding + width]
        inside.copy_(torch.arange(self.n_inputs, dtype=torch.int32).view(size))
        squares = numbered.unfold(0, kernel_size, stride).unfold(1, kernel_size, stride)
        index = squares.permute(0, 1, 3, 4, 2).reshape(grid[0] * grid[1], -1)  # [H W, k k C]
        after = torch.arange(_number(pulses), dtype=torch.int32) + self.n_inputs + self.silent_edge
        index = torch.cat([index, after.expand(len(index), -1)], dim=1)
        self.register_buffer("index", index.contiguous(), persistent=False)

    def padded(self, times: Tensor) -> Tensor:
        """Return the inputs, and one more, silent, for all places of a silent padding."""
        return nn.functional.pad(times, (0, 1), value=torch.inf) if self.silent_edge else times

    def forward(
        self, times: Float[Tensor, "batch inputs"], unit: float | None = None, gain: float = 1.0
    ) -> Float[Tensor, "batch neurons"]:
        """Return the first spikes, pooled, as `[batch, height * width * channel]`."""
        out = self.fire(times, unit, gain)
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
        return places[: self.n_inputs].cpu() * self.weight.shape[1]

    def as_dense(self) -> Dense:
        """Return an equal dense layer, with weights of 0 where the kernel does not reach.

        Raises:
            ValueError: if it pools.
        """
        if self.pool > 1:
            raise ValueError(f"A dense layer does not pool, this one does by {self.pool}.")
        weight = self.weight.detach()
        rows = self.n_inputs + self.silent_edge + _number(self.pulses)
        dense = weight.new_zeros(rows, *self.index.shape[:1], weight.shape[1])
        place = torch.arange(len(self.index), device=weight.device)[:, None]
        dense.index_put_((self.index.long(), place), weight[None], accumulate=True)
        kept = [i for i in range(rows) if not (self.silent_edge and i == self.n_inputs)]
        pulses = None if self.pulses is None else self.pulses.detach().clone()
        return Dense(self.neuron, dense.flatten(1)[kept], pulses, fast=self.fast)


def _number(pulses: Tensor | None) -> int:
    return 0 if pulses is None else len(pulses)


def check_size(times: Any, n_inputs: int) -> None:
    """Refuse what are not times of this many inputs."""
    if not isinstance(times, Tensor) or times.dim() != 2 or times.shape[1] != n_inputs:
        got = list(times.shape) if isinstance(times, Tensor) else type(times).__name__
        raise ValueError(
            f"Spike times must be a tensor [batch, {n_inputs}], got {got}. Flatten the images, or "
            "build the network for these inputs."
        )
