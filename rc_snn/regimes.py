"""One accounting for every model: who was fast, who was slow, and what it cost."""

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rc_snn.sequences import Sequences, SpikeSequences
from rc_snn.spikes import Decision, SpikeTimes, check_labels, spike_steps
from rc_snn.step_model import StepCost

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
    """Synaptic operations on input spikes (accumulates), per sample until the decision, mean."""
    synops_mac: float | None
    """Synaptic operations on analog activations (multiply-accumulates), likewise."""


def decision_macs(step: Int[Tensor, " batch"], cost: StepCost) -> Int[Tensor, " batch"]:
    """Return the dense multiply-adds that each decision took in rank-coded inference.

    The first step has no recurrent product. Matrix products and convolutions only.

    Example:
        >>> cost = StepCost(input=100, inner=0, recurrent=10, read_out=1, fan_out=torch.ones(1))
        >>> decision_macs(torch.tensor([0, 2]), cost)
        tensor([101, 323])
    """
    steps = step + 1
    return steps * (cost.input + cost.inner + cost.read_out) + step * cost.recurrent


def training_macs(step: Int[Tensor, " batch"], cost: StepCost) -> Int[Tensor, " batch"]:
    """Return the multiply-adds of forward and backward pass in rank-coded training.

    Forward: inference, and the read-out once more with a graph. Backward: for every product of the
    forward graph one for the weight's gradient and one for its input's, except that the network's
    own input needs none, and that the read-out is differentiated at the decision only.

    Example:
        >>> cost = StepCost(input=100, inner=0, recurrent=10, read_out=1, fan_out=torch.ones(1))
        >>> training_macs(torch.tensor([0, 2]), cost)
        tensor([204, 666])
    """
    forward = decision_macs(step, cost) + cost.read_out
    steps = step + 1
    backward = steps * (cost.input + 2 * cost.inner) + step * 2 * cost.recurrent + 2 * cost.read_out
    return forward + backward


def synaptic_operations(
    step: Int[Tensor, " batch"], input_steps: Int[Tensor, "batch inputs"], cost: StepCost
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Return accumulates (per input spike and synapse) and multiply-accumulates, per sample.

    The split is NeuroBench's (Yik et al. 2025): a binary spike costs an accumulate at each target,
    an analog activation a multiply-accumulate. Hidden activations count as dense.

    Example:
        >>> fan_out = torch.full((2,), 4.0)
        >>> cost = StepCost(input=8, inner=0, recurrent=16, read_out=4, fan_out=fan_out)
        >>> synaptic_operations(torch.tensor([0, 1]), torch.tensor([[0, 1], [0, 1]]), cost)
        (tensor([4., 8.], dtype=torch.float64), tensor([ 4., 24.], dtype=torch.float64))
    """
    arrived = input_steps <= step.unsqueeze(1)
    accumulates = arrived.double() @ cost.fan_out.double().to(step.device)
    return accumulates, _hidden_macs(step, cost).double()


def _hidden_macs(step: Int[Tensor, " batch"], cost: StepCost) -> Int[Tensor, " batch"]:
    return (step + 1) * (cost.inner + cost.read_out) + step * cost.recurrent


class Shown(NamedTuple):
    """What sequences had shown by the decisions, per sample."""

    seen: Float[Tensor, " batch"]
    """Share of the input that had arrived."""
    accumulates: Float[Tensor, " batch"]
    """Synaptic operations on input spikes."""
    multiplies: Float[Tensor, " batch"]
    """Synaptic operations on analog input."""


@torch.no_grad()
def shown_by(
    step: Int[Tensor, " batch"],
    inputs: Sequences,
    cost: StepCost | None = None,
    *,
    batch_size: int = 250,
) -> Shown:
    """Return what sequences show up to and including the decisions' steps.

    Whole numbers are counts of spikes: a value of 2 is two spikes, -1 is one (an event of the other
    polarity), and each costs an accumulate at every target. What is seen is their share. Data that
    hold any other number are analog: what is not zero costs a multiply-accumulate at every target,
    and what is seen is the share of the steps.

    Args:
        step: decision steps.
        inputs: sequences of any kind, one for each decision; of `SpikeSequences` the mean that they
            are centred by is no input.
        cost: of the model; None leaves the operations 0.
        batch_size: sequences read together.

    Example:
        >>> from rc_snn.sequences import DenseSequences
        >>> x = DenseSequences(torch.tensor([[[1.0, 0.0]], [[2.0, 1.0]]]))  # 1 spike, then 3
        >>> shown_by(torch.tensor([0]), x).seen
        tensor([0.2500])
    """
    if isinstance(inputs, SpikeSequences):
        inputs = replace(inputs, mean=None)
    n, n_steps = len(step), inputs.n_steps
    fan_out = None if cost is None else cost.fan_out.double().to(step.device)
    whole, sums = True, torch.zeros(4, n, dtype=torch.float64, device=step.device)
    for rows in torch.arange(n, device=step.device).split(batch_size):
        part = inputs.rows(rows)
        for t in range(n_steps):
            x = part.at(t).flatten(1).to(step.device).double()
            whole = whole and bool((x == x.round()).all())
            count, arrived = x.abs(), (t <= step[rows]).double()
            sums[0, rows] += count.sum(dim=1)
            sums[1, rows] += count.sum(dim=1) * arrived
            if fan_out is not None:
                sums[2, rows] += count @ fan_out * arrived
                sums[3, rows] += (x != 0).double() @ fan_out * arrived
    spikes, arrived, accumulates, multiplies = sums
    none = torch.zeros_like(spikes)
    if whole:
        return Shown(arrived.long() / spikes.long().clamp_min(1), accumulates, none)
    return Shown((step + 1).double() / n_steps, none, multiplies)


def account(
    decision: Decision,
    labels: Int[Tensor, " batch"],
    input_times: SpikeTimes | None = None,
    n_steps: int | None = None,
    cost: StepCost | None = None,
    operations: Float[Tensor, " batch"] | None = None,
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
        operations: of continuous-time models, accumulates of each sample until its decision.
        seen: of inputs that are no spikes, the share of the frame that each decision has seen,
            look-ahead and windows included; then there are no synaptic operations.
        inputs: the sequences that a step model read, instead of `input_times`: any number of spikes
            per unit, or analog values (`shown_by`).

    An answer that never comes, at time `inf`, is wrong whatever its label says.

    Raises:
        ValueError: if sizes differ, a label is out of range, or n_steps and steps do not match.

    Example:
        >>> time = torch.tensor([0.1, 1.0], dtype=torch.float64)
        >>> d = Decision(label=torch.tensor([1, 0]), time=time, step=torch.tensor([0, 9]),
        ...              fired=torch.tensor([True, False]), scores=torch.eye(2)[[1, 0]])
        >>> a = account(d, torch.tensor([1, 1]), torch.tensor([[0.0, 0.5]] * 2), n_steps=10)
        >>> a.accuracy, a.forced, a.step_clock.mean, a.strict_clock.mean, a.input_seen.mean
        (0.5, 1, 0.45, 0.55, 0.75)
    """
    n = len(decision)
    rows = [len(x) for x in (input_times, seen, inputs) if x is not None]
    if n == 0 or len(labels) != n or any(r != n for r in rows):
        raise ValueError(
            f"account needs one label and one row of input spikes per decision, and at least one; "
            f"got {n} decisions, {len(labels)} labels and {rows} rows."
        )
    if len(rows) > 1:
        raise ValueError("input_times, inputs and seen all say what was seen; give one of them.")
    check_labels(labels, decision.scores.shape[1])
    if (decision.step is None) != (n_steps is None):
        raise ValueError(
            f"n_steps={n_steps}, but the decision {'has no' if decision.step is None else 'has'} "
            "steps. Give n_steps for step models only."
        )
    right = (decision.label == labels) & torch.isfinite(decision.time)
    fired = int(decision.fired.sum())
    if decision.step is not None and n_steps is not None and int(decision.step.max()) >= n_steps:
        raise ValueError(
            f"Decision steps must be in 0..{n_steps - 1}, got {int(decision.step.max())}. Pass the "
            "n_steps that the model ran with."
        )
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
            synops_ac=None if operations is None else float(operations.double().mean()),
            synops_mac=None if operations is None else 0.0,
        )
    step, synops = decision.step, None
    if input_times is not None:
        input_steps = spike_steps(input_times, n_steps)
        seen = _share(input_steps <= step.unsqueeze(1), ~torch.isposinf(input_times))
        synops = None if cost is None else synaptic_operations(step, input_steps, cost)
    if inputs is not None:
        shown = shown_by(step, inputs, cost)
        seen = shown.seen
        if cost is not None:
            dense = _hidden_macs(step, cost).double()
            synops = shown.accumulates, dense + shown.multiplies
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
        synops_ac=None if synops is None else float(synops[0].mean()),
        synops_mac=None if synops is None else float(synops[1].mean()),
    )


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
