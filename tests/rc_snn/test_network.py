"""Networks: what is read is what was written, and what could not be read is not written."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from baselines.alpha_psp import alpha_psp
from baselines.conv import conv_rel_psp
from baselines.lif import RCLIF, TTFSLIF, rc_lif, ttfs_lif
from baselines.rel_psp import rel_psp
from bridges.networks.step_models import StepModule
from encoders.log_mel import LogMel
from rc_snn import Decision, network
from rc_snn.files.tensors import read_tensors
from rc_snn.formats.half import round_to_half
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.network import Network, load, names
from rc_snn.runner import decide
from rc_snn.sequences import DenseSequences, SpikeSequences
from rc_snn.spikes import spike_frames, spike_steps
from rc_snn.step_model import State, StepCost

T = 6
MEASURED = {"n": 10_000, "correct": 9812, "accuracy": 0.9812, "time_to_insight": 0.5, "fired": 9990}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class GRU(nn.Module):
    """A user's network: it says with its attributes how it was built."""

    def __init__(
        self, n_inputs: int, n_hidden: int, n_classes: int = 3, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.n_inputs, self.n_hidden, self.n_classes = n_inputs, n_hidden, n_classes
        self.scale = scale
        self.cell, self.output = nn.GRUCell(n_inputs, n_hidden), nn.Linear(n_hidden, n_classes)

    def step(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        h = self.cell(self.scale * x, None if state is None else state[0])
        return h, (h,)

    def read_out(self, features: Tensor) -> Tensor:
        return self.output(features)

    def cost(self) -> StepCost:
        gates = 3 * self.n_hidden
        fan_out = torch.full((self.n_inputs,), float(gates))
        read_out = self.n_hidden * self.n_classes
        return StepCost(gates * self.n_inputs, 0, gates * self.n_hidden, read_out, fan_out)


def wide_gru(width: int) -> GRU:
    """What makes a user's network, of other arguments than its own."""
    return GRU(2 * width, width)


def unsaid_gru(width: int):
    return wide_gru(width)


class Answers(nn.Module):
    """A user's network that only answers, at the first of its input spikes."""

    n_inputs, n_classes = 5, 2

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 2, generator=generator(0)))

    def decide(self, times: Tensor) -> Decision:
        first = times.amin(dim=1)
        scores = (1.0 - times.clamp(max=1.0)) @ self.weight.detach()
        return Decision(scores.argmax(dim=1), first, None, first.isfinite(), scores)


def loud(model: Any, gain: float = 3.0) -> Any:
    """Scale the weights, so that samples decide at several steps."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)
    return model.eval()


def seeded(make: Callable[..., Any], *sizes: Any, gain: float = 3.0, **options: Any) -> Any:
    return loud(make(*sizes, generator=generator(0), **options), gain)


def gru() -> GRU:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return loud(GRU(9, 5, scale=0.5))


def gru_of_factory() -> dict[str, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = loud(wide_gru(4))
    return {"model": model, "maker": wide_gru, "options": {"width": 4}}


MODELS: dict[str, Callable[[], dict[str, Any]]] = {
    "lstm": lambda: {"model": seeded(RCLSTM, 784, 11), "theta": 0.3},
    "1024 inputs": lambda: {"model": seeded(RCLSTM, 1024, 11), "theta": 0.3},
    "dense layer": lambda: {
        "model": seeded(RCLSTM, 20, 8, 4, n_dense=5, dropout=0.3),
        "theta": 0.6,
    },
    "sigmoid": lambda: {"model": seeded(RCLSTM, 20, 8, 2, read_out="sigmoid"), "theta": 0.7},
    "dense input": lambda: {"model": seeded(RCLSTM, 20, 8, 4, dense_input=True, forget_bias=1.0)},
    "float64": lambda: {"model": seeded(RCLSTM, 20, 8, 4).double(), "theta": 0.6},
    "convlstm": lambda: {"model": seeded(RCConvLSTM, (3,), 5), "theta": 0.15},
    "deep": lambda: {"model": seeded(RCConvLSTM, (2, 3), 3, pool=2, gain=5.0), "theta": 0.2},
    "another grid": lambda: {
        "model": seeded(RCConvLSTM, (2,), 3, image_shape=(6, 9), n_classes=4),
        "theta": 0.4,
    },
    "rc-lif": lambda: {
        "model": seeded(rc_lif, "norse", n_inputs=20, n_hidden=8, n_classes=3, gain=8.0),
        "theta": 0.7,
    },
    "rc-lif of other neurons": lambda: {
        "model": seeded(
            rc_lif, "snntorch", n_inputs=20, n_hidden=8, n_classes=3, neurons={"decay_mem": 0.5}
        )
    },
    "ttfs-lif": lambda: {
        "model": seeded(ttfs_lif, "norse", n_inputs=20, n_hidden=8, n_classes=3, gain=8.0),
        "theta": None,
    },
    "alpha-psp": lambda: {
        "model": alpha_psp((20, 8, 3), generator=generator(0)),
        "theta": None,
        "n_steps": None,
    },
    "rel-psp": lambda: {
        "model": rel_psp((20, 8, 3), generator=generator(0)),
        "theta": None,
        "n_steps": None,
    },
    "conv-rel-psp": lambda: {
        "model": conv_rel_psp((2, 3), (9,), generator=generator(0)),
        "theta": None,
        "n_steps": None,
    },
    "a user's GRU": lambda: {"model": gru(), "theta": 0.6},
    "a user's GRU of a factory": gru_of_factory,
    "a user's answers": lambda: {"model": Answers(), "theta": None, "n_steps": None},
}


def made(kind: str = "lstm", **more: Any) -> Network:
    """A network whose samples decide at several steps."""
    about: dict[str, Any] = {"name": "mine", "theta": 0.5, "n_steps": T, "record": "rec"}
    about |= {"measured": MEASURED, "encoder": {"polarity": "dark_first", "zero_pixels": "last"}}
    return Network(**(about | MODELS[kind]() | more))


def times(net: Network, n: int = 40, seed: int = 1) -> Tensor:
    drawn = torch.rand(n, net.model.n_inputs, generator=generator(seed))
    return drawn.masked_fill(drawn > 0.9, torch.inf)


def assert_same(ours: Decision, theirs: Decision) -> None:
    for field in ("label", "time", "fired", "scores"):
        assert torch.equal(getattr(ours, field), getattr(theirs, field)), field
    assert (ours.step is None) == (theirs.step is None)
    assert ours.step is None or torch.equal(ours.step, theirs.step)


# -- There and back -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_a_network_comes_back_as_it_was_written_and_decides_alike(kind, tmp_path):
    written = made(kind)
    path = written.save(tmp_path / "new" / "mine.safetensors")
    assert list(path.parent.iterdir()) == [path]
    back = load(path)
    fields = ("name", "family", "theta", "n_steps", "classes", "reads", "encoder", "measured")
    for field in (*fields, "record"):
        assert getattr(back, field) == getattr(written, field), field
    assert type(back.model) is type(written.model)
    ours, theirs = back.model.state_dict(), written.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert ours[name].dtype == theirs[name].dtype
        assert ours[name].stride() == theirs[name].stride(), name
        assert torch.equal(ours[name], theirs[name]), name
    assert not back.model.training
    assert getattr(back.model, "options", None) == getattr(written.model, "options", None)
    decision = written.decide(times(written))
    assert len(decision.time.unique()) > 1, "the case must have decisions at several times"
    assert_same(back.decide(times(written)), decision)


@pytest.mark.parametrize("kind", MODELS)
def test_a_network_that_was_read_is_written_as_it_was(kind, tmp_path):
    first = made(kind).save(tmp_path / "mine.safetensors")
    second = load(first).save(tmp_path / "again" / "mine.safetensors")
    with safe_open(first, framework="pt") as one, safe_open(second, framework="pt") as two:
        assert one.metadata() == two.metadata()
    ours, theirs = load_file(first), load_file(second)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_options_that_no_weight_shows_come_back(tmp_path):
    model = RCLSTM(20, 8, 4, dropout=0.25, precision="bf16", dense_input=True, n_dense=3)
    net = Network(name="mine", model=model, n_steps=T)
    back = load(net.save(tmp_path / "mine.safetensors")).model
    assert (back.dropout.p, back.precision, back.dense_input) == (0.25, "bf16", True)
    other = made("rc-lif of other neurons")
    assert load(other.save(tmp_path / "lif.safetensors")).model.neurons.decay_mem == 0.5


def test_what_changed_after_reading_is_what_is_written(tmp_path):
    back = load(made().save(tmp_path / "mine.safetensors"))
    back.model.precision = "bf16"
    assert load(back.save(tmp_path / "mine.safetensors")).model.precision == "bf16"
    wider = replace(back, model=RCLSTM(784, 30))
    assert load(wider.save(tmp_path / "mine.safetensors")).model.n_hidden == 30


def test_further_tensors_come_back_and_a_mean_is_subtracted_at_each_step(tmp_path):
    mean = torch.rand(T, 784, generator=generator(0))
    written = made(tensors={"input_mean": mean, "other": torch.arange(3)})
    back = load(written.save(tmp_path / "mine.safetensors", half=False))
    assert back.tensors.keys() == {"input_mean", "other"}
    assert all(torch.equal(back.tensors[key], written.tensors[key]) for key in written.tensors)
    x = times(written)
    steps = spike_steps(x, T)
    assert torch.equal(back.sequences(x).at(2), (steps == 2).float() - mean[2])
    assert_same(back.decide(x), decide(written.model, SpikeSequences(steps, T, mean=mean), 0.3))
    assert not torch.equal(back.decide(x).step, made().decide(x).step), "the mean matters"


def test_sequences_that_lack_the_mean_are_centred_and_others_are_left(as_user):
    mean, other = torch.rand(2, T, 784, generator=generator(0)).unbind()
    net, steps = made(tensors={"input_mean": mean}), spike_steps(times(made()), T)
    centred = SpikeSequences(steps, T, mean=mean)
    assert_same(net.decide(SpikeSequences(steps, T)), decide(net.model, centred, net.theta))
    assert net.sequences(centred) is centred
    assert torch.equal(net.sequences(SpikeSequences(steps, T, mean=other)).mean, other)


# -- Half precision -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lstm", "convlstm", "deep", "conv-rel-psp"])
def test_rounded_weights_take_two_bytes_each_and_come_back_as_they_are(kind, tmp_path):
    written = made(kind)
    round_to_half(written.model)
    path = written.save(tmp_path / "mine.safetensors", half=True)
    n_weights = sum(p.numel() for p in written.model.parameters())
    assert path.stat().st_size < 2 * n_weights + 2500
    back = load(path)
    for name, value in written.model.state_dict().items():
        assert back.model.state_dict()[name].dtype == torch.float32
        assert torch.equal(back.model.state_dict()[name], value)
    assert_same(back.decide(times(written)), written.decide(times(written)))


def test_the_mean_keeps_its_four_bytes(tmp_path):
    written = made(tensors={"input_mean": torch.rand(T, 784, generator=generator(0))})
    round_to_half(written.model)
    with safe_open(written.save(tmp_path / "a.safetensors", half=True), framework="pt") as file:
        types = {key: file.get_tensor(key).dtype for key in file.keys()}
    assert types.pop("input_mean") is torch.float32
    assert set(types.values()) == {torch.float16}


def test_weights_that_were_not_rounded_are_not_written_as_half(tmp_path):
    with pytest.raises(ValueError, match=r"not those of float16\. Call round_to_half"):
        made().save(tmp_path / "mine.safetensors", half=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["lstm", "convlstm"])
def test_rounding_to_half_changes_weights_by_half_an_ulp_and_once_only(kind):
    before, model = made(kind).model, made(kind).model
    round_to_half(model)
    for old, new in zip(before.parameters(), model.parameters(), strict=True):
        assert new.dtype == torch.float32
        torch.testing.assert_close(new, old, rtol=2**-11, atol=2**-25)
        assert torch.equal(new, new.half().float())
        assert not torch.equal(new, old)
    once = [p.clone() for p in model.parameters()]
    round_to_half(model)
    assert all(torch.equal(a, b) for a, b in zip(once, model.parameters(), strict=True))


def test_buffers_are_rounded_with_the_weights_and_integers_left():
    model = nn.BatchNorm1d(3)
    model.running_mean.fill_(1 / 3)
    round_to_half(model)
    assert torch.equal(model.running_mean, model.running_mean.half().float())
    assert model.num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize("value", [65_520.0, -1e30, math.inf, math.nan])
def test_weights_that_float16_cannot_hold_are_neither_rounded_nor_written(value, tmp_path):
    net = made()
    with torch.no_grad():
        net.model.output.bias[3] = 65_504.0  # the largest it can
        round_to_half(net.model)
        net.model.output.bias[3] = value
    with pytest.raises(ValueError, match="too large for float16"):
        round_to_half(net.model)
    with pytest.raises(ValueError, match=r"too large for float16|not finite"):
        net.save(tmp_path / "mine.safetensors", half=True)
    assert list(tmp_path.iterdir()) == []


# -- What cannot be written ---------------------------------------------------------------------


def local() -> Any:
    class Local(GRU):
        pass

    return Local(9, 5)


def lying() -> Any:
    model = gru()
    model.scale = torch.nn.Parameter(torch.tensor(0.5)).item()
    model.n_hidden = 6
    return model


def lying_of_what_no_weight_shows() -> Any:
    model = gru()
    step = model.step
    model.step = lambda x, state: step(7.0 * x, state)
    return model


def silent_of_an_option() -> Any:
    model = gru()
    del model.n_hidden
    return model


CELL = nn.GRUCell(6, 3)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"model": local}, r"local\.<locals>\.Local.*cannot be found again"),
        ({"model": gru, "maker": lambda: gru(), "options": {}}, "<lambda>.*cannot be found again"),
        ({"model": gru, "maker": GRU(9, 5).step, "options": {}}, "may not be called by a file"),
        ({"model": gru, "maker": unsaid_gru, "options": {"width": 4}}, "says that it returns one"),
        ({"model": gru, "maker": wide_gru, "options": {"width": 4}}, "size mismatch"),
        ({"model": gru, "maker": wide_gru, "options": {"height": 4}}, "unexpected keyword"),
        ({"model": gru, "options": {"n_inputs": torch.tensor(9)}}, r"GRU are not JSON.*maker="),
        ({"model": gru, "options": {"n_inputs": math.nan}}, "GRU are not JSON"),
        ({"model": lying}, "size mismatch"),
        ({"model": lying_of_what_no_weight_shows}, "it decides otherwise"),
        ({"model": silent_of_an_option}, "takes 'n_hidden', and the model does not say"),
        (
            {"model": lambda: StepModule(lambda x, h: (CELL(x, h),) * 2, 6, 3)},
            "takes 'module', and the model does not say",
        ),
        ({"model": gru, "encoder": {"device": torch.device("cpu")}}, r"encoder .*is not JSON"),
        ({"model": gru, "measured": {"accuracy": math.nan}}, "is not JSON"),
    ],
)
def test_a_network_that_load_could_not_build_is_refused_when_it_is_written(
    about, message, tmp_path
):
    net = made("a user's GRU", **(about | {"model": about["model"]()}))
    with pytest.raises(ValueError, match=f"(?s){message}"):
        net.save(tmp_path / "mine.safetensors")
    assert list(tmp_path.iterdir()) == []


class Tied(GRU):
    """A user's network whose cell has one matrix for both products, and a mask."""

    def __init__(self, n_inputs: int, n_hidden: int) -> None:
        super().__init__(n_inputs, n_hidden)
        self.cell.weight_hh = self.cell.weight_ih
        self.register_buffer("mask", torch.tensor([0.0, -math.inf]))


def test_weights_that_share_memory_and_infinite_buffers_come_back(tmp_path):
    net = Network(name="tied", model=loud(Tied(5, 5)), n_steps=T, theta=0.9)
    back = load(net.save(tmp_path / "a.safetensors"))
    assert back.model.cell.weight_hh is back.model.cell.weight_ih
    assert torch.equal(back.model.mask, net.model.mask)
    assert_same(back.decide(times(net)), net.decide(times(net)))


def test_names_of_any_alphabet_come_back_and_reserved_ones_are_refused(tmp_path):
    net = made(name="θ = 0.95, ok?", record="a/b\n")
    back = load(net.save(tmp_path / "a.safetensors"))
    assert (back.name, back.record) == (net.name, net.record)
    for wrong in ({"tensors": {"__metadata__": torch.zeros(1)}}, {"tensors": {"": torch.zeros(1)}}):
        try:
            path = made(**wrong).save(tmp_path / "b.safetensors")
        except ValueError as error:
            assert "b.safetensors cannot be written" in str(error)  # noqa: PT017
        else:
            assert load(path).tensors.keys() == wrong["tensors"].keys()


def test_a_file_may_be_called_and_lie_as_its_owner_wants(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = made(name="mine")
    for path in ("mine.pt", "deep/er/no-ending", Path("a.b.safetensors")):
        back = load(written.save(path))
        assert back.name == "mine", "the network's, not the file's"
        assert_same(back.decide(times(back)), written.decide(times(back)))
    with pytest.raises(ValueError, match=r"no network or file 'deep'"):
        load("deep")  # a folder


# -- Whose code is called -----------------------------------------------------------------------


def write(path: Path, kind: str, options: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    """Write a file by hand that names a maker."""
    about = {"kind": kind, "options": options, "classes": [], "family": "", "n_steps": T}
    header = {"format": network.FORMAT, "about": json.dumps(about)}
    save_file({f"model.{key}": value for key, value in tensors.items()}, path, header)
    return path


STRANGER = """
from pathlib import Path
from test_network import GRU
Path(__file__).with_name("imported").touch()
class Stranger(GRU):
    pass
"""


def test_a_file_alone_imports_nothing_of_others(tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    sizes = {"n_inputs": 9, "n_hidden": 5}
    path = write(tmp_path / "a.safetensors", "stranger:Stranger", sizes, gru().state_dict())
    with pytest.raises(ValueError, match=r"Import stranger first, pass maker=Stranger to load"):
        load(path)
    assert not (tmp_path / "imported").exists()
    assert "stranger" not in sys.modules
    with_maker = load(path, maker=GRU)
    assert type(with_maker.model) is GRU
    import stranger

    monkeypatch.setitem(sys.modules, "stranger", stranger)
    assert type(load(path).model) is stranger.Stranger
    assert_same(load(path).decide(times(with_maker)), with_maker.decide(times(with_maker)))


RUNS_A_TEXT = {
    "body": {"_code": "def forward(self): pass"},
    "import_block": "open('called', 'w')\n",
}
"""What makes a function of torch, annotated to return a module, run a text that it is given."""


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("os:system", {"command": "touch called"}),
        ("rc_snn.files:os.system", {"command": "touch called"}),
        ("subprocess:run", {"args": ["touch", "called"]}),
        ("pathlib:Path", {}),
        ("test_network:touch", {}),
        ("test_network:GRU.cost", {}),
        ("rc_snn.commands:made_by", {"name": "test_network:touch"}),
        ("rc_snn.network:load", {"name": "rc-lstm-340-fast"}),
        ("torch.hub:load", {"repo_or_dir": ".", "model": "x", "source": "local"}),
        ("torch.nn:Linear", {"in_features": 1, "out_features": 1}),
        ("rc_snn.network:RCLSTM", {}),  # not where it is defined
        ("torch.fx.graph_module:reduce_graph_module", RUNS_A_TEXT),
        ("rc_snn.network:torch.fx.graph_module.reduce_graph_module", RUNS_A_TEXT),
    ],
)
def test_a_file_calls_nothing_but_makers_of_modules(kind, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a.safetensors", kind, options, {"x": torch.zeros(1)})
    refused = r"may not be called by a file|that builds a network|cannot be found again"
    with pytest.raises(ValueError, match=refused):
        load(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def touch() -> None:
    Path("called").touch()


def test_a_maker_that_is_gone_is_named(tmp_path):
    path = write(tmp_path / "a.safetensors", "rc_snn.models:RCGRU", {}, {"x": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"rc_snn\.models has no RCGRU \(any more\)"):
        load(path)


def test_a_network_of_a_factory_that_is_passed_is_written_again(tmp_path):
    sizes, weights = {"width": 4}, made("a user's GRU of a factory").model.state_dict()
    path = write(tmp_path / "a.safetensors", "gone:wide_gru", sizes, weights)
    back = load(path, maker=wide_gru)
    assert (back.maker, back.options) == (wide_gru, sizes)
    again = load(back.save(tmp_path / "b.safetensors"))
    assert_same(again.decide(times(back)), back.decide(times(back)))


# -- Files that are damaged ---------------------------------------------------------------------


def text(path: Path) -> None:
    path.write_text("no weights")


def foreign(path: Path) -> None:
    save_file({"x": torch.zeros(3)}, path)


def other_format(path: Path) -> None:
    save_file({"x": torch.zeros(3)}, path, {"format": "rc_snn.zoo/0", "about": "{}"})


def truncated(path: Path) -> None:
    whole = made().save(path.parent / "whole.safetensors").read_bytes()
    path.write_bytes(whole[: len(whole) - 100])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (text, "cannot be read as safetensors"),
        (foreign, "got a file that names none"),
        (other_format, r"known here: rc_snn\.network/1, rc_snn\.zoo/1.*got rc_snn\.zoo/0"),
        (truncated, "cannot be read as safetensors"),
    ],
)
def test_files_that_are_no_networks_are_refused_with_the_reason(damage, reason, tmp_path):
    path = tmp_path / "wrong.safetensors"
    damage(path)
    with pytest.raises(ValueError, match=rf"wrong\.safetensors .*{reason}"):
        load(path)


def change(path: Path, key: str, value: object) -> None:
    """Change what a file says, or a tensor of it; None takes it out."""
    with safe_open(path, framework="pt") as file:
        header = {key: value for key, value in file.metadata().items() if key != "digest"}
    tensors, about = load_file(path), json.loads(header["about"])
    target: dict[str, Any] = tensors if "." in key or key == "input_mean" else about
    target[key] = value
    if value is None:
        del target[key]
    save_file(tensors, path, header | {"about": json.dumps(about)})


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("kind", None, "it lacks 'kind'"),
        ("options", None, "it lacks 'options'"),
        ("classes", None, "it lacks 'classes'"),
        ("options", {"n_hidden": 12}, "size mismatch"),
        ("options", {"colour": 12}, "RCLSTM does not take its options.*colour"),
        ("options", ["n_hidden"], "RCLSTM does not take its options|mapping"),
        ("surplus", 1, "surplus"),
        ("theta", 1.5, "theta must be in"),
        ("classes", ["a", "b"], "10 outputs, got 2 classes"),
        ("family", "rank-uncoded", "no family 'rank-uncoded'"),
        ("model.cell.bias_hh", None, "Missing key"),
        ("model.more", torch.zeros(3), "Unexpected key"),
        ("input_mean", torch.zeros(2, 784), r"must be \[n_steps=6, 784\], got \[2, 784\]"),
    ],
)
def test_a_file_that_lacks_or_adds_something_is_refused(key, value, reason, tmp_path, as_user):
    path = made().save(tmp_path / "wrong.safetensors")
    change(path, key, value)
    with pytest.raises(ValueError, match=rf"(?s)wrong\.safetensors cannot be read.*({reason})"):
        load(path)


@pytest.mark.parametrize("kind", ["lstm", "alpha-psp"])
def test_one_changed_bit_is_refused_wherever_it_is(kind, tmp_path):
    path = made(kind).save(tmp_path / "a.safetensors")
    whole = path.read_bytes()
    places = torch.randint(len(whole), (60,), generator=generator(0)).tolist()
    for place in (0, 7, 8, len(whole) - 1, *range(9, 1000, 37), *places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.safetensors "):
            load(path)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rc_snn.models:RCLSTM", {"n_hidden": 9_000}),
        ("rc_snn.models:RCLSTM", {"n_hidden": 10**12}),
        ("rc_snn.models:RCLSTM", {"n_classes": 10**9}),
        ("rc_snn.models:RCConvLSTM", {"channels": [1] * 50_000, "kernel_size": 1}),
        ("rc_snn.models:RCConvLSTM", {"image_shape": [10**5, 10**5]}),
        ("rc_snn.models:RCConvLSTM", {"kernel_size": 99_999}),
        ("baselines.alpha_psp:alpha_psp", {"n_pulses": 10**9}),
        ("baselines.alpha_psp:alpha_psp", {"sizes": [1] * 20_000}),
        ("baselines.lif:rc_lif", {"library": "norse", "n_hidden": 1_200_000}),
    ],
)
def test_a_model_is_not_built_larger_than_the_file_has_weights(kind, options, tmp_path):
    path = write(tmp_path / "a.safetensors", kind, options, {"x": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"ask for more than the 4 bytes of weights that it holds"):
        load(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.fill_(math.nan), "numbers of cell.bias_hh are not finite"),
        (lambda w: w.fill_(-math.inf), "numbers of cell.bias_hh are not finite"),
        (lambda w: w.int(), "cell.bias_hh is torch.int32, and torch.float32 does not hold it"),
        (lambda w: w + 0j, "cell.bias_hh is torch.complex64, and"),
        (lambda w: w.bool(), "cell.bias_hh is torch.bool, and"),
        (lambda w: w[:-1], "size mismatch for cell.bias_hh"),
        (lambda w: w[None], "size mismatch for cell.bias_hh"),
    ],
)
def test_weights_of_another_kind_are_refused_and_not_converted(change, reason, tmp_path):
    weights = made().model.state_dict()
    options = made().model.options
    path, kind = tmp_path / "a.safetensors", "rc_snn.models:RCLSTM"
    weights["cell.bias_hh"] = change(weights["cell.bias_hh"].clone()).contiguous()
    write(path, kind, options, {k: v.contiguous() for k, v in weights.items()})
    with pytest.raises(ValueError, match=reason):
        load(path)


def test_weights_of_two_precisions_are_held_in_the_wider_one(tmp_path):
    weights, options = made().model.state_dict(), made().model.options
    weights["cell.bias_hh"] = weights["cell.bias_hh"].double() + 1e-12
    path = tmp_path / "a.safetensors"
    write(path, "rc_snn.models:RCLSTM", options, {k: v.contiguous() for k, v in weights.items()})
    back = load(path).model.state_dict()
    assert all(torch.equal(back[name], value.double()) for name, value in weights.items())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 7), ("name", ["a"]), ("name", ""), ("name", "a/b"), ("name", "é" * 101),
        ("theta", "0.9"), ("theta", []), ("n_steps", 2.5), ("n_steps", "6"), ("n_steps", -1),
        ("encoder", [1]), ("encoder", "latency"), ("measured", 3), ("record", 4),
        ("classes", "0123456789"), ("classes", [*range(10)]), ("family", 3), ("family", "ttfs"),
        ("reads", 1), ("options", "n_hidden"), ("options", None), ("options", {"n_hidden": "4"}),
        ("options", {"n_hidden": [4]}), ("options", {"n_hidden": -4}),
        ("options", {"dropout": "x"}),
        ("options", {"generator": 3}), ("kind", None), ("kind", ["a"]), ("kind", {}),
    ],
)  # fmt: skip
def test_what_a_file_says_in_another_type_is_refused(key, value, tmp_path, as_user):
    path = made().save(tmp_path / "wrong.safetensors")
    change(path, key, value)
    with pytest.raises(ValueError, match=r"wrong\.safetensors "):
        load(path)


@pytest.mark.parametrize("about", [None, "[]3", "[1]"])
def test_a_file_that_does_not_say_what_it_is_is_refused(about, tmp_path):
    path = tmp_path / "wrong.safetensors"
    header = {"format": network.FORMAT} | ({} if about is None else {"about": about})
    save_file({"x": torch.zeros(3)}, path, header)
    with pytest.raises(ValueError, match=r"wrong\.safetensors does not say what it is"):
        load(path)


# -- By name ------------------------------------------------------------------------------------


def test_networks_load_by_name_or_path_and_others_are_refused_with_the_list(tmp_path, monkeypatch):
    shelf = tmp_path / "shelf"
    monkeypatch.setattr(network, "SHELF", shelf)
    assert names() == []
    with pytest.raises(ValueError, match="no network or file 'lstm'"):
        load("lstm")
    for kind in ("lstm", "deep", "rel-psp"):
        made(kind, name=kind).save(shelf / f"{kind}.safetensors")
    assert names() == ["deep", "lstm", "rel-psp"]
    for name in names():
        assert load(name).name == load(shelf / f"{name}.safetensors").name == name
        assert load(str(shelf / f"{name}.safetensors")).name == name
    assert isinstance(load("deep").model, RCConvLSTM)
    with pytest.raises(
        ValueError, match=r"no network or file 'rc'\. Networks that ship are deep, lstm"
    ):
        load("rc")
    with pytest.raises(ValueError, match="There is no network or file"):
        load("../lstm")
    with pytest.raises(ValueError, match=r"no network or file '.*absent\.safetensors'"):
        load(tmp_path / "absent.safetensors")


def test_what_ships_says_a_digest_so_that_damage_is_noticed(tmp_path):
    for name in names():
        read_tensors(network.SHELF / f"{name}.safetensors")
    content = bytearray((network.SHELF / "lif-norse.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="not those of its digest"):
        load(tmp_path / "a.safetensors")


# -- The formats before -------------------------------------------------------------------------


def old_file(path: Path, format_: str, model: nn.Module, about: Any, **more: Tensor) -> Path:
    tensors = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    save_file(tensors | more, path, {"format": format_, "about": json.dumps(about)})
    return path


ZOO = {"theta": 0.4, "n_steps": T, "measured": MEASURED, "record": "rec"}
ZOO |= {"encoder": {"polarity": "dark_first", "zero_pixels": "last"}}


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("model", "about"),
    [
        (RCLSTM(784, 11), {"kind": "lstm", "sizes": [11], "kernel_size": None, "pool": 1}),
        (RCConvLSTM((3,)), {"kind": "convlstm", "sizes": [3], "kernel_size": 5, "pool": 1}),
        (
            RCConvLSTM((2, 3), 3, pool=4),
            {"kind": "convlstm", "sizes": [2, 3], "kernel_size": 3, "pool": 4},
        ),
    ],
    ids=["lstm", "convlstm", "deep"],
)
def test_files_of_rank_coded_networks_of_the_first_format_are_read(model, about, centred, tmp_path):
    round_to_half(model)
    mean = torch.rand(T, 784, generator=generator(0))
    more = {"input_mean": mean} if centred else {}
    back = load(old_file(tmp_path / "a.safetensors", "rc_snn.zoo/1", model, ZOO | about, **more))
    for field, value in ZOO.items():
        assert getattr(back, field) == value, field
    assert (back.name, back.family, back.reads) == ("a", "rank-coded", "times")
    assert back.classes == tuple("0123456789")
    assert back.model.options == model.options
    assert back.tensors.keys() == more.keys()
    wanted = SpikeSequences(spike_steps(times(back), T), T, mean=mean if centred else None)
    assert_same(back.decide(times(back)), decide(model, wanted, 0.4))


BASE = {"encoder": {"name": "latency", "polarity": "bright_first", "zero_pixels": "silent"}}
BASE |= {"measured": {"n": 3, "correct": 2}, "record": "rec"}
STEPPED = {"theta": 0.3, "n_steps": T, "library": "norse", "sizes": [20, 8, 3]}


@pytest.mark.parametrize(
    ("model", "about", "family"),
    [
        (lambda: alpha_psp((20, 8, 3)), {"kind": "alpha_psp", "sizes": [20, 8, 3]}, "continuous"),
        (lambda: rel_psp((20, 8, 3)), {"kind": "rel_psp", "sizes": [20, 8, 3]}, "continuous"),
        (
            lambda: conv_rel_psp((2, 3), (9,)),
            {"kind": "conv_rel_psp", "sizes": [2, 3, 9]},
            "continuous",
        ),
        (
            lambda: rc_lif("norse", n_inputs=20, n_hidden=8, n_classes=3),
            STEPPED | {"kind": "rc-lif"},
            "rank-coded",
        ),
        (
            lambda: ttfs_lif("norse", n_inputs=20, n_hidden=8, n_classes=3),
            STEPPED | {"kind": "ttfs-lif", "theta": None},
            "ttfs",
        ),
    ],
)
def test_files_of_baselines_of_the_first_format_are_read(model, about, family, tmp_path):
    own = model()
    round_to_half(own)
    path = old_file(tmp_path / "a.safetensors", "rc_snn.baselines/1", own, BASE | about)
    back = load(path)
    for field, value in BASE.items():
        assert getattr(back, field) == value, field
    wanted = (family, about.get("theta"), about.get("n_steps"), "times", "a")
    assert (back.family, back.theta, back.n_steps, back.reads, back.name) == wanted
    assert type(back.model) is type(own)
    if isinstance(own, RCLIF | TTFSLIF):
        assert back.model.options == own.options
    ours, theirs = back.model.state_dict(), own.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    net = Network(name="b", model=own, theta=back.theta, n_steps=back.n_steps)
    assert_same(back.decide(times(back)), net.decide(times(back)))


@pytest.mark.parametrize("n_dense", [6, None])
def test_files_of_keyword_networks_of_the_first_format_are_read(n_dense, tmp_path):
    front = LogMel(n_mels=8, context=4, hop_ms=12.5, clip_ms=500.0)
    model = RCLSTM(40, 12, 3, n_dense=n_dense)
    round_to_half(model)
    about = {"n_hidden": 12, "n_dense": n_dense, "front_end": asdict(front), "theta": 0.9}
    about |= {"classes": ["yes", "no", "unknown"], "measured": {"n": 10}, "record": "rec_0"}
    bands = {"mean": torch.linspace(-9.0, -11.0, 8), "std": torch.linspace(3.0, 4.0, 8)}
    path = old_file(tmp_path / "a.safetensors", "rc_snn.keywords/1", model, about, **bands)
    back = load(path)
    assert (back.theta, back.measured, back.record) == (0.9, {"n": 10}, "rec_0")
    assert (back.family, back.reads, back.classes) == (
        "rank-coded",
        "sequences",
        ("yes", "no", "unknown"),
    )
    assert back.encoder == {"name": "log_mel", **asdict(front)}
    assert back.n_steps == front.n_steps
    assert torch.equal(back.tensors["band_mean"], bands["mean"])
    assert torch.equal(back.tensors["band_std"], bands["std"])
    assert back.model.options == model.options
    x = DenseSequences(torch.randn(front.n_steps, 9, 40, generator=generator(0)))
    assert_same(back.decide(x), decide(model, x, 0.9))


@pytest.mark.parametrize("format_", ["rc_snn.zoo/1", "rc_snn.baselines/1", "rc_snn.keywords/1"])
def test_files_of_the_formats_before_that_say_nothing_are_refused(format_, tmp_path):
    path = old_file(tmp_path / "a.safetensors", format_, RCLSTM(6, 4, 3), {})
    with pytest.raises(ValueError, match=r"a\.safetensors does not say what it is"):
        load(path)


# -- What fits together -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"name": ""}, "a name that a file can have"),
        ({"name": "a/b"}, "a name that a file can have, got 'a/b'"),
        ({"name": "a\\b"}, "a name that a file can have"),
        ({"theta": 0.0}, "theta must be in"),
        ({"theta": 1.0}, "theta must be in"),
        ({"n_steps": 0}, "n_steps must be in"),
        ({"reads": "images"}, "reads must be"),
        ({"family": "unheard"}, "no family 'unheard' of networks; there are rank-coded"),
        ({"classes": ("a", "b")}, "10 outputs, got 2 classes"),
        ({"tensors": {"input_mean": torch.zeros(T, 3)}}, r"must be \[n_steps=6, 784\]"),
        ({"tensors": {"input_mean": torch.zeros(T + 1, 784)}}, r"got \[7, 784\]"),
        ({"tensors": {"model.x": torch.zeros(1)}}, 'may not begin with "model."'),
    ],
)
def test_parts_that_do_not_fit_are_refused(about, message, as_user):
    with pytest.raises(ValueError, match=message):
        made(**about)


def test_a_model_of_no_family_is_told_what_it_lacks():
    with pytest.raises(TypeError, match=r"Linear is of no family.*lacks n_inputs, n_classes, step"):
        Network(name="a", model=nn.Linear(3, 2))


def test_a_model_that_is_no_module_is_refused():
    class Bare:
        n_inputs = n_classes = 2

        def decide(self, x: Tensor) -> Decision:
            raise NotImplementedError

    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, got Bare"):
        Network(name="a", model=Bare())


@pytest.mark.parametrize("kind", ["lstm", "float64", "convlstm", "rc-lif", "a user's GRU"])
def test_spike_times_are_decided_as_the_runner_decides_their_steps(kind):
    net = made(kind)
    dtype = next(net.model.parameters()).dtype
    for x in (times(net), times(net).double()):
        frames = spike_frames(spike_steps(x, T), T).to(dtype)
        wanted = decide(net.model, DenseSequences(frames), net.theta)
        assert len(wanted.step.unique()) > 1
        found = net.decide(x)
        assert torch.equal(found.label, wanted.label)
        assert torch.equal(found.step, wanted.step)
        torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-5)


def test_without_theta_the_answer_is_at_the_end_and_nothing_fires():
    decision = made(theta=None).decide(times(made()))
    assert (decision.step == T - 1).all()
    assert not decision.fired.any()


def test_dropout_is_off_in_a_decision_and_every_part_keeps_its_mode():
    net = made("dense layer")
    wanted = net.decide(times(net))
    net.model.train()
    net.model.dense.eval()
    modes = {name: part.training for name, part in net.model.named_modules()}
    assert_same(net.decide(times(net)), wanted)
    assert modes == {name: part.training for name, part in net.model.named_modules()}
    assert len(set(modes.values())) == 2


REFUSED = {
    "other size": (made, lambda: torch.zeros(2, 783), r"floats \[batch, 784\]"),
    "images": (made, lambda: torch.zeros(2, 28, 28), r"Flatten images"),
    "steps": (made, lambda: torch.zeros(2, 784, dtype=torch.int16), "steps_to_times"),
    "late": (made, lambda: torch.full((2, 784), 1.5), r"in \[0, 1\] frames or inf"),
    "NaN": (made, lambda: torch.full((2, 784), math.nan), r"in \[0, 1\] frames or inf"),
    "other grid": (
        made,
        lambda: SpikeSequences(torch.zeros(2, 784, dtype=torch.int16), T + 1),
        "mine reads 6 steps, got sequences of 7",
    ),
    "sequences of another size": (
        lambda: made("ttfs-lif"),
        lambda: SpikeSequences(torch.zeros(2, 19, dtype=torch.int16), T),
        "reads 20 inputs per step, got sequences of 19",
    ),
    "no grid": (
        lambda: made(n_steps=None),
        lambda: torch.zeros(2, 784),
        "does not say on how many steps",
    ),
    "answers of another size": (
        lambda: made("a user's answers"),
        lambda: torch.zeros(2, 6),
        r"floats \[batch, 5\]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_inputs_that_do_not_fit_are_refused(case, as_user):
    make, inputs, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make().decide(inputs())


def test_a_network_that_reads_sequences_refuses_spike_times(as_user):
    net = made("dense input", reads="sequences", encoder={"name": "log_mel"})
    with pytest.raises(TypeError, match="reads sequences made by log_mel, not spike times"):
        net.decide(times(net))
    with pytest.raises(TypeError, match="Spike times are a tensor"):
        made().decide([[0.0] * 784])


def test_a_network_without_a_grid_reads_sequences_of_any_length():
    net = made("a user's GRU", n_steps=None)
    for n_steps in (3, 9):
        x = DenseSequences(torch.randn(n_steps, 4, 9, generator=generator(2)))
        assert_same(net.decide(x), decide(net.model, x, net.theta))


def test_what_answers_must_answer_with_a_decision():
    class Wrong(Answers):
        def decide(self, times: Tensor) -> Any:
            return times

    with pytest.raises(TypeError, match=r"decide\(\) of Wrong must return a rc_snn.Decision"):
        made("a user's answers", model=Wrong()).decide(torch.zeros(1, 5))
