"""Files that are there whole or not at all: the only place that writes atomically.

What is being written has a name of its own, which says whose it is: after a kill it stays, and the
next writer of the same file takes it away.
"""

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, no quota, beyond the limit on the size of a file."""
_ABANDONED_S = 86_400.0
"""Without a change for so long, what a process of another machine began to write is left over."""
_mine: set[str] = set()
"""Places in use by this process."""


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """Give a place beside a path to write to; it replaces the path when all has gone well.

    Folders above the path are made. After a failure the path is what it was, and the place is gone;
    after a kill the place stays until the path is written again.

    Args:
        path: of a file; or of a folder, which must not exist or be empty.
        suffix: ends the name of the place, for writers that insist on theirs.

    Yields:
        The place, a name that no other writer has, in this process or in another: make a file or a
        folder there.

    Raises:
        OSError: if the file cannot be written; where the disk is full, with what to do.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "new", "spikes.csv")) as partial:
        ...         _ = partial.write_text("unit,tick")
        ...     Path(folder, "new", "spikes.csv").read_text()
        'unit,tick'
    """
    with scratch(path, suffix) as partial:
        yield partial
        if partial.is_file():
            _sync(partial)
        publish(partial, path)


@contextmanager
def scratch(path: Path, suffix: str = "") -> Iterator[Path]:
    """Give a place beside a path, as `replacing` does, and take away what is there at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    place = path.with_name(f"{path.name}.{_owner()}-{secrets.token_hex(4)}.partial{suffix}")
    _mine.add(place.name)
    try:
        with explaining(path):
            yield place
    finally:
        _remove(place)
        _mine.discard(place.name)


def publish(partial: Path, path: Path) -> None:
    """Give what is finished its name, in the same file system: a download that was resumed, say."""
    os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write a text atomically, in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def _sync(path: Path) -> None:
    """Wait until a file is on the disk: some systems say only now that there was no space."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Let an error of a full disk say which file was written, and what to do.

    Libraries raise it without a name, or, as HDF5 when it closes a file, as a RuntimeError.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        text = str(error)
        found = {getattr(error, "errno", None)} | {n for n in _FULL if os.strerror(n) in text}
        full = next((n for n in _FULL if n in found), None)
        if full is None:
            raise
        advice = f"{os.strerror(full)}: make room, and run the same again"
        raise OSError(full, advice, str(path)) from error


def check_room(folder: Path, n_bytes: int = 65_536) -> None:
    """Refuse a folder in which no file of so many bytes can be made; nothing of the trial stays.

    A real file is made: permissions say nothing about a file system that is read-only or full. Of
    a folder that does not exist, the one in which it would be made is tried.

    Raises:
        OSError: naming the folder.

    Example:
        >>> check_room(Path("/proc/no"))
        Traceback (most recent call last):
        ...
        FileNotFoundError: ... nothing can be written there. ...: '/proc/no'
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there) as file:  # without a name: a kill leaves none
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            else:
                file.write(bytes(n_bytes))
    except OSError as error:
        reason = f"{error.strerror}: nothing can be written there. Name another folder, or mend it"
        raise OSError(error.errno, reason, str(folder)) from error


def sweep(path: Path, *, alone: bool = False) -> None:
    """Take away what killed writers of a path have left beside it.

    Whether a writer is alive can be told of the processes that this one can see; what others began
    to write is left over after a day.

    Args:
        path: of the file.
        alone: whether the caller knows that nobody else writes it, by a lock: then all is left
            over.
    """
    pattern = re.compile(re.escape(path.name) + r"\.(\w+)-(\d+)-(\d+)-\w+\.partial(\.\w+)?")
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            found = pattern.fullmatch(entry.name) if entry.name.startswith(path.name) else None
            if found is None or entry.name in _mine:
                continue
            with suppress(OSError):  # another process sweeps, too
                space, pid, began, _ = found.groups()
                if alone or _is_left_over(space, pid, began, entry.stat().st_mtime):
                    _remove(Path(entry.path))


def _is_left_over(space: str, pid: str, began: str, changed: float) -> bool:
    """Return whether the writer is gone; what this process writes now, the caller knows."""
    if space != _space():
        return time.time() - changed > _ABANDONED_S
    return int(pid) == os.getpid() or _began(int(pid)) != began


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _owner() -> str:
    """Name this process as no other is named, on this machine or another that sees the folder."""
    return f"{_space()}-{os.getpid()}-{_began(os.getpid())}"


@cache
def _space() -> str:
    """Name the space within which a process's number says which it is: machine, boot, container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        known = boot + os.readlink("/proc/self/ns/pid")
    except OSError:
        known = platform.node()
    return hashlib.sha256(known.encode()).hexdigest()[:8]


def _began(pid: int) -> str:
    """Return when a process began, in clock ticks; "" if there is none, "0" if nobody can tell."""
    try:
        about = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
        return "0"
    return about.rpartition(")")[2].split()[19]
