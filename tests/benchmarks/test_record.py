"""Records: round trip, provenance, and files that are not ours."""

import json
import os
import re
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import record

CONFIG = {"row": "rc-lstm-fast", "train": {"seed": 0, "beta": 0.1}, "polarity": ["a"]}


def a_record(config=CONFIG) -> record.Record:
    name = f"quick_{record.config_key(config)}"
    return record.new_record(
        "table1", name, config, {"accuracy": 0.5}, {"history": []}, 1.25, record.source()
    )


def test_a_record_comes_back_as_it_was_written(tmp_path):
    written = a_record()
    path = record.save(written, tmp_path)
    assert record.read(path) == written
    assert record.read_all(tmp_path) == [written]
    assert not list(tmp_path.glob("*.partial"))


def test_a_record_says_where_it_comes_from():
    made = a_record()
    assert len(made.commit) == 40 or made.commit == "unknown"
    assert set(made.versions) == {"python", *record.PACKAGES}
    assert made.machine["cores"] >= 1
    assert made.command.startswith("python -m benchmarks.table1")


def test_the_key_depends_on_every_value_and_not_on_the_order():
    key = record.config_key(CONFIG)
    assert record.config_key(dict(reversed(CONFIG.items()))) == key
    assert record.config_key(CONFIG | {"row": "other"}) != key
    assert record.config_key(CONFIG | {"train": {"seed": 1, "beta": 0.1}}) != key


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text[:40], "cannot be read as JSON"),
        (lambda text: "[1, 2]", "is not a record of the format"),
        (lambda text: text.replace("rc_snn.record/1", "rc_snn.record/9"), "is not a record"),
        (lambda text: text.replace('"seconds"', '"second"'), "lacks or adds a field"),
        (lambda text: text.replace('"beta": 0.1', '"beta": 0.2'), "does not belong to its config"),
        (lambda text: json.dumps(json.loads(text) | {"metrics": 3}), "metrics that is no object"),
        (
            lambda text: json.dumps(json.loads(text) | {"training": []}),
            "training that is no object",
        ),
        (lambda text: json.dumps(json.loads(text) | {"name": 5}), "name that is no text"),
        (
            lambda text: json.dumps(json.loads(text) | {"seconds": "9"}),
            "seconds that are no number",
        ),
        (lambda text: json.dumps(json.loads(text) | {"dirty": "no"}), "dirty that is no truth"),
        (lambda text: text.replace("0.1", "NaN"), "cannot be read as JSON"),
        (lambda text: text.replace("0.1", "1e999"), "cannot be read as JSON"),
        (lambda text: text.replace("{", '{"name": "a", ', 1), "says something twice"),
        (lambda text: '{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "cannot be read as JSON"),
        (lambda text: text + "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "JSON"),
        (lambda text: text + " " * 2**24, "at most 16777216 are expected"),
    ],
)
def test_files_that_are_not_ours_are_reported_skipped_and_never_overwritten(
    tmp_path, capsys, damage, reason
):
    good = a_record()
    other = a_record(CONFIG | {"row": "other"})
    record.save(other, tmp_path)
    path = record.save(good, tmp_path)
    path.write_text(damage(path.read_text()))
    before = path.read_bytes()
    assert record.read_all(tmp_path) == [other]
    message = capsys.readouterr().err
    assert str(path) in message
    assert reason in message
    with pytest.raises(ValueError, match="left as it is"):
        record.save(good, tmp_path)
    assert path.read_bytes() == before


def test_what_is_no_file_and_what_may_not_be_read_is_reported_and_skipped(tmp_path, capsys):
    good = a_record()
    record.save(good, tmp_path)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "binary.json").write_bytes(bytes(range(256)))
    assert record.read_all(tmp_path) == [good]
    skipped = [line.split(" ")[1] for line in capsys.readouterr().err.splitlines()]
    names = ("binary", "folder", "gone", "pipe")
    assert skipped == [str(tmp_path / f"{name}.json") for name in names]


def test_a_renamed_record_is_not_taken_for_another_run(tmp_path, capsys):
    path = record.save(a_record(), tmp_path)
    path.rename(tmp_path / "copy.json")
    assert record.read_all(tmp_path) == []
    assert "edited, renamed or damaged" in capsys.readouterr().err


def test_values_that_json_cannot_hold_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.save(replace(a_record(), metrics={"accuracy": float("nan")}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_dirty_by_changed_code_and_not_by_rewritten_results(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "CHECKOUT", tmp_path.resolve())
    assert record.source() == record.Source("unknown", None)
    code = tmp_path / "rc_snn" / "code.py"
    made = tmp_path / "results" / "table.md", tmp_path / "rc_snn" / "weights" / "net"
    for path in (code, *made):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n")

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "begin")
    for path in made:
        path.write_text("2\n")
    assert record.source().dirty is False
    code.write_text("2\n")
    assert record.source().dirty is True


def test_somebody_elses_repository_is_not_our_commit(tmp_path, monkeypatch):
    theirs = tmp_path.resolve()
    subprocess.run(["git", "init", "-q"], cwd=theirs, check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    (theirs / "own.txt").write_text("1")
    subprocess.run(["git", "add", "."], cwd=theirs, check=True)
    subprocess.run(["git", *identity, "commit", "-qm", "theirs"], cwd=theirs, check=True)
    monkeypatch.setattr(record, "CHECKOUT", None)  # installed: nothing here is ours
    assert record.source() == record.Source("unknown", None)
    (theirs / "vendor").mkdir()
    monkeypatch.setattr(record, "CHECKOUT", theirs / "vendor")  # a copy within their repository
    assert record.source() == record.Source("unknown", None)
    monkeypatch.setattr(record, "CHECKOUT", theirs)
    assert re.fullmatch("[0-9a-f]{40}", record.source().commit)


def test_a_checkout_is_known_by_its_name_in_pyproject(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "__file__", str(tmp_path / "benchmarks" / "record.py"))
    assert record._checkout() is None
    for content, found in (
        ("[project]\nname = 'theirs'\n", None),
        ("not toml [", None),
        ("[project]\nname = 'rc_snn'\n", tmp_path.resolve()),
    ):
        (tmp_path / "pyproject.toml").write_text(content)
        assert record._checkout() == found


def test_nothing_is_written_over_that_we_did_not_write(tmp_path):
    folder, path = tmp_path / "task", tmp_path / "task.md"
    record.check_ours(path, folder, "**Table 1**")  # nothing is there
    path.write_text("my own table\n")
    with pytest.raises(ValueError, match=r"not a file that rc_snn wrote.*--results"):
        record.check_ours(path, folder, "**Table 1**")
    with pytest.raises(ValueError, match="Move it away"):
        record.check_ours(path, folder)  # a figure, say
    record.save(a_record(), folder)
    with pytest.raises(ValueError, match="not a file that rc_snn wrote"):
        record.check_ours(path, folder, "**Table 1**")  # beside records, but it begins otherwise
    path.write_text("**Table 2, an older one**\n")
    record.check_ours(path, folder, "**Table 1**")
    record.check_ours(path, folder)


def test_the_command_of_a_record_is_what_was_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["somewhere", "--seeds", "1", "2"])
    spec = types.SimpleNamespace(name="benchmarks.keywords.__main__")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    assert record.command_line("peers") == "python -m benchmarks.keywords --seeds 1 2"
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # a notebook, a test
    assert record.command_line("peers") == "python -m benchmarks.peers"


def test_an_installed_package_reads_what_it_ships_beside_what_the_user_has(tmp_path, monkeypatch):
    """The user's own record of a name is the one; elsewhere nothing is ours; nor in a checkout."""
    results, shipped = tmp_path / "results", tmp_path / "records"
    for root, names in ((results, ("b", "c")), (shipped, ("a", "b"))):
        for name in names:
            path = root / "table1" / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
    monkeypatch.setattr(record, "SHIPPED", shipped)
    monkeypatch.setattr(record, "RESULTS", results)
    here, there = results / "table1", shipped / "table1"
    assert record.paths(here) == [here / "b.json", here / "c.json"]
    monkeypatch.setattr(record, "CHECKOUT", None)
    assert record.paths(here) == [there / "a.json", here / "b.json", here / "c.json"]
    assert record.place(here / "a.json") == there / "a.json"
    assert record.place(here / "d.json") == here / "d.json"
    assert record.named("a", results) == [there / "a.json"]
    assert record.named("b", results) == [here / "b.json"]
    assert record.paths(tmp_path / "elsewhere" / "table1") == []
    monkeypatch.chdir(tmp_path)
    assert record.paths(Path("results/table1"))[0] == there / "a.json"
