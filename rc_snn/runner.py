"""Advance a batch step by step and really stop: decided samples leave, the rest goes on."""

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from rc_snn.borders.checks import (
    Form,
    check_inputs,
    check_model,
    check_numbers,
    check_thetas,
    check_weights,
    named,
)
from rc_snn.borders.numbers import count
from rc_snn.sequences import Sequences, check_image, check_input_size, in_turn, input_size
from rc_snn.spikes import Decision, check_n_steps, check_theta, crossed
from rc_snn.step_model import Advance, State, StepModel, evaluated

Threshold: TypeAlias = float | Float[Tensor, " batch"] | None
"""θ in (0, 1) for all samples, or one for each; None is the end of the sequence."""


class Answer(NamedTuple):
    """What a run returns: the decisions, and the logits at each decision with their graph."""

    decision: Decision
    logits: Float[Tensor, "batch classes"]


class PrefixAnswer(NamedTuple):
    """What a run returns that keeps the logits of every step that was computed."""

    decision: Decision
    logits: Float[Tensor, "batch classes"]
    """At each sample's decision, as of `Answer`."""
    prefix: Float[Tensor, "pairs classes"]
    """At each step of each sample up to its decision, step by step."""
    sample: Int[Tensor, " pairs"]
    """Whose logits these are: positions in the batch."""


class _Exit(NamedTuple):
    """The samples that leave at one step."""

    rows: Tensor
    step: Tensor
    features: Tensor
    logits: Tensor
    fired: Tensor


def _stepper(model: StepModel, inputs: Sequences, fused: bool) -> Advance:
    """Return how to advance: the model's fast path, or its step on dense inputs."""
    check_model(model)
    check_inputs(inputs)
    check_input_size(model.n_inputs, input_size(inputs))
    check_image(model, inputs)
    own = getattr(model, "fused", None) if fused else None  # FusedModel; isinstance takes 20 µs
    fast: Advance | None = None if own is None else own()
    if fast is None or not torch.is_grad_enabled():  # in training the loss tells of them
        check_weights(model)
    if fast is not None:
        return fast
    form = Form.of(model)
    return lambda step, inputs, state: model.step(form.read(inputs.at(step)), state)


def run(model: StepModel, inputs: Sequences, theta: Threshold, *, fused: bool = True) -> Answer:
    """Run a batch until each sample's first spike (Algorithm 1); compute nothing after it.

    A sample leaves the batch at the first step at which a class probability is >= θ; its state,
    and everything that back-propagation needs for later steps, is never made. The loop ends with
    the last decision. Samples that reach the last step answer there, with `fired=False` unless
    they cross θ at that very step.

    Under autograd the returned logits carry the graph from each sample's decision step only. The
    read-out is first evaluated without a graph, to see who fires, and once more for the samples
    that leave: `rc_snn.regimes.training_macs` counts both.

    Where autograd records, the model runs in the mode that it is in: this is how it is trained.
    Under `torch.no_grad` it is evaluated, as by `decide`.

    Args:
        model: any step model.
        inputs: sequences to read; at least one.
        theta: threshold θ in (0, 1), or one for each sample; None runs to the end (EOS), where
            nothing fires.
        fused: take the model's fast path where it has one; False takes its reference path,
            which differs by rounding only.

    Returns:
        Decisions and logits, in the order of `inputs`, on the model's device.

    Raises:
        ValueError: if θ is out of range, the batch is empty, the sequences are of another size than
            the model's input, or a logit is not finite.

    Source: Jeffares et al., ICLR 2022, Algorithm 1. The authors' notebooks compute every step and
    gather afterwards; the decisions and gradients are the same, the work is not.

    Example:
        >>> from rc_snn.sequences import SpikeSequences
        >>> from rc_snn.models import RCLSTM
        >>> x = SpikeSequences(torch.zeros(2, 784, dtype=torch.int16), n_steps=10)
        >>> run(RCLSTM(), x, theta=0.05).decision.step  # a uniform output is above 0.05
        tensor([0, 0])
    """
    with _mode(model):
        return _run(model, inputs, theta, fused)


def run_with_prefix(
    model: StepModel, inputs: Sequences, theta: Threshold, *, fused: bool = True
) -> PrefixAnswer:
    """Run as `run` does, and keep the logits of all steps up to each sample's decision.

    For a loss that reads the steps before the spike, too (`rc_snn.objective.prefix_loss`): they are
    computed anyway, and only read out once more with a graph. Nothing after a decision is computed.

    Args:
        model: any step model.
        inputs: sequences to read; at least one.
        theta: as for `run`; None keeps every step.
        fused: as for `run`.

    Raises:
        ValueError: as `run`.

    Example:
        >>> from rc_snn.sequences import SpikeSequences
        >>> from rc_snn.models import RCLSTM
        >>> x = SpikeSequences(torch.zeros(2, 784, dtype=torch.int16), n_steps=3)
        >>> run_with_prefix(RCLSTM(), x, torch.tensor([0.05, 0.95])).sample
        tensor([0, 1, 1, 1])
    """
    seen: list[tuple[Tensor, Tensor]] = []
    with _mode(model):
        decision, _ = _run(model, inputs, theta, fused, seen)
        rows, features = zip(*seen, strict=True)
        logits, sample = model.read_out(torch.cat(features)), torch.cat(rows)
    pairs = torch.arange(len(sample), device=sample.device)
    last = torch.zeros_like(decision.label).scatter_reduce(0, sample, pairs, "amax")
    return PrefixAnswer(decision, logits.index_select(0, last), logits, sample)


def _mode(model: StepModel) -> AbstractContextManager[object]:
    """Leave a model in its mode where autograd records, as in training; else evaluate it."""
    return nullcontext() if torch.is_grad_enabled() else evaluated(model)


def _run(
    model: StepModel,
    inputs: Sequences,
    theta: Threshold,
    fused: bool,
    seen: list[tuple[Tensor, Tensor]] | None = None,
) -> Answer:
    """Run; add rows and features of each step to `seen`, whose reader reads them out itself."""
    advance = _stepper(model, inputs, fused)
    n, n_steps = len(inputs), inputs.n_steps
    if n == 0:
        raise ValueError("The batch is empty; a run needs at least one sequence.")
    theta = check_thetas(theta, n)
    rows: Tensor | None = None
    state: State | None = None
    exits: list[_Exit] = []
    for step in range(n_steps):
        features, state = advance(step, inputs, state)
        if rows is None:
            rows = torch.arange(n, device=features.device)
            theta = theta.to(rows.device) if isinstance(theta, Tensor) else theta
        if seen is not None:
            seen.append((rows, features))
        last = step == n_steps - 1
        if theta is None and not last:
            continue
        with torch.no_grad():
            logits, fired = _look(model, features, step, theta)
        leaving = torch.ones_like(fired) if last else fired
        n_leaving = int(leaving.sum())
        if n_leaving == 0:
            continue
        step_of = torch.full((n_leaving,), step, device=logits.device)
        if n_leaving == len(rows):
            exits.append(_Exit(rows, step_of, features, logits, fired))
            break
        out = leaving.nonzero().squeeze(1)
        left = features.index_select(0, out)
        exits.append(_Exit(rows[out], step_of, left, logits[out], fired[out]))
        stay = (~leaving).nonzero().squeeze(1)
        rows, inputs = rows[stay], inputs.rows(stay)
        state = tuple(s.index_select(0, stay) for s in state)
        theta = theta[stay] if isinstance(theta, Tensor) else theta
    return _assemble(model, exits, n_steps, again=seen is None)


def trace(
    model: StepModel,
    inputs: Sequences,
    *,
    batch_size: int | None = None,
    fused: bool = True,
    training: bool = False,
) -> Float[Tensor, "time batch classes"]:
    """Return the logits at every step of every sequence: what a run sees if nothing stops it.

    For what reads more than the first crossing: sweeps of θ and other exits
    (`rc_snn.exits.scores`), and losses that look at all steps (`rc_snn.objective`). Under autograd
    it carries the whole graph.

    Args:
        model: any step model.
        inputs: sequences to read; at least one.
        batch_size: sequences advanced together, as for `decide`; None takes all at once.
        fused: as for `run`.
        training: leave the model in the mode that it is in, as a loss to be trained by needs it;
            else it is evaluated: no dropout.

    Raises:
        ValueError: if the batch is empty, or of another size than the model's input.

    Example:
        >>> from rc_snn.models import RCLSTM
        >>> from rc_snn.sequences import DenseSequences
        >>> trace(RCLSTM(4, 8, 3), DenseSequences(torch.zeros(7, 2, 4))).shape
        torch.Size([7, 2, 3])
    """
    check_inputs(inputs)
    if len(inputs) == 0:
        raise ValueError("The batch is empty; a trace needs at least one sequence.")
    parts: Iterable[Sequences] = [inputs]
    if batch_size is not None:
        count(batch_size, "batch_size", low=1)
        parts = in_turn(inputs, torch.arange(len(inputs)).split(batch_size))
    with nullcontext() if training else evaluated(model):
        return torch.cat([_trace(model, x, fused) for x in parts], dim=1)


def _trace(model: StepModel, inputs: Sequences, fused: bool) -> Tensor:
    advance = _stepper(model, inputs, fused)
    state: State | None = None
    features = []
    for step in range(inputs.n_steps):
        one, state = advance(step, inputs, state)
        features.append(one)
    logits = model.read_out(torch.cat(features))
    return logits.view(inputs.n_steps, -1, model.n_classes)


def _look(model: StepModel, features: Tensor, step: int, theta: Threshold) -> tuple[Tensor, Tensor]:
    """Read out the logits, and say which samples fire."""
    logits = model.read_out(features)
    if not math.isfinite(logits.sum()):  # one pass: the exact question is for the rare case
        finite = torch.isfinite(logits).all(dim=1)
        if not finite.all():
            raise ValueError(
                f"The logits of {int((~finite).sum())} of {len(logits)} samples are not finite at "
                f"step {step}. Lower the learning rate, clip the gradient, or check the input for "
                "NaN."
            )
    if theta is None:
        return logits, torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    return logits, crossed(torch.softmax(logits, dim=1).amax(dim=1), theta)


def _assemble(model: StepModel, exits: list[_Exit], n_steps: int, *, again: bool = True) -> Answer:
    """Put the samples back into their order, and read the logits out again, with a graph."""
    order = torch.cat([e.rows for e in exits]).argsort()
    step = torch.cat([e.step for e in exits])[order]
    seen = torch.cat([e.logits for e in exits])[order]
    fired = torch.cat([e.fired for e in exits])[order]
    logits = seen
    if again and torch.is_grad_enabled():
        logits = model.read_out(torch.cat([e.features for e in exits])).index_select(0, order)
    return Answer(Decision.at_steps(step, n_steps, fired, torch.softmax(seen, dim=1)), logits)


@torch.no_grad()
def decide(
    model: StepModel, inputs: Sequences, theta: Threshold, *, batch_size: int = 250
) -> Decision:
    """Rank-coded inference on any number of sequences: what, when, and did it fire.

    The model is evaluated, without dropout, and left in the mode that it was in.

    Args:
        model: any step model.
        inputs: sequences to read.
        theta: threshold θ in (0, 1), or one for each sample; None answers at the end of the
            sequence (EOS).
        batch_size: sequences advanced together, few enough for their state to stay in the cache; it
            changes decisions by rounding at most.

    Raises:
        ValueError: as `run`, or if a weight is not finite.

    Example:
        >>> from rc_snn.sequences import SpikeSequences
        >>> from rc_snn.models import RCLSTM
        >>> x = SpikeSequences(torch.zeros(3, 784, dtype=torch.int16), n_steps=10)
        >>> decide(RCLSTM(), x, theta=0.95).fired
        tensor([False, False, False])
    """
    check_model(model)
    check_inputs(inputs)
    if len(inputs) == 0:
        raise ValueError("There are no sequences to decide on; inputs is empty.")
    theta = check_thetas(theta, len(inputs))
    count(batch_size, "batch_size", low=1)
    with evaluated(model):
        if len(inputs) <= batch_size:
            return _run(model, inputs, theta, True).decision
        parts = torch.arange(len(inputs)).split(batch_size)
        own = theta.split(batch_size) if isinstance(theta, Tensor) else [theta] * len(parts)
        runs = zip(in_turn(inputs, parts), own, strict=True)
        return Decision.cat([_run(model, x, limit, True).decision for x, limit in runs])


class StreamingRunner:
    """One sample, one step at a time, as a sensor delivers it; the same decision as `decide`.

    Each step evaluates the model, without dropout, and leaves it in the mode that it was in.

    Example:
        >>> from rc_snn.models import RCLSTM
        >>> stream = StreamingRunner(RCLSTM(), theta=0.95, n_steps=2)
        >>> stream.step(torch.zeros(784)) is None  # nothing fired yet
        True
        >>> stream.step(torch.zeros(784)).fired  # the last step forces an answer
        tensor([False])
    """

    def __init__(self, model: StepModel, theta: float, n_steps: int) -> None:
        check_model(model)
        self.theta, self.n_steps = check_theta(theta), check_n_steps(n_steps)
        self.model = model
        self.reset()

    def reset(self, theta: float | None = None) -> None:
        """Forget the sample, to begin with the next; at this threshold from now on, if any."""
        self.theta = self.theta if theta is None else check_theta(theta)
        self._state: State | None = None
        self._step = 0
        self.decision: Decision | None = None

    @torch.no_grad()
    def step(self, x: Shaped[Tensor, "*inputs"]) -> Decision | None:
        """Read one step's input, without a batch axis; return the decision once there is one.

        Raises:
            RuntimeError: if the sample has been decided already.
            TypeError: if x is no tensor.
            ValueError: if x has another size than the model's input, or it, a weight or a logit is
                not finite; the sample may go on with another x.
        """
        if not isinstance(x, Tensor):
            raise TypeError(f"A step's input is a tensor, got {named(x)}: torch.as_tensor(x).")
        check_input_size(self.model.n_inputs, x.numel())
        if self.decision is not None:
            raise RuntimeError(
                f"This sample was decided at step {self._step - 1}; call reset() for the next."
            )
        check_numbers(x, "x")
        if self._step == 0:
            check_weights(self.model)
        read = Form.of(self.model).read(x.unsqueeze(0))
        with evaluated(self.model):
            features, state = self.model.step(read, self._state)
            logits, fired = _look(self.model, features, self._step, self.theta)
        self._state = state
        self._step += 1
        if fired.item() or self._step == self.n_steps:
            at = torch.full((1,), self._step - 1, device=logits.device)
            leaving = _Exit(torch.zeros_like(at), at, features, logits, fired)
            self.decision = _assemble(self.model, [leaving], self.n_steps).decision
        return self.decision
