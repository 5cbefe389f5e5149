"""One accounting for every model: who was fast, who was slow, and what it cost."""

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rc_snn.borders.checks import check_decision, check_inputs
from rc_snn.borders.numbers import finite, number, tensor
from rc_snn.operations import (
    Operations,
    count_operations,
    decision_macs,
    hidden_macs,
    shown_by,
    synaptic_operations,
    training_macs,
)
from rc_snn.sequences import Sequences
from rc_snn.shown import html
from rc_snn.spikes import (
    Decision,
    SpikeTimes,
    check_decision_steps,
    check_labels,
    check_n_steps,
    check_times,
    spike_steps,
)
from rc_snn.step_model import StepCost

__all__ = [
    "Account",
    "Clock",
    "Operations",
    "Regime",
    "account",
    "count_operations",
    "decision_macs",
    "regime",
    "shown_by",
    "synaptic_operations",
    "training_macs",
]

Regime: TypeAlias = Literal["fast", "between", "slow"]

FAST_BELOW = 0.05
"""Table 1 of the paper: fast is less than 5 % of the frame, on average."""
SLOW_ABOVE = 0.25
"""Table 1 of the paper: slow is more than 25 % of the frame, on average."""


def regime(share: float) -> Regime:
    """Name the regime of a mean decision time, given as a share of the frame.

    Example:
        >>> [regime(share) for share in (0.049, 0.05, 0.25, 0.26, math.inf)]
        ['fast', 'between', 'between', 'slow', 'slow']
    """
    share = number(share, "share")
    if math.isnan(share) or share < 0.0:
        raise ValueError(f"A share of the frame must be >= 0, got {share}.")
    if share < FAST_BELOW:
        return "fast"
    return "slow" if share > SLOW_ABOVE else "between"


@dataclass(frozen=True)
class Clock:
    """Decision times read on one clock, as shares of the frame; the regime is that of the mean."""

    mean: float
    median: float
    share_fast: float
    """Share of samples decided before 5 % of the frame."""
    share_within: float
    """Share of samples decided by the end of the frame."""
    regime: Regime


@dataclass(frozen=True)
class Account:
    """What the decisions of one model on one data set amount to."""

    n: int
    correct: int
    accuracy: float
    fired: int
    forced: int
    """Answers without a threshold crossing; fired + forced == n."""
    time_to_insight: float | None
    """Mean decision step over all samples, forced ones at T-1; None without steps."""
    step_clock: Clock
    """t_sp / T, the paper's clock: the first step is 0 %. The spike time for continuous models."""
    strict_clock: Clock
    """(t_sp + 1) / T, the end of the deciding step; the spike time for continuous models."""
    input_seen: Clock | None
    """Share of the frame's input spikes that had arrived at the decision; for other inputs, the
    share that had been seen or heard; None if it was not given."""
    decided_at_step: list[int] | None
    """Samples per decision step, 0..T-1."""
    correct_at_step: list[int] | None
    """Correct samples per decision step."""
    macs: float | None
    """Dense multiply-adds per sample until the decision, mean."""
    macs_full: float | None
    """The same for the whole sequence: `macs / macs_full` is what early answers cost."""
    synops_ac: float | None
    """Synaptic operations on spikes (accumulates), per sample until the decision, mean."""
    synops_mac: float | None
    """Synaptic operations on analog activations (multiply-accumulates), likewise."""

    def _repr_html_(self) -> str:
        return html.account(self)


def account(
    decision: Decision,
    labels: Any,
    input_times: SpikeTimes | None = None,
    n_steps: int | None = None,
    cost: StepCost | None = None,
    operations: tuple[Tensor, Tensor] | Float[Tensor, " batch"] | None = None,
    seen: Float[Tensor, " batch"] | None = None,
    *,
    inputs: Sequences | None = None,
) -> Account:
    """Account for decisions: accuracy, three clocks, regimes, fired and forced, operations.

    Args:
        decision: what the model answered, of a step model (needs n_steps) or in continuous time.
        labels: the right classes.
        input_times: the spikes the model was shown, in frames; None for inputs that are none.
        n_steps: steps per frame, T; None for continuous-time models.
        cost: multiply-adds of a step; None leaves the operations out.
        operations: accumulates and multiply-accumulates of each sample until its decision, as
            `count_operations` has them, or accumulates alone. None: of step models derived from
            `cost` and the input spikes, with hidden activations as dense.
        seen: of inputs that are no spikes, the share of the frame that each decision has seen,
            look-ahead and windows included; then synaptic operations are those given, if any.
        inputs: the sequences that a step model read, instead of `input_times`: any number of spikes
            per unit, or analog values (`shown_by`).

    An answer that never comes, at time `inf`, is wrong whatever its label says.

    Raises:
        ValueError: if sizes differ, a label is no whole number in range, n_steps and steps (or
            their times) do not match, operations or what was seen are no numbers, or a share is
            outside [0, 1].

    Example:
        >>> time = torch.tensor([0.1, 1.0], dtype=torch.float64)
        >>> d = Decision(label=torch.tensor([1, 0]), time=time, step=torch.tensor([0, 9]),
        ...              fired=torch.tensor([True, False]), scores=torch.eye(2)[[1, 0]])
        >>> a = account(d, torch.tensor([1, 1]), torch.tensor([[0.0, 0.5]] * 2), n_steps=10)
        >>> a.accuracy, a.forced, a.step_clock.mean, a.strict_clock.mean, a.input_seen.mean
        (0.5, 1, 0.45, 0.55, 0.75)
    """
    check_decision(decision)
    n = len(decision)
    if cost is not None and not isinstance(cost, StepCost):
        raise TypeError(f"cost must be a StepCost, got {type(cost).__name__}: model.cost().")
    if input_times is not None:
        input_times = check_times(input_times, latest=1.0 if n_steps else math.inf)
    if operations is not None:
        operations = _as_operations(operations, n)
    if inputs is not None:
        check_inputs(inputs)
    rows = [len(x) for x in (input_times, seen, inputs) if x is not None]
    if n == 0 or len(labels) != n or any(r != n for r in rows):
        raise ValueError(
            f"account needs one label and one row of input spikes per decision, and at least one; "
            f"got {n} decisions, {len(labels)} labels and {rows} rows."
        )
    if input_times is not None and input_times.dim() != 2:
        raise ValueError(f"Input times must be [batch, inputs], got {list(input_times.shape)}.")
    if seen is not None:
        seen = finite(tensor(seen, "seen"), "seen")
        if seen.shape != (n,) or not ((seen >= 0.0) & (seen <= 1.0)).all():
            raise ValueError(
                f"seen must be a share in [0, 1] for each of {n} decisions, got {list(seen.shape)} "
                f"in {seen.min():g}..{seen.max():g}. Divide percent by 100."
            )
    if len(rows) > 1:
        raise ValueError("input_times, inputs and seen all say what was seen; give one of them.")
    labels = check_labels(labels, decision.scores.shape[1], n)
    check_labels(decision.label, decision.scores.shape[1])
    if (decision.step is None) != (n_steps is None):
        raise ValueError(
            f"n_steps={n_steps}, but the decision {'has no' if decision.step is None else 'has'} "
            "steps. Give n_steps for step models only."
        )
    right = (decision.label == labels) & torch.isfinite(decision.time)
    fired = int(decision.fired.sum())
    if decision.step is not None and n_steps is not None:
        n_steps = check_n_steps(n_steps)
        check_decision_steps(decision.step, n_steps)
        check_grid(decision, n_steps)
    if inputs is not None and inputs.n_steps != n_steps:
        raise ValueError(
            f"The sequences have {inputs.n_steps} steps, got n_steps={n_steps}. Pass inputs for "
            "step models, on the steps that the model read; input_times for all others."
        )
    common = {
        "n": n,
        "correct": int(right.sum()),
        "accuracy": int(right.sum()) / n,
        "fired": fired,
        "forced": n - fired,
        "strict_clock": _clock(decision.time),
    }
    if decision.step is None or n_steps is None:
        if input_times is not None:
            arrived = (input_times <= decision.time.unsqueeze(1)) & ~torch.isposinf(input_times)
            seen = _share(arrived, ~torch.isposinf(input_times))
        return Account(
            **common,  # type: ignore[arg-type]
            step_clock=_clock(decision.time),
            input_seen=None if seen is None else _clock(seen),
            time_to_insight=None,
            decided_at_step=None,
            correct_at_step=None,
            macs=None,
            macs_full=None,
            **_means(operations),
        )
    step = decision.step
    if input_times is not None:
        input_steps = spike_steps(input_times, n_steps)
        seen = _share(input_steps <= step.unsqueeze(1), ~torch.isposinf(input_times))
        if operations is None and cost is not None:
            operations = synaptic_operations(step, input_steps, cost)
    if inputs is not None:
        shown = shown_by(step, inputs, cost)
        seen = shown.seen
        if operations is None and cost is not None:
            multiplies = hidden_macs(step, cost).double() + shown.multiplies
            operations = Operations(shown.accumulates, multiplies)
    end = torch.tensor([n_steps - 1])
    return Account(
        **common,  # type: ignore[arg-type]
        step_clock=_clock(step.double() / n_steps),
        input_seen=None if seen is None else _clock(seen),
        time_to_insight=float(step.double().mean()),
        decided_at_step=torch.bincount(step, minlength=n_steps).tolist(),
        correct_at_step=torch.bincount(step[right], minlength=n_steps).tolist(),
        macs=None if cost is None else float(decision_macs(step, cost).double().mean()),
        macs_full=None if cost is None else float(decision_macs(end, cost)),
        **_means(operations),
    )


def check_grid(decision: Decision, n_steps: int) -> None:
    """Refuse decisions whose times are not those of their steps: they ran on another grid.

    Raises:
        ValueError: if a time is not `(step + 1) / n_steps`, but for the rounding of its type.
    """
    assert decision.step is not None
    out = (decision.step + 1).double() / n_steps
    rounding = 1e-6 + 4.0 * torch.finfo(decision.time.dtype).eps
    wrong = ~((decision.time.double() - out).abs() <= rounding)
    if wrong.any():
        i = int(wrong.nonzero()[0])
        raise ValueError(
            f"On {n_steps} steps an answer at step {int(decision.step[i])} is out at "
            f"{float(out[i]):g} frames; sample {i} says {float(decision.time[i]):g}. Pass the "
            "n_steps that the model ran with, and make the decision with Decision.at_steps."
        )


def _as_operations(operations: Any, n: int) -> tuple[Tensor, Tensor]:
    """Return accumulates and multiply-accumulates of each decision, float64."""
    if isinstance(operations, tuple) and len(operations) == 2:
        ac, mac = (tensor(part, "operations") for part in operations)
    else:
        ac = tensor(operations, "operations")
        mac = torch.zeros_like(ac)
    ac, mac = finite(ac, "operations"), finite(mac, "operations")
    for part in (ac, mac):
        if part.shape != (n,) or not (part >= 0).all():
            raise ValueError(
                f"operations are those of each of {n} decisions, >= 0, got the shapes "
                f"{[list(x.shape) for x in (ac, mac)]}. Pass what count_operations returns."
            )
    return ac, mac


def _means(operations: tuple[Tensor, Tensor] | None) -> dict[str, Any]:
    if operations is None:
        return {"synops_ac": None, "synops_mac": None}
    return {
        f"synops_{kind}": float(each.double().mean())
        for kind, each in zip(("ac", "mac"), operations, strict=True)
    }


def _share(
    arrived: Bool[Tensor, "batch inputs"], spikes: Bool[Tensor, "batch inputs"]
) -> Float[Tensor, " batch"]:
    return arrived.sum(dim=1) / spikes.sum(dim=1).clamp_min(1)


def _clock(share: Float[Tensor, " batch"]) -> Clock:
    share = share.double()
    mean = float(share.mean())
    return Clock(
        mean=mean,
        median=float(share.quantile(0.5)) if share.isfinite().all() else float(share.median()),
        share_fast=float((share < FAST_BELOW).double().mean()),
        share_within=float((share <= 1.0).double().mean()),
        regime=regime(mean),
    )
