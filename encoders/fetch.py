"""Where files of data are looked for, and how they are downloaded: for every data set the same."""

import http.client
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rc_snn.files import explaining, locked
from rc_snn.progress import Bar

TIMEOUT_S = 15.0


class DataError(ValueError):
    """A data file that is truncated, swapped, corrupt or missing."""


class Unreachable(ConnectionError):
    """No connection could be made: there is no network, or not the way to this server."""


NETWORK_ERRORS = (ConnectionError, urllib.error.URLError, http.client.HTTPException)
"""What `download` raises when network or server fail; any other OSError is of this machine."""


def named_folder(data: Path | str | None) -> Path | None:
    """Return the folder that is named, by `data` or by the environment variable RC_SNN_DATA."""
    named = data if data is not None else os.environ.get("RC_SNN_DATA")
    return Path(named).expanduser() if named else None


def folders(data: Path | str | None) -> list[Path]:
    """Return where to look, in this order: the named folder alone; or `../shared/data`, the cache.

    `../shared/data` is beside the project. Each data set has places of its own in these folders.
    """
    named = named_folder(data)
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    return [shared, cache_folder()] if named is None else [named]


def cache_folder() -> Path:
    """Return the folder for downloads and caches of this project.

    It is `$XDG_CACHE_HOME/rc_snn` or `~/.cache/rc_snn`.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rc_snn"


def filling(folder: Path, entry: str) -> AbstractContextManager[None]:
    """Hold an entry of the cache while it is made: another process that makes it is waited for.

    What was missing before may be there within: look again.
    """
    return locked(
        folder,
        "filling the cache",
        entry=entry,
        wait=True,
        told=lambda message: print(message, file=sys.stderr),
    )


def reachable(url: str) -> bool:
    """Return whether a server can be connected to, whatever it answers."""
    try:
        _open(url, {}).close()
    except Unreachable:
        return False
    except NETWORK_ERRORS:
        return True
    return True


def download(part: Path, url: str, check: Callable[[Path], object]) -> None:
    """Download to `part`, going on where an earlier attempt stopped, and check it.

    A part from before that proves wrong is fetched anew, once: the server's file may have changed
    in between. What is wrong is deleted; what is only unfinished stays, and is resumed. One process
    at a time may do this: see `filling`.

    Args:
        part: where the file grows; the caller gives it its name.
        url: where it comes from.
        check: raises DataError if its bytes are not the right ones.

    Raises:
        Unreachable: if no connection could be made.
        NETWORK_ERRORS: if the server or the connection fails.
        OSError: if the file cannot be written.
        DataError: from `check`.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    resumed = part.exists()
    _download(part, url)
    try:
        check(part)
    except DataError:
        part.unlink()
        if not resumed:
            raise
        download(part, url, check)


def _download(part: Path, url: str) -> None:
    have = part.stat().st_size if part.exists() else 0
    try:
        answer = _open(url, {"Range": f"bytes={have}-"} if have else {})
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing beyond what is here: the checksum will judge it
            return
        raise
    with answer:
        resumed = answer.status == 206
        length = answer.headers.get("Content-Length")
        total = None if length is None else int(length) + (have if resumed else 0)
        with (
            explaining(part),
            part.open("ab" if resumed else "wb") as out,
            Bar(
                f"download {part.name.split('.')[0]}",
                total,
                unit="B",
                done=have if resumed else 0,
                scale=True,
            ) as bar,
        ):
            for block in _blocks(answer):
                out.write(block)
                bar.update(len(block))
    size = part.stat().st_size
    if total is not None and size < total:
        raise ConnectionError(f"the connection ended after {size} of {total} bytes")


def _open(url: str, headers: dict[str, str]) -> Any:
    """Return the answer of a server."""
    try:
        return urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
        )
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):  # somebody has answered
            raise
        raise Unreachable(str(error)) from error
    except OSError as error:  # connected, and then no answer
        raise ConnectionError(f"the connection ended before an answer ({error})") from error


def _blocks(answer: Any) -> Iterator[bytes]:
    """Yield what a server sends; what goes wrong is the network's."""
    while True:
        try:
            block = answer.read(1 << 16)
        except OSError as error:
            raise ConnectionError(f"the connection broke ({error})") from error
        if not block:
            return
        yield block
