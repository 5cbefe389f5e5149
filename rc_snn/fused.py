"""The cells' fast path on the CPU: fused gates, event-driven input, deferred weight gradients.

One step is one autograd node. Forward, it makes the gates' input in one buffer, turns that into
activations in place and writes c and h in the same pass; backward, one pass makes the gradient of
all gates. What a step contributes to the weights is collected, and handed to autograd once per run:
where a single sample waits for the last step, its steps no longer write a whole matrix each.

The slow definition of the same arithmetic is `rc_snn.cells.lstm_gates` under torch's autograd;
`tests/rc_snn/test_fused.py` holds the two together.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from rc_snn.buffers import Buffers, Loan
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


class FusedCell:
    """A cell during one run: what `rc_snn.models` advance step by step."""

    def __init__(self, run: "_Run", *weights: Tensor) -> None:
        # The nodes keep `run`, so it must not keep the token: that circle would outlive its graph.
        self.run = run
        self.token: Tensor = _Weights.apply(run, *weights)

    def step(self, x: StepEvents | Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
        """Return the new `(h, c)`."""
        h, c = (None, None) if state is None else state
        events, dense = (x, None) if isinstance(x, StepEvents) else (None, x)
        new: tuple[Tensor, ...] = _Step.apply(self.token, self.run, events, dense, h, c)
        return new


class _Weights(torch.autograd.Function):
    """The weights of a run as autograd sees them: a token that every step takes.

    Its backward pass comes after that of every step, when all contributions are collected.
    """

    @staticmethod
    def forward(ctx: Any, run: "_Run", *weights: Tensor) -> Tensor:
        ctx.run = run
        return weights[0].new_zeros(())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *ctx.run.gradients())


class _Step(torch.autograd.Function):
    """One step of a cell: `(token, x, h, c) -> (h', c')`."""

    @staticmethod
    def forward(
        ctx: Any,
        token: Tensor,
        run: "_Run",
        events: StepEvents | None,
        x: Tensor | None,
        h: Tensor | None,
        c: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        source = x if events is None else events
        assert source is not None
        gates, bias = run.gates(source, h)
        shape = (*gates.shape[:-1], gates.shape[-1] // 4)
        new_h, new_c = gates.new_empty(shape), gates.new_empty(shape)
        tanh_c = run.loan.take(shape, gates.dtype)
        rows, _, size = run.scale.shape
        gates_forward(
            _blocks(gates, rows, 4, size),
            _blocks(bias.expand(rows, -1) if bias.dim() == 1 else bias, rows, 4, size),
            run.scale.numpy(),
            *(_blocks(x, rows, size) for x in (c, new_c, tanh_c, new_h)),
        )
        if any(ctx.needs_input_grad):
            ctx.run, ctx.events, ctx.key = run, events, run.enter(len(gates))
            ctx.save_for_backward(gates, tanh_c, x, h, c)
            ctx.set_materialize_grads(False)
        else:
            run.loan.give_back()
        return new_h, new_c

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dh: Tensor | None, dc: Tensor | None) -> tuple[Tensor | None, ...]:
        acts, tanh_c, x, h, c = ctx.saved_tensors
        run: _Run = ctx.run
        if dh is None:
            dh = torch.zeros_like(tanh_c)
        dgates = run.place(ctx.key)
        before = None if c is None else torch.empty_like(tanh_c)
        rows, _, size = run.scale.shape
        bias = run.bias_places(len(acts))
        gates_backward(
            _blocks(acts, rows, 4, size),
            *(_blocks(g, rows, size) for g in (c, tanh_c, dh, dc)),
            _blocks(dgates, rows, 4, size),
            _blocks(before, rows, size),
            None if bias is None else bias.numpy(),
        )
        source = x if ctx.events is None else ctx.events
        dx, dh_before = run.back(ctx.key, source, h, dgates, bias, ctx.needs_input_grad[3])
        return acts.new_zeros(()), None, None, dx, dh_before, before


class _Run(ABC):
    """The products of a cell during one run, and the weight gradients that its steps leave."""

    def __init__(
        self, weight: Tensor, bias: Tensor, precision: Precision, rows: int, buffers: Buffers
    ) -> None:
        if precision == "bf16" and weight.dtype != torch.float32:
            raise ValueError(f"bf16 products go with float32 weights, got {weight.dtype}.")
        self.low = torch.bfloat16 if precision == "bf16" else weight.dtype
        self.scale = _scale(rows, weight.shape[0] // 4, weight.dtype)
        self.bias = bias.detach()
        self.loan = Loan(buffers)
        self.sizes: list[int] = []
        # By step, so that a step that goes backward twice before the weights do counts once.
        self.collected: dict[int, tuple[Any, ...]] = {}

    def enter(self, n: int) -> int:
        """Note a step of n samples; return its number."""
        self.sizes.append(n)
        return len(self.sizes) - 1

    def centred_bias(self, offset: Tensor | None) -> Tensor:
        """Return the bias, less the products with the mean of the input."""
        return self.bias if offset is None else self.bias - offset

    def lower(self, x: Tensor, low: torch.dtype) -> Tensor:
        """Return x in the precision of a product, in memory of the run."""
        return x if x.dtype is low else self.loan.take(x.shape, low).copy_(x)

    def collect(self) -> list[tuple[Any, ...]]:
        """Return what the steps left, first step first, and forget it."""
        steps, self.collected = [self.collected[k] for k in sorted(self.collected)], {}
        return steps

    @abstractmethod
    def gates(self, x: StepEvents | Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the products that go into the gates, channels last, and the bias."""

    @abstractmethod
    def place(self, key: int) -> Tensor:
        """Return where the gradient of a step's gates is to be written."""

    def bias_places(self, n: int) -> Tensor | None:
        """Return zeros that the gates' gradients are added to on the way; None: not wanted."""
        return None

    @abstractmethod
    def back(
        self,
        key: int,
        x: StepEvents | Tensor,
        h: Tensor | None,
        dgates: Tensor,
        bias: Tensor | None,
        to_x: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Collect what a step gives to the weights; return the gradients of x (if asked) and h."""

    @abstractmethod
    def gradients(self) -> tuple[Tensor | None, ...]:
        """Return the collected gradients of all parameters, and forget them."""


def _sum(parts: Iterable[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.stack(there).sum(0) if there else None


class LSTMRun(_Run):
    """The products of an `rc_snn.cells.LSTMCell`.

    The steps' gradients of the gates stand below each other in one matrix, as do the states they
    came from, so that the weights' gradient is one product without a copy.
    """

    def __init__(
        self,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        precision: Precision,
        buffers: Buffers,
    ) -> None:
        super().__init__(weight_ih, bias_ih + bias_hh, precision, 1, buffers)
        self.input, self.recurrent = weight_ih.detach(), weight_hh.detach().to(self.low)
        self.events = LinearEvents(self.input)
        self.stacks: tuple[Tensor, Tensor, Tensor] | None = None

    def gates(self, x: StepEvents | Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return `W_ih x + W_hh h`, `[batch, 4 hidden]`, and the bias."""
        gates = self.loan.take((len(x), len(self.bias)), self.bias.dtype)
        if h is not None:
            product = self.loan.take(gates.shape, self.low) if self.low != gates.dtype else gates
            torch.mm(self.lower(h, self.low), self.recurrent.t(), out=product)
            gates = product if product is gates else gates.copy_(product)
        if isinstance(x, StepEvents):
            self.events.add(x, gates, fresh=h is None)
            return gates, self.centred_bias(self.events.offset(x))
        if h is None:
            return torch.mm(x, self.input.t(), out=gates), self.bias
        return gates.addmm_(x, self.input.t()), self.bias

    def place(self, key: int) -> Tensor:
        """Return the rows of this step."""
        if self.stacks is None:
            n, n_hidden = sum(self.sizes), self.recurrent.shape[1]
            exact = self.loan.take((n, len(self.bias)), self.bias.dtype)
            low = exact
            if self.low != exact.dtype:
                low = self.loan.take(exact.shape, self.low)
            self.stacks = exact, low, self.loan.take((n, n_hidden), self.low)
        return self.stacks[0][self.rows(key)]

    def rows(self, key: int) -> slice:
        """Return where in the stacks this step is."""
        begin = sum(self.sizes[:key])
        return slice(begin, begin + self.sizes[key])

    def back(
        self,
        key: int,
        x: StepEvents | Tensor,
        h: Tensor | None,
        dgates: Tensor,
        bias: Tensor | None,
        to_x: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Collect the gradients of the weights; return those of x (if asked for) and h."""
        self.collected[key] = (key, x, dgates)
        dx = dgates @ self.input if to_x else None
        if h is None:
            return dx, None
        assert self.stacks is not None
        exact, low, states = (stack[self.rows(key)] for stack in self.stacks)
        states.copy_(h)
        if low.dtype != exact.dtype:
            low.copy_(exact)
        return dx, (low @ self.recurrent).to(dgates.dtype)

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Return the collected gradients, each from one product over all steps."""
        steps, dtype = self.collect(), self.bias.dtype
        assert self.stacks is not None
        from_events = LinearGradient(self.input.shape, dtype)
        dense: list[tuple[Tensor, Tensor]] = []
        for _, x, dgates in steps:
            if isinstance(x, StepEvents):
                from_events.add(x, dgates)
            else:
                dense.append((dgates, x))
        to_input = _product(dense) if dense else from_events.weight()
        # A step reaches all before it, so the steps are 0, 1, ... without a gap; 0 has no state.
        end = self.rows(steps[-1][0]).stop
        bias = self.stacks[0][:end].sum(0)
        _, low, states = (stack[self.sizes[0] : end] for stack in self.stacks)
        to_recurrent = (states.t() @ low).t().to(dtype) if len(steps) > 1 else None
        return to_input, to_recurrent, bias, bias


def _product(steps: list[tuple[Tensor, Tensor]]) -> Tensor:
    left, right = (torch.cat(part) for part in zip(*steps, strict=True))
    return left.t() @ right


class ConvLSTMRun(_Run):
    """The products of a `ConvLSTMCell`; grids are `[batch, height, width, channel]`."""

    def __init__(
        self,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor,
        grid: tuple[int, int],
        precision: Precision,
        input_precision: Precision,
        buffers: Buffers,
    ) -> None:
        super().__init__(weight_ih, bias, precision, grid[1], buffers)
        low_input = torch.bfloat16 if input_precision == "bf16" else self.bias.dtype
        self.input = weight_ih.detach().to(low_input, memory_format=torch.channels_last)
        self.recurrent = weight_hh.detach().to(self.low, memory_format=torch.channels_last)
        self.weight, self.grid = weight_ih.detach(), grid
        self.events: ConvEvents | None = None
        self.scratch: Tensor | None = None

    def gates(self, x: StepEvents | Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return `W_ih * x + W_hh * h`, `[batch, height, width, 4 channels]`, and the bias."""
        gates = None if h is None else self._convolve(h, self.recurrent)
        if not isinstance(x, StepEvents):
            product = self._convolve(x, self.input)
            return product if gates is None else gates.add_(product), self.bias
        if self.events is None:
            self.events = ConvEvents(self.weight, self.grid)
        if gates is None:
            gates = self.loan.take((len(x), *self.grid, len(self.bias)), self.bias.dtype)
        self.events.add(x, gates, fresh=h is None)
        return gates, self.centred_bias(self.events.offset(x))

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return `weight * x`, channels last in and out."""
        exact, half = weight.dtype is self.bias.dtype, weight.shape[-1] // 2
        out = None if exact else self.loan.take((*x.shape[:3], len(weight)), self.bias.dtype)
        mark = len(self.loan.taken)
        product = torch.conv2d(self.lower(x, weight.dtype).permute(0, 3, 1, 2), weight, padding=half)
        self.loan.give_back(mark)
        product = product.permute(0, 2, 3, 1)
        return product.contiguous() if out is None else out.copy_(product)

    def place(self, key: int) -> Tensor:
        """Return one place for all steps: kernels are small, so each step makes their gradient."""
        if self.scratch is None:
            shape = (max(self.sizes), *self.grid, len(self.bias))
            self.scratch = self.loan.take(shape, self.bias.dtype)
        return self.scratch[: self.sizes[key]]

    def bias_places(self, n: int) -> Tensor:
        """Return a place for each row of the grid: another pass over the gates would cost more."""
        return self.bias.new_zeros(n * self.grid[0], len(self.bias))

    def back(
        self,
        key: int,
        x: StepEvents | Tensor,
        h: Tensor | None,
        dgates: Tensor,
        bias: Tensor | None,
        to_x: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Collect the gradients of the weights; return those of x (if asked for) and h."""
        dx = dh = recurrent = None
        mark = len(self.loan.taken)
        if isinstance(x, StepEvents):
            from_events = ConvGradient(self.weight.shape, dgates.dtype, self.grid)
            from_events.add(x, dgates)
            to_input, low = from_events.weight(), dgates
        else:
            low = self.lower(dgates, self.input.dtype)
            dx, to_input = self._convolve_back(low, x, self.input, to_x)
        if h is not None:
            if low.dtype is not self.low:
                low = self.lower(dgates, self.low)
            dh, recurrent = self._convolve_back(low, h, self.recurrent, True)
        self.loan.give_back(mark)
        assert bias is not None
        self.collected[key] = (to_input, recurrent, bias.sum(0))
        return dx, dh

    def _convolve_back(
        self, grad: Tensor, x: Tensor, weight: Tensor, to_x: bool
    ) -> tuple[Tensor | None, Tensor]:
        half, dtype = weight.shape[-1] // 2, self.bias.dtype
        dx, dw, _ = torch.ops.aten.convolution_backward(
            grad.permute(0, 3, 1, 2),
            self.lower(x, weight.dtype).permute(0, 3, 1, 2),
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
        return (
            dx.permute(0, 2, 3, 1).to(dtype).contiguous() if to_x else None,
            dw.to(dtype).contiguous(),
        )

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Return the collected gradients: each step has made its own."""
        to_input, recurrent, bias = map(_sum, zip(*self.collect(), strict=True))
        return to_input, recurrent, bias


def step_input(inputs: Any, step: int) -> StepEvents | Tensor:
    """Return a step's events where the inputs have them, else its dense input."""
    if isinstance(inputs, SpikeSequences):
        return inputs.events.at(step)
    dense: Tensor = inputs.at(step)
    return dense
