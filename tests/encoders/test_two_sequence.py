"""The two-sequence problem: what is drawn, and the posterior against its slow definition."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import gamma, gammainc
from scipy.stats import kstest
from torch import Tensor

from encoders.two_sequence import (
    PAPER,
    TwoSequence,
    log_evidence,
    log_odds,
    posterior,
    two_sequence,
)


def drawn(n: int, seed: int = 0, problem: TwoSequence = PAPER) -> tuple[Tensor, Tensor]:
    data = two_sequence(n, torch.Generator().manual_seed(seed), problem)
    return data.inputs.frames, data.labels


def test_sequences_have_the_published_shape_and_half_of_them_are_positive():
    frames, labels = drawn(20_000)
    assert frames.shape == (40, 20_000, 1)
    assert frames.dtype == torch.float32
    assert abs(float(labels.double().mean()) - 0.5) < 4 * 0.5 / math.sqrt(20_000)


def test_each_class_has_its_mean_and_the_noise_a_uniform_standard_deviation():
    frames, labels = drawn(40_000)
    x = frames.squeeze(2).double()
    for label, mean in ((1, 0.05), (0, -0.05)):
        part = x[:, labels == label]
        assert abs(float(part.mean()) - mean) < 4 * 0.161 / math.sqrt(part.numel())
    noise = x - (0.1 * labels.double() - 0.05)
    a, b = PAPER.low, PAPER.high
    moment = {k: (b ** (k + 1) - a ** (k + 1)) / ((b - a) * (k + 1)) for k in (2, 4)}
    assert float(noise.square().mean()) == pytest.approx(moment[2], rel=0.02)
    assert float(noise.pow(4).mean()) == pytest.approx(3 * moment[4], rel=0.03)


def test_one_sequence_has_one_noise_level_uniform_over_its_range():
    long = TwoSequence(n_steps=2_000)
    frames, labels = drawn(400, seed=1, problem=long)
    sigma = (frames.squeeze(2) - (0.1 * labels - 0.05)).double().square().mean(dim=0).sqrt()
    assert kstest(sigma.numpy(), "uniform", args=(0.05, 0.20)).pvalue > 0.01
    halves = (frames.squeeze(2)[:1_000].std(dim=0), frames.squeeze(2)[1_000:].std(dim=0))
    torch.testing.assert_close(halves[0], halves[1], rtol=0.15, atol=0.0)


def test_the_generator_decides_and_the_global_one_is_left_alone():
    state = torch.get_rng_state()
    one, two, other = drawn(5, seed=3), drawn(5, seed=3), drawn(5, seed=4)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], other[0])
    assert torch.equal(state, torch.get_rng_state())
    generator = torch.Generator().manual_seed(3)
    first, then = two_sequence(5, generator), two_sequence(5, generator)
    assert not torch.equal(first.inputs.frames, then.inputs.frames), "the generator moves on"


def test_a_batch_of_one_and_a_sequence_of_one_step_can_be_drawn():
    frames, labels = drawn(1, problem=TwoSequence(n_steps=1))
    assert frames.shape == (1, 1, 1)
    assert posterior(frames, TwoSequence(n_steps=1)).shape == (1, 1, 2)
    assert labels.shape == (1,)


@pytest.mark.parametrize("n", [1, 2, 7, 40])
@pytest.mark.parametrize("per_step", [0.003, 0.02, 0.08])
def test_the_evidence_is_the_integral_over_sigma(n, per_step):
    q = n * per_step
    shift = max(-n * math.log(s) - q / (2 * s * s) for s in np.linspace(0.05, 0.25, 2_001))

    def integrand(sigma: float) -> float:
        return math.exp(-n * math.log(sigma) - q / (2 * sigma**2) - shift) / 0.2

    peak = min(max(math.sqrt(per_step), 0.05), 0.25)
    slow, _ = quad(integrand, 0.05, 0.25, points=[peak], epsabs=0, epsrel=1e-12, limit=200)
    found = log_evidence(n, torch.tensor(q, dtype=torch.float64))
    assert float(found) == pytest.approx(math.log(slow) + shift, abs=1e-10)


@pytest.mark.parametrize("n", [2, 10, 40])
def test_the_evidence_has_the_closed_form_of_incomplete_gammas(n):
    q = n * 0.02
    k = (n - 1) / 2
    share = gammainc(k, q / (2 * 0.05**2)) - gammainc(k, q / (2 * 0.25**2))
    closed = 0.5 * (q / 2) ** -k * gamma(k) * share / 0.2
    found = log_evidence(n, torch.tensor([q], dtype=torch.float64))
    assert float(found) == pytest.approx(math.log(closed), abs=1e-10)


def test_evidence_keeps_the_shape_of_its_input():
    q = torch.full((2, 3, 4), 0.1, dtype=torch.float64)
    assert log_evidence(5, q).shape == (2, 3, 4)


def slow_log_odds(x: Tensor) -> float:
    """Bayes' rule, written out: a midpoint rule over σ, and a product of normal densities."""
    sigmas = 0.05 + 0.2 * (torch.arange(4_000, dtype=torch.float64) + 0.5) / 4_000
    total = {}
    for mean in (0.05, -0.05):
        logs = torch.distributions.Normal(mean, sigmas).log_prob(x[:, None].double())
        total[mean] = logs.sum(dim=0).exp().mean()
    return float(total[0.05].log() - total[-0.05].log())


def test_log_odds_are_those_of_bayes_rule():
    frames, _ = drawn(4, seed=5)
    found = log_odds(frames)
    for i in range(4):
        for t in (0, 1, 12, 39):
            assert float(found[t, i]) == pytest.approx(
                slow_log_odds(frames[: t + 1, i, 0]), rel=1e-5, abs=1e-5
            )


def test_the_posterior_is_the_sigmoid_of_the_log_odds_of_class_one():
    frames, _ = drawn(50, seed=6)
    p = posterior(frames)
    torch.testing.assert_close(p.sum(dim=2), torch.ones(40, 50, dtype=torch.float64))
    torch.testing.assert_close(p[:, :, 1], torch.sigmoid(log_odds(frames)))
    loud = frames.mean(dim=0).squeeze(1) > 0.03
    assert (p[-1, loud, 1] > 0.5).all(), "class 1 has the positive mean"


def test_more_nodes_change_nothing():
    frames, _ = drawn(500, seed=7)
    torch.testing.assert_close(log_odds(frames), log_odds(frames, nodes=200), rtol=0, atol=1e-10)


def test_mirrored_inputs_have_mirrored_odds_and_the_order_does_not_matter():
    frames, _ = drawn(100, seed=8)
    odds = log_odds(frames)
    torch.testing.assert_close(log_odds(-frames), -odds)
    torch.testing.assert_close(log_odds(frames.flip(0))[-1], odds[-1])


def test_the_odds_at_a_step_do_not_know_what_comes():
    frames, _ = drawn(100, seed=9)
    torch.testing.assert_close(log_odds(frames[:13]), log_odds(frames)[:13], rtol=0, atol=0)


def test_a_known_noise_gives_the_classic_log_likelihood_ratio():
    problem = TwoSequence(n_steps=10, low=0.1, high=0.1 + 1e-9)
    frames, _ = drawn(50, seed=10, problem=problem)
    classic = 2 * 0.05 * frames.squeeze(2).double().cumsum(dim=0) / 0.1**2
    torch.testing.assert_close(log_odds(frames, problem), classic, rtol=1e-6, atol=1e-6)


def test_the_posterior_is_calibrated():
    frames, labels = drawn(40_000, seed=11)
    p = posterior(frames[:12])[:, :, 1]
    for step in (0, 3, 11):
        for low in np.arange(0.0, 1.0, 0.125):
            here = (p[step] >= low) & (p[step] < low + 0.125)
            n = int(here.sum())
            if n > 200:
                gap = float(labels[here].double().mean() - p[step, here].mean())
                assert abs(gap) < 4.5 * 0.5 / math.sqrt(n), (step, low)


def test_no_step_moves_the_posterior_on_average():
    x = torch.linspace(-1.6, 1.6, 3_201)
    past, _ = drawn(1, seed=12)
    past = past[:6]
    frames = torch.cat([past.expand(6, len(x), 1), x.view(1, -1, 1)])
    above = (past - 0.05).double().square().sum()
    below = (past + 0.05).double().square().sum()
    then = [
        log_evidence(7, q + (x.double() - m).square()).exp()
        for q, m in ((above, 0.05), (below, -0.05))
    ]
    now = log_evidence(6, above).exp() + log_evidence(6, below).exp()
    density = (then[0] + then[1]) / now / math.sqrt(2 * math.pi)
    assert float(density.sum() * 0.001) == pytest.approx(1.0, abs=1e-6)
    after = float((density * posterior(frames)[-1, :, 1]).sum() * 0.001)
    assert after == pytest.approx(float(posterior(past)[-1, 0, 1]), abs=1e-6)


def test_what_is_no_problem_and_no_sequence_is_refused(as_user):
    generator = torch.Generator()
    with pytest.raises(ValueError, match="at least 1 sequence, got 0"):
        two_sequence(0, generator)
    with pytest.raises(ValueError, match="n_steps must be in 1"):
        TwoSequence(n_steps=0)
    for wrong in (
        {"mean": 0.0},
        {"mean": math.nan},
        {"low": 0.0},
        {"low": 0.3},
        {"high": math.inf},
    ):
        with pytest.raises(ValueError, match="0 < low < high"):
            TwoSequence(**wrong)
    frames = torch.zeros(3, 2, 1)
    frames[1, 0, 0] = math.nan
    with pytest.raises(ValueError, match="1 of 6 inputs are not finite"):
        log_odds(frames)
