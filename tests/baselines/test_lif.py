"""LIF networks: the libraries' own steps, the first spike and its gradient, decisions, training."""

import itertools

import norse.torch as norse
import pytest
import snntorch
import torch
import torch.nn.functional as F
from norse.torch.functional.threshold import threshold
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from baselines.lif import (
    RCLIF,
    TTFSLIF,
    NorseLIF,
    SnnTorchLIF,
    first_output_spike,
    first_spike_time,
)
from baselines.lif_training import TTFSConfig, train_ttfs
from rc_snn.objective import rc_loss
from rc_snn.regimes import decision_macs, training_macs
from rc_snn.runner import StreamingRunner, decide, run, trace
from rc_snn.sequences import DenseSequences, Labelled, SpikeSequences
from rc_snn.spikes import first_spike, spike_frames
from rc_snn.step_model import FusedModel, StepModel
from rc_snn.training import TrainConfig, train

T, B, N, H, C = 7, 60, 20, 30, 4
NEURONS = [SnnTorchLIF(weight_scale=5.0), NorseLIF(weight_scale=30.0)]
both = pytest.mark.parametrize("neurons", NEURONS, ids=["snntorch", "norse"])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rc(neurons, seed: int = 0) -> RCLIF:
    return RCLIF(neurons, N, H, C, generator=generator(seed))


def ttfs(neurons, seed: int = 0) -> TTFSLIF:
    return TTFSLIF(neurons, N, H, C, generator=generator(seed))


def sequences(seed: int = 0, n: int = B) -> SpikeSequences:
    steps = torch.randint(T + 1, (n, N), generator=generator(seed))
    return SpikeSequences(steps.to(torch.int16), T)


def task(seed: int, n: int = 200) -> Labelled:
    """Inputs of one class spike early, the others late."""
    g = generator(seed)
    labels = torch.randint(C, (n,), generator=g)
    early = torch.arange(N) % C == labels.unsqueeze(1)
    steps = torch.randint(3, (n, N), generator=g) + torch.where(early, 0, T - 3)
    return Labelled(SpikeSequences(steps.to(torch.int16), T), labels)


# -- the libraries ------------------------------------------------------------------------------


def snntorch_loop(model, frames: Tensor, spiking: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden spikes, output spikes and output potentials, as snnTorch's tutorials write it."""
    lif1 = snntorch.Leaky(beta=0.9)
    lif2 = snntorch.Leaky(beta=0.9, reset_mechanism="subtract" if spiking else "none")
    mem1, mem2 = lif1.reset_mem(), lif2.reset_mem()
    rows = []
    for x in frames:
        spk1, mem1 = lif1(F.linear(x, model.weight_ih, model.bias_h), mem1)
        spk2, mem2 = lif2(F.linear(spk1, model.weight_ho, model.bias_o), mem2)
        rows.append((spk1, spk2, mem2))
    return tuple(torch.stack(column) for column in zip(*rows, strict=True))  # type: ignore[return-value]


def norse_loop(model, frames: Tensor, spiking: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The same with norse's modules; the potential before the reset comes from its LICell."""
    p = norse.LIFParameters(method="tanh", alpha=torch.as_tensor(3.0))
    lif1, lif2, li = norse.LIFCell(p), norse.LIFCell(p), norse.LICell()
    s1 = s2 = s3 = None
    rows = []
    for x in frames:
        z1, s1 = lif1(F.linear(x, model.weight_ih, model.bias_h), s1)
        current = F.linear(z1, model.weight_ho, model.bias_o)
        if spiking and s2 is not None:
            s3 = norse.LIState(v=s2.v, i=s2.i)
        v, s3 = li(current, s3)
        z2, s2 = lif2(current, s2)
        rows.append((z1, z2, v))
    return tuple(torch.stack(column) for column in zip(*rows, strict=True))  # type: ignore[return-value]


LOOPS = {SnnTorchLIF: snntorch_loop, NorseLIF: norse_loop}


@both
@pytest.mark.parametrize("kind", [rc, ttfs])
def test_every_step_and_gradient_is_that_of_the_library(neurons, kind):
    model = kind(neurons)
    frames = spike_frames(sequences().steps, T)
    z1, z2, v = LOOPS[type(neurons)](model, frames, model.spiking)
    assert 0.02 < z1.mean() < 0.98
    assert not model.spiking or 0.02 < z2.mean() < 0.98, "no reset would be tested"
    state, ours = None, []
    for x in frames:
        z, potential, state = model.advance(x, state)
        ours.append((z, potential))
    spikes, potentials = (torch.stack(column) for column in zip(*ours, strict=True))
    assert torch.equal(potentials, v)
    if model.spiking:
        assert torch.equal(spikes, z2)
    weight = torch.randn(v.shape, generator=generator(1))
    objective = lambda z, v: ((z if model.spiking else v) * weight).sum()  # noqa: E731
    parameters = list(model.parameters())
    expected = torch.autograd.grad(objective(z2, v), parameters)
    for got, want in zip(
        torch.autograd.grad(objective(spikes, potentials), parameters), expected, strict=True
    ):
        assert want.abs().max() > 0
        torch.testing.assert_close(got, want)


def test_norse_follows_its_equation_at_another_dt():
    """The docstring's equations, written out, one neuron, with a spike in between."""
    neurons, state, v, i = NorseLIF(dt_s=2e-3), None, 0.0, 0.0
    fired = []
    for current in (3.0, 2.0, 0.5, 0.0, 0.1):
        z, before, state = neurons.step(torch.tensor([[current]]), state, spiking=True)
        i = i + current
        v = v + 2e-3 / 10e-3 * (i - v)
        assert float(before) == pytest.approx(v)
        assert float(z) == float(v > 1.0)
        v, i = v * (v <= 1.0), (1.0 - 2e-3 / 5e-3) * i
        assert [float(s) for s in state] == pytest.approx([v, i])
        fired.append(bool(z))
    assert fired == [False, True, False, False, False]


def test_snntorch_follows_its_equation():
    neurons, state, u, z = SnnTorchLIF(decay_mem=0.8), None, 0.0, 0.0
    fired = []
    for current in (0.7, 0.7, 0.5, 0.0, 0.1):
        u = 0.8 * u + current - z
        z = float(u > 1.0)
        spike, before, state = neurons.step(torch.tensor([[current]]), state, spiking=True)
        assert float(before) == pytest.approx(u)
        assert float(spike) == z
        fired.append(bool(z))
    assert fired == [False, True, False, False, False]


def test_snntorch_and_norse_spike_above_the_threshold_not_at_it():
    at = torch.tensor([[1.0]])
    assert SnnTorchLIF().step(at, None, spiking=True)[0].item() == 0.0
    # v' = 1 exactly: dt / tau_mem = 1/2, current 2
    assert NorseLIF(dt_s=5e-3).step(2 * at, None, spiking=True)[0].item() == 0.0
    assert NorseLIF(dt_s=5e-3).step(2.001 * at, None, spiking=True)[0].item() == 1.0


def test_norses_own_surrogate_ignores_its_sharpness():
    """Why the default is tanh; if norse mends it, NorseLIF's docstring must change."""
    x = torch.linspace(-1.0, 1.0, 9, requires_grad=True)
    for alpha in (1.0, 100.0):
        z = threshold(x, "super", torch.as_tensor(alpha))
        [slope] = torch.autograd.grad(z.sum(), x)
        torch.testing.assert_close(slope, 1.0 / (x.detach().abs() + 1.0) ** 2)
    [slope] = torch.autograd.grad(threshold(x, "tanh", 3.0).sum(), x)
    torch.testing.assert_close(slope, 1.0 - torch.tanh(3.0 * x.detach()) ** 2)


def test_a_layer_lets_the_graph_of_its_last_step_go():
    neurons = SnnTorchLIF()
    current = torch.ones(2, 3, requires_grad=True)
    neurons.step(current, None, spiking=True)
    kept = [t for layer in neurons._layers for t in (*vars(layer).values(), *layer.buffers())]
    assert not [t for t in kept if isinstance(t, Tensor) and t.grad_fn is not None]


# -- first spike --------------------------------------------------------------------------------


def trains(seed: int, share: float = 0.3) -> Tensor:
    z = (torch.rand(T, B, C, generator=generator(seed)) < share).double()
    z[:, 0] = 0.0  # all silent
    z[:, 1] = 1.0  # all at step 0
    z[:, 2], z[-1, 2] = 0.0, 1.0  # all at step T-1
    return z


def first_by_definition(z: Tensor) -> Tensor:
    """The first step with z = 1, else T, one neuron at a time."""
    times = torch.full(z.shape[1:], float(len(z)), dtype=z.dtype)
    for b, c in itertools.product(range(z.shape[1]), range(z.shape[2])):
        hits = [t for t in range(len(z)) if z[t, b, c] == 1.0]
        times[b, c] = hits[0] if hits else len(z)
    return times


def test_first_spike_time_is_the_first_step_with_a_spike():
    z = trains(0)
    times = first_spike_time(z)
    assert torch.equal(times, first_by_definition(z))
    assert times[:3].tolist() == [[float(T)] * C, [0.0] * C, [T - 1.0] * C]


def test_its_derivative_is_what_a_spike_more_or_less_changes():
    """The sum is linear in each z(s), so the derivative is the difference of its two values."""
    z = trains(1).requires_grad_()
    [slope] = torch.autograd.grad(first_spike_time(z).sum(), z)
    for s in range(T):
        with_spike, without = z.detach().clone(), z.detach().clone()
        with_spike[s], without[s] = 1.0, 0.0
        change = first_by_definition(with_spike) - first_by_definition(without)
        torch.testing.assert_close(slope[s], change)
    assert slope[:, 0, 0].tolist() == [float(s - T) for s in range(T)], "silence: earlier is better"


def test_its_gradient_matches_finite_differences_between_silence_and_spike():
    z = torch.rand(4, 2, 3, generator=generator(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(first_spike_time, z)


def test_the_first_output_spike_decides_and_the_largest_potential_breaks_ties():
    v = torch.randn(T, B, C, generator=generator(3)) * 0.7 + 0.1
    v[:, 0] = v[:, 0].clamp(max=0.9)  # silent to the end
    v[0, 1, 2] = 1.5  # at step 0
    v[:-1, 2], v[-1, 2] = 0.5, torch.tensor([0.0, 1.1, 0.0, 1.2])  # at step T-1, two of them
    z = (v > 1.0).float()
    decision = first_output_spike(z, v)
    assert decision.step is not None
    for b in range(B):
        hits = [t for t in range(T) if z[t, b].any()]
        step = hits[0] if hits else T - 1
        rivals = [k for k in range(C) if z[step, b, k]] or list(range(C))
        label = max(rivals, key=lambda k: float(v[step, b, k]))
        assert (int(decision.step[b]), int(decision.label[b])) == (step, label)
        assert bool(decision.fired[b]) == bool(hits)
        assert torch.equal(decision.scores[b], v[step, b])
        assert float(decision.time[b]) == (step + 1) / T
    assert (decision.step[:3].tolist(), decision.fired[:3].tolist()) == (
        [T - 1, 0, T - 1],
        [False, True, True],
    )
    assert decision.label[2] == 3


# -- networks -----------------------------------------------------------------------------------


@both
def test_ttfs_decides_as_its_spikes_say_and_alone_as_in_a_batch(neurons):
    model, x = ttfs(neurons), sequences()
    z, v = model(x)
    expected = first_output_spike(z.detach(), v.detach())
    decision = model.decide(x, batch_size=7)
    assert decision.step is not None
    assert expected.step is not None
    assert len(decision.step.unique()) > 2
    assert torch.equal(decision.step, first_by_definition(z).amin(dim=1).clamp(max=T - 1).long())
    for b in range(B):
        alone = model.decide(x.rows(torch.tensor([b])))
        assert alone.label == decision.label[b] == expected.label[b]
        assert alone.step == decision.step[b] == expected.step[b]
        assert alone.fired == decision.fired[b] == expected.fired[b]
        torch.testing.assert_close(alone.scores[0], decision.scores[b])


@both
@pytest.mark.parametrize(
    ("bias", "at", "fired"), [(-50.0, T - 1, False), (50.0, 0, True), (None, T - 1, True)]
)
def test_ttfs_at_the_edges_silence_step_zero_and_the_last_step(neurons, bias, at, fired):
    model = ttfs(neurons)
    with torch.no_grad():
        if bias is None:  # one input, which spikes in the last step, drives everything
            for parameter in model.parameters():
                parameter.zero_()
            model.weight_ih[:, 0], model.weight_ho[2] = 50.0, 50.0
        else:
            model.weight_ho.zero_()
            model.bias_o.copy_(torch.tensor([bias, bias, bias * (1.0 - 0.1), bias]))
            model.bias_o[2] = bias + 1.0
    late = SpikeSequences(torch.full((3, N), T - 1, dtype=torch.int16), T)
    decision = model.decide(late)
    assert decision.step is not None
    assert decision.step.tolist() == [at] * 3
    assert decision.fired.tolist() == [fired] * 3
    assert decision.label.tolist() == [2] * 3
    assert decision.time.tolist() == [(at + 1) / T] * 3


@both
def test_rc_with_early_exit_equals_the_whole_run_read_at_the_first_crossing(neurons):
    model, x, theta = rc(neurons), sequences(4), 0.8
    logits, state = [], None
    for t in range(T):
        features, state = model.step(x.at(t), state)
        logits.append(model.read_out(features))
    whole = torch.stack(logits)
    first = first_spike(whole.softmax(dim=2), theta)
    assert len(first.step.unique()) > 2
    assert first.fired.any()
    for fused in (True, False):
        decision, out = run(model, x, theta, fused=fused)
        assert torch.equal(decision.step, first.step)
        assert torch.equal(decision.fired, first.fired)
        torch.testing.assert_close(out, whole[first.step, torch.arange(B)])
    alone = [decide(model, x.rows(torch.tensor([b])), theta) for b in range(B)]
    assert torch.equal(torch.cat([d.step for d in alone]), first.step)


@both
def test_rc_gradients_are_the_same_on_both_paths_and_reach_all_weights(neurons):
    model, x = rc(neurons), sequences(5)
    labels = torch.randint(C, (B,), generator=generator(6))
    gradients = []
    for fused in (True, False):
        loss = rc_loss(run(model, x, 0.8, fused=fused).logits, labels, 0.1)
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for fast, slow in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, slow)
        assert slow.flatten(1 if slow.dim() > 1 else 0).abs().amax(dim=-1).min() > 0


@both
def test_ttfs_gradients_reach_all_weights(neurons):
    model = ttfs(neurons)
    time = first_spike_time(model(sequences(5))[0])
    labels = torch.randint(C, (B,), generator=generator(6))
    F.cross_entropy(-time, labels).backward()
    for name, parameter in model.named_parameters():
        rows = parameter.grad.flatten(1 if parameter.dim() > 1 else 0).abs().amax(dim=-1)
        assert rows.min() > 0, name


@both
def test_dense_sequences_are_read_like_spike_steps(neurons):
    x = sequences(7)
    dense = DenseSequences(spike_frames(x.steps, T))
    for one, other in zip(ttfs(neurons)(x), ttfs(neurons)(dense), strict=True):
        torch.testing.assert_close(one, other)


@both
def test_multiply_adds_that_were_executed_equal_the_account(neurons):
    model, x = rc(neurons), sequences(8)
    assert isinstance(model, StepModel)
    assert isinstance(model, FusedModel)
    with torch.no_grad(), FlopCounterMode(display=False) as inference:
        decision = run(model, x, 0.8, fused=False).decision
    assert decision.step is not None
    assert inference.get_total_flops() == 2 * int(decision_macs(decision.step, model.cost()).sum())
    with FlopCounterMode(display=False) as training:
        rc_loss(run(model, x, 0.8, fused=False).logits, torch.zeros(B).long()).backward()
    assert training.get_total_flops() == 2 * int(training_macs(decision.step, model.cost()).sum())
    assert torch.equal(model.cost().fan_out, torch.full((N,), float(H)))


@both
def test_initial_weights_come_from_the_generator_alone(neurons):
    before = torch.get_rng_state()
    weights = rc(neurons, 3).state_dict()
    torch.testing.assert_close(weights, ttfs(neurons, 3).state_dict(), rtol=0.0, atol=0.0)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(weights["weight_ih"], rc(neurons, 4).weight_ih)
    bound = neurons.weight_scale / N**0.5
    assert 0.9 * bound < weights["weight_ih"].abs().max() <= bound


# -- training -----------------------------------------------------------------------------------

one_quick = pytest.mark.parametrize(
    "neurons",
    [SnnTorchLIF(), pytest.param(NorseLIF(), marks=pytest.mark.slow)],
    ids=["snntorch", "norse"],
)


@one_quick
def test_ttfs_learns(neurons, tmp_path):
    model, validation = ttfs(neurons), task(1)
    config = TTFSConfig(epochs=10, batch_size=20, lr=3e-2)
    result = train_ttfs(model, task(0), validation, config, tmp_path)
    decision = model.decide(validation.inputs)
    accuracy = float((decision.label == validation.labels).double().mean())
    assert accuracy == max(row["val_accuracy"] for row in result.history) > 0.95
    best, step = result.history[result.best_epoch], decision.step
    assert step is not None
    assert best["val_mean_step"] == pytest.approx(float(step.double().mean()))
    assert best["val_fired"] == pytest.approx(float(decision.fired.double().mean()))
    assert result.history[-1]["train_loss"] < 0.5 * result.history[0]["train_loss"]
    assert decision.fired.double().mean() > 0.95


@one_quick
def test_rc_learns_in_the_loop_of_all_others(neurons, tmp_path):
    config = TrainConfig(epochs=10, batch_size=20, lr=3e-2, schedule="one_cycle")
    result = train(rc(neurons), task(0), task(1), config, tmp_path)
    assert max(row["val_accuracy"] for row in result.history) > 0.95


@one_quick
@pytest.mark.parametrize("schedule", ["one_cycle", "constant"])
def test_a_stopped_ttfs_training_goes_on_bit_by_bit(neurons, schedule, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    config = TTFSConfig(epochs=5, batch_size=32, lr=1e-2, schedule=schedule, weight_decay=0.01)
    whole, parts = ttfs(neurons), ttfs(neurons)
    straight = train_ttfs(whole, task(0), task(1), config, tmp_path / "whole")
    draws, decide = itertools.count(), TTFSLIF.decide

    def stopping(self, inputs):
        if next(draws) == 3:  # in the fourth epoch, after its updates
            raise Stop
        return decide(self, inputs)

    monkeypatch.setattr(TTFSLIF, "decide", stopping)
    with pytest.raises(Stop):
        train_ttfs(parts, task(0), task(1), config, tmp_path / "parts")
    monkeypatch.undo()
    again = ttfs(neurons)
    resumed = train_ttfs(again, task(0), task(1), config, tmp_path / "parts")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    for one, other in zip(straight.history, resumed.history, strict=True):
        assert {k: v for k, v in one.items() if "seconds" not in k} == {
            k: v for k, v in other.items() if "seconds" not in k
        }


def test_a_ttfs_training_is_not_resumed_with_another_configuration(tmp_path):
    model = ttfs(NEURONS[0])
    train_ttfs(model, task(0), task(1), TTFSConfig(epochs=1), tmp_path)
    with pytest.raises(ValueError, match="belongs to another run"):
        train_ttfs(model, task(0), task(1), TTFSConfig(epochs=1, temperature_steps=2.0), tmp_path)
    longer = [
        Labelled(SpikeSequences(part.inputs.steps, T + 1), part.labels)
        for part in (task(0), task(1))
    ]
    with pytest.raises(ValueError, match="belongs to another run"):
        train_ttfs(model, *longer, TTFSConfig(epochs=1), tmp_path)
    with pytest.raises(ValueError, match="initial_weights is"):
        train_ttfs(ttfs(NEURONS[0], seed=9), task(0), task(1), TTFSConfig(epochs=1), tmp_path)


def test_kept_epoch_is_the_best_on_validation_within_the_regime(tmp_path):
    config = TTFSConfig(epochs=10, batch_size=20, lr=0.1, select="fast")
    result = train_ttfs(ttfs(SnnTorchLIF()), task(0), task(1), config, tmp_path)
    inside = [row for row in result.history if row["val_mean_step"] / T < 0.05]
    best = max(inside, key=lambda row: (row["val_accuracy"], -row["epoch"]))
    assert 0 < len(inside) < len(result.history)
    assert result.regime_reached
    assert result.best_epoch == best["epoch"]


# -- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RCLIF("brian"), "SnnTorchLIF.. or NorseLIF"),
        (lambda: TTFSLIF(SnnTorchLIF(), n_hidden=0), "n_hidden=0"),
        (lambda: TTFSLIF(SnnTorchLIF(), n_inputs=0), "n_inputs=0"),
        (lambda: RCLIF(NorseLIF(), n_classes=1), "n_classes=1"),
        (lambda: SnnTorchLIF(decay_mem=1.1), "decay_mem must be"),
        (lambda: SnnTorchLIF(weight_scale=0.0), "weight_scale must be"),
        (lambda: NorseLIF(dt_s=1.0), "dt_s must be"),
        (lambda: NorseLIF(dt_s=0.0), "dt_s must be"),
        (lambda: NorseLIF(alpha=-1.0), "alpha must be"),
        (lambda: NorseLIF(surrogate="atan"), "surrogate must be"),
        (lambda: TTFSConfig(temperature_steps=0.0), "temperature_steps must be"),
        (lambda: TTFSConfig(epochs=0), "epochs and batch_size"),
        (lambda: TTFSConfig(lr=float("nan")), "lr positive"),
        (lambda: TTFSConfig(schedule="cosine"), "schedule must be"),
        (lambda: TTFSConfig(select="soon"), "select must be"),
        (lambda: TTFSConfig(weight_decay=-1.0), "weight_decay must be"),
        (lambda: ttfs(SnnTorchLIF()).decide(sequences(n=0)), "inputs is empty"),
    ],
)
def test_bad_input_is_refused_where_it_enters(as_user, make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_data_of_another_size_are_refused(tmp_path):
    model = TTFSLIF(SnnTorchLIF(), N + 1, H, C)
    with pytest.raises(ValueError, match=f"reads {N + 1} inputs per step"):
        train_ttfs(model, task(0), task(1), TTFSConfig(), tmp_path)


def test_a_network_that_diverged_is_not_taken_for_a_silent_one(tmp_path):
    model = ttfs(NEURONS[0])
    for value, told in ((3e38, "of 5 samples are"), (torch.nan, "1 of 4 values of bias_o are")):
        with torch.no_grad():
            model.bias_o[1] = -value  # whose potential goes beyond float32
        with pytest.raises(ValueError, match=f"{told} not finite"):
            model.decide(sequences(n=5))
    with pytest.raises(ValueError, match="not finite"):
        train_ttfs(model, task(0), task(1), TTFSConfig(), tmp_path)


@pytest.mark.parametrize("neurons", [SnnTorchLIF(), NorseLIF()])
@pytest.mark.parametrize("name", ["weight_ih", "bias_h", "weight_ho", "bias_o"])
def test_a_weight_that_is_none_is_no_silence(neurons, name, as_user):
    x = SpikeSequences(torch.tensor([[0, 1, 2]]), 2)
    coded, first = RCLIF(neurons, 3, 4, 2), TTFSLIF(neurons, 3, 4, 2)
    with torch.no_grad():
        for model in (coded, first):
            getattr(model, name)[0] = torch.nan
    for ask in (
        lambda: first.decide(x),
        lambda: first(x),
        lambda: decide(coded, x, 0.9),
        lambda: run(coded, x, 0.9),
        lambda: run(coded, x, 0.9, fused=False),
        lambda: trace(coded, x),
    ):
        with pytest.raises(ValueError, match=f"values of {name} are not finite"):
            ask()


def test_an_input_that_is_none_is_no_silence():
    stream = StreamingRunner(RCLIF(SnnTorchLIF(), 3, 4, 2), 0.99, 2)
    with pytest.raises(ValueError, match="3 of 3 values of x are NaN"):
        stream.step(torch.full((3,), torch.nan))
