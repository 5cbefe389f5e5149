"""The main job, end to end on small real data: records, reuse, resume, table, README."""

import json
import math
from dataclasses import replace
from statistics import mean, stdev

import pytest
import torch

from baselines import zoo as baselines_zoo
from benchmarks import record, tables
from benchmarks.table1 import task as job
from benchmarks.table1.continuous_rows import TIMING_RECIPES
from benchmarks.table1.rows import PUBLISHED, RECIPES, ModelConfig, Recipe, as_config
from benchmarks.table1.task import Table1
from encoders.fetch import DataError
from encoders.functional import encode_latency
from encoders.mnist import embedded_digits
from encoders.temporal_mnist import latency_sequences
from rc_snn import zoo
from rc_snn.regimes import account
from rc_snn.runner import decide
from rc_snn.training import TrainConfig

SMALL = {
    "rc-lstm-fast": Recipe(
        ModelConfig("lstm", 12, forget_bias=3.0), TrainConfig(epochs=2, select="fast"), n_train=300
    ),
    "rc-convlstm-10-slow": Recipe(
        ModelConfig("convlstm", 2, 3), TrainConfig(epochs=1, select="slow"), 150, 50, 60
    ),
}
MOVED = {
    "rc-lstm-fast": Recipe(
        ModelConfig("lstm", 12, forget_bias=3.0, dropout=0.1),
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
    monkeypatch.setitem(RECIPES, "quick", {"published": {}, "tuned": SMALL, "augmented": MOVED})
    return Table1(
        train=True, rows=tuple(SMALL), results=tmp_path / "results", runs=tmp_path / "runs"
    )


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
    for row in PUBLISHED:
        assert row.accuracy in out
        assert row.model in out


def test_existing_records_are_reused_and_forced_ones_are_made_again(small, monkeypatch):
    one = replace(small, rows=("rc-lstm-fast",))
    job.main(one)
    [first] = records(small)
    with monkeypatch.context() as patched:
        patched.setattr(job, "execute", lambda *_: pytest.fail("the record was not reused"))
        job.main(one)
    job.main(replace(one, force=True))
    [again] = records(small)
    assert again.metrics == first.metrics, "the same seed gives the same result"
    assert again.created >= first.created


def test_a_stopped_run_resumes_and_gives_the_same_record(small, monkeypatch):
    one = replace(small, rows=("rc-lstm-fast",))
    job.main(one)
    [whole] = records(small)
    other = replace(one, results=small.results / "b", runs=small.runs / "b")
    digits = embedded_digits()
    [config] = job.configs(other, digits)
    half = replace(config, train=replace(config.train, epochs=1))
    monkeypatch.setattr(job, "run_name", lambda _: "same-folder")
    job.execute(half, digits, other, "a command")
    resumed = job.execute(config, digits, other, "a command")
    assert resumed.metrics == whole.metrics


def test_the_record_is_the_account_of_the_kept_weights_on_the_test_set(small):
    one = replace(small, rows=("rc-lstm-fast",))
    job.main(one)
    [made] = records(small)
    digits = embedded_digits()
    [config] = job.configs(one, digits)
    model = config.model.build(0)
    best = torch.load(one.runs / made.name / "checkpoint.pt", weights_only=True)["best"]
    model.load_state_dict(best["model"])
    zoo.round_to_half(model)
    times = encode_latency(digits.test.images)
    from rc_snn.sequences import SpikeSequences
    from rc_snn.spikes import spike_steps

    decision = decide(model, SpikeSequences(spike_steps(times, 10), 10), 0.95)
    a = account(decision, digits.test.labels, times, 10, model.cost())
    assert made.metrics["accuracy"] == a.accuracy
    assert made.metrics["decided_at_step"] == a.decided_at_step
    assert made.metrics["macs"] == pytest.approx(a.macs)


def test_protocols_differ_in_what_they_may_see(small):
    digits = embedded_digits()
    both = replace(small, rows=("rc-lstm-fast",), protocol=("held-out", "paper"))
    held_out, published = job.configs(both, digits)
    training, validation, test = job.splits(held_out, digits)

    def pixels(images: torch.Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in images}

    assert not pixels(training.images) & pixels(validation.images)
    assert not pixels(validation.images) & pixels(test.images)
    assert len(validation.labels) == held_out.n_validation == 500
    _, validation, test = job.splits(published, digits)
    assert torch.equal(validation.images, test.images)
    assert job.run_name(held_out) != job.run_name(published)


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
        names |= {job.run_name(config) for config in job.configs(options, digits)}
    assert len(names) == 9


def test_options_that_are_off_leave_the_names_of_older_records_alone(small):
    digits = embedded_digits()
    [tuned] = job.configs(replace(small, rows=("rc-lstm-fast",)), digits)
    published = replace(tuned, recipe="published")
    config = as_config(published)
    assert not {"recipe", "centred", "augment"} & set(config)
    assert "dropout" not in config["model"]
    assert "precision" not in config["train"]
    assert as_config(replace(published, centred=True))["centred"]


def test_an_augmented_run_ships_weights_that_decide_as_its_record_says(small, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", small.runs / "weights")
    monkeypatch.setattr(baselines_zoo, "FOLDER", small.runs / "none")
    digits = embedded_digits()
    moved = replace(small, rows=("rc-lstm-fast",), recipe=("augmented",), seeds=(0, 1), ship=True)
    assert job.main(moved) == 0
    assert zoo.names() == ["rc-lstm-12-fast-augmented"], "one network, of seed 0"
    net = zoo.load("rc-lstm-12-fast-augmented")
    [made] = [r for r in records(moved) if r.name == net.record]
    test = latency_sequences(digits.test, net.n_steps, **net.encoder)
    decision = net.decide(test.inputs.steps)
    assert int((decision.label == test.labels).sum()) == made.metrics["correct"]
    assert net.mean is not None
    assert net.mean.shape == (10, 784)
    assert job.evaluate_shipped(digits) == 0
    path = zoo.FOLDER / f"{net.name}.safetensors"
    zoo.write(replace(net, measured=net.measured | {"correct": 0}), path.parent)
    assert job.evaluate_shipped(digits) == 1, "a network that differs from its record is said"


def test_a_foreign_file_in_a_records_place_is_reported_and_kept(small, capsys):
    one = replace(small, rows=("rc-lstm-fast",))
    [config] = job.configs(one, embedded_digits())
    path = small.results / "table1" / f"{job.run_name(config)}.json"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert job.main(one) == 1
    assert path.read_text() == "mine"
    assert "move it away" in capsys.readouterr().err


def test_a_folder_without_mnist_is_an_error_that_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="looked for train-images-idx3-ubyte"):
        job.main(Table1(data=tmp_path))


def test_every_row_has_a_recipe_and_every_recipe_selects_its_rows_regime():
    trained = {row.row for row in PUBLISHED if row.row}
    recipes = [*RECIPES["paper"].values(), *TIMING_RECIPES["paper"].values()]
    assert set().union(*recipes) == trained
    for profile in RECIPES.values():
        for recipes in profile.values():
            for name, recipe in recipes.items():
                wanted = "any" if "lif" in name else "slow" if name.endswith("slow") else "fast"
                assert recipe.train.select == wanted


def test_checked_in_records_are_sound_and_the_readme_shows_their_table():
    folder = record.RESULTS / "table1"
    broken = [path for path in folder.glob("*.json") if isinstance(record.read(path), str)]
    assert broken == []
    shown = tables.paper_records(folder)
    assert shown
    readme = (record.PROJECT / "README.md").read_text()
    table = tables.table1(shown, "MNIST (60,000 train / 10,000 test)", "markdown")
    assert table in readme
    made = tables.readme_with_tables(readme, record.RESULTS)
    assert made == readme, "run python -m benchmarks.tables"
    assert (record.RESULTS / "table1.md").read_text() == table
    for r in shown:
        assert r.metrics["fired"] + r.metrics["forced"] == 10_000
        assert math.isclose(r.metrics["accuracy"], r.metrics["correct"] / 10_000)
        assert not any("/" in word for word in r.command.split()), "a path of some machine"


def test_speed_writes_its_ratios_as_a_list(tmp_path, monkeypatch):
    from benchmarks.speed import task as speed

    monkeypatch.setattr(speed, "load_mnist", lambda data: embedded_digits())
    path = tmp_path / "speed.json"
    threads = torch.get_num_threads()
    speed.main(speed.Speed(batch_size=4, repeats=2, json=path))
    torch.set_num_threads(threads)
    ratios = json.loads(path.read_text())
    assert all(set(r) == {"name", "ratio", "target", "unit"} for r in ratios)
    memory = next(r for r in ratios if r["name"].endswith("20 T / T"))
    assert memory["ratio"] == 1.0
