"""Which commands a package has; whatever else is asked for is refused."""

import ast
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from rc_snn.commands.options import REFUSED
from rc_snn.commands.stops import catch_early_stops


def listing(package: str) -> str:
    """Return the commands of a package, a line each: its name, and what it is about."""
    return lines({f"python -m {name}": about for name, about in found(package).items()})


def lines(about: Mapping[str, str]) -> str:
    """Return names and what is said of them, a line each, in the order of the names."""
    width = max(map(len, about), default=0)
    return "\n".join(f"{name:{width}}  {about[name]}" for name in sorted(about))


def found(package: str) -> dict[str, str]:
    """Return the commands of a package, and what the docstring of each begins with.

    A command is a module with a block `if __name__ == "__main__":`, or a package with a
    `__main__.py`. Files are read, and nothing is imported.
    """
    return {
        name: _first_line(path)
        for path in _folder(package).rglob("*.py")
        if (name := _module(path, package)) not in (None, package) and _is_command(path)
    }


def refuse(package: str) -> None:
    """Exit with status 2 if `python -m` is about to run a file of this package that is no command.

    For the package's `__init__.py`. Python imports that before it runs the file, and until then
    `sys.argv[0]` is "-m"; at any other import this does nothing. What is a command can be stopped
    in one line from here on, though it imports for seconds.
    """
    if sys.argv[:1] != ["-m"]:
        return
    # What follows the module's name is the same in both; `-m` may stand before it, or in its word.
    asked = re.sub(r"^-\w*?m", "", sys.orig_argv[-len(sys.argv)])
    if asked != package and not asked.startswith(f"{package}."):
        return
    place = _folder(package).joinpath(*asked.split(".")[1:])
    if place.is_dir():
        there, runs = (place / "__init__.py").exists(), (place / "__main__.py").exists()
    else:
        there = (file := place.with_suffix(".py")).exists()
        runs = there and _is_command(file)
    if there and not runs:
        wrong = f"error: {asked} is no command. python -m {package} lists the commands."
        print(wrong, file=sys.stderr)
        raise SystemExit(REFUSED)
    if there:
        catch_early_stops()


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
