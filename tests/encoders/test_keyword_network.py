"""The keyword network: the stream decides as the runner does, the file returns what went in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from encoders import keyword_network
from encoders.keyword_features import Normalisation
from encoders.keyword_network import KeywordNetwork, KeywordStream, load_network, names, read, write
from encoders.log_mel import LogMel
from rc_snn.models import RCLSTM
from rc_snn.runner import decide
from rc_snn.sequences import ContextSequences
from rc_snn.zoo import round_to_half

CLASSES = ("yes", "no", "up", "unknown")
THETA = 0.9


def network(n_dense: int | None = 6, **options: object) -> KeywordNetwork:
    """A small network that answers noise of several levels at several steps."""
    front_end = LogMel(n_mels=8, context=4)
    generator = torch.Generator().manual_seed(4)
    model = RCLSTM(front_end.n_inputs, 12, 4, n_dense=n_dense, generator=generator).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0)
    round_to_half(model)
    normalisation = Normalisation(torch.linspace(-9.0, -11.0, 8), torch.linspace(3.0, 4.0, 8))
    measured = {"n": 10, "accuracy": 0.5, "heard_ms": 512.5}
    whole = KeywordNetwork(
        "tiny", model, THETA, normalisation, front_end, CLASSES, measured, "rec_0"
    )
    return replace(whole, **options)


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


@pytest.mark.parametrize("n_samples", [16_000, 7_777])
@pytest.mark.parametrize("chunk", [1_013, 4_800, 16_000])
def test_a_stream_decides_as_the_runner_does_on_the_whole_clip(chunk, n_samples):
    net = network()
    samples = clips(n_samples=n_samples)
    frames = net.normalisation(torch.from_numpy(net.front_end(samples)))
    wanted = decide(net.model, ContextSequences(frames, net.front_end.context), net.theta)
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
    path = write(net, tmp_path / "new")
    assert list(path.parent.iterdir()) == [path]
    back = read(path)
    for field in ("name", "theta", "front_end", "classes", "measured", "record"):
        assert getattr(back, field) == getattr(net, field), field
    assert torch.equal(back.normalisation.mean, net.normalisation.mean)
    assert torch.equal(back.normalisation.std, net.normalisation.std)
    ours, theirs = back.model.state_dict(), net.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert not back.model.training


def test_weights_take_two_bytes_and_the_normalisation_four(tmp_path):
    net = network()
    path = write(net, tmp_path)
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["format"] == "rc_snn.keywords/1"
        types = {key: file.get_tensor(key).dtype for key in file.keys()}
    assert {types.pop("mean"), types.pop("std")} == {torch.float32}
    assert set(types.values()) == {torch.float16}


def test_networks_ship_by_name_and_files_load_by_path(tmp_path, monkeypatch):
    monkeypatch.setattr(keyword_network, "FOLDER", tmp_path)
    assert names() == []
    with pytest.raises(ValueError, match=r"no keyword network 'tiny'; there are none"):
        load_network("tiny")
    path = write(network(), tmp_path)
    assert names() == ["tiny"]
    assert load_network("tiny").theta == load_network(str(path)).theta == THETA
    with pytest.raises(ValueError, match=r"no keyword network 'other'; there are tiny\."):
        load_network("other")
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        load_network(str(tmp_path / "none.safetensors"))


def change(path: Path, key: str, value: object) -> None:
    """Change the text (or a tensor) of a file; None takes it out."""
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata())
    tensors, about = load_file(path), json.loads(header["about"])
    target = tensors if key in tensors or key.startswith("cell.") else about
    target[key] = value
    if value is None:
        del target[key]
    save_file(tensors, path, header | {"about": json.dumps(about)})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("theta", None),
        ("theta", 1.5),
        ("classes", ["a", "b"]),
        ("n_hidden", 13),
        ("n_dense", None),
        ("n_dense", 7),
        ("surplus", 1),
        ("front_end", {"n_mels": 9}),
        ("front_end", {"colour": 9}),
        ("front_end", {"fmax_hz": 9_000.0}),
        ("mean", None),
        ("mean", torch.zeros(5)),
        ("std", torch.zeros(8)),
        ("cell.more", torch.zeros(3)),
    ],
)
def test_a_file_that_lacks_or_adds_something_is_refused(tmp_path, as_user, key, value):
    path = write(network(), tmp_path)
    change(path, key, value)
    with pytest.raises(ValueError, match=rf"{path.name} lacks or adds something"):
        read(path)


def test_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"format": "rc_snn.zoo/1", "about": "{}"})
    with pytest.raises(ValueError, match=r"not a network of the format rc_snn\.keywords/1"):
        read(path)


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


@pytest.mark.parametrize("name", names() or [pytest.param("", marks=pytest.mark.skip("none yet"))])
def test_what_ships_is_readable_and_small(name):
    net = load_network(name)
    assert net.classes[-1] == "unknown"
    assert net.measured
    assert (keyword_network.FOLDER / f"{name}.safetensors").stat().st_size < 1_000_000
