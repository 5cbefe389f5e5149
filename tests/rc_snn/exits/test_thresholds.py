"""Curves over thresholds and their choice, against decisions made one by one."""

import math

import numpy as np
import pytest
import torch
from slow_exits import BUDGETS, CLOCK, B, T, data, slow, tables

from rc_snn.exits import (
    Curve,
    accuracy_within,
    area,
    area_as_chosen,
    choose,
    confidence,
    every_threshold,
    exit_at,
    fastest_as_good,
    frontier,
    optimistic_area,
    patience,
    right_answers,
    sweep,
    sweep_per_step,
)


@pytest.mark.parametrize("rule", [confidence, patience, lambda z: confidence(z).round(decimals=1)])
@pytest.mark.parametrize("clock", [None, CLOCK], ids=["steps", "ms"])
def test_the_sweep_is_every_decision_made_one_by_one(rule, clock):
    z, labels = data(1)
    score, right = rule(z), right_answers(z, labels)
    thresholds = torch.cat([every_threshold(score)[::7], score.flatten()[::23] + 0.01])
    curve = sweep(score, right, thresholds, clock)
    steps = torch.arange(T) if clock is None else clock
    for i, threshold in enumerate(thresholds.tolist()):
        time, accuracy = slow(score, right, torch.tensor(threshold), steps)
        assert curve.time[i].item() == pytest.approx(time, abs=1e-9)
        assert curve.accuracy[i].item() == pytest.approx(accuracy, abs=1e-9)


def test_the_sweep_agrees_with_exit_at():
    z, labels = data(2)
    score, right = confidence(z), right_answers(z, labels)
    for theta in (0.3, 0.6, 0.95):
        decision = exit_at(score, z, theta)
        curve = sweep(score, right, torch.tensor([theta]))
        assert curve.time.item() == pytest.approx(decision.step.double().mean().item())
        assert curve.accuracy.item() == pytest.approx(
            (decision.label == labels).double().mean().item()
        )


def test_every_threshold_makes_another_decision_and_none_is_missing():
    score, _ = tables(3, n=12)
    steps = [exit_at(score, torch.zeros(T, 12, 2), t).step for t in every_threshold(score).tolist()]
    assert steps[0].eq(0).all()
    assert steps[-1].eq(T - 1).all()
    assert len({tuple(s.tolist()) for s in steps}) == len(steps)
    known = {tuple(s.tolist()) for s in steps}
    for threshold in torch.linspace(0.2, 1.0, 300).tolist():
        assert tuple(exit_at(score, torch.zeros(T, 12, 2), threshold).step.tolist()) in known


def test_raising_the_threshold_never_speeds_up():
    score, right = tables(4)
    time = sweep(score, right, every_threshold(score)).time
    assert (time[1:] > time[:-1]).all()
    assert time[0] == 0
    assert time[-1] == T - 1


def test_the_order_of_samples_changes_nothing():
    score, right = tables(5)
    order = torch.randperm(B, generator=torch.Generator().manual_seed(1))
    thresholds = every_threshold(score)
    mixed = score[:, order], right[:, order]
    assert torch.equal(every_threshold(mixed[0]), thresholds)
    one, other = sweep(score, right, thresholds), sweep(*mixed, thresholds)
    torch.testing.assert_close(one.time, other.time)
    torch.testing.assert_close(one.accuracy, other.accuracy)


def test_thresholds_for_each_step_are_decided_one_by_one():
    score, right = tables(6)
    limits = torch.rand(5, T, generator=torch.Generator().manual_seed(2))
    limits[1, 3], limits[2, 2] = math.inf, -math.inf
    curve = sweep_per_step(score, right, limits, CLOCK)
    for i in range(5):
        wanted = slow(score, right, limits[i], CLOCK)
        assert (curve.time[i].item(), curve.accuracy[i].item()) == pytest.approx(wanted)


def test_equal_thresholds_for_each_step_are_a_constant_one():
    score, right = tables(7)
    thresholds = every_threshold(score)[::5]
    constant = sweep(score, right, thresholds)
    same = sweep_per_step(score, right, thresholds.unsqueeze(1).expand(-1, T))
    torch.testing.assert_close(constant.time, same.time)
    torch.testing.assert_close(constant.accuracy, same.accuracy)


def random_curve(seed: int, n: int = 30) -> Curve:
    generator = torch.Generator().manual_seed(seed)
    time = torch.randint(T, (n,), generator=generator).double()
    time[-1] = 0.0
    return Curve(time, torch.randint(10, (n,), generator=generator).double() / 10)


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_the_best_within_the_budget_then_the_earliest_then_the_first(seed):
    curve = random_curve(seed)
    for budget, index in zip(BUDGETS.tolist(), choose(curve, BUDGETS).tolist(), strict=True):
        allowed = [i for i in range(len(curve)) if curve.time[i] <= budget]
        best = min(allowed, key=lambda i: (-curve.accuracy[i], curve.time[i], i))
        assert index == best


@pytest.mark.parametrize("seed", range(5))
def test_at_each_mean_time_the_rule_is_the_best_on_validation_within_it_on_test(seed):
    validation, test = random_curve(seed), random_curve(seed + 10)
    found = accuracy_within(validation, test, BUDGETS)
    for budget, accuracy in zip(BUDGETS.tolist(), found.tolist(), strict=True):
        allowed = [i for i in range(len(test)) if test.time[i] <= budget]
        best = min(allowed, key=lambda i: (-validation.accuracy[i], test.time[i], i))
        assert accuracy == test.accuracy[best]
    assert area(validation, test, BUDGETS) == pytest.approx(found.mean().item())


def test_the_area_as_chosen_keeps_the_budgets_on_validation():
    validation, test = random_curve(1), random_curve(2)
    total = sum(test.accuracy[choose(validation, BUDGETS[i : i + 1])].item() for i in range(T))
    assert area_as_chosen(validation, test, BUDGETS) == pytest.approx(total / T)
    late = Curve(test.time + 3.0, test.accuracy)
    assert area_as_chosen(validation, late, BUDGETS) == area_as_chosen(validation, test, BUDGETS)


def test_a_model_that_is_right_at_step_zero_has_its_accuracy_as_area():
    score, right = tables(8)
    right[:] = right[0]
    thresholds = every_threshold(score)
    curve = sweep(score, right, thresholds)
    wanted = right[0].double().mean().item()
    assert area(curve, curve, BUDGETS) == pytest.approx(wanted)
    assert optimistic_area(curve, BUDGETS) == pytest.approx(wanted)


def test_a_budget_below_the_first_crossing_scores_the_answer_at_step_zero():
    score, right = tables(9)
    score[:] = 0.5  # all at once, or all at the end
    curve = sweep(score, right, every_threshold(score))
    first, last = (right[t].double().mean().item() for t in (0, -1))
    assert area(curve, curve, BUDGETS) == pytest.approx((first * (T - 1) + last) / T)


def test_the_optimistic_area_is_an_upper_bound():
    for seed in range(6):
        thresholds = every_threshold(tables(seed)[0])
        validation, test = (sweep(*tables(s), thresholds) for s in (seed, seed + 10))
        allowed = [test.accuracy[test.time <= b + 1e-9].max().item() for b in range(T)]
        assert optimistic_area(test, BUDGETS) == pytest.approx(sum(allowed) / T)
        assert area(validation, test, BUDGETS) <= optimistic_area(test, BUDGETS)


def test_the_frontier_holds_what_nothing_earlier_equals():
    for seed in range(5):
        curve = random_curve(seed)
        points = list(zip(curve.time.tolist(), curve.accuracy.tolist(), strict=True))
        wanted = {
            (t, a)
            for t, a in points
            if not any((u <= t and c > a) or (u < t and c >= a) for u, c in points)
        }
        found = curve.rows(frontier(curve))
        assert set(zip(found.time.tolist(), found.accuracy.tolist(), strict=True)) == wanted
        assert len(found) == len(wanted)
        assert (found.time[1:] > found.time[:-1]).all()


def test_a_composite_is_nowhere_below_its_parts():
    parts = [sweep(*tables(s), every_threshold(tables(s)[0])) for s in (1, 2, 3)]
    whole = Curve.cat(parts)
    best = whole.accuracy[choose(whole, BUDGETS)]
    for part in parts:
        assert (best >= part.accuracy[choose(part, BUDGETS)]).all()


def test_one_step_or_one_sample_leaves_one_answer():
    score, right = torch.tensor([[0.4]]), torch.tensor([[True]])
    assert every_threshold(score).tolist() == [-math.inf, math.inf]
    curve = sweep(score, right, every_threshold(score))
    assert (curve.time.tolist(), curve.accuracy.tolist()) == ([0.0, 0.0], [1.0, 1.0])
    assert area(curve, curve, torch.zeros(1)) == 1.0


def test_what_makes_no_curve_is_refused(as_user):
    score, right = tables(1)
    curve = sweep(score, right, every_threshold(score)[1:])
    with pytest.raises(ValueError, match="threshold -inf"):
        choose(curve, torch.tensor([-1.0]))
    with pytest.raises(ValueError, match="same rules"):
        area(curve, curve.rows(torch.arange(2)), BUDGETS)
    with pytest.raises(ValueError, match="same rules"):
        area_as_chosen(curve.rows(torch.arange(2)), curve, BUDGETS)
    for clock in (CLOCK.flip(0), CLOCK[[0, 2, 1, *range(3, T)]]):
        with pytest.raises(ValueError, match="backwards"):
            sweep(score, right, torch.zeros(1), clock)
    with pytest.raises(ValueError, match="shape \\[8, 0\\]"):
        sweep(score[:, :0], right[:, :0], torch.zeros(1))
    with pytest.raises(ValueError, match="Class indices"):
        right_answers(torch.zeros(2, 1, 3), torch.tensor([3]))
    with pytest.raises(ValueError, match="Class indices"):
        right_answers(torch.zeros(2, 5, 3), torch.tensor([0, 1, 2, 0, 3]))  # below 5, no class
    for time, accuracy in (([math.nan], [0.5]), ([1.0], [math.nan])):
        with pytest.raises(ValueError, match="of a curve"):
            Curve(torch.tensor(time), torch.tensor(accuracy))
    score[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"1 of .* scores are NaN"):
        sweep(score, right, torch.zeros(1))


def test_of_rules_within_one_standard_error_of_the_best_the_fastest_is_chosen():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(1, 200))
        accuracy, time = rng.integers(n + 1, size=8) / n, rng.permutation(8).astype(float)
        i = fastest_as_good(Curve(torch.tensor(time), torch.tensor(accuracy)), n)
        top = max(accuracy)
        enough = top - math.sqrt(top * (1 - top) / n)
        assert accuracy[i] >= enough
        assert not any(t < time[i] and a >= enough for t, a in zip(time, accuracy, strict=True))
    with pytest.raises(ValueError, match="no rule to choose from"):
        fastest_as_good(Curve(torch.zeros(0), torch.zeros(0)), 10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_thresholds_hold_every_digit_of_the_scores(dtype):
    score = torch.rand(T, B, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = every_threshold(score.to(dtype))
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    assert {*found[found.isfinite()].tolist()} <= {*score.to(dtype).flatten().tolist()}
