"""Metrics of early classification and thresholds with a guarantee, against their definitions."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.metrics import balanced_accuracy_score
from slow_exits import T, data

from rc_snn import exits
from rc_snn.exits import (
    average_cost,
    class_weights,
    conformal_threshold,
    earliness,
    every_threshold,
    exit_at,
    harmonic_mean,
    macro_recall,
    optimal_cutoff,
    right_answers,
    selective_threshold,
    sweep,
)
from rc_snn.exits.conformal import binomial_at_most


def test_earliness_is_the_share_that_was_read_sample_by_sample():
    step, length = torch.tensor([0, 3, 6, 9]), torch.tensor([4, 4, 4, 10])
    read = [1 / 4, 4 / 4, 4 / 4, 10 / 10]  # step 6 is padding behind the end
    assert earliness(step, length) == pytest.approx(sum(read) / 4)
    assert earliness(torch.tensor([T - 1]), T) == 1.0
    assert earliness(torch.tensor([0]), T) == pytest.approx(1 / T)


def test_earliness_is_the_mean_time_of_the_decisions():
    z, _ = data(1)
    decision = exit_at(exits.confidence(z), z, 0.6)
    assert earliness(decision.step, T) == pytest.approx(decision.time.mean().item())


def test_the_cost_is_the_mean_of_what_each_answer_costs():
    z, labels = data(2)
    decision = exit_at(exits.confidence(z), z, 0.6)
    wrong = (decision.label != labels).tolist()
    shares = ((decision.step + 1) / T).tolist()
    each = [1.0 * w + 0.3 * share for w, share in zip(wrong, shares, strict=True)]
    accuracy = 1 - sum(wrong) / len(wrong)
    found = average_cost(accuracy, earliness(decision.step, T), alpha=0.3)
    assert found == pytest.approx(sum(each) / len(each))


def test_time_that_costs_nothing_leaves_the_error_and_mori_s_weights_order_alike():
    assert average_cost(0.8, 0.9, alpha=0.0) == pytest.approx(0.2)
    rules = [(0.9, 0.8), (0.8, 0.3), (0.6, 0.1)]
    weight = 0.7
    ours = [average_cost(a, e, alpha=(1 - weight) / weight) for a, e in rules]
    mori = [weight * (1 - a) + (1 - weight) * e for a, e in rules]
    assert [weight * c for c in ours] == pytest.approx(mori)


def test_the_harmonic_mean_is_that_of_accuracy_and_what_was_saved():
    for a, e in [(0.9, 0.25), (0.5, 0.5), (1.0, 0.01)]:
        assert harmonic_mean(a, e) == pytest.approx(1 / ((1 / a + 1 / (1 - e)) / 2))
        assert min(a, 1 - e) - 1e-12 <= harmonic_mean(a, e) <= max(a, 1 - e) + 1e-12
        assert harmonic_mean(a, e) == pytest.approx(harmonic_mean(1 - e, 1 - a)), "symmetric"
    assert harmonic_mean(1.0, 0.0) == 1.0
    assert harmonic_mean(0.0, 1.0) == 0.0
    assert harmonic_mean(0.0, 0.2) == harmonic_mean(0.9, 1.0) == 0.0


def test_metrics_of_a_curve_are_those_of_its_points():
    z, labels = data(3)
    score, right = exits.confidence(z), right_answers(z, labels)
    clock = (torch.arange(T) + 1) / T
    curve = sweep(score, right, every_threshold(score)[::40], clock)
    pairs = list(zip(curve.accuracy.tolist(), curve.time.tolist(), strict=True))
    for metric in (harmonic_mean, lambda a, e: average_cost(a, e, 0.4)):
        found = metric(curve.accuracy, curve.time)
        assert found.tolist() == pytest.approx([metric(a, e) for a, e in pairs])


def test_macro_recall_is_the_balanced_accuracy_of_scikit_learn():
    generator = torch.Generator().manual_seed(4)
    labels = torch.randint(5, (200,), generator=generator)
    labels = labels[labels != 2]  # a class that does not occur
    label = torch.where(torch.rand(len(labels), generator=generator) < 0.6, labels, 0)
    assert macro_recall(label, labels) == pytest.approx(balanced_accuracy_score(labels, label))


def test_who_always_names_one_class_has_one_class_in_macro_recall():
    labels = torch.tensor([0] * 97 + [1, 2, 2])
    assert macro_recall(torch.zeros(100, dtype=torch.long), labels) == pytest.approx(1 / 3)


def test_a_weighted_sweep_is_macro_recall_against_mean_time():
    z, labels = data(5)
    labels = labels.clone()
    labels[: len(labels) // 2] = 0  # classes of unequal size
    score, right = exits.confidence(z), right_answers(z, labels)
    limits = every_threshold(score)[::31]
    curve = sweep(score, right, limits, weights=class_weights(labels))
    for i, limit in enumerate(limits.tolist()):
        decision = exit_at(score, z, limit)
        assert curve.accuracy[i] == pytest.approx(macro_recall(decision.label, labels))
        assert curve.time[i] == pytest.approx(decision.step.double().mean().item())
    equal = sweep(score, right, limits, weights=torch.ones(len(labels)))
    torch.testing.assert_close(equal.accuracy, sweep(score, right, limits).accuracy)


def test_the_optimal_cutoff_is_the_first_step_from_which_all_is_right():
    z, labels = data(6)
    right = right_answers(z, labels)
    found = optimal_cutoff(right)
    for i in range(right.shape[1]):
        stays = [t for t in range(T) if right[t:, i].all()]
        assert found[i] == (min(stays) if stays else T - 1)
    sample = torch.arange(right.shape[1])
    assert torch.equal(right[found, sample], right[-1]), "it costs no accuracy against the end"


def test_edges_of_the_optimal_cutoff():
    right = torch.tensor([[True, False, False, True], [True, False, True, False]])
    assert optimal_cutoff(right).tolist() == [0, 1, 1, 1]
    assert optimal_cutoff(torch.tensor([[True, False]])).tolist() == [0, 0]


def tables(n: int, seed: int, knows: float = 0.25):
    """Return the score and right answers of n walks that find out, some of them surely wrong."""
    g = torch.Generator().manual_seed(seed)
    drift = torch.where(torch.rand(n, generator=g) < 0.9, knows, -0.1)
    walk = (drift + torch.randn(8, n, generator=g)).cumsum(dim=0)
    return walk.abs(), walk > 0


def early_and_wrong(score, right, threshold: float):
    step = exit_at(score, torch.zeros(*score.shape, 2), threshold).step
    early = step < len(score) - 1
    return early, early & ~right[step, torch.arange(score.shape[1])]


@pytest.mark.parametrize(("n", "epsilon"), [(19, 0.1), (50, 0.05), (200, 0.2)])
def test_conformal_coverage_holds_over_calibration_sets(n, epsilon):
    broken = []
    for seed in range(400):
        threshold = conformal_threshold(*tables(n, seed), epsilon)
        new = tables(1000, 10_000 + seed)
        broken.append(early_and_wrong(*new, threshold)[1].double().mean().item())
    rate = sum(broken) / len(broken)
    error = torch.tensor(broken).std().item() / 20
    assert rate <= epsilon + 3 * error
    assert rate >= 0.6 * epsilon - 1 / (n + 1), "not by never answering early"


def test_the_conformal_threshold_is_the_lowest_that_leaves_so_many_wrong():
    score, right = tables(60, 1)
    allowed = math.floor(0.1 * 61) - 1
    found = conformal_threshold(score, right, 0.1)
    every = every_threshold(score)

    def ever_wrong(limit: float) -> int:  # at this threshold or at a higher one
        return sum(
            early_and_wrong(score, right, above.item())[1].int() for above in every[every >= limit]
        ).count_nonzero()

    assert ever_wrong(found) <= allowed
    below = every[every < found].max().item()
    assert ever_wrong(below) > allowed


def test_a_wrong_answer_that_no_threshold_gives_does_not_raise_the_conformal_one():
    """The third step is wrong, but whoever would stop there has stopped at the first."""
    right = torch.tensor([[True], [True], [False], [True]]).expand(4, 20)
    for later in (0.7, 0.9):
        score = torch.tensor([[0.9], [0.5], [later], [1.0]]).expand(4, 20)
        assert conformal_threshold(score, right, 0.1) == -math.inf
    score = torch.tensor([[0.9], [0.5], [0.95], [1.0]]).expand(4, 20)
    assert conformal_threshold(score, right, 0.1) > 0.95


def test_fewer_samples_than_one_over_epsilon_certify_nothing():
    score, right = torch.ones(4, 18), torch.ones(4, 18, dtype=torch.bool)
    assert conformal_threshold(score, right, 0.05) == math.inf
    assert conformal_threshold(torch.ones(4, 19), torch.ones(4, 19, dtype=torch.bool), 0.05) == (
        -math.inf
    ), "a network that is never wrong may answer at once"
    assert exit_at(score, torch.zeros(4, 18, 2), math.inf).step.eq(3).all()


def test_what_is_forced_at_the_last_step_is_not_early():
    score, wrong = torch.ones(1, 30), torch.zeros(1, 30, dtype=torch.bool)
    assert conformal_threshold(score, wrong, 0.1) == -math.inf


def test_a_step_that_no_threshold_answers_at_is_not_wrong():
    score = torch.tensor([[0.9], [0.7], [0.8]]).expand(3, 30)
    right = torch.tensor([[True], [False], [True]]).expand(3, 30)
    assert conformal_threshold(score, right, 0.1) == -math.inf
    assert 0.9 < conformal_threshold(score[[1, 0, 2]], right, 0.1) < 0.90001


def test_a_lower_epsilon_never_lowers_the_threshold():
    score, right = tables(100, 2)
    found = [conformal_threshold(score, right, e) for e in (0.005, 0.02, 0.1, 0.3, 0.9)]
    assert found == sorted(found, reverse=True)
    assert found[0] == math.inf


@pytest.mark.parametrize("epsilon", [0.2, 0.3])
def test_a_certified_threshold_misleads_in_a_share_delta_of_calibration_sets_at_most(epsilon):
    limits, delta = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0]), 0.2
    fresh = tables(100_000, 77)
    error = {math.inf: 0.0}
    for limit in limits.tolist():
        early, wrong = early_and_wrong(*fresh, limit)
        error[limit] = (wrong.sum() / early.sum()).item()
    assert error[0.0] > epsilon > error[4.0], "the case must hold thresholds of both kinds"
    found = [selective_threshold(*tables(800, s), limits, epsilon, delta) for s in range(300)]
    assert sum(error[limit] > epsilon for limit in found) / 300 <= delta
    assert sum(limit < math.inf for limit in found) > 150, "not by never answering early"


def test_the_binomial_is_scipy_s():
    for k, n, p in [(0, 0, 0.1), (0, 30, 0.1), (3, 40, 0.05), (29, 30, 0.9), (30, 30, 0.5)]:
        assert binomial_at_most(k, n, p) == pytest.approx(binom.cdf(k, n, p), abs=1e-12)


def test_what_makes_no_sense_is_refused(as_user):
    score, right = tables(20, 1)
    with pytest.raises(ValueError, match=r"accuracy must be a share in \[0, 1\].*Divide percent"):
        harmonic_mean(90.0, 0.5)
    with pytest.raises(ValueError, match=r"earliness must be a share"):
        average_cost(0.9, torch.tensor([0.5, 3.0]), 0.5)
    with pytest.raises(ValueError, match=r"alpha must be >= 0, got -1"):
        average_cost(0.9, 0.5, -1.0)
    with pytest.raises(ValueError, match="at least one sample"):
        earliness(torch.zeros(0, dtype=torch.long), 4)
    with pytest.raises(ValueError, match="lengths from 0"):
        earliness(torch.tensor([0]), 0)
    with pytest.raises(ValueError, match="at least one label"):
        class_weights(torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="at least one step"):
        optimal_cutoff(right[:0])
    for epsilon in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"epsilon must be in \(0, 1\)"):
            conformal_threshold(score, right, epsilon)
    with pytest.raises(ValueError, match=r"delta must be in \(0, 1\), got 5"):
        selective_threshold(score, right, torch.tensor([1.0]), 0.1, 5)
    with pytest.raises(ValueError, match="scores are NaN"):
        conformal_threshold(score * math.nan, right, 0.1)


def scored() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    score = torch.rand(6, 40, generator=generator)
    return score, torch.rand(6, 40, generator=generator) < 0.6


def test_right_answers_of_ones_and_zeros_are_truth_values(as_user):
    """~1 is -2: as numbers they would make errors of -2 and thresholds of garbage."""
    score, right = scored()
    points = torch.tensor([0.2, 0.5, 0.9])
    for ones in (right.int(), right.to(torch.uint8), right.float(), right.numpy()):
        assert conformal_threshold(score, ones, 0.2) == conformal_threshold(score, right, 0.2)
        assert torch.equal(exits.tune(score, ones, [0.1]), exits.tune(score, right, [0.1]))
        assert torch.equal(optimal_cutoff(ones), optimal_cutoff(right))
        assert torch.equal(
            sweep(score, ones, points).accuracy, sweep(score, right, points).accuracy
        )
        one, other = (selective_threshold(score, x, points, 0.5) for x in (ones, right))
        assert one == other
    for wrong in (right.int() + 1, right.float() / 2):
        with pytest.raises(ValueError, match="right must be"):
            sweep(score, wrong, points)


def test_whole_scores_are_compared_with_thresholds_between_them(as_user):
    """A patience of 2 does not reach 2.5, which as an integer would be 2."""
    score = torch.tensor([[1, 1], [2, 2], [3, 1]])
    right = torch.tensor([[True, True], [True, False], [False, True]])
    points = torch.tensor([1.5, 2.5])
    for same in (score, score.to(torch.uint8), score.numpy()):
        assert sweep(same, right, points).time.tolist() == [1.0, 2.0]
        trace = torch.zeros(3, 2, 2)
        assert exit_at(same, trace, 2.5).fired.tolist() == [True, False]


def test_thresholds_and_budgets_that_are_no_number_are_refused(as_user):
    score, right = scored()
    nan = torch.tensor([0.5, torch.nan])
    with pytest.raises(ValueError, match="Thresholds must be numbers"):
        sweep(score, right, nan)
    with pytest.raises(ValueError, match="budgets that are numbers"):
        exits.choose(sweep(score, right, torch.tensor([0.1, 0.5])), nan)
    one_negative = torch.ones(40).index_fill_(0, torch.tensor([3]), -1.0)
    wrong = (torch.ones(40, 1), torch.full((40,), torch.nan), -torch.ones(40), one_negative)
    for weights in wrong:
        with pytest.raises(ValueError, match="weights must be"):
            sweep(score, right, torch.tensor([0.5]), weights=weights)
    unseen = sweep(score[:, :5], right[:, :5], torch.tensor([0.5]))
    none = torch.zeros(40).index_fill_(0, torch.arange(5), 40 / 5)
    counted = sweep(score, right, torch.tensor([0.5]), weights=none)
    assert counted.accuracy.tolist() == pytest.approx(unseen.accuracy.tolist())
    for clock in (torch.arange(5.0), torch.arange(6.0)[:, None]):
        with pytest.raises(ValueError, match="The clock must have a time for each of 6 steps"):
            sweep(score, right, torch.tensor([0.5]), clock)


def test_metrics_of_small_integers_do_not_wrap_round(as_user):
    step = torch.tensor([255], dtype=torch.uint8)  # 255 + 1 is 0 there: nothing would be read
    assert earliness(step, 256) == 1.0
    labels = torch.tensor([0, 0, 0, 1], dtype=torch.uint8)  # which would be a mask as an index
    assert class_weights(labels).tolist() == class_weights(labels.long()).tolist()
    assert macro_recall(np.array([0, 0, 0, 0]), labels) == 0.5
    with pytest.raises(ValueError, match=r"label must be \[B\]"):
        macro_recall(torch.zeros(4, 1).long(), labels)
    with pytest.raises(ValueError, match="length must be one number"):
        earliness(torch.tensor([1, 2]), torch.tensor([[5], [5]]))
