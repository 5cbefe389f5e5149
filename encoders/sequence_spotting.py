"""Sequence spotting: does a binary sequence hold a run of equal values? With the exact limit."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rc_snn.borders.numbers import count, whole
from rc_snn.sequences import DenseSequences, Labelled

N_STEPS, RUN = 25, 5
"""Steps of a sequence, and equal values in a row that make it positive (the paper's)."""
MAX_STEPS = 62
"""A sequence is drawn as one integer of 64 bits, signed."""


@dataclass(frozen=True)
class Spotting:
    """Sequences with their labels, and the step at which each label can first be known."""

    data: Labelled
    """Inputs `[time, batch, 1]`, float32, 0 or 1; label 1 (positive) where a run occurs."""
    certain: Int[Tensor, " batch"]
    """First step at which no continuation changes the label. Positive: the step of the run's last
    value. Negative: the step from which too few steps are left to complete a run."""

    @property
    def earliest(self) -> Int[Tensor, " batch"]:
        """Return the earliest possible step of a positive spike; `n_steps`, never, for negatives.

        A positive label is certain when its run is complete and not before: until then
        alternating values avoid any run.
        """
        never = self.data.inputs.n_steps
        return torch.where(self.data.labels == 1, self.certain, never)


def check_task(n_steps: int, run: int) -> None:
    """Refuse sequences that cannot hold a run, or whose values do not fit a word."""
    if not 2 <= count(run, "run") <= count(n_steps, "n_steps") <= MAX_STEPS:
        raise ValueError(
            f"Sequence spotting needs 2 <= run <= n_steps <= {MAX_STEPS}, got run={run} and "
            f"n_steps={n_steps}. The paper has runs of {RUN} in {N_STEPS} steps."
        )


def draw(n: int, generator: torch.Generator, *, n_steps: int = N_STEPS, run: int = RUN) -> Spotting:
    """Draw sequences of independent, fair binary values, with exact labels and steps.

    Args:
        n: sequences to draw.
        generator: source of the values.
        n_steps: steps of a sequence, T.
        run: equal values in a row that make a sequence positive.

    Raises:
        ValueError: if n is not positive, or a run does not fit the sequence.

    Source: Jeffares et al., ICLR 2022, section 3.1 ("Poisson spike trains of a constant average
    firing rate of 0.5 spikes per time-step").

    Example:
        >>> drawn = draw(2000, torch.Generator().manual_seed(0))
        >>> drawn.data.inputs.at(0).shape, drawn.data.labels.float().mean()
        (torch.Size([2000, 1]), tensor(0.5285))
    """
    check_task(n_steps, run)
    if count(n, "n") < 1:
        raise ValueError(f"n must be at least 1 sequence, got {n}.")
    words = torch.randint(2**n_steps, (n,), generator=generator, dtype=_word(n_steps))
    return spotting(words, n_steps=n_steps, run=run)


def _word(n_steps: int) -> torch.dtype:
    """Return the shorter integer that holds a sequence: twice as fast where it suffices."""
    return torch.int32 if n_steps < 31 else torch.int64


def spotting(words: Int[Tensor, " batch"], *, n_steps: int = N_STEPS, run: int = RUN) -> Spotting:
    """Label sequences that are given as integers: bit t is the value at step t.

    All steps of a sequence are compared at once. Bit t of `same` says that value t repeats value
    t-1; k-1 such bits in a row are k equal values. Within the last `run - 1` steps, a run that is
    shorter than what the steps left could fill up is a run that cannot be completed any more.

    Raises:
        ValueError: if a run does not fit the sequence, or an integer has more bits than steps.

    Example:
        >>> seen = spotting(torch.tensor([0b0011110, 0b1001010]), n_steps=7, run=4)
        >>> seen.data.labels.tolist(), seen.certain.tolist(), seen.earliest.tolist()
        ([1, 0], [4, 4], [4, 7])
    """
    check_task(n_steps, run)
    words = whole(words, "Sequences")
    if words.numel() and not 0 <= int(words.min()) <= int(words.max()) < 2**n_steps:
        raise ValueError(
            f"Sequences of {n_steps} steps are integers in 0..{2**n_steps - 1}, got "
            f"{int(words.min())}..{int(words.max())}. Pass the n_steps that they were made with."
        )
    words = words.to(_word(n_steps))
    same = ~(words ^ (words << 1)) & (2**n_steps - 2)
    equal = same  # bit t: the last two values are equal; then the last three, and so on
    closed = torch.full_like(words, n_steps - 1)
    for k in range(2, run + 1):
        step = n_steps - 1 - (run - k)
        shut = ((equal >> step) & 1) == 0
        closed = torch.where(shut & (closed == n_steps - 1), step, closed)
        if k < run:
            equal = equal & (same << (k - 1))
    first = torch.frexp((equal & -equal).double()).exponent - 1  # the lowest bit; -1 if none
    positive = equal != 0
    frames = torch.empty(n_steps, len(words), 1)
    for t in range(n_steps):
        frames[t, :, 0] = (words >> t) & 1
    return Spotting(
        Labelled(DenseSequences(frames), positive.long()),
        torch.where(positive, first, closed).long(),
    )


def posterior(n_steps: int = N_STEPS, run: int = RUN) -> Float[Tensor, "time length"]:
    r"""Return P(positive | what was read), by the step t and the length l of the current run.

    .. math:: f_{T-1}(l) = [l = r], \qquad
              f_t(l) = \tfrac12 f_{t+1}(l + 1) + \tfrac12 f_{t+1}(1), \qquad f_t(r) = 1

    Nothing else of the past matters, and length r stands for "a run has been seen". Column l-1
    is length l. The values are multiples of 2^-(T-1), which float64 holds exactly up to 53 steps.

    Example:
        >>> round(posterior()[0, 0].item(), 4)  # the share of positives
        0.5496
    """
    check_task(n_steps, run)
    f = torch.zeros(n_steps, run, dtype=torch.float64)
    f[:, -1] = 1.0
    for t in range(n_steps - 2, -1, -1):
        f[t, :-1] = 0.5 * f[t + 1, 1:] + 0.5 * f[t + 1, 0]
    return f


def run_lengths(frames: Float[Tensor, "time batch 1"], run: int = RUN) -> Int[Tensor, "time batch"]:
    """Return the length of the current run at each step; `run` for good once it is reached.

    Example:
        >>> run_lengths(torch.tensor([1.0, 1, 0, 0, 0, 1]).view(-1, 1, 1), run=3).flatten()
        tensor([1, 2, 1, 2, 3, 3])
    """
    check_task(frames.shape[0], run)
    values = frames.squeeze(2)
    lengths = torch.ones(values.shape, dtype=torch.long)
    for t in range(1, len(values)):
        before = lengths[t - 1]
        longer = torch.where(values[t] == values[t - 1], before + 1, 1)
        lengths[t] = torch.where(before == run, run, longer)
    return lengths


def posterior_of(
    frames: Float[Tensor, "time batch 1"], run: int = RUN
) -> Float[Tensor, "time batch classes"]:
    """Return the exact probabilities of both classes at each step: what no model can improve on.

    `first_spike` of it is the earliest step at which either class reaches a posterior.

    Example:
        >>> from rc_snn.spikes import first_spike
        >>> values = torch.tensor([1.0, 1, 1, 1, 1, 0, 1]).view(-1, 1, 1)
        >>> first_spike(posterior_of(values), theta=0.95)
        FirstSpike(step=tensor([4]), fired=tensor([True]))
    """
    lengths = run_lengths(frames, run)
    f = posterior(len(frames), run).gather(1, lengths - 1)
    return torch.stack([1.0 - f, f], dim=2)


@dataclass(frozen=True)
class Limit:
    """What a rule of stopping attains, exactly: expectations over all sequences, no sample."""

    accuracy: float
    mean_step: float
    """Mean decision step over all sequences, in steps from 0."""
    fired: float
    """Share that stops by the rule; the rest is asked at the last step."""
    positives_at_step: list[float]
    """Share of all sequences that are positive and decided at each step."""
    negatives_at_step: list[float]
    """Share of all sequences that are negative and decided at each step."""


def follow(stop: Bool[Tensor, "time length"]) -> Limit:
    """Follow a rule that stops in certain states, and there answers the likelier class.

    A state is a step and a length of the current run, as in `posterior`; whatever has not stopped
    answers at the last step.
    """
    n_steps, run = stop.shape
    f = posterior(n_steps, run)
    reached = torch.zeros(run, dtype=torch.float64)
    reached[0] = 1.0  # one value is a run of one
    accuracy, fired = 0.0, 0.0
    stops: list[Tensor] = []
    for t in range(n_steps):
        fired += float(reached[stop[t]].sum())
        stopped = reached if t == n_steps - 1 else reached * stop[t]
        accuracy += float((stopped * torch.maximum(f[t], 1.0 - f[t])).sum())
        stops.append(stopped)
        onward = reached - stopped
        reached = torch.zeros_like(reached)
        reached[1:] += 0.5 * onward[:-1]
        reached[0] += 0.5 * onward[:-1].sum()
        reached[-1] += onward[-1]
    positives = torch.stack([(s * p).sum() for s, p in zip(stops, f, strict=True)])
    negatives = torch.stack([(s * (1.0 - p)).sum() for s, p in zip(stops, f, strict=True)])
    steps = torch.arange(n_steps, dtype=torch.float64)
    return Limit(
        accuracy=accuracy,
        mean_step=float(((positives + negatives) * steps).sum()),
        fired=fired,
        positives_at_step=positives.tolist(),
        negatives_at_step=negatives.tolist(),
    )


def posterior_rule(level: float, *, n_steps: int = N_STEPS, run: int = RUN) -> Limit:
    """Stop as soon as the posterior of either class is at least `level`; 1 is certainty.

    Example:
        >>> limit = posterior_rule(1.0)
        >>> limit.accuracy, round(limit.mean_step, 3)
        (1.0, 16.489)
    """
    if not 0.5 <= level <= 1.0:
        raise ValueError(f"level must be in [0.5, 1], got {level}; one class always has a half.")
    f = posterior(n_steps, run)
    return follow(torch.maximum(f, 1.0 - f) >= level)


def optimal_rule(cost: float, *, n_steps: int = N_STEPS, run: int = RUN) -> Limit:
    r"""Stop so that accuracy minus `cost` times the decision step is as large as it can be.

    .. math:: V_t(l) = \max\{\max(f, 1-f),\; \tfrac12 V_{t+1}(l+1) + \tfrac12 V_{t+1}(1) - c\}

    Backward induction. Over all costs its points are the frontier: no rule, and so no network, is
    more accurate with the same mean decision step.

    Args:
        cost: what a step costs, in units of accuracy.
        n_steps: steps of a sequence, T.
        run: equal values in a row that make a sequence positive.

    Example:
        >>> optimal_rule(1.0).mean_step  # too dear to read on
        0.0
    """
    if not cost >= 0.0:
        raise ValueError(f"cost must be >= 0 per step, got {cost}.")
    f = posterior(n_steps, run)
    now = torch.maximum(f, 1.0 - f)
    stop = torch.ones(n_steps, run, dtype=torch.bool)
    value = now[-1]
    for t in range(n_steps - 2, -1, -1):
        onward = 0.5 * value[0] + 0.5 * torch.cat([value[1:], value[-1:]]) - cost
        onward[-1] = value[-1] - cost
        stop[t] = now[t] >= onward
        value = torch.where(stop[t], now[t], onward)
    return follow(stop)
