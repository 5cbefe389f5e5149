"""The training loop: it learns, it resumes bit by bit, and it refuses what it cannot train on."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.transforms import ToFrames
from rc_snn import checkpoint
from rc_snn.checkpoint import digest
from rc_snn.data.datasets import LoadedSequences
from rc_snn.files.tensors import write_tensors
from rc_snn.models import RCLSTM
from rc_snn.objective import rc_loss
from rc_snn.sequences import Labelled, SpikeSequences
from rc_snn.training import TrainConfig, evaluate, train

T, N, K = 16, 16, 4


def task(seed: int, n: int = 256) -> Labelled:
    """Class k: the inputs of group k spike at the first step; all else is noise, most silent."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(K, (n,), generator=g)
    steps = torch.randint(0, 5 * T, (n, N), generator=g).clamp(max=T)
    group = torch.arange(N).remainder(K) == labels.unsqueeze(1)
    steps[group & (torch.rand(n, N, generator=g) < 0.9)] = 0
    return Labelled(SpikeSequences(steps.to(torch.int16), T), labels)


def model(seed: int = 0, kind: type[RCLSTM] = RCLSTM, **options) -> RCLSTM:
    generator = torch.Generator().manual_seed(seed)
    return kind(N, 24, K, forget_bias=3.0, generator=generator, **options)


def thinned(generator: torch.Generator) -> Labelled:
    """The task with a tenth of its spikes silenced, others at every call: an augmentation."""
    data = task(0)
    silenced = torch.rand(data.inputs.steps.shape, generator=generator) < 0.1
    return Labelled(SpikeSequences(data.inputs.steps.masked_fill(silenced, T), T), data.labels)


def demanding_run(
    run_dir: Path, fresh: Callable[[torch.Generator], Labelled] = thinned, epochs: int = 5
) -> RCLSTM:
    """Train with everything that a checkpoint must keep: rate, moments, masks, augmentation."""
    generator = torch.Generator().manual_seed(0)
    net = RCLSTM(N, 24, K, forget_bias=3.0, dropout=0.3, generator=generator)
    config = TrainConfig(
        epochs=epochs,
        batch_size=16,
        schedule="one_cycle",
        weight_decay=0.1,
        first_step_epochs=2,
    )
    train(net, task(0), task(1), config, run_dir, fresh=fresh)
    return net


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(path / "checkpoint.pt")["model"]


def assert_same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_rank_coding_learns_what_and_when(tmp_path):
    net = model()
    config = TrainConfig(epochs=15, batch_size=16, beta=0.0, lr=1e-2, select="fast")
    result = train(net, task(0), task(1), config, tmp_path)
    assert result.regime_reached
    decision, row = evaluate(net, task(2), 0.95)
    assert row["accuracy"] > 0.9
    assert decision.step is not None
    assert row["mean_step"] < 1.0
    assert result.history[0]["val_mean_step"] > T / 2


def test_end_of_sequence_training_answers_at_the_end(tmp_path):
    net = model()
    result = train(
        net, task(0), task(1), TrainConfig(epochs=4, batch_size=16, method="eos", lr=1e-2), tmp_path
    )
    assert all(row["val_mean_step"] == T - 1 for row in result.history)
    assert all(row["val_fired"] == 0 for row in result.history)
    assert result.history[-1]["val_accuracy"] > 0.9


def test_one_epoch_is_adam_on_equation_7_written_out(tmp_path):
    data, config = task(3, 64), TrainConfig(epochs=1, batch_size=64, beta=0.1, theta=0.999)
    net = model()
    train(net, data, task(1), config, tmp_path)
    twin = model()
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3)
    state = None
    for step in range(T):
        features, state = twin.step(data.inputs.at(step), state)
    rc_loss(twin.read_out(features), data.labels, 0.1).backward()
    optimizer.step()
    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def one_cycle(i: int, n: int, highest: float) -> float:
    """Rate of update i of n (Smith & Topin 2019, torch's OneCycleLR): half cosines up and down."""
    lowest, top = highest / 25, 0.2 * n - 1

    def between(a: float, b: float, share: float) -> float:
        return b + (a - b) * (1 + math.cos(math.pi * share)) / 2

    if i <= top:
        return between(lowest, highest, i / top)
    return between(highest, lowest / 1e4, (i - top) / (n - 1 - top))


def test_one_cycle_and_decoupled_decay_are_adamw_written_out(tmp_path):
    data, n, decay = task(3, 64), 20, 0.3
    data = Labelled(SpikeSequences(data.inputs.steps, T, torch.float64), data.labels)
    config = TrainConfig(
        epochs=n, batch_size=64, lr=1e-2, method="eos", schedule="one_cycle", weight_decay=decay
    )
    net, twin = model().double(), model().double()
    train(net, data, data, config, tmp_path)
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in twin.parameters()]
    for i in range(n):
        state = None
        for step in range(T):
            features, state = twin.step(data.inputs.at(step), state)
        twin.zero_grad()
        rc_loss(twin.read_out(features), data.labels, config.beta).backward()
        rate = one_cycle(i, n, config.lr)
        with torch.no_grad():
            for p, (m, v) in zip(twin.parameters(), moments, strict=True):
                m.mul_(0.9).add_(p.grad, alpha=0.1)
                v.mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
                unbiased = m / (1 - 0.9 ** (i + 1)), v / (1 - 0.999 ** (i + 1))
                p.mul_(1 - rate * decay).sub_(rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8))
    last = weights(tmp_path)
    for name, theirs in twin.state_dict().items():
        torch.testing.assert_close(last[name], theirs, rtol=1e-7, atol=1e-9)


def test_in_the_first_epochs_every_training_sample_answers_at_step_zero(tmp_path):
    config = TrainConfig(epochs=4, first_step_epochs=2)
    result = train(model(), task(0), task(1), config, tmp_path)
    steps = [row["train_mean_step"] for row in result.history]
    assert steps[:2] == [0.0, 0.0]
    assert min(steps[2:]) > 0
    assert min(row["val_mean_step"] for row in result.history) > 0, "validation keeps its θ"
    [first] = train(
        model(), task(0), task(1), TrainConfig(epochs=1, first_step_epochs=1), tmp_path / "one"
    ).history
    assert first["train_fired"] == 1.0
    recurrent = weights(tmp_path / "one")["cell.weight_hh"]
    assert torch.equal(recurrent, model().cell.weight_hh), "an answer at step 0 needs no memory"


def test_fresh_samples_are_drawn_once_per_epoch_and_trained_on(tmp_path):
    draws = []

    def other(generator: torch.Generator) -> Labelled:
        draws.append(torch.rand(1, generator=generator.clone_state()).item())
        return task(7)

    train(model(), task(0), task(1), TrainConfig(epochs=3), tmp_path / "a", fresh=other)
    assert len(draws) == len(set(draws)) == 3, "one call per epoch, each with other randomness"
    train(model(), task(7), task(1), TrainConfig(epochs=3), tmp_path / "b")
    assert_same_weights(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_entropy_reward_switches_at_its_epoch(tmp_path):
    config = TrainConfig(epochs=4, beta=0.165, beta_after=0.0, switch_epoch=2)
    result = train(model(), task(0), task(1), config, tmp_path)
    assert [row["beta"] for row in result.history] == [0.165, 0.165, 0.0, 0.0]


@pytest.mark.slow
def test_kept_epoch_is_the_best_on_validation_within_the_regime(tmp_path):
    config = TrainConfig(epochs=15, batch_size=16, beta=0.0, lr=1e-2, select="fast")
    net = model()
    result = train(net, task(0), task(1), config, tmp_path)
    inside = [r for r in result.history if r["val_mean_step"] / T < 0.05]
    best = max(inside, key=lambda r: (r["val_accuracy"], -r["epoch"]))
    assert result.best_epoch == best["epoch"]
    assert evaluate(net, task(1), 0.95)[1]["accuracy"] == best["val_accuracy"]


def test_without_an_epoch_in_the_regime_the_nearest_is_kept_and_said(tmp_path):
    config = TrainConfig(epochs=3, beta=0.0, lr=1e-5, select="fast")
    result = train(model(), task(0), task(1), config, tmp_path)
    assert not result.regime_reached


def test_log_has_one_row_per_epoch(tmp_path):
    result = train(model(), task(0), task(1), TrainConfig(epochs=3), tmp_path)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["epoch"]) for r in rows] == [0, 1, 2]
    for row, kept in zip(rows, result.history, strict=True):
        assert {k: float(v) for k, v in row.items()} == kept


def test_resumed_in_the_same_process_equals_uninterrupted(tmp_path):
    train(model(), task(0), task(1), TrainConfig(epochs=6), tmp_path / "whole")
    train(model(), task(0), task(1), TrainConfig(epochs=2), tmp_path / "parts")
    train(model(), task(0), task(1), TrainConfig(epochs=6), tmp_path / "parts")
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


@pytest.mark.slow
def test_stopped_between_epochs_of_a_one_cycle_it_goes_on_bit_by_bit(tmp_path):
    class Stop(Exception):
        pass

    def stopping(generator: torch.Generator) -> Labelled:
        if epochs_done(tmp_path / "parts") == 3:
            raise Stop
        return thinned(generator)

    whole = demanding_run(tmp_path / "whole")
    with pytest.raises(Stop):
        demanding_run(tmp_path / "parts", stopping)
    resumed = demanding_run(tmp_path / "parts")
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert_same_weights(whole.state_dict(), resumed.state_dict())


def test_a_one_cycle_run_is_not_resumed_with_another_number_of_epochs(tmp_path):
    one_cycle = {"schedule": "one_cycle", "batch_size": 64}
    train(model(), task(0), task(1), TrainConfig(epochs=2, **one_cycle), tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    for epochs in (1, 3):
        with pytest.raises(ValueError, match="belongs to another run"):
            train(model(), task(0), task(1), TrainConfig(epochs=epochs, **one_cycle), tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import torch
torch.set_num_threads(1)
from test_training import demanding_run
demanding_run(Path(sys.argv[1]), epochs=12)
"""


def start(run_dir: Path) -> "subprocess.Popen[bytes]":
    script = SCRIPT.format(folder=str(Path(__file__).parent))
    return subprocess.Popen([sys.executable, "-c", script, str(run_dir)])


def epochs_done(run_dir: Path) -> int:
    log = run_dir / "log.csv"
    return len(log.read_text().splitlines()) - 1 if log.exists() else 0


@pytest.mark.slow
def test_killed_and_resumed_it_ends_in_the_bit_same_weights(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    for target in (2, 6):  # twice, in the middle of an epoch
        process = start(killed)
        deadline = time.monotonic() + 120
        while epochs_done(killed) < target and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert target <= epochs_done(killed) < 12
    assert start(killed).wait() == 0
    assert epochs_done(killed) == 12
    assert_same_weights(weights(whole), weights(killed))


@pytest.mark.usefixtures("as_user")  # the added checks of lists draw from Python's generator
def test_random_states_come_back_with_the_checkpoint(tmp_path):
    import random

    import numpy as np

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), torch.rand(1).item()  # noqa: NPY002

    train(model(), task(0), task(1), TrainConfig(epochs=1), tmp_path)
    saved = checkpoint.read(tmp_path / "checkpoint.pt")
    expected = draw()
    draw()
    train(model(), task(0), task(1), TrainConfig(epochs=1), tmp_path)
    assert draw() == expected
    assert set(saved["random"]) == {"generator", "torch", "cuda", "python", "numpy"}


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    train(model(), task(0), task(1), TrainConfig(epochs=2), tmp_path)
    good = weights(tmp_path)

    read_out = RCLSTM.read_out

    def poisoned(self, features):
        logits = read_out(self, features)
        return logits * math.nan if torch.is_grad_enabled() else logits

    monkeypatch.setattr(RCLSTM, "read_out", poisoned)
    with pytest.raises(ValueError, match=r"The loss is nan in epoch 2.*last good checkpoint stays"):
        train(model(), task(0), task(1), TrainConfig(epochs=4), tmp_path)
    assert_same_weights(good, weights(tmp_path))
    assert epochs_done(tmp_path) == 2


def test_data_that_do_not_fit_are_refused(tmp_path):
    data = task(0)
    wrong_size = Labelled(SpikeSequences(data.inputs.steps[:, :9], T), data.labels)
    with pytest.raises(ValueError, match="reads 16 inputs per step, got sequences of 9"):
        train(model(), wrong_size, task(1), TrainConfig(), tmp_path)
    bad_labels = Labelled(data.inputs, data.labels + 1)
    with pytest.raises(ValueError, match=r"in 0..3, got 4"):
        train(model(), bad_labels, task(1), TrainConfig(), tmp_path)
    with pytest.raises(ValueError, match="data set is empty"):
        data.rows(torch.arange(0))
    with pytest.raises(ValueError, match="256 sequences and 255 labels"):
        Labelled(data.inputs, data.labels[1:])
    assert not (tmp_path / "checkpoint.pt").exists()


def test_checkpoints_that_are_not_this_runs_are_refused_and_left_alone(tmp_path):
    train(model(), task(0), task(1), TrainConfig(epochs=1), tmp_path)
    with pytest.raises(ValueError, match="belongs to another run"):
        train(model(), task(0), task(1), TrainConfig(epochs=1, lr=1e-2), tmp_path)
    with pytest.raises(ValueError, match="belongs to another run"):
        train(model(), task(9), task(1), TrainConfig(epochs=1), tmp_path)
    for content in (b"no checkpoint", (tmp_path / "checkpoint.pt").read_bytes()[:500]):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
            train(model(), task(0), task(1), TrainConfig(epochs=1), tmp_path)
        assert (tmp_path / "checkpoint.pt").read_bytes() == content
    write_tensors(tmp_path / "checkpoint.pt", {}, {"format": "other", "state": "{}"})
    with pytest.raises(ValueError, match="not an rc_snn checkpoint"):
        train(model(), task(0), task(1), TrainConfig(epochs=1), tmp_path)


def test_a_checkpoint_with_one_changed_bit_is_refused_wherever_it_is(tmp_path):
    train(model(), task(0), task(1), TrainConfig(epochs=1), tmp_path)
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    places = torch.randint(len(whole), (60,), generator=torch.Generator().manual_seed(0)).tolist()
    for place in (0, 8, len(whole) - 1, *places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint.*[Mm]ove .*away"):
            train(model(), task(0), task(1), TrainConfig(epochs=2), tmp_path)
        assert path.read_bytes() == damaged


def test_what_a_checkpoint_holds_comes_back_as_it_was(tmp_path):
    columns = torch.arange(6.0).view(3, 2).t()
    state = {
        "moments": {0: {"step": torch.tensor(3.0), "columns": columns}, 7: {}},
        "key": (1.0, -math.inf, None, True, [2, (0.1, "θ")]),
        "far": [math.inf, 5e-324, 2**70],
        "empty": torch.zeros(0, 3, dtype=torch.int16),
    }
    checkpoint.write(tmp_path / "a", state)
    back = checkpoint.read(tmp_path / "a")
    assert back.pop("format") == checkpoint.FORMAT
    assert digest(back) == digest(state)
    assert back["moments"][0]["columns"].stride() == columns.stride()
    with pytest.raises(TypeError, match="A checkpoint holds numbers, texts and tensors, not set"):
        checkpoint.write(tmp_path / "a", {"x": {1}})


class Recordings:
    """Lazily read sequences: of 40 files, each with a number from 0 to 9."""

    n_steps, n_inputs = 3, 2

    def __init__(self, numbers: list[int]) -> None:
        self.numbers, self.read = numbers, lambda n: torch.full((2,), float(n))

    def __len__(self) -> int:
        return len(self.numbers)

    def at(self, step: int) -> torch.Tensor:
        return torch.stack([self.read(n) + step for n in self.numbers])

    def rows(self, index: torch.Tensor) -> "Recordings":
        return Recordings([self.numbers[i] for i in index])


class Named(Recordings):
    """They say what they are."""

    def digest(self) -> str:
        return f"files {self.numbers}"


def test_digests_tell_tensors_and_lazily_read_data_apart():
    same, other = [3] * 40, [3] * 39 + [4]
    for kind in (Recordings, Named):
        assert digest(kind(same)) == digest(kind(list(same)))
        assert digest(kind(same)) != digest(kind(other))
        assert digest(Labelled(kind(same), torch.zeros(40).long())) != digest(
            Labelled(kind(other), torch.zeros(40).long())
        )
    one_in_the_middle = [3] * 12 + [4] + [3] * 27  # none of the samples that are read
    assert digest(Named(same)) != digest(Named(one_in_the_middle))
    x = torch.arange(6.0)
    values = [x, x.view(2, 3), x.double(), x.flip(0), -x, {"a": x}, [x], [x, 1], x.int(), x[:0]]
    assert len({digest(value) for value in values}) == len(values)
    assert digest(x.view(2, 3).t().contiguous()) == digest(x.view(2, 3).t())


class Files(torch.utils.data.Dataset):
    """A data set whose transform draws anew whenever a sample is read."""

    def __init__(self, n: int, transform: object = None) -> None:
        self.n, self.transform = n, transform

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.rand(3, 2), i % 2


def test_a_data_set_counts_with_class_length_and_transform_and_is_not_read():
    def loaded(data: object, workers: int = 0) -> LoadedSequences:
        return LoadedSequences(data, 3, (2,), torch.arange(4), workers=workers)

    one = digest(loaded(Files(4)))
    assert digest(loaded(Files(4), workers=2)) == one
    assert digest(loaded(Files(4, lambda x: x))) == digest(loaded(Files(4, lambda x: x)))
    others = [loaded(Files(5)), loaded(Files(4, ToFrames(9))), loaded(Files(4, ToFrames(8)))]
    others.append(loaded([(torch.zeros(3, 2), 0)] * 4))
    others.append(loaded([(torch.ones(3, 2), 0)] * 4))
    assert len({one, *map(digest, others)}) == 6


def reencoded(data: Labelled) -> Labelled:
    """The same samples and labels, by another encoder: late units spike early."""
    return Labelled(SpikeSequences(T - 1 - data.inputs.steps.clamp(max=T - 1), T), data.labels)


class Other(RCLSTM):
    """Another class with the same weights."""


@pytest.mark.parametrize(
    ("made", "training", "validation", "part"),
    [
        (lambda: model(), reencoded(task(0)), task(1), "training_inputs"),
        (lambda: model(), task(0), reencoded(task(1)), "validation_inputs"),
        (lambda: model(), task(0), Labelled(task(1).inputs, task(0).labels), "validation_labels"),
        (lambda: model(5), task(0), task(1), "initial_weights"),
        (lambda: model(dropout=0.9), task(0), task(1), "model"),
        (lambda: model(kind=Other), task(0), task(1), "model"),
    ],
)
def test_a_run_on_other_parts_is_refused_and_the_part_is_named(
    made, training, validation, part, tmp_path
):
    train(model(), task(0), task(1), TrainConfig(epochs=1), tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(ValueError, match=r"belongs to another run \(1 epochs\)") as error:
        train(made(), training, validation, TrainConfig(epochs=2), tmp_path)
    named = [name for name in PARTS if f"{name} is " in str(error.value)]
    assert named == [part]
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


PARTS = (
    *("model", "initial_weights", "training_inputs", "training_labels"),
    *("validation_inputs", "validation_labels", "n_steps", "lr"),
)


def test_a_resumed_run_says_at_which_epoch_and_from_where(tmp_path, capsys):
    train(model(), task(0), task(1), TrainConfig(epochs=1), tmp_path)
    assert "resumed" not in capsys.readouterr().err
    train(model(), task(0), task(1), TrainConfig(epochs=3), tmp_path)
    assert f"resumed: epoch 1 of 3, from {tmp_path / 'checkpoint.pt'}\n" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_format_is_refused_with_the_remedy(tmp_path):
    torch.save({"format": "rc_snn.checkpoint/3"}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint/3, .* resumes .*/4: .* move the checkpoint"):
        train(model(), task(0), task(1), TrainConfig(epochs=1), tmp_path)


def test_beta_above_the_critical_one_warns(tmp_path):
    with pytest.warns(UserWarning, match="no output reaches theta"):
        train(model(), task(0), task(1), TrainConfig(epochs=1, beta=2.0), tmp_path)


def test_configurations_that_make_no_sense_are_refused(as_user):
    for wrong, match in (
        ({"theta": 1.0}, "theta"),
        ({"epochs": 0}, "epochs"),
        ({"lr": 0.0}, "lr"),
        ({"beta_after": 0.0}, "belong together"),
        ({"method": "bptt"}, "method"),
        ({"select": "best"}, "select"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"lr": math.inf}, "lr=inf"),
        ({"weight_decay": -0.1}, "weight_decay must be finite and >= 0, got -0.1"),
        ({"weight_decay": math.nan}, "weight_decay must be finite and >= 0, got nan"),
        ({"schedule": "cosine"}, '"constant" or "one_cycle", got \'cosine\''),
        ({"precision": "half"}, "precision must be one of .*got 'half'"),
        ({"first_step_epochs": -1}, r"in 0\.\.epochs=50, got -1"),
        ({"epochs": 3, "first_step_epochs": 4}, r"in 0\.\.epochs=3, got 4"),
        ({"judge": "loss"}, "judge must be .*got 'loss'"),
        ({"max_norm": 0.0}, "max_norm must be positive and finite, got 0.0"),
        ({"method": "max_pool"}, r"max_pool has no entropy reward; set beta=0, got 0\.1"),
        (
            {"method": "every_step", "beta": 0.0, "first_step_epochs": 1},
            "every_step has no threshold to lower",
        ),
    ):
        with pytest.raises(ValueError, match=match):
            TrainConfig(**wrong)


def test_tensorboard_is_written_when_asked_for(tmp_path):
    train(model(), task(0), task(1), TrainConfig(epochs=2), tmp_path, tensorboard=True)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("val_accuracy")] == [0, 1]


@pytest.mark.parametrize("method", ["max_pool", pytest.param("every_step", marks=pytest.mark.slow)])
def test_peers_learn_and_are_judged_by_their_first_spikes_where_asked(method, tmp_path):
    config = TrainConfig(
        epochs=6, batch_size=16, beta=0.0, lr=1e-2, method=method, judge="spike", theta=0.8
    )
    net = model()
    result = train(net, task(0), task(1), config, tmp_path)
    best = max(result.history, key=lambda r: r["val_spike_accuracy"])
    assert result.history[result.best_epoch]["val_spike_accuracy"] == best["val_spike_accuracy"]
    assert evaluate(net, task(1), 0.8)[1]["accuracy"] == best["val_spike_accuracy"] > 0.8
    assert evaluate(net, task(1), None)[1]["accuracy"] == pytest.approx(
        result.history[result.best_epoch]["val_accuracy"]
    )


@pytest.mark.parametrize("method", ["max_pool", "every_step"])
def test_one_epoch_of_a_peer_is_adam_on_its_loss_written_out(method, tmp_path):
    data, net, reference = task(0, n=64), model(), model()
    config = TrainConfig(epochs=1, batch_size=32, beta=0.0, method=method, max_norm=0.05)
    train(net, data, data, config, tmp_path)
    optimizer = torch.optim.Adam(reference.parameters(), lr=config.lr)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    for part in order.split(32):
        batch, state, logits = data.rows(part), None, []
        for step in range(T):
            features, state = reference.step(batch.inputs.at(step), state)
            logits.append(reference.read_out(features))
        if method == "max_pool":
            p = torch.softmax(torch.stack(logits).amax(dim=0), dim=1)
        else:
            p = torch.stack([torch.softmax(z, dim=1).log() for z in logits]).mean(dim=0).exp()
        loss = -p.gather(1, batch.labels.unsqueeze(1)).log().mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in reference.parameters()]).norm()
        assert norm > config.max_norm, "the gradient is clipped"
        for parameter in reference.parameters():
            parameter.grad *= config.max_norm / norm
        optimizer.step()
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"epochs": 2.5}, ValueError),
        ({"epochs": 2.0}, ValueError),
        ({"batch_size": True}, TypeError),
        ({"batch_size": "128"}, TypeError),
        ({"seed": -1}, ValueError),
        ({"seed": 1.0}, ValueError),
        ({"seed": None}, TypeError),
        ({"lr": math.nan}, ValueError),
        ({"lr": True}, TypeError),
        ({"beta": math.nan}, ValueError),
        ({"beta": -0.1}, ValueError),
        ({"beta_after": math.inf, "switch_epoch": 1}, ValueError),
        ({"beta_after": 0.1, "switch_epoch": 1.5}, ValueError),
        ({"beta_after": 0.1, "switch_epoch": -1}, ValueError),
        ({"theta": math.nan}, ValueError),
        ({"theta": "0.95"}, TypeError),
    ],
)
def test_numbers_of_a_config_that_count_nothing_are_refused_by_name(wrong, kind, as_user):
    with pytest.raises(kind, match="|".join(wrong).replace("beta_after", "beta must be")):
        TrainConfig(**wrong)


def test_numbers_of_numpy_make_the_same_config_and_a_record_holds_them(as_user):
    one = TrainConfig(epochs=np.int64(3), lr=np.float32(0.5), theta=torch.tensor(0.75), seed=2)
    assert one == TrainConfig(epochs=3, lr=0.5, theta=0.75, seed=2)
    assert json.loads(json.dumps(asdict(one))) == asdict(one)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_checkpoint_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        checkpoint.read(tmp_path / "checkpoint.pt")
