"""What the exchange of spikes is measured by: rates of programs that do what they are named for."""

import json
from dataclasses import replace

import pytest

from benchmarks import record
from benchmarks.speed import exchange
from benchmarks.speed.exchange import ExchangeOptions
from benchmarks.task import command


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> ExchangeOptions:
    options = ExchangeOptions(
        train=True,
        steps=(3, 7),
        cells=420,
        units=10,
        repeats=5,
        threads=None,
        results=tmp_path_factory.mktemp("results"),
    )
    assert command(exchange.TASK, options) == 0
    return options


def test_every_unit_spikes_once_in_as_many_samples_as_fill_the_tensor(options):
    [done] = exchange.TASK.find(options)
    sizes = [(g["n_steps"], g["samples"], g["spikes"]) for g in done.metrics["grids"]]
    assert sizes == [(3, 14, 140), (7, 6, 60)]


def test_rates_are_ordered_and_both_ways_together_are_slower_than_either(options):
    [done] = exchange.TASK.find(options)
    for grid in done.metrics["grids"]:
        rates = grid["per_second"]
        assert {"from tensor", "to tensor", "save HDF5", "load npz"} < set(rates)
        for rate in rates.values():
            low, high = rate["quartiles"]
            assert 0 < low <= rate["median"] <= high
        both = rates["tensor and back"]["median"]
        assert both < min(rates[way]["quartiles"][1] for way in ("from tensor", "to tensor"))
        assert grid["memory"] == {}, "of so few events the system shows nothing"


def test_the_text_says_of_each_target_whether_it_is_met(options):
    [done] = exchange.TASK.find(options)

    def with_first(rate: float, memory: dict) -> record.Record:
        metrics = json.loads(json.dumps(done.metrics))
        metrics["grids"][0]["per_second"]["tensor and back"]["median"] = rate
        metrics["grids"][0]["memory"] = memory
        return replace(done, metrics=metrics)

    for rate, word in ((10e6, "met"), (9.99e6, "MISSED")):
        said = exchange.text(with_first(rate, {}))
        assert f"asked at T=3: 10 M events/s, tensor and back: {word}" in said
        assert "asked: memory" not in said
    for share, word in ((3.0, "met"), (3.01, "MISSED")):
        said = exchange.text(with_first(1.0, {"from tensor": share}))
        assert f"asked: memory within 3 x the events: {word}" in said
        assert f"{share:.2f} x the events' memory" in said


def test_the_peak_is_what_a_program_adds_while_it_runs():
    """Also in a process where as much lies free: blocks of the heap that were let go."""
    size = 2**26
    blocks = [bytearray(100_000) for _ in range(2 * size // 100_000)]
    above = bytearray(100_000)  # without it the heap would shrink by itself
    del blocks
    peak = exchange.peak_bytes(lambda: bytearray(size))
    assert peak == pytest.approx(size, rel=0.05)
    assert len(above) == 100_000
