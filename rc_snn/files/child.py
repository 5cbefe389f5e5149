"""Run by `first_look` as a program of its own: limit this process, then look at a file.

Arguments: seconds of processor time, bytes of memory, script, file, what else the script takes.
It imports nothing but the standard library; what went wrong is the last line of its output.
"""

import os
import resource
import runpy
import sys


def main(seconds: str, memory: str, script: str, *arguments: str) -> int:
    """Return 0 if the script's `look` could read the file, else 1, after saying why."""
    for name in ("OMP", "OPENBLAS", "MKL"):  # threads of libraries reserve memory
        os.environ[f"{name}_NUM_THREADS"] = "1"
    look = runpy.run_path(script)["look"]  # imports first, which need no limit
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime) + 1 + int(seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    pages = int(open("/proc/self/statm").read().split()[0]) if sys.platform == "linux" else 0
    limit = int(memory) + pages * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        look(*arguments)
    except BaseException as error:  # a panic of Rust is no Exception
        print(f"{type(error).__name__}: {error}".replace("\n", " ")[:500])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
