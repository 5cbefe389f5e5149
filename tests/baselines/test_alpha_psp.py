"""α-PSP: the equation, the authors' program to the last digit, and what clipping does."""

import importlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import lambertw

from baselines.alpha_psp import CLIP, AlphaPSP, alpha_psp, load_network
from baselines.continuous import ContinuousNetwork, Dense
from baselines.continuous_training import AuthorsAdam
from baselines.first_spike import first_spike_loss, first_spikes, silence_penalty, sort_spikes
from baselines.tensor_path import Crossing, crossing
from encoders.functional import encode_alpha_psp
from encoders.mnist import MNIST_TITLE, load_mnist

F64 = torch.float64
THETA, DECAY = 0.35, 1.3


def slow_definition(times, weights, theta, decay):
    """The specification read aloud: add inputs one by one, Lambert's W at every prefix."""
    order = np.argsort(times, kind="stable")
    order = [i for i in order if math.isfinite(times[i])]
    a = b = 0.0
    for k, i in enumerate(order):
        t = times[i]
        a += weights[i] * math.exp(decay * t)
        b += weights[i] * t * math.exp(decay * t)
        after = times[order[k + 1]] if k + 1 < len(order) else math.inf
        if after == t or a <= 0 or decay * b / a > 700:  # then x is -inf
            continue
        x = -(decay * theta / a) * math.exp(decay * b / a)
        if x < -1 / math.e:
            continue
        out = b / a - lambertw(x).real / decay
        if t <= out <= after:
            return out, k + 1
    return math.inf, 0


def potential(t, times, weights, decay):
    lag = np.clip(t - times, 0.0, None)
    return float(np.sum(weights * lag * np.exp(-decay * lag)))


def random_case(seed, n_in=12, n_out=7, batch=5, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    times = torch.rand(batch, n_in, generator=g, dtype=F64) * 2
    times = torch.where(times > 1.0, (times * 4).round() / 4, times)  # ties
    times[torch.rand(batch, n_in, generator=g) < 0.2] = torch.inf
    weight = torch.randn(n_in, n_out, generator=g, dtype=F64) * scale + 0.2
    return times, weight


def assert_is_the_slow_definition(seed, fast):
    times, weight = random_case(seed)
    got = first_spikes(AlphaPSP(THETA, DECAY), times, weight, fast=fast)[:, 0]
    for b, row in enumerate(times.numpy()):
        for j in range(weight.shape[1]):
            wanted, _ = slow_definition(row, weight[:, j].numpy(), THETA, DECAY)
            # Near a tangent scipy's W loses half its digits; ours does not.
            assert got[b, j].item() == pytest.approx(wanted, abs=1e-6), (seed, b, j)


@given(seed=st.integers(0, 10_000))
def test_kernels_and_tensors_find_the_spike_of_the_slow_definition(seed):
    for fast in (True, False):
        assert_is_the_slow_definition(seed, fast)


@pytest.mark.parametrize("seed", range(10))
def test_every_path_finds_the_spike_of_the_slow_definition(fast, seed):
    assert_is_the_slow_definition(seed, fast)


def test_the_potential_is_theta_at_the_spike_and_below_it_before(fast):
    times, weight = random_case(3, batch=40)
    out = first_spikes(AlphaPSP(THETA, DECAY), times, weight, fast=fast)[:, 0]
    assert 20 < int(out.isfinite().sum()) < out.numel()
    for b, j in out.isfinite().nonzero().tolist():
        row, w, t = times[b].numpy(), weight[:, j].numpy(), out[b, j].item()
        assert abs(potential(t, row, w, DECAY) - THETA) < 1e-12
        assert all(potential(x, row, w, DECAY) < THETA for x in np.linspace(0, t - 1e-6, 200))
    for b, j in out.isinf().nonzero().tolist():
        row, w = times[b].numpy(), weight[:, j].numpy()
        assert all(potential(x, row, w, DECAY) < THETA for x in np.linspace(0, 12, 600))


def test_the_crossing_solves_its_equation_from_the_tangent_to_far_away():
    z = torch.cat([torch.zeros(1, dtype=F64), torch.logspace(-18, 2.5, 300, dtype=F64)])
    u = crossing(z)
    assert u[0] == 0.0
    assert (u[1:] > u[:-1]).all()
    torch.testing.assert_close(u + torch.expm1(-u), z, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("n_in", [1, 12])
def test_gradients_match_finite_differences(fast, n_in):
    batch, n_out = (1, 2) if fast == "triton" else (3, 6)
    times, weight = random_case(5, n_in=n_in, n_out=n_out, batch=batch, scale=0.6)
    times, weight = times.requires_grad_(), weight.requires_grad_()
    pulses = torch.tensor([0.1, 0.7], dtype=F64, requires_grad=True)
    both = torch.cat([weight, torch.tensor([[0.3], [0.9]], dtype=F64).expand(2, n_out)]).detach()
    both.requires_grad_()

    def smooth(t, w, p):
        out = first_spikes(AlphaPSP(THETA, DECAY), t, w, pulses=p, fast=fast)
        return torch.where(out.isfinite(), out, 0.0)

    assert torch.autograd.gradcheck(smooth, (times, both, pulses))


@pytest.mark.parametrize("neuron", [AlphaPSP(THETA, DECAY), AlphaPSP(THETA, DECAY, clip=0.3)])
@pytest.mark.parametrize(("dtype", "bound"), [(F64, 1e-10), (torch.float32, 2e-4)])
def test_every_path_agrees_with_tensors_in_times_and_gradients(
    neuron, dtype, bound, fast, generator
):
    batch, n_in, spread = (3, 30, 0.4) if fast == "triton" else (9, 150, 0.1)
    times = torch.rand(batch, n_in, generator=generator, dtype=dtype).mul(20).round().div(20)
    times[times > 0.9] = torch.inf
    weight = torch.randn(n_in + 3, 130, generator=generator, dtype=dtype) * spread + spread / 10
    pulses = torch.tensor([0.2, 0.5, 3.0], dtype=dtype)
    pull = torch.randn(batch, 1, 130, generator=generator, dtype=dtype)
    results = []
    for path in (fast, False):
        leaves = [x.clone().requires_grad_() for x in (times, weight, pulses)]
        out = first_spikes(neuron, leaves[0], leaves[1], pulses=leaves[2], fast=path)
        torch.where(out.isfinite(), out * pull, 0.0).sum().backward()
        results.append([out.detach(), *(x.grad for x in leaves)])
    assert 0 < int(results[0][0].isinf().sum()) < results[0][0].numel() / 2
    for ours, reference in zip(*results, strict=True):
        assert torch.equal(ours.isfinite(), reference.isfinite())
        ours, reference = (torch.where(x.isfinite(), x, 0.0) for x in (ours, reference))
        torch.testing.assert_close(ours, reference, rtol=bound, atol=bound)


def test_derivatives_are_clipped_one_by_one_before_the_upstream_gradient():
    times = torch.tensor([[0.0, 0.5]], dtype=F64, requires_grad=True)
    weight = torch.tensor([[1.0], [1.0]], dtype=F64, requires_grad=True)
    exact, clipped = {}, {}
    for clip, seen in ((0.0, exact), (0.2, clipped)):
        out = first_spikes(AlphaPSP(0.35, 1.3, clip), times, weight)
        grads = torch.autograd.grad(3.0 * out.sum(), (times, weight))
        seen |= dict(zip(("times", "weight"), grads, strict=True))
    for name in ("times", "weight"):
        torch.testing.assert_close(clipped[name], 3.0 * (exact[name] / 3.0).clamp(-0.2, 0.2))
    assert (exact["weight"].abs() > 0.6).any()


def test_times_far_beyond_the_range_of_exponentials_are_still_exact(fast):
    # A and B of the textbook form would overflow: exp(0.18 * 1000) in float32. The first neuron
    # fires at once, the second after the late input.
    neuron, late = AlphaPSP(1.0, 0.18), 1000.0
    for dtype, bound in ((torch.float32, 1e-4), (F64, 1e-10)):
        times = torch.tensor([[0.0, late, torch.inf]], dtype=dtype, requires_grad=True)
        weight = torch.tensor([[5.0, 0.1], [0.0, 5.0], [9.0, 9.0]], dtype=dtype, requires_grad=True)
        out = first_spikes(neuron, times, weight, fast=fast)[0, 0]
        assert out[1].item() - late == pytest.approx(out[0].item(), abs=bound)
        to_times, to_weight = torch.autograd.grad(out.sum(), (times, weight))
        assert to_weight[0, 0].item() == pytest.approx(to_weight[1, 1].item(), rel=1e-3)
        assert to_weight[0, 1].item() == pytest.approx(0.0, abs=1e-6)
        assert (to_weight[2] == 0).all()
        torch.testing.assert_close(to_times, torch.ones(1, 3, dtype=dtype) * (times < torch.inf))


def test_shifting_all_inputs_shifts_the_spike(fast):
    times, weight = random_case(8)
    neuron = AlphaPSP(THETA, DECAY)
    here = first_spikes(neuron, times, weight, fast=fast)
    torch.testing.assert_close(first_spikes(neuron, times + 2.5, weight, fast=fast), here + 2.5)


def test_raising_theta_never_makes_a_spike_earlier(fast):
    times, weight = random_case(9, batch=30)
    low, high = (first_spikes(AlphaPSP(t, DECAY), times, weight, fast=fast) for t in (0.3, 0.4))
    assert (high >= low).all()
    assert (high > low).any()


# -- What the authors' program says ---------------------------------------------------------------


@pytest.mark.parametrize("which", ["slow", "fast"])
def test_the_published_networks_spike_as_in_their_authors_program(which, fast, published, arrays):
    known = arrays("alpha_spike_times")
    net = load_network(published / f"alpha_{which}.npz")
    n = 1 if fast == "triton" else 50
    times = torch.from_numpy(known["t_in"][:n])
    for layer, name in zip(net.layers, ("hidden", "out"), strict=True):
        spikes = torch.from_numpy(known[f"{which}_{name}"][:n])
        causal = torch.from_numpy(known[f"{which}_{name}_causal"][:n])
        layer.fast = fast
        with torch.no_grad():
            ours = layer(times)
        assert torch.equal(ours.isfinite(), spikes.isfinite())
        torch.testing.assert_close(ours, spikes, rtol=0, atol=1e-6)
        assert torch.equal(causal_sizes(layer, times, fast), causal.int())
        times = ours


def causal_sizes(layer, times, fast):
    times = torch.cat([times, layer.pulses.detach().expand(len(times), -1)], dim=1)
    index = torch.arange(times.shape[1], dtype=torch.int32)[None]
    spikes, weight = sort_spikes(times, index, fast=fast is True), layer.weight.detach()
    if fast is not True:
        path = importlib.import_module(f"baselines.{'triton_kernels' if fast else 'tensor_path'}")
        return path.cross(layer.neuron.alpha(), spikes, weight).causal[:, 0]
    shape = (len(times), 1, weight.shape[1])
    out = Crossing(
        torch.empty(shape, dtype=F64),
        torch.empty(shape, dtype=torch.int32),
        torch.empty(shape).double(),
    )
    layer.neuron.cross_fast(spikes, weight, out)
    return out.causal[:, 0]


@pytest.mark.parametrize(
    ("which", "correct", "mean"), [("slow", 9796, 14.320), ("fast", 9740, 1.636)]
)
def test_the_published_networks_are_right_as_often_as_their_authors_say(
    which, correct, mean, published
):
    digits = load_mnist(download=False)
    if digits.title != MNIST_TITLE:
        pytest.skip("MNIST is not at hand")
    net = load_network(published / f"alpha_{which}.npz")
    decision = net.decide(encode_alpha_psp(digits.test.images))
    assert int((decision.label == digits.test.labels).sum()) == correct
    assert decision.time.mean().item() == pytest.approx(mean, abs=5e-4)


def test_float32_moves_spike_times_by_little_and_never_to_nan(published, arrays):
    times = torch.from_numpy(arrays("alpha_spike_times")["t_in"])
    for which in ("slow", "fast"):
        exact = load_network(published / f"alpha_{which}.npz").spike_times(times)
        single = load_network(published / f"alpha_{which}.npz", dtype=torch.float32)
        for ours, wanted in zip(single.spike_times(times), exact, strict=True):
            assert torch.equal(ours.isfinite(), wanted.isfinite())
            torch.testing.assert_close(ours.double(), wanted, rtol=0, atol=1e-3)


def updates(net, times, labels, penalty, lr, lr_pulses):
    """Yield, over and over, the gradients summed over the batch, and what Adam makes of them."""
    weights, pulses = ([getattr(x, n) for x in net.layers] for n in ("weight", "pulses"))
    optimizer = AuthorsAdam([{"params": weights}, {"params": pulses, "lr": lr_pulses}], lr)
    n = len(times)
    while True:
        layers = net.spike_times(times)
        loss = first_spike_loss(layers[-1], labels)
        silent = [
            silence_penalty(out.detach().unsqueeze(1), layer.weight)
            for out, layer in zip(layers, net.layers, strict=True)
        ]
        optimizer.zero_grad()
        (loss + penalty * sum(silent)).backward()
        grads = [n * w.grad.t() for w in weights], [n * p.grad for p in pulses]
        optimizer.step()
        with torch.no_grad():
            for p in pulses:
                p.clamp_min_(0.0)
        after = [w.detach().t().clone() for w in weights], [p.detach().clone() for p in pulses]
        yield n * loss.item(), grads, after


def assert_near(ours, known, bound):
    known = torch.as_tensor(known)
    scale = max(float(known.abs().max()), 1e-30)
    torch.testing.assert_close(ours.double() / scale, known / scale, rtol=0, atol=bound)


@pytest.mark.parametrize("which", ["slow", "init24"])
def test_gradients_and_adam_steps_are_the_authors(which, quick, published, arrays):
    known, spikes = arrays("alpha_gradients"), arrays("alpha_spike_times")
    hp = {k[3:]: float(known[k]) for k in known.files if k.startswith("hp_")}
    if which == "slow":
        net = load_network(
            published / "alpha_slow.npz", decay=hp["decay"], clip=hp["clip_derivative"]
        )
    else:
        neuron = AlphaPSP(hp["theta"], hp["decay"], hp["clip_derivative"])
        held = [(known[f"init24_w{i}"], known["init24_pulses"][i]) for i in range(2)]
        net = ContinuousNetwork(
            [Dense(neuron, torch.from_numpy(w.T.astype(float)), torch.tensor(p)) for w, p in held]
        )
    for layer in net.layers:
        layer.fast = quick
    rows = known["rows"] if which == "slow" else np.arange(24)
    times = torch.from_numpy(spikes["t_in"][:32])
    steps = updates(
        net,
        times,
        torch.from_numpy(spikes["label"][:32]).long(),
        hp["penalty_no_spike"],
        hp["lr"],
        hp["lr_pulses"],
    )
    for step in range(2):
        loss, (d_weights, d_pulses), (weights, pulses) = next(steps)
        of = {k.removeprefix(f"{which}_s{step}_"): known[k] for k in known.files}
        assert loss == pytest.approx(float(of["loss_sum"]), rel=1e-10)
        assert_near(d_weights[0][rows], of["gw0_rows"], 1e-8)
        assert_near(d_weights[0].sum(dim=1), of["gw0_rowsum"], 1e-8)
        assert_near(d_weights[0].sum(dim=0), of["gw0_colsum"], 1e-8)
        assert_near(d_weights[0].abs().sum(), of["gw0_abssum"], 1e-8)
        assert_near(d_weights[1], of["gw1"], 1e-8)
        for i in range(2):
            assert_near(d_pulses[i], of["gp"][i], 1e-8)
            torch.testing.assert_close(pulses[i], torch.tensor(of["p"][i]), rtol=0, atol=1e-9)
        torch.testing.assert_close(weights[0][rows], torch.tensor(of["w0_rows"]), rtol=0, atol=1e-9)
        torch.testing.assert_close(weights[1], torch.tensor(of["w1"]), rtol=0, atol=1e-9)


def tiny(known, clip):
    neuron = AlphaPSP(float(known["theta"]), float(known["decay"]), clip)
    return ContinuousNetwork(
        [
            Dense(
                neuron, torch.from_numpy(known[f"w{i}"].T.copy()), torch.tensor(known["pulses"][i])
            )
            for i in range(3)
        ]
    )


def test_three_layers_with_ties_silence_and_clipping_are_the_authors_example_by_example(
    fast, arrays
):
    known = arrays("alpha_tiny")
    clip, penalty = float(known["hp_clip_derivative"]), float(known["hp_penalty_no_spike"])
    net = tiny(known, clip)
    for layer in net.layers:
        layer.fast = fast
    times, labels = torch.from_numpy(known["t_in"]), torch.from_numpy(known["label"])
    with torch.no_grad():
        for ours, name in zip(net.spike_times(times), ("h1", "h2", "out"), strict=True):
            torch.testing.assert_close(ours, torch.tensor(known[name]), rtol=0, atol=1e-6)
    assert any(np.isinf(known[name]).any() for name in ("h1", "h2", "out"))
    for b in range(0, len(times), 32 if fast == "triton" else 1):
        net = tiny(known, clip)
        for layer in net.layers:
            layer.fast = fast
        row = slice(b, b + 1)
        loss, (d_weights, d_pulses), _ = next(
            updates(net, times[row], labels[row], penalty, 0.1, 0.1)
        )
        assert loss == pytest.approx(float(known["loss"][b]), abs=1e-6)
        flat = torch.cat([d.flatten() for d in d_weights])
        torch.testing.assert_close(flat, torch.tensor(known["grad_w"][b]), rtol=1e-5, atol=1e-6)
        grads = torch.tensor(known["grad_p"][b][:3])
        torch.testing.assert_close(torch.stack(d_pulses), grads, rtol=1e-5, atol=1e-6)


def test_four_adam_steps_over_the_tiny_batch_are_the_authors(arrays):
    known = arrays("alpha_tiny")
    net = tiny(known, float(known["hp_clip_derivative"]))
    hp = [float(known[f"hp_{n}"]) for n in ("penalty_no_spike", "lr", "lr_pulses")]
    times, labels = torch.from_numpy(known["t_in"]), torch.from_numpy(known["label"])
    steps = updates(net, times, labels, *hp)
    for step in range(4):
        _, _, (weights, pulses) = next(steps)
        flat = torch.cat([w.flatten() for w in weights])
        torch.testing.assert_close(flat, torch.tensor(known["after_w"][step]), rtol=0, atol=1e-7)
        wanted = torch.tensor(known["after_p"][step][:3])
        torch.testing.assert_close(torch.stack(pulses), wanted, rtol=0, atol=1e-7)


def test_initial_weights_are_glorot_normal_with_the_authors_means(generator):
    net = alpha_psp((784, 340, 10), generator=generator)
    for layer, sigma, means in (
        (net.layers[0], 0.04200, (-0.01157, 0.3292)),
        (net.layers[1], 0.07454, (-0.02053, 0.5843)),
    ):
        n = layer.n_inputs
        for part, mean in zip((layer.weight[:n], layer.weight[n:]), means, strict=True):
            error = 5 * sigma / math.sqrt(part.numel())
            assert part.mean().item() == pytest.approx(mean, abs=error)
            assert part.std().item() == pytest.approx(
                sigma, rel=0.3 if part.numel() < 200 else 0.05
            )
        torch.testing.assert_close(layer.pulses.detach(), torch.arange(1, 11) / 11)
    assert net.layers[0].neuron == AlphaPSP(1.1673205005788956, 0.18176949150701854, CLIP)


def test_adam_has_its_epsilon_inside_the_root():
    p = torch.nn.Parameter(torch.zeros(3, dtype=F64))
    optimizer = AuthorsAdam([p], lr=0.1)
    m = v = torch.zeros(3, dtype=F64)
    wanted = torch.zeros(3, dtype=F64)
    for step in range(1, 4):
        grad = torch.tensor([1e-6, -1e-3, 2.0], dtype=F64) * step
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        wanted -= 0.1 * (m / (1 - 0.9**step)) / torch.sqrt(v / (1 - 0.999**step) + 1e-8)
        p.grad = grad
        optimizer.step()
        torch.testing.assert_close(p.detach(), wanted, rtol=1e-12, atol=0)
