"""Every reader, given damaged files, reads what was written or refuses; nothing else happens."""

import os
import zlib

import pytest

from tests.fuzz import engine, table
from tests.fuzz.engine import Reader, fuzz
from tests.fuzz.readers import READERS


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("n", [5, pytest.param(250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", sorted(READERS))
def test_a_reader_refuses_what_is_damaged(name, n, tmp_path):
    outcome = fuzz(READERS[name], n, tmp_path, seed=1)
    assert outcome.n == outcome.counts.total() == n
    assert not outcome.failures, outcome.failures[:5]


def _bad(path):
    """Fail in a way that the content chooses."""
    content = path.read_bytes()
    kind = 15 if content == bytes(range(64)) else zlib.crc32(content) % 16
    if kind == 1:
        raise KeyError("spikes")
    if kind == 2:
        os._exit(3)
    if kind == 3:
        while True:
            pass
    if kind == 4:
        return b"x" * (engine.MEMORY + 50_000_000)
    if kind < 8:
        raise ValueError("A message that says what is wrong.")
    return content


@pytest.mark.slow
def test_the_watchdog_sees_every_kind_of_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "CPU_S", 1.0)

    def seeds(folder):
        path = folder / "a.bin"
        path.write_bytes(bytes(range(64)))
        return [path]

    outcome = fuzz(Reader("bad", seeds, _bad, content=len), 60, tmp_path)
    assert outcome.counts.total() == 60
    missing = {*engine.FAILURES, "read", "refused"} - set(outcome.counts)
    assert not missing, outcome.counts


def test_a_damaged_file_is_the_same_for_the_same_seed(tmp_path):
    reader = READERS["stream-npz"]
    (tmp_path / "seeds").mkdir()
    seeds = reader.seeds(tmp_path / "seeds")
    some = [engine.example(reader, seeds, 0, i)[1] for i in range(50)]
    assert some == [engine.example(reader, seeds, 0, i)[1] for i in range(50)]
    assert some != [engine.example(reader, seeds, 1, i)[1] for i in range(50)]


def test_the_page_shows_the_records(tmp_path):
    text = table.PAGE.read_text()
    assert table.page(text) == text, "python -m tests.fuzz --record writes it"
