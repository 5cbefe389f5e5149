"""One process at a time: for each folder of a run, each download, each entry of a cache.

The system releases a lock when its process ends, however it ends, so that a kill leaves none
behind; what stays is an empty file whose name ends in `.lock`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_GRACE_S = 1.0
"""A process that was killed just now may not have let go yet."""


class Busy(ValueError):
    """Another process is at work in the same place. The message says where, and what to do."""


@contextmanager
def locked(
    folder: Path,
    doing: str,
    *,
    entry: str = "",
    wait: bool = False,
    told: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold a folder, or one entry of it, for this process alone, while the block runs.

    Threads of one process exclude each other, too, and a block within the block.

    Args:
        folder: made if it is not there; it then holds the lock, a hidden file.
        doing: what is done there, for the message.
        entry: name of a file or folder in it: others are not held up.
        wait: until the other has finished, without limit; else refuse.
        told: called with a message before a wait.

    Raises:
        Busy: if another process holds the place, and `wait` is off.
        OSError: if no lock can be made there: the folder is read-only, the disk full, or the file
            system has no locks.

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
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".{entry}.lock" if entry else folder / ".lock", is_singleton=False)
    try:
        lock.acquire(timeout=_GRACE_S)
    except Timeout:
        message = f"Another process is at work in {folder / entry} ({doing})."
        if not wait:
            raise Busy(f"{message} Wait until it has ended, or name another folder.") from None
        if told is not None:
            told(f"{message} Waiting until it has ended.")
        lock.acquire()
    except NotImplementedError as error:
        raise OSError(
            f"{folder} is on a file system without locks. Name another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()
