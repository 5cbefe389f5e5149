"""Bayes-optimal stopping against slow definitions; frontier and distances."""

import itertools
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import record
from benchmarks.figure2 import bayes_stopping
from benchmarks.figure2.backward_induction import Grid, error, stopping_thresholds
from benchmarks.figure2.bayes_stopping import (
    Limit,
    achieved,
    compute,
    deadline_thresholds,
    limit_of,
    loss,
    make,
    parts,
    posterior_thresholds,
    stop_steps,
)
from benchmarks.figure2.frontier import Frontier, distance_to_frontier, frontier
from encoders.two_sequence import (
    PAPER,
    TwoSequence,
    log_evidence,
    log_odds,
    posterior,
    two_sequence,
)
from rc_snn.spikes import first_spike

SHORT = TwoSequence(n_steps=3, mean=0.1, low=0.05, high=0.25)
SMALL = Grid(48, 24, 192)


class Tree:
    """All sequences of three inputs on a grid of inputs, each with its probability."""

    def __init__(self, problem: TwoSequence, n: int = 65) -> None:
        self.x = torch.linspace(-1.1, 1.1, n, dtype=torch.float64)
        self.levels = []
        for depth in range(1, problem.n_steps + 1):
            x = torch.cartesian_prod(*[self.x] * depth).view(-1, depth)
            evidence = [
                log_evidence(depth, (x - m).square().sum(dim=1), problem)
                for m in (problem.mean, -problem.mean)
            ]
            odds = (evidence[0] - evidence[1]).abs().numpy()
            log_r = (x.square().mean(dim=1) + problem.mean**2).log().numpy()
            mass = (evidence[0].exp() + evidence[1].exp()).numpy()
            self.levels.append((odds, log_r, mass.reshape([n] * depth)))
        self.n = n

    def value(self, cost: float, stops: Any) -> float:
        """P(error) + cost E[step] of a rule; `stops(step, stop, go_on, odds, log_r)`."""
        best = None
        for step in reversed(range(len(self.levels))):
            odds, log_r, _ = self.levels[step]
            stop = error(odds)
            if best is not None:
                following = self.levels[step + 1][2]
                weight = following / following.sum(axis=-1, keepdims=True)
                go_on = cost + (weight * best.reshape(following.shape)).sum(axis=-1).ravel()
                stop = np.where(stops(step, stop, go_on, odds, log_r), stop, go_on)
            best = stop
        weight = self.levels[0][2] / self.levels[0][2].sum()
        return float((weight * best).sum())


@pytest.mark.parametrize("cost", [0.08, 0.04, 0.01])
def test_the_induction_finds_the_best_rule_of_a_tree_of_all_sequences(cost):
    tree, grid = Tree(SHORT), Grid(64, 64, 256)
    thresholds = stopping_thresholds([cost], SHORT, grid)
    nodes = grid.noise(SHORT)

    def ours(step: int, stop: Any, go_on: Any, odds: Any, log_r: Any) -> Any:
        return odds >= np.interp(log_r, nodes, thresholds[step, :, 0])

    least = tree.value(cost, lambda step, stop, go_on, odds, log_r: stop <= go_on)
    found = tree.value(cost, ours)
    at_once = tree.value(cost, lambda step, stop, go_on, odds, log_r: step >= 0)
    at_end = tree.value(cost, lambda step, stop, go_on, odds, log_r: step < 0)
    assert least - 1e-12 <= found <= least + 1e-5
    assert found < min(at_once, at_end) - 1e-4, "the case tells rules apart"


def test_with_known_noise_it_is_the_truncated_test_of_wald_in_one_dimension():
    """The log-odds are then a random walk: an induction over them alone, by other means."""
    problem = TwoSequence(n_steps=10, mean=0.05, low=0.0999, high=0.1001)
    cost, drift = 0.01, 2 * 0.05**2 / 0.1**2
    odds = np.linspace(-12, 12, 1_201)
    z = np.linspace(-5, 5, 101)
    density = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    value, slow = error(np.abs(odds)), np.zeros(10)
    for step in range(8, -1, -1):
        up = 1.0 / (1.0 + np.exp(-odds))
        go_on = cost + sum(
            side
            * (
                density
                * np.interp(odds[:, None] + s * drift + z * math.sqrt(2 * drift), odds, value)
            ).sum(axis=1)
            for side, s in ((up, 1.0), (1.0 - up, -1.0))
        )
        stop = error(np.abs(odds))
        slow[step] = np.abs(odds[go_on < stop]).max(initial=0.0)
        value = np.minimum(stop, go_on)
    grid = Grid(64, 32, 256)
    found = stopping_thresholds([cost], problem, grid)[:, :, 0]
    typical = math.log(0.1**2 + 2 * 0.05**2)
    for step in range(2, 9):  # before, few log-odds that large can be reached
        at = np.interp(typical, grid.noise(problem), found[step])
        assert at == pytest.approx(slow[step], abs=0.06), step


@pytest.fixture(scope="module")
def costs() -> list[float]:
    return [0.05, 0.02, 0.008, 0.003, 0.001]


@pytest.fixture(scope="module")
def short() -> TwoSequence:
    return TwoSequence(n_steps=12, mean=0.08)


@pytest.fixture(scope="module")
def optimal(short, costs) -> Any:
    return stopping_thresholds(costs, short, SMALL)


def test_a_higher_cost_never_delays_and_more_patience_is_more_accurate(short, costs, optimal):
    chunks = list(parts(4_000, 0, short))
    outcome = achieved(chunks, [optimal], SMALL.noise(short), short)
    assert (np.diff(outcome.mean_step) > 0).all()
    assert (np.diff(outcome.accuracy) > 0).all()
    odds = np.abs(log_odds(chunks[0].inputs.frames, short).numpy())
    power = chunks[0].inputs.frames.squeeze(2).double().square().cumsum(dim=0).numpy()
    log_r = np.log(power / np.arange(1, 13)[:, None] + short.mean**2)
    steps = stop_steps(odds, log_r, optimal, SMALL.noise(short))
    assert (np.diff(steps, axis=1) >= 0).all(), "sequence by sequence"


def test_no_simpler_rule_has_a_smaller_loss(short, costs, optimal):
    rules = [optimal, posterior_thresholds([0.7, 0.8, 0.9, 0.95, 0.99], short)]
    rules.append(deadline_thresholds(short))
    outcome = achieved(parts(40_000, 1, short), rules, SMALL.noise(short), short)
    for i, cost in enumerate(costs):
        each = 1.0 - outcome.accuracy + cost * outcome.mean_step
        assert each[i] <= each.min() + 1.5e-3, cost
        assert each[i] < each[len(costs) :].min(), cost
    own = loss(type(outcome)(*(v[: len(costs)] for v in outcome)), costs)
    assert own[2] == pytest.approx(1 - outcome.accuracy[2] + 0.008 * outcome.mean_step[2])


def test_a_finer_grid_changes_next_to_nothing(short, costs, optimal):
    fine = Grid(96, 48, 256)
    losses = [
        loss(achieved(parts(20_000, 2, short), [rule], grid.noise(short), short), costs)
        for grid, rule in ((SMALL, optimal), (fine, stopping_thresholds(costs, short, fine)))
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=4e-4)


def slow_stop(odds: Any, log_r: Any, limits: Any, nodes: Any) -> int:
    for step in range(len(odds) - 1):
        if odds[step] >= np.interp(log_r[step], nodes, limits[step]):
            return step
    return len(odds) - 1


def test_a_rule_stops_at_the_first_step_that_reaches_its_limit():
    draw = np.random.default_rng(0)
    odds, log_r = draw.uniform(0, 3, (7, 40)), draw.uniform(-6, 1, (7, 40))
    nodes, limits = np.linspace(-5, 0, 6), draw.uniform(0, 4, (7, 6, 3))
    found = stop_steps(odds, log_r, limits, nodes)
    for i, k in itertools.product(range(40), range(3)):
        assert found[i, k] == slow_stop(odds[:, i], log_r[:, i], limits[:, :, k], nodes)
    alone = stop_steps(odds[:, :1], log_r[:, :1], limits, nodes)
    np.testing.assert_array_equal(alone, found[:1])


def test_reaching_the_limit_exactly_stops_and_the_last_step_always_does():
    odds, nodes = np.array([[1.0], [2.0], [0.0]]), np.array([0.0, 1.0])
    limits = np.array([0.0, 1.0, 2.0, 2.5])
    rules = np.broadcast_to(limits, (3, 1, 4))
    assert stop_steps(odds, np.zeros((3, 1)), rules, nodes).tolist() == [[0, 0, 1, 2]]


def test_the_posterior_rule_is_the_first_spike_of_the_exact_posterior():
    data = two_sequence(500, torch.Generator().manual_seed(3))
    p, odds = posterior(data.inputs.frames), log_odds(data.inputs.frames).abs().numpy()
    thetas = [0.6, 0.9, 0.95, 0.999]
    found = stop_steps(odds, odds, posterior_thresholds(thetas), np.array([0.0, 1.0]))
    for i, theta in enumerate(thetas):
        np.testing.assert_array_equal(found[:, i], first_spike(p, theta).step.numpy())


def test_a_deadline_is_met_at_its_step_with_the_accuracy_of_the_posterior_there():
    data = two_sequence(300, torch.Generator().manual_seed(4))
    outcome = achieved([data], [deadline_thresholds()], np.array([0.0, 1.0]))
    p = posterior(data.inputs.frames)
    np.testing.assert_array_equal(outcome.mean_step, np.arange(40))
    np.testing.assert_allclose(outcome.accuracy, p.amax(dim=2).mean(dim=1).numpy())
    right = (p.argmax(dim=2) == data.labels).double().mean(dim=1)
    np.testing.assert_allclose(outcome.counted, right.numpy())


def test_what_rules_achieve_does_not_depend_on_the_parts_and_has_honest_errors(short, optimal):
    rules, nodes = [posterior_thresholds([0.8, 0.95], short), optimal], SMALL.noise(short)
    data = two_sequence(3_000, torch.Generator().manual_seed(5), short)
    whole = achieved([data], rules, nodes, short)
    split = achieved((data.rows(i) for i in torch.arange(3_000).split(700)), rules, nodes, short)
    for one, other in zip(whole, split, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
    error_of_count = np.sqrt(whole.counted * (1 - whole.counted) / 3_000)
    assert (np.abs(whole.counted - whole.accuracy) < 4 * error_of_count).all()
    many = [
        achieved([two_sequence(300, torch.Generator().manual_seed(s), short)], rules, nodes, short)
        for s in range(60)
    ]
    for name in ("mean_step", "accuracy"):
        kind = "step_error" if name == "mean_step" else "accuracy_error"
        seen = np.std([getattr(o, name) for o in many], axis=0)
        said = np.mean([getattr(o, kind) for o in many], axis=0)
        np.testing.assert_allclose(seen, said, rtol=0.35)


def slow_envelope(points: list[tuple[float, float]], x: float) -> float:
    """Return the best mixture of two points (or one) with mean x."""
    best = max((b for a, b in points if a == x), default=-math.inf)
    for (a, b), (c, d) in itertools.permutations(points, 2):
        if a < x < c:
            best = max(best, b + (d - b) * (x - a) / (c - a))
    return best


def test_the_frontier_is_the_best_mixture_of_two_rules():
    draw = np.random.default_rng(1)
    points = [(float(x), float(y)) for x, y in draw.uniform(0, 1, (30, 2))]
    found = frontier(points)
    for x in np.linspace(found.mean_steps[0], found.mean_steps[-1], 57)[1:-1]:
        assert found.accuracy_at(x) == pytest.approx(slow_envelope(points, x))
    slopes = np.diff(found.accuracies) / np.diff(found.mean_steps)
    assert (np.diff(slopes) < 0).all(), "concave"
    assert (slopes > 0).all(), "what takes longer and is no better is left out"
    assert found.accuracies[-1] == max(y for _, y in points)


def test_the_frontier_of_one_point_and_of_points_at_one_step():
    assert frontier([(3.0, 0.9)]) == Frontier((3.0,), (0.9,))
    assert frontier([(3.0, 0.9), (3.0, 0.95), (3.0, 0.8)]) == Frontier((3.0,), (0.95,))
    assert frontier([(0.0, 0.5), (1.0, 0.75), (2.0, 1.0)]) == Frontier((0.0, 2.0), (0.5, 1.0))


def test_distances_are_zero_on_the_frontier_and_none_above_it():
    limit = Frontier((0.0, 10.0, 20.0), (0.6, 0.9, 0.95))
    assert distance_to_frontier(10.0, 0.9, limit) == (0.0, 0.0)
    far = distance_to_frontier(15.0, 0.9, limit)
    assert far.accuracy == pytest.approx(0.025)
    assert far.steps == pytest.approx(5.0)
    late = distance_to_frontier(39.0, 0.94, limit)
    assert late == (pytest.approx(0.01), pytest.approx(21.0))
    assert distance_to_frontier(39.0, 0.96, limit).steps is None
    impossible = distance_to_frontier(5.0, 0.9, limit)
    assert impossible == (pytest.approx(-0.15), pytest.approx(-5.0))


@pytest.fixture
def tiny(monkeypatch) -> dict[str, Any]:
    config = bayes_stopping.configuration("quick") | {
        "problem": asdict(TwoSequence(n_steps=4)),
        "grid": asdict(Grid(24, 12, 64)),
        "costs": [0.03, 0.003],
        "thetas": [0.7, 0.9],
        "n": 900,
        "n_test": 700,
    }
    monkeypatch.setattr(bayes_stopping, "configuration", lambda profile: config)
    return config


def test_the_record_holds_every_rule_on_fresh_and_on_test_sequences(tiny):
    done = make(Limit("quick"), "-")
    assert done.name.endswith(record.config_key(tiny))
    sizes = {"optimal": 2, "posterior": 2, "deadline": 4}
    for on in ("fresh", "on_test"):
        assert {k: len(v["accuracy"]) for k, v in done.metrics[on].items()} == sizes
    assert done.metrics["fresh"] != done.metrics["on_test"]
    best = limit_of(done.metrics)
    counted = limit_of(done.metrics, "on_test")
    for rule in done.metrics["fresh"].values():
        for step, accuracy in zip(rule["mean_step"], rule["accuracy"], strict=True):
            assert best.accuracy_at(step) >= accuracy - 1e-9
    test = two_sequence(700, torch.Generator().manual_seed(tiny["test_seed"]), TwoSequence(4))
    last = (posterior(test.inputs.frames, TwoSequence(4))[-1].argmax(dim=1) == test.labels).double()
    assert done.metrics["on_test"]["deadline"]["counted"][-1] == pytest.approx(
        float(last.mean()), abs=1e-6
    )
    assert counted.accuracies[-1] >= float(last.mean()) - 1e-6


def test_the_limit_is_twice_the_same(tiny):
    assert compute(tiny) == make(Limit("quick"), "-").metrics


def test_costs_that_are_none_are_refused():
    for wrong in ([], [0.0], [math.nan], [0.1, -1.0]):
        with pytest.raises(ValueError, match="positive and finite"):
            stopping_thresholds(wrong, SHORT, SMALL)


def test_the_checked_in_limit_is_reproduced_on_a_part_of_its_sequences():
    config = bayes_stopping.configuration("paper")
    name = f"limit_paper_{record.config_key(config)}"
    done = record.read(record.RESULTS / "figure2" / f"{name}.json")
    assert isinstance(done, record.Record)
    rules = [posterior_thresholds(config["thetas"]), deadline_thresholds()]
    again = achieved(parts(5_000, 17), rules, Grid().noise(PAPER))
    n = len(config["thetas"])
    for kind, found in (("posterior", slice(0, n)), ("deadline", slice(n, None))):
        held = done.metrics["fresh"][kind]
        near = 5 * again.accuracy_error[found] + 1e-9
        assert (np.abs(np.array(held["accuracy"]) - again.accuracy[found]) < near).all()
