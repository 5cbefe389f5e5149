"""A first look by a child: what it survives is read, and what it does not survive is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rc_snn.files import first_look

FATES = {
    "raises": ("def look(path): raise KeyError('spikes')", r"KeyError: 'spikes'"),
    "panics": ("class Panic(BaseException): ...\ndef look(path): raise Panic('!')", "Panic: !"),
    "leaves": ("def look(path): raise SystemExit(0)", "SystemExit"),
    "aborts": ("import os\ndef look(path): os.abort()", "crashed, status -6"),
    "takes memory": ("def look(path): bytearray(2 << 30)", "MemoryError"),
    "never ends": ("def look(path):\n    while True: pass", "more than 2 s"),
    "prints": ("def look(path):\n    print('[0, 0]'); raise OSError('cut')", "OSError: cut"),
}


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "spikes.bin"
    path.write_bytes(b"\1\0")
    return path


def script(folder: Path, text: str) -> Path:
    path = folder / "script.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("fate", FATES)
def test_a_file_that_its_reader_does_not_survive_is_refused_with_the_reason(file, tmp_path, fate):
    text, said = FATES[fate]
    look = script(tmp_path, text)
    for _ in range(1 if fate == "never ends" else 2):
        with pytest.raises(ValueError, match=f"spikes.bin cannot be read .*{said}"):
            first_look(file, look)


def test_one_server_looks_at_every_file(file, tmp_path):
    look = script(
        tmp_path, "import os\ndef look(path, to): open(to, 'a').write(f'{os.getppid()} ')"
    )
    for _ in range(3):
        first_look(file, look, str(tmp_path / "parents"))
    parents = (tmp_path / "parents").read_text().split()
    assert len(parents) == 3
    assert len(set(parents)) == 1


def test_a_larger_file_may_take_longer_and_more(tmp_path):
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(40_000_000)
    look = script(tmp_path, "def look(path): x = bytearray(2 << 30)")
    first_look(large, look)


def test_what_is_no_file_is_no_question_for_a_child(tmp_path):
    look = script(tmp_path, "def look(path): ...")
    with pytest.raises(FileNotFoundError):
        first_look(tmp_path / "missing", look)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ""):
        with pytest.raises(ValueError, match="no regular file"):
            first_look(tmp_path / name, look)


def test_a_script_that_does_not_run_is_a_fault_of_ours(file, tmp_path):
    with pytest.raises(RuntimeError, match="run it to see why"):
        first_look(file, script(tmp_path, "import nothing_of_this_name"))


def test_a_fork_starts_its_own_server_and_leaves_ours(file, tmp_path):
    look = script(tmp_path, "def look(path): ...")
    code = f"""
import os
from pathlib import Path
from rc_snn.files import first_look
file, look = Path({str(file)!r}), Path({str(look)!r})
first_look(file, look)
if os.fork() == 0:
    first_look(file, look)
    raise SystemExit(0)  # with all that Python does at exit
assert os.wait()[1] == 0
first_look(file, look)
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
