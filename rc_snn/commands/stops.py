"""Signals that end a command in one line."""

import os
import signal
import sys
import threading
import time
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM)
"""Signals that end a command in one line, with the status 128 + their number."""
_TWICE_S = 1.0
"""Within this time a second signal is the first one, which a wrapper has passed on, too."""


class Stopped(KeyboardInterrupt):
    """One of `STOPS` has come: raised where the command was, so that everything is put away."""


class Stops:
    """What is known about signals: they belong to the process."""

    running = False
    """Whether a command runs: until then its modules are imported."""
    first: float | None = None
    """When the first of them came."""
    number: int = signal.SIGINT
    """Which it was: Ray's own code makes a plain KeyboardInterrupt of it."""


def catch_stops() -> None:
    """Let SIGINT and SIGTERM end the command that runs, if one does; Ray and others take them."""
    if Stops.running and threading.current_thread() is threading.main_thread():
        _listen()


def _listen() -> None:
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # in the background of a shell
            signal.signal(number, _stop)


def _stop(number: int, frame: Any) -> None:
    now = time.monotonic()
    if Stops.first is not None:
        if now - Stops.first > _TWICE_S:  # whoever asks again does not want to wait
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    Stops.first, Stops.number = now, number
    if Stops.running:
        raise Stopped
    raise SystemExit(stopped(number))


def stopped(number: int) -> int:
    """Say that a signal has ended the command, and how to go on; return the exit status."""
    go_on = "The same command goes on from what is written"
    if "--force" in sys.argv:
        go_on = "With --force it begins again; without, it goes on from what is written"
    print(f"stopped by {signal.Signals(number).name}. {go_on}.", file=sys.stderr)
    return 128 + number


def catch_early_stops() -> None:
    """Let SIGINT and SIGTERM end in one line a command whose modules are still imported."""
    if threading.current_thread() is threading.main_thread():
        _listen()
