"""The harness: a task's runs are made once, found again by what decides them, and published."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import record
from benchmarks.record import Record
from benchmarks.run import (
    Data,
    Measurement,
    Options,
    TaskModel,
    TaskRun,
    find,
    recorded,
    run_folder,
    trained,
)
from benchmarks.task import Task, command, make_all
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


DATA = Data(samples(0), samples(1), samples(2))


class Toy(Task):
    """Two seeds of a network that says how it was measured."""

    name = "toy"
    seen: Sequence[tuple[str, int]] = ()

    def runs(self, options: Options) -> list[TaskRun]:
        return [replace(RUN, train=replace(RUN.train, seed=seed)) for seed in options.seeds]

    def make(self, run: TaskRun, options: Options, command: str) -> Record:
        done = trained(run, DATA, options)
        return recorded(run, done, self._measure(done.model, DATA.test), command)

    def _measure(self, model, test) -> dict:
        self.seen = [*self.seen, (model.precision, len(test))]
        return {"answer": 42}

    def summary(self, done: Record) -> str:
        return f"answer {done.metrics['answer']}"

    def text(self, records: Sequence[Record]) -> str:
        return "\n".join(map(self.summary, records))


class View(Toy):
    """Another view of the toy's records, with a figure."""

    name, of, ending = "view", Toy(), ".md"

    def find(self, options: Options) -> list[Record]:
        return self.of.find(options)

    def draw(self, records: Sequence[Record], options: Options, path: Path) -> None:
        path.write_bytes(b"picture")


@pytest.fixture
def options(tmp_path) -> Options:
    return Options(
        train=True, profile="quick", results=tmp_path / "results", runs=tmp_path / "runs"
    )


def test_a_run_is_measured_once_and_then_read(options, capsys):
    toy = Toy()
    for word in ("answer 42 -> ", "known: "):
        assert command(toy, options) == 0
        assert capsys.readouterr().err.splitlines()[-1].startswith(word)
    assert toy.seen == [("float32", 40)], "measured once, in float32 whatever training used"
    [done] = toy.find(options)
    assert done.metrics == {"answer": 42}
    assert done.config == RUN.config
    assert len(done.training["history"]) == 2
    assert done.benchmark == "toy"
    assert record.read(options.results / "toy" / f"{RUN.name}.json") == done
    assert (run_folder(RUN, options) / "checkpoint.pt").exists()


def test_what_is_forced_is_made_again(options):
    toy = Toy()
    for _ in range(2):
        assert [o.failed for o in make_all(toy, replace(options, force=True))] == [False]
    assert len(toy.seen) == 2


def test_a_run_that_fails_takes_no_other_down(options, capsys):
    class Fragile(Toy):
        def make(self, run: TaskRun, options: Options, command: str) -> Record:
            if run.train.seed == 0:
                raise ValueError("no")
            return super().make(run, options, command)

    assert command(Fragile(), replace(options, seeds=(0, 1))) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"skipped: {RUN.name}: ValueError: no\n")
    assert said.out == "answer 42\n"


def test_the_quick_profile_is_published_apart(options, capsys):
    assert command(Toy(), options) == 0
    assert (options.results / "toy" / "toy.quick.txt").read_text() == "answer 42\n"
    assert capsys.readouterr().out == "answer 42\n", "no figure, no path"
    assert command(Toy(), replace(options, profile="paper")) == 0
    assert (options.results / "toy" / "toy.txt").exists()


def test_a_view_makes_the_records_of_its_task_and_publishes_in_its_own_folder(options, capsys):
    assert command(View(), options) == 0
    folder = options.results / "view"
    assert sorted(p.name for p in folder.iterdir()) == ["view.quick.md", "view.quick.png"]
    assert capsys.readouterr().out == f"answer 42\n{folder / 'view.quick.png'}\n"
    assert [p.stem for p in (options.results / "toy").glob("*.json")] == [RUN.name]


def test_what_somebody_else_wrote_is_left_alone(options):
    theirs = options.results / "toy" / "toy.quick.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("my notes")
    with pytest.raises(ValueError, match=r"toy\.quick\.txt is not a file that rc_snn wrote"):
        command(Toy(), options)
    assert theirs.read_text() == "my notes"


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


def test_what_is_missing_or_damaged_is_said(options):
    with pytest.raises(ValueError, match=r"toy has no record .* Add --train to make them"):
        find([RUN], options.results / "toy")
    folder = options.results / "toy"
    folder.mkdir(parents=True)
    (folder / f"{RUN.name}.json").write_text("{}")
    with pytest.raises(ValueError, match=r"is not a record .* move it away"):
        find([RUN], folder)
    [outcome] = make_all(Toy(), options)
    assert outcome.failed
    assert outcome.line.endswith("move it away to make this run again")
    assert (folder / f"{RUN.name}.json").read_text() == "{}"


def test_a_measurement_is_named_by_what_is_measured():
    run = Measurement("speed", {"steps": (1, 2)})
    done = run.record(lambda: {"ratio": 2.0}, "the command")
    assert done.name == run.name == f"speed_{record.config_key(run.config)}"
    assert (done.config, done.metrics) == ({"steps": [1, 2]}, {"ratio": 2.0})
    assert done.command == "the command"
    assert run.name != Measurement("speed", {"steps": (1, 3)}).name
