"""Training of networks that spike once: it learns, resumes exactly, recovers, and refuses."""

import math

import pytest
import torch

from baselines.alpha_psp import alpha_psp
from baselines.continuous import ContinuousNetwork
from baselines.continuous_training import (
    ContinuousConfig,
    Timed,
    first_spike_objective,
    train_continuous,
)
from baselines.first_spike import first_spikes
from baselines.rel_psp import rel_psp
from encoders import embedded_digits, encode_latency
from encoders.temporal_mnist import take

INF = torch.inf
REL = {
    "batch_size": 32,
    "optimizer": "adamw",
    "lr": 5e-3,
    "schedule": "cosine",
    "temperature": 0.1,
    "horizon": 2.0,
    "jitter": 0.03,
    "max_norm": 1.0,
    "drift": 0.1,
}


@pytest.fixture(scope="module")
def digits() -> tuple[Timed, Timed]:
    held = embedded_digits()
    order = torch.randperm(len(held.train.labels), generator=torch.Generator().manual_seed(0))
    parts = take(held.train, order[:600]), take(held.train, order[600:800])
    return tuple(
        Timed(encode_latency(p.images, zero_pixels="silent").float(), p.labels) for p in parts
    )  # type: ignore[return-value]


def fresh_model(kind: str) -> ContinuousNetwork:
    generator = torch.Generator().manual_seed(0)
    if kind == "alpha":
        # The authors' means let outputs fire on pulses alone at first: a plateau of many epochs.
        means = {"weight_mean": 0.7, "pulse_mean": 0.0}
        return alpha_psp((784, 40, 10), generator=generator, **means)
    return rel_psp((784, 40, 10), generator=generator)


def config(kind: str, **changes) -> ContinuousConfig:
    if kind == "alpha":
        return ContinuousConfig(
            **{"lr": 3e-3, "lr_pulses": 0.01, "batch_size": 5, "temperature": 0.2, "silence": 48.37}
            | {"epochs": 4}
            | changes
        )
    return ContinuousConfig(**{"epochs": 4} | REL | changes)


@pytest.mark.parametrize("kind", [pytest.param("alpha", marks=pytest.mark.slow), "rel"])
def test_a_network_learns_and_a_stopped_run_ends_in_the_same_bits(kind, digits, tmp_path):
    whole = fresh_model(kind)
    result = train_continuous(whole, *digits, config(kind), tmp_path / "whole")
    accuracy = [row["val_accuracy"] for row in result.history]
    assert max(accuracy) > (0.5 if kind == "alpha" else 0.6), accuracy
    assert accuracy[result.best_epoch] == max(accuracy)

    class Stop(Exception):
        pass

    def stop_in_the_third_epoch(generator: torch.Generator) -> Timed:
        if (tmp_path / "parts" / "log.csv").exists():
            if len((tmp_path / "parts" / "log.csv").read_text().splitlines()) == 3:
                raise Stop
        return digits[0]

    with pytest.raises(Stop):
        train_continuous(
            fresh_model(kind),
            *digits,
            config(kind),
            tmp_path / "parts",
            fresh=stop_in_the_third_epoch,
        )
    resumed = fresh_model(kind)
    again = train_continuous(resumed, *digits, config(kind), tmp_path / "parts")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    timeless = [{k: v for k, v in r.items() if "seconds" not in k} for r in again.history]
    assert timeless == [{k: v for k, v in r.items() if "seconds" not in k} for r in result.history]


def test_a_run_on_other_spike_times_or_weights_is_refused(digits, tmp_path):
    training, validation = (part.rows(torch.arange(50)) for part in digits)
    once = config("rel", epochs=1)
    train_continuous(fresh_model("rel"), training, validation, once, tmp_path)
    later = Timed(0.5 * training.times, training.labels)
    with pytest.raises(ValueError, match=r"another run .*: training_inputs is"):
        train_continuous(fresh_model("rel"), later, validation, once, tmp_path)
    other = rel_psp((784, 40, 10), generator=torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match=r"another run .*: initial_weights is"):
        train_continuous(other, training, validation, once, tmp_path)


def test_a_network_that_is_born_silent_recovers(digits, tmp_path):
    # The hidden layer has no positive weight: nothing at all fires at first.
    for kind in ("alpha", "rel"):
        model = fresh_model(kind)
        with torch.no_grad():
            for layer in model.layers:
                layer.weight.abs_().mul_(-1e-3)
        assert model.spike_times(digits[0].times[:50])[-1].isinf().all()
        options = {"silence": 1.0} if kind == "alpha" else {"silence": 1.0, "max_norm": None}
        train_continuous(model, *digits, config(kind, epochs=2, **options), tmp_path / kind)
        assert model.decide(digits[1].times).fired.double().mean() > 0.9


def test_training_that_stays_silent_stops_with_the_reason(digits, tmp_path):
    model = fresh_model("rel")
    with torch.no_grad():
        for layer in model.layers:
            layer.weight.abs_().mul_(-1.0)
    with pytest.raises(ValueError, match=r"no output neuron fires .* raise silence or drift"):
        train_continuous(model, *digits, config("rel", drift=0.0), tmp_path)


def test_the_drift_pushes_silent_label_neurons_and_dead_hidden_ones(digits, tmp_path):
    model = fresh_model("rel")
    with torch.no_grad():
        model.layers[1].weight[:, 3] = -1.0
    before = model.layers[1].weight[:, 3].sum().item()
    train_continuous(model, *digits, config("rel", epochs=1, drift=1.0, max_norm=None), tmp_path)
    assert model.layers[1].weight[:, 3].sum().item() > before + 0.5


def test_the_drift_brings_dead_hidden_neurons_back(digits, tmp_path):
    shares = []
    for drift in (0.0, 1.0):
        model = fresh_model("rel")
        with torch.no_grad():
            model.layers[0].weight[:, :20] = -0.01
        options = {"epochs": 1, "drift": drift, "max_norm": None}
        train_continuous(model, *digits, config("rel", **options), tmp_path / str(drift))
        hidden = model.spike_times(digits[1].times)[0][:, :20]
        shares.append(hidden.isfinite().double().mean().item())
    assert shares[0] == 0.0
    assert shares[1] > 0.1


def test_times_beyond_the_horizon_still_have_a_gradient_a_tenth_as_steep():
    labels = torch.tensor([0])
    grads = []
    for horizon in (None, 2.0):
        out = torch.tensor([[3.0, 2.5, INF]], requires_grad=True)
        loss = first_spike_objective(out, labels, 1.0, horizon)
        grads.append(torch.autograd.grad(loss, out)[0])
    early = torch.tensor([[2.1, 2.05, INF]])
    p = torch.softmax(-early, dim=1)
    torch.testing.assert_close(grads[1], 0.1 * (torch.tensor([[1.0, 0.0, 0.0]]) - p))
    assert grads[0][0, 0] > 5 * grads[1][0, 0] > 0


def test_pulse_times_never_become_negative(digits, tmp_path):
    model = fresh_model("alpha")
    train_continuous(model, *digits, config("alpha", epochs=1, lr_pulses=50.0), tmp_path)
    assert all((layer.pulses >= 0).all() for layer in model.layers)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "at least 1"),
        ({"lr": math.nan}, "lr positive"),
        ({"temperature": 0.0}, "must be positive and finite"),
        ({"horizon": -1.0}, "must be positive and finite"),
        ({"jitter": -0.1, "drift": math.inf}, "jitter, drift must be finite"),
    ],
)
def test_a_config_that_cannot_train_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ContinuousConfig(**changes)


@pytest.mark.usefixtures("as_user")
def test_data_that_do_not_fit_are_refused(digits, tmp_path):
    data, validation = digits
    with pytest.raises(ValueError, match="empty"):
        Timed(torch.zeros(0, 4), torch.zeros(0))
    with pytest.raises(ValueError, match="one label per sample"):
        Timed(torch.zeros(2, 4), torch.zeros(1))
    with pytest.raises(ValueError, match=r"tensor \[batch, 784\], got \[600, 700\]"):
        train_continuous(
            fresh_model("rel"),
            Timed(data.times[:, :700], data.labels),
            validation,
            config("rel"),
            tmp_path,
        )
    with pytest.raises(ValueError, match=r"0\.\.9, got 10"):
        train_continuous(
            fresh_model("rel"),
            Timed(data.times, data.labels + 10),
            validation,
            config("rel"),
            tmp_path,
        )


def test_noise_ends_with_its_epochs(digits, tmp_path):
    weights = []
    for name, noise in (
        ("none", {"jitter": 0.0}),
        ("over", {"jitter": 0.5, "jitter_epochs": 0}),
        ("first", {"jitter": 0.5, "jitter_epochs": 1}),
    ):
        model = fresh_model("rel")
        train_continuous(model, *digits, config("rel", epochs=2, **noise), tmp_path / name)
        weights.append(model.layers[0].weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_spikes_that_are_left_out_are_silent_and_the_others_count_for_them():
    """One network by hand: masks from the same generator, weights of the second layer doubled."""
    net = rel_psp((6, 40, 3), generator=torch.Generator().manual_seed(0)).double()
    times = torch.rand(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    hidden, out = net.local_times(times, dropout=0.5, generator=torch.Generator().manual_seed(2))
    gone = torch.rand((5, 40), generator=torch.Generator().manual_seed(2)) < 0.5
    assert 60 < gone.sum() < 140
    assert torch.equal(hidden, net.layers[0](times))
    by_hand = first_spikes(
        net.layers[1].neuron, hidden.masked_fill(gone, torch.inf), 2.0 * net.layers[1].weight
    )
    torch.testing.assert_close(out, by_hand.squeeze(1), rtol=1e-12, atol=0)
    whole = net.local_times(times, dropout=0.0)[-1]
    assert torch.equal(whole, net.spike_times(times)[-1])
    for share in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="dropout must be in"):
            net.local_times(times, dropout=share)
        with pytest.raises(ValueError, match="spike_dropout must be in"):
            ContinuousConfig(spike_dropout=share)
