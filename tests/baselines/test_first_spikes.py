"""What enters the compiled code of timing networks, and what its gradients refuse."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from baselines import first_spike
from baselines.alpha_psp import AlphaPSP, alpha_psp
from baselines.continuous import ContinuousNetwork, Conv, Dense
from baselines.continuous_training import ContinuousConfig, Timed, train_continuous
from baselines.conv import conv_rel_psp
from baselines.first_spike import Crossing, Sorted, first_spike_loss, first_spikes, sort_spikes
from baselines.lif import TTFSLIF, NorseLIF, SnnTorchLIF
from baselines.rel_psp import ReLPSP, rel_psp
from rc_snn.sequences import DenseSequences, SpikeSequences

pytestmark = pytest.mark.usefixtures("as_user")
NEURONS = {"alpha": AlphaPSP(theta=0.5), "rel": ReLPSP(theta=0.5)}


@pytest.fixture(params=NEURONS)
def neuron(request):
    return NEURONS[request.param]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def small(name: str) -> ContinuousNetwork:
    if name == "conv":
        return conv_rel_psp((2,), (6,), size=(8, 8), n_classes=3, kernel_size=3).double()
    return (alpha_psp if name == "alpha" else rel_psp)((64, 8, 3)).double()


NETWORKS = ["alpha", "rel", "conv"]


# -- Times and indices --------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [-1e-9, -1.0, -1e30, -torch.inf, torch.nan])
def test_times_that_are_none_are_refused_before_anything_is_sorted_by_them(neuron, wrong, fast):
    times, weight = drawn(3, 5), drawn(5, 4)
    times[1, 2] = wrong
    with pytest.raises(ValueError, match=r"^Spike times must be >= 0"):
        first_spikes(neuron, times, weight, fast=fast)
    with pytest.raises(ValueError, match="Spike times must be >= 0"):
        Dense(neuron, weight, fast=fast)(times)
    if not wrong > -torch.inf:
        return
    layer = Dense(neuron, weight, torch.tensor([0.5, wrong], dtype=torch.float64), fast=fast)
    with pytest.raises(ValueError, match="Spike times must be >= 0"):
        layer(drawn(3, 3))


def test_times_of_any_size_are_sorted_alike_by_both_paths():
    ends = [0.0, -0.0, 5e-324, 1e-300, 1.0, 1e15, 1e300, 1.7e308, torch.inf]
    for dtype in (torch.float32, torch.float64):
        times = torch.tensor([ends, ends[::-1]], dtype=dtype)
        index = torch.arange(len(ends), dtype=torch.int32)[None]
        ours, theirs = (sort_spikes(times, index, fast=fast) for fast in (True, False))
        assert torch.equal(ours.spiking.long(), theirs.spiking)
        for b, n in enumerate(ours.spiking[:, 0].tolist()):
            assert torch.equal(ours.times[b, 0, :n], theirs.times[b, 0, :n])
            assert torch.equal(ours.order[b, 0, :n].long(), theirs.order[b, 0, :n])


@pytest.mark.parametrize("bad", [-1, 5, 2**31 - 1])
def test_a_row_sees_inputs_that_there_are(neuron, bad, fast):
    index = torch.arange(5, dtype=torch.int32)[None].repeat(2, 1)
    index[1, 3] = bad
    for call in (
        lambda: sort_spikes(drawn(3, 5), index, fast=fast is True),
        lambda: first_spikes(neuron, drawn(3, 5), drawn(5, 4), index, fast=fast),
    ):
        with pytest.raises(ValueError, match=r"sees inputs of 0\.\.4"):
            call()
    with pytest.raises(ValueError, match=r"got \[2, 0\] in 0\.\.-1 for times \[3, 5\]"):
        sort_spikes(drawn(3, 5), index[:, :0], fast=fast is True)


def test_places_of_a_convolution_changed_in_place_are_refused(fast):
    layer = small("conv").layers[0]
    layer.fast = fast
    layer.index[0, 0] = 64
    with pytest.raises(ValueError, match=r"sees inputs of 0\.\.63"):
        layer(drawn(2, 64))


def test_an_empty_batch_has_no_spikes(neuron, fast):
    times, weight = drawn(0, 5).requires_grad_(), drawn(5, 4).requires_grad_()
    out = first_spikes(neuron, times, weight, fast=fast)
    assert out.shape == (0, 1, 4)
    out.sum().backward()
    assert not weight.grad.any()


# -- Sizes and types ----------------------------------------------------------------------------


def test_weights_pulses_and_times_that_do_not_fit_are_refused(neuron, fast):
    times, weight, pulses = drawn(3, 5), drawn(5, 4), drawn(2)
    for wrong in (
        (times, drawn(4, 4)),
        (times, drawn(6, 4)),
        (times, drawn(5)),
        (times, drawn(5, 0)),
        (times[:, :0], drawn(0, 4)),
        (times, weight, None, pulses),
        (times, weight, torch.zeros(2, 4, dtype=torch.int32)),
        (times.float(), weight),
        (times, drawn(7, 4), None, pulses.float()),
    ):
        with pytest.raises(ValueError, match="as many rows of weights"):
            first_spikes(neuron, *wrong, fast=fast)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_replaced_by_others_after_construction_are_refused(name):
    for change in (slice(1, None), slice(None, -1)):
        network = small(name)
        layer = network.layers[0]
        layer.weight = nn.Parameter(layer.weight.detach()[change])
        with pytest.raises(ValueError, match="as many rows of weights"):
            network.decide(drawn(2, 64))
    for times in (drawn(2, 63), drawn(2, 65), drawn(64)):
        for call in (network.decide, network.layers[0], network.spike_times):
            with pytest.raises(ValueError, match=r"must be a tensor \[batch, 64\]"):
                call(times)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_in_any_memory_order_and_views_have_the_gradients_of_contiguous_ones(name):
    network, times = small(name), drawn(4, 64)
    found = []
    for change in (
        lambda w: w.clone(),
        lambda w: w.t().contiguous().t(),
        lambda w: torch.stack([w, 0 * w], 2).flatten(1)[:, ::2],
    ):
        layer = copy.deepcopy(network.layers[0])
        base = layer.weight.detach().clone().requires_grad_()
        index = getattr(layer, "index", None)
        out = first_spikes(layer.neuron, times, change(base), index, layer_pulses(layer))
        out[torch.isfinite(out)].sum().backward()
        found.append((out.detach(), base.grad))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-12, atol=1e-12)


def layer_pulses(layer):
    pulses = getattr(layer, "pulses", None)
    return None if pulses is None else pulses.detach()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_precisions_are_computed_by_tensors(name, dtype):
    network, times = small(name).to(dtype), drawn(4, 64)
    found = network.spike_times(times)[-1]
    assert found.dtype is dtype
    network.layers[0].fast = True
    with pytest.raises(ValueError, match=r"must be .* of torch.float32 on the CPU"):
        network.spike_times(times)


def test_what_kernels_are_handed_directly_must_fit_too(neuron):
    index = torch.arange(5, dtype=torch.int32)[None]
    spikes, weight = sort_spikes(drawn(3, 5), index, fast=True), drawn(5, 4)

    def out(*shape: int) -> Crossing:
        return Crossing(
            torch.zeros(shape, dtype=torch.float64),
            torch.zeros(shape, dtype=torch.int32),
            torch.zeros(shape, dtype=torch.float64),
        )

    neuron.cross_fast(spikes, weight, out(3, 1, 4))
    for wrong in (
        (spikes, drawn(4, 4), out(3, 1, 4)),
        (spikes, weight[:, None], out(3, 1, 4)),
        (spikes, weight, out(3, 1, 3)),
        (spikes, weight, out(2, 1, 4)),
        (spikes, weight.float(), out(3, 1, 4)),
        (spikes._replace(order=spikes.order + 1), weight, out(3, 1, 4)),
        (spikes._replace(spiking=spikes.spiking + 6), weight, out(3, 1, 4)),
        (spikes._replace(order=spikes.order.long()), weight, out(3, 1, 4)),
        (spikes._replace(spiking=spikes.spiking.long()), weight, out(3, 1, 4)),
        (spikes._replace(times=spikes.times.float()), weight, out(3, 1, 4)),
        (spikes._replace(times=spikes.times[:, :, :4]), weight, out(3, 1, 4)),
        (Sorted(*(x[:2] for x in spikes)), weight, out(3, 1, 4)),
    ):
        with pytest.raises(ValueError, match="must be"):
            neuron.cross_fast(*wrong)


@pytest.mark.parametrize(
    ("device", "dtype", "fast", "triton", "path"),
    [
        ("cpu", torch.float32, None, True, "numba"),
        ("cpu", torch.float64, None, False, "numba"),
        ("cpu", torch.float16, None, True, "tensors"),
        ("cpu", torch.float32, True, False, "numba"),
        ("cpu", torch.float32, False, True, "tensors"),
        ("cpu", torch.float32, "triton", True, "triton"),
        ("cpu", torch.float32, "triton", False, "not installed"),
        ("cuda", torch.float32, None, True, "triton"),
        ("cuda", torch.float32, None, False, "tensors"),
        ("cuda", torch.bfloat16, None, True, "tensors"),
        ("cuda", torch.float32, True, True, "triton"),
        ("cuda", torch.float32, True, False, "not installed"),
        ("cuda", torch.float32, False, True, "tensors"),
        ("mps", torch.float32, None, True, "tensors"),
    ],
)
def test_what_computes_follows_from_device_dtype_and_what_is_installed(
    device, dtype, fast, triton, path, monkeypatch
):
    found = object() if triton else None
    monkeypatch.setattr(first_spike.importlib.util, "find_spec", lambda name: found)
    weight = SimpleNamespace(device=torch.device(device), dtype=dtype)
    if path == "not installed":
        with pytest.raises(ValueError, match="Triton is not installed"):
            first_spike._path(fast, weight)
    else:
        assert first_spike._path(fast, weight) == path
        module = "triton_kernels" if path == "triton" else "tensor_path"
        monkeypatch.undo()
        assert first_spike._module(path).__name__ == f"baselines.{module}"


def test_layers_and_neurons_that_cannot_be_are_refused():
    weight = torch.ones(9, 2)
    for make in (
        lambda: Dense(ReLPSP(), torch.ones(0, 3)),
        lambda: Dense(ReLPSP(), torch.ones(3)),
        lambda: Dense(ReLPSP(), torch.ones(3, 2), torch.ones(4)),
        lambda: Conv(ReLPSP(), weight[:8], (4, 4, 1), 3),
        lambda: Conv(ReLPSP(), weight, (4, 4, 1), 3, pool=3),
        lambda: Conv(ReLPSP(), weight, (4, 4, 1), 3, pool=0),
        *(lambda x=x: ReLPSP(theta=x) for x in (0.0, -1.0, torch.nan, torch.inf)),
        *(lambda x=x: ReLPSP(min_slope=x) for x in (-1.0, torch.nan, torch.inf)),
        *(lambda x=x: AlphaPSP(theta=x) for x in (0.0, -1.0, torch.nan, torch.inf)),
    ):
        with pytest.raises(ValueError, match=r"must be|pulses are|leaves nothing"):
            make()
    for kind in (ReLPSP, AlphaPSP):
        assert type(kind(theta=torch.tensor(1.0)).theta) is float
        for theta in (torch.ones(3), "1"):
            with pytest.raises((TypeError, ValueError), match="theta must be"):
                kind(theta=theta)


# -- Weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_that_are_not_finite_are_refused_when_deciding_and_when_training(
    name, value, tmp_path
):
    network, times = small(name).float(), drawn(4, 64).float()
    data = Timed(times, torch.arange(4) % 3)
    for key, weight in network.named_parameters():
        held = weight.detach().clone()
        network.decide(times)
        weight.data.view(-1)[-1] = value  # which counts no version
        kind = key.rsplit(".", 1)[-1]
        for call in (network.decide, network.synaptic_operations, network.spike_times):
            with pytest.raises(ValueError, match=f"1 of .* values of {kind} are not finite. Lower"):
                call(times)
        with pytest.raises(ValueError, match=f"1 of .* values of {key} are not finite"):
            train_continuous(network, data, data, ContinuousConfig(epochs=1), tmp_path)
        weight.data.copy_(held)
    network.decide(times)


@pytest.mark.parametrize("neurons", [SnnTorchLIF(), NorseLIF()])
def test_spikes_do_not_swallow_weights_that_are_not_finite(neurons):
    model = TTFSLIF(neurons, 6, 5, 3)
    x = SpikeSequences(torch.full((2, 6), 4), 4)
    model.decide(x)
    with torch.no_grad():
        model.weight_ih[0, 0] = torch.nan
    with pytest.raises(ValueError, match="1 of 30 values of weight_ih are not finite"):
        model.decide(x)
    with pytest.raises(ValueError, match="reads 6 inputs per step, got sequences of 7"):
        TTFSLIF(neurons, 6, 5, 3).decide(DenseSequences(torch.zeros(4, 2, 7)))


def test_zeros_of_both_signs_and_subnormal_weights_are_weights(neuron, fast):
    weight = torch.tensor([[0.0, 1.0], [-0.0, 1e-310], [5e-324, 1.0]], dtype=torch.float64)
    found = first_spikes(neuron, drawn(2, 3), weight, fast=fast)
    torch.testing.assert_close(found, first_spikes(neuron, drawn(2, 3), weight, fast=not fast))


# -- Gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_weight_changed_before_the_backward_pass_is_refused(name, quick):
    for part in range(len(small(name).layers)):
        network = small(name)
        for layer in network.layers:
            layer.fast = quick
        value = first_spike_loss(network.spike_times(drawn(4, 64))[-1], torch.arange(4) % 3)
        with torch.no_grad():
            network.layers[part].weight.mul_(2.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            value.backward()


def test_there_are_no_second_derivatives_not_even_of_a_sum(neuron, fast):
    weight = drawn(5, 4).requires_grad_()
    out = first_spikes(neuron, drawn(3, 5), weight, fast=fast)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(out[torch.isfinite(out)].sum(), weight, create_graph=True)
    times = drawn(3, 4).requires_grad_()
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(first_spike_loss(times, torch.arange(3)), times, create_graph=True)


@pytest.mark.parametrize("frozen", [{"weight"}, {"pulses"}, {"times"}, {"weight", "times"}])
def test_frozen_parts_leave_the_gradients_of_the_others(neuron, frozen, fast):
    parts = {"times": drawn(3, 5), "weight": 2.0 * drawn(7, 4), "pulses": drawn(2)}

    def grads(frozen):
        held = {k: v.clone().requires_grad_(k not in frozen) for k, v in parts.items()}
        out = first_spikes(neuron, held["times"], held["weight"], None, held["pulses"], fast=fast)
        out[torch.isfinite(out)].sum().backward()
        return {k: v.grad for k, v in held.items()}

    whole, found = grads(set()), grads(frozen)
    for key, expected in whole.items():
        if key in frozen:
            assert found[key] is None
        else:
            assert torch.equal(found[key], expected)


@pytest.mark.parametrize("n_out", [1, 63, 64, 65, 128, 129])
def test_gradients_are_whole_where_neurons_fill_a_block_or_exceed_it(neuron, n_out):
    """Kernels take 64 neurons at a time and sum their parts."""
    parts = drawn(3, 12), 0.3 * drawn(14, n_out, seed=1), drawn(2, seed=2)
    found = []
    for fast in (True, False):
        times, weight, pulses = (x.clone().requires_grad_() for x in parts)
        out = first_spikes(neuron, times, weight, pulses=pulses, fast=fast)
        assert out.isfinite().any()
        first_spike_loss(out.squeeze(1), torch.arange(3) % n_out).backward()
        found.append((out.detach(), times.grad, weight.grad, pulses.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
