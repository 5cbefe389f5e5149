"""A first look at a file of another program's format, by a child process within limits.

Libraries in C, C++ and Rust may hang, ask for gigabytes or abort on one damaged bit, and no
`except` helps. So a child process reads the whole file first, in the same way and with the same
library; what it survived, this process reads, and what it did not survive is refused.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

from rc_snn.files.limits import FLOOR, allowance

CPU_S = 2
"""Seconds of processor time that a look may take, whatever the size of the file."""
BYTES_PER_S = 10_000_000
"""A larger file may take longer: so many of its bytes in each further second."""
_MEMORY = 900_000_000
"""Bytes that a look may take, beside those that a large file may unpack to beyond `FLOOR`."""
_PATIENCE = 20
"""Times its processor time that a look may last: on a busy machine it waits for its turn."""
HDF5 = Path(__file__).with_name("hdf5_look.py")
"""The script for a file in HDF5; arguments: bytes that its arrays may hold, and which are read."""
_CHILD = Path(__file__).with_name("child.py")


def first_look(path: Path, script: Path, *arguments: str) -> None:
    """Let a child process read a file as a script does, and refuse it if that went wrong.

    A child is started once for each script, and serves until this process ends.

    Args:
        path: of the file.
        script: a Python file with a function `look(path, *arguments)`, which reads everything
            that will be read here, and raises what it refuses. It imports no more than it needs.
        *arguments: handed on.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is no regular file; if the child raised, died, took too long or too much
            memory.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     script, path = Path(folder, "script.py"), Path(folder, "spikes.txt")
        ...     _ = script.write_text("def look(path): open(path).read().index('unit')")
        ...     _ = path.write_text("unit,tick")
        ...     first_look(path, script)
    """
    if not path.is_file():
        path.stat()  # what is not there is an OSError that says so
        raise ValueError(f"{path} is no regular file. Pass the path of a file.")
    size = path.stat().st_size
    cpu = CPU_S + size // BYTES_PER_S
    request = [cpu, _MEMORY + allowance(size) - FLOOR, [str(path.absolute()), *arguments]]
    with _LOCK:
        status, reason = _ask(script, request, _PATIENCE * cpu)
    if status == 0:
        return
    if not reason:  # by SIGKILL or SIGXCPU it reached a limit on its time
        late = f"reading it took more than {cpu} s"
        reason = late if -status in (9, 24) else f"its reader crashed, status {status}"
    raise ValueError(
        f"{path} cannot be read ({reason}). It is damaged, or no file of this kind: make or copy "
        "it again."
    )


_LOCK = threading.Lock()
_SERVERS: dict[tuple[int, Path], "subprocess.Popen[bytes]"] = {}
"""By process and script: a fork of this process starts its own."""


def _ask(script: Path, request: list[Any], seconds: int) -> tuple[int, str]:
    """Return how a look ended, and what it said."""
    server = _server(script)
    asked: Any = server.stdin
    answers: Any = server.stdout
    try:
        asked.write(json.dumps(request).encode() + b"\n")
        asked.flush()
        with DefaultSelector() as selector:
            selector.register(answers, EVENT_READ)
            answer = answers.readline() if selector.select(seconds) else None
    except BaseException:  # an interrupt: the answer that is still to come is no one's
        _stop(script)
        raise
    if answer:
        status, reason = json.loads(answer)
        return int(status), str(reason)
    _stop(script)
    if answer == b"":
        raise RuntimeError(f"{script} cannot be run by {sys.executable}; run it to see why.")
    return -9, ""


def _server(script: Path) -> "subprocess.Popen[bytes]":
    key = (os.getpid(), script)
    if key not in _SERVERS:
        pipe = subprocess.PIPE
        # A session of its own: Ctrl-C is for this process, which then closes its input.
        command = [sys.executable, "-P", str(_CHILD), str(script)]
        _SERVERS[key] = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
    return _SERVERS[key]


def _stop(script: Path) -> None:
    server = _SERVERS.pop((os.getpid(), script))
    with suppress(ProcessLookupError):
        os.killpg(server.pid, 9)  # the look, too
    server.communicate()


@atexit.register
def _close() -> None:
    for process, script in list(_SERVERS):
        if process == os.getpid():
            _SERVERS.pop((process, script)).communicate()
