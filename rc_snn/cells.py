"""One step of an LSTM and of a ConvLSTM."""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rc_snn.fast.border import fusable, plain
from rc_snn.fast.buffers import Buffers
from rc_snn.fast.fused import FusedCell, Precision
from rc_snn.fast.products import ConvLSTMRun, LSTMRun
from rc_snn.step_model import State

ChunkOfCell: TypeAlias = Callable[[Tensor, State | None], tuple[Tensor, State]]
"""`(inputs [L, B, …], state) -> (h of each step, new state)`."""


def lstm_gates(
    gates: Float[Tensor, "batch *grid gates"], c: Float[Tensor, "batch *grid channel"] | None
) -> State:
    r"""Apply the gates of an LSTM, in torch's order (input, forget, cell, output), to its state.

    .. math:: c' = \sigma(f) \odot c + \sigma(i) \odot \tanh(g)
    .. math:: h' = \sigma(o) \odot \tanh(c')

    `c=None` is the zero state of the first step. Returns `(h', c')`.
    """
    i, f, g, o = gates.chunk(4, dim=-1)
    new = torch.sigmoid(i) * torch.tanh(g)
    if c is not None:
        new = new + torch.sigmoid(f) * c
    return torch.sigmoid(o) * torch.tanh(new), new


FUSED_DEVICES = {"cuda"}
"""Where torch has the gates of `nn.LSTMCell` as one kernel, and their gradients as another."""


def fused_lstm_gates(
    fed: Float[Tensor, "batch *grid gates"],
    back: Float[Tensor, "batch *grid gates"] | None,
    c: Float[Tensor, "batch *grid channel"] | None,
) -> State:
    """Return `lstm_gates` of what the input and the state give: one launch where torch has it."""
    if fed.device.type not in FUSED_DEVICES:
        return lstm_gates(fed if back is None else fed + back, c)
    if back is None or c is None:  # two fills, for some ten launches
        back, c = torch.zeros_like(fed), fed.new_zeros(*fed.shape[:-1], fed.shape[-1] // 4)
    rows = [x.reshape(-1, x.shape[-1]) for x in (fed, back, c)]
    h, new, _ = torch.ops.aten._thnn_fused_lstm_cell(*rows)
    return h.view_as(c), new.view_as(c)


def init_uniform(module: nn.Module, bound: float, generator: torch.Generator) -> None:
    """Draw every parameter from U(-bound, bound), torch's rule for LSTM and Linear layers."""
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            parameter.uniform_(-bound, bound, generator=generator)


class LSTMCell(nn.Module):
    """One LSTM step with the parameters, names and gate order of `torch.nn.LSTMCell`.

    Differs in that `state=None` skips the recurrent product instead of multiplying by zeros, in
    that the initial weights come from `generator`, not from torch's global one, and in memory
    order: the columns of the weights lie together, because a spike needs one column, and because
    matrix products read them faster so.
    """

    def __init__(self, n_inputs: int, n_hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(n_inputs, 4 * n_hidden).t())
        self.weight_hh = nn.Parameter(torch.empty(4 * n_hidden, n_hidden))
        self.bias_ih = nn.Parameter(torch.empty(4 * n_hidden))
        self.bias_hh = nn.Parameter(torch.empty(4 * n_hidden))
        self.precision: Precision = "float32"
        self.input_precision: Precision = "float32"
        self.memory = Buffers()
        init_uniform(self, 1.0 / math.sqrt(n_hidden), generator)
        # After the draw, which follows memory: a seed gives the weights it gave before.
        self.weight_hh.data = self.weight_hh.detach().t().contiguous().t()

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the weights that a step reads, as they are now."""
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def forward(self, x: Float[Tensor, "batch inputs"], state: State | None = None) -> State:
        """Return the new `(h, c)`, each `[batch, hidden]`."""
        low = low_dtype(self.input_precision, x)
        gates = F.linear(x.to(low), self.weight_ih.to(low)) + (self.bias_ih + self.bias_hh)
        if state is None:
            return lstm_gates(gates, None)
        h, c = state
        low = low_dtype(self.precision, h)
        return lstm_gates(gates + F.linear(h.to(low), self.weight_hh.to(low)), c)

    def fused(self) -> FusedCell:
        """Return the fast path for one run: the same steps, on the CPU.

        Raises:
            ValueError: if the weights do not fit each other.
        """
        weights, precisions = self.weights, (self.precision, self.input_precision)
        return FusedCell(LSTMRun(*weights, *precisions, self.memory), *weights)

    def chunked(self) -> ChunkOfCell:
        """Return how to advance by many steps at once, by torch's own LSTM (cuDNN on a GPU).

        The weights are copied once per run, into the one buffer that cuDNN asks for. Products are
        torch's in the weights' dtype, in TF32 where torch allows that, whatever `precision` says:
        cuDNN has no bfloat16 products beside a float32 state, and none of these is coarser.
        """
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        flat = torch.cat([w.reshape(-1) for w in weights]).split([w.numel() for w in weights])
        parts = [part.view(w.shape) for part, w in zip(flat, weights, strict=True)]

        def advance(x: Tensor, state: State | None) -> tuple[Tensor, State]:
            if state is None:
                state = 2 * (x.new_zeros(x.shape[1], self.weight_hh.shape[1]),)
            begin = [s.unsqueeze(0) for s in state]
            grad = torch.is_grad_enabled()  # cuDNN keeps what its backward pass needs, or does not
            out, h, c = torch.lstm(x, begin, parts, True, 1, 0.0, grad, False, False)
            return out, (h.squeeze(0), c.squeeze(0))

        return advance


def low_dtype(precision: Precision, like: Tensor) -> torch.dtype:
    """Return the dtype that goes into products: bfloat16, or that of the weights."""
    return torch.bfloat16 if precision == "bf16" else like.dtype


class ConvLSTMCell(nn.Module):
    """One ConvLSTM step (Shi et al. 2015, without peepholes), zero-padded to the input's size.

    Grids are channels last, `[batch, height, width, channel]`: the gates of a place lie together,
    as those of an LSTM do.

    Raises:
        ValueError: if kernel_size is even (the grid would shift with every step).
    """

    def __init__(
        self, in_channels: int, channels: int, kernel_size: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}.")
        k = kernel_size
        self.weight_ih = nn.Parameter(torch.empty(4 * channels, in_channels, k, k))
        self.weight_hh = nn.Parameter(torch.empty(4 * channels, channels, k, k))
        self.bias = nn.Parameter(torch.empty(4 * channels))
        self.precision: Precision = "float32"
        self.input_precision: Precision = "float32"
        self.memory = Buffers()
        init_uniform(self, 1.0 / math.sqrt((in_channels + channels) * k * k), generator)

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weights that a step reads, as they are now."""
        return self.weight_ih, self.weight_hh, self.bias

    def forward(
        self, x: Float[Tensor, "batch height width channel"], state: State | None = None
    ) -> State:
        """Return the new `(h, c)`, each `[batch, height, width, channels]`."""
        gates = _conv_last(x, self.weight_ih, self.input_precision) + self.bias
        if state is None:
            return lstm_gates(gates, None)
        h, c = state
        return lstm_gates(gates + _conv_last(h, self.weight_hh, self.precision), c)

    def fused(self, grid: tuple[int, int]) -> FusedCell:
        """Return the fast path for one run on a grid: the same steps, on the CPU.

        Raises:
            ValueError: if the weights do not fit each other.
        """
        weights, precisions = self.weights, (self.precision, self.input_precision)
        return FusedCell(ConvLSTMRun(*weights, grid, *precisions, self.memory), *weights)

    def chunked(self) -> ChunkOfCell:
        """Return how to advance by many steps at once: one product with the input for all steps."""
        # In the grid's own order, once: cuDNN would bring them into it at each step.
        weight_hh = self.weight_hh.to(memory_format=torch.channels_last)

        def advance(x: Tensor, state: State | None) -> tuple[Tensor, State]:
            fed = _conv_last(x.flatten(0, 1), self.weight_ih, self.input_precision) + self.bias
            out = []
            for gates in fed.view(*x.shape[:2], *fed.shape[1:]):
                h, c = (None, None) if state is None else state
                back = None if h is None else _conv_last(h, weight_hh, self.precision)
                state = fused_lstm_gates(gates, back, c)
                out.append(state[0])
            assert state is not None
            return torch.stack(out), state

        return advance


def _conv_last(
    x: Float[Tensor, "batch height width channel"], weight: Tensor, precision: Precision
) -> Float[Tensor, "batch height width out"]:
    low = low_dtype(precision, x)
    out = F.conv2d(x.to(low).permute(0, 3, 1, 2), weight.to(low), padding="same")
    return out.permute(0, 2, 3, 1).to(x.dtype)


def can_fuse(*cells: nn.Module, device: str | None = "cpu") -> bool:
    """Return whether fused steps are these cells' own: without hooks, no subclasses, on the CPU.

    Chunks run on any device, which is `device=None`.
    """
    own = all(plain(cell, LSTMCell) or plain(cell, ConvLSTMCell) for cell in cells)
    return own and all(fusable(*cell.weights, device=device) for cell in cells)  # type: ignore[misc]
