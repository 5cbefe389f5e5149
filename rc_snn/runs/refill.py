"""Inference with a batch that stays full: new sequences begin where others have left.

As servers of language models do. Of sequences whose decisions spread over many steps most of a
batch has left long before its last one is decided; refilled, time follows the mean decision step.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rc_snn.runs.chunks import chunk_of, span
from rc_snn.runs.look import Look, Threshold, look
from rc_snn.sequences import Sequences
from rc_snn.spikes import Decision
from rc_snn.step_model import State, StepModel

LENGTH = 8
"""Steps between two looks, at most: a sequence that fires waits for half of them on average."""


def decide_refilled(
    model: StepModel, inputs: Sequences, theta: Threshold, batch_size: int, length: int = LENGTH
) -> Decision:
    """Decide as `rc_snn.runner.decide` does, which checks what goes in and evaluates the model.

    A sequence that begins has a state of zeros, which is what a chunk takes for none. Beyond its
    last step it is shown that step again; nothing looks there.

    Raises:
        ValueError: if the model does not advance by chunks, or the sequences do not show each one
            its own step.
    """
    chunk = chunk_of(model)
    if chunk is None:
        raise ValueError(
            "refill needs a model that advances by chunks: RCLSTM or RCConvLSTM itself, without "
            "hooks. Leave out refill."
        )
    device = next(model.parameters()).device  # type: ignore[attr-defined]
    theta = theta.to(device) if isinstance(theta, Tensor) else theta
    n, n_steps = len(inputs), inputs.n_steps
    length = min(length, n_steps)
    rows = torch.arange(min(batch_size, n), device=device)
    first, begun = torch.zeros_like(rows), len(rows)
    state: State | None = None
    left: list[_Left] = []
    while len(rows):
        features, state = chunk.advance(span(model, inputs.rows(rows), first, length), state)
        limit = theta[rows] if isinstance(theta, Tensor) else theta
        seen = look(model, features.flatten(0, 1), first, length, limit)
        done = _leave(seen, rows, first, n_steps, left)
        first = torch.where(done, 0, first + length)
        places = done.nonzero().squeeze(1)
        new = torch.arange(begun, min(n, begun + len(places)), device=device)
        begun += len(new)
        rows[places[: len(new)]] = new
        state = tuple(s.index_fill(0, places, 0.0) for s in state)
        if len(new) < len(places):  # all have begun: the batch shrinks
            stay = torch.ones_like(done).index_fill(0, places[len(new) :], False)
            rows, first, state = rows[stay], first[stay], tuple(s[stay] for s in state)
    row, step, fired, logits = (torch.cat(parts) for parts in zip(*left, strict=True))
    order = row.argsort()
    scores = torch.softmax(logits[order], dim=1)
    return Decision.at_steps(step[order], n_steps, fired[order], scores)


class _Left(NamedTuple):
    """The samples that left after one chunk."""

    row: Tensor
    step: Tensor
    fired: Tensor
    logits: Tensor


def _leave(seen: Look, rows: Tensor, first: Tensor, n_steps: int, left: list[_Left]) -> Tensor:
    """Note who has fired or is at the last step; return who these are."""
    length = len(seen.undecided)
    when = torch.where(seen.fired, 0, 1) if seen.when is None else seen.when
    end = n_steps - 1 - first  # steps from the first one to the last, which may be in this chunk
    fired = (when < length) & (when <= end)
    done = (when < length) | (end < length)
    at = torch.minimum(when, end).clamp_max(length - 1)
    pair = at * len(rows) + torch.arange(len(rows), device=rows.device)
    out = done.nonzero().squeeze(1)
    left.append(_Left(rows[out], (first + at)[out], fired[out], seen.logits[pair[out]]))
    return done
