"""Rank-coded networks: RCLSTM and RCConvLSTM, each a step function with a read-out."""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rc_snn.borders.numbers import counts, finite
from rc_snn.borders.signatures import typed
from rc_snn.cells import ConvLSTMCell, LSTMCell, can_fuse
from rc_snn.fast.border import plain
from rc_snn.fast.fused import Precision, step_input
from rc_snn.read_out import Dropout as Dropout
from rc_snn.read_out import LinearReadOut as LinearReadOut
from rc_snn.read_out import ReadOut as ReadOut
from rc_snn.read_out import linear
from rc_snn.runs.chunks import Chunk
from rc_snn.step_model import Advance, State, StepCost


def fresh_generator(generator: torch.Generator | None) -> torch.Generator:
    """Return the caller's generator, or a new one with seed 0; never torch's global one."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def check_precision(precision: Precision) -> Precision:
    """Refuse an unknown precision."""
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {get_args(Precision)}, got {precision!r}.")
    return precision


def add_forget_bias(bias: nn.Parameter, forget_bias: float) -> None:
    """Add to the forget gate's quarter of a bias: how much a new network remembers."""
    n = bias.shape[0] // 4
    with torch.no_grad():
        bias[n : 2 * n] += forget_bias


@typed
class RCLSTM(nn.Module):
    """LSTM with a read-out, `n_inputs-n_hidden-n_classes` (784-340-10 in Table 1).

    Args:
        n_inputs: input size per step.
        n_hidden: LSTM units.
        n_classes: classes.
        read_out: "softmax", or "sigmoid" for two classes.
        forget_bias: added to the forget gate's bias; 0 is torch's default, 1 that of Jozefowicz
            et al. 2015.
        dropout: share of the features zeroed before the read-out, while training.
        n_dense: units of a rectified layer between the LSTM and the output, as the keyword network
            has (128-32-11, section 3.4); None is no such layer.
        precision: "float32", or "bf16" for the recurrent product (`rc_snn.fast.fused.Precision`).
        dense_input: whether the input is dense, not spikes; `precision` is then that of its
            product, too.
        generator: source of the initial weights; default: a new one with seed 0.

    Example:
        >>> model = RCLSTM(784, 340, 10)
        >>> features, state = model.step(torch.zeros(5, 784), None)
        >>> model.read_out(features).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        n_inputs: int = 784,
        n_hidden: int = 340,
        n_classes: int = 10,
        *,
        read_out: ReadOut = "softmax",
        forget_bias: float = 0.0,
        dropout: float = 0.0,
        n_dense: int | None = None,
        precision: Precision = "float32",
        dense_input: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = fresh_generator(generator)
        n_inputs, n_hidden = counts(n_inputs=n_inputs, n_hidden=n_hidden)
        (n_classes,) = counts(2, n_classes=n_classes)
        if n_dense is not None:
            (n_dense,) = counts(n_dense=n_dense)
        forget_bias = float(finite(forget_bias, "forget_bias"))
        self.n_inputs, self.n_hidden, self.n_classes = n_inputs, n_hidden, n_classes
        self.cell = LSTMCell(n_inputs, n_hidden, generator)
        self.dense = None if n_dense is None else linear(n_hidden, n_dense, generator)
        self.output = LinearReadOut(n_dense or n_hidden, n_classes, read_out, generator)
        add_forget_bias(self.cell.bias_ih, forget_bias)
        self.dropout = Dropout(dropout, generator)
        self.dense_input, self.forget_bias = dense_input, forget_bias
        self.precision = precision

    @property
    def options(self) -> dict[str, Any]:
        """Return what builds another network like this one, but for its weights."""
        return {
            "n_inputs": self.n_inputs,
            "n_hidden": self.n_hidden,
            "n_classes": self.n_classes,
            "read_out": self.output.kind,
            "forget_bias": self.forget_bias,
            "dropout": self.dropout.p,
            "n_dense": None if self.dense is None else self.dense.out_features,
            "precision": self.precision,
            "dense_input": self.dense_input,
        }

    @property
    def precision(self) -> Precision:
        """Precision of the products with the state and a dense input; may be set at any time."""
        return self.cell.precision

    @precision.setter
    def precision(self, value: Precision) -> None:
        self.cell.precision = check_precision(value)
        self.cell.input_precision = value if self.dense_input else "float32"

    def step(
        self, x: Float[Tensor, "batch *inputs"], state: State | None
    ) -> tuple[Float[Tensor, "batch hidden"], State]:
        """Advance by one step; the features are the hidden state h."""
        state = self.cell(x.flatten(1), state)
        return self.dropout(state[0]), state

    def fused(self) -> Advance | None:
        """Return the fast path for one run; None where it would not be the reference's steps.

        That is off the CPU, in other precisions than float32 and float64, under autocast, for
        subclasses of the model or the cell (parametrizations make one), and where hooks listen.
        """
        if not plain(self, RCLSTM, "step") or not can_fuse(self.cell):
            return None
        cell, dtype = self.cell.fused(), self.cell.weight_ih.dtype

        def advance(step: int, inputs: Any, state: State | None) -> tuple[Tensor, State]:
            state = cell.step(step_input(inputs, step, dtype), state)
            return self.dropout(state[0]), state

        return advance

    def chunked(self) -> Chunk | None:
        """Return how to advance by many steps at once; None where they would not be `step`'s.

        That is for subclasses of the model or the cell, where hooks listen, and under autocast.
        """
        if not plain(self, RCLSTM, "step") or not can_fuse(self.cell, device=None):
            return None
        cell = self.cell.chunked()

        def advance(x: Tensor, state: State | None) -> tuple[Tensor, State]:
            h, state = cell(x.flatten(2), state)
            return self.dropout(h), state

        return Chunk(advance, values=self.n_inputs + 10 * self.n_hidden)

    def read_out(self, features: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of the hidden state."""
        if self.dense is not None:
            features = torch.relu(self.dense(features))
        logits: Tensor = self.output(features)
        return logits

    def cost(self) -> StepCost:
        """Return the multiply-adds of one sample in one step."""
        gates = 4 * self.n_hidden
        dense = 0 if self.dense is None else self.dense.weight.numel()
        return StepCost(
            input=gates * self.n_inputs,
            inner=0,
            recurrent=gates * self.n_hidden,
            read_out=dense + self.output.weight.numel(),
            fan_out=torch.full((self.n_inputs,), float(gates)),
        )


@typed
class RCConvLSTM(nn.Module):
    """ConvLSTM layers with a dense read-out, `784-C-10` in Table 1.

    Args:
        channels: channels of each layer; `(20,)` is 784-20-10.
        kernel_size: odd side of the square kernel. The paper does not state it.
        pool: max-pool factor behind each layer; 1 is none.
        image_shape: height and width of the input grid.
        n_classes: classes.
        read_out: "softmax", or "sigmoid" for two classes.
        forget_bias: added to the forget gates' biases.
        dropout: share of the features zeroed before the read-out, while training.
        precision: "float32", or "bf16" for all products but those with the input and the read-out.
        generator: source of the initial weights; default: a new one with seed 0.

    Raises:
        ValueError: if channels is empty, a kernel is even, or pooling leaves nothing.

    Example:
        >>> model = RCConvLSTM(channels=(4, 8), kernel_size=3, pool=2)
        >>> features, state = model.step(torch.zeros(5, 784), None)
        >>> features.shape, len(state)  # 8 channels of 7x7; h and c of two layers
        (torch.Size([5, 392]), 4)
    """

    def __init__(
        self,
        channels: Sequence[int] = (20,),
        kernel_size: int = 5,
        *,
        pool: int = 1,
        image_shape: Sequence[int] = (28, 28),
        n_classes: int = 10,
        read_out: ReadOut = "softmax",
        forget_bias: float = 0.0,
        dropout: float = 0.0,
        precision: Precision = "float32",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = fresh_generator(generator)
        height, width = image_shape
        height, width, kernel_size = counts(height=height, width=width, kernel_size=kernel_size)
        channels = [one for n in channels for one in counts(channels=n)]
        forget_bias = float(finite(forget_bias, "forget_bias"))
        image_shape, depth = (height, width), len(channels)
        if depth == 0 or pool < 1 or min(image_shape) // pool**depth < 1:
            raise ValueError(
                f"RCConvLSTM needs at least one layer and a grid left to read, got channels="
                f"{tuple(channels)} with pool={pool} on {image_shape}."
            )
        height, width = image_shape
        self.image_shape, self.pool, self.n_classes = (height, width), pool, n_classes
        self.n_inputs = height * width
        self.cells = nn.ModuleList()
        self.grids: list[tuple[int, int]] = []
        grid, in_channels = self.image_shape, 1
        for n in channels:
            self.cells.append(ConvLSTMCell(in_channels, n, kernel_size, generator))
            self.grids.append(grid)
            grid, in_channels = (grid[0] // pool, grid[1] // pool), n
        self.output = LinearReadOut(in_channels * grid[0] * grid[1], n_classes, read_out, generator)
        for layer in self.layers:
            add_forget_bias(layer.bias, forget_bias)
        self.dropout, self.forget_bias = Dropout(dropout, generator), forget_bias
        self.precision = precision

    @property
    def options(self) -> dict[str, Any]:
        """Return what builds another network like this one, but for its weights."""
        return {
            "channels": [layer.weight_hh.shape[1] for layer in self.layers],
            "kernel_size": self.layers[0].weight_hh.shape[-1],
            "pool": self.pool,
            "image_shape": list(self.image_shape),
            "n_classes": self.n_classes,
            "read_out": self.output.kind,
            "forget_bias": self.forget_bias,
            "dropout": self.dropout.p,
            "precision": self.precision,
        }

    @property
    def precision(self) -> Precision:
        """Precision of the products between states and layers; may be set at any time."""
        return self.layers[0].precision

    @precision.setter
    def precision(self, value: Precision) -> None:
        for i, layer in enumerate(self.layers):
            layer.precision = check_precision(value)
            layer.input_precision = "float32" if i == 0 else value

    @property
    def layers(self) -> list[ConvLSTMCell]:
        """Return the cells, first layer first."""
        return list(self.cells)  # type: ignore[arg-type]

    def step(
        self, x: Float[Tensor, "batch *inputs"], state: State | None
    ) -> tuple[Float[Tensor, "batch features"], State]:
        """Advance every layer by one step; the features are the last layer's pooled h.

        They are channels last, as the grids are: feature `(row * width + column) * channels + k`.
        """
        return self._advance(self.layers, x.reshape(-1, *self.image_shape, 1), state)

    def fused(self) -> Advance | None:
        """Return the fast path for one run; None where it would not be the reference's steps.

        That is where `RCLSTM.fused` has none, either.
        """
        if not plain(self, RCConvLSTM, "step", "_advance") or not can_fuse(*self.layers):
            return None
        dtype = self.layers[0].weight_ih.dtype
        cells = [
            layer.fused(grid).step for layer, grid in zip(self.layers, self.grids, strict=True)
        ]

        def advance(step: int, inputs: Any, state: State | None) -> tuple[Tensor, State]:
            x = step_input(inputs, step, dtype)
            if isinstance(x, Tensor):
                x = x.view(-1, *self.image_shape, 1)
            return self._advance(cells, x, state)

        return advance

    def chunked(self) -> Chunk | None:
        """Return how to advance by many steps at once; None where `RCLSTM.chunked` has none."""
        if not plain(self, RCConvLSTM, "step", "_advance"):
            return None
        if not can_fuse(*self.layers, device=None):
            return None
        cells = [layer.chunked() for layer in self.layers]

        def advance(x: Tensor, state: State | None) -> tuple[Tensor, State]:
            x = x.reshape(*x.shape[:2], *self.image_shape, 1)
            new: State = ()
            for i, cell in enumerate(cells):
                x, own = cell(x, None if state is None else state[2 * i : 2 * i + 2])
                new += own
                x = self._pooled(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            return self.dropout(x.flatten(2)), new

        held = [
            height * width * layer.weight_hh.shape[1]
            for layer, (height, width) in zip(self.layers, self.grids, strict=True)
        ]
        return Chunk(advance, values=self.n_inputs + 20 * sum(held))

    def _advance(
        self, cells: Sequence[Callable[..., State]], x: Any, state: State | None
    ) -> tuple[Tensor, State]:
        new: State = ()
        for i, cell in enumerate(cells):
            h, c = cell(x, None if state is None else state[2 * i : 2 * i + 2])
            new += (h, c)
            x = self._pooled(h)
        return self.dropout(x.flatten(1)), new

    def _pooled(self, h: Float[Tensor, "batch height width channel"]) -> Tensor:
        if self.pool == 1:
            return h
        return F.max_pool2d(h.permute(0, 3, 1, 2), self.pool).permute(0, 2, 3, 1)

    def read_out(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of the features."""
        logits: Tensor = self.output(features)
        return logits

    def cost(self) -> StepCost:
        """Return the multiply-adds of one sample in one step, padding included as torch does."""
        cells = [height * width for height, width in self.grids]
        feed = [g * x.weight_ih.numel() for x, g in zip(self.layers, cells, strict=True)]
        back = [g * x.weight_hh.numel() for x, g in zip(self.layers, cells, strict=True)]
        # An input spike near the border reaches fewer targets: count those that exist.
        kernel = torch.ones_like(self.layers[0].weight_ih[:1]).detach()
        reach = F.conv2d(torch.ones(1, 1, *self.image_shape).to(kernel), kernel, padding="same")
        return StepCost(
            input=feed[0],
            inner=sum(feed[1:]),
            recurrent=sum(back),
            read_out=self.output.weight.numel(),
            fan_out=reach.flatten() * self.layers[0].weight_ih.shape[0],
        )
