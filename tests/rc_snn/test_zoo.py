"""Networks that ship: what is read is what was written, and what cannot ship is refused."""

import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rc_snn import zoo
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.zoo import Architecture, Trained

T = 6
MEASURED = {"n": 10_000, "correct": 9812, "accuracy": 0.9812, "time_to_insight": 0.5, "fired": 9990}


THETA = {"lstm": 0.3, "convlstm": 0.15, "deep": 0.6}
"""A θ for each network at which samples decide at several steps."""
KINDS = list(THETA)


def steps(seed: int, n: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(T + 1, (n, 784), generator=generator).to(torch.int16)


def network(kind: str, *, centred: bool = True, rounded: bool = True) -> Trained:
    """A network whose samples decide at several steps."""
    architecture = {
        "lstm": Architecture("lstm", (11,)),
        "convlstm": Architecture("convlstm", (3,), 5),
        "deep": Architecture("convlstm", (2, 3), 3, 4),
    }[kind]
    model = architecture.build().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    if rounded:
        zoo.round_to_half(model)
    mean = torch.rand(T, 784, generator=torch.Generator().manual_seed(0)) if centred else None
    encoder = {"polarity": "dark_first", "zero_pixels": "last"}
    return Trained(
        f"rc-{kind}", model, architecture, THETA[kind], T, encoder, mean, MEASURED, "rec"
    )


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_comes_back_as_it_was_written(kind, centred, tmp_path):
    written = network(kind, centred=centred)
    path = zoo.write(written, tmp_path / "new")
    assert list(path.parent.iterdir()) == [path]
    n_weights = sum(p.numel() for p in written.model.parameters())
    n_mean = 0 if written.mean is None else written.mean.numel()
    assert path.stat().st_size < 2 * n_weights + 4 * n_mean + 2000, "two bytes for each weight"
    back = zoo.read(path)
    for field in ("name", "architecture", "theta", "n_steps", "encoder", "measured", "record"):
        assert getattr(back, field) == getattr(written, field), field
    assert (back.mean is None) == (written.mean is None)
    if back.mean is not None and written.mean is not None:
        assert torch.equal(back.mean, written.mean)
    ours, theirs = back.model.state_dict(), written.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name].dtype == torch.float32
        assert ours[name].stride() == theirs[name].stride(), name
        assert torch.equal(ours[name], theirs[name]), name
    assert not back.model.training


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_was_read_decides_as_the_one_that_was_written(kind, tmp_path):
    written = network(kind)
    back = zoo.read(zoo.write(written, tmp_path))
    ours, theirs = back.decide(steps(1)), written.decide(steps(1))
    assert len(theirs.step.unique()) > 1, "the case must have decisions at several steps"
    for field in ("label", "step", "fired", "scores"):
        assert torch.equal(getattr(ours, field), getattr(theirs, field)), field
    assert torch.equal(back.sequences(steps(1)).at(2), (steps(1) == 2).float() - written.mean[2])


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_to_half_changes_weights_by_half_an_ulp_and_once_only(kind):
    before, model = network(kind, rounded=False).model, network(kind, rounded=False).model
    zoo.round_to_half(model)
    for old, new in zip(before.parameters(), model.parameters(), strict=True):
        assert new.dtype == torch.float32
        torch.testing.assert_close(new, old, rtol=2**-11, atol=2**-25)
        assert torch.equal(new, new.half().float())
        assert not torch.equal(new, old)
    once = [p.clone() for p in model.parameters()]
    zoo.round_to_half(model)
    assert all(torch.equal(a, b) for a, b in zip(once, model.parameters(), strict=True))


TOO_LARGE = pytest.mark.parametrize("value", [65_520.0, -1e30, math.inf, math.nan])


@TOO_LARGE
def test_weights_that_float16_cannot_hold_are_not_rounded(value):
    model = network("lstm").model
    with torch.no_grad():
        model.output.bias[3] = 65_504.0  # the largest it can
        zoo.round_to_half(model)
        model.output.bias[3] = value
    with pytest.raises(ValueError, match="float16; the network cannot ship"):
        zoo.round_to_half(model)


@TOO_LARGE
def test_weights_that_float16_cannot_hold_are_not_written(value, tmp_path):
    net = network("lstm")
    with torch.no_grad():
        net.model.output.bias[3] = value
    with pytest.raises(ValueError, match="float16"):
        zoo.write(net, tmp_path)
    assert list(tmp_path.iterdir()) == []


def text(path: Path) -> None:
    path.write_text("no weights")


def foreign(path: Path) -> None:
    save_file({"x": torch.zeros(3)}, path)


def other_format(path: Path) -> None:
    save_file({"x": torch.zeros(3)}, path, {"format": "rc_snn.zoo/0", "about": "{}"})


def truncated(path: Path) -> None:
    whole = zoo.write(network("lstm"), path.parent / "whole").read_bytes()
    path.write_bytes(whole[: len(whole) - 100])


@pytest.mark.parametrize("damage", [text, foreign, other_format, truncated])
def test_files_that_are_not_networks_of_this_format_are_refused(damage, tmp_path):
    path = tmp_path / "wrong.safetensors"
    damage(path)
    with pytest.raises(ValueError, match=r"wrong\.safetensors"):
        zoo.read(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.safetensors cannot be read"):
        zoo.read(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("about", [None, "{}", "described"])
def test_files_of_the_format_that_lack_description_or_weights_are_refused(about, tmp_path):
    source = zoo.write(network("lstm"), tmp_path / "whole")
    with safe_open(source, framework="pt") as file:
        header = file.metadata()
    if about is None:
        del header["about"]
    elif about != "described":
        header["about"] = about
    path = tmp_path / "wrong.safetensors"
    save_file({"x": torch.zeros(3)}, path, header)
    with pytest.raises(ValueError, match=r"wrong\.safetensors"):
        zoo.read(path)


def test_networks_are_loaded_by_name_and_an_unknown_name_is_refused_with_the_list(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "none yet")
    assert zoo.names() == []
    with pytest.raises(ValueError, match=r"no network 'rc-lstm'; there are none\."):
        zoo.load("rc-lstm")
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    for kind in KINDS:
        zoo.write(network(kind), tmp_path)
    assert zoo.names() == ["rc-convlstm", "rc-deep", "rc-lstm"]
    for name in zoo.names():
        assert zoo.load(name).name == name
    assert isinstance(zoo.load("rc-lstm").model, RCLSTM)
    assert isinstance(zoo.load("rc-deep").model, RCConvLSTM)
    with pytest.raises(
        ValueError, match=r"no network 'rc'; there are rc-convlstm, rc-deep, rc-lstm"
    ):
        zoo.load("rc")
    with pytest.raises(ValueError, match="no network"):
        zoo.load("../rc-lstm")
