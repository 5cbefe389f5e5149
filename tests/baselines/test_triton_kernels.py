"""Triton's kernels: what the tests over all paths leave out. Without a GPU they are interpreted."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from baselines import tensor_path
from baselines.alpha_psp import AlphaPSP, alpha_psp
from baselines.continuous import Conv
from baselines.conv import conv_rel_psp
from baselines.first_spike import _path, first_spikes
from baselines.rel_psp import ReLPSP, rel_psp

triton = pytest.importorskip("triton")
from baselines import triton_kernels  # noqa: E402

F64 = torch.float64
NEURONS = {"alpha": AlphaPSP(0.5, 1.3), "rel": ReLPSP(0.5)}
interpreted = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="Triton runs on the GPU here"
)
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def results(layer, times, fast):
    """Return first spikes, and the gradients of times, weight and pulses."""
    layer.fast = fast
    layer.zero_grad()
    times = times.clone().requires_grad_()
    out = layer(times)
    pull = torch.linspace(-1.0, 1.0, out.numel(), dtype=out.dtype, device=out.device)
    torch.where(out.isfinite(), out * pull.view(out.shape), 0.0).sum().backward()
    return [out.detach(), times.grad, *(p.grad.clone() for p in layer.parameters())]


def near(ours, reference, bound):
    """Return the share of values that are as near as this to the reference, or silent as it is."""
    typical = reference[reference.isfinite() & (reference != 0)].abs().median()
    close = (ours - reference).abs() <= bound * (reference.abs() + typical)
    return (close & ours.isfinite() | (ours == reference)).double().mean().item()


def convolution(neuron, generator, size, n_out):
    """Return one whose inputs are seen by no place, by several, and by all (the pulses)."""
    weight = torch.randn(9 * size[2] + 2, n_out, generator=generator, dtype=F64) + 0.2
    pulses = torch.tensor([0.3, 0.8], dtype=F64)
    return Conv(neuron, weight, size, 3, pulses=pulses, padding=1, stride=2, edge=1)


@interpreted
@pytest.mark.parametrize("programs", [1, 4096])
@pytest.mark.parametrize("neuron", NEURONS)
def test_places_that_share_inputs_add_up_whoever_sums_them(
    neuron, programs, generator, monkeypatch
):
    monkeypatch.setattr(triton_kernels, "PROGRAMS", programs)
    layer = convolution(NEURONS[neuron], generator, (4, 5, 1), 3)
    times = torch.rand(2, 20, generator=generator, dtype=F64)
    times[times > 0.7] = torch.inf
    for ours, wanted in zip(*(results(layer, times, x) for x in ("triton", True)), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-12)


@interpreted
@pytest.mark.parametrize("neuron", NEURONS)
def test_an_input_as_late_as_the_spike_itself_is_no_cause_of_it(neuron):
    """The second input comes when the first alone has brought the neuron to θ, bit for bit."""
    neuron, weight = NEURONS[neuron], torch.full((2, 1), 3.0, dtype=F64)
    at = first_spikes(neuron, torch.tensor([[0.0, torch.inf]], dtype=F64), weight, fast=False)
    for late in (at.item(), at.nextafter(torch.tensor(9.0, dtype=F64)).item()):
        found = []
        for fast in (True, False, "triton"):
            times = torch.tensor([[0.0, late]], dtype=F64, requires_grad=True)
            out = first_spikes(neuron, times, weight, fast=fast)
            out.sum().backward()
            assert out.item() == pytest.approx(at.item(), rel=1e-14)
            found.append(times.grad)
        torch.testing.assert_close(found[1], found[0])
        torch.testing.assert_close(found[2], found[0])


@interpreted
def test_a_block_that_has_fired_is_left_and_its_neighbour_goes_on(generator):
    """Neurons of the first block fire at once, those of the second after many inputs."""
    n_in, n_out = 5 * triton_kernels.ASK, triton_kernels.NEURONS + 2
    times = torch.arange(n_in, dtype=F64)[None] / n_in
    weight = torch.full((n_in, n_out), 0.01, dtype=F64)
    weight[:, : triton_kernels.NEURONS] = 100.0
    out = first_spikes(ReLPSP(0.02), times, weight, fast="triton")[0, 0]
    torch.testing.assert_close(out, first_spikes(ReLPSP(0.02), times, weight, fast=False)[0, 0])
    assert out[: triton_kernels.NEURONS].lt(1 / n_in).all()
    assert out[triton_kernels.NEURONS :].gt(0.25).all()


# -- Which path ---------------------------------------------------------------------------------


def test_kernels_are_chosen_by_device_type_and_what_is_installed(monkeypatch, as_user):
    def chosen(device, dtype, fast=None):
        return _path(fast, SimpleNamespace(device=torch.device(device), dtype=dtype))

    assert chosen("cpu", F64) == chosen("cpu", torch.float32) == "numba"
    assert chosen("cuda", F64) == chosen("cuda", torch.float32) == "triton"
    assert chosen("cuda", torch.float16) == chosen("cpu", torch.bfloat16) == "tensors"
    assert chosen("mps", torch.float32) == chosen("cuda", F64, fast=False) == "tensors"
    assert chosen("cpu", F64, fast="triton") == chosen("cuda", F64, fast=True) == "triton"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert chosen("cuda", F64) == "tensors"
    for device, fast in (("cuda", True), ("cpu", "triton")):
        with pytest.raises(ValueError, match="Triton is not installed"):
            chosen(device, F64, fast)


def test_what_triton_cannot_run_is_refused(monkeypatch, as_user):
    times, weight = torch.rand(2, 3), torch.ones(3, 2)
    with pytest.raises(ValueError, match="float32 and float64, got"):
        first_spikes(ReLPSP(), times.half(), weight.half(), fast="triton")
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    with pytest.raises(ValueError, match="run on CUDA, these tensors are on cpu"):
        first_spikes(ReLPSP(), times, weight, fast="triton")


# -- What a GPU would say -------------------------------------------------------------------------

COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from baselines import triton_kernels as k

INTEGERS = {"order": "*i64", "count": "*i64", "causal": "*i32", "index": "*i32"}
INTEGERS |= {"seen_at": "*i64", "starts": "*i64"}
for real, near in (("fp32", 0.14), ("fp64", 0.01)):
    forward = [{"DECAYS": d, "NEAR": near, "ASK": k.ASK, "NEURONS": 128} for d in (True, False)]
    tile = {"TILE": k.TILE}
    for kernel, constants in (
        *((k._forward, each) for each in forward),
        (k._weight_gradient, tile),
        (k._time_gradient, tile),
    ):
        kinds = {}
        for name in kernel.arg_names:
            size = name.startswith("n_") or name == "since"
            kinds[name] = INTEGERS.get(name, "i32" if size else f"*{real}")
        kinds |= dict.fromkeys(constants, "constexpr")
        places = {(kernel.arg_names.index(n),): x for n, x in constants.items()}
        source = ASTSource(kernel, kinds, places)
        compile(source, target=GPUTarget("cuda", 90, 32))
        print(kernel.__name__, real)
"""


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_without_one(tmp_path):
    """The interpreter takes what the compiler refuses, such as a variable that changes its type."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    env["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", COMPILE], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 8


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize(
    ("dtype", "bound", "share"), [(F64, 1e-8, 1.0), (torch.float32, 1e-3, 0.98)]
)
@pytest.mark.parametrize("kind", ["alpha", "rel", "conv"])
@pytest.mark.parametrize("fast", [None, False], ids=["triton", "tensors"])
def test_cuda_agrees_with_the_cpu_on_real_sizes(kind, dtype, bound, share, fast, generator):
    """In float32 a spike that is nearly a tangent, or very late, may be far off: a few are."""
    layer = {
        "alpha": lambda: alpha_psp((784, 340, 10), generator=generator, clip=5.0).layers[0],
        "rel": lambda: rel_psp((784, 340, 10), generator=generator).layers[0],
        "conv": lambda: conv_rel_psp(generator=generator).layers[1],
    }[kind]().to(dtype)
    times = torch.rand(64, layer.n_inputs, generator=generator, dtype=dtype)
    times[times > 0.3] = torch.inf
    wanted = results(layer, times, None)
    found = results(layer.to("cuda"), times.to("cuda"), fast)
    for ours, reference in zip(found, wanted, strict=True):
        assert near(ours.cpu(), reference, bound) >= share


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("neuron", NEURONS)
def test_results_on_cuda_are_the_same_bits_every_time(neuron, generator):
    layer = convolution(NEURONS[neuron], generator, (14, 14, 3), 40).to("cuda")
    times = torch.rand(300, 14 * 14 * 3, generator=generator, dtype=F64).to("cuda")
    first, *others = (results(layer, times, None) for _ in range(3))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


# -- Tensors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 300, 2000])
@pytest.mark.parametrize("neuron", NEURONS)
def test_tensors_give_the_same_however_few_fit_into_memory(neuron, at_once, generator, monkeypatch):
    layer = convolution(NEURONS[neuron], generator, (4, 5, 1), 3)
    times = torch.rand(7, 20, generator=generator, dtype=F64)
    times[times > 0.7] = torch.inf
    whole = results(layer, times, False)
    monkeypatch.setattr(tensor_path, "AT_ONCE", at_once)
    for ours, wanted in zip(results(layer, times, False), whole, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-12)
