"""What every command shares: how it starts, fails and stops, what it imports, which there are."""

import ast
import importlib
import importlib.util
import os
import re
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from rc_snn.commands.options import REFUSED as REFUSED
from rc_snn.commands.options import Called as Called
from rc_snn.commands.options import check_numbers, read

T = TypeVar("T")
ERRORS: tuple[type[Exception], ...] = (ValueError, ImportError, OSError)
"""What says in words what to do: bad input or data, a missing package, a file, a network."""

STOPS = (signal.SIGINT, signal.SIGTERM)
"""Signals that end a command in one line, with the status 128 + their number."""
_TWICE_S = 1.0
"""Within this time a second signal is the first one, which a wrapper has passed on, too."""


class Stopped(KeyboardInterrupt):
    """One of `STOPS` has come: raised where the command was, so that everything is put away."""


def run(
    main: Callable[[T], int | None],
    options: type[T],
    errors: tuple[type[Exception], ...] = ERRORS,
) -> NoReturn:
    """Read options from the command line, run a command with them, and exit with its status.

    SIGINT and SIGTERM end it in one line, with the status 130 or 143. A reader of its output that
    goes away, such as `head`, ends it in silence.

    Args:
        main: the command; returns the exit status, None is 0.
        options: a dataclass; tyro makes the command line, and `--help`, of it.
        errors: end in the line `error: …` and status 2, as a wrong option does; `--traceback` shows
            where they came from, too. Any other is a fault of ours, and always a traceback.
    """

    def call() -> int | None:
        asked = read(options)
        check_numbers(asked)
        return main(asked)

    end(call, errors)


def end(call: Callable[[], int | None], errors: tuple[type[Exception], ...] = ERRORS) -> NoReturn:
    """Call a function, and exit with the status that it returns; `run` says what else ends it."""
    _open_streams()
    traced = "--traceback" in sys.argv[1:]
    sys.argv[1:] = [word for word in sys.argv[1:] if word != "--traceback"]
    before = {number: signal.getsignal(number) for number in STOPS}
    _Stops.running, _Stops.first, _Stops.number = True, None, signal.SIGINT
    catch_stops()
    try:
        try:
            status: Any = call()
        except SystemExit as ended:  # of tyro, after `--help`
            status = ended.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        _put_bars_away()
        status = _stopped(_Stops.number)
    except errors as error:
        _put_bars_away()
        unread = isinstance(error, BrokenPipeError) and _unread()
        status = 128 + signal.SIGPIPE if unread else _refused(error, traced)
    finally:
        _Stops.running = False
        _settle()
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
    sys.exit(status)


def _refused(error: Exception, traced: bool) -> int:
    """Say in a line what is wrong, below where it came from if that was asked for."""
    if traced:
        traceback.print_exception(error)
    print(f"error: {one_line(error)}{_remedy(error)}", file=sys.stderr)
    return REFUSED


def _remedy(error: Exception) -> str:
    """Return what to do about an error of Python's own, which says only what is wrong."""
    if type(error) is FileNotFoundError and error.errno is not None:
        return ". Check the path."
    if type(error) is ModuleNotFoundError and error.name and str(error).startswith("No module"):
        module = error.name.split(".")[0]
        with suppress(metadata.PackageNotFoundError):
            for needed in metadata.requires("rc_snn") or ():
                name, extra = re.match(r"[\w-]+", needed), re.search(r'extra == "(.*)"', needed)
                if name and name[0].lower() == module:
                    what = f"'rc_snn[{extra[1]}]'" if extra else module
                    return f". Install it: pip install {what}"
    return ""


def one_line(error: BaseException) -> str:
    r"""Return what an error says, in one line.

    Example:
        >>> one_line(ValueError("Take another.\n  Or none."))
        'Take another. Or none.'
    """
    return " ".join(line.strip() for line in str(error).splitlines())


class _Stops:
    """What is known about signals: they belong to the process."""

    running = False
    """Whether a command runs: until then its modules are imported."""
    first: float | None = None
    """When the first of them came."""
    number: int = signal.SIGINT
    """Which it was: Ray's own code makes a plain KeyboardInterrupt of it."""


def catch_stops() -> None:
    """Let SIGINT and SIGTERM end the command that runs, if one does; Ray and others take them."""
    if _Stops.running and threading.current_thread() is threading.main_thread():
        _listen()


def _listen() -> None:
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # in the background of a shell
            signal.signal(number, _stop)


def _stop(number: int, frame: Any) -> None:
    now = time.monotonic()
    if _Stops.first is not None:
        if now - _Stops.first > _TWICE_S:  # whoever asks again does not want to wait
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    _Stops.first, _Stops.number = now, number
    if _Stops.running:
        raise Stopped
    raise SystemExit(_stopped(number))


def _stopped(number: int) -> int:
    """Say that a signal has ended the command, and how to go on; return the exit status."""
    go_on = "The same command goes on from what is written"
    if "--force" in sys.argv:
        go_on = "With --force it begins again; without, it goes on from what is written"
    print(f"stopped by {signal.Signals(number).name}. {go_on}.", file=sys.stderr)
    return 128 + number


def _put_bars_away() -> None:
    """Clear the bars of what was cut short: a line of ours would stand behind them."""
    if "tqdm" in sys.modules:
        for bar in list(getattr(sys.modules["tqdm"].tqdm, "_instances", ())):
            bar.close()


def _open_streams() -> None:
    """Let what is closed go nowhere: else the next file that is opened would get its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest place that is free
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, closefd=False))


def _unread() -> bool:
    """Return whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _settle() -> None:
    """Let what cannot be written to standard output go nowhere: Python tries again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


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


def catch_early_stops() -> None:
    """Let SIGINT and SIGTERM end in one line a command whose modules are still imported."""
    if threading.current_thread() is threading.main_thread():
        _listen()


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
