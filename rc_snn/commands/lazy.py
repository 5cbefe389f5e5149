"""Public names of a package that are imported when they are first used."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazily(
    package: str, home: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package (PEP 562).

    Args:
        package: its `__name__`.
        home: the module of each public name, below the package.

    Example:
        >>> get, _ = lazily("json", {"JSONDecoder": "decoder"})
        >>> get("JSONDecoder").__module__
        'json.decoder'
    """

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)  # from now on it is found
        return value

    def names() -> list[str]:
        return [*vars(sys.modules[package]), *home]

    return get, names
