"""What a network's file says instead of code: the name of the model's maker, and its options."""

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from rc_snn import families
from rc_snn.formats.bounds import Bounded


def recipe(
    model: nn.Module, maker: Callable[..., Any] | None, options: Mapping[str, Any] | None
) -> tuple[str, dict[str, Any]]:
    """Return the name of what builds a model, and its options.

    Args:
        model: the model.
        maker: what builds it; None: the model's own `maker`, or its class.
        options: the maker's arguments; None: the model's own `options`, or its attributes.

    Raises:
        ValueError: if the maker has no name, or the options are not known or no JSON values.
    """
    maker = maker or getattr(model, "maker", None) or type(model)
    if not hasattr(maker, "__qualname__"):
        raise ValueError(f"A maker must be a class or a function with a name, got {maker!r}.")
    name = f"{maker.__module__}:{maker.__qualname__}"
    if options is None:
        options = getattr(model, "options", None)
    if not isinstance(options, Mapping):
        options = _options_of(model, maker)
    try:
        plain = json.loads(json.dumps(dict(options), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The options of {name} are not JSON values ({error}). Pass maker= and options= to "
            "Network: a function that builds the model, and its plain arguments."
        ) from error
    return name, plain


def _options_of(model: Any, maker: Callable[..., Any]) -> dict[str, Any]:
    """Return the maker's arguments as a model that does not say them has them: as attributes."""
    options = {}
    for name, parameter in inspect.signature(maker).parameters.items():
        value = getattr(model, name, parameter)
        if isinstance(value, bool | int | float | str | list | tuple | dict | None):
            options[name] = value
        elif parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise ValueError(
                f"{maker.__qualname__} takes {name!r}, and the model does not say with which value "
                "it was built. Keep it as a plain attribute of that name, keep all of them as "
                "`self.options`, or pass options= to Network."
            )
    return options


def maker_of(name: str) -> Callable[..., nn.Module]:
    """Return what a file names as the maker of its model, where that may be called.

    A file could name any callable of a module, `os:system` too. Called are only makers of modules,
    where they are defined: in packages that are trusted, or in a module of the user's own that has
    been imported. What else is installed is called by no file: torch alone has a function that
    returns a module and runs the text that it is given.
    """
    module_name, _, path = name.partition(":")
    if "<" in path or not path:
        raise ValueError(
            f"{name!r} cannot be found again by its name: define it at the top of a module."
        )
    ask = (
        f"pass maker={path} to load, or let its package register a family or rows by an entry "
        "point: a file alone is not trusted to import or call code. On the command line, --model "
        "package.module:factory names a function that returns the loaded network."
    )
    trusted = module_name.split(".")[0] in families.trusted_packages()
    if module_name not in sys.modules:
        if not trusted:
            raise ValueError(f"The network was built by {name}. Import {module_name} first, {ask}")
        importlib.import_module(module_name)
    module = sys.modules[module_name]
    if not trusted and _installed(module):
        raise ValueError(f"{name} may not be called by a file: to trust it, {ask}")
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ValueError(f"{module_name} has no {path} (any more) that builds a network.")
    defined = f"{getattr(found, '__module__', '')}:{getattr(found, '__qualname__', '')}"
    if defined != name or not _makes_module(found):
        raise ValueError(
            f"{name} may not be called by a file: it is no class of torch.nn.Module, nor a "
            "function that says that it returns one (def make(...) -> MyModel), or it is defined "
            f"elsewhere. Pass maker={path} to load, if you trust it."
        )
    return found  # type: ignore[no-any-return]


def _installed(module: ModuleType) -> bool:
    """Return whether a module came with Python or a package, rather than from a user's folder."""
    root = module.__name__.split(".")[0]
    if root in sys.stdlib_module_names and root != "__main__":
        return True
    file = Path(getattr(module, "__file__", None) or "").resolve()
    beside_torch = file.is_relative_to(Path(torch.__file__).resolve().parents[1])
    return beside_torch or not {"site-packages", "dist-packages"}.isdisjoint(file.parts)


def _makes_module(maker: Any) -> bool:
    """Return whether it is a class of modules, or a function annotated to return one."""
    made = maker
    if not inspect.isclass(maker):
        try:
            made = inspect.get_annotations(maker, eval_str=True).get("return")
        except (NameError, TypeError):  # known to type checkers only
            return False
    return inspect.isclass(made) and issubclass(made, nn.Module)


def built(
    make: Callable[..., Any], options: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> Any:
    """Return a fresh model, which may not take more memory than these weights explain.

    Raises:
        ValueError: if its maker does not take these options, or they ask for more.
    """
    try:
        with Bounded(weights):
            return make(**options)
    except Exception as error:  # a maker may raise anything on what it does not expect
        name = getattr(make, "__qualname__", make)
        raise ValueError(f"{name} does not take its options: {error}.") from error
