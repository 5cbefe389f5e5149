"""The cells' fast path on the CPU: fused gates, event-driven input, deferred weight gradients.

One step is one autograd node. Forward, it makes the gates' input in one buffer, turns that into
activations in place and writes c and h in the same pass; backward, one pass makes the gradient of
all gates. What a step contributes to the weights is collected, and handed to autograd once per run:
where a single sample waits for the last step, its steps no longer write a whole matrix each.

The slow definition of the same arithmetic is `rc_snn.cells.lstm_gates` under torch's autograd;
`tests/rc_snn/fast/test_fused.py` holds the two together.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rc_snn.borders.checks import Form
from rc_snn.fast.border import Unchanged, first_order, fits
from rc_snn.fast.buffers import Buffers, Loan
from rc_snn.fast.kernels import gates_backward, gates_forward
from rc_snn.sequences import SpikeSequences
from rc_snn.spike_events import StepEvents

Precision: TypeAlias = Literal["float32", "bf16"]
"""bf16: products of matrices and convolutions in bfloat16, accumulated in float32; weights, state,
gates, input events and read-out stay as they are."""


def _blocks(tensor: Tensor | None, rows: int, *last: int) -> Any:
    """Return a tensor as a contiguous array `[blocks, rows, *last]`, of the same memory if it can.

    numpy's operations, for there are a dozen to a step, and torch's take several times as long.
    """
    if tensor is None:
        return None
    return np.ascontiguousarray(tensor.detach().numpy()).reshape(-1, rows, *last)


def _scale(rows: int, size: int, dtype: torch.dtype) -> Tensor:
    scale = torch.ones(rows, 4, size, dtype=dtype)
    scale[:, 2] = 2.0
    return scale


class FusedCell:
    """A cell during one run: what `rc_snn.models` advance step by step."""

    def __init__(self, run: "Run", *weights: Tensor) -> None:
        # The nodes keep `run`, so it must not keep the token: that circle would outlive its graph.
        self.run = run
        self.token: Tensor = _Weights.apply(run, *weights)

    def step(self, x: StepEvents | Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
        """Return the new `(h, c)`.

        Raises:
            ValueError: if input or state do not fit the cell, or each other.
        """
        self.run.check(x, state)
        h, c = (None, None) if state is None else state
        events, dense = (x, None) if isinstance(x, StepEvents) else (None, x)
        new: tuple[Tensor, ...] = _Step.apply(self.token, self.run, events, dense, h, c)
        return new


class _Weights(torch.autograd.Function):
    """The weights of a run as autograd sees them: a token that every step takes.

    Its backward pass comes after that of every step, when all contributions are collected.
    """

    @staticmethod
    def forward(ctx: Any, run: "Run", *weights: Tensor) -> Tensor:
        ctx.run = run
        return weights[0].new_zeros(())

    @first_order
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *ctx.run.gradients())


class _Step(torch.autograd.Function):
    """One step of a cell: `(token, x, h, c) -> (h', c')`."""

    @staticmethod
    def forward(
        ctx: Any,
        token: Tensor,
        run: "Run",
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

    @first_order
    def backward(ctx: Any, dh: Tensor | None, dc: Tensor | None) -> tuple[Tensor | None, ...]:
        acts, tanh_c, x, h, c = ctx.saved_tensors
        run: Run = ctx.run
        run.begin(torch._C._current_graph_task_id())
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


class Run(ABC):
    """The products of a cell during one run, and the weight gradients that its steps leave."""

    def __init__(
        self,
        weights: tuple[Tensor, Tensor],
        bias: Tensor,
        precision: Precision,
        reads: tuple[int, ...],
        holds: tuple[int, ...],
        buffers: Buffers,
    ) -> None:
        """Begin a run of a cell whose step reads and holds so much of each sample."""
        dtype = weights[0].dtype
        if precision == "bf16" and dtype != torch.float32:
            raise ValueError(f"bf16 products go with float32 weights, got {dtype}.")
        self.low = torch.bfloat16 if precision == "bf16" else dtype
        self.scale = _scale(math.prod(holds[1:-1]), holds[-1], dtype)
        self.bias = bias.detach()
        self.reads, self.holds, self.n_inputs = reads, holds, math.prod(reads)
        self.weight_ih, self.weight_hh = map(Unchanged, weights)
        self.loan = Loan(buffers)
        self.task = -1
        self.sizes: list[int] = []
        # By step, so that a step that goes backward twice before the weights do counts once.
        self.collected: dict[int, tuple[Any, ...]] = {}

    def check(self, x: StepEvents | Tensor, state: tuple[Tensor, ...] | None) -> None:
        """Refuse input and state that do not fit the cell, or each other."""
        n, dtype = len(x), self.bias.dtype
        if not isinstance(x, StepEvents):
            fits(x, (n, *self.reads), dtype, "The input of a step")
        elif x.events.n_inputs != self.n_inputs:
            raise ValueError(
                f"The cell reads {self.n_inputs} inputs per step, got events of "
                f"{x.events.n_inputs}. Its weights are those of other data."
            )
        for part in state or ():
            fits(part, (n, *self.holds), dtype, "A state of the cell")

    def begin(self, task: int) -> None:
        """Forget what the steps left in another backward pass, which did not reach the weights."""
        if task != self.task:
            self.task, self.collected = task, {}

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


def step_input(inputs: Any, step: int, dtype: torch.dtype) -> StepEvents | Tensor:
    """Return a step's events where the inputs have them, else its dense input `[batch, inputs]`.

    Events say nothing of what a subclass shows otherwise, and have no gradient of the mean.
    """
    if type(inputs) is SpikeSequences and not _differentiable(inputs.mean):
        return inputs.events.at(step)
    return Form(dtype).read(inputs.at(step))


def _differentiable(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.requires_grad and torch.is_grad_enabled()
