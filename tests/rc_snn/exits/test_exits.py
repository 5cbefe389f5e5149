"""Exit rules against their definitions written sample by sample, and against the runner."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from rc_snn import exits
from rc_snn.exits import exit_at
from rc_snn.exits.scores import LARGEST_TEMPERATURE
from rc_snn.models import RCLSTM
from rc_snn.runner import decide, trace
from rc_snn.sequences import DenseSequences

T, B, K = 9, 60, 5

RULES = {
    "confidence": exits.confidence,
    "calibrated": lambda z: exits.calibrated_confidence(z, torch.linspace(0.5, 2.0, len(z))),
    "certainty": exits.certainty,
    "log_odds": exits.log_odds,
    "gap": exits.top2_gap,
    "patience": exits.patience,
}


@pytest.fixture(params=RULES, ids=str)
def rule(request):
    return RULES[request.param]


def logits(seed: int, n: int = B, classes: int = K, gain: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    walk = torch.randn(T, n, classes, generator=generator).cumsum(dim=0)
    return gain * walk


def labels(seed: int, n: int = B, classes: int = K) -> Tensor:
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("theta", [0.3, 0.6, 0.95, 0.999])
def test_exit_by_confidence_is_rank_coded_inference(theta):
    generator = torch.Generator().manual_seed(1)
    model = RCLSTM(6, 8, K, generator=generator).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(9.0)
    x = DenseSequences(torch.randn(T, B, 6, generator=generator).double())
    z = trace(model, x).detach()
    ours, runner = exit_at(exits.confidence(z), z, theta), decide(model, x, theta)
    if theta == 0.95:
        assert 0 < int(runner.fired.sum()) < B, "the case must hold samples that fire and do not"
    assert torch.equal(ours.step, runner.step)
    assert torch.equal(ours.fired, runner.fired)
    assert torch.equal(ours.label, runner.label)
    assert torch.equal(ours.time, runner.time)
    torch.testing.assert_close(ours.scores, runner.scores, rtol=1e-9, atol=1e-12)


def test_scores_are_their_definitions():
    z = logits(2)
    tau = torch.linspace(0.5, 2.0, T)
    for b in range(B):
        run = 0
        for t in range(T):
            values = z[t, b].double().tolist()
            p = [math.exp(v) / sum(math.exp(w) for w in values) for v in values]
            q = [math.exp(v / tau[t].item()) for v in values]
            ordered = sorted(values, reverse=True)
            same = t > 0 and values.index(ordered[0]) == z[t - 1, b].argmax()
            run = run + 1 if same else 1
            entropy = -sum(x * math.log(x) for x in p)
            wanted = {
                "confidence": max(p),
                "calibrated": max(q) / sum(q),
                "certainty": 1 - entropy / math.log(K),
                "log_odds": math.log(max(p) / (sum(p) - max(p))),
                "gap": ordered[0] - ordered[1],
                "patience": run,
            }
            for name, value in wanted.items():
                assert RULES[name](z)[t, b].item() == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_decisions_are_the_first_crossing_or_the_last_step(rule):
    z = logits(3)
    score = rule(z)
    for threshold in [score.min().item(), *score.flatten()[::97].tolist(), score.max().item()]:
        decision = exit_at(score, z, threshold)
        for b in range(B):
            steps = [t for t in range(T) if score[t, b] >= threshold]
            step = steps[0] if steps else T - 1
            assert decision.step[b] == step
            assert decision.fired[b] == bool(steps)
            assert decision.label[b] == z[step, b].argmax()
            assert decision.time[b] == (step + 1) / T


def test_a_score_never_looks_ahead(rule):
    z = logits(4)
    for t in range(T):
        later = z.clone()
        later[t + 1 :] = logits(5)[t + 1 :]
        assert torch.equal(rule(later)[: t + 1], rule(z)[: t + 1])


def test_raising_the_threshold_never_speeds_up_a_decision(rule):
    z = logits(6)
    score = rule(z)
    steps = [exit_at(score, z, x).step for x in score.flatten().sort().values[::31].tolist()]
    for lower, higher in pairwise(steps):
        assert (higher >= lower).all()


def test_order_of_samples_and_names_of_classes_do_not_matter(rule):
    z = logits(7)
    samples = torch.randperm(B, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rule(z[:, samples]), rule(z)[:, samples])
    torch.testing.assert_close(rule(z[:, :, [3, 1, 0, 4, 2]]), rule(z))


def test_a_constant_added_to_all_logits_changes_nothing(rule):
    z = logits(8).double()
    torch.testing.assert_close(rule(z + 7.0), rule(z))


def test_log_odds_are_confidence_on_another_scale_and_do_not_saturate():
    z = logits(13, gain=0.8).double()
    torch.testing.assert_close(exits.log_odds(z), torch.logit(exits.confidence(z)))
    theta = 0.9
    by_odds = exit_at(exits.log_odds(z), z, math.log(theta / (1 - theta)))
    assert torch.equal(by_odds.step, exit_at(exits.confidence(z), z, theta).step)
    loud = torch.tensor([[[0.0, 40.0], [0.0, 90.0]]])
    assert exits.confidence(loud).eq(1.0).all()
    assert exits.log_odds(loud).tolist() == [[40.0, 90.0]]


def test_two_classes_leave_one_rule_but_patience():
    z = logits(9, classes=2, gain=0.7).double()
    order = exits.confidence(z).flatten().argsort()
    assert torch.equal(exits.certainty(z).flatten().argsort(), order)
    assert torch.equal(exits.top2_gap(z).flatten().argsort(), order)


def test_a_temperature_reorders_samples_of_many_classes():
    z = torch.tensor([[[4.0, 3.0, -9.0], [4.0, 2.2, 2.2]]])
    cold, warm = (exits.calibrated_confidence(z, torch.tensor([tau])) for tau in (0.5, 4.0))
    assert cold[0, 0] < cold[0, 1]
    assert warm[0, 0] > warm[0, 1]


def test_a_crossing_at_step_zero_is_not_silence_and_one_at_the_end_is_none():
    score = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.9, 0.1]])
    z = torch.zeros(3, 3, 2)
    decision = exit_at(score, z, 0.9)
    assert decision.step.tolist() == [0, 2, 2]
    assert decision.fired.tolist() == [True, True, False]


def test_each_step_can_have_its_threshold():
    score = torch.full((4, 1), 0.5)
    z = torch.zeros(4, 1, 2)
    never, always = math.inf, -math.inf
    assert exit_at(score, z, torch.tensor([never, 0.6, 0.5, never])).step.item() == 2
    assert exit_at(score, z, torch.tensor([never, always, never, never])).step.item() == 1
    silent = exit_at(score, z, torch.full((4,), never))
    assert (silent.step.item(), silent.fired.item()) == (3, False)
    z = logits(1)
    score = exits.confidence(z)
    assert torch.equal(exit_at(score, z, torch.full((T,), 0.8)).step, exit_at(score, z, 0.8).step)


def negative_log_likelihood(z: Tensor, y: Tensor, tau: float) -> float:
    return float(torch.nn.functional.cross_entropy((z.double() / tau).flatten(0, 1), y))


def test_a_fitted_temperature_minimises_the_likelihood_of_its_step():
    z, y = logits(10, 300), labels(10, 300)
    y = torch.where(
        torch.rand(300, generator=torch.Generator().manual_seed(1)) < 0.7, z[4].argmax(1), y
    )
    tau = exits.fit_temperature(z, y)
    for t in (3, 4, 5):
        best = minimize_scalar(
            lambda log_tau, t=t: negative_log_likelihood(z[t : t + 1], y, math.exp(log_tau)),
            bounds=(-6.0, 6.0),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert tau[t].item() == pytest.approx(math.exp(best.x), rel=1e-4)


def test_one_temperature_for_all_steps_minimises_their_common_likelihood():
    z, y = logits(11, 200), labels(11, 200)
    y = torch.where(
        torch.rand(200, generator=torch.Generator().manual_seed(1)) < 0.8, z[4].argmax(1), y
    )
    tau = exits.fit_temperature(z, y, per_step=False)
    assert tau.unique().numel() == 1
    at = [negative_log_likelihood(z, y.repeat(T), tau[0].item() * f) for f in (0.98, 1.0, 1.02)]
    assert at[1] < min(at[0], at[2])


def test_louder_logits_have_a_temperature_that_is_as_much_higher():
    z, y = logits(12, 300, gain=0.5), labels(12, 300)
    y = torch.where(torch.arange(300) % 3 > 0, z[-1].argmax(1), y)
    torch.testing.assert_close(
        exits.fit_temperature(3 * z, y)[-1], 3 * exits.fit_temperature(z, y)[-1]
    )


def test_a_step_without_information_or_without_errors_gets_the_bound():
    y = torch.tensor([0, 1, 0, 1])
    useless = torch.tensor([1.0, 0.0]).expand(1, 4, 2)
    perfect = torch.nn.functional.one_hot(y, 2).float().unsqueeze(0)
    tau = exits.fit_temperature(torch.cat([useless, perfect]), y)
    assert tau[0].item() == pytest.approx(LARGEST_TEMPERATURE)
    assert tau[1].item() == pytest.approx(1 / LARGEST_TEMPERATURE)
    assert exits.confidence(perfect).isfinite().all()


def test_one_sample_and_one_step_are_enough(rule):
    z = torch.tensor([[[0.0, 1.0]]])
    decision = exit_at(rule(z), z, math.inf)
    assert (decision.step.item(), decision.label.item(), decision.fired.item()) == (0, 1, False)


def test_what_is_not_a_number_is_refused(as_user):
    z = torch.zeros(2, 3, 2)
    score = exits.confidence(z)
    with pytest.raises(ValueError, match="Thresholds must be numbers, got 1 NaN of 1"):
        exit_at(score, z, math.nan)
    score[1, 1] = math.nan
    with pytest.raises(ValueError, match="1 of 6 scores are NaN"):
        exit_at(score, z, 0.5)
    with pytest.raises(ValueError, match="no step to decide at"):
        exit_at(score[:0], z[:0], 0.5)
    with pytest.raises(ValueError, match="positive, got 0"):
        exits.calibrated_confidence(z, torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="Class indices"):
        exits.fit_temperature(z, torch.tensor([0, 1, 2]))


def test_scores_and_traces_that_no_rule_can_compare_are_refused(as_user):
    score, right = torch.tensor([[0.9, math.inf], [0.5, 0.7]]), torch.ones(2, 2) > 0
    for rule in (
        lambda: exits.tune(score, right, [0.1]),  # searched for a threshold above inf, for ever
        lambda: exits.conformal_threshold(score, right, 0.4),
        lambda: exits.selective_threshold(score, right, torch.ones(1), 0.4),
    ):
        with pytest.raises(ValueError, match="0 of 4 scores are NaN, and 1 inf"):
            rule()
    assert exit_at(-score, torch.zeros(2, 2, 3), -0.8).step.tolist() == [1, 1]  # -inf: never
    trace = torch.tensor([[[math.nan, 0.0]]])
    for of in (
        lambda: exits.right_answers(trace, [0]),
        lambda: exits.fit_temperature(trace, [0]),
        lambda: exits.patience(trace),
    ):
        with pytest.raises(ValueError, match="1 of 2 values of the trace are NaN or infinite"):
            of()
    with pytest.raises(ValueError, match="two classes needs two"):
        exits.top2_gap(torch.zeros(1, 1, 1))


def test_a_curve_of_no_numbers_and_a_choice_of_nothing_are_refused(as_user):
    one, none = torch.ones(1), torch.zeros(0)
    with pytest.raises(ValueError, match="1 of 1 values of accuracy of a curve are NaN"):
        exits.Curve(one, math.nan * one)
    with pytest.raises(ValueError, match="got 0 rules and 1 budgets"):
        exits.choose(exits.Curve(none, none), one)
    with pytest.raises(ValueError, match="got 1 rules and 0 budgets"):
        exits.area(exits.Curve(one, one), exits.Curve(one, one), none)
