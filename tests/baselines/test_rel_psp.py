"""ReL-PSP, dense and convolutional: the ramps, their exact gradients, pooling."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.continuous import Conv
from baselines.conv import conv_rel_psp
from baselines.first_spike import first_spikes
from baselines.rel_psp import ReLPSP, rel_psp

F64 = torch.float64


def random_case(seed, n_in=11, n_out=6, batch=5):
    g = torch.Generator().manual_seed(seed)
    times = torch.rand(batch, n_in, generator=g, dtype=F64)
    times = torch.where(times > 0.5, (times * 8).round() / 8, times)  # ties
    times[torch.rand(batch, n_in, generator=g) < 0.2] = torch.inf
    weight = torch.randn(n_in, n_out, generator=g, dtype=F64) + 0.2
    return times, weight


def potential(t, times, weights):
    return float(np.sum(weights * np.clip(t - times, 0.0, None)))


def slow_definition(times, weights, theta):
    """Look into every interval between inputs: V is a line there."""
    grid = sorted({t for t in times if np.isfinite(t)})
    for k, t in enumerate(grid):
        slope = sum(w for w, s in zip(weights, times, strict=True) if s <= t)
        after = grid[k + 1] if k + 1 < len(grid) else np.inf
        if slope > 0:
            reached = t + (theta - potential(t, times, weights)) / slope
            if reached <= after:
                return reached
    return np.inf


def assert_is_the_slow_definition(seed, fast):
    times, weight = random_case(seed)
    got = first_spikes(ReLPSP(0.7), times, weight, fast=fast)[:, 0]
    for b, row in enumerate(times.numpy()):
        for j, w in enumerate(weight.t().numpy()):
            wanted = slow_definition(row, w, 0.7)
            assert got[b, j].item() == pytest.approx(wanted, rel=1e-9), (seed, b, j)


@given(seed=st.integers(0, 10_000))
def test_kernels_and_tensors_find_the_spike_of_the_slow_definition(seed):
    for fast in (True, False):
        assert_is_the_slow_definition(seed, fast)


@pytest.mark.parametrize("seed", range(10))
def test_every_path_finds_the_spike_of_the_slow_definition(fast, seed):
    assert_is_the_slow_definition(seed, fast)


def test_the_potential_reaches_theta_at_the_spike_and_not_before(fast):
    times, weight = random_case(1, batch=30)
    out = first_spikes(ReLPSP(0.7), times, weight, fast=fast)[:, 0]
    assert 0 < int(out.isfinite().sum()) < out.numel()
    for b, j in out.isfinite().nonzero().tolist():
        row, w, t = times[b].numpy(), weight[:, j].numpy(), out[b, j].item()
        assert potential(t, row, w) == pytest.approx(0.7, rel=1e-12)
        assert all(potential(x, row, w) < 0.7 for x in np.linspace(0, t - 1e-9, 100))


def test_gradients_match_finite_differences(fast):
    size = {"n_in": 6, "n_out": 3, "batch": 1} if fast == "triton" else {"batch": 3}
    times, weight = random_case(4, **size)
    times, weight = times.requires_grad_(), weight.requires_grad_()

    def smooth(t, w):
        out = first_spikes(ReLPSP(0.7), t, w, fast=fast)
        return torch.where(out.isfinite(), out, 0.0)

    assert torch.autograd.gradcheck(smooth, (times, weight))


def test_a_common_shift_of_the_inputs_shifts_the_spike_so_gradients_sum_to_one(fast):
    times, weight = random_case(6, n_out=1, batch=20)
    times.requires_grad_()
    out = first_spikes(ReLPSP(0.7), times, weight, fast=fast)[:, 0, 0]
    fired = out.isfinite()
    (grad,) = torch.autograd.grad(out[fired].sum(), times)
    torch.testing.assert_close(grad[fired].sum(dim=1), torch.ones(int(fired.sum()), dtype=F64))
    assert (grad[~fired] == 0).all()


def test_gradients_are_bounded_by_the_smallest_slope(fast):
    times = torch.zeros(1, 1, dtype=F64)
    weight = torch.full((1, 1), 0.1, dtype=F64, requires_grad=True)
    for bound, steep in ((0.0, 0.1), (2.0, 2.0)):
        out = first_spikes(ReLPSP(1.0, bound), times, weight, fast=fast)
        assert out.item() == pytest.approx(10.0), "the time itself is exact"
        (grad,) = torch.autograd.grad(out.sum(), weight)
        assert grad.item() == pytest.approx(-10.0 / steep)


@pytest.mark.parametrize(("dtype", "bound"), [(F64, 1e-10), (torch.float32, 1e-4)])
def test_every_path_agrees_with_tensors_in_times_and_gradients(dtype, bound, fast, generator):
    batch, n_in = (3, 30) if fast == "triton" else (9, 150)
    times = torch.rand(batch, n_in, generator=generator, dtype=dtype).mul(30).round().div(30)
    times[times > 0.9] = torch.inf
    weight = torch.randn(n_in, 130, generator=generator, dtype=dtype) * 0.1 + 0.02
    pull = torch.randn(batch, 1, 130, generator=generator, dtype=dtype)
    results = []
    for path in (fast, False):
        leaves = [x.clone().requires_grad_() for x in (times, weight)]
        out = first_spikes(ReLPSP(1.0, 0.5), *leaves, fast=path)
        torch.where(out.isfinite(), out * pull, 0.0).sum().backward()
        results.append([out.detach(), *(x.grad for x in leaves)])
    assert 0 < int(results[0][0].isinf().sum()) < results[0][0].numel() / 2
    for ours, reference in zip(*results, strict=True):
        ours, reference = (torch.where(x.isfinite(), x, 0.0) for x in (ours, reference))
        torch.testing.assert_close(ours, reference, rtol=bound, atol=bound)


# -- Convolution ----------------------------------------------------------------------------------


def test_a_convolution_is_a_dense_layer_at_every_place_and_pooling_takes_the_earliest(
    fast, generator
):
    neuron, height, width, channels, k, n_out = ReLPSP(0.7), 7, 6, 2, 3, 5
    weight = torch.randn(k * k * channels, n_out, generator=generator, dtype=F64) + 0.2
    layer = Conv(neuron, weight, (height, width, channels), k, pool=2, fast=fast)
    times = torch.rand(3, height, width, channels, generator=generator, dtype=F64)
    times[torch.rand(times.shape, generator=generator) < 0.3] = torch.inf
    out = layer(times.flatten(1)).view(3, 2, 2, n_out)
    for y in range(2):
        for x in range(2):
            places = [
                first_spikes(neuron, times[:, r : r + k, c : c + k].flatten(1), weight)[:, 0]
                for r in (2 * y, 2 * y + 1)
                for c in (2 * x, 2 * x + 1)
            ]
            torch.testing.assert_close(out[:, y, x], torch.stack(places).amin(dim=0))


@pytest.mark.slow
def test_gradients_of_a_whole_convolutional_network_match_finite_differences(quick, generator):
    net = conv_rel_psp(
        (2, 3), (5,), size=(10, 10), n_classes=3, kernel_size=3, min_slope=0.0, generator=generator
    ).double()
    times = torch.rand(2, 100, generator=generator, dtype=F64).requires_grad_()
    for layer in net.layers:
        layer.fast = quick
    names, leaves = zip(*net.named_parameters(), strict=True)

    def smooth(t, *weights):
        for layer, w in zip(net.layers, weights, strict=True):
            layer._parameters["weight"] = w
        out = net.spike_times(t)[-1]
        return torch.where(out.isfinite(), out, 0.0)

    assert names[0] == "layers.0.weight"
    assert smooth(times, *leaves).gt(0).any()
    assert torch.autograd.gradcheck(smooth, (times, *leaves))


def test_conv_kernels_and_tensors_agree_on_real_sizes(generator):
    net = conv_rel_psp(generator=generator)
    times = torch.rand(2, 784, generator=generator)
    times[times > 0.4] = torch.inf
    grads = []
    for fast in (True, False):
        for layer in net.layers:
            layer.fast = fast
        net.zero_grad()
        out = net.spike_times(times)[-1]
        out.sum().backward()
        grads.append([out.detach(), *(p.grad.clone() for p in net.parameters())])
    for ours, reference in zip(*grads, strict=True):
        scale = reference.abs().max()
        torch.testing.assert_close(ours / scale, reference / scale, rtol=0, atol=1e-4)


def test_the_published_architectures_have_their_sizes(generator):
    for hidden in (340, 800, 1000):
        net = rel_psp((784, hidden, 10), generator=generator)
        assert [tuple(p.shape) for p in net.parameters()] == [(784, hidden), (hidden, 10)]
    net = conv_rel_psp(generator=generator)
    shapes = [(25, 16), (400, 32), (512, 800), (800, 128), (128, 10)]
    assert [tuple(p.shape) for p in net.parameters()] == shapes


def test_initial_weights_come_from_the_generator_alone():
    a, b = (rel_psp((9, 4, 2), generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("sizes", [(784,), (784, 0, 10), ()])
def test_what_is_not_a_network_is_refused(sizes, generator):
    with pytest.raises(ValueError, match="at least two sizes"):
        rel_psp(sizes, generator=generator)


@pytest.mark.usefixtures("as_user")
def test_a_kernel_that_does_not_fit_is_refused(generator):
    with pytest.raises(ValueError, match="side 5 does not fit into 4x4"):
        conv_rel_psp((2,), (), size=(4, 4), generator=generator)
