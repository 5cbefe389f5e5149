"""What every command shares: how it starts and fails, what it imports by name, which there are."""

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
ERRORS: tuple[type[Exception], ...] = (ValueError, ImportError, OSError)
"""What says in words what to do: bad input or data, a missing package, a file, a network."""


def run(
    main: Callable[[T], int | None],
    options: type[T],
    errors: tuple[type[Exception], ...] = ERRORS,
) -> NoReturn:
    """Read options from the command line, run a command with them, and exit with its status.

    Args:
        main: the command; returns the exit status, None is 0.
        options: a dataclass; tyro makes the command line, and `--help`, of it.
        errors: end in the line `error: …` and status 1; any other is a fault of ours, and a
            traceback.
    """
    import tyro

    spec = sys.modules["__main__"].__spec__  # of what follows `-m`
    prog = f"python -m {spec.name.removesuffix('.__main__')}" if spec else None
    try:
        sys.exit(main(tyro.cli(options, prog=prog)))
    except errors as error:
        sys.exit(f"error: {error}")


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


def listing(package: str) -> str:
    """Return the commands of a package, a line each: its name, and what its docstring begins with.

    A command is a module with a block `if __name__ == "__main__":`, or a package with a
    `__main__.py`. Files are read, and nothing is imported.
    """
    lines = {}
    for path in _folder(package).rglob("*.py"):
        name = _module(path, package)
        if name not in (None, package) and _is_command(path):
            lines[f"python -m {name}"] = _first_line(path)
    width = max(map(len, lines), default=0)
    return "\n".join(f"{name:{width}}  {lines[name]}" for name in sorted(lines))


def refuse(package: str) -> None:
    """Exit with status 2 if `python -m` is about to run a file of this package that is no command.

    For the package's `__init__.py`. Python imports that before it runs the file, and until then
    `sys.argv[0]` is "-m"; at any other import this does nothing.
    """
    if sys.argv[:1] != ["-m"]:
        return
    # What follows the module's name is the same in both; `-m` may stand before it, or in its word.
    asked = re.sub(r"^-\w*?m", "", sys.orig_argv[-len(sys.argv)])
    if not asked.startswith(f"{package}."):
        return
    place = _folder(package).joinpath(*asked.split(".")[1:])
    if place.is_dir():
        there, runs = (place / "__init__.py").exists(), (place / "__main__.py").exists()
    else:
        there = (file := place.with_suffix(".py")).exists()
        runs = there and _is_command(file)
    if there and not runs:
        print(f"{asked} is no command. python -m {package} lists the commands.", file=sys.stderr)
        raise SystemExit(2)


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"There is no package {package!r}.")
    return Path(spec.submodule_search_locations[0])


def _module(path: Path, package: str) -> str | None:
    """Return what `python -m` calls a file, or None where a folder above it is no package."""
    below = path.relative_to(folder := _folder(package)).with_suffix("").parts
    parents = [folder.joinpath(*below[:n]) for n in range(1, len(below))]
    if not all((parent / "__init__.py").exists() for parent in parents):
        return None
    return ".".join((package, *below)).removesuffix(".__main__")


def _is_command(path: Path) -> bool:
    tests = [ast.unparse(x.test) for x in _parse(path).body if isinstance(x, ast.If)]
    return path.name == "__main__.py" or "__name__ == '__main__'" in tests


def _first_line(path: Path) -> str:
    """Return what a module is about; of a `__main__.py`, what its package is about."""
    about = path.with_name("__init__.py") if path.name == "__main__.py" else path
    text = ast.get_docstring(_parse(about)) or ""
    return re.sub(r": `python -m [^`]*`\.$", ".", text.split("\n")[0])


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
