"""Weights in half precision: rounded before they are measured, or not written so."""

import torch
from torch import Tensor, nn


def round_to_half(model: nn.Module) -> None:
    """Round weights and buffers to float16 in place: what is measured is then what is shipped.

    Raises:
        ValueError: if one is too large; then none is changed.
    """
    with torch.no_grad():
        own = [value for value in model.state_dict().values() if value.is_floating_point()]
        for value, half in zip(own, [_half(value) for value in own], strict=True):
            value.copy_(half)


def _half(weight: Tensor) -> Tensor:
    half = weight.half().contiguous()
    if not torch.isfinite(half).all():
        raise ValueError("A weight is too large for float16; keep the network in full precision.")
    return half


def as_half(weight: Tensor) -> Tensor:
    """Return weights in float16, which they must equal.

    Raises:
        ValueError: if they do not.
    """
    half = _half(weight)
    if not torch.equal(half.to(weight.dtype), weight):
        raise ValueError(
            "These weights are not those of float16. Call round_to_half(model) before the network "
            "is measured, or save it with half=False."
        )
    return half
