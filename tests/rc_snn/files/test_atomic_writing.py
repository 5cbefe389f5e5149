"""Whatever goes wrong while a file is written, the old one stays, and nothing beside it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rc_snn import files

ROOT = Path(__file__).resolve().parents[3]


def test_what_was_written_replaces_what_was_there_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "answer.txt"
    for text in ("spikes at θ", "more"):
        files.write_text(path, text)
        assert path.read_bytes() == text.encode()
    files.write_bytes(path, b"\r\n\x00")
    assert path.read_bytes() == b"\r\n\x00"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_a_failure_while_writing_leaves_the_old_content_and_no_partial_file(tmp_path, error):
    path = tmp_path / "answer.txt"
    path.write_text("old")

    def fail():
        with files.replacing(path) as partial:
            partial.write_text("ne")
            assert path.read_text() == "old"
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_rename_that_fails_leaves_the_old_content_and_no_partial_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("disk full")

    path = tmp_path / "answer.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_appear_whole_or_not_at_all(tmp_path):
    path = tmp_path / "recordings"

    def fail():
        with files.replacing(path) as partial:
            (partial / "0").mkdir(parents=True)
            (partial / "0" / "a.bin").write_bytes(b"x")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert not list(tmp_path.iterdir())
    with files.replacing(path) as partial:
        partial.mkdir()
        (partial / "a.bin").write_bytes(b"x")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == [
        "recordings",
        "recordings/a.bin",
    ]


def test_a_writer_may_insist_on_its_suffix(tmp_path):
    with files.replacing(tmp_path / "a.nwb", ".nwb") as partial:
        assert partial.suffix == ".nwb"
        partial.touch()
    assert [p.name for p in tmp_path.iterdir()] == ["a.nwb"]


WRITE_OFTEN = """
import sys
from pathlib import Path
from rc_snn import files
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    files.write_text(Path(sys.argv[1]), sys.argv[2] * 100_000)
"""


def test_two_processes_that_write_one_file_never_mix_their_bytes(tmp_path):
    path = tmp_path / "answer.txt"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    command = [sys.executable, "-c", WRITE_OFTEN, str(path)]
    writers = [subprocess.Popen([*command, letter], **pipes) for letter in "ab"]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    while any(writer.poll() is None for writer in writers):
        assert not path.exists() or path.read_text() in ("a" * 100_000, "b" * 100_000)
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0, "neither took the other's partial file away"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_process_have_places_of_their_own(tmp_path):
    path = tmp_path / "answer.txt"
    with files.replacing(path) as one, files.replacing(path) as other:
        assert one != other
        assert one.parent == other.parent == tmp_path, "a rename must not cross a file system"
        one.touch()
        other.touch()


def test_no_other_file_of_the_source_renames():
    rooms = ("rc_snn", "encoders", "baselines", "bridges", "benchmarks")
    sources = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    assert len(sources) > 100
    renaming = re.compile(r"\bos\.(replace|rename)\(|\bshutil\.move\(|\.rename\(")
    found = [path for path in sources if renaming.search(path.read_text())]
    assert found == [ROOT / "rc_snn" / "files" / "atomic.py"]
