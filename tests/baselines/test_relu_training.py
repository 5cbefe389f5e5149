"""Mapped networks from training to decisions: what the ReLU network knows, the spikes say."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from baselines import first_spike_objective, relu_inputs, relu_training
from baselines.continuous_training import ContinuousConfig, Timed
from baselines.rel_psp import rel_psp
from baselines.relu_training import MappedConfig, mapped_form, relu_network, train_mapped
from rc_snn.models import Dropout

DENSE = [{"inputs": 12, "neurons": 16}, {"inputs": 16, "neurons": 3}]
GRID = [
    {"size": [6, 5, 1], "kernel_size": 3, "neurons": 4, "pool": 2},
    {"inputs": 4, "neurons": 3},
]
GRID[1]["inputs"] = 2 * 1 * 4  # 6x5 becomes 4x3, pooled to 2x1
CONFIG = MappedConfig(epochs=20, batch_size=20, lr=0.02, samples=60)


def digits(seed: int, n: int, inputs: int, deadline: float = 1.0) -> Timed:
    """Classes whose own pixels spike early; a third of the pixels never does."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=g)
    times = 0.4 + 0.5 * torch.rand(n, inputs, generator=g)
    own = torch.arange(inputs) // (inputs // 3) == labels[:, None]
    times = torch.where(own & (torch.rand(n, inputs, generator=g) < 0.7), 0.2 * times, times)
    silent = torch.rand(n, inputs, generator=g) < 0.2
    return Timed(torch.where(silent, torch.inf, deadline * times), labels)


def best(result) -> float:
    return max(row["val_accuracy"] for row in result.history)


@pytest.mark.parametrize(
    ("layers", "inputs", "deadline", "neuron", "gate", "offset"),
    [
        (DENSE, 12, 1.0, "rel_psp", True, 0.0),
        (DENSE, 12, 0.04, "rel_psp", True, 1.0),
        (DENSE, 12, 1.0, "alpha_psp", True, -2.0),
        (GRID, 30, 1.0, "rel_psp", True, 1.0),
        (GRID, 30, 0.25, "rel_psp", False, 0.0),
    ],
)
def test_first_spikes_are_as_right_as_the_relu_network_that_they_come_from(
    layers, inputs, deadline, neuron, gate, offset, tmp_path
):
    data, held_out = digits(0, 120, inputs, deadline), digits(1, 200, inputs, deadline)
    config = replace(CONFIG, deadline=deadline, gate=gate, k=8.0 if gate else 64.0, offset=offset)
    model = mapped_form(layers, neuron=neuron, gate=gate)
    result = train_mapped(model, data, held_out, config, tmp_path)
    decision = model.decide(held_out.times)
    right = (decision.label == held_out.labels).double().mean().item()
    assert best(result) > 0.7, "it must know something"
    assert right == pytest.approx(best(result), abs=0.006 if gate else 0.03)  # one of 200, or six
    assert result.best_epoch == [r["val_accuracy"] for r in result.history].index(best(result))
    assert decision.time.max() < 1.15 * deadline
    assert decision.time.min() >= deadline


def test_inverted_inputs_less_one_train_the_network_of_the_inputs_themselves(tmp_path):
    """x - 1 of x = 1 - y is -y: with the first layer's sign turned, the same training follows."""
    data, held_out = digits(0, 60, 12), digits(1, 40, 12)
    data, held_out = (Timed(x.times.clamp(max=1.0), x.labels) for x in (data, held_out))
    dark, dark_held_out = (Timed(1.0 - x.times, x.labels) for x in (data, held_out))
    config = replace(CONFIG, dropout_input=0.2)
    bright = train_mapped(mapped_form(DENSE), data, held_out, config, tmp_path / "bright")
    model, turned = mapped_form(DENSE), relu_network(DENSE, config)
    with torch.no_grad():
        turned[1].weight.neg_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relu_training, "relu_network", lambda *_: turned)
        config = replace(config, offset=1.0)
        other = train_mapped(model, dark, dark_held_out, config, tmp_path / "dark")
    losses, others = ([row["train_loss"] for row in r.history] for r in (bright, other))
    assert losses == pytest.approx(others, rel=1e-4)


def test_an_image_is_read_row_by_row_by_both():
    """A kernel that sees one place of its square, at a place of the image that is known."""
    net = relu_network(GRID, MappedConfig())
    image = torch.arange(30.0).view(1, 6, 5)
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.zero_()
        net[0].weight[0, 0, 2, 1] = 1.0
    seen = net[0](image[None])[0, 0]
    assert torch.equal(seen, image[0, 2:6, 1:4])


def test_a_stopped_training_ends_in_the_same_weights(tmp_path):
    data, held_out = digits(0, 60, 12), digits(1, 40, 12)
    config = replace(
        CONFIG, dropout=0.3, dropout_input=0.2, first_spikes=ContinuousConfig(epochs=2)
    )
    whole, parts = mapped_form(DENSE), mapped_form(DENSE)
    train_mapped(whole, data, held_out, config, tmp_path / "whole")
    calls = []

    def stopping(generator: torch.Generator) -> Timed:
        calls.append(1)
        if len(calls) in (4, 8):  # in either training
            raise KeyboardInterrupt
        return data

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_mapped(parts, data, held_out, config, tmp_path / "parts", fresh=stopping)
    train_mapped(parts, data, held_out, config, tmp_path / "parts", fresh=stopping)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_spikes_tune_what_is_mapped_and_nothing_else_is_begun_with(tmp_path):
    data, held_out = digits(0, 120, 12), digits(1, 100, 12)
    tuning = ContinuousConfig(
        epochs=2, batch_size=20, optimizer="adamw", lr=1e-3, lr_pulses=0.0, seed=99
    )
    mapped, tuned = mapped_form(DENSE), mapped_form(DENSE)
    before = train_mapped(mapped, data, held_out, CONFIG, tmp_path / "a")
    after = train_mapped(
        tuned, data, held_out, replace(CONFIG, first_spikes=tuning), tmp_path / "b"
    )
    drop = ("seconds", "train_seconds")
    shared = [{k: v for k, v in row.items() if k not in drop} for row in before.history]
    kept = [{k: v for k, v in row.items() if k not in drop} for row in after.history]
    assert kept[: len(shared)] == shared
    assert len(kept) == len(shared) + 2
    out = mapped.local_times(held_out.times)[-1]
    loss = first_spike_objective(out, held_out.labels, 1.0).item()
    logits = -out  # in the outputs' clock
    assert loss == pytest.approx(nn.functional.cross_entropy(logits, held_out.labels).item(), 1e-3)
    moved = tuned.layers[-1].weight - mapped.layers[-1].weight
    assert moved.abs().max() > 0
    assert torch.equal(tuned.layers[0].pulses, mapped.layers[0].pulses)


def test_the_relu_network_has_the_layers_and_dropout_that_it_is_told():
    config = replace(CONFIG, dropout=0.4, dropout_input=0.2)
    kinds = [type(part) for part in relu_network(DENSE, config)]
    assert kinds == [Dropout, nn.Linear, nn.ReLU, Dropout, nn.Linear]
    kinds = [type(part) for part in relu_network(GRID, config)]
    assert kinds == [Dropout, nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, Dropout, nn.Linear]
    one, other = relu_network(DENSE, CONFIG), relu_network(DENSE, CONFIG)
    assert torch.equal(one[0].weight, other[0].weight)
    assert not torch.equal(one[0].weight, relu_network(DENSE, replace(CONFIG, seed=1))[0].weight)


def test_what_it_reads_ends_at_the_deadline():
    times = torch.tensor([0.0, 0.01, 0.04, 0.5, torch.inf])
    expected = torch.tensor([1.0, 0.75, 0.0, 0.0, 0.0])
    torch.testing.assert_close(relu_inputs(times, 0.04), expected)


def test_networks_of_another_form_and_data_that_do_not_fit_are_refused(tmp_path, as_user):
    data = digits(0, 30, 12)
    with pytest.raises(ValueError, match="form that from_relu gives"):
        train_mapped(rel_psp((12, 4, 3)), data, data, CONFIG, tmp_path)
    with pytest.raises(ValueError, match=r"\[batch, 12\]"):
        train_mapped(mapped_form(DENSE), digits(0, 30, 11), data, CONFIG, tmp_path)
    wrong: Tensor = data.labels + 3
    with pytest.raises(ValueError, match="class"):
        train_mapped(mapped_form(DENSE), Timed(data.times, wrong), data, CONFIG, tmp_path)
    with pytest.raises(ValueError, match="The network is gated, got gate=False"):
        train_mapped(mapped_form(DENSE), data, data, replace(CONFIG, gate=False), tmp_path)
    grid = digits(0, 9, 30)
    padded = mapped_form([GRID[0] | {"padding": 1}, {"inputs": 4 * 3 * 2, "neurons": 3}])
    with pytest.raises(ValueError, match=r"With padding 1 the first layer.*got offset=1\.0"):
        train_mapped(padded, grid, grid, replace(CONFIG, offset=1.0), tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is trained before that is known"
    for given in ({"deadline": 0.0}, {"k": 0.5}, {"k": float("nan")}):
        with pytest.raises(ValueError, match="deadline must be positive and k >= 1"):
            MappedConfig(**given)
    for given, match in (
        ({"lr": 0.0}, "lr"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"offset": float("inf")}, "offset must be finite"),
    ):
        with pytest.raises(ValueError, match=match):
            MappedConfig(**given)
