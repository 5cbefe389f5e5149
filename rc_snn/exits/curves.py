"""Accuracy against decision time over thresholds, and how a threshold is chosen.

Everything here reads two tables, `score` (see `rc_snn.exits.scores`) and `right` (was the likeliest
class the right one), both `[time, batch]`. A rule answers a sample at the first step whose score
reaches its threshold, at the last step if none does.

Choices are made on validation data and measured on test data: a family of rules is a list of
thresholds, and has one `Curve` on each, point by point.

One fact carries the file. Let m be the running maximum of a sample's scores. The rule with the
threshold θ has passed step t if and only if m(t) < θ. So a sum over samples of what holds at their
decision, x(t*), is a sum of events, each with a threshold of its own:

    sum of x(t*) = sum of x(0) + sum over t < T-1 and samples with m(t) < θ of (x(t+1) - x(t))

Sorting the m(t) once gives the curve at every θ that there is, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rc_snn.borders.checks import check_numbers
from rc_snn.borders.numbers import finite, flags, tensor
from rc_snn.borders.signatures import typed
from rc_snn.spikes import check_labels, crossed, first_step

ROUNDING = 1e-9
"""Differences of objectives and times below it are rounding."""


@typed
@dataclass(frozen=True)
class Curve:
    """Mean decision time and accuracy of a family of rules, one point per rule.

    `time` is on the clock that `sweep` was given, by default steps from 0.
    """

    time: Float[Tensor, " points"]
    accuracy: Float[Tensor, " points"]

    def __post_init__(self) -> None:
        check_numbers(self.time, "time of a curve")
        check_numbers(self.accuracy, "accuracy of a curve")

    def __len__(self) -> int:
        """Return the number of rules."""
        return len(self.time)

    def rows(self, index: Int[Tensor, " rows"]) -> "Curve":
        """Return the points of these rules."""
        return Curve(self.time[index], self.accuracy[index])

    @classmethod
    def cat(cls, parts: Sequence["Curve"]) -> "Curve":
        """Join families: the composite of several models, or of several kinds of rules."""
        return cls(torch.cat([c.time for c in parts]), torch.cat([c.accuracy for c in parts]))


@typed
def right_answers(
    trace: Float[Tensor, "time batch classes"], labels: Any
) -> Bool[Tensor, "time batch"]:
    """Return where the likeliest class of a trace is the right one.

    Example:
        >>> right_answers(torch.tensor([[[0.0, 1.0]], [[2.0, 1.0]]]), torch.tensor([0]))
        tensor([[False],
                [ True]])
    """
    check_numbers(trace, "the trace")
    return trace.argmax(dim=-1) == check_labels(labels, trace.shape[-1], trace.shape[1])


def every_threshold(score: Float[Tensor, "time batch"]) -> Float[Tensor, " points"]:
    """Return one threshold for each rule that exists on these scores, in ascending order.

    The first, -inf, answers every sample at step 0; the last, inf, every sample at the end.

    Example:
        >>> every_threshold(torch.tensor([[0.1, 0.2], [0.5, 0.2], [0.9, 0.9]]))
        tensor([  -inf, 0.2000, 0.5000,    inf])
    """
    score = as_scores(score)
    if score.dim() != 2:
        raise ValueError(f"Scores must be [time, batch], got {list(score.shape)}.")
    reached = score.cummax(dim=0).values[:-1].unique()  # sorted
    infinity = torch.full((1,), torch.inf, dtype=score.dtype, device=score.device)
    return torch.cat([-infinity, reached[1:], infinity])


def sweep(
    score: Float[Tensor, "time batch"],
    right: Bool[Tensor, "time batch"],
    thresholds: Float[Tensor, " points"],
    clock: Float[Tensor, " time"] | None = None,
    *,
    weights: Float[Tensor, " batch"] | None = None,
) -> Curve:
    """Return mean time and accuracy for each of many thresholds, with a single sort.

    Args:
        score: of each step and sample, larger is surer.
        right: whether an answer at that step would be right.
        thresholds: constant over time, reached with `>=`, in any order.
        clock: time of a decision at each step, not decreasing, in any unit; None counts steps.
        weights: of the samples in the accuracy, with a mean of 1; None is equal weights. With
            `rc_snn.exits.metrics.class_weights` it is the macro recall. Times have none.

    Raises:
        ValueError: if there is no sample, a score is NaN, or the clock runs backwards.

    Example:
        >>> score = torch.tensor([[0.6, 0.9], [0.8, 0.9]])
        >>> right = torch.tensor([[False, True], [True, True]])
        >>> curve = sweep(score, right, torch.tensor([0.5, 0.7]))
        >>> curve.time.tolist(), curve.accuracy.tolist()
        ([0.0, 0.5], [0.5, 1.0])
    """
    score, right, clock = checked(score, right, clock)
    n = score.shape[1]
    thresholds = as_thresholds(thresholds, score)
    if weights is not None:
        weights = finite(tensor(weights, "weights"), "weights")
        if weights.shape != (n,) or (weights < 0).any():
            raise ValueError(
                f"weights must be >= 0, one for each of {n} samples, got {list(weights.shape)} >= "
                f"{weights.min():g}. exits.class_weights makes some."
            )
    events = passing_events(score[:-1])
    later = (clock[1:] - clock[:-1]).unsqueeze(1).expand(-1, n)
    worth = right.double() if weights is None else right * weights
    better = worth[1:] - worth[:-1]
    position = torch.searchsorted(events.values, thresholds.contiguous())
    return Curve(
        clock[0] + events.total(later)[position] / n,
        (worth[0].sum() + events.total(better)[position]) / n,
    )


def sweep_per_step(
    score: Float[Tensor, "time batch"],
    right: Bool[Tensor, "time batch"],
    thresholds: Float[Tensor, "points time"],
    clock: Float[Tensor, " time"] | None = None,
) -> Curve:
    """Return mean time and accuracy of rules that have a threshold for each step.

    Example:
        >>> score = torch.tensor([[0.6, 0.9], [0.8, 0.9]])
        >>> right = torch.tensor([[False, True], [True, True]])
        >>> sweep_per_step(score, right, torch.tensor([[0.7, 0.0]])).accuracy
        tensor([1.], dtype=torch.float64)
    """
    score, right, clock = checked(score, right, clock)
    thresholds = as_thresholds(thresholds, score)
    if thresholds.dim() != 2 or thresholds.shape[1] != len(score) or len(thresholds) == 0:
        raise ValueError(
            f"Thresholds must be [points, {len(score)}], one for each step, got "
            f"{list(thresholds.shape)}."
        )
    sample = torch.arange(score.shape[1], device=score.device)
    steps = [first_reached(score, limits) for limits in thresholds]
    return Curve(
        torch.stack([clock[step].mean() for step in steps]),
        torch.stack([right[step, sample].double().mean() for step in steps]),
    )


@typed
def choose(validation: Curve, budgets: Float[Tensor, " budgets"]) -> Int[Tensor, " budgets"]:
    """Choose for each budget the most accurate rule whose mean time is within it.

    Of equally accurate rules the earliest, and of equally early ones the first of the family.

    Args:
        validation: the family, on data that the choice may see.
        budgets: largest mean time allowed, on the curve's clock.

    Returns:
        Positions in the family.

    Raises:
        ValueError: if no rule is within a budget.

    Example:
        >>> curve = Curve(torch.tensor([0.0, 2.0, 3.0]), torch.tensor([0.5, 0.9, 0.8]))
        >>> choose(curve, torch.tensor([1.0, 2.0, 9.0]))
        tensor([0, 1, 1])
    """
    if budgets.isnan().any() or len(validation) == 0 or len(budgets) == 0:
        raise ValueError(
            f"A choice needs a rule, and budgets that are numbers; got {len(validation)} rules and "
            f"{len(budgets)} budgets, {int(budgets.isnan().sum())} of them NaN."
        )
    order = validation.time.argsort(stable=True)
    limits = budgets.double().contiguous() + ROUNDING
    within = torch.searchsorted(validation.time[order].double(), limits, right=True)
    if (within == 0).any():
        raise ValueError(
            f"No rule has a mean time within {budgets.min().item():g}; the earliest has "
            f"{validation.time.min().item():g}. Add the threshold -inf, which answers at step 0."
        )
    best = validation.accuracy[order].cummax(dim=0).values
    return order[torch.searchsorted(best, best[within - 1])]


@typed
def accuracy_within(
    validation: Curve, test: Curve, budgets: Float[Tensor, " budgets"]
) -> Float[Tensor, " budgets"]:
    r"""Return the test accuracy of the rule for each budget: the accuracy-time curve of a family.

    .. math:: a(b) = \mathrm{acc_{test}}(r_b) , \quad
        r_b = \arg\max_r \{ \mathrm{acc_{val}}(r) : \mathrm{time_{test}}(r) \le b \}

    Accuracies of the test data choose nothing. Its mean times do, because they need no labels: a
    system in use sees when it answers. So models are compared at equal mean time, and none gains by
    being later on the test data than on the validation data.

    Args:
        validation: the family where rules are chosen.
        test: the same family, point by point, where they are measured.
        budgets: largest mean times allowed.

    Raises:
        ValueError: if the curves differ in length, or no rule is within a budget.

    Example:
        >>> validation = Curve(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.9]))
        >>> test = Curve(torch.tensor([0.0, 2.0]), torch.tensor([0.5, 0.8]))
        >>> accuracy_within(validation, test, torch.tensor([1.0, 2.0]))
        tensor([0.5000, 0.8000])
    """
    _check_paired(validation, test)
    return test.accuracy[choose(Curve(test.time, validation.accuracy), budgets)]


@typed
def area(validation: Curve, test: Curve, budgets: Float[Tensor, " budgets"]) -> float:
    r"""Return the area under the accuracy-time curve, normalised to [0, 1].

    .. math:: A = \frac{1}{|B|} \sum_{b \in B} a(b)

    With one budget for each step, 0 to T-1, it is the accuracy to expect if a mean time is demanded
    at random. A family holds the rule that answers at step 0 (`every_threshold`): below the first
    other rule its accuracy counts, and a model that is never better than at step 0 has it as area.

    Example:
        >>> validation = Curve(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.9]))
        >>> test = Curve(torch.tensor([0.0, 2.0]), torch.tensor([0.5, 0.8]))
        >>> round(area(validation, test, torch.arange(4.0)), 4)  # (2 * 0.5 + 2 * 0.8) / 4
        0.65
    """
    return float(accuracy_within(validation, test, budgets).double().mean())


@typed
def area_as_chosen(validation: Curve, test: Curve, budgets: Float[Tensor, " budgets"]) -> float:
    """Return the same area with the budgets kept on the validation data, whatever the test's times.

    What who sees the test data only once gets. It rewards a rule that is late on the test data;
    `area` does not.

    Example:
        >>> validation = Curve(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.9]))
        >>> test = Curve(torch.tensor([0.0, 2.0]), torch.tensor([0.5, 0.8]))
        >>> round(area_as_chosen(validation, test, torch.arange(4.0)), 4)  # (0.5 + 3 * 0.8) / 4
        0.725
    """
    _check_paired(validation, test)
    return float(test.accuracy[choose(validation, budgets)].double().mean())


@typed
def optimistic_area(test: Curve, budgets: Float[Tensor, " budgets"]) -> float:
    """Return the area under the upper staircase of the test curve: rules chosen on the test data.

    An upper bound of `area`, whatever the validation data. Print it only with that label.

    Example:
        >>> test = Curve(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.0]))
        >>> optimistic_area(test, torch.arange(2.0))
        0.75
    """
    return area(test, test, budgets)


@typed
def frontier(curve: Curve) -> Int[Tensor, " kept"]:
    """Return the rules that no earlier rule equals: the upper envelope, from early to late.

    Of `Curve.cat` over models it is the composite best curve (Figure 5 of Jeffares et al., 2022).

    Example:
        >>> frontier(Curve(torch.tensor([3.0, 0.0, 2.0]), torch.tensor([0.8, 0.5, 0.9])))
        tensor([1, 2])
    """
    kept: Tensor = choose(curve, curve.time.sort().values).unique_consecutive()
    return kept


class Events(NamedTuple):
    """The events of some steps: at which threshold a sample passes a step, in ascending order."""

    values: Tensor
    order: Tensor

    def total(self, change: Float[Tensor, "steps batch"]) -> Float[Tensor, " positions"]:
        """Return the sums of what the first 0, 1, ... events change."""
        sums = change.flatten()[self.order].cumsum(dim=0)
        return torch.cat([sums.new_zeros(1), sums])


def passing_events(score: Float[Tensor, "steps batch"]) -> Events:
    """Sort the running maxima of consecutive steps: the thresholds above which each is passed."""
    values, order = score.cummax(dim=0).values.flatten().sort(stable=True)
    return Events(values, order)


def _check_paired(validation: Curve, test: Curve) -> None:
    if len(validation) != len(test):
        raise ValueError(
            f"Both curves must be of the same rules, got {len(validation)} and {len(test)} points."
        )


def first_reached(
    score: Float[Tensor, "time batch"], limits: Float[Tensor, " time"]
) -> Int[Tensor, " batch"]:
    """Return the first step that reaches its threshold; the last answers in any case."""
    return first_step(crossed(score, limits.unsqueeze(1))).step


def as_scores(score: Any, *, fitted: bool = False) -> Float[Tensor, "time batch"]:
    """Return scores as floats of at least 32 bits, which hold whole numbers and 16 bits exactly.

    Refuse NaN; where a threshold is fitted also inf, which reaches the one that nothing should.
    """
    found: Tensor = tensor(score, "Scores")
    if not found.is_floating_point():
        return found.double()
    if found.isnan().any() or (fitted and found.isposinf().any()):
        raise ValueError(
            f"{int(found.isnan().sum())} of {found.numel()} scores are NaN, and "
            f"{int(found.isposinf().sum())} inf. Find the step that diverged."
        )
    return found if found.dtype == torch.float64 else found.float()


def as_thresholds(thresholds: Any, score: Tensor) -> Float[Tensor, "..."]:
    """Return thresholds in the type of the scores, with which they are compared; refuse NaN."""
    found: Tensor = tensor(thresholds, "Thresholds").to(score.device, score.dtype)
    if found.isnan().any():
        raise ValueError(
            f"Thresholds must be numbers, got {int(found.isnan().sum())} NaN of {found.numel()}."
        )
    return found


def checked(
    score: Any, right: Any, clock: Any = None
) -> tuple[Float[Tensor, "time batch"], Bool[Tensor, "time batch"], Float[Tensor, " time"]]:
    """Return the tables of scores and right answers, and the clock, as all rules read them.

    Raises:
        ValueError: if a score is NaN, right is not true or false (or 0 and 1) at each step of each
            sample, there is none, or the clock does not fit, or runs backwards.
    """
    score, right = as_scores(score), flags(tensor(right, "right"), "right")
    if score.dim() != 2 or right.shape != score.shape:
        raise ValueError(
            "Scores and right answers must be [time, batch], both alike, got "
            f"{list(score.shape)} and {list(right.shape)}."
        )
    return score, right, checked_clock(score, clock)


def checked_clock(score: Float[Tensor, "time batch"], clock: Any) -> Float[Tensor, " time"]:
    """Return the clock in double precision; refuse what no curve can be made of."""
    if score.numel() == 0:
        raise ValueError(
            f"There must be scores of a step and a sample at least, got shape {list(score.shape)}."
        )
    steps: Tensor = torch.arange(len(score)) if clock is None else tensor(clock, "The clock")
    steps = steps.to(score.device).double()
    if steps.shape != (len(score),):
        raise ValueError(
            f"The clock must have a time for each of {len(score)} steps, got {list(steps.shape)}."
        )
    if not (steps[1:] >= steps[:-1]).all():
        raise ValueError("The clock must not run backwards: a later step cannot answer earlier.")
    return steps
