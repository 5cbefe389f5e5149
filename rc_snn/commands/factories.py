"""What a name on the command line, or in a file, stands for: "package.module:function"."""

import importlib
import sys
from functools import cache
from pathlib import Path
from typing import Any


@cache
def made_by(name: str) -> Any:
    """Import a factory by its name, "package.module:function", and call it, once.

    The current folder is looked at, too, as `python -m` does.

    Raises:
        ValueError: if there is none.
    """
    module, _, path = name.partition(":")
    if not module or not path:
        raise ValueError(f"A factory is named package.module:function, got {name!r}.")
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, str(Path.cwd()))
    try:
        factory: Any = importlib.import_module(module)
        for part in path.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{name} is not found ({error}). Name a module that Python finds from here, and a "
            "function in it."
        ) from error
    if not callable(factory):
        raise ValueError(f"{name} is no function: it is a {type(factory).__name__}.")
    return factory()
