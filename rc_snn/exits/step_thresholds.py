"""A threshold for each step, optimised on validation data, and what keeps it from fitting noise.

A block's threshold moves samples between the block's steps and what follows them. By the fact of
`rc_snn.exits.curves`, applied within the block, one sort gives the objective at every threshold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rc_snn.borders.numbers import count, number
from rc_snn.borders.signatures import typed
from rc_snn.exits.curves import (
    ROUNDING,
    Curve,
    Events,
    area,
    as_scores,
    checked,
    every_threshold,
    first_reached,
    passing_events,
    sweep,
)


def tune(
    score: Float[Tensor, "time batch"],
    right: Bool[Tensor, "time batch"],
    prices: Sequence[float],
    *,
    block: int = 1,
    clock: Float[Tensor, " time"] | None = None,
) -> Float[Tensor, "prices time"]:
    r"""Optimise a threshold for each step: minimise error + price · time, for each price of time.

    .. math:: J(\theta_0, \dots, \theta_{T-1}) = \mathrm{error} +
        \lambda \frac{\overline{\mathrm{time}} - c_0}{c_{T-1} - c_0}

    Coordinate descent from the best constant threshold, or from the thresholds of the next higher
    price if they are better. Steps are visited from the last to the first, because what a step
    should do depends on what follows if it does not answer. At each the line search is exact: over
    all thresholds that exist. J never rises, and the result is never worse than the best
    constant one; it is a local minimum.

    Three guards against fitting noise: `block` ties the thresholds of neighbouring steps; a
    threshold moves only if J falls, so steps that nobody reaches keep the constant one; and it
    moves to the nearest of equally good places. `choose_block` sets `block`.

    Args:
        score: of each step and sample, on validation data.
        right: whether an answer at that step would be right.
        prices: λ, what the whole sequence's time costs in units of accuracy.
        block: steps that share a threshold; T or more leaves one constant threshold.
        clock: as for `sweep`.

    Returns:
        Thresholds per price and step, in the order of `prices`.

    Raises:
        ValueError: if a price is negative or block < 1.

    Source: Tan et al., AAAI 2021, "Empowering adaptive early-exit inference with latency
    awareness": the most accurate thresholds, one per exit, within a mean latency. They solve an
    approximation with an inexact proximal-point penalty method; here the objective is the exact
    one, the latency has a price instead of a bound, and `rc_snn.exits.curves.choose` picks by the
    bound.

    Example:
        >>> score = torch.tensor([[0.9, 0.8], [0.5, 0.6]])  # sure and wrong at step 0
        >>> right = torch.tensor([[False, False], [True, True]])
        >>> tune(score, right, [0.1])[0, 0] > 0.9
        tensor(True)
    """
    block, prices = count(block, "block", low=1), [number(price, "prices") for price in prices]
    if not prices or not all(0.0 <= price < math.inf for price in prices):
        raise ValueError(f"There must be prices >= 0, all finite, got {prices}.")
    score, right, clock = checked(as_scores(score, fitted=True), right, clock)
    spent = (clock - clock[0]) / (clock[-1] - clock[0]).clamp_min(ROUNDING)
    whole, blocks = _blocks(score, len(score)), _blocks(score, block)
    found: dict[float, Tensor] = {}
    warm: Tensor | None = None
    for price in sorted(set(prices), reverse=True):
        cost = (~right).double() + price * spent.unsqueeze(1)
        limits = torch.full_like(score[:, 0], -torch.inf)
        _descend(score, cost, limits, whole)  # the best constant, from "at once"
        if block < len(score):
            if (
                warm is not None
                and _mean(score, cost, warm) < _mean(score, cost, limits) - ROUNDING
            ):
                limits = warm.clone()
            while _descend(score, cost, limits, blocks):
                pass
        found[price] = warm = limits
    return torch.stack([found[price] for price in prices])


@typed
@dataclass(frozen=True)
class StepRules:
    """A family of rules with a threshold for each step: limits, each raised by many offsets.

    Tuning alone finds a few rules, on the upper concave hull of accuracy over time. Each is also a
    shape: with `score - limits` as the score it is the constant threshold 0, and the other
    constants are rules around it, at any mean time.
    """

    limits: Float[Tensor, "shapes time"]
    offsets: Float[Tensor, "shapes offsets"]

    def curve(
        self,
        score: Float[Tensor, "time batch"],
        right: Bool[Tensor, "time batch"],
        clock: Float[Tensor, " time"] | None = None,
    ) -> Curve:
        """Return mean time and accuracy of all rules, shape by shape."""
        pairs = zip(self.limits, self.offsets, strict=True)
        return Curve.cat(
            [sweep(score - limits.unsqueeze(1), right, offsets, clock) for limits, offsets in pairs]
        )


def fit_rules(
    score: Float[Tensor, "time batch"],
    right: Bool[Tensor, "time batch"],
    prices: Sequence[float],
    *,
    block: int = 1,
    clock: Float[Tensor, " time"] | None = None,
    n_offsets: int = 200,
) -> StepRules:
    """Tune thresholds for each price of time, and spread each over the range of mean times.

    Offsets are taken evenly from all that make a difference on these data, with both ends (answer
    at step 0, answer at the last) and 0. The score must be on a scale where a difference
    means something: `rc_snn.exits.scores.log_odds` rather than a probability.

    Example:
        >>> score = torch.tensor([[0.9, 0.8], [0.5, 0.6]])
        >>> right = torch.tensor([[False, False], [True, True]])
        >>> fit_rules(score, right, [0.1], n_offsets=3).curve(score, right).accuracy.max()
        tensor(1., dtype=torch.float64)
    """
    n_offsets, score = count(n_offsets, "n_offsets", low=1), as_scores(score)
    limits = tune(score, right, prices, block=block, clock=clock).unique(dim=0)
    offsets = []
    for shape in limits:
        every = every_threshold(score - shape.unsqueeze(1))
        index = torch.linspace(0, len(every) - 1, n_offsets).round().long()
        offsets.append(torch.cat([every[index], every.new_zeros(1)]))
    return StepRules(limits, torch.stack(offsets))


def choose_block(
    score: Float[Tensor, "time batch"],
    right: Bool[Tensor, "time batch"],
    prices: Sequence[float],
    blocks: Sequence[int],
    *,
    folds: int = 5,
    clock: Float[Tensor, " time"] | None = None,
) -> int:
    """Choose by cross-validation how many steps share a threshold.

    Sample i is in fold i mod `folds`. On each fold the rules that the other folds have tuned and
    chosen are measured, by `rc_snn.exits.curves.area` with a budget at each step of the clock. The
    block with the largest area over all folds wins, of equal ones the widest. With T among `blocks`
    the constant threshold is a candidate: what does not generalise is not used.

    Raises:
        ValueError: if there are not 2 folds, or fewer samples than folds.

    Example:
        >>> score = torch.tensor([[0.9, 0.8] * 4, [0.5, 0.6] * 4])
        >>> right = torch.tensor([[False] * 8, [True] * 8])
        >>> choose_block(score, right, [0.1], [1, 2], folds=2)  # the constant does as well
        2
    """
    score, right, clock = checked(score, right, clock)
    if not 2 <= count(folds, "folds") <= score.shape[1]:
        raise ValueError(f"folds must be in 2..{score.shape[1]} (the samples), got {folds}.")
    held_out = torch.arange(score.shape[1], device=score.device) % folds
    areas = []
    for block in blocks:
        total = 0.0
        for fold in range(folds):
            out = held_out == fold
            inner = score[:, ~out], right[:, ~out]
            rules = fit_rules(*inner, prices, block=block, clock=clock)
            outer = rules.curve(score[:, out], right[:, out], clock)
            total += area(rules.curve(*inner, clock), outer, clock)
        areas.append(total)
    best = max(areas) - ROUNDING
    return max(block for block, found in zip(blocks, areas, strict=True) if found >= best)


class _Block(NamedTuple):
    """Steps that share a threshold."""

    start: int
    stop: int
    reached: Tensor
    events: Events
    steady: Tensor
    """Positions that no threshold can stop at: between events of the same value."""


def _blocks(score: Float[Tensor, "time batch"], width: int) -> list[_Block]:
    """Divide the time axis, from the last block to the first."""
    found = []
    for start in range(0, len(score), width):
        stop = min(start + width, len(score))
        events = passing_events(score[start:stop])
        steady = torch.zeros(len(events.values) + 1, dtype=torch.bool, device=score.device)
        steady[1:-1] = events.values[1:] == events.values[:-1]
        reached = score[start:stop].cummax(dim=0).values
        found.append(_Block(start, stop, reached, events, steady))
    return found[::-1]


def _descend(score: Tensor, cost: Tensor, limits: Tensor, blocks: list[_Block]) -> bool:
    """Improve each block's threshold in turn, in place; say whether one has moved."""
    first = first_reached(score, limits)  # earlier blocks do not change before their turn
    after, moved = cost[-1], False
    for block in blocks:
        here = cost[block.start : block.stop]
        onward = torch.cat([here[1:], after.unsqueeze(0)])
        present = (first >= block.start).double()
        total = block.events.total((onward - here) * present)
        values = torch.cat([block.events.values, block.events.values.new_full((1,), torch.inf)])
        now = torch.searchsorted(block.events.values, limits[block.start])
        total = total.masked_fill(block.steady, torch.inf)
        if total.min() < total[now] - ROUNDING:
            best = (total <= total.min() + ROUNDING).nonzero().squeeze(1)
            limits[block.start : block.stop] = values[best[(best - now).abs().argmin()]]
            moved = True
        passed = (block.reached < limits[block.start]).sum(dim=0, keepdim=True)
        after = torch.cat([here, after.unsqueeze(0)]).gather(0, passed).squeeze(0)
    return moved


def _mean(score: Tensor, cost: Tensor, limits: Tensor) -> Tensor:
    return cost.gather(0, first_reached(score, limits).unsqueeze(0)).mean()
