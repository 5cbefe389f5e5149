"""Networks that spike once: decisions, fallback, operations, and what they refuse."""

import math

import pytest
import torch

from baselines.alpha_psp import AlphaPSP, alpha_psp
from baselines.continuous import ContinuousNetwork, Dense
from baselines.conv import conv_rel_psp
from baselines.first_spike import (
    first_spike_loss,
    first_spike_probabilities,
    silence_penalty,
    sort_spikes,
)
from baselines.rel_psp import ReLPSP, rel_psp
from rc_snn.regimes import account

F64 = torch.float64
INF = torch.inf


def one_layer(weight, neuron=None):
    return ContinuousNetwork([Dense(neuron or ReLPSP(1.0), torch.tensor(weight, dtype=F64))])


def times(*rows):
    return torch.tensor(rows, dtype=F64)


# -- Sorting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("spread", ["frame", "wide", "equal", "silent"])
def test_rows_are_sorted_stably_with_silence_left_out(dtype, spread, generator):
    x = torch.rand(4, 300, generator=generator, dtype=dtype)
    x = {
        "frame": (x * 50).round() / 50,
        "wide": torch.exp(40 * x - 20),
        "equal": torch.ones_like(x),
        "silent": torch.full_like(x, INF),
    }[spread]
    x[:, ::7] = INF
    index = torch.randint(300, (5, 90), generator=generator, dtype=torch.int32)
    ours, reference = (sort_spikes(x, index, fast=fast) for fast in (True, False))
    assert torch.equal(ours.spiking.long(), reference.spiking)
    for b in range(4):
        for r in range(5):
            n = int(ours.spiking[b, r])
            assert torch.equal(ours.times[b, r, :n], reference.times[b, r, :n])
            assert torch.equal(ours.order[b, r, :n].long(), reference.order[b, r, :n])


# -- Decisions ------------------------------------------------------------------------------------


def test_the_first_output_spike_answers_and_the_lowest_class_wins_a_tie():
    net = one_layer([[1.0, 4.0, 4.0, -1.0]])
    decision = net.decide(times([0.5]))
    assert decision.label.tolist() == [1]
    assert decision.time.tolist() == [0.75]
    assert decision.step is None
    expected = torch.softmax(-times([1.5, 0.75, 0.75, INF]), dim=1)
    torch.testing.assert_close(decision.scores, expected)


def test_a_silent_sample_has_not_fired_and_counts_as_wrong_even_for_class_zero():
    net = one_layer([[1.0, 2.0]])
    decision = net.decide(times([INF], [0.0]))
    assert decision.fired.tolist() == [False, True]
    assert decision.time.tolist() == [INF, 0.5]
    report = account(decision, torch.tensor([0, 1]), times([INF], [0.0]))
    assert (report.correct, report.fired, report.forced) == (1, 1, 1)
    assert report.strict_clock.mean == math.inf
    assert report.strict_clock.share_within == 0.5


def test_the_fallback_lets_the_largest_potential_answer_at_the_end_of_the_frame():
    net = one_layer([[0.5, 0.75], [2.0, 0.0]])
    decision = net.decide(times([0.0, INF], [0.0, 0.5]), fallback=True)
    # First sample: spikes at 2 and 1.33, both late; second: class 0 at 0.8, in time.
    assert decision.label.tolist() == [1, 0]
    assert decision.fired.tolist() == [False, True]
    assert decision.time.tolist() == pytest.approx([1.0, 0.8])


def test_a_spike_at_time_zero_and_one_at_the_end_are_spikes():
    net = one_layer([[1e300]])
    decision = net.decide(times([0.0], [1.0]), fallback=True)
    assert decision.fired.tolist() == [True, True]
    assert decision.time.tolist() == [pytest.approx(0.0, abs=1e-290), 1.0]


@pytest.mark.parametrize("kind", ["alpha", "rel", "conv"])
def test_a_decision_does_not_depend_on_the_batch(kind, generator):
    net = {
        "alpha": lambda: alpha_psp((784, 30, 10), generator=generator),
        "rel": lambda: rel_psp((784, 30, 10), generator=generator),
        "conv": lambda: conv_rel_psp((3, 4), (9,), generator=generator),
    }[kind]()
    x = torch.rand(251, 784, generator=generator)
    x[x > 0.3] = INF
    together = net.decide(x)
    for i in (0, 249, 250):
        alone = net.decide(x[i : i + 1])
        assert torch.equal(alone.label, together.label[i : i + 1])
        assert torch.equal(alone.time, together.time[i : i + 1])


def test_operations_are_spikes_before_the_decision_times_their_synapses(generator):
    net = conv_rel_psp(
        (2,), (3,), size=(4, 4), n_classes=2, kernel_size=3, pool=1, generator=generator
    )
    x = torch.rand(5, 16, generator=generator)
    x[x > 0.8] = INF
    layers = [x, *net.spike_times(x)]
    places = torch.zeros(16)
    for r in range(2):
        for c in range(2):
            for dr in range(3):
                for dc in range(3):
                    places[(r + dr) * 4 + c + dc] += 2
    fan_out = [places, torch.full((8,), 3.0), torch.full((3,), 2.0)]
    wanted = torch.zeros(5, dtype=F64)
    for b in range(5):
        end = layers[-1][b].min()
        for spikes, n in zip(layers, fan_out, strict=False):
            wanted[b] += sum(float(f) for t, f in zip(spikes[b], n, strict=True) if t <= end < INF)
    assert wanted.gt(0).any()
    fired = layers[-1].amin(dim=1).isfinite()
    assert torch.equal(net.synaptic_operations(x)[fired], wanted[fired])


# -- Loss and penalty -----------------------------------------------------------------------------


def test_probabilities_are_a_softmax_of_earliness():
    p = first_spike_probabilities(times([1.0, 2.0, INF], [INF, INF, INF]))
    torch.testing.assert_close(p[0], torch.softmax(times(-1.0, -2.0, -INF), 0))
    torch.testing.assert_close(p[1], torch.full((3,), 1 / 3, dtype=F64))


def test_the_loss_is_cross_entropy_and_its_gradient_leaves_the_bound_out():
    t = times([0.5, 1.0, 2.0], [3.0, 0.1, INF], [1.0, 0.2, INF]).requires_grad_()
    labels = torch.tensor([1, 0, 2])
    loss = first_spike_loss(t, labels)
    p = torch.softmax(-t.detach(), dim=1)
    wanted = -(p[torch.arange(3), labels] + 1e-8).log().mean()
    torch.testing.assert_close(loss.detach(), wanted)
    assert loss.item() > 18 / 3, "the silent label costs -ln(1e-8)"
    (grad,) = torch.autograd.grad(loss, t)
    y = torch.nn.functional.one_hot(labels, 3)
    torch.testing.assert_close(grad, -(p - y) / 3)


def test_the_penalty_raises_every_weight_of_a_silent_neuron_by_as_much():
    weight = torch.ones(4, 3, dtype=F64, requires_grad=True)
    out = torch.tensor([[[1.0, INF, INF]], [[1.0, 2.0, INF]]], dtype=F64)
    (grad,) = torch.autograd.grad(silence_penalty(out, weight), weight)
    assert grad.tolist() == [[0.0, -0.5, -1.0]] * 4


# -- Refusals -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (times([-0.1]), "must be >= 0 frames"),
        (times([math.nan]), "must be >= 0 frames"),
        (times([0.0, 0.0]), r"tensor \[batch, 1\], got \[1, 2\]"),
        (torch.zeros(1), r"got \[1\]"),
        (torch.zeros(1, 1, dtype=torch.int64), "must be floats"),
        ([[0.0]], "got list"),
        (torch.zeros(0, 1), "batch is empty"),
    ],
)
def test_what_are_not_spike_times_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        one_layer([[1.0]]).decide(bad)


def test_all_silent_images_are_no_error(fast):
    for neuron in (ReLPSP(), AlphaPSP()):
        net = one_layer([[1.0], [2.0]], neuron)
        net.layers[0].fast = fast
        out = net.spike_times(times([INF, INF]))[-1]
        assert out.isinf().all()
        out.masked_fill(out.isinf(), 0.0).sum().backward()
        assert (net.layers[0].weight.grad == 0).all()


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("bad", [{"theta": 0.0}, {"decay": -1.0}, {"clip": -1.0}])
def test_a_neuron_without_threshold_or_decay_is_refused(bad):
    with pytest.raises(ValueError, match="must be positive"):
        AlphaPSP(**bad)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("kind", [alpha_psp, rel_psp])
def test_cuda_gives_the_same_times_and_gradients(kind, generator):
    net = kind((784, 60, 10), generator=generator).double()
    x = torch.rand(20, 784, generator=generator, dtype=F64)
    x[x > 0.3] = INF
    found = []
    for device in ("cpu", "cuda"):
        net = net.to(device)
        net.zero_grad()
        out = net.spike_times(x.to(device))[-1]
        torch.where(out.isfinite(), out, 0.0).sum().backward()
        found.append([out.detach().cpu(), *(p.grad.cpu().clone() for p in net.parameters())])
    for cpu, cuda in zip(*found, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["alpha", "rel", "conv"])
def test_results_do_not_depend_on_the_number_of_threads(kind, generator):
    net = {
        "alpha": lambda: alpha_psp((784, 130, 10), generator=generator),
        "rel": lambda: rel_psp((784, 130, 10), generator=generator),
        "conv": lambda: conv_rel_psp((3, 4), (70,), generator=generator),
    }[kind]()
    x = torch.rand(20, 784, generator=generator)
    x[x > 0.3] = INF
    threads, found = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            net.zero_grad()
            out = net.spike_times(x)[-1]
            torch.where(out.isfinite(), out, 0.0).sum().backward()
            found.append([out.detach(), *(p.grad.clone() for p in net.parameters())])
    finally:
        torch.set_num_threads(threads)
    # The serial and the parallel program are compiled apart, so the last digit may differ.
    for one, two in zip(*found, strict=True):
        assert torch.equal(one.isfinite(), two.isfinite())
        one, two = (torch.where(x.isfinite(), x, 0.0) for x in (one, two))
        scale = one.abs().max().clamp_min(1e-30)
        torch.testing.assert_close(two / scale, one / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_turns_the_answer_round_is_refused(wrong, as_user):
    net = rel_psp((4, 3, 2))
    with pytest.raises(ValueError, match="temperature must be positive"):
        net.decide(torch.rand(2, 4), temperature=wrong)
    if wrong != 0.0:
        with pytest.raises(ValueError, match="jitter must be >= 0"):
            net.spike_times(torch.rand(2, 4), jitter=-abs(wrong))


def test_sizes_and_thresholds_that_are_no_numbers_of_their_kind_are_refused(as_user):
    for wrong in ({"theta": 0.0}, {"theta": math.nan}, {"min_slope": -1.0}):
        with pytest.raises(ValueError, match="theta must be positive and min_slope"):
            ReLPSP(**wrong)
    with pytest.raises(ValueError, match="must be a whole number"):
        rel_psp((4.0, 3, 2))


def test_spike_times_of_16_bits_are_refused_where_others_may_be_late(as_user):
    net = rel_psp((4, 3, 2))
    net.decide(torch.full((1, 4), 2.5))
    with pytest.raises(ValueError, match="floats of 32 or 64 bits"):
        net.decide(torch.rand(1, 4).half())
