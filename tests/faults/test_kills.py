"""Killed at every write, and at any moment: the state is a whole old one or a whole new one."""

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import children
import numpy as np
import pytest
import tiny
import torch
from tqdm import tqdm

from benchmarks import record
from bridges.stream import file as stream_file
from bridges.stream.stream import SpikeStream
from rc_snn import files
from rc_snn.files.tensors import read_tensors
from rc_snn.network import Network


@pytest.fixture(autouse=True)
def one_thread():
    """Children have one, and sums of two threads may differ in the last digit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    theirs = other.state_dict()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def check_left(folder: Path) -> None:
    """Hold what a killed training left to what is promised."""
    kept, logged = tiny.epochs_of(folder)
    assert kept == list(range(len(kept)))
    assert logged == list(range(len(logged))), "no epoch twice, none left out"
    assert len(logged) >= len(kept), "the log lacks an epoch that the checkpoint has"


@pytest.mark.slow
def test_a_training_killed_at_any_write_goes_on_as_if_nothing_had_been(tmp_path):
    whole, folder = tiny.learn(tmp_path / "whole"), tmp_path / "killed"
    seen = set()
    for _ in children.every_kill(tiny.learn, folder):
        check_left(folder)
        seen.add(tuple(map(len, tiny.epochs_of(folder))))
        same_weights(tiny.learn(folder), whole)
        assert tiny.epochs_of(folder) == ([0, 1], [0, 1])
        assert tiny.names(folder) == {"checkpoint.pt", "log.csv"}, "no .partial stays"
        shutil.rmtree(folder)
    assert seen == {(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)}, "every state was met"


@pytest.mark.slow
def test_a_training_killed_at_random_goes_on_as_if_nothing_had_been(tmp_path):
    whole, folder = tiny.learn(tmp_path / "whole", 40), tmp_path / "killed"
    random_ = random.Random(0)
    for _ in range(6):
        child = children.start(tiny.learn, folder, 40)
        while not (folder / "log.csv").exists() and child.is_alive():
            time.sleep(0.005)
        time.sleep(0.1 * random_.random())
        children.kill(child)
        check_left(folder)
    same_weights(tiny.learn(folder, 40), whole)
    assert tiny.epochs_of(folder) == (list(range(40)), list(range(40)))
    assert tiny.names(folder) == {"checkpoint.pt", "log.csv"}


def test_a_log_that_lacks_epochs_is_made_anew_from_the_checkpoint(tmp_path):
    tiny.learn(tmp_path)
    before = (tmp_path / "log.csv").read_bytes()
    (tmp_path / "log.csv").unlink()
    tiny.learn(tmp_path)
    assert (tmp_path / "log.csv").read_bytes() == before


def write_text(folder: Path, version: int) -> None:
    files.write_text(folder / "answer.txt", str(version) * 100_000)


def write_record(folder: Path, version: int) -> None:
    source = record.Source("unknown", None)
    made = record.new_record("tiny", "", {"seed": 0}, {"n": version}, {}, 0.0, source, "tiny")
    name = f"tiny_{record.config_key(made.config)}"
    record.save(record.Record(**vars(made) | {"name": name, "created": "", "machine": {}}), folder)


def write_network(folder: Path, version: int) -> None:
    Network(name="tiny", model=tiny.run_of(1, version).build(), theta=0.9, n_steps=4).save(
        folder / "tiny.safetensors"
    )


def write_stream(folder: Path, version: int, suffix: str = ".npz") -> None:
    z = torch.zeros(4, 2, 3)
    z[version] = 1.0
    stream_file.save(SpikeStream.from_tensor(z, 1e-3), folder / f"spikes{suffix}")


def write_hdf5(folder: Path, version: int) -> None:
    write_stream(folder, version, ".h5")


WRITERS = (write_text, write_record, write_network, write_stream, write_hdf5)


def content(path: Path) -> Any:
    """Return what a file holds; safetensors orders its texts in another way in every process."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    tensors, texts = read_tensors(path)
    return {key: x.tolist() for key, x in tensors.items()} | {"about": texts["about"]}


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(x, marks=[pytest.mark.slow] * (i > 0), id=x.__name__)
        for i, x in enumerate(WRITERS)
    ],
)
def test_a_file_killed_at_any_write_is_the_old_one_or_the_new_one(write: Any, tmp_path):
    folder = tmp_path / "files"
    contents = []
    for version in (1, 2):
        folder.mkdir()
        write(folder, version)
        [path] = folder.iterdir()
        contents.append(content(path))
        shutil.rmtree(folder)
    folder.mkdir()
    write(folder, 1)
    found = set()
    for _ in children.every_kill(write, folder, 2):
        found.add(contents.index(content(path)))
        write(folder, 1)
        assert list(folder.iterdir()) == [path], "no .partial stays"
    assert 0 in found


def leave(folder: Path) -> None:
    """Begin to write, and die."""
    with files.replacing(folder / "a.txt") as partial:
        partial.write_text("begun")
        os.kill(os.getpid(), signal.SIGKILL)


def stay(folder: Path) -> None:
    """Begin to write, and go on when told to."""
    with files.replacing(folder / "a.txt") as partial:
        partial.write_text("slow")
        while not (folder / "go").exists():
            time.sleep(0.01)


def test_only_what_the_dead_have_left_is_taken_away(tmp_path):
    """Not what a process alive writes, nor, for a day, what one writes that cannot be seen."""
    assert children.run(leave, tmp_path) == -signal.SIGKILL
    [left] = tmp_path.iterdir()
    elsewhere = tmp_path / f"a.txt.{'0' * 8}-{os.getpid()}-1-00000000.partial"
    old = tmp_path / f"a.txt.{'0' * 8}-{os.getpid()}-2-00000000.partial"
    unlike = tmp_path / "a.txt.mine.partial"
    for path in (elsewhere, old, unlike):
        path.touch()
    os.utime(old, (0, 0))
    child = children.start(stay, tmp_path)
    while not any(path.read_text() == "slow" for path in tmp_path.iterdir()):
        time.sleep(0.01)
    assert not left.exists()
    with files.replacing(tmp_path / "a.txt") as outer:
        outer.write_text("outer")
        files.write_text(tmp_path / "a.txt", "quick")
    assert (tmp_path / "a.txt").read_text() == "outer"
    assert {elsewhere, unlike} < set(tmp_path.iterdir())
    assert not old.exists()
    (tmp_path / "go").touch()
    assert children.end(child) == 0
    assert (tmp_path / "a.txt").read_text() == "slow"
    files.sweep(tmp_path / "a.txt", alone=True)
    assert not elsewhere.exists()
    assert unlike.exists()


def test_a_model_that_fails_leaves_a_run_that_goes_on(tmp_path):
    """Somebody's code raises in the third epoch; mended, it ends as if it never had."""
    calls = []

    def fresh(generator: torch.Generator) -> Any:
        calls.append(np.random.default_rng(0))
        if len(calls) == 3:
            raise KeyError("a fault of somebody's data set")
        return tiny.samples(0)

    whole = tiny.learn(tmp_path / "whole", 4, fresh=lambda generator: tiny.samples(0))
    with pytest.raises(KeyError, match="somebody"):
        tiny.learn(tmp_path / "run", 4, fresh=fresh)
    assert tiny.epochs_of(tmp_path / "run") == ([0, 1], [0, 1])
    same_weights(tiny.learn(tmp_path / "run", 4, fresh=fresh), whole)


def killed_while_it_draws() -> None:
    tqdm.get_lock().acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def draw() -> None:
    for _ in tqdm(range(3)):
        pass


def test_a_child_that_is_killed_while_it_draws_a_bar_lets_the_next_one_draw():
    assert children.run(killed_while_it_draws) == -signal.SIGKILL
    assert children.run(draw) == 0
