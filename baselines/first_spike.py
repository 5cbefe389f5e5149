"""First spikes of neurons that fire at most once, with exact gradients: what both models share.

A neuron model says how its potential answers to one input; everything else is common: each neuron
of a row sees the inputs of its row in order of time, fires at the first crossing of θ, and stays
silent afterwards. The inputs that arrived in time to cause the spike are its causal set; within a
fixed causal set the spike time is a smooth function of weights and input times, and its derivatives
are those of the implicit equation V(t) = θ.

Three paths compute it: `baselines.kernels` (numba, CPU), `baselines.triton_kernels` (CUDA), and
`baselines.tensor_path` (any device). All return the same spike times, causal sets and slopes; the
tests hold them together.
"""

import importlib.util
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines import kernels, tensor_path
from baselines.tensor_path import Alpha, Causes, Crossing, Sorted
from rc_snn.borders.checks import check_finite
from rc_snn.fast.border import first_order, fits
from rc_snn.spikes import check_labels

Fast = bool | Literal["triton"] | None
"""Which path computes: see `first_spikes`."""


@runtime_checkable
class Neuron(Protocol):
    """A neuron model: its numbers, and its kernels."""

    def psp(self, lag: Tensor) -> Tensor:
        """Return the potential that an input of weight 1 leaves `lag` >= 0 after it."""

    def in_units(self, unit: float) -> "Neuron":
        """Return the neuron on a clock whose unit lasts so many frames."""

    def cross_fast(self, spikes: Sorted, weight: Tensor, out: Crossing) -> None:
        """Find the first crossings by numba's kernels."""

    def alpha(self) -> Alpha:
        """Return its numbers: all that the other two paths know of it."""

    def back_fast(self, run: "Run", upstream: Tensor, since: int, parts: "Parts") -> None:
        """Add up the gradients by numba's kernels."""


@dataclass(frozen=True)
class Run:
    """What the backward pass of numba's kernels needs of a forward pass."""

    spikes: Sorted
    index: Int[Tensor, "rows inputs"]
    weight: Float[Tensor, "inputs neurons"]
    crossing: Crossing


@dataclass(frozen=True)
class Parts:
    """Gradients as the tasks of numba's kernels add them up."""

    weight: Float[Tensor, "chunks inputs neurons"]
    times: Float[Tensor, "blocks batch some"]


def sort_spikes(
    times: Float[Tensor, "batch all"], index: Int[Tensor, "rows inputs"], *, fast: bool
) -> Sorted:
    """Sort the inputs of every row by time.

    Args:
        times: input spikes in frames, >= 0, `inf` for silence.
        index: the inputs that each row sees.
        fast: by the kernel (CPU) or by tensors (any device).

    Raises:
        ValueError: if a time is NaN or negative, or an index is none of an input.

    Example:
        >>> times = torch.tensor([[0.5, torch.inf, 0.25]])
        >>> sort_spikes(times, torch.arange(3)[None], fast=False).order.tolist()
        [[[2, 0, 1]]]
    """
    low, high = (int(x) for x in index.aminmax()) if index.numel() else (0, -1)
    if times.dim() != 2 or index.dim() != 2 or not 0 <= low <= high < times.shape[1]:
        raise ValueError(
            f"Each row sees inputs of 0..{times.shape[-1] - 1}, [rows, inputs], got "
            f"{list(index.shape)} in {low}..{high} for times {list(times.shape)}."
        )
    if not fast:
        if not (times >= 0.0).all():
            raise ValueError(_NO_TIME)
        ordered, order = times[:, index].sort(dim=-1, stable=True)
        return Sorted(ordered, order, torch.isfinite(ordered).sum(dim=-1))
    fits(index, index.shape, torch.int32, "index")
    fits(times, times.shape, _kernel_dtype(times), "times")
    shape = (len(times), *index.shape)
    ordered = torch.empty(shape, dtype=times.dtype)
    order = torch.empty(shape, dtype=torch.int32)
    count = torch.empty(shape[:2], dtype=torch.int32)
    inputs = (times.detach().contiguous(), index.contiguous())
    kernels.sort_rows(*(x.numpy() for x in (*inputs, ordered, order, count)))
    if count.numel() and int(count.min()) < 0:  # the kernel has seen each time already
        raise ValueError(_NO_TIME)
    return Sorted(ordered, order, count)


_NO_TIME = (
    "Spike times must be >= 0 frames or inf, pulses and hidden spikes, too; one is NaN or negative."
)


def _kernel_dtype(tensor: Tensor) -> torch.dtype:
    """Return its dtype, or one that kernels take."""
    return tensor.dtype if tensor.dtype in (torch.float32, torch.float64) else torch.float32


def check_crossing(spikes: Sorted, weight: Tensor, out: Crossing) -> None:
    """Refuse what the kernels of a neuron model cannot take; see `Neuron.cross_fast`.

    Raises:
        ValueError: if sizes, types or indices do not fit each other.
    """
    shape = (*spikes.spiking.shape, weight.shape[0])
    dtype, after = _kernel_dtype(weight), (*spikes.spiking.shape, weight.shape[-1])
    fits(weight, (weight.shape[0], weight.shape[-1]), dtype, "weight")
    fits(spikes.times, shape, dtype, "times")
    fits(spikes.order, shape, torch.int32, "order")
    fits(spikes.spiking, shape[:-1], torch.int32, "The numbers of inputs that spike")
    for each, kind in ((out.time, dtype), (out.causal, torch.int32), (out.slope, dtype)):
        fits(each, after, kind, "A crossing")
    if kernels.beyond(spikes.order.numpy(), spikes.spiking.numpy()).any():
        raise ValueError(f"Sorted inputs must be 0..{len(weight) - 1}: sort_spikes makes them.")


def first_spikes(
    neuron: Neuron,
    times: Float[Tensor, "batch all"],
    weight: Float[Tensor, "inputs neurons"],
    index: Int[Tensor, "rows inputs"] | None = None,
    pulses: Float[Tensor, " pulses"] | None = None,
    *,
    fast: Fast = None,
) -> Float[Tensor, "batch rows neurons"]:
    """Return the first spike time of every neuron of every row, differentiably.

    Args:
        neuron: the neuron model.
        times: input spikes in frames, >= 0, `inf` for silence.
        weight: one row per input of a row.
        index: the inputs that each row sees; None is one row that sees all, a dense layer.
        pulses: spikes that belong to the layer, and follow the inputs for every sample.
        fast: by kernels (numba's on the CPU, Triton's on CUDA; float32 and float64) or by tensors
            (any device, any type); default: kernels where they apply and are installed. "triton"
            takes Triton's even on the CPU, where its interpreter must be asked for by
            TRITON_INTERPRET=1 in the environment: a program to check kernels by, not a fast one.

    Raises:
        ValueError: if sizes or types do not fit each other or the kernels, a weight or pulse is not
            finite, or a time is NaN or negative.
    """
    n_inputs = times.shape[-1] + (0 if pulses is None else len(pulses))
    if index is None:
        index = torch.arange(n_inputs, dtype=torch.int32, device=times.device)[None]
    fit = weight.dim() == 2 and 0 not in weight.shape and weight.shape[0] == index.shape[-1]
    if not fit or {x.dtype for x in (times, pulses) if x is not None} != {weight.dtype}:
        kinds = [f"{list(x.shape)} of {x.dtype}" for x in (times, pulses, weight) if x is not None]
        raise ValueError(
            f"{index.shape[-1]} inputs and pulses of a neuron need as many rows of weights, of the "
            f"times' type and at least one neuron; got {', '.join(kinds)}."
        )
    check_finite([("weight", weight), *([] if pulses is None else [("pulses", pulses)])])
    out: Tensor = _FirstSpikes.apply(neuron, times, pulses, weight, index, _path(fast, weight))
    return out


def _path(fast: Fast, weight: Tensor) -> Literal["numba", "triton", "tensors"]:
    """Return what computes."""
    on_cuda = weight.device.type == "cuda"
    kernels_of: Literal["numba", "triton"] = "triton" if on_cuda or fast == "triton" else "numba"
    installed = kernels_of == "numba" or importlib.util.find_spec("triton") is not None
    if fast is None:
        compiled = weight.device.type in ("cpu", "cuda") and _kernel_dtype(weight) is weight.dtype
        fast = compiled and installed
    if fast and not installed:
        raise ValueError("Triton is not installed. Install it, or take tensors by fast=False.")
    return kernels_of if fast else "tensors"


def _module(path: str) -> Any:
    """Return what holds `cross` and `back`; torch brings Triton only where there is CUDA."""
    return importlib.import_module("baselines.triton_kernels") if path == "triton" else tensor_path


class _FirstSpikes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        neuron: Neuron,
        times: Tensor,
        pulses: Tensor | None,
        weight: Tensor,
        index: Tensor,
        path: str,
    ) -> Tensor:
        ctx.n_times = times.shape[1]
        if pulses is not None:
            times = torch.cat([times, pulses.expand(len(times), -1)], dim=1)
        times = times.detach()
        spikes = sort_spikes(times, index, fast=path == "numba")
        ctx.save_for_backward(weight)  # which refuses one that is changed in place by then
        weight = weight.detach()
        ctx.neuron, ctx.path, ctx.n_all = neuron, path, times.shape[1]
        if path == "numba":
            shape = (len(times), len(index), weight.shape[1])
            crossing = Crossing(
                torch.empty(shape, dtype=times.dtype),
                torch.empty(shape, dtype=torch.int32),
                torch.empty(shape, dtype=times.dtype),
            )
            neuron.cross_fast(spikes, weight, crossing)
            ctx.run = Run(spikes, index, weight, crossing)
        else:
            crossing = _module(path).cross(neuron.alpha(), spikes, weight)
            time, causal, slope = crossing
            silent = causal == 0
            last = spikes.times.gather(2, (causal.long() - 1).clamp_min(0))
            ctx.run = Causes(
                times.clone(),  # the caller may write to its own
                index,
                weight,
                time.masked_fill(silent, 0.0),
                last.masked_fill(silent, -1.0),
                slope,
            )
        ctx.silent = crossing.causal == 0
        return crossing.time.clone()  # the run keeps its own, whatever becomes of this one

    @first_order
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors
        _, wants_times, wants_pulses, *_ = ctx.needs_input_grad
        # Gradients of input times are made from this input on.
        since = 0 if wants_times else ctx.n_times if wants_pulses else ctx.n_all
        upstream = upstream.masked_fill(ctx.silent, 0.0).contiguous()
        if ctx.path == "numba":
            d_weight, d_times = _back_fast(ctx.neuron, ctx.run, upstream, ctx.n_all, since)
        else:
            d_weight, d_times = _module(ctx.path).back(
                ctx.neuron.alpha(), ctx.run, upstream, ctx.n_all, since
            )
        inputs = ctx.n_times - since
        return (
            None,
            d_times[:, :inputs] if wants_times else None,
            d_times[:, max(0, inputs) :].sum(dim=0) if wants_pulses else None,
            d_weight,
            None,
            None,
        )


def _back_fast(
    neuron: Neuron, run: Run, upstream: Tensor, n_all: int, since: int
) -> tuple[Tensor, Tensor]:
    (n_inputs, n_out), batch = run.weight.shape, len(upstream)
    blocks = -(-n_out // kernels.BLOCK)
    # A small matrix has parts for several tasks; a large one is divided by blocks of neurons.
    chunks = 1 if blocks > 1 else 8
    parts = Parts(
        run.weight.new_zeros(chunks, n_inputs, n_out),
        run.weight.new_zeros(blocks, batch, n_all - since),
    )
    neuron.back_fast(run, upstream, since, parts)
    return tuple(x[0] if len(x) == 1 else x.sum(dim=0) for x in (parts.weight, parts.times))  # type: ignore[return-value]


def silence_penalty(
    times: Float[Tensor, "batch rows neurons"], weight: Float[Tensor, "inputs neurons"]
) -> Float[Tensor, ""]:
    """Return a term whose gradient is -1 / batch for every weight of a neuron, per silent sample.

    The value means nothing; adding it to a loss raises the weights of neurons that stay silent.
    """
    silent = torch.isposinf(times).sum(dim=(0, 1)).to(weight.dtype)
    if not bool(silent.any()):
        return weight.new_zeros(())
    return -(silent * weight.sum(dim=0)).sum() / len(times)


class _FirstSpikeLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, times: Tensor, labels: Tensor) -> Tensor:
        p = first_spike_probabilities(times)
        ctx.save_for_backward(p, labels)
        return -(p.gather(1, labels[:, None]) + 1e-8).log().mean()

    @first_order
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        p, labels = ctx.saved_tensors
        grad = -p
        grad[torch.arange(len(p), device=p.device), labels] += 1.0
        return upstream * grad / len(p), None


def first_spike_probabilities(
    times: Float[Tensor, "batch classes"],
) -> Float[Tensor, "batch classes"]:
    """Return softmax(-t): 0 for a silent output, uniform where all are silent.

    Example:
        >>> first_spike_probabilities(torch.tensor([[1.0, torch.inf], [torch.inf, torch.inf]]))
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]])
    """
    silent = torch.isposinf(times).all(dim=1, keepdim=True)
    return torch.where(silent, 0.0, -times).softmax(dim=1)


def first_spike_loss(times: Float[Tensor, "batch classes"], labels: Any) -> Float[Tensor, ""]:
    r"""Return the mean of -ln(p_y + 1e-8) with p = softmax(-t), a silent output having p = 0.

    .. math:: \partial L / \partial t_k = -(p_k - y_k) / batch

    The 1e-8 bounds the value and is left out of the gradient, as the authors of α-PSP do: so a
    silent label neuron still pushes the others back.

    Source: Comşa et al. 2020 (arXiv 1907.13223) and google/ihmehimmeli.

    Example:
        >>> first_spike_loss(torch.tensor([[1.0, 1.0]]), torch.tensor([0]))  # ln 2
        tensor(0.6931)
    """
    loss: Tensor = _FirstSpikeLoss.apply(times, check_labels(labels, times.shape[1], len(times)))
    return loss
