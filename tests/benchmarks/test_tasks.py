"""A task's run: trained once, measured once, and found again by what decides it."""

from dataclasses import asdict, replace

import pytest
import torch

from benchmarks import record
from benchmarks.tasks import (
    TaskData,
    TaskModel,
    TaskOptions,
    TaskRun,
    execute,
    find,
    run_folder,
    trained,
)
from rc_snn.sequences import DenseSequences, Labelled
from rc_snn.training import TrainConfig

RUN = TaskRun(
    task="toy",
    profile="quick",
    data={"n": 40},
    model=TaskModel(2, 5, 2, read_out="sigmoid"),
    train=TrainConfig(epochs=2, batch_size=20, beta=0.0, precision="bf16"),
)


def samples(seed: int, n: int = 40) -> Labelled:
    """Two classes that differ in the mean of the input."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (n,), generator=generator)
    x = torch.randn(6, n, 2, generator=generator) + labels.view(1, -1, 1)
    return Labelled(DenseSequences(x), labels)


DATA = TaskData(samples(0), samples(1), samples(2))


@pytest.fixture
def options(tmp_path) -> TaskOptions:
    return TaskOptions(profile="quick", results=tmp_path / "results", runs=tmp_path / "runs")


def test_a_run_is_measured_once_and_then_read(options):
    seen = []

    def measure(model, test):
        seen.append((model.precision, len(test)))
        return {"answer": 42}

    first = execute(RUN, DATA, options, measure)
    again = execute(RUN, DATA, options, measure)
    assert seen == [("float32", 40)], "measured once, in float32 whatever training used"
    assert again == first == find([RUN], options)[0]
    assert first.metrics == {"answer": 42}
    assert first.config == asdict(RUN)
    assert len(first.training["history"]) == 2
    assert (run_folder(RUN, options) / "checkpoint.pt").exists()


def test_what_decides_the_result_decides_the_name():
    changed = [
        replace(RUN, data={"n": 41}),
        replace(RUN, profile="paper"),
        replace(RUN, model=replace(RUN.model, n_hidden=6)),
        replace(RUN, train=replace(RUN.train, beta=0.1)),
        replace(RUN, train=replace(RUN.train, seed=1)),
        replace(RUN, train=replace(RUN.train, method="every_step")),
    ]
    assert len({run.name for run in [RUN, *changed]}) == 7
    assert "every-step_beta0_seed0" in changed[-1].name


def test_the_weights_of_a_finished_run_come_back_without_training(options):
    model, result = trained(RUN, DATA, options)
    again, same = trained(RUN, replace(DATA, training=DATA.training), options)
    assert [row["epoch"] for row in same.history] == [row["epoch"] for row in result.history]
    for ours, theirs in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_is_missing_or_damaged_is_said(options):
    with pytest.raises(ValueError, match=r"toy has no record .* Add --train to make them"):
        find([RUN], options)
    folder = options.results / "toy"
    folder.mkdir(parents=True)
    (folder / f"{RUN.name}.json").write_text("{}")
    with pytest.raises(ValueError, match=r"is not a record .* move it away"):
        find([RUN], options)
    with pytest.raises(ValueError, match=r"move it away to run this again"):
        execute(RUN, DATA, options, lambda model, test: {})


def test_a_record_says_where_it_was_made(options):
    done = execute(RUN, DATA, options, lambda model, test: {})
    assert done.benchmark == "toy"
    assert record.read(options.results / "toy" / f"{done.name}.json") == done
