"""What a run sees when it looks: who has fired in the last chunk of steps, and who leaves."""

import math
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rc_snn.spikes import Decision, crossed
from rc_snn.step_model import StepModel

Threshold: TypeAlias = float | Float[Tensor, " batch"] | None
"""θ in (0, 1) for all samples, or one for each; None is the end of the sequence."""


class Answer(NamedTuple):
    """What a run returns: the decisions, and the logits at each decision with their graph."""

    decision: Decision
    logits: Float[Tensor, "batch classes"]


class Exit(NamedTuple):
    """The samples that leave at one look."""

    rows: Int[Tensor, " leaving"]
    step: Int[Tensor, " leaving"]
    features: Float[Tensor, "leaving features"]
    logits: Float[Tensor, "leaving classes"]
    fired: Bool[Tensor, " leaving"]


class Look(NamedTuple):
    """The logits of a chunk of steps, step by step, and who has fired in it."""

    logits: Float[Tensor, "pairs classes"]
    fired: Bool[Tensor, " batch"]
    when: Int[Tensor, " batch"] | None
    """Steps of the chunk before the first crossing, all of them where there is none; None: the
    chunk is a single step."""
    undecided: list[int]
    """Samples that have not fired by the end of each step."""

    def leave(self, rows: Tensor, features: Tensor, first: int, out: Tensor | None = None) -> Exit:
        """Let the samples at the positions `out`, or all, leave: at their crossing, or the end."""
        if self.when is None:
            step = torch.full_like(rows, first)
            return _chosen(Exit(rows, step, features, self.logits, self.fired), out)
        step = self.when.clamp_max(len(self.undecided) - 1)
        pair = step * len(rows) + torch.arange(len(rows), device=rows.device)
        left = _chosen(Exit(rows, first + step, pair[:, None], pair[:, None], self.fired), out)
        pair = left.logits.squeeze(1)
        return left._replace(features=features[pair], logits=self.logits[pair])

    def until_decided(self, rows: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows and features of all steps up to each sample's crossing, step by step."""
        if self.when is None:
            return rows, features
        steps = torch.arange(len(self.undecided), device=rows.device).unsqueeze(1)
        there = (steps <= self.when).flatten().nonzero().squeeze(1)
        return rows.repeat(len(steps))[there], features[there]


def _chosen(left: Exit, out: Tensor | None) -> Exit:
    return left if out is None else Exit(*(part.index_select(0, out) for part in left))


def look(
    model: StepModel, features: Tensor, first: int | Tensor, length: int, theta: Threshold
) -> Look:
    """Read out the logits of a chunk, `[length * batch, features]`, and say which samples fire.

    Raises:
        ValueError: if a logit up to a sample's crossing is not finite.
    """
    logits = model.read_out(features)
    finite = math.isfinite(logits.sum())  # one pass: the exact question is for the rare case
    if theta is None:
        fired = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    else:
        p = torch.softmax(logits, dim=1).amax(dim=1)
        limit = theta.repeat(length) if isinstance(theta, Tensor) and length > 1 else theta
        fired = crossed(p if finite else p.nan_to_num(0.0), limit)
    if not finite:
        _check_finite(logits, fired, first, length)
    if length == 1:
        return Look(logits, fired, None, [len(fired) - int(fired.sum())])
    gone = fired.view(length, -1).cumsum(0) > 0
    left = [gone.shape[1] - n for n in gone.sum(1).tolist()]
    return Look(logits, gone[-1], length - gone.sum(0), left)


def _check_finite(logits: Tensor, fired: Tensor, first: int | Tensor, length: int) -> None:
    """Refuse logits that are not finite before, or when, a sample fires."""
    by_step = fired.view(length, -1).int()
    before = by_step.cumsum(0) - by_step > 0
    wrong = ~torch.isfinite(logits).all(dim=1).view(length, -1) & ~before
    if wrong.any():
        at = int(wrong.any(dim=1).int().argmax())
        step = int((first + torch.zeros_like(by_step[0]))[wrong[at]].min()) + at
        raise ValueError(
            f"The logits of {int(wrong[at].sum())} of {int((~before[at]).sum())} samples are not "
            f"finite at step {step}. Lower the learning rate, clip the gradient, or check the "
            "input for NaN."
        )


def assemble(model: StepModel, exits: list[Exit], n_steps: int, *, again: bool = True) -> Answer:
    """Put the samples back into their order, and read the logits out again, with a graph."""
    order = torch.cat([e.rows for e in exits]).argsort()
    step = torch.cat([e.step for e in exits])[order]
    seen = torch.cat([e.logits for e in exits])[order]
    fired = torch.cat([e.fired for e in exits])[order]
    logits = seen
    if again and torch.is_grad_enabled():
        logits = model.read_out(torch.cat([e.features for e in exits])).index_select(0, order)
    return Answer(Decision.at_steps(step, n_steps, fired, torch.softmax(seen, dim=1)), logits)
