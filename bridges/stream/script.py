"""Scripts that run a stream where the target is installed: they need it and numpy, not rc_snn."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bridges.errors import BridgeError
from bridges.stream import file as stream_file
from bridges.stream.stream import SpikeStream
from rc_snn.files import replacing

FOLDER = Path(__file__).parents[1] / "targets" / "scripts"


def export(name: str, stream: SpikeStream, path: Path | str) -> Path:
    """Write a script that runs the stream in a target, and its spikes beside it as npz.

    The script is `scripts/run_<name>.py`, whose `play` runs spikes in the target, followed by
    `scripts/main.py`, which reads the spikes, plays them, and compares what came back. Options of
    the script: `--save FILE` keeps what was recorded.

    Args:
        name: the target's.
        stream: spikes to run.
        path: the script; the spikes lie beside it under the same name.

    Raises:
        ValueError: if the path does not end in .py.
    """
    path = Path(path)
    if path.suffix != ".py":
        raise ValueError(f"{name} takes a script; name it .py, got {path.name!r}.")
    parts = [(FOLDER / part).read_text() for part in (f"run_{name}.py", "main.py")]
    stream_file.save(stream, path.with_suffix(".npz"))
    with replacing(path) as partial:
        partial.write_text("\n\n".join(part.strip() + "\n" for part in parts))
    return path


def run(name: str, stream: SpikeStream, python: str = sys.executable) -> SpikeStream:
    """Run the script of a target in an interpreter, and return the spikes recorded there.

    Raises:
        BridgeError: if the script fails; the message holds the end of what it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = export(name, stream, Path(folder, f"{name}_spikes.py"))
        recorded = Path(folder, "recorded.npz")
        done = subprocess.run(
            [python, str(script), "--save", str(recorded)],
            capture_output=True,
            text=True,
            cwd=folder,
        )
        if not recorded.exists():
            raise BridgeError(
                f"The script of {name} failed:\n{(done.stdout + done.stderr)[-2000:]}"
            )
        with np.load(recorded) as file:
            return stream.with_spikes(file["samples"], file["ticks"], file["units"])
