"""The grid on a real local Ray: the records of the sequential path, though a worker is killed."""

import contextlib
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import cluster, record
from benchmarks.table1.rows import ModelConfig, RunConfig
from benchmarks.table1.task import Table1, run_name, run_one
from encoders.mnist import embedded_digits
from rc_snn.training import TrainConfig

CONFIG = RunConfig(
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
    model=ModelConfig("lstm", 16, forget_bias=3.0, dropout=0.2),
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


def seeded(seed: int, **changes: Any) -> RunConfig:
    return replace(CONFIG, train=replace(CONFIG.train, seed=seed, **changes))


def records(options: Table1) -> dict[str, record.Record]:
    return {r.name: r for r in record.read_all(options.results / "table1")}


def kill_in_mid_run(options: Table1, config: RunConfig) -> list[dict[str, float]]:
    """Kill the worker of a run once it has a checkpoint; return the epochs in the checkpoint."""
    checkpoint = options.runs.absolute() / run_name(config) / "checkpoint.pt"
    made = options.results.absolute() / "table1" / f"{run_name(config)}.json"
    end = time.monotonic() + LIMIT_S
    while not checkpoint.exists():
        assert time.monotonic() < end, "the run never began"
        time.sleep(0.01)
    worker = worker_of(config)
    os.kill(worker, signal.SIGSTOP)
    history = torch.load(checkpoint, weights_only=True)["history"]
    assert not made.exists(), "too late: the run is over"
    os.kill(worker, signal.SIGKILL)
    return history


def worker_of(config: RunConfig) -> int:
    import psutil  # comes with ray

    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if run_name(config) in " ".join(process.cmdline()):
                found.append(process.pid)
    [worker] = found
    return worker


def test_a_killed_worker_resumes_and_the_records_are_those_of_the_sequential_path(options):
    tasks = [seeded(0, epochs=40), seeded(1), seeded(2), seeded(3)]
    threads, digits = torch.get_num_threads(), embedded_digits()
    torch.set_num_threads(1)
    alone = replace(options, results=Path("alone"), runs=Path("runs-alone"))
    for config in tasks:
        run_one(config, digits, alone, "the command")
    torch.set_num_threads(threads)
    expected = records(alone)

    with ThreadPoolExecutor() as pool:
        killer = pool.submit(kill_in_mid_run, options, tasks[0])
        lines = list(cluster.run_all(tasks, options, "the command"))
        before = killer.result()

    names = [run_name(config) for config in tasks]
    made = records(options)
    assert sorted(made) == sorted(expected) == sorted(names)
    assert sorted(Path(line.split(" -> ")[1]).stem for line in lines) == sorted(names)
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


def test_known_and_failing_runs_take_no_other_down(options):
    known, fresh = seeded(0, epochs=1), seeded(1, epochs=1)
    diverging = seeded(2, lr=1e38)
    elsewhere = replace(known, data="MNIST")
    run_one(known, embedded_digits(), options, "the first command")
    [before] = records(options).values()
    options = replace(options, data=Path("nowhere"), threads=2)
    tasks = [diverging, elsewhere, known, fresh]
    lines = sorted(cluster.run_all(tasks, options, "the command"))
    assert len(lines) == 4
    assert lines[0] == f"known: {options.results.absolute()}/table1/{before.name}.json"
    assert lines[1].startswith("rc-lstm-fast bright_first seed 1: accuracy ")
    assert lines[2].startswith(f"skipped: {run_name(diverging)}: ValueError: The logits of 20 ")
    assert lines[3].startswith(f"skipped: {run_name(elsewhere)}: DataError: No MNIST in ")
    assert f"{Path.cwd()}/nowhere" in lines[3]
    made = records(options)
    assert set(made) == {before.name, run_name(fresh)}
    assert made[before.name] == before
    assert made[run_name(fresh)].machine["threads"] == 2


def test_a_worker_that_finds_other_digits_than_the_driver_says_so(monkeypatch):
    monkeypatch.setattr(cluster, "load_mnist", lambda data: embedded_digits())
    with pytest.raises(ValueError, match=r"on MNIST, but its worker found MNIST-5k .* --data"):
        cluster._digits("MNIST", None)


def test_the_folder_of_the_environment_travels_with_the_options(monkeypatch, options):
    monkeypatch.setenv("RC_SNN_DATA", "digits")
    there = cluster._absolute(options)
    assert there.data == Path.cwd() / "digits"
    assert (there.results, there.runs) == (Path.cwd() / "results", Path.cwd() / "runs")


def test_without_ray_the_error_says_what_to_install(monkeypatch, options):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'rc_snn\[cluster\]'"):
        list(cluster.run_all([CONFIG], options, "the command"))
