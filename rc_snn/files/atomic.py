"""Files that are there whole or not at all: the only place that writes atomically."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """Give a place beside a path to write to; it replaces the path when all has gone well.

    Folders above the path are made. After a failure the path is what it was, and the place is gone.

    Args:
        path: of a file; or of a folder, which must not exist or be empty.
        suffix: ends the name of the place, for writers that insist on theirs.

    Yields:
        The place, a name that no other writer has, in this process or in another: make a file or a
        folder there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "new", "spikes.csv")) as partial:
        ...         _ = partial.write_text("unit,tick")
        ...     Path(folder, "new", "spikes.csv").read_text()
        'unit,tick'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial{suffix}")
    try:
        yield partial
        publish(partial, path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


def publish(partial: Path, path: Path) -> None:
    """Give what is finished its name, in the same folder: a download that was resumed, say."""
    os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write a text atomically, in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    with replacing(path) as partial:
        partial.write_bytes(content)
