"""The plan's simulation against what can be said without it, and its figures against records."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks import record
from benchmarks.run import Options
from benchmarks.scale import measured
from benchmarks.scale.grid import Grid, between, simulate
from benchmarks.scale.measured import StepCost
from benchmarks.scale.plan import LINKS, Plan, text
from benchmarks.scale.training import Link, all_reduce_s, failures, sent_bytes, waiting
from benchmarks.task import prepare


def some_runs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(1, 20, size=n), generator.uniform(1.0, 30.0, size=n)


@pytest.mark.parametrize("seed", range(5))
def test_without_failures_a_grid_takes_what_list_scheduling_takes(seed):
    """At least the work on all cores, and the longest run; at most both (Graham 1966)."""
    epochs, epoch_s = some_runs(300, seed)
    grid = Grid(hosts=7, cores=3, mtbf_s=math.inf, startup_s=5.0)
    out = simulate(epochs, epoch_s, grid, np.random.default_rng(seed))
    each = 5.0 + epochs * epoch_s
    assert max(each.sum() / 21, each.max()) <= out.makespan_s <= each.sum() / 21 + each.max()
    assert out.trained_s == pytest.approx((epochs * epoch_s).sum())
    assert out.startup_s == pytest.approx(300 * 5.0)
    assert (out.failures, out.deaths, out.lost_s, out.given_up) == (0, 0, 0.0, 0)
    assert len(out.ended_s) == 300


def test_equal_runs_go_in_rounds():
    grid = Grid(hosts=4, cores=2, mtbf_s=math.inf, startup_s=1.0)
    out = simulate(np.full(17, 3), np.full(17, 2.0), grid, np.random.default_rng(0))
    assert out.makespan_s == 3 * (1.0 + 6.0)


def test_slow_hosts_take_that_many_times_as_long():
    grid = Grid(hosts=2, cores=1, mtbf_s=math.inf, startup_s=1.0, slow_share=1.0, slow_factor=3.0)
    out = simulate(np.full(4, 3), np.full(4, 2.0), grid, np.random.default_rng(0))
    assert out.makespan_s == 3 * 2 * 7.0


def test_a_death_loses_half_an_interval_and_hosts_fail_as_often_as_they_are_up():
    """Runs so long that failures meet them anywhere: a renewal, with a uniform phase."""
    n_hosts, mtbf_s, interval_s = 50, 40_000.0, 1_000.0
    grid = Grid(n_hosts, 1, mtbf_s, repair_s=500.0, startup_s=0.0)
    epochs, epoch_s = np.full(n_hosts, 20_000), np.full(n_hosts, 100.0)
    out = simulate(epochs, epoch_s, grid, np.random.default_rng(0), interval_s=interval_s)
    assert out.trained_s == pytest.approx(2e6 * n_hosts), "what was lost was trained again"
    each = out.lost_s / out.deaths
    error = interval_s / math.sqrt(12 * out.deaths)
    # An exponential time to failure, from the checkpoint on which a run begins again, prefers the
    # beginning of an interval a little: τ / 2 - τ² / 12 M, to second order.
    expected = interval_s / 2 - interval_s**2 / (12 * mtbf_s)
    assert abs(each - expected) < 3 * error
    up_s = out.trained_s + out.lost_s
    assert abs(out.failures - up_s / mtbf_s) < 4 * math.sqrt(up_s / mtbf_s)
    assert out.deaths <= out.failures


def test_a_run_that_dies_too_often_is_given_up():
    """Never long enough up for an epoch: each run dies once more than it may."""
    grid = Grid(hosts=3, cores=2, mtbf_s=1.0, retries=2)
    out = simulate(np.full(10, 1), np.full(10, 1e6), grid, np.random.default_rng(0))
    assert (out.given_up, out.deaths, out.ended_s, out.trained_s) == (10, 30, (), 0.0)


def test_a_core_that_is_free_takes_what_has_died_elsewhere():
    """One run, two hosts, the first of which fails: it need not wait for its repair."""
    grid = Grid(hosts=2, cores=1, mtbf_s=1.0, repair_s=1e9)
    for seed in range(1_000):
        drawn = np.random.default_rng(seed)
        drawn.random(2)  # which are slow
        first, second = drawn.exponential(1.0), drawn.exponential(1.0)
        if second > 3 * first:
            break
    epoch_s = first / 5.5
    out = simulate(np.array([10]), np.array([epoch_s]), grid, np.random.default_rng(seed))
    assert (out.failures, out.deaths, len(out.ended_s)) == (1, 1, 1)
    assert out.lost_s == pytest.approx(0.5 * epoch_s)
    assert out.makespan_s == pytest.approx(first + 5 * epoch_s)


def test_checkpoints_are_at_least_that_far_apart():
    assert between(300.0, np.array([1.0, 100.0, 299.0, 1e3])).tolist() == [300, 3, 2, 1]


def test_a_ring_sends_what_it_must():
    """n - 1 times each part of the gradient to reduce, and as often to tell."""
    link = Link("", bytes_s=2.0, latency_s=1.0)
    for n in (2, 3, 64):
        parts = [12.0 * 64 / n] * (2 * (n - 1))
        assert sent_bytes(12 * 64, n) == pytest.approx(sum(parts))
        assert all_reduce_s(12 * 64, n, link) == pytest.approx(sum(1.0 + x / 2.0 for x in parts))


def test_the_slowest_rank_is_the_maximum_of_binomials():
    """Two steps, a cost for each sample: a rank's cost is the number of its late samples."""
    ranks, batch, p = 16, 32, 0.25
    cost = StepCost(0.0, 0.0, 1.0)
    wait = waiting([3, 1], cost, ranks, batch, np.random.default_rng(0), draws=4_000)
    below = binom.cdf(np.arange(batch), batch, p) ** ranks  # P(max <= k)
    assert wait.mean_s == pytest.approx(batch * (1 + p), rel=2e-3)
    assert wait.slowest_s == pytest.approx(batch + (1.0 - below).sum(), rel=2e-3)
    assert wait.efficiency(wait.slowest_s) == pytest.approx(0.5 * wait.mean_s / wait.slowest_s)


def test_failures_of_one_training_against_a_simulation_of_it():
    train_s, interval_s, start_s, mtbf_s = 1_000.0, 100.0, 30.0, 250.0
    generator, walls, counts = np.random.default_rng(0), [], []
    for _ in range(2_000):
        wall, done, n = 0.0, 0.0, 0
        while done < train_s:
            up = generator.exponential(mtbf_s)
            if up < interval_s:
                wall, n = wall + up + start_s, n + 1
            else:
                wall, done = wall + interval_s, done + interval_s
        walls.append(wall)
        counts.append(n)
    lost = failures(train_s, interval_s, start_s, mtbf_s)
    assert lost.expected == pytest.approx(np.mean(counts), rel=0.03)
    assert lost.each_s * lost.expected == pytest.approx(np.mean(walls) - train_s, rel=0.03)
    assert lost.share == pytest.approx(1.0 - train_s / np.mean(walls), rel=0.03)


def test_the_fitted_cost_of_an_update_is_near_what_was_measured():
    everything = record.read_all(record.RESULTS / "speed")
    growth = next(r for r in everything if r.config["what"] == "growth")
    cost = measured.step_cost(growth)
    for row in growth.metrics["rows"]:
        if row["of"] in ("T", "batch"):
            t, n = (row["value"], 128) if row["of"] == "T" else (10, row["value"])
            found = 1e3 * float(cost.of(np.full(n, t - 1)))
            assert found == pytest.approx(row["full_ms"], rel=0.45)


def test_the_plan_says_its_assumptions_and_one_of_other_sizes():
    said = text(Plan(runs=300, hosts=5, cores=2, devices=4))
    for wanted in ("A grid of 300 runs on 5 hosts", "Efficiency of 4 ranks", "`--mtbf-days`"):
        assert wanted in said
    assert all(link.name in said for link in LINKS)


def test_a_grid_is_not_started_by_torchrun(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "some")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"torchrun has started 2\. Start it with --ray"):
        prepare(Options())
