"""The border of compiled code: what may enter it, and when it may stand in for torch's own.

Kernels check nothing: a wrong size is memory that is not ours. So whoever calls one makes sure of
all it is given, by `fits`; of events, whose indices are data, `rc_snn.spike_events` does.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as modules

from rc_snn.borders.checks import version


def fits(
    tensor: Any, shape: tuple[int, ...], dtype: torch.dtype, what: str, *, contiguous: bool = False
) -> None:
    """Refuse what a kernel would misread, or read or write beyond its end.

    Raises:
        TypeError: if it is no tensor.
        ValueError: if it is not of this shape and dtype, not on the CPU, or its memory not in order
            where it must be.

    Example:
        >>> fits(torch.zeros(2, 3), (2, 4), torch.float32, "h")
        Traceback (most recent call last):
        ...
        ValueError: h must be [2, 4] of torch.float32 on the CPU, got [2, 3] of torch.float32 ...
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{what} must be a tensor, got {type(tensor).__name__}.")
    if tensor.shape != shape or tensor.dtype is not dtype or tensor.device.type != "cpu":
        raise ValueError(
            f"{what} must be {list(shape)} of {dtype} on the CPU, got {list(tensor.shape)} of "
            f"{tensor.dtype} on {tensor.device}."
        )
    if contiguous and not tensor.is_contiguous():
        raise ValueError(f"{what} must be contiguous, got the strides {tensor.stride()}.")


def fusable(*weights: Tensor, device: str | None = "cpu") -> bool:
    """Return whether compiled code can take these weights now, and do what torch would.

    `device` is where they must be; None is anywhere.

    It cannot under autocast, forward derivatives, `torch.func` and modes that watch or change what
    torch dispatches, such as a counter of operations.
    """
    dtype, device = weights[0].dtype, device or weights[0].device.type
    for w in weights:
        if w.dtype is not dtype or w.device.type != device or type(w) not in (Tensor, nn.Parameter):
            return False
    return (
        dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled(device)
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
        and forward_ad._current_level < 0
    )


_EVERYBODYS_HOOKS = [
    f"_global_{way}_hooks" for way in ("forward", "forward_pre", "backward", "backward_pre")
]
"""torch's own sum of them, `_has_any_global_hook`, is not in torch 2.6."""


def plain(module: nn.Module, kind: type[nn.Module], *methods: str) -> bool:
    """Return whether a module does what its class says and nothing else, so that this may be fused.

    Not a subclass, which parametrizations make, too; not with hooks, its own or everybody's; not
    where one of its methods was replaced.
    """
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return (
        type(module) is kind
        and not any(hooks)
        and not any(getattr(modules, name) for name in _EVERYBODYS_HOOKS)
        and not any(name in vars(module) for name in ("forward", *methods))
    )


class Unchanged:
    """A weight that a backward pass will need as it is now, as torch's own do.

    Example:
        >>> weight = torch.ones(2)
        >>> kept = Unchanged(weight)
        >>> _ = weight.mul_(2.0)
        >>> kept.check()
        Traceback (most recent call last):
        ...
        RuntimeError: one of the variables needed for gradient computation has been modified by ...
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.detach()  # which counts changes with the weight itself
        self.version = version(weight)

    def check(self) -> None:
        """Refuse to go backward through what was changed since.

        Raises:
            RuntimeError: if it was.
        """
        if version(self.weight) != self.version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an "
                f"inplace operation: a weight {list(self.weight.shape)} of the cell. Change "
                "weights after the backward pass."
            )


def first_order(backward: Callable[..., Any]) -> Any:
    """Make a backward pass refuse to be differentiated itself.

    torch's `once_differentiable` refuses only what depends on the gradient that comes in, and takes
    the rest, such as the derivative of a gradient's norm by a weight, for zero.
    """

    @staticmethod  # type: ignore[misc]
    @wraps(backward)
    def once(ctx: Any, *grads: Any) -> Any:
        if torch.is_grad_enabled():  # only with create_graph=True
            raise RuntimeError(
                "Compiled code has no second derivatives, which create_graph=True asks for. Those "
                "of a step model are on its reference path: run(..., fused=False)."
            )
        return backward(ctx, *grads)

    return once
