"""Networks of others in Table 1: by their decisions, by --model, by --network."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

import benchmarks
from benchmarks import record
from benchmarks.table1 import outside, table
from benchmarks.table1 import task as job
from benchmarks.table1.options import Table1
from encoders.functional import encode, encode_latency, steps_to_times
from encoders.mnist import MNIST_TITLE, embedded_digits
from rc_snn import Network
from rc_snn.models import RCLSTM
from rc_snn.spikes import Decision, spike_steps
from rc_snn.step_model import StepCost

T = 10
DIGITS = embedded_digits()
LABELS = DIGITS.test.labels
TIMES = encode_latency(DIGITS.test.images)


def decisions(right: int = 900, *, fired: bool = True) -> Decision:
    """All at step 3 but the last at step 9; the first `right` are right."""
    scores = torch.eye(10)[torch.where(torch.arange(1000) < right, LABELS, (LABELS + 1) % 10)]
    step = torch.full((1000,), 3)
    step[-1] = 9
    return Decision.at_steps(step, T, torch.full((1000,), fired), scores)


def mine(**changed) -> Network:
    model = RCLSTM(784, 5, 10, generator=torch.Generator().manual_seed(0))
    return Network(**({"name": "mine", "model": model, "theta": 0.12, "n_steps": T} | changed))


def stored(folder) -> list[record.Record]:
    return record.read_all(folder / "table1")


@pytest.fixture
def on_digits(monkeypatch):
    """The command on the embedded digits; they count as MNIST, so that nothing is trained."""
    digits = replace(DIGITS, title=MNIST_TITLE)
    monkeypatch.setattr(job, "load_mnist", lambda data: digits)
    return digits


# -- Decisions ----------------------------------------------------------------------------------


def test_a_row_from_decisions_has_the_numbers_that_a_hand_count_gives(tmp_path):
    row = benchmarks.score("MyNet", decisions(), LABELS, TIMES, n_steps=T, results=str(tmp_path))
    mean = (999 * 3 + 9) / 1000
    assert row.cells["model"] == "MyNet"
    assert row.cells["regime"] == "yours"
    assert row.cells["ours %"] == "90.00"
    assert row.cells["mean step"] == f"{mean:.2f}"
    assert row.cells["step clock"] == f"{10 * mean:.1f} % slow"
    assert row.cells["strict clock"] == f"{10 * (mean + 1):.1f} % slow"
    steps, at = spike_steps(TIMES, T), decisions().step.unsqueeze(1)
    seen = 100 * float((steps <= at).double().mean())  # bright first, all 784 pixels spike
    assert row.cells["input seen"] == f"{seen:.1f} % between"
    assert "90.00" in str(row)
    assert record.read(row.path) == row.record
    assert row.path.parent == tmp_path / "table1"


def test_the_data_are_named_only_where_the_spikes_prove_it(tmp_path):
    def named(labels=LABELS, times=None, **more) -> dict:
        result = benchmarks.score(
            "a", decisions(), labels, times, n_steps=T, results=tmp_path, **more
        )
        return result.record.config

    found = named(times=TIMES)
    assert (found["data"], found["polarity"]) == ("MNIST-5k", "bright_first")
    dark = encode_latency(DIGITS.test.images, polarity="dark_first", zero_pixels="silent")
    assert named(times=dark)["encoder"]["polarity"] == "dark_first"
    on_grid = steps_to_times(spike_steps(TIMES, T), T).float()
    assert named(times=on_grid)["data"] == "MNIST-5k"
    assert named(times=TIMES.flip(1))["data"] == outside.UNNAMED, "permuted pixels are others"
    assert named(times=None)["data"] == outside.UNNAMED, "labels alone do not say what was shown"
    assert named(times=TIMES.flip(1), data="MNIST-5k")["polarity"] == "own spikes"
    assert named(data="SHD")["data"] == "SHD"
    with pytest.raises(ValueError, match=r"labels are not, in order, those of its test set"):
        named(labels=LABELS.flip(0), data="MNIST-5k")
    with pytest.raises(ValueError, match="not, in order"):
        named(data="MNIST")


def test_the_same_decisions_are_one_record_and_others_another_and_both_are_shown(tmp_path):
    def scored(decision, **more):
        return benchmarks.score("N", decision, LABELS, TIMES, n_steps=T, results=tmp_path, **more)

    first = scored(decisions())
    before = first.path.read_bytes()
    assert scored(decisions()).path.read_bytes() == before
    other = scored(decisions(800))
    costly = scored(decisions(), cost=torch.full((1000,), 2e6))
    d = decisions()
    later = scored(Decision.at_steps(d.step.clamp(min=4), T, d.fired, d.scores))
    assert len({first.path, other.path, costly.path, later.path}) == 4 == len(stored(tmp_path))
    text = table.table1(stored(tmp_path), "digits", "text")
    assert sum(line.startswith("yours  ") for line in text.splitlines()) == 4
    assert "80.00" in text
    assert "2.000 AC + 0.000 MAC" in text
    assert table.YOURS_NOTE in text


def test_costs_are_those_of_the_formula(tmp_path):
    cost = StepCost(
        input=100, inner=10, recurrent=1000, read_out=1, fan_out=torch.full((784,), 5.0)
    )
    row = benchmarks.score("N", decisions(), LABELS, TIMES, n_steps=T, cost=cost, results=tmp_path)
    macs = [(s + 1) * 111 + s * 1000 for s in [3] * 999 + [9]]
    assert row.record.metrics["macs"] == pytest.approx(sum(macs) / 1000)
    counted = torch.full((1000,), 7.0), torch.arange(1000.0)
    pair = benchmarks.score(
        "N", decisions(), LABELS, TIMES, n_steps=T, cost=counted, results=tmp_path
    )
    found = pair.record.metrics["synops_ac"], pair.record.metrics["synops_mac"]
    assert found == (7.0, 999 / 2)


@pytest.mark.parametrize("multiplies", [True, False])
def test_operations_that_were_counted_are_shown(multiplies, tmp_path):
    ac, mac = torch.full((1000,), 2e6), torch.full((1000,), 1e6)
    cost = (ac, mac) if multiplies else ac
    row = benchmarks.score("N", decisions(), LABELS, TIMES, n_steps=T, cost=cost, results=tmp_path)
    assert row.cells["MSynOps"] == f"2.000 AC + {'1.000' if multiplies else '0.000'} MAC"
    assert row.cells["dense MMACs (of full)"] == "—"


def test_answers_in_continuous_time_have_no_steps(tmp_path):
    time = torch.full((1000,), 0.02, dtype=torch.float64)
    time[0] = torch.inf
    fired = torch.isfinite(time)
    decision = Decision(LABELS, time, None, fired, torch.eye(10)[LABELS])
    row = benchmarks.score("C", decision, LABELS, data="theirs", results=tmp_path)
    assert row.cells["ours %"] == "99.90", "an answer that never comes is wrong"
    assert row.cells["strict clock"] == "∞ slow"
    assert row.cells["input"] == "no spikes given, continuous"


def test_a_name_of_a_row_of_ours_does_not_take_its_line(tmp_path):
    benchmarks.score("rc-lstm-fast", decisions(), LABELS, TIMES, n_steps=T, results=tmp_path)
    lines = table.table1(stored(tmp_path), "digits", "text").splitlines()
    assert [x for x in lines if x.startswith("yours") and "rc-lstm-fast" in x]
    [ours] = [x for x in lines if "98.14" in x]
    assert "90.00" not in ours


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": LABELS.float()}, "labels must be class indices"),
        ({"labels": torch.eye(10)[LABELS].long()}, r"take argmax\(dim=1\)"),
        ({"labels": LABELS[1:]}, "got 1000 decisions, 999 labels"),
        ({"labels": LABELS + 1}, "Class indices must be in 0..9"),
        ({"n_steps": None}, "Give n_steps for step models only"),
        ({"n_steps": 20}, "On 20 steps an answer at step 3 is out at 0.2 frames; sample 0"),
        ({"n_steps": 4}, "On 4 steps"),
        ({"times": TIMES[:5]}, "1000 labels and 5 rows of times"),
        ({"times": TIMES * 255}, "Spike times must be in"),
        ({"times": TIMES.long()}, "times must be floats"),
        ({"cost": torch.ones(3)}, "accumulates of each of the 1000 samples"),
        ({"cost": StepCost(1, 1, 1, 1, torch.ones(7))}, r"cost.fan_out has \[7\] inputs"),
        ({"name": "a/b"}, "needs a name without"),
        ({"data": ""}, "Data need a name"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(change, message, tmp_path):
    given = {"name": "N", "labels": LABELS, "times": TIMES, "n_steps": T} | change
    with pytest.raises(ValueError, match=message):
        benchmarks.score(decision=decisions(), results=tmp_path, **given)
    assert not list(tmp_path.iterdir())


def test_importing_benchmarks_imports_no_torch():
    code = "import sys, benchmarks; assert 'torch' not in sys.modules; benchmarks.score"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- Networks -----------------------------------------------------------------------------------


def test_a_network_is_measured_on_the_spikes_that_our_rows_saw(tmp_path):
    done = outside.measure(mine(), DIGITS, tmp_path).record
    assert done.metrics == mine().account(LABELS, TIMES)
    dark = {"name": "latency", "polarity": "dark_first", "zero_pixels": "silent"}
    other = outside.measure(mine(encoder=dark), DIGITS, tmp_path).record
    assert other.metrics == mine().account(LABELS, encode(DIGITS.test.images, **dark))


class Gain(nn.Module):
    """A network whose gain is in no weight, and which does not say how it was built."""

    n_inputs, n_classes = 784, 10

    def __init__(self, *, gain):
        super().__init__()
        self._gain = gain

    def decide(self, times):
        fired = torch.full((len(times),), self._gain > 1)
        return Decision.at_steps(torch.full((len(times),), 2), T, fired, torch.eye(10)[LABELS])


def test_a_record_is_that_of_one_network_threshold_grid_encoder_and_program(tmp_path):
    silent = {"name": "latency", "polarity": "bright_first", "zero_pixels": "silent"}
    dropped = RCLSTM(784, 5, 10, dropout=0.5, generator=torch.Generator().manual_seed(0))
    networks = [
        mine(),
        mine(theta=0.3),
        mine(n_steps=5),
        mine(encoder=silent),
        mine(model=RCLSTM(784, 5, 10, generator=torch.Generator().manual_seed(1))),
        mine(model=dropped),  # an option, and no weight
        mine(tensors={"input_mean": torch.full((T, 784), 0.1)}),
        mine(model=Gain(gain=2.0)),
        mine(model=Gain(gain=0.5)),
    ]
    paths = {outside.measure(net, DIGITS, tmp_path).path for net in networks}
    assert len(paths) == len(networks)
    before = {path: path.read_bytes() for path in paths}
    assert {outside.measure(net, DIGITS, tmp_path).path for net in networks} == paths
    assert {path: path.read_bytes() for path in paths} == before, "the same network, no new record"


def test_files_and_factories_join_the_table_and_its_markdown(
    tmp_path, on_digits, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "theirs", type(sys)("theirs"))
    sys.modules["theirs"].net = lambda: mine(name="by-factory")
    files = tuple(
        mine(name=n, theta=th).save(tmp_path / f"{n}.safetensors")
        for n, th in (("one", 0.2), ("two", 0.3))
    )
    options = Table1(network=files, model=("theirs:net",), results=tmp_path / "r")
    assert job.main(options) == 0
    out = capsys.readouterr().out
    assert [r.config["row"] for r in stored(tmp_path / "r")] == ["by-factory", "one", "two"]
    for text in (out, (tmp_path / "r" / "table1.yours.md").read_text()):
        assert all(name in text for name in ("by-factory", "one", "two", table.YOURS_NOTE))
        assert "shipped network" not in text
    assert job.main(Table1(rows=("rc-lstm-slow",), results=tmp_path / "r")) in (0, 1)
    shown = capsys.readouterr().out
    assert "rc-lstm-340-slow" in shown
    assert "rc-lstm-340-fast" not in shown, "only the row's network is evaluated"
    assert "98.14" not in shown, "and only its line shown"


def test_a_network_of_other_inputs_is_told_of_score(tmp_path):
    net = Network(name="small", model=RCLSTM(20, 5, 10), n_steps=5)
    with pytest.raises(ValueError, match=r"reads 20 inputs.*benchmarks\.score"):
        outside.measure(net, DIGITS, tmp_path)
    heard = replace(net, reads="sequences")
    with pytest.raises(ValueError, match=r"reads sequences.*benchmarks\.score"):
        outside.measure(heard, DIGITS, tmp_path)


def test_a_network_that_never_fires_is_warned_of(tmp_path, on_digits, capsys):
    file = mine(name="quiet", theta=0.999).save(tmp_path / "quiet.safetensors")
    job.main(Table1(network=(file,), results=tmp_path))
    said = capsys.readouterr().err
    assert "no sample of quiet reached its threshold θ = 0.999" in said
    assert "Lower θ" in said
    job.main(Table1(network=(mine(name="f").save(tmp_path / "f.safetensors"),), results=tmp_path))
    assert "warning" not in capsys.readouterr().err


def test_figures_show_networks_of_others_apart_from_the_checked_in_ones(tmp_path):
    from benchmarks.table1 import accuracy_time

    benchmarks.score("N", decisions(), LABELS, TIMES, n_steps=T, results=tmp_path)
    [one] = stored(tmp_path)
    config = one.config | {"data": "MNIST"}
    name = f"yours_N_MNIST_{record.config_key(config)}"
    record.save(replace(one, config=config, name=name), tmp_path / "table1")
    assert accuracy_time.main(accuracy_time.AccuracyTime(results=tmp_path)) == 0
    assert (tmp_path / "accuracy_time.yours.png").exists()
    assert not (tmp_path / "accuracy_time.png").exists()


# -- Unknown records ----------------------------------------------------------------------------


def changed(r: record.Record, drop: str = "", **config) -> record.Record:
    whole = {k: v for k, v in (r.config | config).items() if k != drop}
    name = f"x_{record.config_key(whole)}"
    return replace(r, config=whole, name=name)


def test_what_is_not_known_is_shown_as_it_is_or_reported(tmp_path, capsys):
    benchmarks.score("N", decisions(), LABELS, TIMES, n_steps=T, results=tmp_path)
    [one] = stored(tmp_path)
    for r in (
        changed(one, profile="paper", recipe="grandmother's", row="theirs", protocol="held-out"),
        changed(one, profile="night", recipe="tuned", row="nightly", protocol="held-out"),
        changed(one, drop="polarity"),
        changed(one, drop="row"),
        changed(one, protocol="none"),
        replace(changed(one, row="x"), metrics={"accuracy": 1.0}),
    ):
        record.save(r, tmp_path / "table1")
    capsys.readouterr()
    text = table.table1(table.records_on(tmp_path / "table1", "MNIST-5k"), "digits", "text")
    assert "grandmother's" in text
    assert "night" in text
    assert "the authors' weights" not in text, "which they are not"
    said = capsys.readouterr().err
    for reason in (
        "lacks 'polarity'",
        "lacks 'row'",
        "the protocol 'none'",
        "lacks 'decided_at_st",
    ):
        assert reason in said, said
    unknown = [x for x in text.splitlines() if "theirs" in x or "nightly" in x]
    assert not any(x.startswith("yours") for x in unknown)


def test_what_another_table_shows_is_counted_on_stderr(tmp_path, capsys):
    benchmarks.score("N", decisions(), LABELS, TIMES, n_steps=T, results=tmp_path)
    assert table.records_on(tmp_path / "table1", "MNIST") == []
    assert "not in this table: 1 of MNIST-5k.yours" in capsys.readouterr().err
    benchmarks.score("N", decisions(), LABELS, n_steps=T, data="SHD", results=tmp_path)
    [shd] = table.records_on(tmp_path / "table1", "MNIST")
    assert "of SHD" in table.table1([shd], "MNIST", "text"), "on its own data, and says so"
    json.dumps(shd.config)


def test_labels_may_be_a_list_and_are_classes_of_the_decision(tmp_path, as_user):
    decision = Decision.at_steps(torch.tensor([0, 1]), 2, torch.ones(2) > 0, torch.eye(2))
    row = benchmarks.score("Mine", decision, [0, 0], n_steps=2, data="toys", results=tmp_path)
    same = torch.tensor([0, 0], dtype=torch.uint8)
    again = benchmarks.score("Mine", decision, same, n_steps=2, data="toys", results=tmp_path)
    assert row.cells["ours %"] == "50.00"
    assert row.path == again.path
    for labels in ([0, 2], [0, -1]):
        with pytest.raises(ValueError, match="Class indices must be"):
            benchmarks.score("M", decision, labels, n_steps=2, data="toys", results=tmp_path)
