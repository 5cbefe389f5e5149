"""Scripts that run a stream where the target is installed: they need it and numpy, not rc_snn."""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from bridges.errors import BridgeError
from bridges.reading import reading
from bridges.stream import file as stream_file
from bridges.stream.stream import SpikeStream
from bridges.target import Target, interpreter
from rc_snn.files import load_npz, replacing

FOLDER = Path(__file__).parents[1] / "targets" / "scripts"
Exporter: TypeAlias = Callable[[SpikeStream, Path | str], Path]


def exporter(target: Target) -> Exporter:
    """Return the `export` of a target's module: it writes a script that runs spikes there.

    The script is `scripts/run_<name>.py`, whose `play` runs spikes in the target, followed by
    `scripts/main.py`, which reads the spikes, plays them, and compares what came back.
    """

    def export(stream: SpikeStream, path: Path | str) -> Path:
        target.admit(stream)
        path = target.named(path)
        parts = [(FOLDER / part).read_text() for part in (f"run_{target.name}.py", "main.py")]
        stream_file.save(stream, path.with_suffix(".npz"))
        with replacing(path) as partial:
            partial.write_text("\n\n".join(part.strip() + "\n" for part in parts))
        return path

    export.__module__ = f"bridges.targets.{target.name}"  # where `help` looks for it
    export.__doc__ = f"""Write a script that runs the spikes in {target.title}; return its path.

    It needs {target.title} and numpy, compares what comes back with what it sent, and with
    `--save FILE` keeps it.

    Args:
        stream: spikes to run.
        path: the script, named `*.py`; the spikes lie beside it under the same name, as npz.

    Raises:
        BridgeError: if {target.title} cannot carry the spikes: see `Target.admit`.
        ValueError: if the path does not end in .py.
    """
    return export


def run(target: Target, stream: SpikeStream) -> SpikeStream:
    """Run a target's script in the interpreter that has it; return the spikes recorded there.

    Raises:
        BridgeError: if the target cannot carry the spikes, or the script fails; the message holds
            the end of what it printed.
        ImportError: if no interpreter has the target.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = exporter(target)(stream, Path(folder, f"{target.name}_spikes.py"))
        recorded = Path(folder, "recorded.npz")
        done = subprocess.run(
            [interpreter(target), str(script), "--save", str(recorded)],
            capture_output=True,
            text=True,
            cwd=folder,
        )
        if not recorded.exists():
            raise BridgeError(
                f"The script of {target.title} failed:\n{(done.stdout + done.stderr)[-2000:]}"
            )
        with reading(recorded, f"what {target.title} recorded"):
            held = load_npz(recorded, "recorded spikes")
            return stream.with_spikes(held["samples"], held["ticks"], held["units"])
