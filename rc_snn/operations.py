"""What decisions take: dense multiply-adds, accumulates of spikes, and what inputs had shown."""

from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rc_snn.borders.checks import Form, check_decision, check_inputs, check_weights
from rc_snn.borders.numbers import count
from rc_snn.sequences import Sequences, SpikeSequences, input_size
from rc_snn.spikes import MAX_STEPS, Decision, check_decision_steps, check_steps
from rc_snn.step_model import Inflow, StepCost, StepModel, WatchedModel, evaluated


class Operations(NamedTuple):
    """Synaptic operations of each sample until its decision."""

    ac: Float[Tensor, " batch"]
    """Accumulates: one for each spike and synapse behind it."""
    mac: Float[Tensor, " batch"]
    """Multiply-accumulates of products with anything but spikes."""


def decision_macs(step: Any, cost: StepCost) -> Int[Tensor, " batch"]:
    """Return the dense multiply-adds that each decision took in rank-coded inference.

    The first step has no recurrent product. Matrix products and convolutions only.

    Example:
        >>> cost = StepCost(input=100, inner=0, recurrent=10, read_out=1, fan_out=torch.ones(1))
        >>> decision_macs(torch.tensor([0, 2]), cost)
        tensor([101, 323])
    """
    known: Tensor = check_decision_steps(step)
    steps = known + 1
    return steps * (cost.input + cost.inner + cost.read_out) + known * cost.recurrent


def training_macs(step: Any, cost: StepCost, *, prefix: bool = False) -> Int[Tensor, " batch"]:
    """Return the multiply-adds of forward and backward pass in rank-coded training.

    Forward: inference, and the read-out once more with a graph. Backward: for every product of the
    forward graph one for the weight's gradient and one for its input's, except that the network's
    own input needs none, and that the read-out is differentiated at the decision only. Thresholds
    that are drawn change when the decisions come, and nothing else.

    Args:
        step: of each decision.
        cost: of the model.
        prefix: whether the loss reads all steps up to the decision, as
            `rc_snn.objective.prefix_loss` does: each is read out with a graph and differentiated.

    Example:
        >>> cost = StepCost(input=100, inner=0, recurrent=10, read_out=1, fan_out=torch.ones(1))
        >>> training_macs(torch.tensor([0, 2]), cost)
        tensor([204, 666])
    """
    known: Tensor = check_decision_steps(step)
    read = known + 1 if prefix else 1
    forward = decision_macs(known, cost) + read * cost.read_out
    feed, back = (known + 1) * (cost.input + 2 * cost.inner), known * 2 * cost.recurrent
    backward = feed + back + 2 * read * cost.read_out
    return forward + backward


def synaptic_operations(step: Any, input_steps: Any, cost: StepCost) -> Operations:
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
    step = check_decision_steps(step)
    input_steps = check_steps(input_steps, MAX_STEPS)
    if input_steps.shape != (len(step), len(cost.fan_out)):
        raise ValueError(
            f"Input steps must be [{len(step)}, {len(cost.fan_out)}], a row for each decision and "
            f"a column for each input of the cost, got {list(input_steps.shape)}."
        )
    arrived = input_steps <= step.unsqueeze(1)
    accumulates = arrived.double() @ cost.fan_out.double().to(step.device)
    return Operations(accumulates, hidden_macs(step, cost).double())


def hidden_macs(step: Any, cost: StepCost) -> Int[Tensor, " batch"]:
    """Return the multiply-adds of a decision but for the products with the input, dense."""
    known: Tensor = check_decision_steps(step)
    return (known + 1) * (cost.inner + cost.read_out) + known * cost.recurrent


@torch.no_grad()
def count_operations(
    model: StepModel | WatchedModel, inputs: Sequences, decision: Decision, *, batch_size: int = 250
) -> Operations:
    """Run a model until each sample's decision, and count what every product took.

    The split is NeuroBench's, as of `synaptic_operations`: where all that ever comes into a product
    is 0 or 1, it takes an accumulate for each spike and synapse, else its dense multiply-adds. So
    spikes between layers count as spikes, of a model that tells of them
    (`rc_snn.step_model.WatchedModel`); of any other they count as dense. Products with the input
    are those of `shown_by`. The model is evaluated, and left in the mode that it was in.

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
    check_inputs(inputs)
    check_decision(decision)
    step, batch_size = decision.step, count(batch_size, "batch_size", low=1)
    if step is None or len(step) != len(inputs):
        raise ValueError(
            f"Operations are counted to the step of each decision, got {len(inputs)} sequences and "
            f"{'decisions without steps' if step is None else f'{len(step)} decisions'}."
        )
    step = check_decision_steps(step, inputs.n_steps)
    check_weights(model)
    with evaluated(model):
        return _counted(model, inputs, step, batch_size)


def _counted(
    model: StepModel | WatchedModel, inputs: Sequences, step: Int[Tensor, " batch"], size: int
) -> Operations:
    form, cost, binary = Form.of(model), model.cost(), dict[Hashable, bool]()
    taken: dict[Hashable, Float[Tensor, "2 batch"]] = {}
    none = torch.zeros(2, len(step), dtype=torch.float64, device=step.device)
    for rows in torch.arange(len(step), device=step.device).split(size):
        part, state = inputs.rows(rows), None
        for t in range(int(step[rows].max()) + 1):
            on = step[rows] >= t
            if not on.all():  # as in `rc_snn.runner.run`, decided samples leave
                rows, part = rows[on], part.rows(on.nonzero().squeeze(1))
                state = None if state is None else tuple(each[on] for each in state)
            found: Iterable[Inflow] = unwatched(cost, len(rows), first=t == 0)
            if isinstance(model, WatchedModel):
                state, found = model.watch(form.read(part.at(t)), state)
            for one in found:
                total = taken.setdefault(one.key, none.clone())
                binary[one.key] = binary.get(one.key, True) and one.binary
                total[0, rows] += one.accumulates
                total[1, rows] += one.dense
    shown = shown_by(step, inputs, cost, batch_size=size)
    return Operations(
        sum((total[0] for key, total in taken.items() if binary[key]), shown.accumulates),
        sum((total[1] for key, total in taken.items() if not binary[key]), shown.multiplies),
    )


def unwatched(cost: StepCost, batch: int, *, first: bool) -> list[Inflow]:
    """Return what is known of a step without watching it: all but the input counts as dense."""
    dense = cost.inner + cost.read_out + (0 if first else cost.recurrent)
    return [Inflow("dense", False, torch.zeros(batch, dtype=torch.float64), dense)]


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
    step: Any,
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
    check_inputs(inputs)
    step = check_decision_steps(step, inputs.n_steps)
    batch_size = count(batch_size, "batch_size", low=1)
    if len(step) != len(inputs):
        raise ValueError(f"There must be one step per sequence, got {len(step)} and {len(inputs)}.")
    if cost is not None and len(step) and len(cost.fan_out) != input_size(inputs):
        raise ValueError(
            f"The cost is that of a model with {len(cost.fan_out)} inputs, got sequences of "
            f"{input_size(inputs)}. Pass the cost of the model that read them."
        )
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
            spikes, arrived = x.abs(), (t <= step[rows]).double()
            sums[0, rows] += spikes.sum(dim=1)
            sums[1, rows] += spikes.sum(dim=1) * arrived
            if fan_out is not None:
                sums[2, rows] += spikes @ fan_out * arrived
                sums[3, rows] += (x != 0).double() @ fan_out * arrived
    shown, arrived, accumulates, multiplies = sums
    none = torch.zeros_like(shown)
    if whole:
        return Shown(arrived.long() / shown.long().clamp_min(1), accumulates, none)
    return Shown((step + 1).double() / n_steps, none, multiplies)
