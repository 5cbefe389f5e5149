"""Figure 2: what is trained, what is measured, and a table that says what the records say."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from benchmarks import record
from benchmarks.figure2 import bayes_stopping
from benchmarks.figure2 import task as figure2
from benchmarks.figure2.backward_induction import Grid
from benchmarks.figure2.bayes_stopping import limit_of
from benchmarks.figure2.frontier import distance_to_frontier
from benchmarks.figure2.table import PUBLISHED, TIMES, accuracy_at, readings, text
from benchmarks.figure2.task import THETAS, data, measure, swept, trainings
from benchmarks.run import Options, TaskModel, run_folder
from benchmarks.task import command
from encoders.two_sequence import PAPER, two_sequence
from rc_snn import checkpoint
from rc_snn.models import RCLSTM
from rc_snn.runner import decide


def test_the_paper_profile_is_the_protocol_of_the_paper():
    rc, eos = trainings(Options())
    assert rc.model == TaskModel(1, 125, 2, read_out="sigmoid")
    t = rc.train
    assert (t.lr, t.batch_size, t.beta, t.theta, t.judge) == (3e-4, 128, 0.0, 0.95, "spike")
    assert rc.data["n_epoch"] == 50 * 128, "validated every 50 batches"
    assert abs(rc.data["n_epoch"] * t.epochs - 2_000_000) <= 6_400
    assert rc.data["n_validation"] == 2_000
    assert {k: rc.data[k] for k in asdict(PAPER)} == asdict(PAPER)
    assert replace(eos, train=replace(eos.train, method="rc")) == rc, "only the method differs"
    seeds = trainings(Options(seeds=(0, 1, 2)))
    assert [(r.train.method, r.train.seed) for r in seeds] == [
        (m, s) for s in (0, 1, 2) for m in ("rc", "eos")
    ]
    assert len({r.name for r in seeds}) == 6


def test_all_runs_share_validation_and_test_and_train_on_sequences_of_their_own():
    one, other = (
        data(replace(r, data=r.data | dict.fromkeys(("n_test", "n_epoch", "n_validation"), 100)))
        for r in trainings(Options(seeds=(0, 5)))[::2]
    )
    for name in ("validation", "test"):
        a, b = getattr(one, name), getattr(other, name)
        assert torch.equal(a.inputs.frames, b.inputs.frames)
        assert torch.equal(a.labels, b.labels)
    assert len(one.training) == 100
    generator = torch.Generator().manual_seed(0)
    first, then = one.fresh(generator), one.fresh(generator)
    sets = [one.validation, one.test, first, then]
    assert {len(s) for s in sets} == {100}, "of one size: equal seeds would draw equal sets"
    starts = {tuple(s.inputs.frames[:3, 0, 0].tolist()) for s in sets}
    assert len(starts) == 4, "no set is another"


def test_the_test_set_is_that_of_the_limit():
    config, [run, _] = bayes_stopping.configuration("paper"), trainings(Options())
    assert (config["n_test"], config["test_seed"]) == (run.data["n_test"], run.data["test_seed"])
    seeds = {run.data["validation_seed"], run.data["test_seed"], config["seed"]}
    assert len(seeds) == 3


@pytest.fixture
def model() -> RCLSTM:
    """A network that fires at various steps: a sum of its inputs, roughly."""
    net = RCLSTM(1, 4, 2, read_out="sigmoid", generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        net.cell.weight_ih[8:12] = 3.0
        net.cell.bias_ih[4:8] += 4.0
        net.output.weight.fill_(1.5)
        net.output.bias.zero_()
    return net


@pytest.fixture
def last(tmp_path, model) -> Any:
    """The checkpoint of a training whose last epoch says the opposite of the one kept."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    state["output.weight"] *= -1.0
    path = tmp_path / "checkpoint.pt"
    checkpoint.write(path, {"model": state})
    return path


def test_what_is_measured_is_what_inference_decides(model, last):
    test = two_sequence(600, torch.Generator().manual_seed(2))
    bias = model.output.bias.item()
    found = measure(model, test, last)["chosen"]
    model.output.weight.data.neg_()  # measure has left the weights of the last epoch
    assert model.output.bias.item() == bias
    assert len({row["mean_step"] for row in found["sweep"]}) > 5, "θ matters here"
    for row in found["sweep"]:
        decision = decide(model, test.inputs, row["theta"])
        assert row["accuracy"] == float((decision.label == test.labels).double().mean())
        assert row["mean_step"] == pytest.approx(float(decision.step.double().mean()))
        assert row["fired"] == pytest.approx(float(decision.fired.double().mean()))
    at = next(row for row in found["sweep"] if row["theta"] == 0.95)
    account = found["account"]
    assert (account["accuracy"], account["time_to_insight"]) == (at["accuracy"], at["mean_step"])
    end = decide(model, test.inputs, None)
    assert found["cut"][-1] == float((end.label == test.labels).double().mean())
    cut = decide(model, type(test.inputs)(test.inputs.frames[:14]), None)
    assert found["cut"][13] == float((cut.label == test.labels).double().mean())
    json.dumps(found, allow_nan=False)


def test_the_last_epoch_is_measured_beside_the_one_kept(model, last):
    test = two_sequence(600, torch.Generator().manual_seed(3))
    found = measure(model, test, last)
    for kept, opposite in zip(found["chosen"]["cut"], found["last"]["cut"], strict=True):
        assert kept == pytest.approx(1.0 - opposite)
    assert found["chosen"]["cut"][-1] > 0.8


def test_silence_answers_at_the_last_step_and_a_spike_at_step_zero_is_one():
    p = torch.tensor([[[0.04, 0.96], [0.5, 0.5]], [[0.9, 0.1], [0.7, 0.3]]])
    row = swept(p, torch.tensor([1, 0]), 0.95)
    assert row == {"theta": 0.95, "accuracy": 1.0, "mean_step": 0.5, "fired": 0.5}


@pytest.fixture
def small(monkeypatch, tmp_path) -> Options:
    """A run of seconds: four units, two epochs, few sequences, a coarse limit."""
    planned = figure2.trainings

    def few(options: Options) -> list[Any]:
        sizes = {"n_epoch": 128, "n_validation": 60, "n_test": 250}
        return [
            replace(
                run,
                data=run.data | sizes,
                model=replace(run.model, n_hidden=4),
                train=replace(run.train, epochs=2),
            )
            for run in planned(options)
        ]

    limit = bayes_stopping.configuration("quick") | {
        "grid": asdict(Grid(16, 12, 64)),
        "costs": [0.03, 0.003],
        "n": 500,
        "n_test": 250,
    }
    monkeypatch.setattr(figure2, "trainings", few)
    monkeypatch.setattr(bayes_stopping, "configuration", lambda profile: limit)
    return Options(profile="quick", seeds=(0, 1), results=tmp_path / "r", runs=tmp_path / "w")


def test_the_figure_is_made_from_its_records_alone(small, monkeypatch, capsys):
    with pytest.raises(ValueError, match="Add --train"):
        command(figure2.TASK, small)
    assert command(figure2.TASK, replace(small, train=True)) == 0
    folder = small.results / "figure2"
    made = record.read_all(folder)
    assert {r.benchmark for r in made} == {"figure2"}
    assert sum("limit" in r.config for r in made) == 1
    assert len(made) == 5
    picture, table = folder / "figure2.quick.png", folder / "figure2.quick.txt"
    before = picture.read_bytes(), table.read_text()
    assert before[0][:4] == b"\x89PNG"
    assert table.read_text() in capsys.readouterr().out
    picture.unlink()
    for job in (figure2, bayes_stopping):
        name = "trained" if job is figure2 else "compute"
        monkeypatch.setattr(job, name, lambda *a, **k: pytest.fail("made again"))
    assert command(figure2.TASK, small) == 0
    assert (picture.read_bytes(), table.read_text()) == before
    [run, *_] = figure2.trainings(small)
    assert (run_folder(run, small) / "log.csv").exists()


def network(method: str, seed: int, accuracy: float, step: float) -> Any:
    """A record of a network, as far as the table reads it."""
    one = {
        "account": {"accuracy": accuracy, "time_to_insight": step},
        "cut": [0.5 + 0.01 * t for t in range(40)],
        "sweep": [
            {"theta": t, "accuracy": accuracy - 0.001 * i, "mean_step": step, "fired": 1.0}
            for i, t in enumerate(THETAS)
        ],
    }
    config = {"train": {"method": method, "seed": seed}, "data": {"n_test": 100_000}}
    return made_up(config, {"chosen": one, "last": one | {"cut": [0.5] * 40}})


def made_up(config: dict[str, Any], metrics: dict[str, Any]) -> Any:
    source = record.Source("unknown", None)
    return record.new_record("figure2", "made-up", config, metrics, {}, 0.0, source, "-")


def limit() -> Any:
    rule = {
        "mean_step": [0.0, 10.0, 20.0],
        "accuracy": [0.6, 0.9, 0.96],
        "counted": [0.6, 0.91, 0.97],
        "accuracy_error": [1e-4] * 3,
    }
    rules = {"optimal": rule, "posterior": rule}
    rules["deadline"] = {k: [v[0]] * 40 for k, v in rule.items()}
    config = {"costs": [0.1, 0.01, 0.001], "thetas": [0.7, 0.8, 0.9], "n": 1_000}
    return made_up(config, {"fresh": rules, "on_test": rules, "refinement": 1e-5})


def test_published_values_stand_beside_ours_with_the_distance_from_the_limit():
    networks = [network("rc", 0, 0.90, 12.0), network("eos", 0, 0.98, 25.0)]
    said = text(networks, limit()).splitlines()
    rc = next(line for line in said if line.startswith("RC, first spike"))
    assert rc.split()[3:] == ["90.00", "12.00", "13.00", "2.20", "2.32", "95.45", "at", "14"]
    far = distance_to_frontier(12.0, 0.90, limit_of(limit().metrics, "on_test"))
    assert (round(100 * far.accuracy, 2), round(far.steps, 2)) == (2.20, 2.32)
    eos = next(line for line in said if line.startswith("EOS, first spike"))
    assert eos.split()[3:] == ["98.00", "25.00", "26.00", "-1.00", "—", "96.32", "at", "23"]
    cut = next(line for line in said if line.startswith("EOS, cut after 14 inputs"))
    assert cut.split()[5:8] == ["63.00", "13.00", "14.00"]
    end = next(line for line in said if line.startswith("EOS, last step"))
    assert end.split()[3:6] == ["89.00", "39.00", "40.00"]


def test_published_values_are_held_to_the_limit_in_both_ways_to_count_steps():
    said = text([network("rc", 0, 0.9, 12.0)], limit())
    part = said[said.index("Published values") : said.index("Rules with")].splitlines()
    rows = [line.split() for line in part if line.startswith("RC, first spike")]
    assert [row[3:6] for row in rows] == [["95.45", "13.00", "14.00"], ["95.45", "14.00", "15.00"]]
    assert float(rows[0][6]) == pytest.approx(91.8 - 95.45, abs=0.006)
    assert PUBLISHED["end"].steps == 40
    assert sum(line.startswith("EOS, last step") for line in part) == 1, "it counts inputs"


def test_several_seeds_are_a_mean_and_a_deviation():
    networks = [network("rc", s, a, 12.0) for s, a in ((0, 0.90), (1, 0.92), (2, 0.94))]
    said = text(networks, limit())
    rc = next(line for line in said.splitlines() if line.startswith("RC, first spike"))
    assert "92.00 ± 2.00" in rc
    assert "12.00 ± 0.00" in rc
    assert "Seeds: 3;" in said
    assert len(readings(networks, "chosen")["rc"]) == 3
    assert "EOS, last step" not in said[: said.index("Published values")], "no record, no line"


def test_rank_coding_and_its_rival_are_compared_at_equal_mean_times():
    networks = [network("rc", 0, 0.9, 12.0), network("eos", 0, 0.9, 12.0)]
    for done, slope in zip(networks, (0.01, 0.02), strict=True):
        done.metrics["chosen"]["sweep"] = [
            {"theta": 0.5 + t / 100, "mean_step": float(t), "accuracy": 0.5 + slope * t}
            for t in (20, 7, 11)
        ]
    assert accuracy_at(networks[0], "chosen", 9.0) == pytest.approx(0.59)
    said = text(networks, limit()).splitlines()
    start = next(i for i, line in enumerate(said) if line.startswith("Accuracy % at equal"))
    assert said[start + 1].split() == [str(t) for t in TIMES]
    rc = said[start + 2].removeprefix("RC, epoch kept by validation").split()
    eos = said[start + 3].removeprefix("EOS, epoch kept by validation").split()
    assert rc == ["—", "58.00", "60.00", "62.00", "64.00", "66.00", "68.00", "70.00", "—"]
    assert eos[1:3] == ["66.00", "70.00"]
    assert said[start + 6].split()[1:4] == ["78.60", "84.80", "91.00"]
