"""Every network that ships answers its test set exactly as its record says."""

import re
import sys
from functools import cache
from typing import Any

import pytest
import torch

from baselines import lif
from benchmarks import record
from benchmarks.record import Record
from benchmarks.table1.all_rows import ROWS
from benchmarks.table1.options import Table1
from benchmarks.table1.rows import known_rows
from benchmarks.table1.runs import planned, shipped_name
from benchmarks.table1.shipped import evaluate_shipped
from encoders.functional import encode
from encoders.keyword_features import load_features
from encoders.keyword_network import front_end_of, normalisation_of
from encoders.mnist import MNIST_TITLE, DataError, Digits, Split, embedded_digits, load_mnist
from rc_snn.network import SHELF, Network, load, names
from rc_snn.sequences import ContextSequences
from rc_snn.spikes import Decision

load = cache(load)
OF_IMAGES = [name for name in names() if load(name).reads == "times"]
ON_STEPS = [name for name in OF_IMAGES if load(name).n_steps is not None]
OF_SOUNDS = [name for name in names() if name not in OF_IMAGES]
QUICK = ("rc-lstm-340-fast", "alpha-psp-340-fast-published")


def quick_first(names: list[str]) -> list[Any]:
    """Leave 10,000 images for every other network to the tests that take minutes."""
    return [pytest.param(x, marks=[] if x in QUICK else pytest.mark.slow) for x in names]


@pytest.fixture(scope="module")
def mnist() -> Digits:
    digits = load_mnist(download=False)
    if digits.title != MNIST_TITLE:
        pytest.skip("MNIST is not at hand; the embedded digits are training images")
    return digits


def record_of(net: Network) -> Record:
    [path] = record.RESULTS.rglob(f"{net.record}.json")
    made = record.read(path)
    assert isinstance(made, Record), made
    return made


def correct(decision: Decision, labels: torch.Tensor) -> int:
    return int(((decision.label == labels) & torch.isfinite(decision.time)).sum())


def assert_measured(net: Network, decision: Decision, labels: torch.Tensor) -> None:
    assert len(decision) == net.measured["n"]
    assert correct(decision, labels) == net.measured["correct"]
    assert net.measured["accuracy"] == net.measured["correct"] / net.measured["n"]
    assert int(decision.fired.sum()) == net.measured["fired"]
    mean_step = decision.step.double().mean().item()
    known = record_of(net).metrics | net.measured  # which says it where θ is not the record's
    assert mean_step == pytest.approx(known["time_to_insight"])


@pytest.mark.parametrize("name", quick_first(ON_STEPS))
def test_a_network_on_steps_answers_the_test_images_as_it_was_measured(name, mnist):
    net = load(name)
    decision = net.decide(encode(mnist.test.images, **net.encoder))
    assert_measured(net, decision, mnist.test.labels)


@pytest.mark.parametrize("name", quick_first([x for x in OF_IMAGES if x not in ON_STEPS]))
def test_a_network_in_continuous_time_answers_the_test_images_as_it_was_measured(name, mnist):
    net = load(name)
    decision = net.decide(encode(mnist.test.images, **net.encoder))
    assert len(decision) == net.measured["n"]
    # The last digit of a float32 spike time depends on the machine's vectors.
    assert abs(correct(decision, mnist.test.labels) - net.measured["correct"]) <= 2
    assert abs(int(decision.fired.sum()) - net.measured["fired"]) <= 2


@pytest.mark.parametrize("name", OF_SOUNDS)
def test_a_keyword_network_answers_the_test_recordings_as_it_was_measured(name):
    net = load(name)
    front_end = front_end_of(net)
    try:
        heard = load_features(
            "test", front_end=front_end, keywords=net.classes[:-1], download=False
        )
    except DataError as error:
        pytest.skip(f"the recordings are not at hand: {error}")
    frames = normalisation_of(net)(heard.frames)
    decision = net.decide(ContextSequences(frames, front_end.context))
    assert_measured(net, decision, heard.labels)
    ms = front_end.heard_ms(decision.step).double().mean().item()
    assert ms == pytest.approx(net.measured["mean_heard_ms"])


@pytest.mark.parametrize("name", OF_IMAGES)
def test_a_network_says_what_its_record_says(name):
    net = load(name)
    made = record_of(net)
    assert net.measured
    assert {key: made.metrics[key] for key in net.measured} == net.measured
    assert net.theta == made.config["train"].get("theta")
    assert net.family == known_rows()[made.config["row"]].family
    assert net.n_steps == made.config.get("n_steps")
    assert net.encoder["polarity"] == made.config["polarity"]
    assert net.encoder["zero_pixels"] == made.config["zero_pixels"]
    assert (net.mean is not None) == made.config.get("centred", False)


def test_every_row_with_a_record_ships_one_network_and_two_another_of_the_other_polarity():
    own, other = [], []
    for name in OF_IMAGES:
        config = record_of(load(name)).config
        row = known_rows()[config["row"]]
        recipe = row.recipes[config["profile"]][config.get("recipe", "published")]
        (own if config["polarity"] == recipe.polarity else other).append((row.name, name))
    made = {r.config["row"] for r in record.read_all(record.RESULTS / "table1")}
    assert sorted(row for row, _ in own) == sorted(row.name for row in ROWS if row.name in made)
    assert other == [
        ("rc-lstm-fast", "rc-lstm-340-fast-bright"),
        ("rc-lstm-slow", "rc-lstm-340-slow-bright"),
    ]


@pytest.mark.parametrize("name", OF_IMAGES)
def test_the_name_of_a_network_tells_a_polarity_that_is_not_its_recipes(name, mnist):
    made = record_of(load(name))
    asked = Table1(
        profile=made.config["profile"],
        rows=(made.config["row"],),
        recipe=(made.config.get("recipe", "published"),),
        protocol=(made.config["protocol"],),
        polarity=(made.config["polarity"],),
    )
    [run] = planned(asked, mnist)
    assert (run.name, shipped_name(run)) == (made.name, name)


@pytest.mark.parametrize("name", names())
def test_a_network_is_in_half_precision(name):
    for parameter in load(name).model.parameters():
        assert torch.equal(parameter, parameter.half().float())


def test_all_networks_together_are_smaller_than_30_megabytes():
    sizes = {path.name: path.stat().st_size for path in SHELF.iterdir()}
    assert sizes.keys() == {f"{name}.safetensors" for name in names()}, "and nothing else is there"
    assert sum(sizes.values()) < 30e6, sizes


def test_a_network_whose_library_is_an_extra_that_is_not_here_is_left_out_and_said(
    monkeypatch, capsys
):
    whole = embedded_digits().test
    few = Split(whole.images[:5], whole.labels[:5])
    monkeypatch.setitem(sys.modules, "norse.torch.functional", None)  # not to be imported
    lif._norse.cache_clear()
    assert evaluate_shipped(Digits(few, few, "few", "few", "here"), ("lif-norse",)) == 0
    said = capsys.readouterr()
    assert re.search(r"^lif-norse +— +97\.95$", said.out, re.MULTILINE)
    assert f"pip install 'rc_snn[norse]' torch=={torch.__version__.partition('+')[0]}" in said.err
