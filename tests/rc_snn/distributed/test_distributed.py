"""One training over two processes: the numbers of one process, and what a killed one leaves."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import several
import torch

from rc_snn import checkpoint, training
from rc_snn.distributed import Ranks

PROJECT = Path(__file__).resolve().parents[3]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)} | more


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def torchrun(folder: Path, *names: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run trainings in two processes, as a user starts them."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", free_port(), several.__file__, str(folder), *names]
    return subprocess.run(
        command, env=environment(**more), capture_output=True, text=True, timeout=300
    )


def by_ranks(folder: Path, name: str) -> tuple[Any, Any]:
    """Return what each rank has saved."""
    first, second = (torch.load(folder / f"{name}.{rank}.pt") for rank in (0, 1))
    return first, second


def same(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(x, other[k]) for k, x in one.items())


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A training whose second rank is killed under torchrun, and what torchrun said."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "killed").mkdir()
    # There are 4 updates in each of 3 epochs.
    done = torchrun(folder / "killed", "noisy", RC_SNN_TEST_KILL="1,6")
    assert done.returncode != 0
    assert not list((folder / "killed").glob("*.pt")), "no rank has ended well"
    (folder / "said.txt").write_text(done.stderr)
    assert len(checkpoint.read(folder / "killed" / "noisy" / "checkpoint.pt")["history"]) == 1
    return folder


@pytest.fixture(scope="module")
def two(killed) -> Path:
    """All trainings, by two ranks; the one that was killed goes on."""
    done = torchrun(killed, *several.CASES, "noisy", "killed/noisy")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("resumed: epoch 1 of 3") == 1
    return killed


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Path:
    """One training by two ranks, and what they refuse."""
    folder = tmp_path_factory.mktemp("quick")
    done = torchrun(folder, "rc", "refused")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", several.CASES)
def test_two_ranks_learn_what_one_process_learns(name, request, tmp_path, monkeypatch):
    two = request.getfixturevalue("quick" if name == "rc" else "two")
    steps, run = [], training.run
    monkeypatch.setattr(
        training, "run", lambda *a, **k: (answer := run(*a, **k), steps.append(answer[0].step))[0]
    )
    model, result = several.CASES[name](tmp_path)
    (weights, losses), (theirs, _) = by_ranks(two, name)
    assert same(weights, theirs), "the ranks have the same weights, bit by bit"
    for key, weight in model.state_dict().items():
        torch.testing.assert_close(weights[key], weight, rtol=1e-9, atol=1e-10)
    here = [row["train_loss"] for row in result.history]
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(here), rtol=1e-9, atol=0.0)
    if name == "two samples and one":
        at_once = [tuple(bool((part == 0).all()) for part in s.tensor_split(2)) for s in steps]
        assert {(True, False), (False, True)} & set(at_once), "one rank alone had no W_hh"
    if name == "step 0, then θ":
        assert all((s == 0).all() for s in steps[:4]), "no rank had W_hh"


@pytest.mark.slow
def test_the_first_rank_alone_writes_what_one_process_writes(quick):
    assert {p.name for p in (quick / "rc").iterdir()} == {"checkpoint.pt", "log.csv", ".lock"}
    assert len(checkpoint.read(quick / "rc" / "checkpoint.pt")["history"]) == 2


@pytest.mark.slow
def test_a_killed_rank_stops_all_with_the_reason(killed):
    said = (killed / "said.txt").read_text()
    assert "Signal 9 (SIGKILL)" in said
    assert "rank      : 1" in said


@pytest.mark.slow
def test_a_run_goes_on_after_a_kill_as_if_nothing_had_been(two):
    """Bit by bit, dropout on each rank included."""
    for whole, again in zip(by_ranks(two, "noisy"), by_ranks(two, "killed/noisy"), strict=True):
        assert same(whole[0], again[0])
        assert whole[1] == again[1]


@pytest.mark.slow
def test_a_rank_that_has_lost_the_first_says_so_without_torchrun(tmp_path):
    """Nobody ends it: the connection that breaks does."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    first, second = (
        subprocess.Popen(
            [sys.executable, several.__file__, str(tmp_path), "noisy"],
            env=environment(**where, RANK=str(rank), RC_SNN_TEST_KILL="0,6"),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    )
    said = second.communicate(timeout=300)[1]
    first.communicate(timeout=300)
    assert first.returncode == -9
    assert second.returncode == 1
    assert "RankLost: Rank 1 of 2 has lost another, which was killed" in said
    assert "Start the same command again: it goes on from the last checkpoint." in said


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_ranks_on_gpus_send_by_nccl_and_two_on_one_are_refused(tmp_path):
    done = torchrun(tmp_path, "rc", RC_SNN_TEST_GPUS="1")
    if torch.cuda.device_count() < 2:
        assert done.returncode != 0
        assert "ValueError: Of 2 ranks 1 share a GPU with another" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    model, _ = several.CASES["rc"](tmp_path / "one")
    (weights, _), (theirs, _) = by_ranks(tmp_path, "rc")
    for key, weight in model.state_dict().items():
        assert torch.equal(weights[key].cpu(), theirs[key].cpu())
        torch.testing.assert_close(weights[key].cpu(), weight, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
def test_ranks_that_would_part_are_refused(quick):
    said = by_ranks(quick, "refused")
    for rank in (0, 1):
        seed, small, data, drawn, _ = said[rank]
        assert seed.startswith("ValueError: Rank 1 would train something else than rank 0: seed is")
        assert "seed is 1, 0 there" in seed
        assert "The last batch has 1 of 27 samples, fewer than the 2 ranks." in small
        assert "training_inputs is" in data
        assert "the order of the samples is" in drawn
    failed, told = said[0][4], said[1][4]
    assert failed.startswith("FileExistsError")
    assert told.startswith("RankLost: Rank 0 of 2 has stopped: FileExistsError: ")


@pytest.mark.parametrize(("n", "size"), [(3, 2), (8, 3), (64, 64)])
def test_the_mean_of_weighted_parts_is_the_mean_of_the_batch(n, size):
    x = torch.randn(n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    ranks = [Ranks(rank, size) for rank in range(size)]
    parts = [r.part(x) for r in ranks]
    torch.testing.assert_close(torch.cat(parts), x)
    means = [r.weight(n) * part.mean() for r, part in zip(ranks, parts, strict=True)]
    torch.testing.assert_close(torch.stack(means).mean(), x.mean())
