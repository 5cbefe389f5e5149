"""Two processes at once: one works, and the other waits or says so; nothing is damaged."""

import time
from collections.abc import Iterator
from pathlib import Path

import children
import mirror
import pytest
import tiny

from rc_snn.files import Busy, locked


def hold(folder: Path, entry: str = "") -> None:
    """Hold a lock until told to let go."""
    with locked(folder, "an example", entry=entry):
        (folder / "held").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
        (folder / "done").touch()


def test_a_lock_is_refused_or_waited_for_and_a_killed_process_holds_none(tmp_path):
    child = children.start(hold, tmp_path)
    children.wait_for((tmp_path / "held").exists)
    with pytest.raises(Busy, match=rf"Another process is at work in {tmp_path} .*Wait until"):
        with locked(tmp_path, "an example"):
            pass
    with locked(tmp_path, "an example", entry="other"):
        pass
    told = []

    def tell(message: str) -> None:
        told.append(message)
        (tmp_path / "go").touch()

    with locked(tmp_path, "an example", wait=True, told=tell):
        assert (tmp_path / "done").exists()
    assert len(told) == 1
    assert "Waiting until it has ended" in told[0]
    assert children.end(child) == 0
    for name in ("held", "go"):
        (tmp_path / name).unlink()
    child = children.start(hold, tmp_path)
    children.wait_for((tmp_path / "held").exists)
    children.kill(child)
    with locked(tmp_path, "an example"):
        pass


def test_the_place_of_a_lock_does_not_hang_on_what_is_there(tmp_path):
    """A folder whose name ends like a file's is one, before it is there and after."""
    folder = tmp_path / "beta0.2"
    with locked(folder, "an example"), pytest.raises(Busy):
        with locked(folder, "an example"):
            pass
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_of_two_trainings_in_one_folder_the_second_is_refused(tmp_path):
    first = children.start(tiny.learn_slowly, tmp_path, 3)
    children.wait_for((tmp_path / "checkpoint.pt").exists)
    with pytest.raises(Busy, match=r"training.*name another folder"):
        tiny.learn(tmp_path, 3)
    (tmp_path / "go").touch()
    assert children.end(first) == 0
    assert tiny.epochs_of(tmp_path) == ([0, 1, 2], [0, 1, 2])


def test_of_two_commands_that_make_one_record_the_second_says_who_is_at_work(tmp_path, monkeypatch):
    monkeypatch.setenv("FRESH", "wait")
    said = [tmp_path / "said0", tmp_path / "said1"]
    one = children.start(tiny.command, tmp_path, "--train", said=said[0])
    children.wait_for(lambda: any(tmp_path.rglob("checkpoint.pt")))
    assert children.run(tiny.command, tmp_path, "--train", said=said[1]) == 1
    [line] = said[1].read_text().splitlines()
    assert line.startswith("skipped: ")
    assert "Another process is at work in" in line
    assert str(tmp_path / "runs") in line
    (tmp_path / "runs" / "go").touch()
    assert children.end(one) == 0
    [line] = said[0].read_text().splitlines()
    assert " -> " in line
    [record] = (tmp_path / "results" / "tiny").glob("*.json")
    assert not list(tmp_path.rglob("*.partial*"))
    assert children.run(tiny.command, tmp_path, "--train", said=said[1]) == 0
    assert said[1].read_text() == f"known: {record}\n"


@pytest.fixture
def seconds() -> float:
    """How long a few kilobytes take."""
    return 0.02


@pytest.fixture
def slow(seconds: float) -> Iterator[mirror.Mirror]:
    server = mirror.Mirror(seconds)
    yield server
    server.close()


def left(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (folder / "mnist").iterdir() if p.name != ".lock"}


@pytest.mark.parametrize("delay", [0.0, 0.15])
def test_two_first_downloads_both_have_the_right_digits_and_fetch_them_once(slow, tmp_path, delay):
    said = [tmp_path / "said0", tmp_path / "said1"]
    both = []
    for path in said:
        both.append(children.start(mirror.load, tmp_path, slow.url, said=path))
        time.sleep(delay)
    assert [children.end(child) for child in both] == [0, 0], [p.read_text() for p in said]
    assert sorted(slow.asked) == sorted(slow.files)
    assert left(tmp_path) == slow.files


@pytest.mark.parametrize("seconds", [0.1])
def test_whoever_waits_for_a_download_goes_on_with_it_when_the_other_is_killed(slow, tmp_path):
    said = tmp_path / "said"
    first = children.start(mirror.load, tmp_path, slow.url)
    children.wait_for(lambda: any(tmp_path.rglob("*.part.gz")))
    second = children.start(mirror.load, tmp_path, slow.url, said=said)
    time.sleep(0.2)
    children.kill(first)
    assert children.end(second) == 0, said.read_text()
    assert left(tmp_path) == slow.files


def test_a_download_killed_at_any_write_goes_on_and_leaves_nothing(tmp_path):
    server = mirror.Mirror()
    try:
        cache = tmp_path / "cache"
        for n in children.every_kill(mirror.load, cache, server.url):
            whole = left(cache) if (cache / "mnist").exists() else {}
            for name, content in server.files.items():
                assert whole.get(name, content) == content
            if n % 3 == 0:  # at other times the next one goes on with what is there
                children.run(mirror.load, cache, server.url)
                assert left(cache) == server.files
                for path in (cache / "mnist").iterdir():
                    path.unlink()
        assert left(cache) == server.files
    finally:
        server.close()
