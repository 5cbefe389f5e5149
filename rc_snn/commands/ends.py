"""How a command starts, and in which words and with which status it ends."""

import os
import re
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from typing import Any, NoReturn, TypeVar

from rc_snn.commands.options import REFUSED, check_numbers, read
from rc_snn.commands.stops import STOPS, Stops, catch_stops, stopped

T = TypeVar("T")
ERRORS: tuple[type[Exception], ...] = (ValueError, ImportError, OSError)
"""What says in words what to do: bad input or data, a missing package, a file, a network."""


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
    Stops.running, Stops.first, Stops.number = True, None, signal.SIGINT
    catch_stops()
    try:
        try:
            status: Any = call()
        except SystemExit as ended:  # of tyro, after `--help`
            status = ended.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        _put_bars_away()
        status = stopped(Stops.number)
    except errors as error:
        _put_bars_away()
        unread = isinstance(error, BrokenPipeError) and _unread()
        status = 128 + signal.SIGPIPE if unread else _refused(error, traced)
    finally:
        Stops.running = False
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


def _put_bars_away() -> None:
    """Clear the bars of what was cut short: a line of ours would stand behind them."""
    if "tqdm" in sys.modules:
        for bar in list(getattr(sys.modules["tqdm"].tqdm, "_instances", ())):
            if hasattr(bar, "sp") and not hasattr(bar, "last_print_t"):
                bar.fp.write("\r\x1b[K")  # cut short while it was first drawn: tqdm leaves it there
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
