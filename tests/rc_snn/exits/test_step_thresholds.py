"""Thresholds for each step: objective, minimum, guards, against search and slow decisions."""

import math
from itertools import product

import pytest
import torch
from slow_exits import BUDGETS, CLOCK, T, data, objective, slow, tables

from rc_snn.exits import (
    area,
    choose,
    choose_block,
    every_threshold,
    exit_at,
    fit_rules,
    log_odds,
    right_answers,
    sweep,
    sweep_per_step,
    tune,
)
from rc_snn.exits.curves import first_reached

PRICES = (2.0, 0.5, 0.1, 0.0)


@pytest.mark.parametrize("block", [1, 2, 3, T])
def test_tuned_thresholds_never_do_worse_than_the_best_constant_one(block):
    for seed in range(3):
        score, right = tables(seed)
        constants = every_threshold(score)
        curve = sweep(score, right, constants)
        limits = tune(score, right, PRICES, block=block)
        for price, found in zip(PRICES, limits, strict=True):
            best = float((1 - curve.accuracy + price * curve.time / (T - 1)).min())
            ours = objective(score, right, found, price)
            assert ours <= best + 1e-9
            if block == T:
                assert ours == pytest.approx(best)


def test_step_thresholds_do_better_on_their_own_data_than_the_constant_one():
    score, right = tables(1)
    better = [
        objective(score, right, tune(score, right, [p], block=T)[0], p)
        - objective(score, right, tune(score, right, [p])[0], p)
        for p in PRICES
    ]
    assert max(better) > 0.02


@pytest.mark.parametrize("block", [1, 3])
def test_no_single_threshold_can_be_improved_after_tuning(block):
    score, right = tables(5, n=25)  # seed 5 needs several rounds
    for price in (0.5, 0.1):
        (limits,) = tune(score, right, [price], block=block)
        value = objective(score, right, limits, price)
        for start in range(0, T, block):
            for candidate in [*score[start : start + block].flatten().tolist(), math.inf]:
                other = limits.clone()
                other[start : start + block] = candidate
                assert objective(score, right, other, price) >= value - 1e-9


def test_with_two_steps_tuning_finds_the_global_minimum():
    for seed in range(6):
        score, right = tables(seed, n=15, n_steps=2)
        for price in PRICES:
            found = objective(score, right, tune(score, right, [price])[0], price)
            values = [*score.flatten().tolist(), math.inf]
            grid = (objective(score, right, torch.tensor(x), price) for x in product(values, [0.0]))
            assert found == pytest.approx(min(grid))


def test_thresholds_of_a_block_are_tied_and_the_last_block_may_be_short():
    score, right = tables(11)
    limits = tune(score, right, PRICES, block=3)
    for block in limits.split(3, dim=1):
        assert torch.equal(block, block[:, :1].expand_as(block))
    assert any(len(row.unique()) > 1 for row in limits), "the case must use more than one"


def test_the_order_of_prices_does_not_matter_and_dearer_time_is_spent_less():
    score, right = tables(12)
    forward, backward = tune(score, right, PRICES), tune(score, right, PRICES[::-1])
    assert torch.equal(forward, backward.flip(0))
    constant = sweep_per_step(score, right, tune(score, right, PRICES, block=T)).time
    assert (constant[1:] >= constant[:-1]).all()


def test_what_is_sure_and_wrong_at_the_beginning_is_not_believed():
    generator = torch.Generator().manual_seed(1)
    score = torch.rand(T, 200, generator=generator)
    right = torch.rand(T, 200, generator=generator) < score
    score[0] = 0.9 + 0.1 * score[0]  # all sure, and wrong in nine of ten
    right[0] = torch.arange(200) % 10 == 0
    limits = tune(score, right, [0.05])[0]
    assert exit_at(score, torch.zeros(T, 200, 2), limits).step.min() > 0
    assert limits[0] > limits[1:].max() or limits[0] > score[0].max()


def test_the_clock_prices_time_and_not_steps():
    score, right = tables(13)
    clock = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])  # all but the last are free
    limits = tune(score, right, [100.0], clock=clock)
    assert sweep_per_step(score, right, limits, clock).time.item() == 0.0
    best = max(
        sweep(score, right, every_threshold(score), clock).accuracy[
            sweep(score, right, every_threshold(score), clock).time == 0
        ]
    )
    assert sweep_per_step(score, right, limits, clock).accuracy.item() >= best


def test_each_step_has_a_threshold_of_its_own_unless_asked_otherwise():
    score, right = tables(2)
    assert torch.equal(tune(score, right, PRICES), tune(score, right, PRICES, block=1))
    assert torch.equal(
        fit_rules(score, right, PRICES).limits, fit_rules(score, right, PRICES, block=1).limits
    )


def test_rules_go_from_an_answer_at_once_to_one_at_the_last_step():
    score, right = tables(2)
    curve = fit_rules(score, right, PRICES, n_offsets=7).curve(score, right)
    assert (curve.time.min(), curve.time.max()) == (0.0, T - 1.0)


def test_step_rules_are_the_tuned_thresholds_and_all_around_them():
    z, labels = data(14)
    score, right = log_odds(z), right_answers(z, labels)
    rules = fit_rules(score, right, PRICES, block=2, n_offsets=20)
    curve = rules.curve(score, right, CLOCK)
    shapes, offsets = rules.offsets.shape
    assert (shapes, len(curve)) == (len(rules.limits), shapes * offsets)
    for i in range(0, len(curve), 11):
        limits, offset = rules.limits[i // offsets], rules.offsets[i // offsets, i % offsets]
        wanted = slow(score - limits.unsqueeze(1), right, offset, CLOCK)
        assert (curve.time[i].item(), curve.accuracy[i].item()) == pytest.approx(wanted)
    tuned = sweep_per_step(score, right, tune(score, right, PRICES, block=2), CLOCK)
    for time, accuracy in zip(tuned.time, tuned.accuracy, strict=True):
        assert ((curve.time - time).abs() + (curve.accuracy - accuracy).abs()).min() < 1e-9
    assert curve.time.view(shapes, offsets)[:, 0].eq(CLOCK[0]).all(), (
        "each shape can answer at once"
    )


def test_step_rules_of_one_block_are_the_constant_thresholds():
    z, labels = data(15, 30)
    score, right = log_odds(z).double(), right_answers(z, labels)
    rules = fit_rules(score, right, [0.3], block=T, n_offsets=10_000)
    constant = sweep(score, right, every_threshold(score))
    for b in BUDGETS:
        one, other = (
            c.accuracy[choose(c, b.view(1))].item() for c in (rules.curve(score, right), constant)
        )
        assert one == other


def test_cross_validation_ties_all_steps_if_nothing_is_won_by_more():
    score = torch.rand(1, 60, generator=torch.Generator().manual_seed(2)).expand(T, -1).contiguous()
    right = (torch.arange(60) % 3 > 0).expand(T, -1)
    assert choose_block(score, right, [0.3, 0.1], [1, 2, T]) == T


@pytest.mark.parametrize("seed", range(3))
def test_cross_validation_judges_each_fold_by_the_others(seed):
    score, right = tables(seed, n=40)
    folds, areas = 4, {}
    for block in (3, T):
        areas[block] = 0.0
        for fold in range(folds):
            out = [i for i in range(40) if i % folds == fold]
            others = [i for i in range(40) if i % folds != fold]
            rules = fit_rules(score[:, others], right[:, others], PRICES, block=block)
            curves = (rules.curve(score[:, part], right[:, part]) for part in (others, out))
            areas[block] += area(*curves, BUDGETS)
    wanted = 3 if areas[3] > areas[T] + 1e-9 else T
    assert choose_block(score, right, PRICES, [3, T], folds=folds) == wanted


def test_the_order_of_samples_changes_no_tuned_threshold():
    score, right = tables(5)
    order = torch.randperm(score.shape[1], generator=torch.Generator().manual_seed(1))
    mixed = tune(score[:, order], right[:, order], PRICES, block=2)
    assert torch.equal(tune(score, right, PRICES, block=2), mixed)


def test_cross_validation_keeps_step_thresholds_that_hold_on_unseen_samples():
    generator = torch.Generator().manual_seed(3)
    score = torch.rand(T, 400, generator=generator)
    sure = torch.linspace(0.1, 1.0, T).unsqueeze(1)  # the same score means more at later steps
    right = torch.rand(T, 400, generator=generator) < score * sure
    right[3], score[3] = score[3] < 0.5, 1 - score[3] / 2
    assert choose_block(score, right, [0.3, 0.1], [1, T]) == 1


def test_of_equally_good_thresholds_the_nearest_to_the_constant_one_is_taken():
    # The first sample is wrong at step 0, at 0.5; two keep the constant threshold at 0.45; the
    # last, at 0.7, is right whenever it answers.
    score = torch.tensor([[0.5, 0.1, 0.1, 0.7], [0.5, 0.45, 0.45, 0.7], [0.5, 0.45, 0.45, 0.7]])
    right = torch.tensor([[0, 0, 0, 1], [1, 1, 1, 1], [1, 0, 0, 1]]).bool()
    assert tune(score, right, [0.0], block=3).tolist() == [[pytest.approx(0.45)] * 3]
    limits = tune(score, right, [0.0])
    assert limits.tolist() == [[pytest.approx(0.7), pytest.approx(0.45), pytest.approx(0.45)]]
    assert sweep_per_step(score, right, limits).accuracy.item() == 1.0


def test_of_constant_thresholds_that_cost_the_same_the_one_that_answers_at_once_is_taken():
    score, _ = tables(3)
    limits = tune(score, torch.ones_like(score, dtype=torch.bool), [0.0], block=T)
    assert (first_reached(score, limits[0]) == 0).all()


def test_a_clock_is_read_in_shares_of_its_length():
    score, right = tables(6)
    clock = torch.tensor([0.0, 1.0, 1.5, 3.0, 4.0, 6.0, 7.0, 10.0])
    limits = tune(score, right, PRICES, clock=clock)
    assert torch.equal(tune(score, right, PRICES, clock=8 * clock + 64), limits)
    assert not torch.equal(tune(score, right, PRICES), limits)


def test_five_folds_and_two_hundred_offsets_unless_asked_otherwise():
    score, right = tables(7, n=5)
    assert choose_block(score, right, PRICES, [1, T]) in (1, T)
    assert choose_block(score, right, PRICES, [1, T]) == choose_block(
        score, right, PRICES, [1, T], folds=5
    )
    assert fit_rules(score, right, [0.1]).offsets.shape == (1, 201)  # and 0
    with pytest.raises(ValueError, match=r"folds must be in 2\.\.4 .* got 5"):
        choose_block(score[:, :4], right[:, :4], PRICES, [1, T])


def test_what_cannot_be_tuned_is_refused(as_user):
    score, right = tables(1)
    for prices in ([], [-0.1], [math.inf], [0.1, -0.1], [math.inf, 0.1]):
        with pytest.raises(ValueError, match="prices >= 0"):
            tune(score, right, prices)
    with pytest.raises(ValueError, match="n_offsets must be at least 1"):
        fit_rules(score, right, PRICES, n_offsets=0)
    assert fit_rules(score, right, PRICES, n_offsets=1).offsets.shape[1] == 2  # and 0
    with pytest.raises(ValueError, match="block must be at least 1"):
        tune(score, right, [0.1], block=0)
    with pytest.raises(ValueError, match="folds must be"):
        choose_block(score, right, [0.1], [1], folds=1)
    assert tune(score[:1, :1], right[:1, :1], [0.1]).shape == (1, 1)
