"""Reads damaged files in a child process, and says what became of each.

A reader, given any bytes, gives the right content or raises ValueError or OSError, within seconds
and a gigabyte. Anything else counts as a failure: another exception, a crash, a hang, memory, or
content that is accepted and not what was written ("wrong").
"""

import json
import os
import random
import resource
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.mutations import Layer, damaged

CPU_S = 5.0
"""Seconds of processor time, children's included, after which a read counts as a hang."""
WALL_S = 60.0
MEMORY = 1 << 30
"""Bytes above what the process held before, children's not included: those have limits."""
REFUSALS = (ValueError, OSError)
FAILURES = ("crash", "hang", "memory", "wrong", "exception")


@dataclass(frozen=True)
class Reader:
    """A function of the project that reads a file, and what it may be given."""

    name: str
    seeds: Callable[[Path], Sequence[Path]]
    """Puts real files into a folder, with the suffixes that they need."""
    read: Callable[[Path], Any]
    """Reads one, as users do, and returns what can be compared by `content`."""
    content: Callable[[Any], Any] | None = None
    """What must be that of the undamaged file, for formats that carry a digest of it."""
    check: Callable[[Any], object] | None = None
    """Raises AssertionError if what was accepted is not valid, where no digest can tell."""
    layers: tuple[Layer, ...] = ()
    """Ways into the file, beside its bytes as they lie."""
    about: str = ""
    """Of what kind the files are, for the table."""


@dataclass
class Outcome:
    """What became of the files that one reader was given."""

    reader: str
    n: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """read, refused, and each of `FAILURES`."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    """Index, kind and message of those that failed."""
    slowest_s: float = 0.0
    """Processor time of one read, at most."""
    largest: int = 0
    """Memory of one read at most, bytes."""

    @property
    def failed(self) -> int:
        """Return how many files made the reader fail."""
        return sum(self.counts[kind] for kind in FAILURES)


def example(reader: Reader, seeds: Sequence[Path], seed: int, index: int) -> tuple[Path, bytes]:
    """Return the index-th damaged file of a reader: the seed that it is made of, and its bytes."""
    rng = random.Random(f"{reader.name}/{seed}/{index}")
    source = rng.choice(list(seeds))
    content = source.read_bytes()
    if reader.layers and rng.random() < 0.5:
        return source, rng.choice(reader.layers)(content, rng, damaged)
    return source, damaged(content, rng)


def fuzz(
    reader: Reader, n: int, folder: Path, seed: int = 0, told: Callable[[int], None] | None = None
) -> Outcome:
    """Give a reader n damaged files; each is the same for the same seed and index."""
    (folder / "seeds").mkdir(parents=True, exist_ok=True)
    seeds = list(reader.seeds(folder / "seeds"))
    right = {p: reader.content(reader.read(p)) if reader.content else None for p in seeds}
    outcome, at = Outcome(reader.name, n), 0
    while at < n:
        at = _run_child(reader, seeds, right, seed, range(at, n), folder, outcome, told)
    return outcome


def _run_child(
    reader: Reader,
    seeds: Sequence[Path],
    right: dict[Path, Any],
    seed: int,
    indices: range,
    folder: Path,
    outcome: Outcome,
    told: Callable[[int], None] | None,
) -> int:
    """Let one child go through the files until it ends or is ended; return where to go on."""
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        _child(reader, seeds, right, seed, indices, folder, said)
    os.close(said)
    os.set_blocking(heard, False)
    pending, at, since, before = b"", indices.start, time.monotonic(), _cpu_s(child)
    try:
        while True:
            part = _read(heard)
            if part == b"":
                break
            pending += part or b""
            *lines, pending = pending.split(b"\n")
            for line in lines:
                _count(outcome, json.loads(line))
                at, since, before = at + 1, time.monotonic(), _cpu_s(child)
                if told is not None:
                    told(1)
            late = time.monotonic() - since > WALL_S or _cpu_s(child) - before > CPU_S
            if late and at < indices.stop:
                os.kill(child, signal.SIGKILL)
                break
            if part is None:
                time.sleep(0.005)
    finally:
        os.close(heard)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if at < indices.stop:
        kind = "hang" if status == -signal.SIGKILL else "crash"
        _count(outcome, {"index": at, "kind": kind, "said": f"status {status}"})
        return at + 1
    return at


def _child(
    reader: Reader,
    seeds: Sequence[Path],
    right: dict[Path, Any],
    seed: int,
    indices: range,
    folder: Path,
    said: int,
) -> None:
    """Read one file after the other, and say of each what became of it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    warnings.simplefilter("ignore")  # as users have it: a warning is no failure
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = _held("VmSize") + 6 * MEMORY  # a bomb must not take the machine with it
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for index in indices:
        source, content = example(reader, seeds, seed, index)
        path = folder / source.name  # some formats hold their name
        path.write_bytes(content)
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        held, used = _held("VmRSS"), _used_s()
        kind, message = _fate(reader, path, right[source])
        told = {"index": index, "kind": kind, "said": message[:300]}
        told |= {"seconds": round(_used_s() - used, 3), "memory": max(0, _held("VmHWM") - held)}
        if told["memory"] > MEMORY:
            told["kind"] = "memory"
        os.write(said, json.dumps(told).encode() + b"\n")
    os._exit(0)


def _fate(reader: Reader, path: Path, right: Any) -> tuple[str, str]:
    try:
        found = reader.read(path)
    except REFUSALS as error:
        vague = len(str(error)) < 15  # a message says what, got, do
        return ("exception" if vague else "refused"), f"{type(error).__name__}: {error}"
    except MemoryError as error:
        return "memory", f"MemoryError: {error}"
    except BaseException as error:
        return "exception", f"{type(error).__module__}.{type(error).__name__}: {error}"
    try:
        if reader.content is not None and reader.content(found) != right:
            return "wrong", "accepted, with another content"
        if reader.check is not None:
            reader.check(found)
    except Exception as error:
        return "wrong", f"accepted, and not valid: {type(error).__name__}: {error}"
    return "read", ""


def _count(outcome: Outcome, told: dict[str, Any]) -> None:
    outcome.counts[told["kind"]] += 1
    if told["kind"] in FAILURES:
        outcome.failures.append({key: told[key] for key in ("index", "kind", "said")})
    outcome.slowest_s = max(outcome.slowest_s, told.get("seconds", 0.0))
    outcome.largest = max(outcome.largest, told.get("memory", 0))


def _read(pipe: int) -> bytes | None:
    """Return what a pipe holds; empty at its end, None while it holds nothing."""
    try:
        return os.read(pipe, 1 << 16)
    except BlockingIOError:
        return None


def _held(name: str) -> int:
    """Return a size of this process, in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))


def _used_s() -> float:
    return sum(
        (u := resource.getrusage(who)).ru_utime + u.ru_stime
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process, its ended children's included."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
