"""Figure 3 is drawn from its record only; the race to 98 % is measured and recorded."""

from dataclasses import replace

import pytest
import torch

from benchmarks import figure3, record
from benchmarks.figure3 import Figure3
from benchmarks.speed import time_to_accuracy
from benchmarks.speed.time_to_accuracy import TimeToAccuracy
from benchmarks.table1.rank_coded_rows import StepNetwork
from benchmarks.table1.rows import Recipe, known_rows
from encoders.mnist import Digits, embedded_digits
from encoders.temporal_mnist import take
from rc_snn.training import TrainConfig


@pytest.fixture
def few(monkeypatch) -> Digits:
    """The embedded digits, fewer of them, for every job."""
    whole = embedded_digits()
    part = torch.randperm(len(whole.train.labels), generator=torch.Generator().manual_seed(0))
    digits = replace(
        whole, train=take(whole.train, part[:240]), test=take(whole.test, torch.arange(60))
    )
    for job in (figure3, time_to_accuracy):
        monkeypatch.setattr(job, "load_mnist", lambda data: digits)
    monkeypatch.setattr(figure3, "digits_of", lambda name, data: digits)
    return digits


def test_figure3_is_drawn_from_its_record_and_training_it_switches_beta(few, tmp_path, monkeypatch):
    options = Figure3(profile="quick", results=tmp_path, runs=tmp_path / "runs")
    with pytest.raises(ValueError, match=r"has no record .* Add --train"):
        figure3.main(options)
    small = replace(figure3.run_of(options, few, 0), model=StepNetwork("lstm", 8, forget_bias=3.0))
    monkeypatch.setattr(figure3, "run_of", lambda *_: small)
    assert figure3.main(replace(options, train=True)) == 0
    [made] = record.read_all(tmp_path / "figure3")
    assert made.benchmark == "figure3"
    betas = [row["beta"] for row in made.training["history"]]
    assert betas == [0.165] * 3 + [0.0] * 3
    [picture] = (tmp_path / "figure3").glob("*.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    picture.unlink()
    monkeypatch.setattr(figure3, "make", lambda *_: pytest.fail("the record was not used"))
    assert figure3.main(replace(options, train=True)) == 0
    assert picture.exists()


def test_the_race_records_both_recipes_and_says_when_the_accuracy_was_not_reached(
    few, tmp_path, monkeypatch, capsys
):
    recipe = Recipe(
        StepNetwork("lstm", 8), TrainConfig(epochs=1, select="fast"), polarity="dark_first"
    )
    monkeypatch.setitem(known_rows()["rc-lstm-fast"].recipes, "paper", {"tuned": recipe})
    threads = torch.get_num_threads()
    options = TimeToAccuracy(limit_minutes=0.0, threads=1, results=tmp_path)
    assert time_to_accuracy.main(options) == 0
    torch.set_num_threads(threads)
    made = record.read_all(tmp_path / "time_to_accuracy")
    assert {r.config["recipe"] for r in made} == {"ours", "authors"}
    for r in made:
        assert not r.metrics["reached"]
        assert r.metrics["epochs"] == len(r.training["history"]) == 1
    assert capsys.readouterr().out.count("NOT reached") == 2
    assert time_to_accuracy.reached({"accuracy": 0.98, "mean_step": 0.49}, 0.98)
    assert not time_to_accuracy.reached({"accuracy": 0.98, "mean_step": 0.5}, 0.98)
