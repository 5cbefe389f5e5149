"""The products of the LSTM and the ConvLSTM during one run: what `fast.fused` steps through."""

from collections.abc import Iterable

import torch
from torch import Tensor

from rc_snn.fast.border import fits
from rc_snn.fast.buffers import Buffers
from rc_snn.fast.event_products import ConvEvents, ConvGradient, LinearEvents, LinearGradient
from rc_snn.fast.fused import Precision, Run
from rc_snn.spike_events import StepEvents


def _sum(parts: Iterable[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.stack(there).sum(0) if there else None


class LSTMRun(Run):
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
        input_precision: Precision,
        buffers: Buffers,
    ) -> None:
        n_gates, n_hidden = weight_hh.shape
        fits(weight_hh, (4 * n_hidden, n_hidden), weight_hh.dtype, "weight_hh of an LSTM")
        fits(weight_ih, (n_gates, weight_ih.shape[-1]), weight_hh.dtype, "weight_ih")
        for name, bias in (("bias_ih", bias_ih), ("bias_hh", bias_hh)):
            fits(bias, (n_gates,), weight_hh.dtype, name)
        weights, bias = (weight_ih, weight_hh), bias_ih + bias_hh
        super().__init__(weights, bias, precision, weight_ih.shape[1:], (n_hidden,), buffers)
        self.input, self.recurrent = weight_ih.detach(), weight_hh.detach().to(self.low)
        # What dense inputs meet; events add columns, which are exact.
        self.dense = self.input
        if input_precision == "bf16":
            self.dense = self.input.to(torch.bfloat16)
        self.events = LinearEvents(self.input)
        self.input_now: Tensor | None = None
        self.inputs: dict[int, Tensor] = {}
        self.begins = [0]
        self.stacks: tuple[Tensor, Tensor, Tensor] | None = None

    def gates(self, x: StepEvents | Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return `W_ih x + W_hh h`, `[batch, 4 hidden]`, and the bias."""
        gates = self.loan.take((len(x), len(self.bias)), self.bias.dtype)
        if h is not None:
            self._multiply(h, self.recurrent, gates)
        if isinstance(x, StepEvents):
            self.input_now = None
            self.events.add(x, gates, fresh=h is None)
            return gates, self.centred_bias(self.events.offset(x))
        self.input_now = x.to(self.dense.dtype)
        self._multiply(self.input_now, self.dense, gates, fresh=h is None)
        return gates, self.bias

    def enter(self, n: int) -> int:
        """Note a step of n samples, and keep a dense input, in the precision of its product."""
        key = super().enter(n)
        self.begins.append(self.begins[-1] + n)
        if self.input_now is not None:
            self.inputs[key] = self.input_now
        return key

    def _multiply(self, x: Tensor, weight: Tensor, out: Tensor, *, fresh: bool = True) -> None:
        """Write `weight x` to out, or add it."""
        if weight.dtype is not out.dtype:
            product = self.loan.take(out.shape, weight.dtype)
            torch.mm(self.lower(x, weight.dtype), weight.t(), out=product)
            out.copy_(product) if fresh else out.add_(product)
        elif fresh:
            torch.mm(x, weight.t(), out=out)
        else:
            out.addmm_(x, weight.t())

    def place(self, key: int) -> Tensor:
        """Return the rows of this step."""
        n, n_hidden = self.begins[-1], self.recurrent.shape[1]
        if self.stacks is None or len(self.stacks[0]) < n:
            exact = self.loan.take((n, len(self.bias)), self.bias.dtype)
            low = exact
            if {self.low, self.dense.dtype} != {exact.dtype}:
                low = self.loan.take(exact.shape, torch.bfloat16)
            before, self.stacks = self.stacks, (exact, low, self.loan.take((n, n_hidden), self.low))
            for new, old in zip(self.stacks, before or (), strict=False):  # steps were added since
                new[: len(old)] = old
        return self.stacks[0][self.rows(key)]

    def rows(self, key: int) -> slice:
        """Return where in the stacks this step is."""
        return slice(self.begins[key], self.begins[key + 1])

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
        self.collected[key] = (key, x, dgates, h is not None)
        if to_x and self.dense.dtype is self.bias.dtype:
            self.weight_ih.check()
        if h is not None and self.low is self.bias.dtype:
            self.weight_hh.check()
        dx = dgates @ self.input if to_x else None
        assert self.stacks is not None
        exact, low, states = (stack[self.rows(key)] for stack in self.stacks)
        if low.dtype != exact.dtype:
            low.copy_(exact)
        if h is None:
            return dx, None
        states.copy_(h)
        product = self.of_dtype(self.low, exact, low) @ self.recurrent
        return dx, product.to(dgates.dtype)

    @staticmethod
    def of_dtype(dtype: torch.dtype, exact: Tensor, low: Tensor) -> Tensor:
        """Return the stack that is in this precision."""
        return exact if dtype is exact.dtype else low

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Return the collected gradients, each from one product over all steps."""
        steps, dtype = self.collect(), self.bias.dtype
        assert self.stacks is not None
        exact, low, states = self.stacks
        bias = self._of([key for key, *_ in steps], exact).sum(0)
        to_input = to_recurrent = None
        if dense := [key for key, *_ in steps if key in self.inputs]:
            x = torch.cat([self.inputs[key] for key in dense])
            left = self._of(dense, self.of_dtype(x.dtype, exact, low))
            to_input = (x.t() @ left).t().to(dtype)
        if len(dense) < len(steps):
            from_events = LinearGradient(self.input.shape, dtype)
            for key, x, dgates, _ in steps:
                if key not in self.inputs:
                    from_events.add(x, dgates)
            to_input = _sum([from_events.weight(), to_input]) if dense else from_events.weight()
        if later := [key for key, *_, has_state in steps if has_state]:
            left = self._of(later, self.of_dtype(self.low, exact, low))
            to_recurrent = (self._of(later, states).t() @ left).t().to(dtype)
        return to_input, to_recurrent, bias, bias.clone()

    def _of(self, steps: list[int], stack: Tensor) -> Tensor:
        """Return the rows of these steps: those of a run lie together, as each reaches the last."""
        first, last = steps[0], steps[-1]
        if last - first + 1 == len(steps):
            return stack[self.begins[first] : self.begins[last + 1]]
        return torch.cat([stack[self.rows(key)] for key in steps])


class ConvLSTMRun(Run):
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
        n_gates, n_channels, side = weight_hh.shape[:3]
        fits(weight_hh, (4 * n_channels, n_channels, side, side), bias.dtype, "weight_hh")
        n_read, side_ih = weight_ih.shape[1:3]
        fits(weight_ih, (n_gates, n_read, side_ih, side_ih), bias.dtype, "weight_ih")
        fits(bias, (n_gates,), bias.dtype, "bias")
        if side % 2 == 0 or side_ih % 2 == 0:
            raise ValueError(f"Kernels must be odd, got sides {side_ih} and {side}.")
        weights, reads, holds = (weight_ih, weight_hh), (*grid, n_read), (*grid, n_channels)
        super().__init__(weights, bias, precision, reads, holds, buffers)
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
        product = torch.conv2d(
            self.lower(x, weight.dtype).permute(0, 3, 1, 2), weight, padding=half
        )
        self.loan.give_back(mark)
        product = product.permute(0, 2, 3, 1)
        return product.contiguous() if out is None else out.copy_(product)

    def place(self, key: int) -> Tensor:
        """Return one place for all steps: kernels are small, so each step makes their gradient."""
        if self.scratch is None or len(self.scratch) < self.sizes[key]:
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
        if self.input.dtype is self.bias.dtype:  # torch's convolutions need their weight, whatever
            self.weight_ih.check()
        if h is not None and self.low is self.bias.dtype:
            self.weight_hh.check()
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
