"""What is checked in of the tasks is what their records say."""

import re
import zipfile
from pathlib import Path

import pytest
from benchmarks.tasks import TaskOptions, find

from benchmarks import figure4, figure5, listen, record, task_tables
from benchmarks.figure1 import spotting
from benchmarks.figure1 import task as figure1
from benchmarks.keywords import peers, peers_report
from benchmarks.keywords import task as keywords
from benchmarks.keywords.task import KeywordOptions
from benchmarks.listen import Listen
from benchmarks.nmnist import task as nmnist
from benchmarks.nmnist.event_digits import runs as nmnist_runs
from benchmarks.nmnist.task import EventDigits
from encoders.fetch import DataError
from encoders.speech_commands import find_recordings

TEXTS = {
    "figure1": lambda: figure1.text(find(spotting.runs(TaskOptions()), TaskOptions())),
    "figure4": lambda: figure4.report(keywords.records(KeywordOptions())),
    "figure5": lambda: figure5.report(keywords.records(KeywordOptions())),
    "peers": lambda: peers_report.report(peers.find(record.RESULTS / "peers", "paper", (0, 1, 2))),
    "nmnist": lambda: nmnist.table(find(nmnist_runs(EventDigits()), EventDigits())),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_checked_in_text_is_that_of_its_records(name):
    path = record.RESULTS / name / f"{name}.txt"
    assert path.read_text().strip() == TEXTS[name]().strip(), f"run python -m benchmarks.{name}"
    assert path.with_suffix(".png").exists()


@pytest.mark.parametrize("task", ["figure1", "figure2", "keywords", "peers", "nmnist"])
def test_checked_in_records_are_sound_and_made_from_a_clean_tree(task):
    paths = sorted((record.RESULTS / task).glob("*.json"))
    assert paths
    for path in paths:
        known = record.read(path)
        assert not isinstance(known, str), f"{path} {known}"
        assert known.dirty is False, path
        assert known.benchmark == task or task == "figure2", path


def test_the_readmes_block_names_published_values_beside_ours():
    block = task_tables.block(record.RESULTS)
    for published in ("95.45 at 14", "96.32 at 23", "96.84 at 40", "89 at 14"):
        assert published in block
    assert len(re.findall(r"^- .*\(paper: .*: (?:met|MISSED)$", block, re.MULTILINE)) == 4


def test_the_network_that_ships_is_the_one_of_its_record():
    from encoders.keyword_network import load_network

    net = load_network(keywords.SHIPPED_AS)
    [found] = [r for r in keywords.records(KeywordOptions()) if r.name == net.record]
    train = found.config["train"]
    assert (train["method"], train["beta"], train["seed"]) == keywords.SHIPPED
    assert net.measured == {key: found.metrics[key] for key in net.measured}
    assert list(net.classes) == found.config["data"]["classes"]


def test_the_readmes_demonstration_prints_what_it_says(tmp_path, monkeypatch, capsys):
    try:
        recordings = find_recordings("test", download=False)
    except DataError:
        pytest.skip("Speech Commands is not at hand")
    if recordings.path.name != "test.zip":
        pytest.skip("the demonstration is a clip of the subset in three zip files")
    name = "stop/0cb74144_nohash_0.ogg"
    with zipfile.ZipFile(recordings.path) as packed:
        (tmp_path / "stop.ogg").write_bytes(packed.read(name))
    monkeypatch.chdir(tmp_path)
    assert listen.main(Listen(clips=(Path("stop.ogg"),))) == 0
    readme = (record.HOME / "README.md").read_text()
    assert name in readme
    shown = "\n".join(f"    {line}" for line in capsys.readouterr().out.splitlines())
    assert shown in readme
