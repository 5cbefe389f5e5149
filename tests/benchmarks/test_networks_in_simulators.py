"""Networks inside simulators against the closed form, on a network of a few neurons."""

import copy
from pathlib import Path

import pytest
import torch
from matplotlib.axes import Axes

from baselines.rel_psp import rel_psp
from benchmarks import simulators
from benchmarks.simulators import SimulatorOptions, draw, measure, table, verdicts
from benchmarks.task import command
from rc_snn.network import Network

pytest.importorskip("brian2")
STEPS = (2e-2, 1e-2)


@pytest.fixture(scope="module")
def network() -> Network:
    g = torch.Generator().manual_seed(3)
    model = rel_psp((6, 5, 3), generator=g)
    with torch.no_grad():
        for layer in model.layers:
            layer.weight.abs_().mul_(3.0)
    return Network(name="tiny", model=model)


@pytest.fixture(scope="module")
def times() -> torch.Tensor:
    return torch.rand(4, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


@pytest.fixture(scope="module")
def entries(network, times) -> list[dict]:
    return list(measure(network, "brian2", times, STEPS, 3.0))


@pytest.mark.slow
def test_each_mode_and_step_has_its_entry(entries):
    assert [(e["precise"], e["dt"]) for e in entries] == [
        (precise, dt) for precise in (True, False) for dt in STEPS
    ]


def test_first_spikes_agree_with_the_closed_form_to_a_step_of_the_clock_per_layer(
    entries, network, times
):
    with torch.no_grad():
        layers = network.model.spike_times(times)
    fired = [int((t < 3.0).sum()) for t in layers]
    assert min(fired) > 0
    for e in entries:
        assert [layer["fired"] for layer in e["layers"]] == fired
        assert e["all"]["fired"] == sum(fired)
        assert e["all"]["only_one"] == 0
        assert e["all"]["within"] == 1.0 if e["precise"] else e["all"]["within"] > 0
        assert e["all"]["largest"] == max(layer["largest"] for layer in e["layers"])
        # Spikes on the grid are late by up to a step, and pass that on to the next layer.
        assert e["all"]["largest"] <= (1 if e["precise"] else 3) * e["dt"]


def test_smaller_steps_are_closer(entries):
    coarse, fine = (e["all"]["largest"] for e in entries if e["precise"])
    assert fine < coarse


@pytest.mark.parametrize(("within", "word"), [(0.99, "met"), (0.9899, "missed")])
def test_the_target_is_asked_for_at_a_thousandth_of_a_frame(entries, within, word):
    one = copy.deepcopy(entries[0]) | {"dt": 1e-3}
    one["all"]["within"] = within
    [line] = verdicts([*entries, one])
    assert line.startswith("tiny in Brian2, precise: ")
    assert line.endswith(f"(asked: 99 %, {word})")
    assert line in table([one])


def test_every_entry_is_a_point_of_the_figure(entries, tmp_path, monkeypatch):
    drawn = []
    plot = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda *a, **k: drawn.append((k["label"], a)) or plot(*a, **k)
    )
    draw(entries, tmp_path / "figure.png")
    found = {label: list(zip(a[1], a[2], strict=True)) for label, a in drawn}
    assert set(found) == {"Brian2, precise", "Brian2, on the grid", "one dt"}
    for e in entries:
        label = "Brian2, precise" if e["precise"] else "Brian2, on the grid"
        assert (e["dt"], e["all"]["largest"]) in found[label]


def test_the_command_simulates_once_and_writes_what_the_record_holds(
    network, tmp_path: Path, monkeypatch, capsys
):
    options = SimulatorOptions(
        train=True,
        networks=("tiny",),
        simulators=("brian2",),
        images=2,
        steps=(1e-3,),
        results=tmp_path,
        threads=None,
    )
    digits = type("D", (), {"test": type("S", (), {"images": torch.rand(3, 6)})})
    monkeypatch.setattr(simulators, "PACKAGES", ("brian2",))
    monkeypatch.setattr(simulators, "load", lambda name: network)
    monkeypatch.setattr(simulators, "load_mnist", lambda folder: digits)
    monkeypatch.setattr(simulators, "encode", lambda images, **_: images)
    assert command(simulators.TASK, options) == 0
    [done] = simulators.TASK.find(options)
    assert set(done.metrics["versions"]) == {"brian2"}
    assert [e["network"] for e in done.metrics["entries"]] == ["tiny", "tiny"]
    monkeypatch.setattr(simulators, "measure", lambda *_: pytest.fail("simulated again"))
    assert command(simulators.TASK, options) == 0
    text = (tmp_path / "simulators" / "simulators.txt").read_text()
    assert text == table(done.metrics["entries"]) + "\n"
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    ("steps", "frames"),
    [((0.0,), 3.0), ((-1e-3,), 3.0), ((1e-3,), 0.0), ((4.0,), 3.0), ((1e-3,), float("inf"))],
)
def test_a_clock_that_does_not_go_on_is_refused(steps, frames, as_user):
    with pytest.raises(ValueError, match="frames must be positive and finite"):
        SimulatorOptions(steps=steps, frames=frames)
