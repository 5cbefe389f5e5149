"""How a file of anybody's is read: looked at by a child process first, and refused by one kind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridges.errors import BridgeError
from rc_snn.files import HDF5, allowance, first_look

LOOKS = Path(__file__).with_name("looks")

TEXT = 100
"""Bytes that a string takes in Python beside its characters, as the look at HDF5 counts them."""


SPIKE = 100
"""Bytes that a spike takes while spikes are sorted."""


def held_by(size: int, per_spike: int = 50) -> int:
    """Return how many bytes of arrays a file of this size may hold.

    Args:
        size: of the file, in bytes.
        per_spike: bytes of the arrays for each spike; default: half of what the file may unpack to.

    Example:
        >>> held_by(1000) / 2**20, held_by(2**30) / 2**30
        (256.0, 32.0)
    """
    return allowance(size) * per_spike // SPIKE


@contextmanager
def reading(path: Path | str, title: str, look: str = "", per_spike: int = 50) -> Iterator[Path]:
    """Read a file by another's library inside the block; what that raises leaves as ValueError.

    A library raises what its author thought of: KeyError, RuntimeError, TypeError, struct.error.
    Keep the block to the library's calls.

    Args:
        path: of the file.
        title: what it should be, for the message.
        look: "hdf5", or a program of `bridges.looks`, which reads it first; "": the block is safe
            on any bytes.
        per_spike: see `held_by`, which limits what the look may find.

    Yields:
        The path.

    Raises:
        OSError: if there is no such file.
        ValueError: if it cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     empty = Path(folder, "spikes.h5")
        ...     _ = empty.write_bytes(b"")
        ...     with reading(empty, "an example", "hdf5"):
        ...         pass  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: ...spikes.h5 cannot be read as an example (...
    """
    path = Path(path)
    size = path.stat().st_size
    try:
        if look:
            script = HDF5 if look == "hdf5" else LOOKS / f"{look}.py"
            first_look(path, script, str(held_by(size, per_spike)))
        elif not path.is_file():
            raise ValueError(f"{path} cannot be read (it is no regular file).")
    except ValueError as error:
        said = str(error).replace("cannot be read (", f"cannot be read as {title} (", 1)
        raise ValueError(said) from None
    try:
        yield path
    except BridgeError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(f"{path} cannot be read"):
            raise
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{path} cannot be read as {title} ({said[:300]}). It is damaged, or no file of this "
            "kind: make or copy it again."
        ) from error
