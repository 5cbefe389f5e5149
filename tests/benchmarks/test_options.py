"""No option of a command is without effect: it does something, or is refused."""

from dataclasses import fields

import pytest
import torch

from baselines.continuous_training import ContinuousConfig, Timed, train_continuous
from baselines.lif import ttfs_lif
from baselines.lif_training import TTFSConfig, train_ttfs
from baselines.rel_psp import rel_psp
from benchmarks import record, tables, task
from benchmarks.figure1 import task as figure1
from benchmarks.keywords.task import KeywordOptions
from benchmarks.run import Options
from benchmarks.speed.exchange import ExchangeOptions
from benchmarks.speed.task import SpeedOptions
from benchmarks.table1 import task as table1
from benchmarks.table1.options import Table1
from benchmarks.table1.tradeoff import Tradeoff
from benchmarks.tables import Tables
from encoders.mnist import embedded_digits
from rc_snn.models import RCLSTM
from rc_snn.sequences import Labelled, SpikeSequences
from rc_snn.spikes import spike_steps
from rc_snn.training import TrainConfig, train

OTHER = {
    "recipe": ("published",),
    "profile": "paper",
    "seeds": (1,),
    "polarity": ("dark_first",),
    "zero_pixels": "silent",
    "protocol": ("paper",),
    "precision": "bf16",
    "device": "cuda",
    "ship": True,
    "force": True,
    "ray": True,
    "ray_address": "here",
    "tensorboard": True,
}
"""Of each option that only a training uses, a value that is not its default."""


def test_every_option_is_sorted_into_training_or_not():
    """A new option must be listed, or take effect without --train."""
    used = {"train", "rows", "model", "network", "n_steps", "threads", "data", "results", "runs"}
    assert {f.name for f in fields(Table1)} == used | set(Table1.ONLY_TRAIN)
    assert set(Table1.ONLY_TRAIN) == set(OTHER)


@pytest.mark.parametrize("name", OTHER)
def test_what_only_a_training_uses_is_refused_without_it(name, tmp_path):
    flag = f"--{name.replace('_', '-')}"
    with pytest.raises(ValueError, match=rf"{flag} would have no effect.*Add --train"):
        table1.main(Table1(results=tmp_path, **{name: OTHER[name]}))
    Table1(train=True, **{name: OTHER[name]}).check_used()
    if name in Options.ONLY_TRAIN:
        with pytest.raises(ValueError, match=flag):
            task.command(figure1.TASK, Options(**{name: OTHER[name]}))


@pytest.mark.parametrize("name", ["seeds", "profile"])
def test_what_a_measurement_has_no_use_for_is_always_refused(name):
    value = {"seeds": (1,), "profile": "quick"}[name]
    for options in (ExchangeOptions, Tradeoff):
        for asked in (True, False):
            with pytest.raises(ValueError, match=f"no use for --{name}"):
                options(train=asked, **{name: value}).check_used()


def test_steps_are_refused_where_nothing_reads_them(tmp_path):
    with pytest.raises(ValueError, match="--n-steps is for --train and --model"):
        table1.main(Table1(n_steps=20, results=tmp_path))


@pytest.fixture
def digits(monkeypatch):
    monkeypatch.setattr(table1, "load_mnist", lambda data: embedded_digits())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"rows": ("rc-lstm-fast",), "recipe": ("weights",)},
            "recipe 'weights' in the profile 'quick'. There are rc-lstm-fast: tuned",
        ),
        ({"recipe": ("published",)}, "recipe 'published' in the profile 'quick'"),
        (
            {"rows": ("rc-lstm-fast", "alpha-psp-1000-fast")},
            "'alpha-psp-1000-fast' has none of the recipes tuned in the profile 'quick'",
        ),
        (
            {"rows": ("alpha-psp-340-fast",), "recipe": ("weights",), "seeds": (3,)},
            "measured once, with seed 0",
        ),
    ],
)
def test_a_training_of_nothing_says_what_there_is(asked, message, tmp_path, digits):
    options = Table1(train=True, results=tmp_path / "r", runs=tmp_path / "q", **asked)
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        table1.main(options)
    assert not list(tmp_path.iterdir())


def test_training_with_networks_alone_is_refused(tmp_path, digits):
    with pytest.raises(ValueError, match="only networks were named"):
        table1.main(Table1(train=True, network=(tmp_path / "a.safetensors",)))


def test_tables_leaves_the_readme_alone_unless_asked(tmp_path, monkeypatch, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("before")
    monkeypatch.setattr(record, "CHECKOUT", tmp_path)
    monkeypatch.setattr(
        tables, "pages", lambda folder, results: {folder / "README.md": "before and after"}
    )
    monkeypatch.setattr(tables.table, "write", lambda *a: tmp_path / "table1.md")
    tables.main(Tables())
    assert readme.read_text() == "before"
    tables.main(Tables(readme=True))
    assert readme.read_text() == "before and after"
    monkeypatch.setattr(record, "CHECKOUT", None)
    with pytest.raises(ValueError, match="there is no README to rewrite"):
        tables.main(Tables(readme=True))


@pytest.mark.parametrize("options", [Options, Table1, KeywordOptions])
def test_folders_may_be_strings(options, tmp_path):
    given = options(results=str(tmp_path), runs=str(tmp_path), data=str(tmp_path))
    assert (given.results, given.runs, given.data) == (tmp_path,) * 3


@pytest.mark.parametrize("kind", ["rank-coded", "ttfs", "continuous"])
def test_the_folder_of_a_run_may_be_a_string(kind, tmp_path):
    times = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 3
    data = Labelled(SpikeSequences(spike_steps(times, 4), 4), labels)
    folder = str(tmp_path / "run")
    if kind == "rank-coded":
        train(RCLSTM(6, 4, 3), data, data, TrainConfig(epochs=1), folder)
    elif kind == "ttfs":
        net = ttfs_lif("snntorch", n_inputs=6, n_hidden=4, n_classes=3)
        train_ttfs(net, data, data, TTFSConfig(epochs=1), folder)
    else:
        timed = Timed(times, labels)
        train_continuous(rel_psp((6, 4, 3)), timed, timed, ContinuousConfig(epochs=1), folder)
    assert (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"threads": 0}, "threads must be at least 1, got threads=0"),
        ({"threads": -2}, "threads must be at least 1"),
        ({"threads": 1.0}, "threads must be a whole number"),
        ({"seeds": (-1,)}, "seeds must be at least 0"),
        ({"seeds": (0, 1.5)}, "seeds must be a whole number"),
        ({"seeds": ()}, "one or more, each once"),
        ({"seeds": (0, 1, 0)}, "one or more, each once"),
        ({"profile": "long"}, 'profile must be one of "quick" or "paper"'),
    ],
)
def test_options_that_count_nothing_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Options(**wrong)


def test_steps_of_the_grid_are_refused_by_every_command_that_has_them():
    for options in (Table1, SpeedOptions):
        with pytest.raises(ValueError, match="n_steps must be at least 1, got n_steps=0"):
            options(n_steps=0)
