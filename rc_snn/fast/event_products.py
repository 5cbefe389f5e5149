"""Event-driven products `W @ x_t` with inputs that spike at most once, and their gradients.

An input that spikes once is non-zero in one step of T, so a step's product is a sum over the
columns of W that belong to the inputs spiking now. Where more than half of them do (the background
of an image), the complement is summed instead: `W @ x = W.sum(1) - W @ (1 - x)`.

Each product has two paths: numba on CPU, and tensor programs for any device. Both equal the dense
product; `tests/rc_snn/fast/test_events.py` holds the three together.
"""

from functools import cached_property
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rc_snn.fast.border import first_order, fits, fusable
from rc_snn.fast.kernels import conv_add, conv_gradient, linear_add, linear_gradient
from rc_snn.spike_events import Array, StepEvents

Path: TypeAlias = Literal["numba", "tensor"]

_STEPS = 16
"""Steps whose means go through W together."""


# -- W @ x_t ------------------------------------------------------------------------------------


def event_linear(
    x: StepEvents,
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None = None,
    path: Path | None = None,
) -> Float[Tensor, "batch outputs"]:
    """Return `F.linear(x, weight, bias)` of one step's events, differentiable in weight and bias.

    Fastest where the weight's columns lie together in memory, as in `rc_snn.cells.LSTMCell`.

    Args:
        x: the step's events.
        weight: weights, float32 or float64.
        bias: added to every sample; None is zero.
        path: "numba" (CPU only) or "tensor" (any device); default: numba where it can. It has no
            gradient of the events' mean.

    Raises:
        ValueError: if weight or bias do not fit the inputs, or numba cannot take them.

    Example:
        >>> from rc_snn.sequences import Events
        >>> x = Events.encode(torch.tensor([[1, 0, 2]]), n_steps=2).at(1)
        >>> event_linear(x, torch.tensor([[3.0, 5.0, 7.0]]))
        tensor([[3.]])
    """
    if weight.dim() != 2 or weight.shape[1] != x.events.n_inputs:
        raise ValueError(
            f"weight must be [outputs, {x.events.n_inputs}] for these events, got "
            f"{list(weight.shape)}."
        )
    bias = _checked_bias(weight, bias)
    if _choose(path, weight, x) == "numba":
        out: Tensor = _EventLinear.apply(x, weight, bias)
        return out
    inputs, begins, complement = x.ragged()
    columns = weight.t()
    summed = F.embedding_bag(inputs, columns, begins, mode="sum")
    out = torch.where(complement.unsqueeze(1), columns.sum(0) - summed, summed) + bias
    return out if x.mean is None else out - x.mean.to(weight.dtype) @ columns


def _checked_bias(weight: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return weight.new_zeros(weight.shape[0])
    if bias.shape != weight.shape[:1] or bias.dtype is not weight.dtype:
        raise ValueError(
            f"bias must be [{len(weight)}] of {weight.dtype}, got {list(bias.shape)} of "
            f"{bias.dtype}."
        )
    return bias


def _choose(path: Path | None, weight: Tensor, x: StepEvents) -> Path:
    if path not in (None, "numba", "tensor"):
        raise ValueError(f'path must be "numba", "tensor" or None, got {path!r}.')
    mean = x.events.mean
    learned = mean is not None and mean.requires_grad and torch.is_grad_enabled()
    can = fusable(weight) and x.events.order.device.type == "cpu" and not learned
    if path == "numba" and not can:
        raise ValueError(
            f"The numba path runs on the CPU, in float32 and float64, without the gradient of a "
            f"mean or torch's transforms; got {weight.dtype} on {weight.device}. Use "
            '"tensor".'
        )
    return path or ("numba" if can else "tensor")


class _EventLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: StepEvents, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.x, ctx.shape = x, weight.shape
        product = LinearEvents(weight)
        offset = product.offset(x)
        out = weight.new_empty(len(x), len(weight))
        return product.add(x, out, fresh=True).add_(bias if offset is None else bias - offset)

    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor]:
        total = LinearGradient(ctx.shape, grad.dtype)
        total.add(ctx.x, grad.contiguous())
        return None, total.weight(), grad.sum(0)


class LinearEvents:
    """The product `W @ x_t` during one run: what its steps share is made once.

    Raises:
        ValueError: if the weight is no matrix, or later if a step does not fit it.
    """

    def __init__(self, weight: Tensor) -> None:
        fits(weight, (len(weight), weight.shape[-1]), weight.dtype, "weight")
        self.columns = weight.detach().t().contiguous()
        self.offsets: dict[int, Tensor] = {}

    @cached_property
    def total(self) -> Tensor:
        """Return the sum of all columns: the product with x = 1."""
        return self.columns.sum(0)

    def offset(self, x: StepEvents) -> Tensor | None:
        """Return the product with the step's mean, to be subtracted; None without a mean."""
        mean = x.events.mean
        if mean is None:
            return None
        block = x.step // _STEPS
        if block not in self.offsets:  # several steps per reading of W, but not all of a long T
            part = mean[block * _STEPS : (block + 1) * _STEPS].to(self.columns.dtype)
            self.offsets[block] = part @ self.columns
        return self.offsets[block][x.step % _STEPS]

    def add(self, x: StepEvents, out: Tensor, *, fresh: bool = False) -> Tensor:
        """Add the product, not centred, to `out` in place; fresh starts at zero."""
        _check_inputs(x, len(self.columns))
        fits(out, (len(x), self.columns.shape[1]), self.columns.dtype, "out")
        total = self.total if x.complement.any() else self.columns[0]  # else unused
        columns = self.columns.numpy()
        linear_add(
            *x.events.arrays, x.step, columns, total.numpy(), fresh, out.numpy(), _width(columns)
        )
        return out


class LinearGradient:
    """Gradient of the weights, summed over the steps of a run in one buffer."""

    def __init__(self, shape: torch.Size, dtype: torch.dtype) -> None:
        self.columns = torch.empty(shape[1], shape[0], dtype=dtype)
        self.fresh = True
        self.total: Tensor | None = None
        self.means: list[tuple[Tensor, Tensor]] = []

    def add(self, x: StepEvents, grad: Tensor) -> None:
        """Add one step's gradient `grad^T x_t`."""
        _check_inputs(x, len(self.columns))
        fits(grad, (len(x), self.columns.shape[1]), self.columns.dtype, "grad")
        common = grad.new_zeros(grad.shape[1])
        sums, n_parts = (self.columns.numpy(), common.numpy()), torch.get_num_threads()
        linear_gradient(*x.events.arrays, x.step, grad.numpy(), *sums, self.fresh, n_parts)
        self.fresh = False
        if x.complement.any():
            self.total = common if self.total is None else self.total + common
        if x.mean is not None:
            self.means.append((x.mean, grad.sum(0)))

    def weight(self) -> Tensor:
        """Return the gradient in the weight's shape, its columns together in memory.

        At least one step has been added.
        """
        if self.total is not None:
            self.columns += self.total
        if self.means:
            mean, bias = (torch.stack(part) for part in zip(*self.means, strict=True))
            self.columns.addmm_(mean.to(bias.dtype).t(), bias, alpha=-1)
        return self.columns.t()


def _check_inputs(x: StepEvents, n_inputs: int) -> None:
    if x.events.n_inputs != n_inputs:
        raise ValueError(f"The weight has {n_inputs} inputs, the events {x.events.n_inputs}.")


def _width(columns: Array) -> int:
    """Return how many outputs a thread takes: all together as many as there are threads."""
    return -(-int(columns.shape[1]) // torch.get_num_threads())


# -- conv2d(x_t, W) -----------------------------------------------------------------------------


def event_conv2d(
    x: StepEvents,
    weight: Float[Tensor, "outputs 1 k k"],
    bias: Float[Tensor, " outputs"] | None = None,
    grid: tuple[int, int] = (28, 28),
    path: Path | None = None,
) -> Float[Tensor, "batch height width outputs"]:
    """Return the zero-padded convolution of one step's events on a grid, channels last.

    Differentiable in weight and bias. The tensor path is torch's dense convolution.

    Args:
        x: the step's events; input `row * width + column` of the grid.
        weight: one input channel, odd square kernels.
        bias: added everywhere; None is zero.
        grid: height and width.
        path: as for `event_linear`.

    Raises:
        ValueError: if weight or grid do not fit the inputs.

    Example:
        >>> from rc_snn.sequences import Events
        >>> x = Events.encode(torch.tensor([[0, 1, 1, 1]]), n_steps=1).at(0)
        >>> event_conv2d(x, torch.ones(1, 1, 3, 3), grid=(2, 2)).flatten()
        tensor([1., 1., 1., 1.])
    """
    _check_kernel(weight)
    _check_grid(x, grid)
    bias = _checked_bias(weight, bias)
    if _choose(path, weight, x) == "numba":
        out: Tensor = _EventConv.apply(x, weight, bias, grid)
        return out
    dense = x.dense(weight.dtype).view(-1, 1, *grid)
    return F.conv2d(dense, weight, bias, padding="same").permute(0, 2, 3, 1).contiguous()


def _check_kernel(weight: Tensor) -> None:
    k = weight.shape[-1] if weight.dim() else 0
    if weight.dim() != 4 or weight.shape[1:] != (1, k, k) or k % 2 == 0:
        raise ValueError(f"weight must be [outputs, 1, k, k] with odd k, got {list(weight.shape)}.")


def _check_grid(x: StepEvents, grid: tuple[int, int]) -> None:
    if min(grid) < 1 or grid[0] * grid[1] != x.events.n_inputs:
        raise ValueError(f"A grid of {grid} does not hold {x.events.n_inputs} inputs.")


class _EventConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: StepEvents, weight: Tensor, bias: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        ctx.x, ctx.shape, ctx.grid = x, weight.shape, grid
        product = ConvEvents(weight, grid)
        offset = product.offset(x)
        out = weight.new_empty(len(x), *grid, len(weight))
        return product.add(x, out, fresh=True).add_(bias if offset is None else bias - offset)

    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor, None]:
        total = ConvGradient(ctx.shape, grad.dtype, ctx.grid)
        total.add(ctx.x, grad.contiguous())
        return None, total.weight(), grad.sum((0, 1, 2)), None


class ConvEvents:
    """The convolution `W * x_t` during one run, channels last.

    Raises:
        ValueError: if the weight is no kernel of one input channel, or later if a step does not fit
            the grid.
    """

    def __init__(self, weight: Tensor, grid: tuple[int, int]) -> None:
        _check_kernel(weight)
        # What an event adds around itself is the kernel turned by 180 degrees.
        self.patch = weight.detach()[:, 0].flip(1, 2).permute(1, 2, 0).contiguous()
        self.weight, self.grid = weight.detach(), grid

    @cached_property
    def total(self) -> Tensor:
        """Return the convolution of x = 1."""
        return self._image(self.weight.new_ones(self.grid))

    def _image(self, image: Tensor) -> Tensor:
        out = F.conv2d(image.view(1, 1, *self.grid), self.weight, padding="same")
        return out[0].permute(1, 2, 0).contiguous()

    def offset(self, x: StepEvents) -> Tensor | None:
        """Return the convolution of the step's mean, to be subtracted; None without a mean."""
        return None if x.mean is None else self._image(x.mean.to(self.weight.dtype))

    def add(self, x: StepEvents, out: Tensor, *, fresh: bool = False) -> Tensor:
        """Add the convolution, not centred, to `out` in place; fresh starts at zero."""
        _check_grid(x, self.grid)
        shape = (len(x), *self.grid, self.patch.shape[2])
        fits(out, shape, self.patch.dtype, "out", contiguous=True)
        total = self.total if x.complement.any() else self.patch  # else unused
        conv_add(*x.events.arrays, x.step, self.patch.numpy(), total.numpy(), fresh, out.numpy())
        return out


class ConvGradient:
    """Gradient of the kernel, summed over the steps of a run."""

    def __init__(self, shape: torch.Size, dtype: torch.dtype, grid: tuple[int, int]) -> None:
        self.patch = torch.zeros(*shape[2:], shape[0], dtype=dtype)
        self.images: Tensor | None = None
        self.grid = grid

    def add(self, x: StepEvents, grad: Tensor) -> None:
        """Add one step's gradient."""
        _check_grid(x, self.grid)
        k, shape = self.patch.shape[0], (len(x), *self.grid, self.patch.shape[2])
        fits(grad, shape, self.patch.dtype, "grad", contiguous=True)
        parts = conv_gradient(*x.events.arrays, x.step, grad.numpy(), k)
        self.patch += torch.from_numpy(parts).sum(0).view_as(self.patch)
        complement = torch.from_numpy(x.complement)
        summed = grad.sum(0) if complement.all() or x.mean is not None else None
        if complement.any():
            common = summed if complement.all() else grad[complement].sum(0)
            self._add_image(grad.new_ones(self.grid), common)
        if x.mean is not None:
            self._add_image(-x.mean.to(grad.dtype), summed)

    def _add_image(self, image: Tensor, summed: Tensor | None) -> None:
        """Add the gradient from an image that samples share; summed is theirs, over the samples."""
        assert summed is not None
        k, channels = self.patch.shape[0], self.patch.shape[2]
        patches = F.unfold(image.view(1, 1, *self.grid), k, padding=k // 2)[0]
        found = (patches @ summed.view(-1, channels)).t().reshape(channels, 1, k, k)
        self.images = found if self.images is None else self.images + found

    def weight(self) -> Tensor:
        """Return the gradient in the weight's shape."""
        gradient = self.patch.permute(2, 0, 1).flip(1, 2).unsqueeze(1).contiguous()
        return gradient if self.images is None else gradient + self.images
