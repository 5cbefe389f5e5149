"""Event-driven products `W @ x_t` with inputs that spike at most once, and their gradients.

An input that spikes once is non-zero in one step of T, so a step's product is a sum over the
columns of W that belong to the inputs spiking now. Where more than half of them do (the background
of an image), the complement is summed instead: `W @ x = W.sum(1) - W @ (1 - x)`.

Each product has two paths: numba on CPU, and tensor programs for any device. Both equal the dense
product; `tests/rc_snn/test_events.py` holds the three together.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from rc_snn.kernels import conv_add, conv_gradient, linear_add, linear_gradient
from rc_snn.spikes import check_n_steps

Path: TypeAlias = Literal["numba", "tensor"]
Array: TypeAlias = npt.NDArray[Any]

_STEPS = 16
"""Steps whose means go through W together."""


@dataclass(frozen=True)
class Events:
    """Spike steps of a data set, sorted once: which inputs spike at each step of each sample.

    Args:
        order: inputs of each stored sample, earliest spike first, silent ones last.
        starts: `starts[i, t]` inputs of sample i spike before step t; `starts[i, T]` spike at all.
        index: the stored samples that this batch holds, in its order.
        mean: subtracted from the input of each step, `[T, inputs]`; None is zero.

    Example:
        >>> events = Events.encode(torch.tensor([[1, 0, 1, 2]]), n_steps=2)  # input 3 is silent
        >>> events.order.tolist(), events.starts.tolist()
        ([[1, 0, 2, 3]], [[0, 1, 3]])
    """

    order: Int[Tensor, "stored inputs"]
    starts: Int[Tensor, "stored times"]
    index: Int[Tensor, " batch"]
    mean: Float[Tensor, "steps inputs"] | None = None

    @staticmethod
    def encode(
        steps: Int[Tensor, "batch inputs"],
        n_steps: int,
        mean: Float[Tensor, "steps inputs"] | None = None,
    ) -> "Events":
        """Sort spike steps in 0..n_steps (`n_steps` is silence) into events.

        Raises:
            ValueError: if a step is negative or beyond `n_steps`.
        """
        check_n_steps(n_steps)
        n, n_inputs = steps.shape
        if steps.numel() and not 0 <= int(steps.min()) <= int(steps.max()) <= n_steps:
            raise ValueError(
                f"Spike steps must be in 0..{n_steps} ({n_steps} is silence), got "
                f"{int(steps.min())}..{int(steps.max())}. Encode with the same n_steps."
            )
        dtype = torch.int16 if max(n_inputs, n_steps) < 2**15 else torch.int32
        order = torch.empty(n, n_inputs, dtype=dtype, device=steps.device)
        starts = torch.empty(n, n_steps + 1, dtype=dtype, device=steps.device)
        bounds = torch.arange(n_steps + 1, dtype=steps.dtype, device=steps.device)
        for begin in range(0, n, 10_000):  # sorting indices are int64: keep them few
            rows = slice(begin, begin + 10_000)
            ordered, inputs = steps[rows].sort(dim=1, stable=True)
            order[rows] = inputs.to(dtype)
            starts[rows] = torch.searchsorted(
                ordered, bounds.expand(len(ordered), -1).contiguous()
            ).to(dtype)
        return Events(order, starts, torch.arange(n, device=steps.device), mean)

    @property
    def n_inputs(self) -> int:
        """Return the number of inputs."""
        return self.order.shape[1]

    @property
    def n_steps(self) -> int:
        """Return the number of steps, T."""
        return self.starts.shape[1] - 1

    def __len__(self) -> int:
        """Return the number of samples in the batch."""
        return len(self.index)

    def rows(self, index: Int[Tensor, " rows"]) -> "Events":
        """Return the samples at these positions; the stored events are shared, not copied."""
        return Events(self.order, self.starts, self.index[index], self.mean)

    def at(self, step: int) -> "StepEvents":
        """Return the events of one step."""
        return StepEvents(self, step)

    @cached_property
    def arrays(self) -> tuple[Array, Array, Array]:
        """Return order, starts and index as numpy arrays that share their memory."""
        return self.order.numpy(), self.starts.numpy(), self.index.numpy()


@dataclass(frozen=True)
class StepEvents:
    """The inputs that spike at one step: `x_t` without its zeros, and the mean it is centred by."""

    events: Events
    step: int

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.events)

    @property
    def mean(self) -> Tensor | None:
        """Return what is subtracted from this step's input."""
        return None if self.events.mean is None else self.events.mean[self.step]

    def dense(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "batch inputs"]:
        """Return x_t with its zeros, centred."""
        order, inside = self._inside()
        x = torch.zeros(inside.shape, dtype=dtype, device=order.device)
        x.scatter_(1, order.long(), inside.to(dtype))
        return x if self.mean is None else x - self.mean.to(dtype)

    def _inside(self) -> tuple[Tensor, Tensor]:
        """Return each sample's order, and which places of it spike at this step."""
        events = self.events
        starts = events.starts[events.index]
        place = torch.arange(events.n_inputs, device=starts.device)
        inside = (place >= starts[:, self.step, None]) & (place < starts[:, self.step + 1, None])
        return events.order[events.index], inside

    def ragged(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the inputs to sum, where each sample's begin, and whether they are the complement.

        Shapes `[chosen]`, `[batch]`, `[batch]`.
        """
        order, inside = self._inside()
        counts = inside.sum(dim=1)
        complement = 2 * counts > self.events.n_inputs
        chosen = inside ^ complement.unsqueeze(1)
        counts = chosen.sum(dim=1)
        return order[chosen].long(), counts.cumsum(0) - counts, complement


@dataclass(frozen=True)
class SpikeSequences:
    """Inputs that spike at most once, held as spike steps; a step's dense input is made on demand.

    Memory does not grow with `n_steps`. The events, for models with an event-driven product, are
    sorted once; parts of a data set (`rows`) share them.

    Args:
        steps: spike steps in 0..n_steps, `n_steps` for silence.
        n_steps: steps per frame, T.
        mean: subtracted from the input of each step, `[T, inputs]`; None is zero. Where nearly all
            inputs spike together (a background), centring them is what lets Adam learn.

    Raises:
        ValueError: if mean is not finite or not `[T, inputs]`.

    Example:
        >>> SpikeSequences(torch.tensor([[1, 0, 2]]), n_steps=2).at(1)
        tensor([[1., 0., 0.]])
    """

    steps: Int[Tensor, "batch inputs"]
    n_steps: int
    dtype: torch.dtype = torch.float32
    mean: Float[Tensor, "steps inputs"] | None = None

    def __post_init__(self) -> None:
        check_n_steps(self.n_steps)
        if self.mean is not None:
            shape = (self.n_steps, self.steps.shape[1])
            if self.mean.shape != shape or not torch.isfinite(self.mean).all():
                raise ValueError(
                    f"mean must be finite and of shape {shape}, got {tuple(self.mean.shape)}."
                )

    def __len__(self) -> int:
        """Return the number of sequences."""
        return self.steps.shape[0]

    @cached_property
    def events(self) -> Events:
        """Return the same spikes, sorted by step."""
        return Events.encode(self.steps, self.n_steps, self.mean)

    def at(self, step: int) -> Float[Tensor, "batch inputs"]:
        """Return 1 for the inputs that spike at this step, else 0, minus the mean."""
        x = (self.steps == step).to(self.dtype)
        return x if self.mean is None else x - self.mean[step].to(self.dtype)

    def rows(self, index: Int[Tensor, " rows"]) -> "SpikeSequences":
        """Return the sequences at these positions."""
        part = SpikeSequences(self.steps[index], self.n_steps, self.dtype, self.mean)
        vars(part)["events"] = self.events.rows(index)
        return part

    def mean_input(self) -> Float[Tensor, "steps inputs"]:
        """Return the share of the sequences in which each input spikes at each step.

        Example:
            >>> SpikeSequences(torch.tensor([[1, 0], [1, 2]]), n_steps=2).mean_input()
            tensor([[0.0000, 0.5000],
                    [1.0000, 0.0000]])
        """
        return torch.stack([(self.steps == t).float().mean(dim=0) for t in range(self.n_steps)])

    def to(self, device: torch.device | str) -> "SpikeSequences":
        """Return the sequences on another device."""
        mean = None if self.mean is None else self.mean.to(device)
        return SpikeSequences(self.steps.to(device), self.n_steps, self.dtype, mean)


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
        path: "numba" (CPU only) or "tensor" (any device); default: numba where it can.

    Raises:
        ValueError: if weight does not fit the inputs, or numba is asked for off the CPU.

    Example:
        >>> x = Events.encode(torch.tensor([[1, 0, 2]]), n_steps=2).at(1)
        >>> event_linear(x, torch.tensor([[3.0, 5.0, 7.0]]))
        tensor([[3.]])
    """
    if weight.dim() != 2 or weight.shape[1] != x.events.n_inputs:
        raise ValueError(
            f"weight must be [outputs, {x.events.n_inputs}] for these events, got "
            f"{list(weight.shape)}."
        )
    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
    if _choose(path, weight) == "numba":
        out: Tensor = _EventLinear.apply(x, weight, bias)
        return out
    inputs, begins, complement = x.ragged()
    columns = weight.t()
    summed = F.embedding_bag(inputs, columns, begins, mode="sum")
    out = torch.where(complement.unsqueeze(1), columns.sum(0) - summed, summed) + bias
    return out if x.mean is None else out - x.mean.to(weight.dtype) @ columns


def _choose(path: Path | None, weight: Tensor) -> Path:
    on_cpu = weight.device.type == "cpu"
    if path == "numba" and not on_cpu:
        raise ValueError(f'The numba path runs on the CPU, got {weight.device}. Use "tensor".')
    return path or ("numba" if on_cpu else "tensor")


class _EventLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: StepEvents, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.x, ctx.shape = x, weight.shape
        product = LinearEvents(weight)
        offset = product.offset(x)
        out = weight.new_empty(len(x), len(weight))
        return product.add(x, out, fresh=True).add_(bias if offset is None else bias - offset)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor]:
        total = LinearGradient(ctx.shape, grad.dtype)
        total.add(ctx.x, grad.contiguous())
        return None, total.weight(), grad.sum(0)


class LinearEvents:
    """The product `W @ x_t` during one run: what its steps share is made once."""

    def __init__(self, weight: Tensor) -> None:
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
        total = self.total if complements(x) else self.columns[0]  # unused without complements
        columns = self.columns.numpy()
        linear_add(
            *x.events.arrays, x.step, columns, total.numpy(), fresh, out.numpy(), _width(columns)
        )
        return out


class LinearGradient:
    """Gradient of the weights, summed over the steps of a run in one buffer."""

    def __init__(self, shape: torch.Size, dtype: torch.dtype) -> None:
        self.columns = torch.zeros(shape[1], shape[0], dtype=dtype)
        self.total: Tensor | None = None
        self.means: list[tuple[Tensor, Tensor]] = []

    def add(self, x: StepEvents, grad: Tensor) -> None:
        """Add one step's gradient `grad^T x_t`."""
        common = torch.zeros(grad.shape[1], dtype=grad.dtype)
        columns = self.columns.numpy()
        linear_gradient(
            *x.events.arrays, x.step, grad.numpy(), columns, common.numpy(), _width(columns)
        )
        if complements(x):
            self.total = common if self.total is None else self.total + common
        if x.mean is not None:
            self.means.append((x.mean, grad.sum(0)))

    def weight(self) -> Tensor:
        """Return the gradient in the weight's shape, its columns together in memory."""
        if self.total is not None:
            self.columns += self.total
        if self.means:
            mean, bias = (torch.stack(part) for part in zip(*self.means, strict=True))
            self.columns.addmm_(mean.to(bias.dtype).t(), bias, alpha=-1)
        return self.columns.t()


def complements(x: StepEvents) -> bool:
    """Return whether any sample of the step sums the complement."""
    return bool(_complements(*x.events.arrays, x.step).any())


def _width(columns: Array) -> int:
    """Return how many outputs a thread takes: all together as many as there are threads."""
    return -(-int(columns.shape[1]) // torch.get_num_threads())


def _complements(order: Array, starts: Array, index: Array, step: int) -> Array:
    counts = starts[index, step + 1].astype(np.int64) - starts[index, step]
    return np.asarray(2 * counts > order.shape[1])


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
        >>> x = Events.encode(torch.tensor([[0, 1, 1, 1]]), n_steps=1).at(0)
        >>> event_conv2d(x, torch.ones(1, 1, 3, 3), grid=(2, 2)).flatten()
        tensor([1., 1., 1., 1.])
    """
    k = weight.shape[-1]
    if weight.dim() != 4 or weight.shape[1:] != (1, k, k) or k % 2 == 0:
        raise ValueError(f"weight must be [outputs, 1, k, k] with odd k, got {list(weight.shape)}.")
    if grid[0] * grid[1] != x.events.n_inputs:
        raise ValueError(f"A grid of {grid} does not hold {x.events.n_inputs} inputs.")
    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
    if _choose(path, weight) == "numba":
        out: Tensor = _EventConv.apply(x, weight, bias, grid)
        return out
    dense = x.dense(weight.dtype).view(-1, 1, *grid)
    return F.conv2d(dense, weight, bias, padding="same").permute(0, 2, 3, 1).contiguous()


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

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor, None]:
        total = ConvGradient(ctx.shape, grad.dtype, ctx.grid)
        total.add(ctx.x, grad.contiguous())
        return None, total.weight(), grad.sum((0, 1, 2)), None


class ConvEvents:
    """The convolution `W * x_t` during one run, channels last."""

    def __init__(self, weight: Tensor, grid: tuple[int, int]) -> None:
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
        total = self.total if complements(x) else self.patch  # unused without complements
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
        k = self.patch.shape[0]
        parts = conv_gradient(*x.events.arrays, x.step, grad.numpy(), k)
        self.patch += torch.from_numpy(parts).sum(0).view_as(self.patch)
        complement = torch.from_numpy(_complements(*x.events.arrays, x.step))
        summed = grad.sum(0) if complement.all() or x.mean is not None else None
        if complement.any():
            common = summed if complement.all() else grad[complement].sum(0)
            self._add_image(torch.ones(self.grid, dtype=grad.dtype), common)
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
