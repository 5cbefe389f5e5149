"""Figure 1: spikes are counted as their definitions say, and drawn from records alone."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks import record
from benchmarks.figure1 import plot as figure1_plot
from benchmarks.figure1 import spotting
from benchmarks.figure1 import task as figure1
from benchmarks.figure1.spotting import (
    THETA,
    data,
    examples,
    frontier,
    least_step,
    measure,
    points,
    runs,
)
from benchmarks.record import Record
from benchmarks.run import Options, TaskModel, TaskRun
from benchmarks.task import command
from encoders.sequence_spotting import draw, posterior, posterior_of, posterior_rule
from rc_snn.models import RCLSTM
from rc_snn.runner import trace


def both(positive: Tensor) -> Tensor:
    return torch.stack([1 - positive, positive], dim=2)


def small(options: Options) -> list[TaskRun]:
    """The runs of the figure, in seconds."""
    return [
        replace(
            run,
            data=run.data | {"n_epoch": 256, "n_validation": 50, "n_test": 400},
            model=TaskModel(1, 6, 2, read_out="sigmoid"),
            train=replace(run.train, epochs=1),
        )
        for run in runs(options)
    ]


def slowly(p: list[list[float]], labels: list[int], certain: list[int], theta: float) -> dict:
    """What `spiking` counts, one sequence after the other, in plain Python."""
    first: Counter = Counter()
    only: Counter = Counter()
    lags = {k: Counter() for k in ("positive", "negative", "only")}
    last = len(p[0]) - 1
    for row, label, sure in zip(p, labels, certain, strict=True):
        spikes = [(t, int(x >= theta)) for t, x in enumerate(row) if max(x, 1 - x) >= theta]
        step, answer = spikes[0] if spikes else (last, int(row[last] > 0.5))
        first["correct"] += answer == label
        first["steps"] += step
        first["silent_negatives"] += not spikes and label == 0
        if spikes:
            first["fired"] += 1
            first["negative"] += answer == 0
            first["fired_of_positives"] += label
            first["negative_of_positives"] += label and answer == 0
            if answer == label:
                lags["positive" if label else "negative"][str(step - sure)] += 1
        ups = [t for t, k in spikes if k == 1]
        only["correct"] += bool(ups) == label
        only["false"] += bool(ups) and not label
        only["missed"] += not ups and label
        only["steps"] += ups[0] if ups else last
        if ups and label:
            lags["only"][str(ups[0] - sure)] += 1
    return {"first": first, "positive_only": only, "lags": lags}


def test_spikes_are_counted_as_a_loop_over_the_sequences_counts_them():
    generator = torch.Generator().manual_seed(3)
    n, n_steps, theta = 500, 8, 0.8125  # theta and 1 - theta are sums of few powers of two
    p = torch.randint(33, (n_steps, n), generator=generator) / 32  # ties with theta occur
    p[:, :150] = p[:, :150].clamp(0.25, 0.75)  # silent ones, too
    labels = torch.randint(2, (n,), generator=generator)
    certain = torch.randint(n_steps, (n,), generator=generator)
    slow = slowly(p.T.tolist(), labels.tolist(), certain.tolist(), theta)
    found = spotting.spiking(both(p), labels, certain, theta)
    assert (found["n"], found["n_positive"]) == (n, int(labels.sum()))
    ends = [int(x > 0.5) for x in p[-1].tolist()]
    assert found["end_correct"] == sum(e == y for e, y in zip(ends, labels.tolist(), strict=True))
    for kind in ("first", "positive_only"):
        steps = slow[kind].pop("steps")
        assert found[kind]["mean_step"] == pytest.approx(steps / n)
        assert sum(t * count for t, count in enumerate(found[kind]["step"])) == steps
        assert {name: found[kind][name] for name in slow[kind]} == dict(slow[kind])
    assert found["first"]["positive_lag"] == dict(slow["lags"]["positive"])
    assert found["first"]["negative_lag"] == dict(slow["lags"]["negative"])
    assert found["positive_only"]["positive_lag"] == dict(slow["lags"]["only"])
    assert found["first"]["silent_negatives"]
    assert found["first"]["negative_of_positives"]


def test_spikes_at_the_first_and_at_the_last_step_are_no_silence():
    p = torch.tensor([[0.96, 0.5, 0.5], [0.5, 0.5, 0.03]]).T  # 3 steps, 2 sequences
    found = spotting.spiking(both(p), torch.tensor([1, 0]), torch.tensor([0, 2]), THETA)
    assert (found["first"]["fired"], found["first"]["correct"]) == (2, 2)
    assert found["first"]["step"] == [1, 0, 1]
    assert (found["first"]["positive_lag"], found["first"]["negative_lag"]) == ({"0": 1}, {"0": 1})


def test_an_optimal_observer_is_always_right_never_late_and_attains_the_limit():
    drawn = draw(20_000, torch.Generator().manual_seed(0))
    p = posterior_of(drawn.data.inputs.frames)
    found = spotting.spiking(p, drawn.data.labels, drawn.certain, THETA)
    n, n_positive, first = found["n"], found["n_positive"], found["first"]
    assert first["correct"] == first["fired"] == n
    assert first["positive_lag"] == found["positive_only"]["positive_lag"] == {"0": n_positive}
    assert first["negative_lag"] == {"0": n - n_positive}
    assert found["positive_only"]["correct"] == n
    assert abs(first["mean_step"] - posterior_rule(1.0).mean_step) < 5 * 8 / n**0.5  # std < 8


def test_what_is_measured_of_a_network_are_its_decisions_and_its_examples():
    drawn = draw(1_500, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    model = RCLSTM(1, 6, 2, read_out="sigmoid", dense_input=True, generator=generator)
    with torch.no_grad():
        model.output.weight.mul_(80)  # without training nothing would fire,
        model.output.bias -= trace(model, drawn.data.inputs)[..., 1].mean()  # and one class only
    found = json.loads(json.dumps(measure(model, drawn.data, drawn.certain)))
    account, first = found["account"], found["spikes"]["first"]
    assert 0 < account["fired"] < 1_500
    assert 0 < first["negative"] < first["fired"]
    assert (account["correct"], account["fired"]) == (first["correct"], first["fired"])
    assert account["decided_at_step"] == first["step"]
    assert account["time_to_insight"] == pytest.approx(first["mean_step"])
    assert account["macs"] < account["macs_full"]
    assert len(found["examples"]) == 30


def test_examples_are_the_first_sequences_of_each_class_in_the_order_of_their_steps():
    drawn = draw(200, torch.Generator().manual_seed(4))
    p = posterior_of(drawn.data.inputs.frames)
    some = examples(drawn.data, drawn.certain, p)
    order = [(e["label"], e["certain"]) for e in some]
    assert order == sorted(order)
    assert sum(e["label"] for e in some) == 15
    words = ["".join(map(str, row)) for row in drawn.data.inputs.frames[:, :, 0].T.int().tolist()]
    for e in some:
        i = words.index(e["bits"])
        assert (e["label"], e["certain"]) == (int(drawn.data.labels[i]), int(drawn.certain[i]))
        assert i < 60
        torch.testing.assert_close(
            torch.tensor(e["positive"]), p[:, i, 1].float(), atol=1e-6, rtol=0
        )


def test_runs_are_those_of_appendix_a1_and_share_a_test_set_that_nothing_else_sees():
    wanted = runs(Options(seeds=(0, 1)))
    assert [(r.train.method, r.train.seed) for r in wanted] == [
        ("rc", 0),
        ("eos", 0),
        ("rc", 1),
        ("eos", 1),
    ]
    for run in wanted:
        t = run.train
        assert (t.batch_size, t.lr, t.beta, t.theta) == (128, 3e-4, 0.0, 0.95)
        assert (run.model.n_inputs, run.model.n_hidden, run.data["n_validation"]) == (1, 125, 2_000)
        assert run.data["n_epoch"] == 50 * 128
        assert 0 <= 1_500_000 - t.epochs * run.data["n_epoch"] < run.data["n_epoch"]
    (one, known), (other, _) = data(wanted[0]), data(wanted[3])
    assert torch.equal(one.test.inputs.frames, other.test.inputs.frames)
    assert torch.equal(one.test.labels, known.data.labels)
    assert not torch.equal(one.test.inputs.frames[:, :2_000], one.validation.inputs.frames)
    assert one.fresh is not None
    generator = torch.Generator().manual_seed(0)
    first, second = one.fresh(generator), one.fresh(generator)
    assert len(first) == len(one.training) == 6_400
    assert not torch.equal(first.inputs.frames, second.inputs.frames)


def test_records_are_made_once_and_figure_and_table_come_from_them(tmp_path, monkeypatch, capsys):
    options = figure1.Figure1Options(
        profile="quick", seeds=(0,), results=tmp_path, runs=tmp_path / "runs"
    )
    monkeypatch.setattr(figure1.Figure1, "runs", staticmethod(small))
    with pytest.raises(ValueError, match="Add --train to make them"):
        command(figure1.TASK, options)
    assert command(figure1.TASK, replace(options, train=True)) == 0
    folder = tmp_path / "figure1"
    made = record.read_all(folder)
    assert {r.config["train"]["method"] for r in made} == {"rc", "eos"}
    written = (folder / "figure1.quick.txt").read_text()
    assert written.strip() in capsys.readouterr().out
    assert "exactly 54.963 %" in written
    picture = folder / "figure1.quick.png"
    before = picture.read_bytes()
    picture.unlink()
    monkeypatch.setattr(spotting, "trained", lambda *_: pytest.fail("the record was not used"))
    monkeypatch.setattr(spotting, "trace", lambda *_, **__: pytest.fail("the test set was touched"))
    assert command(figure1.TASK, options) == 0
    assert picture.read_bytes() == before
    assert before[:4] == b"\x89PNG"
    figure1_plot.draw(made[:1], tmp_path / "one_method.png")
    assert (tmp_path / "one_method.png").read_bytes() != before


def fake(method: str, seed: int, **spikes: dict) -> Record:
    """A record of 1,000 sequences, 550 of them positive; `spikes` says where it differs."""
    nothing = {"correct": 0, "mean_step": 20.0, "step": [0] * 25, "positive_lag": {}}
    more = {"fired": 0, "negative": 0, "fired_of_positives": 0, "negative_of_positives": 0}
    whole = {
        "n": 1_000,
        "n_positive": 550,
        "end_correct": 990,
        "first": nothing | more | {"silent_negatives": 0, "negative_lag": {}},
        "positive_only": nothing | {"false": 0, "missed": 0},
    }
    for kind, values in spikes.items():
        whole[kind] = whole[kind] | values  # type: ignore[operator]
    config = {"train": {"method": method, "seed": seed, "epochs": 2}, "data": {"n_epoch": 6_400}}
    metrics = {"spikes": whole, "examples": []}
    source = record.Source("unknown", None)
    return record.new_record("figure1", "name", config, metrics, {}, 1.0, source, "command")


def test_targets_are_met_from_their_value_on_and_missed_below_by_the_worst_seed():
    rc = fake("rc", 0, first={"correct": 999, "positive_lag": {"0": 523, "1": 27}})
    eos = fake(
        "eos",
        0,
        first={"fired": 800, "negative": 760},
        positive_only={"positive_lag": {"0": 100, "1": 300, "2": 150}},
    )
    lines = figure1.targets([rc, eos])
    assert [line.split()[0] for line in lines] == ["met"] * 4
    assert [line.rsplit(": ", 1)[1] for line in lines] == [
        "99.90 %",
        "95.09 %",
        "95.00 %",
        "54.55 %",
    ]
    worse = fake("rc", 1, first={"correct": 998, "positive_lag": {"0": 522, "-1": 28}})
    late = fake(
        "eos",
        1,
        first={"fired": 800, "negative": 759},
        positive_only={"positive_lag": {"2": 551}},
    )
    lines = figure1.targets([rc, eos, worse, late])
    assert [line.split()[0] for line in lines] == ["MISSED"] * 4
    assert lines[0].endswith(": 99.85 ± 0.07 %")
    assert "here most often 2" in lines[3]


def test_one_method_alone_is_reported():
    only = fake("eos", 0, first={"correct": 700, "fired": 900, "negative": 890})
    assert [p.name for p in points([only])] == [
        "EOS, first spike",
        "EOS, negative spikes ignored",
        "EOS, at the last step",
    ]
    assert len(figure1.targets([only])) == 2
    assert "EOS: fired 90.00 %; negative are 98.89 % of first spikes" in figure1.text([only])


def test_the_least_step_is_certainty_for_perfect_answers_and_nothing_for_a_guess():
    prior = posterior()[0, 0].item()
    assert least_step(1.0) == pytest.approx(posterior_rule(1.0).mean_step)
    assert least_step(prior) == least_step(0.5) == 0.0
    accuracies = [rule.accuracy for rule in frontier()]
    assert accuracies == sorted(accuracies)
    for level in (0.6, 0.7, 0.8, 0.9, 0.93):  # no rule of posteriors is ahead of the frontier
        rule = posterior_rule(level)
        assert least_step(rule.accuracy) <= rule.mean_step + 1e-9


def test_rank_coding_shows_its_first_spike_and_eos_all():
    example = {"positive": [0.5, 0.05, 0.5, 0.95, 0.99, 0.9499]}
    assert figure1_plot.spikes_of(example, "rc") == [(1, 0)]
    assert figure1_plot.spikes_of(example, "eos") == [(1, 0), (3, 1), (4, 1)]
    assert figure1_plot.spikes_of({"positive": [0.5, 0.94]}, "rc") == []
