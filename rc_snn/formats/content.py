"""What a network's file holds: its tensors, and what it says; exactly as they were written."""

from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rc_snn.files import parse_json
from rc_snn.files.tensors import read_tensors
from rc_snn.formats.old import OLD, Content

FORMAT = "rc_snn.network/1"


def read_content(path: Path) -> Content:
    """Return the tensors and the text of a file, in the newest format whatever its own.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is damaged, or of no format of ours.
    """
    tensors, header = read_tensors(path, without_digest=True)
    newer: dict[str, Callable[..., Content]] = {FORMAT: lambda *as_it_is: as_it_is, **OLD}
    format_ = header.get("format", "")
    if format_ not in newer:
        raise ValueError(
            f"{path} is not a network of a format that is known here: {', '.join(newer)}; got "
            f"{format_ or 'a file that names none'}."
        )
    if more := header.keys() - {"format", "about"}:  # such as a digest whose name is damaged
        raise ValueError(f"{path} says more than a network does: {', '.join(sorted(more))}.")
    try:
        return newer[format_](tensors, dict(parse_json(header["about"], "what it says")))
    except (LookupError, ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} does not say what it is ({type(error).__name__}: {error})."
        ) from error


def fill(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return the model with these weights and buffers, in their widest floating-point type.

    Raises:
        ValueError: if it has others, or cannot hold them as they are: of another shape or kind, or
            with digits that its dtype lacks; and as `check_weights`.
    """
    check_weights(model, weights)
    floats = {value.dtype for value in weights.values() if value.is_floating_point()}
    model.to(reduce(torch.promote_types, floats) if floats else torch.float32)
    own = model.state_dict()
    other = [key for key in own.keys() & weights.keys() if _kind(own[key]) != _kind(weights[key])]
    if not other:
        try:
            model.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        own = model.state_dict()
        other = [
            key for key in own if not torch.equal(own[key].to(weights[key].dtype), weights[key])
        ]
    for key in other:
        given, dtype = weights[key].dtype, own[key].dtype
        raise ValueError(f"{key} is {given}, and {dtype} does not hold it exactly")
    return model


def _kind(x: Tensor) -> tuple[bool, bool, bool]:
    return x.is_floating_point(), x.is_complex(), x.dtype is torch.bool


def check_weights(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Refuse NaN anywhere, and infinite weights; a buffer, such as a mask, may be infinite.

    Raises:
        ValueError: with the name of the tensor, or of what is none.
    """
    parameters = {name for name, _ in model.named_parameters()}
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} is no tensor but {type(value).__name__}")
        bad = ~torch.isfinite(value) if name in parameters else torch.isnan(value)
        if bad.any():
            raise ValueError(
                f"{int(bad.sum())} of {value.numel()} numbers of {name} are not finite"
            )
