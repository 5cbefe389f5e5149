"""Every network that ships answers MNIST exactly as its record says."""

from typing import get_args

import pytest
import torch

from benchmarks import record
from benchmarks.table1.rows import RowName
from encoders.functional import encode
from encoders.mnist import MNIST_TITLE, Digits, load_mnist
from encoders.temporal_mnist import latency_sequences
from rc_snn import load


@pytest.fixture(scope="module")
def mnist() -> Digits:
    digits = load_mnist(download=False)
    if digits.title != MNIST_TITLE:
        pytest.skip("MNIST is not at hand; the embedded digits are training images")
    return digits


@pytest.mark.parametrize("name", zoo.names())
def test_a_shipped_network_answers_the_test_set_as_it_was_measured(name, mnist):
    net = load(name)
    test = latency_sequences(mnist.test, net.n_steps, **net.encoder)
    decision = net.decide(test.inputs.steps)
    assert len(decision) == net.measured["n"] == 10_000
    assert int((decision.label == test.labels).sum()) == net.measured["correct"]
    assert net.measured["accuracy"] == net.measured["correct"] / net.measured["n"]
    assert int(decision.fired.sum()) == net.measured["fired"]
    assert decision.step.double().mean().item() == pytest.approx(net.measured["time_to_insight"])


@pytest.mark.parametrize("name", baselines_zoo.names())
def test_a_shipped_baseline_answers_the_test_set_as_it_was_measured(name, mnist):
    net = load(name)
    decision = net.decide(encode(mnist.test.images, **net.encoder))
    right = (decision.label == mnist.test.labels) & torch.isfinite(decision.time)
    # The last digit of a float32 spike time depends on the machine's vectors.
    assert abs(int(right.sum()) - net.measured["correct"]) <= 2
    assert abs(int(decision.fired.sum()) - net.measured["fired"]) <= 2
    for parameter in net.model.parameters():
        assert torch.equal(parameter, parameter.half().float())


def test_every_row_of_the_table_ships_one_network_and_that_has_a_record():
    rows = []
    for net in (shelf.load(name) for shelf in (zoo, baselines_zoo) for name in shelf.names()):
        made = record.read(record.RESULTS / "table1" / f"{net.record}.json")
        assert isinstance(made, record.Record), made
        assert {k: made.metrics[k] for k in net.measured} == net.measured
        rows.append(made.config["row"])
    assert sorted(rows) == sorted(get_args(RowName))


@pytest.mark.parametrize("name", zoo.names())
def test_a_shipped_network_is_in_half_precision(name):
    for parameter in load(name).model.parameters():
        assert torch.equal(parameter, parameter.half().float())


def test_all_shipped_networks_together_are_smaller_than_12_megabytes():
    for shelf in (zoo, baselines_zoo):
        sizes = {path.name: path.stat().st_size for path in shelf.FOLDER.glob("*")}
        wanted = {f"{name}.safetensors" for name in shelf.names()}
        assert set(sizes) == wanted, "and nothing else is there"
        assert sum(sizes.values()) < 12e6, sizes
