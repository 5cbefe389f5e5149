"""The main job, end to end on small real data: records, reuse, resume, table, README."""

import math
import re
from dataclasses import replace
from statistics import mean, stdev

import pytest
import torch

from benchmarks import record, tables
from benchmarks.table1 import all_rows, rows, table
from benchmarks.table1 import task as job
from benchmarks.table1.options import Table1
from benchmarks.table1.rank_coded_rows import StepNetwork
from benchmarks.table1.rows import Recipe, Row
from benchmarks.table1.runs import planned, splits
from benchmarks.table1.shipped import evaluate_shipped
from encoders.fetch import DataError
from encoders.functional import encode, encode_latency
from encoders.mnist import embedded_digits
from rc_snn import checkpoint, load, network
from rc_snn.formats.half import round_to_half
from rc_snn.regimes import account
from rc_snn.runner import decide
from rc_snn.sequences import SpikeSequences
from rc_snn.spikes import spike_steps
from rc_snn.training import TrainConfig

SMALL = {
    "rc-lstm-fast": Recipe(
        StepNetwork("lstm", 12, forget_bias=3.0), TrainConfig(epochs=2, select="fast"), n_train=300
    ),
    "rc-convlstm-10-slow": Recipe(
        StepNetwork("convlstm", 2, 3), TrainConfig(epochs=1, select="slow"), 150, 50, 60
    ),
}
MOVED = {
    "rc-lstm-fast": Recipe(
        StepNetwork("lstm", 12, forget_bias=3.0, dropout=0.1),
        TrainConfig(epochs=2, schedule="one_cycle", first_step_epochs=1, select="fast"),
        n_train=200,
        centred=True,
        augment="bicubic affine",
        polarity="dark_first",
    )
}


@pytest.fixture
def small(monkeypatch, tmp_path) -> Table1:
    """The job on the embedded digits, with networks that train in a second."""
    digits = embedded_digits()
    monkeypatch.setattr(job, "load_mnist", lambda data: digits)
    monkeypatch.setattr(job, "digits_of", lambda name, data: digits)
    for name, row in rows.known_rows().items():
        if name in SMALL:
            recipes = {"tuned": SMALL[name], "augmented": MOVED.get(name)}
            monkeypatch.setitem(row.recipes, "quick", recipes)
    return Table1(
        train=True, rows=tuple(SMALL), results=tmp_path / "results", runs=tmp_path / "runs"
    )


def in_order() -> list[Row]:
    return sorted(all_rows.ROWS, key=lambda row: row.line)


def records(options: Table1) -> list[record.Record]:
    return record.read_all(options.results / "table1")


def test_the_job_leaves_one_record_per_run_and_prints_the_table(small, capsys):
    assert job.main(replace(small, seeds=(0, 1))) == 0
    out = capsys.readouterr().out
    assert "5,000 embedded MNIST training digits" in out.splitlines()[0]
    made = records(small)
    assert len(made) == 4
    for r in made:
        m = r.metrics
        assert m["fired"] + m["forced"] == m["n"] == r.config["n_test"]
        assert sum(m["decided_at_step"]) == m["n"]
        assert sum(m["correct_at_step"]) == m["correct"]
        assert r.config["n_train"] == SMALL[r.config["row"]].n_train
        assert r.name in {path.stem for path in (small.results / "table1").iterdir()}
    lstm = [100 * r.metrics["accuracy"] for r in made if r.config["row"] == "rc-lstm-fast"]
    assert f"{mean(lstm):.2f} ± {stdev(lstm):.2f} (2 seeds)" in out
    for row in in_order():
        assert row.published in out
        assert row.model in out


def test_a_row_of_a_library_that_is_not_there_is_left_out_unless_it_is_asked_for(
    small, monkeypatch, capsys
):
    runs, made = list(job.planned(small, job.load_mnist(None))), job.make

    def make(run, *given):
        if run.row == "rc-convlstm-10-slow":
            raise ImportError("Install it.")
        return made(run, *given)

    monkeypatch.setattr(job, "planned", lambda *_: runs)
    monkeypatch.setattr(job, "make", make)
    assert job.main(replace(small, rows=())) == 0
    assert [r.config["row"] for r in records(small)] == ["rc-lstm-fast"]
    assert re.search(r"left out: quick_rc-convlstm-10-slow\S+: Install it", capsys.readouterr().err)
    assert job.main(small) == 1


def test_existing_records_are_reused_and_forced_ones_are_made_again(small, monkeypatch):
    one = replace(small, rows=("rc-lstm-fast",))
    job.main(one)
    [first] = records(small)
    with monkeypatch.context() as patched:
        patched.setattr(job, "make", lambda *_: pytest.fail("the record was not reused"))
        job.main(one)
    job.main(replace(one, force=True))
    [again] = records(small)
    assert again.metrics == first.metrics, "the same seed gives the same result"
    assert again.created >= first.created


def test_a_stopped_run_resumes_and_gives_the_same_record(small):
    one = replace(small, rows=("rc-lstm-fast",))
    job.main(one)
    [whole] = records(small)
    digits = embedded_digits()
    [run] = planned(one, digits)
    half = replace(run, train=replace(run.train, epochs=1))
    folder = small.runs / "b"
    job.make(half, digits, one, "a command", folder)
    resumed = job.make(run, digits, one, "a command", folder)
    assert resumed.metrics == whole.metrics
    assert len(resumed.training["history"]) == 2


def test_the_record_is_the_account_of_the_kept_weights_on_the_test_set(small):
    one = replace(small, rows=("rc-lstm-fast",))
    job.main(one)
    [made] = records(small)
    digits = embedded_digits()
    [run] = planned(one, digits)
    model = run.build()
    best = checkpoint.read(one.runs / made.name / "checkpoint.pt")["best"]
    model.load_state_dict(best["model"])
    round_to_half(model)
    times = encode_latency(digits.test.images)
    decision = decide(model, SpikeSequences(spike_steps(times, 10), 10), 0.95)
    a = account(decision, digits.test.labels, times, 10, model.cost())
    assert made.metrics["accuracy"] == a.accuracy
    assert made.metrics["decided_at_step"] == a.decided_at_step
    assert made.metrics["macs"] == pytest.approx(a.macs)


def test_protocols_differ_in_what_they_may_see(small):
    digits = embedded_digits()
    both = replace(small, rows=("rc-lstm-fast",), protocol=("held-out", "paper"))
    held_out, published = planned(both, digits)
    training, validation, test = splits(held_out, digits)

    def pixels(images: torch.Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in images}

    assert not pixels(training.images) & pixels(validation.images)
    assert not pixels(validation.images) & pixels(test.images)
    assert len(validation.labels) == held_out.n_validation == 500
    _, validation, test = splits(published, digits)
    assert torch.equal(validation.images, test.images)
    assert held_out.name != published.name


def test_every_option_that_changes_a_result_changes_the_records_name(small):
    digits = embedded_digits()
    one = replace(small, rows=("rc-lstm-fast",))
    names = set()
    for options in (
        one,
        replace(one, polarity=("dark_first",)),
        replace(one, zero_pixels="silent"),
        replace(one, n_steps=20),
        replace(one, seeds=(1,)),
        replace(one, protocol=("paper",)),
        replace(one, device="cuda"),
        replace(one, precision="bf16"),
        replace(one, recipe=("augmented",)),
    ):
        names |= {run.name for run in planned(options, digits)}
    assert len(names) == 9


def test_options_that_are_off_leave_the_names_of_older_records_alone(small):
    digits = embedded_digits()
    [tuned] = planned(replace(small, rows=("rc-lstm-fast",)), digits)
    published = replace(tuned, recipe="published")
    config = published.config
    assert not {"recipe", "centred", "augment", "family", "task"} & set(config)
    assert "dropout" not in config["model"]
    assert "precision" not in config["train"]
    assert replace(published, centred=True).config["centred"]


def test_an_augmented_run_ships_weights_that_decide_as_its_record_says(small, monkeypatch):
    monkeypatch.setattr(network, "SHELF", small.runs / "weights")
    digits = embedded_digits()
    moved = replace(small, rows=("rc-lstm-fast",), recipe=("augmented",), seeds=(0, 1), ship=True)
    assert job.main(moved) == 0
    assert network.names() == ["rc-lstm-12-fast-augmented"], "one network, of seed 0"
    net = load("rc-lstm-12-fast-augmented")
    [made] = [r for r in records(moved) if r.name == net.record]
    found = net.account(digits.test.labels, encode(digits.test.images, **net.encoder))
    assert found == made.metrics
    assert net.mean is not None
    assert net.mean.shape == (10, 784)
    assert evaluate_shipped(digits) == 0
    path = network.SHELF / f"{net.name}.safetensors"
    replace(net, measured=dict(net.measured) | {"correct": 0}).save(path, half=True)
    assert evaluate_shipped(digits) == 1, "a network that differs from its record is said"


def test_a_foreign_file_in_a_records_place_is_reported_and_kept(small, capsys):
    one = replace(small, rows=("rc-lstm-fast",))
    [run] = planned(one, embedded_digits())
    path = small.results / "table1" / f"{run.name}.json"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert job.main(one) == 1
    assert path.read_text() == "mine"
    assert "move it away" in capsys.readouterr().err


def test_a_folder_without_mnist_is_an_error_that_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="looked for train-images-idx3-ubyte"):
        job.main(Table1(data=tmp_path))


def test_every_published_row_is_there_with_a_recipe_that_selects_its_regime():
    claims = [(row.model, row.architecture, row.published) for row in in_order()][:13]
    assert claims == PUBLISHED
    for row in all_rows.ROWS:
        assert row.recipes["paper"], f"{row.name} is trained"
        for recipes in row.recipes.values():
            for name, recipe in recipes.items():
                if name not in ("weights", "mapped", "fine-tuned"):  # these choose no regime
                    slow = row.regime.startswith("slow")
                    wanted = "any" if "LIF" in row.model else "slow" if slow else "fast"
                    if row.family == "continuous" and not slow:
                        wanted = "any"  # α-PSP's recipes are its authors', without a choice
                    assert recipe.train.select == wanted, row.name


PUBLISHED = [
    ("α-PSP", "784-340-10", "97.4"),
    ("α-PSP", "784-1000-10", "< 97.4"),
    ("RC-LSTM", "784-340-10", "98.14"),
    ("RC-ConvLSTM", "784-10-10", "98.90"),
    ("RC-ConvLSTM", "784-20-10", "99.19"),
    ("α-PSP", "784-340-10", "97.96"),
    ("ReL-PSP", "784-340-10", "98.1"),
    ("ReL-PSP", "784-800-10", "98.5"),
    ("ReL-PSP", "784-1000-10", "98.1"),
    ("RC-LSTM", "784-340-10", "—"),
    ("RC-ConvLSTM", "784-10-10", "99.16"),
    ("RC-ConvLSTM", "784-20-10", "99.29"),
    ("ConvReL-PSP", "784-16C5-P2-32C5-P2-800-128-10", "99.4"),
]
"""Table 1 of the paper, line by line (ConvReL-PSP, and the slow RC-LSTM: section 3.3)."""


@pytest.mark.slow
def test_checked_in_records_are_sound_and_the_readme_shows_their_table():
    folder = record.RESULTS / "table1"
    broken = [path for path in folder.glob("*.json") if isinstance(record.read(path), str)]
    assert broken == []
    shown = table.paper_records(folder)
    assert shown
    text = table.table1(shown, "MNIST (60,000 train / 10,000 test)", "markdown")
    assert (record.RESULTS / "table1.md").read_text() == text
    for page, made in tables.pages(record.HOME, record.RESULTS).items():
        assert page.read_text() == made, "run python -m benchmarks.tables --readme"
    readme = (record.HOME / "README.md").read_text()
    for row in in_order():
        assert f"| {row.model} {row.architecture}, {row.regime} | {row.published} |" in readme
    for r in shown:
        assert r.metrics["fired"] + r.metrics["forced"] == 10_000
        assert math.isclose(r.metrics["accuracy"], r.metrics["correct"] / 10_000)
        assert not any("/" in word for word in r.command.split()), "a path of some machine"
