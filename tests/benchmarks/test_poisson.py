"""The task on Poisson spike trains: what is drawn anew, what is measured, and text and figure."""

from dataclasses import replace

import pytest
import torch

from benchmarks import record
from benchmarks.poisson import task as poisson
from benchmarks.run import Options, TaskModel
from benchmarks.task import command
from encoders.mnist import Digits, embedded_digits
from encoders.temporal_mnist import take
from rc_snn.models import RCLSTM
from rc_snn.runner import decide


def few(digits: Digits) -> Digits:
    part = take(digits.train, torch.arange(0, 4_000, 25)), take(digits.test, torch.arange(40))
    return replace(digits, train=part[0], test=part[1])


def small(run):
    return replace(
        run,
        data=run.data | {"n_validation": 40},
        model=TaskModel(784, 8, 10),
        train=replace(run.train, epochs=2),
    )


def test_training_spikes_are_drawn_anew_and_held_out_ones_are_not():
    [run] = map(small, poisson.runs(Options(profile="quick")))
    known, again = (poisson.data(run, few(embedded_digits())) for _ in range(2))
    for part in ("training", "validation", "test"):
        one, other = (getattr(d, part).inputs.spikes for d in (known, again))
        assert torch.equal(one, other), part
    source = torch.Generator().manual_seed(0)
    first, second = known.fresh(source), known.fresh(source)
    assert torch.equal(first.labels, known.training.labels)
    assert torch.equal(first.inputs.images, second.inputs.images)
    assert not torch.equal(first.inputs.spikes, second.inputs.spikes)
    held = {x.numpy().tobytes() for x in known.validation.inputs.images}
    assert not held & {x.numpy().tobytes() for x in first.inputs.images}


def test_the_account_is_of_the_decisions_at_theta_and_of_the_spikes_until_then():
    [run] = map(small, poisson.runs(Options(profile="quick")))
    test = poisson.data(run, few(embedded_digits())).test
    model = RCLSTM(784, 8, 10, dense_input=True)
    with torch.no_grad():
        model.output.weight.mul_(30)  # so that some fire
    found = poisson.measure(model, test)
    told, decision = found["fixed"], decide(model, test.inputs, poisson.THETA)
    assert 0 < told["fired"] < told["n"] == 40
    assert told["correct"] == int((decision.label == test.labels).sum())
    assert told["time_to_insight"] == decision.step.double().mean().item()
    until = [x[: step + 1].sum() for x, step in zip(test.inputs.spikes, decision.step, strict=True)]
    assert told["synops_ac"] == 4 * 8 * torch.stack(until).double().mean().item()
    at = found["curve"]["theta"].index(poisson.THETA)
    assert found["curve"]["accuracy"][at] == pytest.approx(told["accuracy"])
    assert found["curve"]["mean_step"][at] == pytest.approx(told["time_to_insight"])
    last = decide(model, test.inputs, None)
    assert found["accuracy_at_step"][-1] == (last.label == test.labels).double().mean()


def test_records_are_made_once_and_text_and_figure_come_from_them(tmp_path, monkeypatch):
    options = Options(
        profile="quick", results=tmp_path, runs=tmp_path / "runs", seeds=(0, 1), train=True
    )
    planned = [small(run) for run in poisson.runs(options)]
    monkeypatch.setattr(poisson.PoissonMNIST, "runs", staticmethod(lambda _: planned))
    monkeypatch.setattr(poisson, "digits_of", lambda *_: few(embedded_digits()))
    assert command(poisson.TASK, options) == 0
    kept = record.read_all(tmp_path / "poisson")
    assert len(kept) == 2
    written = (tmp_path / "poisson" / "poisson.quick.txt").read_text()
    assert "40 test images as spike trains of T = 25 steps" in written
    assert "2 seeds" in written
    assert (tmp_path / "poisson" / "poisson.quick.png").read_bytes()[:4] == b"\x89PNG"
    monkeypatch.setattr(poisson, "trained", lambda *_, **__: pytest.fail("trained again"))
    assert command(poisson.TASK, options) == 0


def test_the_records_of_mnist_are_not_made_of_other_digits(tmp_path, monkeypatch):
    monkeypatch.setattr(poisson, "load_mnist", lambda _: embedded_digits())
    [run] = poisson.runs(Options())
    with pytest.raises(ValueError, match="The run is on MNIST, found MNIST-5k"):
        poisson.TASK.make(run, Options(results=tmp_path, data=tmp_path), "-")


@pytest.mark.parametrize(("step", "value"), [(0.0, 0.0), (0.5, 0.25), (1.0, 0.5), (2.0, 1.0)])
def test_between_two_steps_is_on_the_line_between_them(step, value):
    assert poisson._between([0.0, 0.5, 1.0], step) == value
