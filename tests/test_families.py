"""One suite over all families: those of the package, a user's models, and a family made here."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.alpha_psp import alpha_psp
from baselines.conv import conv_rel_psp
from baselines.lif import rc_lif, ttfs_lif
from baselines.rel_psp import rel_psp
from benchmarks import record
from benchmarks.table1 import rows, table
from benchmarks.table1 import task as table1
from benchmarks.table1.rows import Recipe, Row
from benchmarks.table1.runs import splits
from bridges.networks.step_models import StepModule
from encoders.functional import encode
from encoders.mnist import embedded_digits
from rc_snn import Decision, first_spike, load
from rc_snn import families as house
from rc_snn.families import RankCoded
from rc_snn.loop import TrainResult
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.network import Network, names
from rc_snn.sequences import Sequences
from rc_snn.step_model import State, StepCost
from rc_snn.testing import check_network

# -- A user's models ----------------------------------------------------------------------------


class GRU(nn.Module):
    """A cell of torch with a read-out."""

    def __init__(self, n_inputs: int, n_hidden: int, n_classes: int) -> None:
        super().__init__()
        self.n_inputs, self.n_hidden, self.n_classes = n_inputs, n_hidden, n_classes
        self.cell, self.output = nn.GRUCell(n_inputs, n_hidden), nn.Linear(n_hidden, n_classes)

    def step(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        h = self.cell(x, None if state is None else state[0])
        return h, (h,)

    def read_out(self, features: Tensor) -> Tensor:
        return self.output(features)

    def cost(self) -> StepCost:
        gates = 3 * self.n_hidden
        fan_out = torch.full((self.n_inputs,), float(gates))
        read_out = self.n_hidden * self.n_classes
        return StepCost(gates * self.n_inputs, 0, gates * self.n_hidden, read_out, fan_out)


class Stacked(nn.Module):
    """Two cells of torch, whose state is a pair."""

    def __init__(self, n_inputs: int, n_hidden: int) -> None:
        super().__init__()
        self.first, self.second = nn.GRUCell(n_inputs, n_hidden), nn.LSTMCell(n_hidden, n_hidden)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        one, two = state or (None, None)
        h = self.first(x, one)
        two = self.second(h, two)
        return two[0], (h, two)


def stacked(n_inputs: int, n_hidden: int, n_classes: int) -> StepModule:
    """Make a step model of modules that are none."""
    cells, read_out = Stacked(n_inputs, n_hidden), nn.Linear(n_hidden, n_classes)
    return StepModule(cells, n_inputs, n_classes, read_out=read_out)


class FirstSpikes(nn.Module):
    """A model that only answers: the class whose inputs spike first, when they do."""

    n_inputs, n_classes = 12, 3

    def decide(self, times: Tensor) -> Decision:
        first = times.view(len(times), 3, 4).amin(dim=2)
        when, label = first.min(dim=1)
        return Decision(label, when, None, when.isfinite(), -first.clamp(max=2.0))


# -- A family of another package ----------------------------------------------------------------


class Evidence(nn.Module):
    """Adds up what each spike says for each class, and answers at the first crossing of θ."""

    def __init__(self, n_inputs: int, n_classes: int, theta: float) -> None:
        super().__init__()
        self.n_inputs, self.n_classes, self.theta = n_inputs, n_classes, theta
        self.weight = nn.Parameter(torch.zeros(n_inputs, n_classes))

    @torch.no_grad()
    def decide(self, inputs: Sequences) -> Decision:
        """Read every step, and gather at the first crossing."""
        added = torch.stack([inputs.at(t) @ self.weight for t in range(inputs.n_steps)])
        p = torch.softmax(added.cumsum(dim=0), dim=2)
        step, fired = first_spike(p, self.theta)
        scores = p[step, torch.arange(len(step))]
        when = (step + 1).double() / inputs.n_steps
        return Decision(scores.argmax(dim=1), when, step, fired, scores)

    def cost(self) -> StepCost:
        """Return the multiply-adds of a step: one product."""
        fan_out = torch.full((self.n_inputs,), float(self.n_classes))
        return StepCost(self.weight.numel(), 0, 0, 0, fan_out)


@dataclass(frozen=True)
class Counting:
    """How evidence is counted."""

    epochs: int = 1
    seed: int = 0
    least: float = 0.02
    """Added to each share of samples, so that none is zero."""


class ToyFamily(RankCoded):
    """Naive Bayes on early spikes: data as rank-coded networks have them, all else its own."""

    name = "toy"

    def claims(self, model: Any) -> bool:
        """Return whether a model is evidence."""
        return isinstance(model, Evidence)

    def train(
        self,
        model: Evidence,
        data: Any,
        validation: Any,
        config: Counting,
        run_dir: Path,
        **options: Any,
    ) -> TrainResult:
        """Count which inputs spike in the first half of each class."""
        began, x = time.perf_counter(), data.inputs
        early = torch.stack([x.at(t) for t in range(x.n_steps // 2)]).sum(dim=0)
        share = torch.stack([early[data.labels == k].mean(dim=0) for k in range(model.n_classes)])
        with torch.no_grad():
            odds = ((share + config.least) / (early.mean(dim=0) + config.least)).log()
            model.weight.copy_(odds.t())
        right = model.decide(validation.inputs).label == validation.labels
        row = {"epoch": 0.0, "val_accuracy": float(right.double().mean())}
        return TrainResult([row | {"seconds": time.perf_counter() - began}], 0, True)

    def decide(self, network: Any, inputs: Any) -> Decision:
        """Return the model's decisions on its grid."""
        return network.model.decide(network.sequences(inputs))


TOY = ToyFamily()


@dataclass(frozen=True)
class EvidenceModel:
    """What builds evidence for a row of Table 1."""

    theta: float = 0.9

    def build(self, seed: int) -> Evidence:
        """Make it; its weights begin at zero, whatever the seed."""
        return Evidence(784, 10, self.theta)


ROWS = (
    Row(
        name="toy",
        line=500,
        regime="any",
        model="Evidence of a test",
        architecture="784-10",
        published="—",
        legend="toys",
        family="toy",
        recipes={
            "quick": {
                "tuned": Recipe(EvidenceModel(), Counting(), 600, n_validation=100, n_test=200)
            }
        },
    ),
)


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install the toy family and its row, as another package would."""
    own = (*house._entries(), EntryPoint("toy", "test_families:TOY", house.GROUP))
    lines = (*rows.entry_points(group=rows.GROUP), EntryPoint("toy", "test_families:ROWS", "x"))
    monkeypatch.setattr(house, "_entries", lambda: own)
    monkeypatch.setattr(rows, "entry_points", lambda group: lines)
    caches = (house.family, rows.known_rows)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


# -- The suite ----------------------------------------------------------------------------------


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def louder(model: Any, gain: float) -> Any:
    """Scale the weights, so that answers come at several times."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)
    return model


def globally(make: Callable[[], Any]) -> Any:
    """Make a model of torch's own layers from a seed, and leave torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def evidence() -> Evidence:
    model = Evidence(12, 3, 0.7)
    with torch.no_grad():
        model.weight.normal_(generator=seeded())
    return model


SIZES: dict[str, Any] = {"n_inputs": 12, "n_hidden": 7, "n_classes": 3, "generator": seeded()}
STEPS: dict[str, Any] = {"theta": 0.6, "n_steps": 6}
MADE: dict[str, tuple[str, Callable[[], Any], dict[str, Any]]] = {
    "lstm": ("rank-coded", lambda: louder(RCLSTM(**SIZES), 4.0), STEPS),
    "lstm without θ": ("rank-coded", lambda: RCLSTM(**SIZES), {"n_steps": 6}),
    "lstm with a dense layer": ("rank-coded", lambda: RCLSTM(**SIZES, n_dense=5), STEPS),
    "lstm on dense inputs": (
        "rank-coded",
        lambda: louder(RCLSTM(**SIZES, dense_input=True), 3.0),
        STEPS | {"reads": "sequences"},
    ),
    "lstm in float64": ("rank-coded", lambda: louder(RCLSTM(**SIZES).double(), 4.0), STEPS),
    "centred lstm": (
        "rank-coded",
        lambda: louder(RCLSTM(**SIZES), 4.0),
        STEPS | {"tensors": {"input_mean": torch.rand(6, 12, generator=seeded(1))}},
    ),
    "convlstm": (
        "rank-coded",
        lambda: louder(RCConvLSTM((2, 3), 3, pool=2, image_shape=(5, 8), generator=seeded()), 3.0),
        STEPS | {"theta": 0.2},
    ),
    "rc-lif snntorch": ("rank-coded", lambda: rc_lif("snntorch", **SIZES), STEPS),
    "rc-lif norse": ("rank-coded", lambda: louder(rc_lif("norse", **SIZES), 8.0), STEPS),
    "ttfs-lif snntorch": ("ttfs", lambda: ttfs_lif("snntorch", **SIZES), {"n_steps": 6}),
    "ttfs-lif norse": ("ttfs", lambda: louder(ttfs_lif("norse", **SIZES), 8.0), {"n_steps": 6}),
    "alpha-psp": ("continuous", lambda: alpha_psp((12, 7, 3), generator=seeded()), {}),
    "rel-psp": ("continuous", lambda: rel_psp((12, 7, 3), generator=seeded()), {}),
    "conv-rel-psp": (
        "continuous",
        lambda: conv_rel_psp((2,), (9,), size=(8, 9), n_classes=3, generator=seeded()),
        {},
    ),
    "a user's cell": ("rank-coded", lambda: globally(lambda: louder(GRU(12, 7, 3), 2.0)), STEPS),
    "a user's cells": (
        "rank-coded",
        lambda: globally(lambda: louder(stacked(12, 7, 3), 2.0)),
        STEPS | {"maker": stacked, "options": {"n_inputs": 12, "n_hidden": 7, "n_classes": 3}},
    ),
    "a user's answers": ("answering", FirstSpikes, {}),
    "toy": ("toy", evidence, {"n_steps": 6}),
}


@pytest.mark.usefixtures("_toy")
@pytest.mark.parametrize("kind", MADE)
def test_a_network_of_any_family_keeps_the_contract(kind):
    family, make, about = MADE[kind]
    net = Network(name="fresh", model=make(), **about)
    assert net.family == family
    check_network(net)


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[pytest.mark.slow] * ("conv" in x)) for x in names()]
)
def test_a_network_that_ships_keeps_the_contract(name):
    net = load(name)
    check_network(net, n=4)
    if net.reads == "times":
        images = embedded_digits().test.images[::50]
        images[7] = 0
        check_network(net, inputs=encode(images, **net.encoder))


@pytest.mark.usefixtures("_toy")
def test_the_families_that_are_installed_are_named():
    assert house.names() == ["rank-coded", "continuous", "toy", "ttfs", "answering"]
    assert house.family("toy") is TOY
    with pytest.raises(ValueError, match=r"no family 'joy' of networks; there are rank-coded"):
        house.family("joy")


@pytest.mark.parametrize("value", ["test_families:STEPS", "baselines.families:CONTINUOUS"])
def test_an_entry_point_that_is_no_family_of_its_name_is_refused(value, monkeypatch):
    monkeypatch.setattr(house, "_entries", lambda: (EntryPoint("joy", value, house.GROUP),))
    with pytest.raises(ValueError, match=rf"entry point 'joy' of {value} must be a family of that"):
        house.family("joy")


@pytest.mark.usefixtures("_toy")
def test_a_network_of_a_toy_family_joins_the_table(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(table1, "load_mnist", lambda data: embedded_digits())
    options = table1.Table1(
        train=True, rows=("toy",), results=tmp_path / "results", runs=tmp_path / "runs"
    )
    assert table1.main(options) == 0
    [made] = record.read_all(tmp_path / "results" / "table1")
    m = made.metrics
    assert m["n"] == made.config["n_test"] == 200
    assert made.config["n_train"] == 600
    assert m["accuracy"] > 0.5, "it is trained"
    assert sum(count > 0 for count in m["decided_at_step"]) > 1
    assert m["macs"] == pytest.approx(7840 * (m["time_to_insight"] + 1)), "what torch counts, too"

    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if "Evidence of a test" in line]
    assert len(lines) == 1
    assert f"{100 * m['accuracy']:.2f}" in lines[0]
    assert "600 × 1 epochs / 200" in lines[0]
    assert table.groups([made])[0][0] is ROWS[0]
    [cells] = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.table1([made], "digits", "markdown").splitlines()
        if "Evidence" in line
    ]
    assert cells[:4] == ["any", "Evidence of a test", "784-10", "—"]
    assert "1 seed" in cells[4]

    [path] = (tmp_path / "runs").rglob("*.safetensors")
    back = load(path)
    assert (back.family, back.record, back.name) == ("toy", made.name, "toy")
    check_network(back)
    [run] = table1.TASK.runs(options)
    test = splits(run, embedded_digits())[2]
    decision = back.decide(encode(test.images, **back.encoder))
    assert int((decision.label == test.labels).sum()) == m["correct"]
