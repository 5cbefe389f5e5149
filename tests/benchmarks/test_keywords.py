"""Keyword networks from training to the figures, on a few made-up clips."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import figure4, figure5, record
from benchmarks.keywords import task as keywords
from benchmarks.keywords.task import KeywordOptions
from benchmarks.run import Measurement
from benchmarks.speed import long_sequences
from benchmarks.task import command
from encoders.keyword_features import Features, KeywordData, Normalisation
from encoders.keyword_network import keyword_network, load_network
from encoders.log_mel import LogMel
from encoders.speech_commands import classes
from rc_snn.exits import accuracy_within
from rc_snn.models import RCLSTM
from rc_snn.runner import decide


def clips(seed: int, n: int = 36) -> Features:
    """Nine classes, each with a mel band of its own that is loud in the middle of the clip."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n).remainder(9)
    frames = torch.randn(n, 101, 20, generator=generator)
    frames[torch.arange(n), 30:60, 2 * labels] += 6.0
    return Features(frames, labels, tuple(f"word/{i}_nohash_0.ogg" for i in range(n)), 0)


@pytest.fixture
def options(tmp_path, monkeypatch) -> KeywordOptions:
    """Options whose recordings are made up, and whose trainings are short."""
    data = KeywordData(
        train=clips(0),
        validation=clips(1),
        test=clips(2),
        normalisation=Normalisation.of(clips(0).frames),
        front_end=LogMel(),
        classes=classes(),
    )
    monkeypatch.setattr(keywords, "load_keywords", lambda *_, **__: data)
    monkeypatch.setattr(
        keywords,
        "find_recordings",
        lambda name, *_, **__: type("R", (), {"digest": lambda s: name})(),
    )
    run = keywords._run
    monkeypatch.setattr(keywords, "_run", lambda *a, **k: _short(run(*a, **k)))
    monkeypatch.setattr(keywords, "REPEATED_BETAS", (0.0, 0.1))
    monkeypatch.setattr(keywords, "BETAS", (0.0, 0.1, 0.4))
    return KeywordOptions(
        train=True,
        profile="quick",
        seeds=(0, 1),
        methods=("eos", "rc", "random_theta_prefix"),
        results=tmp_path / "results",
        runs=tmp_path / "runs",
        data=tmp_path,  # recordings are cached by their folder
    )


def _short(run):
    return replace(
        run,
        model=replace(run.model, n_hidden=8),
        train=replace(run.train, epochs=2, batch_size=12, lr=0.02, theta=0.3),
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:beta=.* is at or above critical_beta")
def test_records_hold_what_the_networks_answer_and_figures_are_drawn_from_them(
    options, monkeypatch, capsys
):
    monkeypatch.setattr(keywords, "THETA", 0.3)
    assert command(keywords.TASK, options) == 0
    title, *lines = filter(None, capsys.readouterr().out.splitlines())
    assert title == "Networks trained on keywords"
    assert len(lines) == 13
    found = keywords.records(options)
    assert [r.metrics["n"] for r in found] == [36] * 13
    heard = keywords.spoken(options)
    assert len(keywords.TASK.runs(options)) == 13

    # A curve is what the runner decides, threshold by threshold.
    run = next(r for r in keywords.TASK.runs(options) if r.train.method == "rc")
    done = next(r for r in found if r.name == run.name)
    network = load_network(keywords.run_folder(run, options) / "rc-lstm-keywords.safetensors")
    for split, data in (("validation", heard.validation), ("test", heard.test)):
        curve = done.metrics["curves"][split]
        for i in range(0, len(keywords.THETAS), 19):
            decision = decide(network.model, data.inputs, float(keywords.THETAS[i]))
            right = (decision.label == data.labels).double().mean().item()
            ms = LogMel().heard_ms(decision.step).mean().item()
            assert curve["mean_step"][i] == pytest.approx(decision.step.double().mean().item())
            assert curve["mean_ms"][i] == pytest.approx(ms)
            assert curve["accuracy"][i] == pytest.approx(right)
        end = decide(network.model, data.inputs, None)
        right = (end.label == data.labels).double().mean().item()
        assert done.metrics[f"{split}_accuracy_at_end"] == pytest.approx(right)
    assert len(set(curve["mean_step"])) > 5, "the thresholds make a difference"
    at_theta = decide(network.model, heard.test.inputs, 0.3)
    assert done.metrics["correct"] == int((at_theta.label == heard.test.labels).sum())
    assert network.theta == keywords.chosen_theta(done.metrics, 36)
    used = decide(network.model, heard.test.inputs, network.theta)
    assert network.measured["correct"] == int((used.label == heard.test.labels).sum())

    # A figure that is asked to train makes what is missing.
    gone = options.results / "keywords" / f"{found[0].name}.json"
    gone.unlink()
    assert command(figure4.TASK, options) == 0
    made = record.read(gone)
    assert (made.metrics, made.config) == (found[0].metrics, found[0].config)
    capsys.readouterr()

    # The test set is heard once: made again, nothing is trained and nothing measured.
    monkeypatch.setattr(keywords, "trace", lambda *_, **__: pytest.fail("the record was not used"))
    assert command(keywords.TASK, options) == 0

    for figure in (figure4, figure5):
        assert command(figure.TASK, replace(options, train=False)) == 0
        name = figure.__name__.rsplit(".", 1)[-1]
        picture = options.results / name / f"{name}.quick.png"
        assert picture.read_bytes()[:4] == b"\x89PNG"
        assert picture.with_suffix(".txt").read_text().strip() in capsys.readouterr().out


@pytest.mark.usefixtures("as_user")
def test_without_records_it_says_how_to_make_them(options):
    with pytest.raises(ValueError, match=r"no record of the profile quick .* --train"):
        command(keywords.TASK, replace(options, train=False))
    with pytest.raises(ValueError, match=r"no record of the profile quick .* --train"):
        command(figure5.TASK, replace(options, train=False))


def test_traces_that_were_not_made_here_are_asked_for(options):
    run = keywords.TASK.runs(options)[0]
    with pytest.raises(ValueError, match=r"records are checked in, traces are not"):
        keywords.traces_of(run, options)


def test_the_best_beta_and_all_of_them_are_chosen_on_validation():
    """Two networks: the one that is better on validation is worse on the test set."""
    budgets = torch.tensor([1.0, 2.0], dtype=torch.float64)

    def network(beta: float, validation: float, test: float) -> record.Record:
        points = {"mean_ms": [0.5, 1.5]}
        curves = {
            "validation": points | {"accuracy": [0.1, validation]},
            "test": points | {"accuracy": [0.1, test]},
        }
        config = {"train": {"method": "rc", "beta": beta, "seed": 0}}
        empty = dict.fromkeys(record.Record.__dataclass_fields__)
        return record.Record(**empty | {"config": config, "metrics": {"curves": curves}})

    done = [network(0.1, 0.8, 0.7), network(0.2, 0.9, 0.6)]
    for kind, expected in (("first", 0.7), ("best", 0.6), ("all", 0.6)):
        validation, test = figure5.family(done, kind, budgets)
        within = accuracy_within(validation, test, budgets)
        assert within.tolist() == pytest.approx([0.1, expected]), kind


def test_the_overhead_is_time_over_the_share_of_steps():
    one = long_sequences.Cost("RC, θ = 0.5", 0.25, [0.3, 0.5, 0.2])
    assert one.overheads == pytest.approx([1.2, 2.0, 0.8])

    def report(*costs: long_sequences.Cost) -> str:
        metrics = {"batches": 8, "repeats": 3, "measured": [c._asdict() for c in costs]}
        run = Measurement("long_sequences", {})
        return long_sequences.report(run.record(lambda: metrics, "-"))

    text = report(one, one._replace(name="EOS", share=1.0))
    assert "target, overhead <= 1.5 at any mean spike time: met; the largest is 1.20" in text
    slow = one._replace(ratios=[0.4, 0.5, 0.6])
    assert "MISSED; the largest is 2.00 at t/T = 0.250" in report(slow)


@pytest.mark.slow
def test_torchs_network_in_the_comparison_computes_what_ours_does():
    data = KeywordData(
        clips(0), clips(1), clips(2), Normalisation.of(clips(0).frames), LogMel(), classes()
    )
    generator = torch.Generator().manual_seed(0)
    model = RCLSTM(420, 8, 9, n_dense=4, dense_input=True, generator=generator)
    net = keyword_network(
        "n", model, 0.5, data.normalisation, data.front_end, data.classes, {}, "r"
    )
    batch = data.sequences("train")
    reference = long_sequences.TorchLSTM(model)
    dense = torch.stack([batch.inputs.at(t) for t in range(81)])
    ours = decide(model, batch.inputs, None).scores
    torch.testing.assert_close(torch.softmax(reference(dense), dim=1).detach(), ours)
    found = long_sequences.measure(net, [batch], repeats=1)
    shares = {one.name: one.share for one in found}
    assert shares["EOS"] == 1.0
    assert np.all([0 < one.share <= 1 and one.ratios[0] > 0 for one in found])


def test_recorded_thresholds_reach_from_always_to_hardly_ever():
    assert keywords.THETAS[0] < 1 / 9, "nine classes: the largest probability is at least 1/9"
    assert keywords.THETAS[-1] > 0.9998
