"""Early classification on UCR and UEA sets: rows, choices, peers and table."""

import copy
import re
from dataclasses import replace
from statistics import mean, stdev

import pytest
import torch
from matplotlib.axes import Axes
from torch import Tensor

from benchmarks import record
from benchmarks.early import peers, report, task
from benchmarks.early.peers import Answers
from benchmarks.early.task import EarlyOptions, Heard, best, measure, stopped
from benchmarks.task import command
from encoders.ucr import load_ucr
from rc_snn import exits

T, K = 12, 3


def heard(n: int, seed: int) -> Heard:
    """Return what a network says that finds out the class, mostly."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(K, (n,), generator=g)
    onset = 8 * torch.rand(n, generator=g)
    known = 0.8 * (torch.arange(T).unsqueeze(1) - onset).clamp(0).unsqueeze(2)
    noise = torch.randn(T, n, K, generator=g, dtype=torch.float64)
    logits = known * torch.nn.functional.one_hot(labels, K) + noise
    return Heard(logits, labels, torch.randint(6, T + 1, (n,), generator=g))


def slow_row(label: Tensor, step: Tensor, of: Heard) -> dict[str, float]:
    """Return a row by its definitions, series by series."""
    n = len(label)
    right = [int(label[i]) == int(of.labels[i]) for i in range(n)]
    read = [min(int(step[i]) + 1, int(of.length[i])) / int(of.length[i]) for i in range(n)]
    recalls = [mean(right[i] for i in range(n) if of.labels[i] == k) for k in range(K)]
    accuracy, early = sum(right) / n, sum(read) / n
    return {
        "accuracy": accuracy,
        "macro_recall": mean(recalls),
        "earliness": early,
        "harmonic_mean": 2 * accuracy * (1 - early) / (accuracy + 1 - early),
        "average_cost": 1 - accuracy + task.ALPHA * early,
        "early_and_wrong": sum(int(step[i]) < T - 1 and not right[i] for i in range(n)) / n,
    }


def test_a_row_is_its_definitions_series_by_series():
    test = heard(80, 1)
    answers = test.answer(exits.log_odds(test.logits), 1.0)
    assert test.row(answers) == pytest.approx(slow_row(*answers, test))


@pytest.mark.parametrize("metric", ["average_cost", "harmonic_mean"])
def test_the_threshold_is_the_best_that_there_is_on_validation_series(metric):
    validation = heard(40, 2)
    score = exits.log_odds(validation.logits)
    found = best(validation, score, metric)
    reached = validation.row(validation.answer(score, found))[metric]
    for limit in (*score.flatten().tolist(), float("inf"), -float("inf")):
        other = validation.row(validation.answer(score, limit))[metric]
        assert other >= reached if metric == "average_cost" else other <= reached


def test_rules_are_the_named_ones_and_none_is_chosen_by_test_labels():
    validation, test = heard(40, 2), heard(60, 3)
    one = stopped(validation, test)
    other = stopped(validation, test._replace(labels=test.labels.roll(1)))
    assert {k: r["earliness"] for k, r in one.items()} == {
        k: r["earliness"] for k, r in other.items()
    }
    assert one["whole series"]["earliness"] == 1.0
    p = torch.softmax(test.logits, dim=2).amax(dim=2)
    steps = [next((t for t in range(T) if p[t, i] >= 0.95), T - 1) for i in range(60)]
    fixed = torch.tensor(steps)
    label = test.logits[fixed, torch.arange(60)].argmax(dim=1)
    assert one["θ = 0.95"] == pytest.approx(slow_row(label, fixed, test))


def test_the_optimal_cutoff_has_the_accuracy_of_the_whole_series_and_is_not_later():
    validation, test = heard(40, 2), heard(60, 3)
    m = measure(validation, test)
    assert m["optimal_cutoff"]["accuracy"] == m["rows"]["whole series"]["accuracy"]
    assert m["optimal_cutoff"]["earliness"] < 1.0
    assert m["curve"]["earliness"] == sorted(m["curve"]["earliness"])


def test_prefixes_end_with_the_whole_series_and_start_no_shorter_than_allowed():
    for n_steps in (4, 24, 29, 150):
        found = peers.prefixes(n_steps)
        assert found[-1] == n_steps
        assert min(found) >= min(8, n_steps)
        assert found == sorted(set(found))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_peers_answer_as_aeon_scores_them():
    aeon = pytest.importorskip("aeon.classification.early_classification")
    forest = pytest.importorskip("aeon.classification.interval_based").TimeSeriesForestClassifier
    data = load_ucr("UnitTest", seed=1)
    found = dict(peers.answers(data, seed=0))
    assert list(found) == ["TEASER", "probability threshold 0.85"]
    parts = (data.train, data.validation)
    x = torch.cat([p.inputs.frames for p in parts], dim=1).permute(1, 2, 0).double().numpy()
    y = torch.cat([p.labels for p in parts]).numpy()
    for name, kind in zip(found, ("TEASER", "ProbabilityThresholdEarlyClassifier"), strict=True):
        peer = getattr(aeon, kind)(
            forest(n_estimators=peers.N_TREES),
            classification_points=peers.prefixes(data.n_steps),
            random_state=0,
        ).fit(x, y)
        test = data.test.inputs.frames.permute(1, 2, 0).double().numpy()
        harmonic, accuracy, earliness = peer.score(test, data.test.labels.numpy())
        ours = task.row(found[name], data.test.labels, data.test.length, data.n_steps)
        assert ours["accuracy"] == pytest.approx(accuracy)
        assert ours["earliness"] == pytest.approx(earliness)
        assert ours["harmonic_mean"] == pytest.approx(harmonic)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_run_is_made_once_and_found_again(tmp_path, capsys):
    pytest.importorskip("aeon")
    options = EarlyOptions(
        train=True,
        profile="quick",
        seeds=(0,),
        sets=("UnitTest",),
        results=tmp_path / "results",
        runs=tmp_path / "runs",
    )
    for said in ("-> ", "known: "):
        assert command(task.TASK, options) == 0
        assert said in capsys.readouterr().err
    [path] = (tmp_path / "results" / "early").glob("*.json")
    done = record.read(path)
    assert set(done.metrics["networks"]) == set(task.NETWORKS) == set(done.training)
    assert done.metrics["n"] == [14, 6, 22]


def test_without_aeon_a_run_says_what_to_install(tmp_path, monkeypatch, capsys):
    def missing(*_: object, **__: object) -> None:
        raise ImportError('pip install "rc_snn[aeon]"')

    monkeypatch.setattr(task, "load_ucr", missing)
    options = EarlyOptions(train=True, seeds=(0,), sets=("GunPoint",), results=tmp_path)
    assert command(task.TASK, options) == 1
    assert 'pip install "rc_snn[aeon]"' in capsys.readouterr().err


def test_networks_differ_in_the_method_and_only_rc_has_an_entropy_reward():
    [run] = task.runs(EarlyOptions(seeds=(4,), sets=("GunPoint",)))
    trainings = run.trainings()
    assert {c.method: c.beta for c in trainings.values()} == {
        "eos": 0.0,
        "every_step": 0.0,
        "rc": task.BETA,
    }
    common = {replace(c, method="eos", beta=0.0) for c in trainings.values()}
    assert len(common) == 1
    assert common.pop().seed == 4


def records(n: int = 3) -> list[record.Record]:
    """Return records of made-up networks and peers, one per seed."""
    found = []
    for run in task.runs(EarlyOptions(seeds=tuple(range(n)), sets=("GunPoint",))):
        seed = run.train.seed
        test = heard(60, 50 + seed)
        networks = {
            name: measure(heard(40, 10 * i + seed), heard(60, 20 * i + seed))
            for i, name in enumerate(task.NETWORKS)
        }
        answers = Answers(test.labels.roll(seed), torch.full((60,), seed))
        metrics = {
            "n": [28, 12, 60],
            "n_steps": T,
            "n_channels": 1,
            "classes": ["a", "b", "c"],
            "networks": networks,
            "peers": {
                name: task.row(answers, test.labels, test.length, T) for name in ("one", "two")
            },
        }
        source = record.Source("unknown", None)
        found.append(record.new_record("early", run.name, run.config, metrics, {}, 0.0, source))
    return found


@pytest.mark.slow
def test_the_table_says_what_the_records_hold():
    done = records()
    text = report.text(done)
    assert "GunPoint: 3 classes, 12 steps, channels: 1; series: 28 to train" in text
    for name in dict(report.rows_of(done[0])):
        [line] = re.findall(rf"^{re.escape(name)}  .*$", text, re.MULTILINE)
        cells = re.findall(r"(\d+\.\d) ± (\d+\.\d)", line)
        for column, (middle, spread) in zip(report.COLUMNS, cells, strict=True):
            values = [100 * dict(report.rows_of(r))[name][column] for r in done]
            assert float(middle) == pytest.approx(mean(values), abs=0.051)
            assert float(spread) == pytest.approx(stdev(values), abs=0.051)
    assert "±" not in report.text(done[:1]).replace(report.NOTES[:120], "").split("All numbers")[0]


@pytest.mark.slow
def test_the_figure_draws_every_network_and_peer(tmp_path, monkeypatch):
    done = records()
    other = [copy.deepcopy(r) for r in done]
    for r in other:
        r.config["set"] = "ItalyPowerDemand"
    drawn = []
    plot = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda *a, **k: drawn.append((k["label"], a[1:3])) or plot(*a, **k)
    )
    report.draw([*done, *other], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert len(drawn) == 2 * (3 + 2)
    curves = [r.metrics["networks"]["RC"]["curve"]["accuracy"] for r in done]
    wanted = [100 * mean(values) for values in zip(*curves, strict=True)]
    assert dict(drawn)["RC, all θ"][1] == pytest.approx(wanted)
