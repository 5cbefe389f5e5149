"""The limit of the two-sequence problem: what the best stopping rules achieve.

A stopping rule reads a sequence step by step and decides when to answer; its answer is the likelier
class. Three kinds are run with the exact posterior: the best rules, for many costs per step
(`benchmarks.figure2.backward_induction`); those that wait for a posterior of θ, which is what a
network with a perfect posterior would do; and those that answer at a fixed step.

Errors of the induction can make a rule worse than the best one, never better: every rule is run on
fresh sequences, and what it achieved there is the frontier. What lies between the points of two
rules is reached by tossing a coin between them, so the frontier is the concave envelope.

Steps are decision steps, 0..T-1, as in `Account.time_to_insight`: the step of the last input read.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks import record
from benchmarks.figure2.backward_induction import Array, Grid, error, stopping_thresholds
from benchmarks.figure2.frontier import Frontier, frontier
from benchmarks.run import Profile
from encoders.two_sequence import PAPER, TwoSequence, log_odds, two_sequence
from rc_snn.sequences import DenseSequences, Labelled

CHUNK = 20_000
"""Sequences simulated together: few enough for their sums to stay in the cache."""


def posterior_thresholds(thetas: Sequence[float], problem: TwoSequence = PAPER) -> Array:
    """Return the |λ| at which a class probability reaches θ, `[step, 1, θ]`: the simpler rule.

    Without the horizon it is Wald's sequential probability ratio test, σ integrated out.
    """
    odds = np.log(np.asarray(thetas)) - np.log1p(-np.asarray(thetas))
    return np.broadcast_to(odds, (problem.n_steps, 1, len(odds)))


def deadline_thresholds(problem: TwoSequence = PAPER) -> Array:
    """Return the |λ| of the rules that answer at one step whatever they saw, `[step, 1, rule]`."""
    step = np.arange(problem.n_steps)
    return np.where(step[:, None] < step, np.inf, 0.0)[:, None, :]


def stop_steps(abs_odds: Array, log_r: Array, thresholds: Array, nodes: Array) -> Array:
    """Return the step at which each rule stops on each sequence, `[sequence, rule]`.

    Args:
        abs_odds: |λ| after each step, `[step, sequence]`.
        log_r: ln r after each step, `[step, sequence]`.
        thresholds: the |λ| at which to stop (with >=), `[step, noise node, rule]`, linear between
            nodes; with one node it does not depend on the noise. The last step always stops.
        nodes: nodes of ln r, evenly spaced.
    """
    last = len(abs_odds) - 1
    steps = np.full((abs_odds.shape[1], thresholds.shape[2]), last)
    going = np.ones_like(steps, dtype=bool)
    for step in range(last):
        limit = thresholds[step][0]
        if thresholds.shape[1] > 1:
            v = np.clip((log_r[step] - nodes[0]) / (nodes[1] - nodes[0]), 0.0, len(nodes) - 1.0)
            j = np.minimum(v.astype(np.int64), len(nodes) - 2)
            share = (v - j)[:, None]
            limit = (1.0 - share) * thresholds[step][j] + share * thresholds[step][j + 1]
        stops = going & (abs_odds[step][:, None] >= limit)
        steps[stops] = step
        going &= ~stops
    return steps


class Outcome(NamedTuple):
    """What each of several rules achieved on the same sequences, `[rule]`."""

    mean_step: Array
    """Mean decision step, 0..T-1."""
    accuracy: Array
    """Mean posterior of the answers: the expected share of right ones, with less noise."""
    counted: Array
    """Share of right answers."""
    step_error: Array
    """Standard error of the mean step."""
    accuracy_error: Array
    """Standard error of `accuracy`."""


def achieved(
    chunks: Iterable[Labelled], rules: Sequence[Array], nodes: Array, problem: TwoSequence = PAPER
) -> Outcome:
    """Run stopping rules on sequences, with the exact posterior.

    Args:
        chunks: the sequences, in parts.
        rules: thresholds as `stop_steps` takes them; their rules are numbered through.
        nodes: nodes of ln r of those that depend on the noise.
        problem: the generative model.
    """
    n, sums = 0, np.zeros((5, sum(r.shape[2] for r in rules)))
    for chunk in chunks:
        assert isinstance(chunk.inputs, DenseSequences)
        frames = chunk.inputs.frames
        odds = log_odds(frames, problem).numpy()
        read = np.arange(1, len(odds) + 1)[:, None]
        power = frames.squeeze(2).double().square().cumsum(dim=0).numpy() / read
        log_r = np.log(power + problem.mean**2)
        step = np.concatenate([stop_steps(np.abs(odds), log_r, r, nodes) for r in rules], axis=1)
        at_stop = np.take_along_axis(odds.T, step, axis=1)
        sure = 1.0 - error(np.abs(at_stop))
        right = (at_stop > 0.0) == (chunk.labels.numpy() == 1)[:, None]
        parts = (step, sure, right, step**2, sure**2)
        sums += np.stack([part.sum(axis=0, dtype=np.float64) for part in parts])
        n += len(step)
    mean_step, sure, right, steps_squared, sure_squared = sums / n
    return Outcome(
        mean_step,
        sure,
        right,
        np.sqrt(np.maximum(steps_squared - mean_step**2, 0.0) / n),
        np.sqrt(np.maximum(sure_squared - sure**2, 0.0) / n),
    )


COSTS = tuple(float(f"{c:.3g}") for c in np.geomspace(6e-2, 1e-5, 36))
THETAS = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
SEED = 3_000_003
"""Seed of the sequences on which rules are run."""
N_TEST, TEST_SEED = 100_000, 2_000_003
"""The test set of Figure 2: on the same sequences, models and rules share most of the noise."""


@dataclass(frozen=True)
class Limit:
    """The run that computes the limit, and what simpler rules achieve with the exact posterior."""

    profile: Profile
    """quick: seconds, on a coarse grid. paper: some minutes."""

    @property
    def config(self) -> dict[str, Any]:
        """Return everything that decides the numbers."""
        return configuration(self.profile)

    @property
    def name(self) -> str:
        """Return the name of the record."""
        return f"limit_{self.profile}_{record.config_key(self.config)}"


def configuration(profile: str) -> dict[str, Any]:
    """Return everything that decides the numbers."""
    quick = profile == "quick"
    grid = Grid(48, 24, 128) if quick else Grid()
    return {
        "limit": profile,
        "problem": asdict(PAPER),
        "grid": asdict(grid),
        "costs": list(COSTS[::4] if quick else COSTS),
        "thetas": list(THETAS),
        "n": 20_000 if quick else 1_000_000,
        "seed": SEED,
        "n_test": 20_000 if quick else N_TEST,
        "test_seed": TEST_SEED,
    }


def parts(n: int, seed: int, problem: TwoSequence = PAPER) -> Iterator[Labelled]:
    """Draw sequences in parts of `CHUNK`."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n, CHUNK):
        yield two_sequence(min(CHUNK, n - start), generator, problem)


def compute(config: dict[str, Any]) -> dict[str, Any]:
    """Return what all rules achieve, on fresh sequences and on the test set of Figure 2.

    `refinement` is the largest change of the least loss, P(error) + c E[step], between this grid
    and one coarser by half: an upper estimate of what is left of the grid.
    """
    problem, grid, costs = TwoSequence(**config["problem"]), Grid(**config["grid"]), config["costs"]
    nodes = grid.noise(problem)
    rules = {
        "optimal": stopping_thresholds(costs, problem, grid),
        "posterior": posterior_thresholds(config["thetas"], problem),
        "deadline": deadline_thresholds(problem),
    }
    test = two_sequence(
        config["n_test"], torch.Generator().manual_seed(config["test_seed"]), problem
    )
    on = {
        "fresh": parts(config["n"], config["seed"], problem),
        "on_test": (test.rows(index) for index in torch.arange(len(test)).split(CHUNK)),
    }
    found: dict[str, Any] = {
        name: _by_rule(achieved(chunks, list(rules.values()), nodes, problem), rules)
        for name, chunks in on.items()
    }
    coarse = Grid(grid.n_odds // 2, grid.n_noise // 2, grid.n_inputs // 2, grid.max_odds)
    few = min(config["n"], 100_000)
    fine_loss, coarse_loss = (
        loss(achieved(parts(few, config["seed"], problem), [r], g.noise(problem), problem), costs)
        for g, r in (
            (grid, rules["optimal"]),
            (coarse, stopping_thresholds(costs, problem, coarse)),
        )
    )
    return found | {"refinement": float(np.abs(fine_loss - coarse_loss).max())}


def loss(outcome: Outcome, costs: Sequence[float]) -> Array:
    """Return P(error) + c E[step] of rules for these costs, rule by rule."""
    return np.asarray(1.0 - outcome.accuracy + np.asarray(costs) * outcome.mean_step)


def _by_rule(outcome: Outcome, rules: dict[str, Array]) -> dict[str, dict[str, list[float]]]:
    ends = np.cumsum([r.shape[2] for r in rules.values()])
    starts = [0, *ends[:-1]]
    return {
        name: {k: v[a:b].round(7).tolist() for k, v in outcome._asdict().items()}
        for name, a, b in zip(rules, starts, ends, strict=True)
    }


def make(run: Limit, command: str) -> record.Record:
    """Compute the limit."""
    began, source = time.perf_counter(), record.source()
    metrics = compute(run.config)
    return record.new_record(
        "figure2", run.name, run.config, metrics, {}, time.perf_counter() - began, source, command
    )


def limit_of(metrics: dict[str, Any], on: str = "fresh") -> Frontier:
    """Return the frontier that the rules of a record achieve.

    On fresh sequences an accuracy is the mean posterior of the answers; on the test set it is the
    share of right ones, as for a model.
    """
    kind = "accuracy" if on == "fresh" else "counted"
    rules = metrics[on].values()
    return frontier(p for r in rules for p in zip(r["mean_step"], r[kind], strict=True))
