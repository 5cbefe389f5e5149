"""The comparison of `benchmarks.anytime`: what is planned, measured, said of claims, and drawn."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.anytime import report
from benchmarks.anytime import task as anytime
from benchmarks.anytime.measure import THETAS, effort, measure
from benchmarks.anytime.settings import SETTINGS, Setting
from benchmarks.anytime.task import AnytimeOptions
from benchmarks.figure2.frontier import Frontier
from benchmarks.methods import ANYTIME, TITLES, method_name, variant
from benchmarks.record import Record, beginning
from benchmarks.run import Data, TaskModel, TaskRun
from benchmarks.task import command
from rc_snn.sequences import DenseSequences, Labelled
from rc_snn.training import TrainConfig

T, K = 6, 3


def test_methods_differ_in_what_they_are_called_after_and_in_nothing_else():
    base = TrainConfig(epochs=7, lr=0.5, beta=0.0)
    made = {name: variant(base, name, low=0.4, high=0.9) for name in TITLES}
    assert [method_name(train) for train in made.values()] == list(TITLES)
    assert made["random_theta"] == replace(base, theta_low=0.4, theta_high=0.9)
    assert made["random_theta_prefix"] == replace(made["random_theta"], prefix=1.0)
    assert made["rc"] == base
    assert made["every_step"] == replace(base, method="every_step")
    assert method_name({"method": "rc", "theta": 0.95}) == "rc", "records before these options"


def test_every_data_set_has_every_method_for_each_of_its_seeds():
    sets = tuple(s.name for s in SETTINGS)
    runs = anytime.runs(AnytimeOptions(sets=sets, seeds=(0, 1, 2, 3, 4)))
    assert len({run.name for run in runs}) == len(runs) == 5 * sum(len(s.seeds) for s in SETTINGS)
    for setting in SETTINGS:
        mine = [r for r in runs if r.data["setting"] == setting.name]
        assert {method_name(r.train) for r in mine} == set(ANYTIME)
        assert {r.train.seed for r in mine} == set(setting.seeds)
        alike = [
            replace(r.train, method="rc", theta_low=None, theta_high=None, prefix=0.0, seed=0)
            for r in mine
        ]
        assert len(set(alike)) == 1, "epochs, rate and choice are alike"
        drawn = next(r.train for r in mine if r.train.theta_low is not None)
        assert (drawn.theta_low > 0.5) == (mine[0].model.n_classes == 2)


def drawn(seed: int, n: int) -> tuple[Tensor, Tensor]:
    """Logits whose right class grows with the step, and labels."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(K, (n,), generator=g)
    logits = torch.randn(T, n, K, generator=g)
    logits[:, torch.arange(n), labels] += torch.arange(T)[:, None] * 0.8
    return logits, labels


def measured(labels_of_test: Tensor | None = None) -> dict:
    validation, test = drawn(0, 60), drawn(1, 80)
    clock = 20.0 * torch.arange(1, T + 1, dtype=torch.float64)
    own = test[1] if labels_of_test is None else labels_of_test
    return measure(*validation, test[0], own, clock, (20.0, 60.0, 120.0))


def test_accuracies_are_those_of_the_threshold_that_validation_chooses():
    """θ by brute force: each threshold that there is, on both splits."""
    (z, y), (test, labels) = drawn(0, 60), drawn(1, 80)
    found, clock = measured(), [20.0 * (t + 1) for t in range(T)]

    def point(z: Tensor, y: Tensor, odds: float) -> tuple[float, float]:
        p = torch.softmax(z.double(), -1).amax(-1)
        reached = torch.logit(p) >= odds
        step = torch.where(reached.any(0), reached.int().argmax(0), T - 1)
        right = z.argmax(-1)[step, torch.arange(len(y))] == y
        return float(20.0 * (step + 1).double().mean()), float(right.double().mean())

    limits = [-torch.inf, *torch.logit(torch.softmax(z.double(), -1).amax(-1)).flatten().tolist()]
    points = [(point(z, y, limit), point(test, labels, limit)) for limit in limits]
    for budget, said in zip(clock, found["rows"]["θ"]["accuracy"], strict=True):
        inside = [(v[1], -v[0], t) for v, t in points if t[0] <= budget + 1e-9]
        best = max(accuracy for accuracy, _, _ in inside)
        assert any(said == pytest.approx(t[1]) for a, _, t in inside if a == best)
    assert found["rows"]["θ"]["area"] == pytest.approx(
        sum(found["rows"]["θ"]["accuracy"]) / T, abs=1e-12
    )
    at = dict(zip(clock, found["rows"]["θ"]["accuracy"], strict=True))
    assert found["rows"]["θ"]["at"] == pytest.approx([at[20.0], at[60.0], at[120.0]])
    assert len(found["curve"]["theta"]) == len(THETAS) == len(found["curve"]["accuracy"])


def test_the_labels_of_the_test_set_choose_nothing():
    one, other = measured(), measured(torch.zeros(80, dtype=torch.long))
    assert one["curve"]["mean_step"] == other["curve"]["mean_step"]
    assert one["curve"]["validation_accuracy"] == other["curve"]["validation_accuracy"]
    assert one["rows"]["θ"]["area"] != other["rows"]["θ"]["area"]


def test_the_effort_is_steps_of_all_samples_in_all_epochs():
    history = [
        {"train_mean_step": 4.0, "train_seconds": 2.0},
        {"train_mean_step": 1.0} | {"train_seconds": 1.5},
    ]
    assert effort(history, n=10) == {"epochs": 2, "steps": 70.0, "seconds": 3.5}


def made(setting: str, method: str, seed: int, area: float, steps: float = 100.0) -> Record:
    """A record of a network that is equally accurate within every mean time."""
    config = variant(TrainConfig(), method)  # type: ignore[arg-type]
    row = {"area": area, "at": [area] * 5, "accuracy": [area] * 4}
    curve = {"theta": [0.5, 0.9, 0.99], "mean_step": [0.1, 1.0, 3.0]}
    curve |= {"accuracy": [0.6, 0.7, 0.8], "validation_accuracy": [0.5, 0.6, 0.9]}
    return Record(
        benchmark="anytime",
        name="r",
        config={
            "profile": "paper",
            "data": {"setting": setting},
            "train": {**config.__dict__, "seed": seed},
        },
        metrics={
            "n_test": 10,
            "n_validation": 5,
            "clock": [0.0, 1.0, 2.0, 3.0],
            "rows": {"θ": row, "patience": row},
            "curve": curve,
            "effort": {"epochs": 1, "steps": steps, "seconds": 1.0},
        },
        training={},
        seconds=1.0,
        command="",
        commit="",
        dirty=False,
        versions={},
        machine={},
        created="",
    )


def test_claims_are_judged_by_paired_differences_of_areas():
    words = [
        made("keywords", method, seed, base + 0.01 * seed, steps)
        for seed in (0, 1, 2)
        for method, base, steps in (
            ("rc", 0.70, 60.0),
            ("random_theta", 0.745, 40.0),
            ("every_step", 0.76, 100.0),
            ("random_theta_prefix", 0.756, 45.0),
        )
    ]
    said = report.text(words)
    assert "(a) keywords, random θ - RC >= 4 points of area: +4.50 ±0.00 (3 seeds); met" in said
    assert "-0.40 ±0.00 (3 seeds) at 45 %; met" in said
    dear = [
        made("keywords", r, 0, a, steps)
        for r, a, steps in (("every_step", 0.76, 100.0), ("random_theta_prefix", 0.756, 51.0))
    ]
    assert "-0.40 (one seed) at 51 %; NOT MET" in report.text(dear)


def test_regimes_are_entered_by_the_threshold_that_validation_chooses():
    """Mean steps of 0.1, 1 and 3 of 4: fast, neither nor (25 % is not slow), slow."""
    said = report.text([made("mnist-dark", "random_theta", 0, 0.7)])
    other = report.text([made("keywords", "random_theta", 0, 0.7)])
    assert beginning(said) == beginning(other), "one may be written over the other"
    assert "fast (< 5 %) 60.00 %, slow (> 25 %) 80.00 %" in said


def test_the_distance_to_the_limit_is_the_mean_over_all_mean_times():
    limit = Frontier((0.0, 4.0), (0.5, 0.9))  # 0.5, 0.6, 0.7, 0.8 at the four steps
    assert report.below_limit(made("spotting", "rc", 0, 0.45), limit) == pytest.approx(20.0)


@pytest.mark.slow
def test_a_data_set_is_learned_measured_tabulated_and_drawn(tmp_path, monkeypatch, capsys):
    def task(seed: int, n: int) -> Labelled:
        logits, labels = drawn(seed, n)
        return Labelled(DenseSequences(logits), labels)

    plan = TaskRun(
        "anytime", "paper", {"setting": "tiny"}, TaskModel(K, 8, K), TrainConfig(epochs=1)
    )
    tiny = Setting(
        name="tiny",
        title="tiny",
        at=(0.0, 1.0, 2.0, 3.0, 5.0),
        plan=lambda options: replace(plan, train=replace(plan.train, epochs=2, lr=0.01, beta=0.0)),
        data=lambda run, options: Data(task(0, 64), task(1, 32), task(2, 40)),
        seeds=(0, 1),
        limit=lambda results: Frontier((0.0, 5.0), (0.5, 1.0)),
    )
    monkeypatch.setitem(anytime._OF, "tiny", tiny)
    monkeypatch.setitem(report.ABOUT, "tiny", ("tiny", "steps", tiny.at))
    monkeypatch.setitem(report.LIMITS, "tiny", tiny.limit)
    options = AnytimeOptions(
        train=True, sets=("tiny",), results=tmp_path / "results", runs=tmp_path / "runs"
    )
    assert command(anytime.TASK, options) == 0
    said = capsys.readouterr().out
    assert "tiny, points of area below the exact limit: EOS" in said
    assert (tmp_path / "results" / "anytime" / "anytime.png").stat().st_size > 10_000
    records = anytime.TASK.find(options)
    assert len(records) == 10
    for r in records:
        steps = r.metrics["effort"]["steps"]
        full = 2 * 64 * T
        assert (
            steps == full
            if method_name(r.config["train"]) in ("eos", "every_step")
            else steps <= full
        )
    assert any("tiny" in line for line in report.markdown(records))


def test_unknown_data_sets_are_refused_by_name():
    with pytest.raises(ValueError, match=r"sets must be of keywords, nmnist, .*; got mnist"):
        AnytimeOptions(sets=("mnist",))


def test_without_records_it_says_how_to_make_them(tmp_path):
    with pytest.raises(ValueError, match=r"benchmarks\.anytime --train"):
        anytime.TASK.find(AnytimeOptions(results=tmp_path))
