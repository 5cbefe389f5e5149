"""N-MNIST's accounts, choices and table against slow definitions; one small run end to end."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import record
from benchmarks.nmnist import event_digits
from benchmarks.nmnist import task as nmnist
from benchmarks.nmnist.event_digits import (
    THETA,
    THETAS,
    data,
    measure,
    runs,
)
from benchmarks.report.numbers import count_interval
from benchmarks.run import Options, TaskModel
from benchmarks.task import command
from encoders.event_frames import EventFrames, share_arrived
from encoders.functional import EVENT_DTYPE
from encoders.temporal_mnist import deal
from rc_snn.exits import Curve, fastest_as_good
from rc_snn.models import RCLSTM
from rc_snn.runner import decide
from rc_snn.sequences import DenseSequences, Labelled

FRAMES = EventFrames(step_us=20_000, n_steps=16)
pytestmark = pytest.mark.usefixtures("as_user")


class Recordings:
    """Stands in for N-MNIST: each class shows in a corner of its own, in all three saccades."""

    name, origin = "N-MNIST-600", "memory"

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.targets = [i % 10 for i in range(n)]
        self.made = []
        for target in self.targets:
            events = np.zeros(200, EVENT_DTYPE)
            events["x"] = 3 * target + rng.integers(3, size=200)
            events["y"], events["p"] = rng.integers(34, size=200), rng.integers(2, size=200)
            events["t"] = np.sort(rng.integers(310_000, size=200))
            self.made.append(events)

    def __len__(self) -> int:
        return len(self.targets)

    def events(self, index: int) -> np.ndarray:
        return self.made[index].copy()


def sequences(n: int, seed: int) -> Labelled:
    generator = torch.Generator().manual_seed(seed)
    frames = 3.0 * torch.randn(16, n, 20, generator=generator)
    return Labelled(DenseSequences(frames), torch.randint(10, (n,), generator=generator))


@pytest.fixture(scope="module")
def measured():
    """A network that is sure now and then, its sequences, and what was measured of it."""
    model = RCLSTM(20, 16, 10, generator=torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        model.output.weight.mul_(30.0)
    test, validation = sequences(40, 2), sequences(30, 3)
    arrived = torch.rand(40, 16, generator=torch.Generator().manual_seed(4)).double().cumsum(1) / 16
    found = measure(model, test, validation=validation, arrived=arrived, frames=FRAMES)
    return model, test, validation, arrived, found


# Measures


def test_the_sweep_holds_what_inference_decides_at_each_threshold(measured):
    model, test, validation, _, found = measured
    means = []
    for i, theta in enumerate(THETAS):
        for part, name in ((test, "test"), (validation, "validation")):
            decision, point = decide(model, part.inputs, theta), found[name][i]
            right = (decision.label == part.labels).tolist()
            assert point["theta"] == theta
            assert point["accuracy"] == pytest.approx(sum(right) / len(right))
            ms = [20.0 * (s + 1) for s in decision.step.tolist()]
            assert point["mean_ms"] == pytest.approx(sum(ms) / len(ms))
            assert point["fired"] == pytest.approx(decision.fired.double().mean().item())
        point = found["test"][i]
        decision = decide(model, test.inputs, theta)
        right = (decision.label == test.labels).tolist()
        assert point["right"] == "".join("1" if r else "0" for r in right)
        means.append(point["mean_ms"])
    assert means == sorted(means)  # raising θ never speeds up a decision
    assert means[0] == 20.0  # ten classes: one has a tenth at once
    assert 20.0 < found["fixed"]["mean_ms"] < 320.0


def test_a_told_threshold_agrees_with_inference_sample_by_sample(measured):
    model, test, _, arrived, found = measured
    for key, theta in (("fixed", THETA), ("chosen", found["chosen"]["theta"]), ("end", None)):
        decision, told = decide(model, test.inputs, theta), found[key]
        steps, right = decision.step.tolist(), (decision.label == test.labels).tolist()
        ms = [20.0 * (s + 1) for s in steps]
        assert told["theta"] == theta
        assert told["mean_ms"] == pytest.approx(sum(ms) / 40)
        assert told["median_ms"] == pytest.approx(float(np.median(ms)))
        bounds = [(0, 100), (100, 200), (200, 320)]
        for i, (low, high) in enumerate(bounds):
            inside = [r for m, r in zip(ms, right, strict=True) if low < m <= high]
            assert told["decided_in_saccade"][i] == len(inside)
            assert told["correct_in_saccade"][i] == sum(inside)
        a = told["account"]
        assert (a["n"], a["correct"], a["fired"]) == (40, sum(right), int(decision.fired.sum()))
        assert told["interval"] == count_interval(sum(right), 40)
        seen = [arrived[i, s].item() for i, s in enumerate(steps)]
        assert a["input_seen"]["mean"] == pytest.approx(sum(seen) / 40)
        assert a["strict_clock"]["mean"] == pytest.approx(sum(ms) / 40 / 320)
        products = [(s + 1) * (64 * 20 + 160) + s * 64 * 16 for s in steps]
        assert a["macs"] == pytest.approx(sum(products) / 40)
    assert found["end"]["account"]["fired"] == 0
    assert found["end"]["mean_ms"] == 320.0


def test_theta_is_chosen_on_validation_whatever_the_test_labels_are(measured):
    model, test, validation, arrived, found = measured
    other = Labelled(test.inputs, (test.labels + 1) % 10)
    again = measure(model, other, validation=validation, arrived=arrived, frames=FRAMES)
    assert again["chosen"]["theta"] == found["chosen"]["theta"]
    assert again["validation"] == found["validation"]
    assert again["test"] != found["test"]
    known = [[p[key] for p in found["validation"]] for key in ("mean_ms", "accuracy")]
    curve = Curve(*(torch.tensor(values, dtype=torch.float64) for values in known))
    assert found["chosen"]["theta"] == THETAS[fastest_as_good(curve, 30)]


def test_the_example_is_the_first_recordings_trace(measured):
    model, test, _, _, found = measured
    one = test.rows(torch.tensor([0]))
    for step in range(16):
        cut = DenseSequences(one.inputs.frames[: step + 1])
        p = decide(model, cut, None).scores[0]
        assert found["example"]["p"][step] == pytest.approx(p.max().item(), abs=1e-4)
        assert found["example"]["label"][step] == int(p.argmax())
    assert found["example"]["digit"] == int(test.labels[0])


# Choices


@pytest.mark.parametrize(("n", "n_validation"), [(500, 100), (2, 1), (10, 9)])
def test_every_recording_is_dealt_once_and_always_alike(n, n_validation):
    torch.manual_seed(n)
    training, validation = deal(n, n_validation, seed=0)
    assert len(validation) == n_validation
    assert sorted(training + validation) == list(range(n))
    assert deal(n, n_validation, seed=0) == (training, validation)


@pytest.mark.parametrize("n_validation", [0, 10, 11, -1])
def test_neither_side_may_be_empty(n_validation):
    with pytest.raises(ValueError, match=rf"n_validation must be in 1\.\.9, got {n_validation}"):
        deal(10, n_validation, seed=0)


def test_the_runs_of_a_seed_differ_in_the_method_alone():
    for profile in ("quick", "paper"):
        rc, eos = runs(Options(profile=profile))
        assert (rc.train.method, eos.train.method) == ("rc", "eos")
        assert replace(eos, train=replace(eos.train, method="rc")) == rc
        assert rc.name != eos.name


def test_validation_recordings_are_never_trained_on_and_never_disturbed():
    train, test = Recordings(60, 0), Recordings(20, 1)
    [run, _] = runs(Options(profile="quick"))
    run = replace(run, data=run.data | {"n_validation": 10})
    known = data(run, train, test)
    training, validation = deal(60, 10, seed=0)
    frames = event_digits.frames_of(run.config)
    for i, row in enumerate(validation):
        assert torch.equal(known.validation.inputs.frames[:, i], frames(train.events(row)))
    assert known.validation.labels.tolist() == [train.targets[i] for i in validation]
    assert known.training.labels.tolist() == [train.targets[i] for i in training]
    assert known.test.labels.tolist() == test.targets
    fresh = known.fresh(torch.Generator().manual_seed(0))
    assert torch.equal(fresh.labels, known.training.labels)
    assert not torch.equal(fresh.inputs.frames, known.training.inputs.frames)


# Comparison


def made(method: str, seed: int, right: dict[float, str], ms: dict[float, float]) -> record.Record:
    """A record with only what the comparison reads; validation is right as often as the test."""
    points = [
        {"theta": t, "accuracy": right[t].count("1") / len(right[t]), "mean_ms": ms[t]}
        for t in right
    ]
    metrics = {
        "validation": points,
        "test": [p | {"right": right[p["theta"]]} for p in points],
    }
    config = {"train": {"method": method, "seed": seed}}
    return record.new_record("nmnist", "x", config, metrics, {}, 0.0, record.Source("x", False))


def test_the_comparison_keeps_to_the_budget_and_pairs_the_recordings():
    ms = {0.5: 50.0, 0.9: 150.0}
    rc = [made("rc", s, {0.5: "1100", 0.9: "1111"}, ms) for s in (0, 1)]
    eos = [made("eos", s, {0.5: "1000", 0.9: "1110"}, ms) for s in (0, 1)]
    a, b, (difference, low, high) = nmnist.compared(rc, eos, 100.0)
    assert [p["mean_ms"] for p in a + b] == [50.0] * 4
    assert difference == 0.25
    # Each draw of four recordings holds the second one k times: the difference is k / 4.
    assert low == 0.0
    assert high == 0.75
    _, _, late = nmnist.compared(rc, eos, 150.0)
    assert late[0] == 0.25
    _, _, alike = nmnist.compared(rc, rc, 150.0)
    assert alike == (0.0, 0.0, 0.0)


def test_the_comparison_chooses_on_validation_alone():
    ms = {0.5: 50.0, 0.9: 90.0}
    rc = made("rc", 0, {0.5: "10", 0.9: "11"}, ms)
    rc.metrics["test"][1]["right"] = "00"
    a, _, _ = nmnist.compared([rc], [rc], 100.0)
    assert a[0]["theta"] == 0.9


# End to end


def test_records_are_made_once_and_table_and_figure_come_from_them(tmp_path, monkeypatch, capsys):
    options = Options(
        profile="quick",
        results=tmp_path,
        runs=tmp_path / "runs",
        seeds=(0, 1),
        data=tmp_path,  # recordings are cached by their folder
    )
    monkeypatch.setattr(
        event_digits,
        "NeuromorphicMNIST",
        lambda _, train: Recordings(*((40, 0) if train else (20, 1))),
    )
    small = [
        replace(
            run,
            data=run.data | {"n_validation": 10},
            model=TaskModel(FRAMES.n_inputs, 8, 10),
            train=replace(run.train, epochs=2),
        )
        for run in runs(options)
    ]
    monkeypatch.setattr(nmnist.NMNIST, "runs", staticmethod(lambda _: small))
    with pytest.raises(ValueError, match=r"no record of what was asked for: .* Add --train"):
        command(nmnist.TASK, options)
    assert command(nmnist.TASK, replace(options, train=True)) == 0
    kept = record.read_all(tmp_path / "nmnist")
    assert len(kept) == 4
    picture, text = (tmp_path / "nmnist" / f"nmnist.quick.{end}" for end in ("png", "txt"))
    assert picture.read_bytes()[:4] == b"\x89PNG"
    written = text.read_text()
    for method in ("rc", "eos"):
        accounts = [r.metrics["fixed"]["account"] for r in event_digits.of(kept, method)]
        mean = 100 * np.mean([a["accuracy"] for a in accounts])
        [line] = [x for x in written.splitlines() if x.startswith(f"{method.upper()}, θ fixed")]
        assert f" {mean:.1f} ± " in line
        medians = [r.metrics["fixed"]["median_ms"] for r in event_digits.of(kept, method)]
        assert f"{np.mean(medians):.0f}" in line.split()
    assert "20 test recordings" in written
    before = text.read_bytes(), picture.read_bytes()
    picture.unlink()
    monkeypatch.setattr(event_digits, "trained", lambda *_, **__: pytest.fail("trained again"))
    assert command(nmnist.TASK, replace(options, train=True)) == 0
    assert (text.read_bytes(), picture.read_bytes()) == before
    assert str(picture) in capsys.readouterr().out


def test_the_whole_data_set_is_no_base_for_the_subsets_records(tmp_path, monkeypatch):
    class Whole(Recordings):
        name = "N-MNIST"

    monkeypatch.setattr(event_digits, "NeuromorphicMNIST", lambda _, train: Whole(20, 0))
    [run, *_] = runs(Options())
    with pytest.raises(ValueError, match="are for N-MNIST-600, got N-MNIST in memory"):
        nmnist.TASK.make(run, Options(results=tmp_path, data=tmp_path), "-")


def test_recordings_have_arrived_whole_by_the_last_step():
    test = Recordings(20, 1)
    share = share_arrived(test, FRAMES)
    assert (share[:, -1] == 1.0).all()
    assert (share[:, 0] < 0.2).all()
