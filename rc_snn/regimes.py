"""One accounting for every model: who was fast, who was slow, and what it cost."""

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rc_snn.borders import Form, check_decision
from rc_snn.sequences import Sequences
from rc_snn.spikes import Decision, SpikeTimes, check_labels, spike_steps
from rc_snn.step_model import Inflow, StepCost, StepModel, WatchedModel

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
    """Synaptic operations on spikes (accumulates), per sample until the decision, mean."""
    synops_mac: float | None
    """Synaptic operations on analog activations (multiply-accumulates), likewise."""


class Operations(NamedTuple):
    """Synaptic operations of each sample until its decision."""

    ac: Float[Tensor, " batch"]
    """Accumulates: one for each spike and synapse behind it."""
    mac: Float[Tensor, " batch"]
    """Multiply-accumulates of products with anything but spikes."""


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
) -> Operations:
    """Return accumulates (per input spike and synapse) and multiply-accumulates, per sample.

    The split is NeuroBench's (Yik et al. 2025): a binary spike costs an accumulate at each target,
    an analog activation a multiply-accumulate. Hidden activations count as dense here; where they
    are spikes, `count_operations` counts them.

    Example:
        >>> fan_out = torch.full((2,), 4.0)
        >>> cost = StepCost(input=8, inner=0, recurrent=16, read_out=4, fan_out=fan_out)
        >>> synaptic_operations(torch.tensor([0, 1]), torch.tensor([[0, 1], [0, 1]]), cost)
        Operations(ac=tensor([4., 8.], ...), mac=tensor([ 4., 24.], ...))
    """
    arrived = input_steps <= step.unsqueeze(1)
    accumulates = arrived.double() @ cost.fan_out.double().to(step.device)
    dense = (step + 1) * (cost.inner + cost.read_out) + step * cost.recurrent
    return Operations(accumulates, dense.double())


@torch.no_grad()
def count_operations(
    model: StepModel | WatchedModel, inputs: Sequences, decision: Decision, *, batch_size: int = 250
) -> Operations:
    """Run a model until each sample's decision, and count what every product took.

    The split is NeuroBench's, as of `synaptic_operations`: where all that ever comes into a product
    is 0 or 1, it takes an accumulate for each spike and synapse, else its dense multiply-adds. So
    spikes between layers count as spikes, of a model that tells of them
    (`rc_snn.step_model.WatchedModel`); of any other they count as dense. A mean that the sequences
    subtract belongs to a bias, and does not count.

    Args:
        model: a step model, or one that can be watched.
        inputs: the sequences that were decided on.
        decision: what the model answered to them, with steps.
        batch_size: sequences advanced together.

    Returns:
        Accumulates, and multiply-accumulates, of each sample.

    Raises:
        ValueError: if the decision has no steps, or not one for each sequence.

    Example:
        >>> from rc_snn.models import RCLSTM
        >>> from rc_snn.sequences import SpikeSequences
        >>> x = SpikeSequences(torch.tensor([[0, 1, 2]]), n_steps=2)
        >>> decision = Decision.at_steps(torch.tensor([1]), 2, torch.ones(1) > 0, torch.eye(2)[:1])
        >>> [part.tolist() for part in count_operations(RCLSTM(3, 2, 2), x, decision)]
        [[16.0], [24.0]]
    """
    step = decision.step
    if step is None or len(step) != len(inputs):
        raise ValueError(
            f"Operations are counted to the step of each decision, got {len(inputs)} sequences and "
            f"{'decisions without steps' if step is None else f'{len(step)} decisions'}."
        )
    form, cost, binary = Form.of(model), model.cost(), dict[Hashable, bool]()
    taken: dict[Hashable, Float[Tensor, "2 batch"]] = {}
    none = torch.zeros(2, len(step), dtype=torch.float64, device=step.device)
    for rows in torch.arange(len(step), device=step.device).split(batch_size):
        part, state = inputs.rows(rows), None
        for t in range(int(step[rows].max()) + 1):
            on = step[rows] >= t
            if not on.all():  # as in `rc_snn.runner.run`, decided samples leave
                rows, part = rows[on], part.rows(on.nonzero().squeeze(1))
                state = None if state is None else tuple(each[on] for each in state)
            found = [Inflow.of("input", _uncentred(part).at(t), cost.fan_out, cost.input)]
            if isinstance(model, WatchedModel):
                state, more = model.watch(form.read(part.at(t)), state)
                found += more
            else:
                found += unwatched(cost, len(rows), first=t == 0)
            for one in found:
                total = taken.setdefault(one.key, none.clone())
                binary[one.key] = binary.get(one.key, True) and one.binary
                total[0, rows] += one.accumulates
                total[1, rows] += one.dense
    return Operations(
        sum((total[0] for key, total in taken.items() if binary[key]), none[0]),
        sum((total[1] for key, total in taken.items() if not binary[key]), none[1]),
    )


def _uncentred(inputs: Sequences) -> Sequences:
    """Return sequences from which no mean is subtracted: the spikes as they are."""
    if getattr(inputs, "mean", None) is None:
        return inputs
    return replace(inputs, mean=None)  # type: ignore[type-var]


def unwatched(cost: StepCost, batch: int, *, first: bool) -> list[Inflow]:
    """Return what is known of a step without watching it: all but the input counts as dense."""
    dense = cost.inner + cost.read_out + (0 if first else cost.recurrent)
    return [Inflow("dense", False, torch.zeros(batch, dtype=torch.float64), dense)]


def account(
    decision: Decision,
    labels: Int[Tensor, " batch"],
    input_times: SpikeTimes | None = None,
    n_steps: int | None = None,
    cost: StepCost | None = None,
    operations: tuple[Tensor, Tensor] | Float[Tensor, " batch"] | None = None,
    seen: Float[Tensor, " batch"] | None = None,
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
    check_decision(decision)
    n = len(decision)
    if isinstance(operations, Tensor):
        operations = (operations, torch.zeros_like(operations))
    rows = [len(x) for x in (input_times, seen) if x is not None]
    if n == 0 or len(labels) != n or any(r != n for r in rows):
        raise ValueError(
            f"account needs one label and one row of input spikes per decision, and at least one; "
            f"got {n} decisions, {len(labels)} labels and {rows} rows."
        )
    if operations is not None and any(part.shape != (n,) for part in operations):
        raise ValueError(
            f"operations are those of each of {n} decisions, got the shapes "
            f"{[list(part.shape) for part in operations]}. Pass what count_operations returns."
        )
    if len(rows) == 2:
        raise ValueError("input_times and seen both say what was seen; give one of them.")
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
