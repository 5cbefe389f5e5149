"""Every network that ships answers MNIST exactly as its record says."""

import pytest
import torch

from encoders.sources import MNIST_TITLE, Digits, load_mnist
from encoders.temporal_mnist import latency_sequences
from rc_snn import zoo


@pytest.fixture(scope="module")
def mnist() -> Digits:
    digits = load_mnist(download=False)
    if digits.title != MNIST_TITLE:
        pytest.skip("MNIST is not at hand; the embedded digits are training images")
    return digits


@pytest.mark.parametrize("name", zoo.names())
def test_a_shipped_network_answers_the_test_set_as_it_was_measured(name, mnist):
    net = zoo.load(name)
    test = latency_sequences(mnist.test, net.n_steps, **net.encoder)
    decision = net.decide(test.inputs.steps)
    assert len(decision) == net.measured["n"] == 10_000
    assert int((decision.label == test.labels).sum()) == net.measured["correct"]
    assert net.measured["accuracy"] == net.measured["correct"] / net.measured["n"]
    assert int(decision.fired.sum()) == net.measured["fired"]
    assert decision.step.double().mean().item() == pytest.approx(net.measured["time_to_insight"])


@pytest.mark.parametrize("name", zoo.names())
def test_a_shipped_network_is_in_half_precision(name):
    for parameter in zoo.load(name).model.parameters():
        assert torch.equal(parameter, parameter.half().float())


def test_all_shipped_networks_together_are_smaller_than_12_megabytes():
    sizes = {path.name: path.stat().st_size for path in zoo.FOLDER.glob("*")}
    assert set(sizes) == {f"{name}.safetensors" for name in zoo.names()}, (
        "and nothing else is there"
    )
    assert sum(sizes.values()) < 12e6, sizes
