"""The cells' fast path on the CPU: fused gates, event-driven input, deferred weight gradients.

One step is one autograd node. Forward, it makes the gates' input in one buffer, turns that into
activations in place and writes c and h in the same pass; backward, one pass makes the gradient of
all gates. What a step contributes to the weights is collected, and handed to autograd once per run:
where a single sample waits for the last step, its steps no longer write a whole matrix each.

The slow definition of the same arithmetic is `rc_snn.cells.lstm_gates` under torch's autograd;
`tests/rc_snn/test_fused.py` holds the two together.
"""

from collections.abc import Iterable
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from rc_snn.events import (
    ConvEvents,
    ConvGradient,
    LinearEvents,
    LinearGradient,
    SpikeSequences,
    StepEvents,
)
from rc_snn.kernels import gates_backward, gates_forward

Precision: TypeAlias = Literal["float32", "bf16"]
"""bf16: products of matrices and convolutions in bfloat16, accumulated in float32; weights, state,
gates, input events and read-out stay as they are."""


def fusable(weight: Tensor) -> bool:
    """Return whether the fast path can run these weights."""
    return weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)


def _blocks(tensor: Tensor | None, rows: int, *last: int) -> Any:
    """Return a tensor as a numpy array `[blocks, rows, *last]` that shares its memory."""
    if tensor is None:
        return None
    return tensor.detach().contiguous().view(-1, rows, *last).numpy()


def _scale(rows: int, size: int, dtype: torch.dtype) -> Tensor:
    scale = torch.ones(rows, 4, size, dtype=dtype)
    scale[:, 2] = 2.0
    return scale


@runtime_checkable
class _Run(Protocol):
    """A cell during one run: its products, and the weight gradients it collects."""

    bias: Tensor
    scale: Tensor

    def gates(self, x: StepEvents | Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the products that go into the gates, channels last, and the bias."""

    def back(
        self,
        key: int,
        x: StepEvents | Tensor,
        h: Tensor | None,
        dgates: Tensor,
        dbias: Tensor,
        to_x: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Collect what a step gives to the weights; return the gradients of x (if asked) and h."""

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Return the collected gradients of all parameters, and forget them."""


class _Weights(torch.autograd.Function):
    """The weights of a run as autograd sees them: a token that every step takes.

    Its backward pass comes after that of every step, when all contributions are collected.
    """

    @staticmethod
    def forward(ctx: Any, owner: _Run, *weights: Tensor) -> Tensor:
        ctx.owner = owner
        return weights[0].new_zeros(())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *ctx.owner.gradients())


class _Step(torch.autograd.Function):
    """One step of a cell: `(token, x, h, c) -> (h', c')`."""

    @staticmethod
    def forward(
        ctx: Any,
        token: Tensor,
        owner: _Run,
        events: StepEvents | None,
        x: Tensor | None,
        h: Tensor | None,
        c: Tensor | None,
        key: int,
    ) -> tuple[Tensor, Tensor]:
        source = x if events is None else events
        assert source is not None
        gates, bias = owner.gates(source, h)
        new_c = gates.new_empty(*gates.shape[:-1], gates.shape[-1] // 4)
        tanh_c, new_h = torch.empty_like(new_c), torch.empty_like(new_c)
        rows, _, size = owner.scale.shape
        gates_forward(
            _blocks(gates, rows, 4, size),
            _blocks(bias.expand(rows, -1) if bias.dim() == 1 else bias, rows, 4, size),
            owner.scale.numpy(),
            *(_blocks(x, rows, size) for x in (c, new_c, tanh_c, new_h)),
        )
        ctx.owner, ctx.events, ctx.key = owner, events, key
        ctx.save_for_backward(gates, tanh_c, x, h, c)
        ctx.set_materialize_grads(False)
        return new_h, new_c

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dh: Tensor | None, dc: Tensor | None) -> tuple[Tensor | None, ...]:
        acts, tanh_c, x, h, c = ctx.saved_tensors
        if dh is None:
            dh = torch.zeros_like(tanh_c)
        dgates = torch.empty_like(acts)
        before = None if c is None else torch.empty_like(tanh_c)
        rows, _, size = ctx.owner.scale.shape
        parts = gates_backward(
            _blocks(acts, rows, 4, size),
            *(_blocks(g, rows, size) for g in (c, tanh_c, dh, dc)),
            _blocks(dgates, rows, 4, size),
            _blocks(before, rows, size),
        )
        dbias = torch.from_numpy(parts).sum(0)
        source = x if ctx.events is None else ctx.events
        dx, dh_before = ctx.owner.back(ctx.key, source, h, dgates, dbias, ctx.needs_input_grad[3])
        return acts.new_zeros(()), None, None, dx, dh_before, before, None


class _FusedCell:
    """What LSTM and ConvLSTM share during one run."""

    def __init__(self, weight: Tensor, bias: Tensor, precision: Precision, rows: int) -> None:
        if precision == "bf16" and weight.dtype != torch.float32:
            raise ValueError(f"bf16 products go with float32 weights, got {weight.dtype}.")
        self.low = torch.bfloat16 if precision == "bf16" else weight.dtype
        self.scale = _scale(rows, weight.shape[0] // 4, weight.dtype)
        self.bias = bias.detach()
        self.token: Tensor
        self.n_steps = 0
        # By step, so that a step that goes backward twice before the weights do counts once.
        self.collected: dict[int, tuple[Any, ...]] = {}

    def collect(self) -> list[tuple[Any, ...]]:
        """Return what the steps left, and forget it."""
        steps, self.collected = list(self.collected.values()), {}
        return steps

    def step(self, x: StepEvents | Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
        """Return the new `(h, c)`."""
        h, c = (None, None) if state is None else state
        events, dense = (x, None) if isinstance(x, StepEvents) else (None, x)
        new: tuple[Tensor, ...] = _Step.apply(self.token, self, events, dense, h, c, self.n_steps)
        self.n_steps += 1
        return new

    def centred_bias(self, offset: Tensor | None) -> Tensor:
        """Return the bias, less the products with the mean of the input."""
        return self.bias if offset is None else self.bias - offset


def _sum(parts: Iterable[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.stack(there).sum(0) if there else None


class FusedLSTM(_FusedCell):
    """The steps of an `rc_snn.cells.LSTMCell` during one run."""

    def __init__(
        self,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        precision: Precision,
    ) -> None:
        super().__init__(weight_ih, bias_ih + bias_hh, precision, rows=1)
        self.input, self.recurrent = weight_ih.detach(), weight_hh.detach().to(self.low)
        self.events = LinearEvents(self.input)
        self.token = _Weights.apply(self, weight_ih, weight_hh, bias_ih, bias_hh)

    def gates(self, x: StepEvents | Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return `W_ih x + W_hh h`, `[batch, 4 hidden]`, and the bias."""
        gates = None
        if h is not None:
            gates = (h.to(self.low) @ self.recurrent.t()).to(self.bias.dtype)
        if isinstance(x, StepEvents):
            return self.events.add(x, gates), self.centred_bias(self.events.offset(x))
        if gates is None:
            return x @ self.input.t(), self.bias
        return gates.addmm_(x, self.input.t()), self.bias

    def back(
        self,
        key: int,
        x: StepEvents | Tensor,
        h: Tensor | None,
        dgates: Tensor,
        dbias: Tensor,
        to_x: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Collect the gradients of the weights; return those of x (if asked for) and h."""
        dx = dgates @ self.input if to_x else None
        if h is None:
            self.collected[key] = (x, dgates, dbias, None)
            return dx, None
        low = dgates.to(self.low)
        self.collected[key] = (x, dgates, dbias, (low, h.to(self.low)))
        return dx, (low @ self.recurrent).to(dgates.dtype)

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Return the collected gradients, each from one product over all steps."""
        steps, dtype = self.collect(), self.bias.dtype
        from_events = LinearGradient(self.input.shape, dtype)
        dense: list[tuple[Tensor, Tensor]] = []
        recurrent: list[tuple[Tensor, Tensor]] = []
        for x, dgates, dbias, pair in steps:
            if isinstance(x, StepEvents):
                from_events.add(x, dgates, dbias)
            else:
                dense.append((dgates, x))
            if pair is not None:
                recurrent.append(pair)
        to_input = _product(dense) if dense else from_events.weight()
        to_recurrent = _product(recurrent).to(dtype) if recurrent else None
        bias = _sum(dbias for _, _, dbias, _ in steps)
        return to_input, to_recurrent, bias, bias


def _product(steps: list[tuple[Tensor, Tensor]]) -> Tensor:
    left, right = (torch.cat(part) for part in zip(*steps, strict=True))
    return left.t() @ right


class FusedConvLSTM(_FusedCell):
    """The steps of a `ConvLSTMCell` during one run; grids are `[batch, height, width, channel]`."""

    def __init__(
        self,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor,
        grid: tuple[int, int],
        precision: Precision,
        input_precision: Precision,
    ) -> None:
        super().__init__(weight_ih, bias, precision, rows=grid[1])
        low_input = torch.bfloat16 if input_precision == "bf16" else self.bias.dtype
        self.input = weight_ih.detach().to(low_input, memory_format=torch.channels_last)
        self.recurrent = weight_hh.detach().to(self.low, memory_format=torch.channels_last)
        self.weight, self.grid = weight_ih.detach(), grid
        self.events: ConvEvents | None = None
        self.token = _Weights.apply(self, weight_ih, weight_hh, bias)

    def gates(self, x: StepEvents | Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return `W_ih * x + W_hh * h`, `[batch, height, width, 4 channels]`, and the bias."""
        recurrent = None if h is None else self._convolve(h, self.recurrent)
        if isinstance(x, StepEvents):
            if self.events is None:
                self.events = ConvEvents(self.weight, self.grid)
            return self.events.add(x, recurrent), self.centred_bias(self.events.offset(x))
        gates = self._convolve(x, self.input)
        return gates if recurrent is None else gates.add_(recurrent), self.bias

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return `weight * x`, channels last in and out."""
        x = x.to(weight.dtype).permute(0, 3, 1, 2)
        out = torch.conv2d(x, weight, padding=weight.shape[-1] // 2)
        return out.permute(0, 2, 3, 1).to(self.bias.dtype).contiguous()

    def back(
        self,
        key: int,
        x: StepEvents | Tensor,
        h: Tensor | None,
        dgates: Tensor,
        dbias: Tensor,
        to_x: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Collect the gradients of the weights; return those of x (if asked for) and h."""
        dx = dh = recurrent = None
        low = dgates.to(self.low).permute(0, 3, 1, 2)
        if isinstance(x, StepEvents):
            from_events = ConvGradient(self.weight.shape, dgates.dtype, self.grid)
            from_events.add(x, dgates)
            to_input = from_events.weight()
        else:
            same = low if self.input.dtype is self.low else dgates.permute(0, 3, 1, 2)
            dx, to_input = self._convolve_back(same, x, self.input, to_x)
        if h is not None:
            dh, recurrent = self._convolve_back(low, h, self.recurrent, True)
        self.collected[key] = (to_input, recurrent, dbias)
        return dx, dh

    def _convolve_back(
        self, grad: Tensor, x: Tensor, weight: Tensor, to_x: bool
    ) -> tuple[Tensor | None, Tensor]:
        half = weight.shape[-1] // 2
        dx, dw, _ = torch.ops.aten.convolution_backward(
            grad,
            x.to(weight.dtype).permute(0, 3, 1, 2),
            weight,
            None,
            [1, 1],
            [half, half],
            [1, 1],
            False,
            [0, 0],
            1,
            [to_x, True, False],
        )
        dtype = self.bias.dtype
        return (
            dx.permute(0, 2, 3, 1).to(dtype).contiguous() if to_x else None,
            dw.to(dtype).contiguous(),
        )

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Return the collected gradients: kernels are small, so each step has made its own."""
        to_input, recurrent, bias = map(_sum, zip(*self.collect(), strict=True))
        return to_input, recurrent, bias


def step_input(inputs: Any, step: int) -> StepEvents | Tensor:
    """Return a step's events where the inputs have them, else its dense input."""
    if isinstance(inputs, SpikeSequences):
        return inputs.events.at(step)
    dense: Tensor = inputs.at(step)
    return dense
