"""Processes that are killed, at a moment that is known: forked, so that each costs no imports."""

import ctypes
import io
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from rc_snn import progress

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.warm", "bridges.stream.file"])
NO_MOUNT = 77
"""Status of a child that may not mount anything."""


def start(target: Callable[..., None], *args: Any, said: Path | None = None) -> Any:
    """Start a child; what it says on stderr goes to a file, if one is given."""
    process = CONTEXT.Process(target=_child, args=(target, args, said, os.environ.copy()))
    process.start()
    return process


def wait_for(*conditions: Callable[[], bool]) -> None:
    """Wait until all are true; for minutes, so that a busy machine is not a failure."""
    end = time.monotonic() + 300
    while not all(condition() for condition in conditions):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def end(process: Any) -> int:
    """Wait for a child, and return its status; a signal is negative."""
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return int(process.exitcode)


def run(target: Callable[..., None], *args: Any, said: Path | None = None) -> int:
    return end(start(target, *args, said=said))


def kill(process: Any) -> None:
    """Kill a child, if it has not ended."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    end(process)


def _child(target: Callable[..., None], args: Any, said: Path | None, env: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(env)
    progress.LONG_S = math.inf  # what a test reads does not depend on how busy the machine is
    torch.set_num_threads(1)  # a fork has no other threads, and must not wait for them
    # The bars' own lock is one for all forks: whoever is killed while it draws would keep it.
    tqdm.set_lock(threading.RLock())
    if said is not None:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    target(*args)


class Kill:
    """SIGKILL at the n-th thing that a process does to the files of a folder, from 1.

    Counted are: a file opened to be written, each half of what is written, a file forced to the
    disk, renamed or removed, a folder made or removed. Past the last one the process ends well.
    """

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.left = str(folder), n
        sys.addaudithook(self._event)
        self._open, io.open = io.open, self._torn
        fsync = os.fsync
        os.fsync = lambda file: (self.tick(), fsync(file))[1]

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def _event(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            return
        if not isinstance(args[0], str | os.PathLike) or not str(args[0]).startswith(self.folder):
            return
        if event != "open" or (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.tick()

    def _torn(self, path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        """Open a file as Python does, but write halves."""
        mine = str(path).startswith(self.folder) and "opener" not in options
        if not mine or not set(mode) & set("wax"):
            return self._open(path, mode, *args, **options)
        raw = Halves(path, mode.replace("t", "").replace("b", ""))
        raw.tick = self.tick
        file = io.BufferedWriter(raw, 1 << 24)
        if "b" in mode:
            return file
        return io.TextIOWrapper(file, options.get("encoding"), newline=options.get("newline"))


class Halves(io.FileIO):
    """A file that takes half of what it is given, and then the rest."""

    tick: Callable[[], None]
    again = False

    def write(self, data: Any) -> int | None:
        self.tick()
        self.again = not self.again
        part = memoryview(data)
        return super().write(part[: (len(part) + 1) // 2] if self.again else part)


def every_kill(target: Callable[..., None], folder: Path, *args: Any) -> Any:
    """Yield 1, 2, … after a child was killed at that point, until one ends well.

    The caller puts the folder in order between two.
    """
    for n in range(1, 400):
        status = run(_killed, target, folder, n, args)
        if status == 0:
            assert n > 4, "nothing was counted"
            return
        assert status == -signal.SIGKILL
        yield n
    raise AssertionError("there is no end")


def _killed(target: Callable[..., None], folder: Path, n: int, args: Any) -> None:
    Kill(folder, n)
    target(folder, *args)


MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
CLONE_NEWNS = 0x20000


def mount(folder: Path, *, n_bytes: int | None = None, read_only: bool = False) -> None:
    """Give this process alone a small disk at a folder, or its content read-only; or end it."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(source: bytes, kind: bytes | None, flags: int, data: bytes | None = None) -> int:
        target = b"/" if source == b"none" and kind is None else os.fsencode(folder)
        return int(libc.mount(source, target, kind, ctypes.c_ulong(flags), data))

    failed = libc.unshare(CLONE_NEWNS) or call(b"none", None, MS_REC | MS_PRIVATE)
    if not failed and n_bytes is not None:
        failed = call(b"tmpfs", b"tmpfs", 0, f"size={n_bytes}".encode())
    if not failed and read_only:
        here = os.fsencode(folder)
        failed = call(here, None, MS_BIND)
        failed = failed or call(here, None, MS_BIND | MS_REMOUNT | MS_RDONLY)
    if failed:
        os._exit(NO_MOUNT)
