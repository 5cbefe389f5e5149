"""Eq. 7 against its definition, and the critical entropy reward against its minimum."""

import math
import warnings
from statistics import mean

import pytest
import torch

from rc_snn.objective import (
    critical_beta,
    entropy,
    every_step_loss,
    max_pooling_loss,
    rc_loss,
    warn_if_never_fires,
)


def logits_and_target(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(5, (6,), generator=generator)


@pytest.mark.parametrize("beta", [0.0, 0.165, 2.0])
def test_loss_is_equation_7_written_out(beta):
    logits, target = logits_and_target(0)
    total = 0.0
    for row, k in zip(logits.tolist(), target.tolist(), strict=True):
        z = sum(math.exp(x) for x in row)
        p = [math.exp(x) / z for x in row]
        h = -sum(x * math.log(x) for x in p)
        total += -math.log(p[k]) - beta * h
    torch.testing.assert_close(rc_loss(logits, target, beta).item(), total / 6, rtol=1e-12, atol=0)


@pytest.mark.parametrize("beta", [0.0, 0.165])
def test_gradient_matches_finite_differences(beta):
    logits, target = logits_and_target(1)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: rc_loss(x, target, beta), (logits,))


def test_loss_and_gradient_stay_finite_for_certain_outputs():
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = rc_loss(logits, torch.tensor([0]), 0.5)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_sigmoid_read_out_gives_the_binary_cross_entropy():
    z = torch.linspace(-4, 4, 9, dtype=torch.float64)
    target = torch.arange(9) % 2
    logits = torch.stack([torch.zeros_like(z), z], dim=1)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(z, target.double())
    torch.testing.assert_close(rc_loss(logits, target), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("n_classes", [2, 3, 10, 11])
def test_entropy_is_log_k_when_uniform_and_zero_when_certain(n_classes):
    uniform = torch.zeros(1, n_classes, dtype=torch.float64)
    torch.testing.assert_close(entropy(uniform).item(), math.log(n_classes))
    certain = uniform.clone()
    certain[0, 0] = 800.0
    assert entropy(certain).item() == 0.0


@pytest.mark.parametrize(("n_classes", "theta"), [(10, 0.95), (2, 0.95), (2, 0.6), (11, 0.8)])
@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_minimum_of_equation_7_crosses_theta_exactly_below_critical_beta(n_classes, theta, factor):
    """Minimise the loss of one separable sample numerically: p* >= θ iff β <= β_c."""
    beta = factor * critical_beta(theta, n_classes)
    p = torch.linspace(1e-6, 1 - 1e-6, 2_000_001, dtype=torch.float64)
    rest = (1 - p) / (n_classes - 1)
    h = -(p * p.log() + (n_classes - 1) * rest * rest.log())
    best = p[(-p.log() - beta * h).argmin()].item()
    if factor == 1.0:
        assert best == pytest.approx(theta, abs=2e-6)
    else:
        assert (best > theta) == (factor < 1.0)


def test_critical_beta_of_the_paper_and_its_limits():
    assert critical_beta(0.95, 10) == pytest.approx(0.2047, abs=5e-5)
    assert critical_beta(0.4, 2) == math.inf  # a uniform output is above θ already
    with pytest.raises(ValueError, match="n_classes must be at least 2"):
        critical_beta(0.95, 1)
    with pytest.raises(ValueError, match="theta must be in"):
        critical_beta(1.0, 10)


def test_beta_at_or_above_the_bound_warns_and_below_it_does_not():
    bound = critical_beta(0.95, 10)
    for beta in (bound, 0.5):
        with pytest.warns(UserWarning, match="no output reaches theta"):
            warn_if_never_fires(beta, 0.95, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_never_fires(0.165, 0.95, 10)


@pytest.mark.parametrize("beta", [-0.1, math.nan, math.inf])
def test_beta_that_is_no_reward_is_refused(beta):
    logits, target = logits_and_target(2)
    with pytest.raises(ValueError, match="beta must be finite"):
        rc_loss(logits, target, beta)


@pytest.mark.parametrize("bad", [5, -1, -100])
def test_class_index_out_of_range_is_refused(bad):
    logits, target = logits_and_target(3)
    target[2] = bad
    with pytest.raises(ValueError, match=rf"in 0..4, got {bad} at position 2"):
        rc_loss(logits, target)


def test_losses_of_all_steps_are_their_definitions_written_out():
    generator = torch.Generator().manual_seed(4)
    logits = 3.0 * torch.randn(7, 6, 5, generator=generator, dtype=torch.float64)
    target = torch.randint(5, (6,), generator=generator)
    pooled, every = [], []
    for b, k in enumerate(target.tolist()):
        rows = logits[:, b].tolist()
        best = [max(row[j] for row in rows) for j in range(5)]
        pooled.append(-math.log(softmax(best)[k]))
        every.append(mean(-math.log(softmax(row)[k]) for row in rows))
    exact = {"rtol": 1e-12, "atol": 0}
    torch.testing.assert_close(max_pooling_loss(logits, target).item(), mean(pooled), **exact)
    torch.testing.assert_close(every_step_loss(logits, target).item(), mean(every), **exact)


def softmax(row: list[float]) -> list[float]:
    z = sum(math.exp(x) for x in row)
    return [math.exp(x) / z for x in row]


@pytest.mark.parametrize("loss", [max_pooling_loss, every_step_loss])
def test_gradients_of_losses_of_all_steps_match_finite_differences(loss):
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 4, 2])
    assert torch.autograd.gradcheck(lambda x: loss(x, target), (logits,))


def test_the_max_pooling_loss_trains_each_class_at_its_own_best_step():
    logits = torch.zeros(3, 1, 2, requires_grad=True)
    bias = torch.tensor([[[0.0, 1.0]], [[4.0, 3.0]], [[0.0, 5.0]]])
    max_pooling_loss(logits + bias, torch.tensor([1])).backward()
    assert (logits.grad[:, 0] != 0).tolist() == [[False, False], [True, False], [False, True]]


@pytest.mark.parametrize("loss", [max_pooling_loss, every_step_loss])
def test_with_one_step_losses_of_all_steps_are_that_of_the_end(loss):
    logits, target = logits_and_target(3)
    torch.testing.assert_close(loss(logits.unsqueeze(0), target), rc_loss(logits, target))


@pytest.mark.parametrize("loss", [max_pooling_loss, every_step_loss])
def test_losses_of_all_steps_refuse_a_class_that_does_not_exist(loss):
    with pytest.raises(ValueError, match=r"Class indices must be in 0\.\.4, got 5"):
        loss(torch.zeros(2, 1, 5), torch.tensor([5]))


LOSSES = {
    "rc": lambda z, y: rc_loss(z[0], y),
    "max_pool": max_pooling_loss,
    "every_step": every_step_loss,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_labels_are_whole_numbers_of_each_sample(loss, as_user):
    compute = LOSSES[loss]
    logits = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    right = compute(logits, torch.tensor([0, 4, 1]))
    small = torch.tensor([0, 4, 1], dtype=torch.uint8)
    for same in (small, small.numpy(), [0, 4, 1], small.double()):
        assert torch.equal(compute(logits, same), right)
    for wrong in (
        torch.tensor([0.0, 4.0, 1.9]),
        torch.tensor([[0], [4], [1]]),
        torch.eye(5)[:3],
        torch.tensor([0, 4]),
        torch.tensor([0, 5, 1]),
        torch.tensor([0, -1, 1]),
    ):
        with pytest.raises(ValueError, match="Class indices must be"):
            compute(logits, wrong)


def test_at_even_odds_of_two_classes_no_reward_is_too_large():
    """There the denominator of the bound is 0: a uniform output fires."""
    assert critical_beta(0.5, 2) == math.inf


def test_a_reward_that_is_none_is_refused_before_it_is_judged():
    with pytest.raises(ValueError, match="beta must be finite and >= 0, got -1"):
        warn_if_never_fires(-1.0, 0.9, 10)
