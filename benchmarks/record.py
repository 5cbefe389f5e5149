"""One JSON record per run: what was run, what came out, on which machine, from which commit."""

import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rc_snn import files
from rc_snn.borders.numbers import json_value

FORMAT = "rc_snn.record/1"


def _checkout() -> Path | None:
    """Return the folder of the project's own checkout; None where the package was installed."""
    root = Path(__file__).resolve().parents[1]
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]["name"]
    except (OSError, ValueError, KeyError):
        return None
    return root if project == "rc_snn" else None


CHECKOUT = _checkout()
"""The project's own folder; None where the package was installed without one."""
HOME = CHECKOUT or Path.cwd()
RESULTS = HOME / "results"
"""Where records go unless told otherwise: beside the project's pyproject.toml, or here."""
SHIPPED = Path(__file__).with_name("records")
"""The records of results/ in an installed package, which setup.py copies; a checkout has none."""
RUNS = HOME / "runs"
"""Where checkpoints, logs and weights go unless told otherwise."""
MOST_BYTES = 1 << 24
"""Of a record: the largest of ours, with the log of 100 epochs, has 200 kB."""
PACKAGES = ("rc_snn", "torch", "numpy", "tonic", "snntorch", "norse", "numba")


class Source(NamedTuple):
    """What the project's code was when a run began."""

    commit: str
    dirty: bool | None


@dataclass(frozen=True)
class Record:
    """One finished run."""

    benchmark: str
    """Which module made it, for example "table1"."""
    name: str
    """File name without ending; readable, and ending in the key."""
    config: dict[str, Any]
    """Everything that decides the result, the seed included."""
    metrics: dict[str, Any]
    """The account on the test set."""
    training: dict[str, Any]
    """Epoch kept, regime reached, and the log of every epoch."""
    seconds: float
    """Wall time of the run, over all its interruptions."""
    command: str
    """Command line that made it."""
    commit: str
    """Commit of the project, "unknown" outside a checkout."""
    dirty: bool | None
    """Whether tracked files, other than results and weights, differed from that commit."""
    versions: dict[str, str]
    """Python and packages."""
    machine: dict[str, Any]
    """Processor, cores, threads used, load and device."""
    created: str
    """End of the run, UTC."""
    format: str = FORMAT


def config_key(config: Mapping[str, Any]) -> str:
    """Return a short hash of a configuration; records with the same key are the same run.

    Example:
        >>> config_key({"seed": 0, "beta": 0.1}) == config_key({"beta": 0.1, "seed": 0})
        True
    """
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def new_record(
    benchmark: str,
    name: str,
    config: dict[str, Any],
    metrics: dict[str, Any],
    training: dict[str, Any],
    seconds: float,
    source: Source,
    command: str | None = None,
) -> Record:
    """Complete a run's results with where, when and from what they were made.

    `command` is the command line; default: this process's own.
    """
    # As they come back from disk: tuples are lists, numpy's numbers Python's.
    config, metrics, training = (
        json_value(part, what)
        for part, what in ((config, "config"), (metrics, "metrics"), (training, "training"))
    )
    return Record(
        benchmark=benchmark,
        name=name,
        config=config,
        metrics=metrics,
        training=training,
        seconds=round(seconds, 1),
        command=command or command_line(benchmark),
        commit=source.commit,
        dirty=source.dirty,
        versions={"python": platform.python_version()} | dict(_versions()),
        machine=machine(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):  # norse is an extra
            yield package, metadata.version(package)


def command_line(benchmark: str) -> str:
    """Return the command line of this process; outside of a command, that of the benchmark.

    Where its data, records and runs lie on a machine decides nothing, and is left out.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # of what follows `-m`
    module = spec.name.removesuffix(".__main__") if spec else ""
    if not module.startswith("benchmarks."):
        return f"python -m benchmarks.{benchmark}"
    return f"python -m {module} {shlex.join(without_folders(sys.argv[1:]))}".strip()


def without_folders(words: Sequence[str]) -> list[str]:
    """Return the words of a command line without the options that name folders.

    Example:
        >>> without_folders(["--train", "--data", "/some/where", "--seeds", "0", "--runs=/else"])
        ['--train', '--seeds', '0']
    """
    folders = ("--data", "--results", "--runs")
    kept, skip = [], False
    for word in words:
        if not skip and word.split("=")[0] not in folders:
            kept.append(word)
        skip = not skip and word in folders
    return kept


def save(record: Record, folder: Path) -> Path:
    """Write a record atomically; a file of that name that is not ours is never overwritten.

    Raises:
        ValueError: if the place is taken by a file that is not a record.
    """
    path = folder / f"{record.name}.json"
    if path.exists() and isinstance(problem := read(path), str):
        raise ValueError(f"{path} {problem}; it was left as it is. Move it away and run again.")
    files.write_text(path, json.dumps(asdict(record), indent=1, allow_nan=False) + "\n")
    return path


def beginning(text: str) -> str:
    """Return the words by which a generated text is known: no option, no machine changes them.

    Example:
        >>> beginning("Spike streams: a machine, 2 threads")
        'Spike streams'
    """
    return re.split(r"\d|\n|:", text, maxsplit=1)[0]


def check_ours(path: Path, folder: Path, text: str | None = None) -> None:
    """Refuse to write over a table or figure that we did not write.

    What is generated lies beside the records it is made of: an existing file where no record of
    ours is, or a text that begins otherwise, is somebody else's.

    Args:
        path: the file to be written.
        folder: where the records are that it is made of.
        text: what is to be written, unless it is a figure.

    Raises:
        ValueError: if there is such a file.
    """
    if not path.exists():
        return
    ours = any(not isinstance(read(p), str) for p in paths(folder))
    if ours and text is not None:
        ours = path.read_text(errors="replace").startswith(beginning(text))
    if not ours:
        raise ValueError(
            f"{path} is not a file that rc_snn wrote from records in {folder}; it was left as it "
            "is. Move it away, or name another folder with --results."
        )


def read(path: Path) -> Record | str:
    """Read a record, or say in words what is wrong with the file."""
    try:
        content = files.parse_json(files.read_bytes(path, MOST_BYTES), "it")
    except (OSError, ValueError) as error:
        return f"cannot be read as JSON ({error})"
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return f"is not a record of the format {FORMAT}"
    try:
        record = Record(**content)
    except TypeError as error:
        return f"lacks or adds a field ({error})"
    for name in ("config", "metrics", "training", "versions", "machine"):
        if not isinstance(content[name], dict):
            return f"has {name} that is no object"
    for name in ("benchmark", "name", "command", "commit", "created"):
        if not isinstance(content[name], str):
            return f"has a {name} that is no text"
    if type(content["seconds"]) not in (int, float, type(None)):  # measurements give none
        return "has seconds that are no number"
    if not isinstance(content["dirty"], bool | None):
        return "has a field dirty that is no truth value"
    if not record.name.endswith(config_key(record.config)) or path.stem != record.name:
        return "has a name that does not belong to its config: it was edited, renamed or damaged"
    return record


def place(path: Path) -> Path:
    """Return where the record of this path lies: there, else in the package if it ships with it.

    An installed package writes to `RESULTS`, in the user's folder, and reads its own beside them.
    """
    shipped = _shipped(path.parent) / path.name
    return shipped if not path.exists() and shipped.exists() else path


def paths(folder: Path) -> list[Path]:
    """Return the places of the records of a task's folder in results, in name order."""
    found = {p.name: p for root in (_shipped(folder), folder) for p in root.glob("*.json")}
    return [found[name] for name in sorted(found)]


def named(name: str, results: Path) -> list[Path]:
    """Return the places of the records of this name, whatever task they are of."""
    tasks = {path.name for root in (results, SHIPPED) for path in root.glob("*/")}
    places = [place(results / task / f"{name}.json") for task in sorted(tasks)]
    return [path for path in places if path.exists()]


def _shipped(folder: Path) -> Path:
    """Return the folder of the package that is read beside this one of results, or the same."""
    ours = CHECKOUT is None and folder.parent.absolute() == RESULTS
    return SHIPPED / folder.name if ours else folder


def read_all(folder: Path) -> list[Record]:
    """Read every record of a folder in name order; report on stderr, and skip, what is not one."""
    records = []
    for path in paths(folder):
        record = read(path)
        if isinstance(record, str):
            print(f"skipped: {path} {record}", file=sys.stderr)
        else:
            records.append(record)
    return records


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def source() -> Source:
    """Return commit and state of the project; call it before a run, which may outlast commits.

    Of a package that lies in somebody else's repository, the commit is not ours: "unknown".
    """
    top = None if CHECKOUT is None else _git(CHECKOUT, "rev-parse", "--show-toplevel")
    if CHECKOUT is None or top is None or Path(top).resolve() != CHECKOUT:
        return Source("unknown", None)
    # Tables and weights that earlier runs have left are not what a run is made of.
    code = [".", ":(exclude)results", ":(exclude)rc_snn/weights"]
    changed = _git(CHECKOUT, "status", "--porcelain", "--untracked-files=no", "--", *code)
    return Source(_git(CHECKOUT, "rev-parse", "HEAD") or "unknown", bool(changed))


def machine() -> dict[str, Any]:
    """Return what this machine is, and how busy it is."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            x.split(":", 1)[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(x, 2) for x in os.getloadavg()],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
    }
