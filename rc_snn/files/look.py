"""A first look at a file of another program's format, by a child process within limits.

Libraries in C, C++ and Rust may hang, ask for gigabytes or abort on one damaged bit, and no
`except` helps. So a child process reads the whole file first, in the same way and with the same
library; what it survived, this process reads, and what it did not survive is refused.
"""

import subprocess
import sys
from pathlib import Path

from rc_snn.files.limits import allowance

CPU_S = 2
"""Seconds of processor time that a look may take, whatever the size of the file."""
BYTES_PER_S = 10_000_000
"""A larger file may take longer: so many of its bytes in each further second."""
_MEMORY = 900_000_000
"""Bytes that a look may take beside those that the file may unpack to beyond `limits.FLOOR`."""
_WALL = 20
"""Times its processor time that a look may last: on a busy machine it waits for its turn."""
_CHILD = Path(__file__).with_name("child.py")


def first_look(path: Path, script: Path, *arguments: str) -> None:
    """Let a child process read a file as a script does, and refuse it if that went wrong.

    Args:
        path: of the file.
        script: a Python file with a function `look(path, *arguments)`, which reads everything
            that will be read here. It imports no more than it needs: it starts anew for each file.
        *arguments: handed on.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is no regular file; if the child raised, died, took too long or too much
            memory.
    """
    if not path.is_file():
        path.stat()
        raise ValueError(f"{path} is no regular file. Pass the path of a file.")
    size = path.stat().st_size
    cpu = CPU_S + size // BYTES_PER_S
    memory = _MEMORY + allowance(size) - allowance(0)
    command = [sys.executable, "-P", str(_CHILD), str(cpu), str(memory), str(script), str(path)]
    try:
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_WALL * cpu,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(
            _refusal(path, f"reading it had not ended after {_WALL * cpu} s")
        ) from None
    if done.returncode:
        said = done.stdout.strip().splitlines()
        raise ValueError(_refusal(path, said[-1] if said else _died(done.returncode, cpu)))


def _refusal(path: Path, reason: str) -> str:
    return f"{path} cannot be read ({reason}). It is damaged, or no file of this kind."


def _died(status: int, cpu: int) -> str:
    if -status in (9, 24):  # SIGKILL and SIGXCPU: the limit on processor time
        return f"reading it took more than {cpu} s"
    return f"its reader crashed, status {status}"
