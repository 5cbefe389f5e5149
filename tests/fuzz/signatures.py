"""Arguments drawn from a signature: those that it asks for, and those that somebody passes."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from hypothesis import strategies as st
from jaxtyping import AbstractArray, Shaped, jaxtyped
from torch import Tensor

from rc_snn.borders.numbers import tensor

SIZES = {"batch": 3, "classes": 4, "time": 5, "steps": 5, "neuron": 6, "inputs": 6, "samples": 3}
"""Lengths of the axes that annotations name; others have two."""
INTEGERS = (1, 2, 3, 5, 10, 0, -1, 2**40, 1.5, 3.0, True, "3", None, np.int64(3), float("nan"))
FLOATS = (0.5, 0.95, 0.1, 1, 0, -0.5, 2.0, float("nan"), float("inf"), "0.5", None, np.float32(0.5))
NONSENSE = (None, "x", b"x", 3, 2.5, [], {}, object(), torch.zeros(2), np.zeros((2, 2)))
_DTYPES = {
    "Int": ("int64", "int32", "int16", "uint8", "int8"),
    "Float": ("float32", "float64", "float16", "bfloat16"),
    "Bool": ("bool",),
    "UInt8": ("uint8",),
}
_ANY = ("bool", "uint8", "int16", "int64", "float16", "bfloat16", "float32", "float64", "complex64")


def is_array(annotation: Any) -> bool:
    """Return whether an annotation is an array's or a tensor's, of some shape."""
    return isinstance(annotation, type) and issubclass(annotation, AbstractArray)


def parts(annotation: Any) -> tuple[Any, ...]:
    """Return what a union is made of; of anything else, itself."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(p for a in typing.get_args(annotation) for p in parts(a))
    return (annotation,)


def shape_of(annotation: Any) -> tuple[int, ...]:
    """Return a shape that fits an annotation."""
    shape: list[int] = []
    for axis in annotation.dim_str.split():
        if axis.startswith("*") or axis == "...":
            shape += (3, 2)
        elif axis.isdecimal():
            shape.append(int(axis))
        else:
            shape.append(SIZES.get(axis, 2))
    return tuple(shape)


@st.composite
def arrays(draw: Callable[..., Any], annotation: Any) -> Any:
    """Draw a tensor as an annotation asks for it, or one that is wrong in a way or two."""
    name = annotation.__name__.split("[")[0]
    dtype, shape = (
        draw(st.sampled_from(_DTYPES.get(name, ("float32",)))),
        list(shape_of(annotation)),
    )
    wrong = draw(
        st.sampled_from(("", "", "", "dtype", "shape", "values", "numpy", "list", "other"))
    )
    if wrong == "dtype":
        dtype = draw(st.sampled_from(_ANY))
    if wrong == "shape":
        kind = draw(st.sampled_from(("longer", "empty", "more", "fewer", "scalar")))
        axis = draw(st.integers(0, max(0, len(shape) - 1)))
        if kind == "scalar":
            shape = []
        elif shape:
            if kind in ("longer", "empty"):
                shape[axis] = shape[axis] + 1 if kind == "longer" else 0
            elif kind == "more":
                shape.insert(axis, 1)
            else:
                del shape[axis]
    if wrong == "other":
        return draw(st.sampled_from(NONSENSE))
    seed = draw(st.integers(0, 1000))
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if not dtype.startswith(("float", "bfloat", "complex")):
        x = (x * (2 if dtype == "bool" else 4)).floor()
    if wrong == "values" and x.numel():
        bad = draw(st.sampled_from((float("nan"), float("inf"), -1.0, 7.0, 1e6, 2.0**53)))
        fits = dtype.startswith(("float", "bfloat")) or np.isfinite(bad)
        x.view(-1)[draw(st.integers(0, x.numel() - 1))] = bad if fits else -1.0
    x = x.to(getattr(torch, dtype))
    wants_numpy = annotation.array_type is np.ndarray
    if dtype == "bfloat16":
        return x
    if (wrong == "numpy") != wants_numpy:
        return x.numpy()
    return x.tolist() if wrong == "list" else x


def values(annotation: Any, known: Mapping[Any, Sequence[Any]]) -> st.SearchStrategy[Any]:
    """Return a strategy for one argument.

    Args:
        annotation: of the parameter.
        known: values for types that cannot be drawn: models, decisions.
    """
    choices = []
    for part in parts(annotation):
        if is_array(part):
            choices.append(arrays(part))
        elif part is int:
            choices.append(st.sampled_from(INTEGERS))
        elif part is float:
            choices.append(st.sampled_from(FLOATS))
        elif part is bool:
            choices.append(st.sampled_from((True, False, 1, None, "no")))
        elif part is str:
            choices.append(st.sampled_from(("x", "", "a/b", None, 3)))
        elif typing.get_origin(part) is Literal:
            choices.append(st.sampled_from((*typing.get_args(part), "other", None, 1)))
        elif part in known:
            choices.append(st.sampled_from((*known[part], *known[part], *NONSENSE)))
        elif part in (type(None), None):
            choices.append(st.none())
        elif part is Path:
            choices.append(st.just("nowhere/at/all"))
        else:
            choices.append(st.sampled_from(NONSENSE))
    return st.one_of(choices)


def arguments(function: Callable[..., Any], known: Mapping[Any, Sequence[Any]]) -> Any:
    """Return a strategy for all arguments of a function, by name; some defaults are left alone."""
    drawn, left = {}, {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or name == "self":
            continue
        place = drawn if parameter.default is parameter.empty else left
        place[name] = values(parameter.annotation, known)
    return st.fixed_dictionaries(drawn, optional=left)


def asked_for(function: Callable[..., Any], given: Mapping[str, Any]) -> bool:
    """Return whether arguments are what the signature asks for, axes of one name alike.

    Arrays count if their numbers are those of a tensor that is asked for, whatever holds them: what
    is converted exactly is right. What is no array, number or word of a list is not judged.
    """
    parameters = inspect.signature(function).parameters
    with jaxtyped("context"):
        return all(_is(value, parameters[name].annotation) for name, value in given.items())


def _is(value: Any, annotation: Any) -> bool:
    return any(_is_part(value, part) for part in parts(annotation))


def _is_part(value: Any, part: Any) -> bool:
    if is_array(part):
        return _is_array(value, part)
    if part is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if part is float:
        return isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    if part is bool:
        return value in (0, 1)
    if typing.get_origin(part) is Literal:
        return value in typing.get_args(part)
    if part in (type(None), None):
        return value is None
    return not isinstance(part, type) or part in (Tensor, object) or _instance(value, part)


def _is_array(value: Any, part: Any) -> bool:
    if isinstance(value, part):
        return True
    try:
        x = tensor(value) if part.array_type is Tensor else np.asarray(value)
    except (TypeError, ValueError):
        return False
    if not isinstance(x, Shaped[part.array_type, part.dim_str]):
        return False
    numbers = torch.as_tensor(x)
    if numbers.is_complex():
        return False
    whole = not numbers.is_floating_point() or bool((numbers == numbers.round()).all())
    truth = bool(((numbers == 0) | (numbers == 1)).all())
    return (
        whole if part.__name__.startswith("Int") else truth or not part.__name__.startswith("Bool")
    )


def _instance(value: Any, part: type) -> bool:
    try:
        return isinstance(value, part)
    except TypeError:  # a protocol that cannot be asked
        return True
