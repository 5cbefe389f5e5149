"""What holds for every task: what is checked in of it is what its records say, and no run is twice.

A task joins by its line in `benchmarks.tables.TASKS`.
"""

import json
import pickle
import re
import shutil
from functools import partial
from pathlib import Path

import matplotlib
import pytest

from benchmarks import record, tables
from benchmarks.run import Options
from benchmarks.task import command, make, owner
from encoders.fetch import DataError

TASKS = [task for tasks in tables.TASKS.values() for task in tasks]
EVERY = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
LONG = ("anytime", "figure4", "figure5", "peers")
"""Tasks of many records."""
MOST = pytest.mark.parametrize(
    "task",
    [pytest.param(x, marks=[pytest.mark.slow] * (x.name in LONG), id=x.name) for x in TASKS],
)
DRAWN_WITH = "3.11.2"
"""The matplotlib that drew the checked-in figures; another one's lines and letters differ."""


def kept(task, ending: str) -> Path:
    return record.RESULTS / task.name / f"{task.name}{ending}"


def written(task) -> Path:
    return kept(task, task.ending)


@EVERY
def test_the_checked_in_text_is_what_the_task_says_of_the_checked_in_records(task):
    text = task.text(task.find(task.options())).removesuffix("\n") + "\n"
    assert written(task).read_text() == text, "run the task's command, and commit what it writes"


@EVERY
def test_a_text_is_known_by_words_that_stand_alone(task):
    known = {other: record.beginning(written(other).read_text()) for other in TASKS}
    assert re.search("[A-Za-z]{4}", known[task])
    assert [other.name for other, words in known.items() if words == known[task]] == [task.name]


@MOST
def test_the_figure_is_drawn_again_to_the_same_bytes(task, tmp_path):
    options, path = task.options(), tmp_path / "figure.png"
    try:
        task.draw(task.find(options), options, path)
    except DataError as error:
        pytest.skip(f"the figure shows data that are not at hand: {error}")
    assert path.exists() == kept(task, ".png").exists()
    if path.exists():
        if matplotlib.__version__ != DRAWN_WITH:
            pytest.skip(f"drawn with matplotlib {DRAWN_WITH}, this is {matplotlib.__version__}")
        assert path.read_bytes() == kept(task, ".png").read_bytes()


@MOST
def test_records_are_sound_and_each_is_named_in_a_line(task):
    folder = record.RESULTS / owner(task).name
    paths = sorted(folder.glob("*.json"))
    assert paths
    for path in paths:
        known = record.read(path)
        assert isinstance(known, record.Record), f"{path} {known}"
        if known.commit != "unknown" and known.dirty is not None:
            assert re.fullmatch("[0-9a-f]{40}", known.commit), path
            assert known.dirty is False, path
        else:
            # Converted from files in older formats, which did not say all of it.
            assert folder.name in ("speed", "exchange"), path
        # The limit of Figure 2 was computed by a program of its own.
        made_by = "bayes_stopping" if path.stem.startswith("limit_paper") else folder.name
        assert known.benchmark == made_by, path
        line = task.summary(known)
        assert line, path
        assert "\n" not in line, path
    assert {r.name for r in task.find(task.options())} <= {path.stem for path in paths}


@EVERY
def test_readme_shows_its_lines_in_its_block(task):
    [block] = [name for name, tasks in tables.TASKS.items() if task in tasks]
    lines = task.readme(record.RESULTS)
    assert bool(lines) == bool(block)
    if block:
        [page] = [page for page, blocks in tables.PAGES.items() if block in blocks]
        text = (record.HOME / page).read_text()
        begin, end = (text.index(f"<!-- {block}: {word}") for word in ("begin", "end"))
        assert "\n".join(lines) in text[begin:end]


@MOST
def test_what_has_records_is_not_made_again_and_is_published_as_it_was(
    task, tmp_path, monkeypatch, capsys
):
    maker = owner(task)
    shutil.copytree(record.RESULTS / maker.name, tmp_path / maker.name)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/*.json")}
    (tmp_path / task.name / written(task).name).unlink(missing_ok=True)
    options = task.options(train=True, results=tmp_path, runs=tmp_path / "runs")
    try:
        planned = maker.runs(options)
    except ValueError as error:  # no recordings, no MNIST
        pytest.skip(f"the runs cannot be planned here: {error}")
    if any("MNIST-5k" in json.dumps(run.config) for run in planned):
        pytest.skip("MNIST is not at hand: these would be other runs")
    monkeypatch.setattr(type(maker), "make", lambda *_: pytest.fail("made again"))
    for _ in range(2):
        assert command(task, options) == 0
        said = capsys.readouterr()
        assert said.err.count("known: ") == len(planned)
        assert said.out.startswith(written(task).read_text()[:1000])
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/*.json")} == before
    assert not (tmp_path / "runs").exists()
    again = tmp_path / task.name / written(task).name
    assert again.read_bytes() == written(task).read_bytes()


@EVERY
def test_a_worker_gets_the_task_as_it_is(task):
    job = partial(make, owner(task), None, command="-")
    there = pickle.loads(pickle.dumps(job))
    assert type(there.args[0]) is type(owner(task))
    assert isinstance(task.options(), Options)


def test_names_are_folders_of_their_own():
    names = [task.name for task in TASKS]
    assert len(set(names)) == len(names)
