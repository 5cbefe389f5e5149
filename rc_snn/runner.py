"""Advance a batch step by step and really stop: decided samples leave, the rest goes on."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rc_snn.borders.checks import (
    Form,
    check_inputs,
    check_model,
    check_thetas,
    check_weights,
    named,
)
from rc_snn.borders.numbers import count, flag
from rc_snn.runs.chunks import (
    Chunk,
    Chunks,
    check_lengths,
    chooser,
    chunk_of,
    chunked_by_itself,
    fitting,
    span,
)
from rc_snn.runs.look import Answer as Answer
from rc_snn.runs.look import Exit, assemble, look
from rc_snn.runs.look import Threshold as Threshold
from rc_snn.runs.refill import decide_refilled
from rc_snn.runs.streaming import StreamingRunner as StreamingRunner
from rc_snn.sequences import Sequences, check_image, check_input_size, in_turn, input_size
from rc_snn.spikes import Decision
from rc_snn.step_model import Advance, State, StepModel, evaluated


class PrefixAnswer(NamedTuple):
    """What a run returns that keeps the logits of every step that was computed."""

    decision: Decision
    logits: Float[Tensor, "batch classes"]
    """At each sample's decision, as of `Answer`."""
    prefix: Float[Tensor, "pairs classes"]
    """At each step of each sample up to its decision, step by step."""
    sample: Int[Tensor, " pairs"]
    """Whose logits these are: positions in the batch."""


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


def run(
    model: StepModel,
    inputs: Sequences,
    theta: Threshold,
    *,
    fused: bool = True,
    chunks: Chunks | Sequence[int] | None = None,
) -> Answer:
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
        chunks: advance by so many steps at a time, and look who has fired after each chunk
            (`rc_snn.chunks`), with the same decisions and gradients up to rounding; a `Chunks`
            chooses, and learns from the run. None: single steps on the CPU, and chunks on other
            devices where the model has them and `fused` is True.

    Returns:
        Decisions and logits, in the order of `inputs`, on the model's device.

    Raises:
        ValueError: if θ is out of range, the batch is empty, the sequences are of another size than
            the model's input, a logit is not finite, or `chunks` do not fit the model or the steps.

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
        return _run(model, inputs, theta, fused, chunks=chunks)


def run_with_prefix(
    model: StepModel,
    inputs: Sequences,
    theta: Threshold,
    *,
    fused: bool = True,
    chunks: Chunks | Sequence[int] | None = None,
) -> PrefixAnswer:
    """Run as `run` does, and keep the logits of all steps up to each sample's decision.

    For a loss that reads the steps before the spike, too (`rc_snn.objective.prefix_loss`): they are
    computed anyway, and only read out once more with a graph. Nothing after a decision is computed.

    Args:
        model: any step model.
        inputs: sequences to read; at least one.
        theta: as for `run`; None keeps every step.
        fused: as for `run`.
        chunks: as for `run`.

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
        decision, _ = _run(model, inputs, theta, fused, seen, chunks)
        rows, features = zip(*seen, strict=True)
        logits, sample = model.read_out(torch.cat(features)), torch.cat(rows)
    pairs = torch.arange(len(sample), device=sample.device)
    last = torch.zeros_like(decision.label).scatter_reduce(0, sample, pairs, "amax")
    return PrefixAnswer(decision, logits.index_select(0, last), logits, sample)


def _mode(model: StepModel) -> AbstractContextManager[object]:
    """Leave a model in its mode where autograd records, as in training; else evaluate it."""
    return nullcontext() if torch.is_grad_enabled() else evaluated(model)


def _chunk(model: StepModel, fused: bool, chunks: Chunks | Sequence[int] | None) -> Chunk | None:
    """Return how to advance by chunks; None: by single steps.

    Raises:
        ValueError: if chunks are asked for, and the model has none.
    """
    if chunks is None and not (fused and chunked_by_itself(model)):
        return None
    found = chunk_of(model)
    if found is None and chunks is not None:
        raise ValueError(
            f"{named(model)} does not advance by chunks here: it has no chunked(), or is a "
            "subclass, has hooks, or runs under autocast. Leave out chunks."
        )
    return found


def _lengths(
    model: StepModel, n: int, n_steps: int, theta: Threshold, chunks: Chunks | Sequence[int] | None
) -> list[int]:
    """Return the lengths of a run's chunks."""
    if theta is None and chunks is None:
        return [n_steps]
    if chunks is None:
        chunks = Chunks(model.cost(), n_steps, training=torch.is_grad_enabled())
    if isinstance(chunks, Chunks):
        return check_lengths(chunks.lengths(n), n_steps)
    return check_lengths(chunks, n_steps)


def _run(
    model: StepModel,
    inputs: Sequences,
    theta: Threshold,
    fused: bool,
    seen: list[tuple[Tensor, Tensor]] | None = None,
    chunks: Chunks | Sequence[int] | None = None,
) -> Answer:
    """Run; add rows and features of each step to `seen`, whose reader reads them out itself."""
    chunk = _chunk(model, fused, chunks)
    advance = _stepper(model, inputs, fused and chunk is None)
    n, n_steps = len(inputs), inputs.n_steps
    if n == 0:
        raise ValueError("The batch is empty; a run needs at least one sequence.")
    theta = check_thetas(theta, n)
    lengths = n_steps * [1] if chunk is None else _lengths(model, n, n_steps, theta, chunks)
    rows: Tensor | None = None
    state: State | None = None
    exits: list[Exit] = []
    undecided: list[int] = []
    for first, length in zip(accumulate(lengths, initial=0), lengths, strict=False):
        if chunk is None:
            features, state = advance(first, inputs, state)
        else:
            features, state = chunk.advance(span(model, inputs, first, length), state)
            features = features.flatten(0, 1)
        if rows is None:
            rows = torch.arange(n, device=features.device)
            theta = theta.to(rows.device) if isinstance(theta, Tensor) else theta
        last = first + length == n_steps
        if theta is None and not last:
            if seen is not None:
                seen.append((rows.repeat(length), features))
            continue
        with torch.no_grad():
            seen_now = look(model, features, first, length, theta)
        if seen is not None:
            seen.append(seen_now.until_decided(rows, features))
        undecided += seen_now.undecided
        if last or undecided[-1] == 0:
            exits.append(seen_now.leave(rows, features, first))
            break
        if undecided[-1] == len(rows):
            continue
        out, stay = (x.nonzero().squeeze(1) for x in (seen_now.fired, ~seen_now.fired))
        exits.append(seen_now.leave(rows, features, first, out))
        rows, inputs = rows[stay], inputs.rows(stay)
        state = tuple(s.index_select(0, stay) for s in state)
        theta = theta[stay] if isinstance(theta, Tensor) else theta
    if isinstance(chunks, Chunks):
        chunks.note(undecided, n)
    return assemble(model, exits, n_steps, again=seen is None)


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


def _whole(model: StepModel, chunk: Chunk, inputs: Sequences) -> Tensor:
    """Return the logits at every step, from one chunk."""
    features, _ = chunk.advance(span(model, inputs, 0, inputs.n_steps), None)
    return model.read_out(features.flatten(0, 1)).view(*features.shape[:2], -1)


def _trace(model: StepModel, inputs: Sequences, fused: bool) -> Tensor:
    chunk = _chunk(model, fused, None)
    advance = _stepper(model, inputs, fused and chunk is None)
    if chunk is not None:
        return _whole(model, chunk, inputs)
    state: State | None = None
    features = []
    for step in range(inputs.n_steps):
        one, state = advance(step, inputs, state)
        features.append(one)
    logits = model.read_out(torch.cat(features))
    return logits.view(inputs.n_steps, -1, model.n_classes)


@torch.no_grad()
def decide(
    model: StepModel,
    inputs: Sequences,
    theta: Threshold,
    *,
    batch_size: int | None = None,
    refill: bool = False,
) -> Decision:
    """Rank-coded inference on any number of sequences: what, when, and did it fire.

    The model is evaluated, without dropout, and left in the mode that it was in.

    Args:
        model: any step model.
        inputs: sequences to read, on the model's device.
        theta: threshold θ in (0, 1), or one for each sample; None answers at the end of the
            sequence (EOS).
        batch_size: sequences advanced together; it changes decisions by rounding at most. None: on
            the CPU 250, few enough for their state to stay in the cache; elsewhere as many as the
            device's free memory holds.
        refill: begin new sequences where others have left, so that the batch stays full and time
            follows the mean decision step, not the largest (`rc_snn.refill`). For long sequences
            on a GPU; the decisions are the same.

    Raises:
        TypeError: if `refill` is neither True nor False.
        ValueError: as `run`, if a weight is not finite, or if `refill` is asked of a model or of
            sequences that cannot.

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
    if batch_size is None:
        batch_size = fitting(model, inputs.n_steps)
    count(batch_size, "batch_size", low=1)
    with evaluated(model):
        if flag(refill, "refill"):
            _stepper(model, inputs, fused=False)  # which checks what goes in
            return decide_refilled(model, inputs, theta, batch_size)
        chunks = chooser(model, inputs.n_steps, training=False)
        if len(inputs) <= batch_size:
            return _run(model, inputs, theta, True, chunks=chunks).decision
        parts = torch.arange(len(inputs)).split(batch_size)
        own = theta.split(batch_size) if isinstance(theta, Tensor) else [theta] * len(parts)
        runs = zip(in_turn(inputs, parts), own, strict=True)
        return Decision.cat(
            [_run(model, x, limit, True, chunks=chunks).decision for x, limit in runs]
        )
