"""One process at a time: for each folder of a run, each download, each entry of a cache.

The system releases a lock when its process ends, however it ends, so that a kill leaves none
behind; what stays is an empty file `.lock`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class Busy(ValueError):
    """Another process is at work in the same place. The message says where, and what to do."""


@contextmanager
def locked(
    path: Path, doing: str, *, wait: bool = False, told: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold a place for this process alone, while the block runs.

    Threads of one process exclude each other, too.

    Args:
        path: of a folder, made if it is not there, which then holds `.lock`; or of a file, whose
            lock lies beside it.
        doing: what is done there, for the message.
        wait: until the other has finished, without limit; else refuse.
        told: called with a message before a wait that is not over at once.

    Raises:
        Busy: if another process holds the place, and `wait` is off.
        OSError: if no lock can be made there: the folder is read-only, or the disk full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder), "training"):
        ...     try:
        ...         with locked(Path(folder), "training"):
        ...             pass
        ...     except Busy as error:
        ...         print("Another process" in str(error))
        True
    """
    as_folder = path.is_dir() or not path.suffix
    (path if as_folder else path.parent).mkdir(parents=True, exist_ok=True)
    place = path / ".lock" if as_folder else path.with_name(f"{path.name}.lock")
    lock = FileLock(place, is_singleton=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        message = f"Another process is at work in {path} ({doing})."
        if not wait:
            raise Busy(f"{message} Wait until it has ended, or name another folder.") from None
        if told is not None:
            told(f"{message} Waiting until it has ended.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
