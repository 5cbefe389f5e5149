"""What a signature asks for, asked for: public functions refuse arguments of another type or shape.

Annotations of the public functions state dtype, axes and types; `typed` holds callers to them, so
that a wrong one is refused with its name, and neither broadcast nor truncated on the way in. What a
value may be is for the function itself to say.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import AbstractArray, jaxtyped
from torch import Tensor

from rc_snn.borders.numbers import count, number

F = TypeVar("F", bound=Callable[..., Any])

KINDS: dict[Any, Callable[[Any], None]] = {}
"""Checks of the kinds that are known by what they can do; each raises TypeError, and says how to
make one."""


def typed(function: F) -> F:
    """Refuse arguments that are not what the annotations ask for. A decorator, of classes too.

    Tensors and arrays must have the dtype and the axes of their annotation, axes of one name the
    same length; numbers must be real, whole where `int` is asked for, and no booleans; words must
    be among those of a `Literal`. Anything else is left to the function. Some ten microseconds a
    call: not for what runs at every step.

    Raises:
        TypeError: if a type or dtype is another.
        ValueError: if axes or words are others.

    Example:
        >>> import torch
        >>> from jaxtyping import Float
        >>> @typed
        ... def mean(x: Float[Tensor, "batch classes"]) -> Tensor:
        ...     return x.mean()
        >>> mean(torch.zeros(3))
        Traceback (most recent call last):
        ...
        ValueError: mean: x must have the axes [batch classes], got [3].
    """
    if isinstance(function, type):
        function.__init__ = typed(function.__init__)  # type: ignore[misc]
        return function
    signature = inspect.signature(function)
    name_of = function.__qualname__.removesuffix(".__init__")
    found = {name: _test(p.annotation) for name, p in signature.parameters.items()}
    tests = {name: test for name, test in found.items() if test is not None}

    @functools.wraps(function)
    def within(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        with jaxtyped("context"):  # an axis is as long as where its name was met first
            for name, test in tests.items():
                if name in given and (problem := test(given[name])) is not None:
                    kind, text = problem
                    raise kind(f"{name_of}: {name} {text}")
        return function(*args, **kwargs)

    return typing.cast(F, within)


Problem = tuple[type[Exception], str] | None
Test = Callable[[Any], Problem]


def _test(annotation: Any) -> Test | None:
    """Return what finds the problem with an argument; None where anything will do."""
    tests = []
    for part in _parts(annotation):
        test = _test_of_part(part)
        if test is None:
            return None
        tests.append(test)

    def any_of(value: Any) -> Problem:
        found = None
        for test in tests:
            problem = test(value)
            if problem is None:
                return None
            # Of several that do not fit, the one of the value's own kind says most.
            if found is None or problem[0] is ValueError:
                found = problem
        return found

    return any_of


def _parts(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        for part in typing.get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _test_of_part(part: Any) -> Test | None:
    if isinstance(part, type) and issubclass(part, AbstractArray):
        return functools.partial(_array, part)
    if part is Tensor:
        return _tensor
    if part in (int, float):
        return functools.partial(_number, count if part is int else number)
    if part is bool:
        return _truth
    if part in (None, type(None)):
        return _none
    if typing.get_origin(part) is Literal:
        return functools.partial(_word, typing.get_args(part))
    return functools.partial(_kind, part) if isinstance(part, type) else None


def _number(convert: Callable[[Any, str], Any], value: Any) -> Problem:
    try:
        convert(value, "it")
    except (TypeError, ValueError) as error:
        return type(error), str(error).removeprefix("it ")
    return None


def _tensor(value: Any) -> Problem:
    if isinstance(value, Tensor):
        return None
    return TypeError, f"must be a Tensor, got {type(value).__name__}. Pass torch.as_tensor(x)."


def _truth(value: Any) -> Problem:
    if isinstance(value, bool | np.bool_):
        return None
    return TypeError, f"must be True or False, got {value!r:.60}."


def _none(value: Any) -> Problem:
    return None if value is None else (TypeError, f"must be None, got {value!r:.60}.")


def _word(words: tuple[Any, ...], value: Any) -> Problem:
    if isinstance(value, str | int) and value in words:
        return None
    named = " or ".join(f'"{word}"' for word in words)
    return ValueError, f"must be {named}, got {value!r:.60}."


def _kind(kind: type, value: Any) -> Problem:
    try:
        if kind in KINDS:
            KINDS[kind](value)
        elif is_dataclass(kind) and not isinstance(value, kind):
            return TypeError, f"must be a {kind.__name__}, got {type(value).__name__}."
    except TypeError as error:
        return TypeError, f"is something else. {error}"
    return None


def _array(annotation: Any, value: Any) -> Problem:
    wanted = annotation.array_type
    if not isinstance(value, wanted):
        remedy = "Pass torch.as_tensor(x)" if wanted is Tensor else "Pass numpy.asarray(x)"
        return TypeError, (
            f"must be a {wanted.__name__} of {_dtype(annotation)} [{annotation.dim_str}], got "
            f"{type(value).__name__}. {remedy}."
        )
    if isinstance(value, annotation):
        empty = annotation.dim_str.endswith("classes") and value.shape[-1:] == (0,)
        return (ValueError, f"has no classes: its axes are {list(value.shape)}.") if empty else None
    dtypes = annotation.dtypes
    name = str(value.dtype).removeprefix("torch.")
    if not isinstance(dtypes, tuple | list) or name in dtypes or not dtypes:
        shape = list(value.shape)
        return ValueError, f"must have the axes [{annotation.dim_str}], got {shape}."
    return TypeError, (
        f"must be of {_dtype(annotation)}, got {name} {list(value.shape)}. Convert it yourself, "
        "and say how."
    )


def _dtype(annotation: Any) -> str:
    return str(annotation.__name__).split("[")[0]
