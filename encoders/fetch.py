"""Where files of data are looked for, and how they are downloaded: for every data set the same."""

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

TIMEOUT_S = 15.0


class DataError(ValueError):
    """A data file that is truncated, swapped, corrupt or missing."""


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


def download(part: Path, url: str, check: Callable[[Path], object]) -> None:
    """Download to `part`, going on where an earlier attempt stopped, and check it.

    A part from before that proves wrong is fetched anew, once: the server's file may have changed
    in between. What is wrong is deleted; what is only unfinished stays, and is resumed.

    Args:
        part: where the file grows; the caller gives it its name.
        url: where it comes from.
        check: raises DataError if its bytes are not the right ones.

    Raises:
        OSError: if the network or the server fails (ConnectionError, URLError).
        http.client.HTTPException: if what answers does not speak HTTP.
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
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing beyond what is here: the checksum will judge it
            return
        raise
    with answer:
        resumed = answer.status == 206
        length = answer.headers.get("Content-Length")
        total = None if length is None else int(length) + (have if resumed else 0)
        with (
            part.open("ab" if resumed else "wb") as out,
            tqdm(
                total=total,
                initial=have if resumed else 0,
                desc=part.name.split(".")[0],
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            while block := answer.read(1 << 16):
                out.write(block)
                bar.update(len(block))
    size = part.stat().st_size
    if total is not None and size < total:
        raise ConnectionError(f"the connection ended after {size} of {total} bytes")
