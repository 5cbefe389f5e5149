"""Numbers that enter: converted exactly, or refused. The one place for each kind of them.

Each function takes a tensor, an array or what `numpy.asarray` makes one of. It returns a tensor for
a tensor, on its device, and else an array; all of one dtype. What does not fit is refused with the
first value of it: nothing is rounded, cut or wrapped round.
"""

import math
import numbers
import operator
from dataclasses import fields
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

Array: TypeAlias = Shaped[np.ndarray, "..."]

THOUSANDTH = 1e-3
"""How far a time read from another program may lie from its tick: rounding, not another time."""


def whole(
    x: Any, what: str, low: int | None = None, high: int | None = None, slack: float = 0.0
) -> Any:
    """Return whole numbers as int64; floats that hold whole numbers count.

    Args:
        x: numbers of any shape.
        what: they are, for the message: "Ticks".
        low: smallest that is allowed.
        high: largest that is allowed.
        slack: how far a float may lie from a whole number, which it then becomes.

    Raises:
        TypeError: if they are no real numbers: booleans, text, numpy's times, objects.
        ValueError: if one is not whole, or out of range.

    Example:
        >>> whole([0.0, 3.0], "Ticks", high=9)
        array([0, 3])
        >>> whole(torch.tensor([0.5, 2.0]), "Ticks")
        Traceback (most recent call last):
        ...
        ValueError: Ticks must be whole numbers, got 0.5 (1 of 2). Convert them yourself, ...
    """
    return _alike(x, lambda array: _whole(array, what, low, high, slack), what)


def finite(x: Any, what: str) -> Any:
    """Return real numbers as float64, none of them NaN or infinite.

    Raises:
        TypeError: if they are no real numbers.
        ValueError: if one is NaN or infinite, or too large an integer for a float64.

    Example:
        >>> finite([1, 2], "Weights")
        array([1., 2.])
    """
    return _alike(x, lambda array: _finite(array, what), what)


def flags(x: Any, what: str) -> Any:
    """Return truth values as booleans; integers count if each is 0 or 1.

    Raises:
        TypeError: if they are neither booleans nor numbers.
        ValueError: if a number is neither 0 nor 1.

    Example:
        >>> flags(torch.tensor([1, 0]), "fired")
        tensor([ True, False])
    """

    def convert(array: Array) -> Array:
        return array if array.dtype == bool else _whole(array, what, 0, 1, 0.0).astype(bool)

    return _alike(x, convert, what)


def polarities(x: Any, what: str = "Polarities") -> Any:
    """Return polarities of events as int64, 0 for OFF and 1 for ON.

    Booleans, 0 and 1, and -1 and +1 are read; a -1 is OFF.

    Raises:
        TypeError: if they are neither booleans nor numbers.
        ValueError: if a number is another, or 0 and -1 both occur: which of them is OFF?

    Example:
        >>> polarities(np.array([-1, 1], np.int8)), polarities([False, True])
        (array([0, 1]), array([0, 1]))
    """

    def convert(array: Array) -> Array:
        if array.dtype == bool:
            return array.astype(np.int64)
        found = _whole(array, what, -1, 1, 0.0)
        if (found == 0).any() and (found == -1).any():
            raise ValueError(
                f"{what} are 0 and 1, or -1 and +1; here 0 and -1 both occur. Map them yourself."
            )
        return np.asarray(found > 0, np.int64)

    return _alike(x, convert, what)


def tensor(x: Any, what: str = "Numbers") -> Shaped[Tensor, "..."]:
    """Return a tensor as it is, and an array, or what numpy makes one of, as a tensor of its own.

    Example:
        >>> tensor(np.zeros((2, 3), ">i2")[::-1]).dtype
        torch.int16
    """
    if isinstance(x, Tensor):
        if x.is_complex():
            raise TypeError(f"{what} must be real numbers, got {x.dtype}.")
        return x
    array = plain(x, what)
    _real(array, what, "biuf")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C", copy=True))


def indices(
    x: Any, what: str, limit: int | None = None, n: int | None = None, do: str = ""
) -> Int[Tensor, " batch"]:
    """Return one index for each sample, of a class or of a step, as int64.

    Small integers become large ones, whose sums do not overflow; a boolean is 0 or 1. A column
    `[B, 1]` is refused, because it broadcasts against `[B]` in silence; so are one-hot rows.

    Args:
        x: whole numbers `[B]`: a tensor, an array or a list.
        what: they are, for the message: "Labels".
        limit: they are in 0..limit-1; None has no bound.
        n: how many there must be.
        do: what the message says to do about one that is out of range.

    Raises:
        TypeError: if they are no numbers.
        ValueError: if one is not whole, or out of range, or they are no `[B]`.

    Example:
        >>> indices(np.array([2, 0], np.uint8), "Labels", limit=3)
        tensor([2, 0])
    """
    found: Tensor = tensor(x, what)
    if found.dim() != 1 or n not in (None, len(found)):
        many = "one for each sample" if n is None else f"one for each of {n} samples"
        remedy = {(2, 1): " Pass x.squeeze(1).", (2, 0): " Of one-hot rows pass x.argmax(dim=1)."}
        column = found.dim() == 2 and found.shape[1] == 1
        raise ValueError(
            f"{what} must be [B], {many}, got {list(found.shape)}."
            f"{remedy.get((found.dim(), int(column)), '')}"
        )
    if found.dtype == torch.bool:
        return found.long()
    if found.dtype != torch.int64:
        found = whole(found, what)
    outside = (found < 0) if limit is None else (found < 0) | (found >= limit)
    if outside.any():
        at = int(outside.nonzero()[0])
        rule = ">= 0" if limit is None else f"in 0..{limit - 1}"
        raise ValueError(f"{what} must be {rule}, got {int(found[at])} at position {at}. {do}")
    return found


def count(value: Any, what: str, low: int | None = None, high: int | None = None) -> int:
    """Return a whole number that counts something: an int of Python, numpy or torch, no boolean.

    Raises:
        TypeError: if it is no number.
        ValueError: if it is a float, even 2.0, or out of range.

    Example:
        >>> count(np.int64(3), "epochs", low=1)
        3
    """
    try:
        if isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == torch.bool:
            raise TypeError
        found = operator.index(value)
    except TypeError:
        real = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
        kind: type[Exception] = ValueError if real else TypeError
        raise kind(f"{what} must be a whole number, an int, got {value!r}.") from None
    if (low is not None and found < low) or (high is not None and found > high):
        bound = f"at least {low}" if high is None else f"in {'' if low is None else low}..{high}"
        raise ValueError(f"{what} must be {bound}, got {what}={found}.")
    return found


def counts(low: int = 1, **values: Any) -> tuple[int, ...]:
    """Return whole numbers that count something, each at least `low`: see `count`.

    Example:
        >>> n_inputs, n_hidden = counts(n_inputs=784, n_hidden=np.int16(340))
    """
    return tuple(count(value, what, low) for what, value in values.items())


def number(value: Any, what: str) -> float:
    """Return a real number as a float; whether NaN or infinity will do, its range says.

    Raises:
        TypeError: if it is none: a boolean, text, several numbers.

    Example:
        >>> number(torch.tensor(0.5), "theta"), number(2, "gain")
        (0.5, 2.0)
    """
    one = value.item() if isinstance(value, Tensor | np.ndarray) and value.ndim == 0 else value
    if not isinstance(one, numbers.Real) or isinstance(one, bool | np.bool_):
        raise TypeError(f"{what} must be a number, got {value!r}.")
    try:
        return float(one)
    except OverflowError:
        raise ValueError(f"{what} must be a number that a float holds, got more.") from None


def flag(value: Any, what: str) -> bool:
    """Return an option that is on or off; refuse all else, 1 and 0 too, which are counts."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{what} must be True or False, got {value!r}.")
    return bool(value)


def check_fields(config: Any, **lowest: int) -> None:
    """Hold the fields of a dataclass to their annotations: what its `__post_init__` calls first.

    `int` takes what `count` does, `float` what `number` does, `bool` booleans, a `Literal` its
    values, a tuple what its items are; each also None where it says so. numpy's numbers become
    Python's, so that a record can hold them. Other annotations are left alone.

    Args:
        config: the dataclass, frozen or not.
        lowest: by their names, how small whole numbers may be.

    Raises:
        TypeError: if a field is of another type.
        ValueError: if a number is not whole or too small, or no value of a `Literal`; NaN is left
            to the ranges that follow.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Training:
        ...     epochs: int = 10
        ...     def __post_init__(self) -> None:
        ...         check_fields(self, epochs=1)
        >>> Training(epochs=2.5)
        Traceback (most recent call last):
        ...
        ValueError: epochs must be a whole number, an int, got 2.5.
    """
    kind: Any = type(config)
    hints = _hints(kind)
    for field in fields(config):
        value = getattr(config, field.name)
        found = _as_annotated(value, hints[field.name], field.name, lowest.get(field.name))
        if found is not value:
            object.__setattr__(config, field.name, found)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _as_annotated(value: Any, hint: Any, what: str, low: int | None) -> Any:
    """Return a value as its annotation says; see `check_fields`."""
    origin, of = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType) and type(None) in of:
        if value is None or len(of) != 2:
            return value
        return _as_annotated(value, of[0] if of[1] is type(None) else of[1], what, low)
    if hint is int:
        return count(value, what, low)
    if hint is float:
        return number(value, what)
    if hint is bool:
        return flag(value, what)
    if origin is Literal and not (isinstance(value, str) and value in of):
        words = " or ".join(f'"{word}"' for word in of)
        raise ValueError(f"{what} must be one of {words}, got {value!r}.")
    if origin is tuple and of[1:] == (Ellipsis,):
        if not isinstance(value, tuple | list):
            raise TypeError(f"{what} must be a tuple, got {value!r}.")
        return tuple(_as_annotated(one, of[0], what, low) for one in value)
    return value


def json_value(value: Any, what: str) -> Any:
    """Return a value as JSON holds it: numpy's numbers as Python's, tuples as lists.

    Raises:
        TypeError: if something in it is no JSON, or a key is no text, which would come back as one.
        ValueError: if a number is NaN or infinite.

    Example:
        >>> json_value({"seen": np.float32(0.5), "of": (np.int64(3),)}, "metrics")
        {'seen': 0.5, 'of': [3]}
    """
    if isinstance(value, Tensor | np.ndarray | np.generic) and value.ndim == 0:
        value = value.item()
    if isinstance(value, dict):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"Keys of {what} must be text, got {wrong[0]!r}. Write str(key).")
        return {key: json_value(part, f"{what}.{key}") for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(part, f"{what}[{i}]") for i, part in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{what} is {value}, which JSON cannot hold. Write None, and say why.")
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{what} is a {type(value).__name__}, which JSON cannot hold.")


def plain(x: Any, what: str) -> Array:
    """Return a tensor, of any device and with a gradient or not, or numbers as numpy's array.

    Raises:
        TypeError: if an array says more than its numbers: a unit, or which of them are missing.

    Example:
        >>> plain(torch.tensor([1.5], dtype=torch.bfloat16, requires_grad=True), "Times")
        array([1.5], dtype=float32)
    """
    if isinstance(x, Tensor):
        x = x.detach().to_dense() if x.layout != torch.strided else x.detach()
        narrow = x.is_floating_point() and x.dtype not in _NUMPY_HAS  # float32 holds it exactly
        array: Array = (x.float() if narrow else x).resolve_neg().cpu().numpy()
        return array
    if isinstance(x, np.ma.MaskedArray) or hasattr(x, "dimensionality") or hasattr(x, "dim"):
        raise TypeError(
            f"{what} must be plain numbers, got {type(x).__name__}, of which a unit or a mask "
            "would be lost. Convert them yourself, and say how."
        )
    return np.asarray(x)


_NUMPY_HAS = (torch.float16, torch.float32, torch.float64)


def _alike(x: Any, convert: Any, what: str) -> Any:
    """Convert the array of something; a tensor comes back as one."""
    found = np.asarray(convert(plain(x, what)))  # of one number numpy makes a scalar
    return torch.from_numpy(found).to(x.device) if isinstance(x, Tensor) else found


def _real(array: Array, what: str, kinds: str = "iuf") -> None:
    if array.dtype.kind not in kinds:
        raise TypeError(
            f"{what} must be numbers, got {array.dtype}. Convert them yourself, and say how."
        )


def _whole(array: Array, what: str, low: int | None, high: int | None, slack: float) -> Array:
    _real(array, what)
    limits = np.iinfo(np.int64)
    if array.dtype.kind == "f":
        array = array.astype(np.float64) if array.dtype.itemsize < 8 else array
        near = np.rint(array)
        with np.errstate(invalid="ignore"):
            off = ~(np.abs(array - near) <= slack) | ~(np.abs(array) < 2.0**63)
        _refuse(array, off, f"{what} must be whole numbers")
        array = near
    elif array.dtype == np.uint64:
        _refuse(array, array > np.uint64(limits.max), f"{what} must be at most {limits.max}")
    array = array.astype(np.int64)
    lowest, highest = limits.min if low is None else low, limits.max if high is None else high
    within = f"{what} must be in {'' if low is None else low}..{'' if high is None else high}"
    _refuse(array, (array < lowest) | (array > highest), within)
    return array


def _finite(array: Array, what: str) -> Array:
    _real(array, what)
    found = array.astype(np.float64)
    _refuse(array, ~np.isfinite(found), f"{what} must be finite")
    if array.dtype.kind in "iu":
        off = (array > 2**53) | (array < -(2**53))
        _refuse(array, off, f"{what} must be at most 2^53, which a float64 holds exactly")
    return found


def _refuse(array: Array, off: Any, rule: str) -> None:
    if np.any(off):
        first = array[off].flat[0] if array.ndim else array[()]
        raise ValueError(
            f"{rule}, got {first} ({int(np.sum(off))} of {array.size}). Convert them yourself, and "
            "say how."
        )
