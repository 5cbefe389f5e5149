"""Where numba keeps what it has compiled, if it can write neither beside the code nor at home.

There it would refuse to define any function that is to be cached, ours and those of librosa and
aeon: nothing could be imported in a container whose code and home are read-only.
"""

import os
import stat
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent / "__pycache__"


def give_numba_a_folder() -> None:
    """Set `NUMBA_CACHE_DIR` where numba finds no place of its own; else leave it as it is.

    The folder is the user's alone, because a cache is code. It stays, so that the next process need
    not compile anew, and other processes may use it at the same time.
    """
    places = [HERE, _at_home()]
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        places.append(Path(named))
    if os.name == "nt" or any(map(writable, places)):
        return
    if (folder := own_folder()) is None:
        return
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    if "numba" in sys.modules:  # which has read its environment by now
        sys.modules["numba"].config.CACHE_DIR = str(folder)


def _at_home() -> Path:
    """Return the folder that numba would take for all code of a user."""
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches/numba"))
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "numba")


def writable(folder: Path) -> bool:
    """Return whether a folder is there, or could be made, and can be written.

    Example:
        >>> writable(Path(tempfile.gettempdir(), "one", "more")), writable(Path("/dev/null/more"))
        (True, False)
    """
    if not folder.is_absolute():  # a home that nobody knows is called ~
        return False
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def own_folder(base: Path | None = None) -> Path | None:
    """Return a temporary folder that nobody else can write; None where there is none.

    A folder of that name that is another's, or open to others, is not used.
    """
    try:
        folder = (base or Path(tempfile.gettempdir())) / f"rc_snn-numba-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return folder if own and not found.st_mode & 0o022 else None
