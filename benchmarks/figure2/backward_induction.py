"""Bayes-optimal stopping in the two-sequence problem, by backward induction.

For a cost c per step the best stopping rule minimises P(error) + c E[step]. The exact posterior
needs only the step and two sums (`encoders.two_sequence`), so that the state has two dimensions.
Its coordinates are the log-odds λ, on which the loss of stopping depends alone, and ln r, r = mean
of x² + μ², which says how noisy the sequence is. By symmetry |λ| is enough.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array

from encoders.two_sequence import PAPER, TwoSequence, log_evidence

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Grid:
    """Resolution of the backward induction."""

    n_odds: int = 96
    """Nodes of |λ|, denser near 0."""
    n_noise: int = 48
    """Nodes of ln r, evenly spaced."""
    n_inputs: int = 256
    """Nodes of the next input, evenly spaced: trapezoid rule."""
    max_odds: float = 12.0
    """Largest |λ|, where the error left to gain is 6e-6."""

    @property
    def odds(self) -> Array:
        """Return the nodes of |λ|."""
        return np.asarray(self.max_odds * np.linspace(0.0, 1.0, self.n_odds) ** 1.5)

    def noise(self, problem: TwoSequence) -> Array:
        """Return the nodes of ln r: from inputs of zero to twice the power of the loudest noise."""
        power = problem.mean**2
        loudest = 2.0 * (problem.high**2 + 2.0 * power)
        return np.linspace(math.log(power), math.log(loudest), self.n_noise)

    def cell(self, abs_odds: Array, log_r: Array, problem: TwoSequence) -> tuple[Array, ...]:
        """Return lower node and share of the way to the next, for |λ| and for ln r."""
        u = (np.minimum(abs_odds / self.max_odds, 1.0)) ** (2.0 / 3.0) * (self.n_odds - 1)
        i = np.minimum(u.astype(np.int64), self.n_odds - 2)
        odds = self.odds
        along = np.minimum((abs_odds - odds[i]) / (odds[i + 1] - odds[i]), 1.0)
        return i, along, *self.noise_cell(log_r, problem)

    def noise_cell(self, log_r: Array, problem: TwoSequence) -> tuple[Array, Array]:
        """Return lower node of ln r, and share of the way to the next."""
        nodes = self.noise(problem)
        v = np.clip((log_r - nodes[0]) / (nodes[1] - nodes[0]), 0.0, self.n_noise - 1.0)
        j = np.minimum(v.astype(np.int64), self.n_noise - 2)
        return j, v - j


class _Evidence:
    """`log_evidence` by linear interpolation in ln Q: a thousandfold use in the induction."""

    def __init__(self, problem: TwoSequence, n_nodes: int = 8_000) -> None:
        self.axis = np.linspace(math.log(1e-6), math.log(1e3 * problem.high**2), n_nodes)
        squares = torch.from_numpy(np.exp(self.axis))
        self.tables = [
            log_evidence(n, squares, problem).numpy() for n in range(1, problem.n_steps + 1)
        ]

    def __call__(self, n: int, squares: Array) -> Array:
        found = np.interp(np.log(np.maximum(squares, 1e-6)), self.axis, self.tables[n - 1])
        return np.asarray(found)


def _states(problem: TwoSequence, grid: Grid, evidence: _Evidence, n: int) -> tuple[Array, Array]:
    """Return Q₊ and Q₋ at the nodes after n inputs, flat; λ >= 0.

    With Q± = r (n ∓ l), λ grows with l at constant r: bisection. What no sequence can reach takes
    the nearest l, which goes on from the reachable states without a jump.
    """
    target = np.repeat(grid.odds, grid.n_noise)
    r = np.tile(np.exp(grid.noise(problem)), grid.n_odds)
    low, high = np.zeros_like(r), np.full_like(r, float(n))
    for _ in range(50):
        middle = (low + high) / 2.0
        short = evidence(n, r * (n - middle)) - evidence(n, r * (n + middle)) < target
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return r * (n - low), r * (n + low)


def _look_ahead(
    problem: TwoSequence, grid: Grid, evidence: _Evidence, n: int
) -> tuple[Array, csr_array]:
    """Return what one more input would take off the error, and the transitions to the next nodes.

    The next input has the density (exp F₊' + exp F₋') / (exp F₊ + exp F₋) / √2π, σ integrated out.
    """
    above, below = _states(problem, grid, evidence, n)
    edge = problem.mean + 6.0 * problem.high
    x, spacing = np.linspace(-edge, edge, grid.n_inputs, retstep=True)
    for_above, for_below = evidence(n, above), evidence(n, below)
    total = np.logaddexp(for_above, for_below)[:, None]
    next_above = above[:, None] + (x - problem.mean) ** 2
    next_below = below[:, None] + (x + problem.mean) ** 2
    then_above, then_below = evidence(n + 1, next_above), evidence(n + 1, next_below)
    weight = np.exp(np.logaddexp(then_above, then_below) - total) * float(spacing)
    weight /= weight.sum(axis=1, keepdims=True)
    odds = np.abs(then_above - then_below)
    gain = error(np.abs(for_above - for_below)) - (weight * error(odds)).sum(axis=1)
    log_r = np.log((next_above + next_below) / (2.0 * (n + 1)))
    return gain, _transitions(grid, problem, weight, odds, log_r)


def _transitions(
    grid: Grid, problem: TwoSequence, weight: Array, odds: Array, log_r: Array
) -> csr_array:
    """Return probabilities times bilinear shares, as a sparse matrix from nodes to nodes."""
    i, s, j, t = grid.cell(odds, log_r, problem)
    node = i * grid.n_noise + j
    corners = (
        (node, (1 - s) * (1 - t)),
        (node + 1, (1 - s) * t),
        (node + grid.n_noise, s * (1 - t)),
        (node + grid.n_noise + 1, s * t),
    )
    columns = np.concatenate([c for c, _ in corners], axis=1)
    values = np.concatenate([weight * share for _, share in corners], axis=1)
    starts = np.arange(len(columns) + 1) * columns.shape[1]
    size = grid.n_odds * grid.n_noise
    return csr_array((values.ravel(), columns.ravel(), starts), shape=(size, size))


def error(abs_odds: Array) -> Array:
    """Return P(error) of the likelier class."""
    return np.asarray(1.0 / (1.0 + np.exp(abs_odds)))


def stopping_thresholds(
    costs: Sequence[float], problem: TwoSequence = PAPER, grid: Grid | None = None
) -> Array:
    """Return the |λ| at which to stop, `[step, noise node, cost]`, by backward induction.

    The induction carries D = loss of stopping - least loss: it is small, zero where stopping is
    best, and interpolates better than the loss itself.

    Args:
        costs: costs c per step, positive; P(error) + c E[step] is minimised.
        problem: the generative model.
        grid: resolution; the noise nodes are `grid.noise(problem)`.

    Raises:
        ValueError: if a cost is not positive and finite.
    """
    c = np.asarray(costs, dtype=np.float64)
    if c.size == 0 or not (np.isfinite(c).all() and (c > 0.0).all()):
        raise ValueError(f"Costs per step must be positive and finite, got {list(costs)}.")
    grid = grid or Grid()
    evidence = _Evidence(problem)
    ahead = np.zeros((grid.n_odds * grid.n_noise, c.size))
    thresholds = np.zeros((problem.n_steps, grid.n_noise, c.size))
    for step in range(problem.n_steps - 2, -1, -1):
        gain, transitions = _look_ahead(problem, grid, evidence, step + 1)
        worth = gain[:, None] - c + transitions @ ahead  # loss of stopping - loss of going on
        ahead = np.maximum(worth, 0.0)
        thresholds[step] = _crossing(grid.odds, worth.reshape(grid.n_odds, grid.n_noise, -1))
    return thresholds


def _crossing(odds: Array, worth: Array) -> Array:
    """Return the |λ| at which going on ceases to be worth it, by linear interpolation."""
    n = len(odds)
    last = n - 1 - np.argmax(worth[::-1] > 0.0, axis=0)
    never = ~(worth > 0.0).any(axis=0)
    i = np.minimum(last, n - 2)
    here, then = (np.take_along_axis(worth, k[None], axis=0)[0] for k in (i, i + 1))
    share = np.clip(here / np.where(here == then, 1.0, here - then), 0.0, 1.0)
    return np.where(never, 0.0, odds[i] + share * (odds[i + 1] - odds[i]))
