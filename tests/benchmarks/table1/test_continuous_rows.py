"""Rows whose neurons spike once: their configurations, records, and the authors' networks."""

import json
import math
from dataclasses import replace

import pytest
import torch

from baselines.continuous_training import ContinuousConfig
from baselines.relu_training import MappedConfig
from benchmarks import record
from benchmarks.report.numbers import without_infinity
from benchmarks.run import Outcome, once
from benchmarks.table1 import table
from benchmarks.table1.continuous_rows import ContinuousModel
from benchmarks.table1.mapped_rows import MappedModel
from benchmarks.table1.options import Table1
from benchmarks.table1.runs import RowRun, planned, splits
from benchmarks.table1.task import TASK, make
from encoders.mnist import Digits, Split, embedded_digits
from rc_snn import load

CONFIG = RowRun(
    row="rel-psp-340-slow",
    profile="paper",
    protocol="held-out",
    data="MNIST-5k",
    polarity="bright_first",
    zero_pixels="silent",
    encoder="latency",
    n_steps=None,
    recipe="tuned",
    family="continuous",
    n_train=300,
    n_validation=100,
    n_test=200,
    model=ContinuousModel("rel_psp", (784, 20, 10)),
    train=ContinuousConfig(epochs=2, optimizer="adamw", lr=3e-3, temperature=0.1, drift=0.1),
)


def tiny(config: RowRun) -> RowRun:
    return replace(config, n_train=300, n_validation=100, n_test=200, train=CONFIG.train)


@pytest.fixture
def options(tmp_path) -> Table1:
    return Table1(train=True, results=tmp_path / "results", runs=tmp_path / "runs")


def run_one(run: RowRun, digits: Digits, options: Table1, command: str) -> Outcome:
    """Make the record of one run, unless it exists."""
    return once(
        run,
        options.results / "table1",
        lambda: make(run, digits, options, command, options.runs / run.name),
        TASK.summary,
    )


def test_a_run_leaves_a_record_and_a_network_that_answers_as_the_record_says(options):
    digits = embedded_digits()
    done = run_one(CONFIG, digits, options, "the command")
    assert "mean spike time" in done.line
    path = options.results / "table1" / f"{CONFIG.name}.json"
    made = record.read(path)
    assert isinstance(made, record.Record), made
    assert made.command == "the command"
    assert made.metrics["fired"] + made.metrics["forced"] == made.metrics["n"] == 200
    assert len(made.training["history"]) == 2
    assert made.metrics["at_frame_end"]["strict_clock"]["mean"] <= 1.0
    assert made.metrics["synops_ac"] > 0
    net = load(options.runs / CONFIG.name / "rel-psp-340-slow.safetensors")
    _, _, test = splits(CONFIG, digits)
    decision = net.decide(CONFIG.encode(test.images))
    right = (decision.label == test.labels) & decision.fired
    assert int(right.sum()) == made.metrics["correct"]
    assert net.record == made.name
    assert run_one(CONFIG, digits, options, "again").line.startswith("known: ")
    text = table.table1([made], "MNIST-5k", "text")
    assert f"{100 * made.metrics['accuracy']:.2f} (1 seed)" in text
    assert "frames" in text
    assert "MSynOps" in text


def test_every_field_of_a_configuration_is_part_of_its_name():
    names = {CONFIG.name}
    for change in (
        {"encoder": "alpha_psp"},
        {"zero_pixels": "last"},
        {"augment": "bicubic affine"},
        {"model": replace(CONFIG.model, gain=2.0)},
        {"train": replace(CONFIG.train, temperature=0.2)},
        {"train": replace(CONFIG.train, horizon=3.0)},
    ):
        names.add(replace(CONFIG, **change).name)
    assert len(names) == 7
    json.dumps(dict.fromkeys(names, 0), allow_nan=False)


def test_networks_that_are_not_trained_are_measured_once():
    digits = embedded_digits()
    asked = Table1(
        profile="paper",
        recipe=("weights",),
        seeds=(0, 1, 2),
        protocol=("held-out", "paper"),
        polarity=("bright_first", "dark_first"),
    )
    runs = list(planned(asked, digits))
    assert [(c.row, c.protocol, c.seed, c.polarity) for c in runs] == [
        ("alpha-psp-340-fast", "held-out", 0, "bright_first"),
        ("alpha-psp-340-slow", "held-out", 0, "bright_first"),
    ]


def test_dark_first_rel_psp_trains_by_a_training_of_its_own_and_others_by_theirs():
    """At the rate of bright-first networks all outputs fall silent within some epochs."""
    asked = Table1(
        profile="paper",
        rows=("rel-psp-340-slow", "rc-lstm-fast"),
        recipe=("tuned", "dropout"),
        polarity=("bright_first", "dark_first"),
    )
    runs = {(c.row, c.recipe, c.polarity): c.train for c in planned(asked, embedded_digits())}
    for recipe, epochs in (("tuned", 40), ("dropout", 100)):
        bright, dark = (
            runs["rel-psp-340-slow", recipe, f"{side}_first"] for side in ("bright", "dark")
        )
        assert (bright.epochs, bright.lr, dark.epochs, dark.lr) == (epochs, 3e-3, epochs, 5e-4)
        assert bright.spike_dropout == dark.spike_dropout
    same = [train for (row, *_), train in runs.items() if row == "rc-lstm-fast"]
    assert len(same) == 2
    assert same[0] == same[1]


def test_mapped_dense_networks_train_on_the_ink_with_either_polarity():
    asked = Table1(
        profile="paper",
        rows=(
            "rel-psp-340-slow",
            "rel-psp-340-strict",
            "alpha-psp-340-slow",
            "conv-rel-psp-strict",
        ),
        recipe=("mapped", "fine-tuned"),
        polarity=("bright_first", "dark_first"),
    )
    for run in planned(asked, embedded_digits()):
        ink = float(run.polarity == "dark_first" and run.row != "conv-rel-psp-strict")
        assert run.train.offset == ink, run.name
        assert run.train.deadline == (0.04 if run.row.endswith("strict") else 1.0)
        assert (run.train.first_spikes is None) == (run.recipe == "mapped")


def test_a_missing_network_of_the_authors_is_named(options, tmp_path):
    config = replace(
        tiny(CONFIG), model=ContinuousModel("alpha_psp", (784, 340, 10), file="no.npz")
    )
    digits = embedded_digits()
    digits = Digits(digits.train, digits.test, digits.name, digits.title, str(tmp_path))
    outcome = run_one(config, digits, options, "")
    assert outcome.failed
    assert "no.npz is not there; looked at" in outcome.line


def test_a_network_that_stays_silent_on_a_sample_has_an_infinite_mean_time(options):
    # A blank image: silent in, silent out.
    held = embedded_digits()
    images = held.test.images.clone()
    images[:] = 0
    digits = Digits(held.train, Split(images, held.test.labels), held.name, held.title, held.origin)
    run_one(CONFIG, digits, options, "")
    made = record.read(options.results / "table1" / f"{CONFIG.name}.json")
    assert isinstance(made, record.Record), made
    assert made.metrics["strict_clock"]["mean"] is None
    assert made.metrics["accuracy"] == 0.0
    assert made.metrics["fired"] == 0
    assert "∞" in table.table1([made], "", "text")


def test_infinity_becomes_none_at_any_depth():
    assert without_infinity({"a": [math.inf, {"b": -math.inf}], "c": 1, "d": True}) == {
        "a": [None, {"b": None}],
        "c": 1,
        "d": True,
    }


def test_the_paper_protocol_trains_on_all_images_and_chooses_on_the_test_set():
    config = replace(CONFIG, protocol="paper", n_validation=0, n_train=4000, n_test=1000)
    training, validation, test = splits(config, embedded_digits())
    assert len(training.labels) == 4000
    assert torch.equal(validation.images, test.images)


@pytest.mark.parametrize("row", ["rel-psp-340-slow", "conv-rel-psp-slow", "conv-rel-psp-strict"])
def test_a_mapped_row_has_the_layers_of_the_row_that_is_trained_by_spikes(row):
    asked = [Table1(rows=(row,), recipe=(r,), profile="paper") for r in ("mapped", "fine-tuned")]
    ((run,), (tuned,)) = (planned(options, embedded_digits()) for options in asked)
    layers = [x.shape[1] for x in run.build().spike_times(torch.rand(2, 784))]
    wanted = [340, 10] if row == "rel-psp-340-slow" else [2304, 512, 800, 128, 10]
    assert layers == [784, *wanted], "a relay for each pixel first"
    assert replace(tuned.train, first_spikes=None) == run.train, "the same network to begin with"
    assert json.loads(json.dumps(tuned.config))["train"]["first_spikes"]["lr_pulses"] == 0.0


def test_a_mapped_run_leaves_a_record_whose_line_says_how_it_came_about(options):
    model = MappedModel("dense", (784, 20, 10))
    train = MappedConfig(
        epochs=2,
        lr=3e-3,
        samples=50,
        first_spikes=ContinuousConfig(epochs=1, optimizer="adamw", lr=1e-4, lr_pulses=0.0),
    )
    run = replace(CONFIG, recipe="fine-tuned", augment="bicubic affine", model=model, train=train)
    outcome = run_one(run, embedded_digits(), options, "a test")
    assert not outcome.failed, outcome.line
    (done,) = record.read_all(options.results / "table1")
    line = table.table1([done], "digits", "text")
    assert "fine-tuned, augmented" in line
    assert "300 × 2 + 1 epochs / 200" in line
    assert done.metrics["strict_clock"]["mean"] == pytest.approx(8 / 7, rel=0.01)
    net = load(next((options.runs / run.name).glob("*.safetensors")))
    times = run.encode(splits(run, embedded_digits())[2].images)
    right = net.decide(times).label == splits(run, embedded_digits())[2].labels
    assert int(right.sum()) == done.metrics["correct"]
