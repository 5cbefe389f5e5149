"""Accuracy against decision time: what is drawn is what the records say."""

from dataclasses import replace

import pytest
from matplotlib.axes import Axes

from benchmarks import record
from benchmarks.table1 import accuracy_time, tradeoff
from benchmarks.table1.table import groups, paper_records
from benchmarks.table1.tradeoff import TEMPERATURES, WINDOWS, Curve, Tradeoff
from benchmarks.task import command
from encoders.mnist import embedded_digits


def rank_coded(*points: tuple[float, float]) -> Curve:
    return Curve("RC", True, list(points))


def test_at_each_time_the_best_earlier_point_of_either_side_counts():
    found = [
        rank_coded((0.09, 0.97), (0.4, 0.96)),
        rank_coded((0.3, 0.98)),
        Curve("ReL", False, [(0.45, 0.975), (1.1, 0.985)]),
    ]
    lines = {line.split()[0]: line.split(maxsplit=3)[1:] for line in tradeoff.ahead(found)[1:]}
    assert lines["0.05"] == ["—", "—", "—"]
    assert lines["0.1"] == ["97.00", "—", "rank coding"]
    assert lines["0.5"] == ["98.00", "97.50", "rank coding"], "later and worse points do not count"
    assert lines["1.25"] == ["98.00", "98.50", "first spikes"]


def test_one_run_for_each_temperature_and_nothing_else_differs():
    runs = tradeoff.temperature_runs(Tradeoff(epochs=3), embedded_digits())
    assert tuple(c.train.temperature for c in runs) == TEMPERATURES
    same = {replace(c, train=replace(c.train, temperature=1.0)) for c in runs}
    assert len(same) == 1
    [one] = same
    assert (one.train.epochs, one.train.select, one.row) == (3, "any", "rel-psp-340-slow")


def test_one_mapped_network_for_each_deadline_and_polarity_and_nothing_else_differs():
    runs = tradeoff.deadline_runs(Tradeoff(epochs=3), embedded_digits())
    assert [(r.polarity, r.train.deadline) for r in runs] == [
        (p, d) for p in ("dark_first", "bright_first") for d in WINDOWS
    ]
    same = {
        replace(r, train=replace(r.train, deadline=1.0), polarity="dark_first", zero_pixels="last")
        for r in runs
    }
    [one] = same
    assert (one.train.epochs, one.recipe, one.augment) == (3, "mapped", "bicubic affine")


def test_the_checked_in_curves_are_those_of_the_records(tmp_path):
    folder = record.RESULTS / "tradeoff"
    records = record.read_all(folder)
    found = tradeoff.curves(records)
    assert {c.rank_coded for c in found} == {True, False}
    for curve in found:
        times = [t for t, _ in curve.points]
        assert times == sorted(times)
        assert all(0.0 < t and 0.5 < a < 1.0 for t, a in curve.points), curve.label
    assert (folder / "tradeoff.txt").read_text() == "\n".join(tradeoff.ahead(found)) + "\n"
    tradeoff.draw(found, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_every_line_of_the_table_is_a_point_of_the_figure(tmp_path, monkeypatch):
    records = paper_records(record.RESULTS / "table1")
    lines = groups(records)
    assert sum(len(group) for _, group in lines) == len(records)
    seen = []
    draw = Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda *a, **k: seen.append(a[1:3]) or draw(*a, **k))
    accuracy_time.draw(records, tmp_path / "figure.png")
    assert len(seen) == 3 * len(lines)
    wanted, chosen_by_test = set(), 0
    for _, group in lines:
        held_out = [r.metrics["accuracy"] for r in group if r.config["protocol"] == "held-out"]
        by_test = [r.metrics["accuracy"] for r in group if r.config["protocol"] == "paper"]
        chosen_by_test += len(by_test)
        shown = held_out or by_test
        wanted.add(round(100 * sum(shown) / len(shown), 6))
    assert chosen_by_test, "such runs are there, and no part of a mean"
    assert {round(y.item(), 6) for _, y in seen} == wanted


def test_without_records_the_remedy_is_named(tmp_path):
    with pytest.raises(ValueError, match="tradeoff --train"):
        command(tradeoff.TASK, Tradeoff(results=tmp_path))
    with pytest.raises(ValueError, match="holds no records"):
        accuracy_time.main(accuracy_time.AccuracyTime(results=tmp_path))
