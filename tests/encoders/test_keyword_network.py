"""The keyword network: the stream decides as the runner does, the file returns what went in."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from encoders.keyword_features import Normalisation
from encoders.keyword_network import (
    KeywordStream,
    front_end_of,
    keyword_network,
    load_network,
    normalisation_of,
)
from encoders.log_mel import LogMel
from rc_snn import network as shelf
from rc_snn.formats.half import round_to_half
from rc_snn.models import RCLSTM
from rc_snn.network import Network, load
from rc_snn.runner import decide
from rc_snn.sequences import ContextSequences

CLASSES = ("yes", "no", "up", "unknown")
THETA = 0.9


def network(n_dense: int | None = 6, **options: Any) -> Network:
    """A small network that answers noise of several levels at several steps."""
    front_end = LogMel(n_mels=8, context=4)
    generator = torch.Generator().manual_seed(4)
    model = RCLSTM(front_end.n_inputs, 12, 4, n_dense=n_dense, generator=generator).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0)
    round_to_half(model)
    about: dict[str, Any] = {
        "name": "tiny",
        "model": model,
        "theta": THETA,
        "normalisation": Normalisation(torch.linspace(-9, -11, 8), torch.linspace(3, 4, 8)),
        "front_end": front_end,
        "classes": CLASSES,
        "measured": {"n": 10, "accuracy": 0.5, "heard_ms": 512.5},
        "record": "rec_0",
    }
    return keyword_network(**(about | options))


def clips(n: int = 24, n_samples: int = 16_000) -> np.ndarray:
    random = np.random.default_rng(1)
    level = np.exp(random.uniform(-9, -1, (n, 1)))
    swell = np.abs(np.sin(np.linspace(0, 1, n_samples) * random.uniform(1, 30, (n, 1))))
    return (level * swell * random.standard_normal((n, n_samples))).astype(np.float32)


def stream_clip(stream: KeywordStream, samples: np.ndarray, chunk: int):
    stream.reset()
    for i in range(0, len(samples), chunk):
        if stream.push(samples[i : i + chunk]) is not None:
            return stream.decision
    return stream.finish()


# The stream


@pytest.mark.parametrize("n_samples", [7_777, pytest.param(16_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "chunk", [1_013, *(pytest.param(x, marks=pytest.mark.slow) for x in (4_800, 16_000))]
)
def test_a_stream_decides_as_the_runner_does_on_the_whole_clip(chunk, n_samples):
    net = network()
    samples = clips(n_samples=n_samples)
    front_end = front_end_of(net)
    frames = normalisation_of(net)(torch.from_numpy(front_end(samples)))
    inputs = ContextSequences(frames, front_end.context)
    wanted = decide(net.model, inputs, net.theta)
    assert torch.equal(net.decide(inputs).step, wanted.step)
    stream = KeywordStream(net)
    found = [stream_clip(stream, clip, chunk) for clip in samples]
    assert torch.equal(torch.cat([d.step for d in found]), wanted.step)
    assert torch.equal(torch.cat([d.label for d in found]), wanted.label)
    assert torch.equal(torch.cat([d.fired for d in found]), wanted.fired)
    torch.testing.assert_close(torch.cat([d.scores for d in found]), wanted.scores)
    assert 0 < int(wanted.fired.sum()) < len(wanted), "some are forced, some are not"
    assert len(wanted.step[wanted.fired].unique()) > 3, "at several steps"


def test_the_answer_is_out_with_the_last_sample_that_it_needs():
    net = network()
    stream = KeywordStream(net)
    checked = 0
    for clip in clips():
        decision = stream_clip(stream, clip, 16_000)
        heard = stream.heard_ms
        if not decision.fired or heard > 980:  # the last frames need the zeros after the clip
            continue
        n = round(heard * 16)
        stream.reset()
        assert stream.push(clip[: n - 1]) is None
        assert torch.equal(stream.push(clip[n - 1 : n]).step, decision.step)
        checked += 1
    assert checked > 5


def test_a_lower_theta_of_the_stream_answers_no_later():
    net = network()
    sooner = KeywordStream(net, theta=0.4)
    for clip in clips(8):
        late, soon = stream_clip(KeywordStream(net), clip, 160), stream_clip(sooner, clip, 160)
        assert int(soon.step) <= int(late.step)
    with pytest.raises(ValueError, match="theta must be in"):
        KeywordStream(net, theta=1.0)


def test_nothing_of_a_clip_is_left_for_the_next():
    net = network()
    samples = clips(6)
    fresh = [stream_clip(KeywordStream(net), clip, 160) for clip in samples]
    stream = KeywordStream(net)
    for wanted, clip in zip(fresh, samples, strict=True):
        assert torch.equal(stream_clip(stream, clip, 160).scores, wanted.scores)


def test_what_follows_an_answer_is_not_analysed_and_does_not_change_it():
    net = network()
    stream = KeywordStream(net, theta=0.25)  # the largest of four is never below it
    decision = stream.push(clips(1)[0][:8_000])
    assert stream.push(np.full(100, np.nan, np.float32)) is decision
    assert stream.finish() is decision


def test_silence_until_the_end_is_forced_and_has_heard_the_whole_clip():
    stream = KeywordStream(network(), theta=0.999999)
    assert stream.heard_ms is None
    decision = stream.finish()
    assert (decision.fired.item(), decision.step.item()) == (False, 96)
    assert stream.heard_ms == 1000.0


# The file


@pytest.mark.parametrize("n_dense", [6, None])
def test_a_network_comes_back_as_it_was_written(tmp_path, n_dense):
    net = network(n_dense)
    back = load_network(net.save(tmp_path / "tiny.safetensors", half=True))
    for field in ("name", "theta", "n_steps", "encoder", "classes", "measured", "record", "reads"):
        assert getattr(back, field) == getattr(net, field), field
    assert front_end_of(back) == LogMel(n_mels=8, context=4)
    assert torch.equal(normalisation_of(back).mean, torch.linspace(-9, -11, 8))
    assert torch.equal(normalisation_of(back).std, torch.linspace(3, 4, 8))
    ours, theirs = back.model.state_dict(), net.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    clip = clips(1)[0]
    one, other = (stream_clip(KeywordStream(each), clip, 160) for each in (net, back))
    assert torch.equal(one.scores, other.scores)


def test_a_keyword_network_loads_by_name_and_other_networks_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "SHELF", tmp_path)
    network().save(tmp_path / "tiny.safetensors")
    other = Network(name="other", model=RCLSTM(6, 4, 3), n_steps=5)
    other.save(tmp_path / "other.safetensors")
    assert load_network("tiny").theta == THETA
    assert load("other").n_steps == 5
    with pytest.raises(ValueError, match=r"other is no keyword network: its encoder is \{\}"):
        load_network("other")
    with pytest.raises(
        ValueError, match=r"no network or file 'none'\. Networks that ship are other, tiny"
    ):
        load_network("none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tensors": {}}, "tiny does not say how its mel bands are normalised"),
        ({"encoder": {"name": "latency"}}, "tiny is no keyword network"),
        ({"encoder": {"name": "log_mel", "n_mels": 9}}, "front end gives 189 in 9"),
        ({"encoder": {"name": "log_mel", "colour": 9}}, "colour"),
        ({"encoder": {"name": "log_mel", "fmax_hz": 9_000.0}}, "fmax_hz"),
        ({"tensors": {"band_mean": torch.zeros(5), "band_std": torch.ones(5)}}, "5 bands"),
        ({"tensors": {"band_mean": torch.zeros(8), "band_std": torch.zeros(8)}}, "positive dev"),
    ],
)
def test_a_file_that_no_front_end_fits_is_refused(change, message, tmp_path, as_user):
    path = replace(network(), **change).save(tmp_path / "tiny.safetensors")
    with pytest.raises(ValueError, match=message):
        load_network(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"theta": 0.0}, "theta must be in"),
        ({"classes": CLASSES[1:]}, "4 outputs, got 3 classes"),
        ({"front_end": LogMel()}, "front end gives 420 in 20"),
        ({"normalisation": Normalisation(torch.zeros(7), torch.ones(7))}, "7 bands"),
    ],
)
def test_parts_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)


def test_a_stream_needs_a_theta():
    net = replace(network(), theta=None)
    with pytest.raises(ValueError, match=r"tiny has no threshold θ\. Pass theta"):
        KeywordStream(net)
    assert KeywordStream(net, theta=0.4).finish() is not None


def test_dropout_is_off_in_a_stream():
    model = RCLSTM(40, 12, 4, dropout=0.5).train()
    net = network(model=model, theta=0.9)
    clip = clips(1)[0]
    found = [stream_clip(KeywordStream(net), clip, 1_600) for _ in range(2)]
    assert torch.equal(found[0].scores, found[1].scores)
    assert model.training
    assert model.dropout.training


def test_what_ships_is_small():
    net = load_network("rc-lstm-keywords")
    assert net.classes[-1] == "unknown"
    assert net.measured
    assert Path(shelf.SHELF, f"{net.name}.safetensors").stat().st_size < 1_000_000


def test_a_clip_in_int16_decides_as_the_same_clip_in_shares_of_full_scale():
    net = network()
    for samples in clips(6):
        whole = np.round(samples * 32768).astype(np.int16)
        answers = []
        for clip in (whole, whole.astype(np.float32) / np.float32(32768)):
            stream = KeywordStream(net)
            stream.push(clip)
            answers.append(stream.finish())
        assert torch.equal(answers[0].label, answers[1].label)
        assert torch.equal(answers[0].step, answers[1].step)
        assert torch.equal(answers[0].scores, answers[1].scores)
