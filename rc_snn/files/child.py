"""Run by `first_look` as a program of its own: looks at one file after the other, within limits.

Its argument is a script. Each line of its input is a request, JSON: seconds of processor time,
bytes of memory, and what the script's `look` takes. A fork of this process, which is small and has
imported what the script needs, does it; the answer is a line of JSON: status of the fork, reason.
It imports nothing but the standard library, and ends with its input.
"""

import json
import os
import resource
import runpy
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any


def serve(script: str) -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)  # what libraries print would pass for an answer
    os.dup2(nowhere, 2)
    for name in ("OMP", "OPENBLAS", "MKL"):  # a fork must not wait for threads it does not have
        os.environ[f"{name}_NUM_THREADS"] = "1"
    look = runpy.run_path(script)["look"]
    for line in sys.stdin.buffer:
        print(json.dumps(_answer(look, *json.loads(line))), file=answers, flush=True)


def _answer(look: Callable[..., Any], cpu: int, memory: int, arguments: list[str]) -> Sequence[Any]:
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _limit(cpu, memory)
            look(*arguments)
            status = 0
        except BaseException as error:  # a panic of Rust is no Exception
            with suppress(BaseException):  # not even memory for a message
                reason = f"{type(error).__name__}: {error}".replace("\n", " ")[:500]
                os.write(said, reason.encode(errors="replace"))
        finally:
            os._exit(status)
    os.close(said)
    with os.fdopen(heard, "rb") as pipe:
        reason = pipe.read().decode(errors="replace")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), reason


def _limit(cpu: int, memory: int) -> None:
    """Limit this process to so much more than it has used."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))  # a fork starts at 0
    with suppress(OSError):  # where the system counts otherwise, the limit is for all
        with open("/proc/self/statm") as file:
            memory += int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    with suppress(ValueError, OSError):  # not every system has it
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


if __name__ == "__main__":
    serve(sys.argv[1])
