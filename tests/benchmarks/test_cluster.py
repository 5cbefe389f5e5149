"""The grid on a real local Ray: the records of the sequential path, though a worker is killed."""

import contextlib
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import cluster, record
from benchmarks.table1 import task
from benchmarks.table1.options import Table1
from benchmarks.table1.rank_coded_rows import StepNetwork
from benchmarks.table1.runs import RowRun
from benchmarks.table1.task import TASK, digits_of
from benchmarks.task import make
from encoders.mnist import embedded_digits
from rc_snn.checkpoint import read
from rc_snn.training import TrainConfig

CONFIG = RowRun(
    row="rc-lstm-fast",
    profile="quick",
    protocol="held-out",
    data="MNIST-5k",
    polarity="bright_first",
    zero_pixels="last",
    n_steps=10,
    n_train=300,
    n_validation=100,
    n_test=100,
    model=StepNetwork("lstm", 16, forget_bias=3.0, dropout=0.2),
    train=TrainConfig(epochs=6, batch_size=20, select="fast"),
)
LIMIT_S = 300.0


@pytest.fixture
def options(monkeypatch, tmp_path) -> Table1:
    """Folders named relative to the current one, and a machine of two cores."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 by default: never ends on a busy machine
    monkeypatch.setattr(cluster.os, "cpu_count", lambda: 2)
    return Table1(results=Path("results"), runs=Path("runs"))


def jobs(runs: list[RowRun]) -> list[cluster.Job]:
    return [cluster.Job(run.name, partial(make, TASK, run, command="the command")) for run in runs]


def seeded(seed: int, **changes: Any) -> RowRun:
    return replace(CONFIG, train=replace(CONFIG.train, seed=seed, **changes))


def records(options: Table1) -> dict[str, record.Record]:
    return {r.name: r for r in record.read_all(options.results / "table1")}


def kill_in_mid_run(options: Table1, config: RowRun) -> list[dict[str, float]]:
    """Kill the worker of a run once it has a checkpoint; return the epochs in the checkpoint."""
    checkpoint = options.runs.absolute() / config.name / "checkpoint.pt"
    made = options.results.absolute() / "table1" / f"{config.name}.json"
    end = time.monotonic() + LIMIT_S
    while not checkpoint.exists():
        assert time.monotonic() < end, "the run never began"
        time.sleep(0.01)
    worker = worker_of(config)
    os.kill(worker, signal.SIGSTOP)
    history = read(checkpoint)["history"]
    assert not made.exists(), "too late: the run is over"
    os.kill(worker, signal.SIGKILL)
    return history


def worker_of(config: RowRun) -> int:
    import psutil  # comes with ray

    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if config.name in " ".join(process.cmdline()):
                found.append(process.pid)
    [worker] = found
    return worker


@pytest.mark.slow
def test_a_killed_worker_resumes_and_the_records_are_those_of_the_sequential_path(options):
    tasks = [seeded(0, epochs=40), seeded(1), seeded(2), seeded(3)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = replace(options, results=Path("alone"), runs=Path("runs-alone"))
    for config in tasks:
        make(TASK, config, alone, command="the command")
    torch.set_num_threads(threads)
    expected = records(alone)

    with ThreadPoolExecutor() as pool:
        killer = pool.submit(kill_in_mid_run, options, tasks[0])
        lines = list(cluster.run_all(jobs(tasks), options))
        before = killer.result()

    names = [config.name for config in tasks]
    made = records(options)
    assert sorted(made) == sorted(expected) == sorted(names)
    assert sorted(Path(o.line.split(" -> ")[1]).stem for o in lines) == sorted(names)
    assert sorted(p.name for p in (options.results / "table1").iterdir()) == sorted(
        f"{name}.json" for name in names
    )
    for name in names:
        assert made[name].config == expected[name].config
        assert made[name].metrics == expected[name].metrics
        assert untimed(made[name]) == untimed(expected[name])
        assert made[name].command == "the command"
        assert made[name].machine["threads"] == 1
    resumed = made[names[0]].training["history"]
    assert 0 < len(before) < len(resumed) == 40
    assert resumed[: len(before)] == before, "to the nanosecond: these epochs were not run again"


def untimed(made: record.Record) -> dict[str, Any]:
    history = made.training["history"]
    epochs = [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in history]
    assert len(epochs) == made.config["train"]["epochs"]
    return made.training | {"history": epochs}


@pytest.mark.slow
def test_known_and_failing_runs_take_no_other_down(options):
    known, fresh = seeded(0, epochs=1), seeded(1, epochs=1)
    diverging = seeded(2, lr=1e38)
    elsewhere = replace(known, data="MNIST")
    make(TASK, known, options, command="the first command")
    [before] = records(options).values()
    options = replace(options, data=Path("nowhere"), threads=2)
    tasks = [diverging, elsewhere, known, fresh]
    lines = sorted(o.line for o in cluster.run_all(jobs(tasks), options))
    assert len(lines) == 4
    assert lines[0] == f"known: {options.results.absolute()}/table1/{before.name}.json"
    assert lines[1].startswith("rc-lstm-fast bright_first seed 1: accuracy ")
    assert lines[2].startswith(f"skipped: {diverging.name}: ValueError: The logits of 20 ")
    assert lines[3].startswith(f"skipped: {elsewhere.name}: DataError: No MNIST in ")
    assert f"{Path.cwd()}/nowhere" in lines[3]
    made = records(options)
    assert set(made) == {before.name, fresh.name}
    assert made[before.name] == before
    assert made[fresh.name].machine["threads"] == 2


def test_a_worker_that_finds_other_digits_than_the_driver_says_so(monkeypatch):
    digits_of.cache_clear()
    monkeypatch.setattr(task, "load_mnist", lambda data: embedded_digits())
    with pytest.raises(ValueError, match=r"on MNIST, but its worker found MNIST-5k .* --data"):
        digits_of("MNIST", None)


def test_the_folder_of_the_environment_travels_with_the_options(monkeypatch, options):
    monkeypatch.setenv("RC_SNN_DATA", "digits")
    there = cluster._absolute(options)
    assert there.data == Path.cwd() / "digits"
    assert (there.results, there.runs) == (Path.cwd() / "results", Path.cwd() / "runs")


def test_without_ray_the_error_says_what_to_install(monkeypatch, options):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'rc_snn\[cluster\]'"):
        list(cluster.run_all(jobs([CONFIG]), options))
