"""The vocabulary of every other file: spike times, steps, frames, first spike, decision."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rc_snn.borders.checks import (
    MAX_STEPS,
    check_decision,
    check_decision_steps,
    check_labels,
    check_n_steps,
    check_steps,
    check_theta,
    check_times,
    named,
)
from rc_snn.borders.numbers import flags, indices, tensor
from rc_snn.borders.signatures import KINDS, typed
from rc_snn.shown import html

__all__ = [
    "MAX_STEPS",
    "Decision",
    "FirstSpike",
    "SpikeSteps",
    "SpikeTimes",
    "check_decision_steps",
    "check_labels",
    "check_n_steps",
    "check_steps",
    "check_theta",
    "check_times",
    "crossed",
    "decision_spikes",
    "first_spike",
    "first_step",
    "log_theta_below",
    "spike_frames",
    "spike_steps",
    "steps_from_frames",
]

SpikeTimes: TypeAlias = Float[Tensor, "batch neuron"]
"""Spike times in frames: 0 is the start and 1 the end of the input frame, `inf` is silence."""

SpikeSteps: TypeAlias = Int[Tensor, "batch neuron"]
"""Spike steps in 0..n_steps-1; a silent unit holds `n_steps`, a step that no sequence reaches."""


class FirstSpike(NamedTuple):
    """Decision step of each sequence. `fired` is the only test for "did it spike?"."""

    step: Int[Tensor, " batch"]
    fired: Bool[Tensor, " batch"]


@dataclass(frozen=True)
class Decision:
    """One answer per sample: what, when, and whether a threshold was reached.

    Args:
        label: class answered, 0..classes-1.
        time: when the answer is out, in frames: `(step + 1) / n_steps` for step models, the spike
            time for continuous ones (`inf` if silent).
        step: decision step, 0..n_steps-1; None for continuous-time models.
        fired: False where nothing reached θ and the answer was forced at the end.
        scores: class scores at the decision; probabilities for rank-coded models.

    Labels and steps of any integer type are held as int64, and `fired` of 0 and 1 as booleans.

    Raises:
        ValueError: if they are not `[B]`, all of one B, with scores `[B, C]`, or hold other values.
    """

    label: Int[Tensor, " batch"]
    time: Float[Tensor, " batch"]
    step: Int[Tensor, " batch"] | None
    fired: Bool[Tensor, " batch"]
    scores: Float[Tensor, "batch classes"]

    def __post_init__(self) -> None:
        n = len(tensor(self.label, "label"))
        for name in ("time", "scores"):
            value = getattr(self, name)
            if not isinstance(value, Tensor) or not value.is_floating_point():
                got = value.dtype if isinstance(value, Tensor) else named(value)
                raise TypeError(f"{name} must be a tensor of floats, got {got}.")
        held = {"label": indices(self.label, "label"), "fired": flags(tensor(self.fired), "fired")}
        if self.step is not None:
            held["step"] = indices(self.step, "Decision steps", n=n)
        for name, value in held.items():
            object.__setattr__(self, name, value)
        if self.fired.shape != (n,) or self.time.shape != (n,) or self.scores.shape[:-1] != (n,):
            raise ValueError(
                f"A decision has one fired and one time for each of {n} labels, and scores [B, C]; "
                f"got fired {list(self.fired.shape)}, time {list(self.time.shape)}, scores "
                f"{list(self.scores.shape)}."
            )

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.label.shape[0]

    def _repr_html_(self) -> str:
        return html.decision(self)

    @classmethod
    def at_steps(
        cls,
        step: Int[Tensor, " batch"],
        n_steps: int,
        fired: Bool[Tensor, " batch"],
        scores: Float[Tensor, "batch classes"],
    ) -> "Decision":
        """Return the answers of a step model: the class with the largest score at each step.

        An answer is out at the end of its step: `time = (step + 1) / n_steps`, in double precision.

        Raises:
            ValueError: if a step is not in 0..n_steps-1, or a score is NaN.

        Example:
            >>> Decision.at_steps(
            ...     torch.tensor([4]), 10, torch.tensor([True]), torch.tensor([[0.1, 0.9]])
            ... ).time
            tensor([0.5000], dtype=torch.float64)
        """
        step = check_decision_steps(step, check_n_steps(n_steps))
        if math.isnan(scores.detach().sum()) and scores.isnan().any():  # the first asks in one pass
            raise ValueError(
                f"{int(scores.isnan().sum())} of {scores.numel()} scores are NaN, which is larger "
                "than any number. Find the step that diverged."
            )
        time = (step + 1).double() / n_steps
        return cls(scores.argmax(dim=1), time, step, fired, scores)

    def to(self, device: torch.device | str) -> "Decision":
        """Return the decision on another device."""
        return Decision(
            label=self.label.to(device),
            time=self.time.to(device),
            step=None if self.step is None else self.step.to(device),
            fired=self.fired.to(device),
            scores=self.scores.to(device),
        )

    @classmethod
    def cat(cls, parts: Sequence["Decision"]) -> "Decision":
        """Join the decisions of several batches, in order."""
        steps = [part.step for part in parts if part.step is not None]
        if steps and len(steps) != len(parts):
            raise ValueError("Cannot join decisions of step models with continuous-time ones.")
        return cls(
            label=torch.cat([part.label for part in parts]),
            time=torch.cat([part.time for part in parts]),
            step=torch.cat(steps) if steps else None,
            fired=torch.cat([part.fired for part in parts]),
            scores=torch.cat([part.scores for part in parts]),
        )


def crossed(
    score: Float[Tensor, "*shape"], theta: float | Float[Tensor, "*limits"]
) -> Bool[Tensor, "*shape"]:
    """Return where a score has reached its threshold: `score >= θ`, the rule of every decision.

    Of rank coding the score is the largest class probability, `p.amax(dim=-1)`; other exits have
    scores of their own (`rc_snn.exits.scores`). Both are compared in the score's precision.

    Args:
        score: larger is surer.
        theta: threshold θ, or one for each step, of a shape that broadcasts.

    Raises:
        ValueError: if a score is NaN.

    Source: Jeffares et al., ICLR 2022, Algorithm 1, line 9.

    Example:
        >>> crossed(torch.tensor([0.94, 0.95, 0.96]), 0.95)
        tensor([False,  True,  True])
    """
    if (broken := torch.isnan(score)).any():
        raise ValueError(
            f"{int(broken.sum())} of {score.numel()} scores are NaN; a NaN never reaches theta and "
            "would pass for silence. Find the step that diverged."
        )
    return score >= (theta.to(score.dtype) if isinstance(theta, Tensor) else theta)


def log_theta_below(theta: float) -> float:
    r"""Return the number of which to ask for more, where a target compares logarithms with `>`.

    .. math:: p \ge \theta \iff \ln p \ge \ln \theta \iff \ln p > x

    x is the float64 next below ln θ, so that no number is between them: `crossed` in other words.

    Raises:
        ValueError: if θ is outside (0, 1).

    Example:
        >>> log_theta_below(0.5) < math.log(0.5) <= math.nextafter(log_theta_below(0.5), 0.0)
        True
    """
    check_theta(theta)
    return math.nextafter(math.log(theta), -math.inf)


def first_step(where: Bool[Tensor, "time batch"]) -> FirstSpike:
    """Return the first step of each sequence at which something holds; T-1 if it never does.

    Raises:
        ValueError: if there is no step.

    Example:
        >>> first_step(torch.tensor([[False, False], [True, False], [True, False]]))
        FirstSpike(step=tensor([1, 2]), fired=tensor([ True, False]))
    """
    if len(where) < 1:
        raise ValueError("There is no step to decide at; a sequence needs at least one.")
    fired = where.any(dim=0)
    return FirstSpike(torch.where(fired, where.int().argmax(dim=0), len(where) - 1), fired)


@typed
def first_spike(p: Float[Tensor, "time batch classes"], theta: float) -> FirstSpike:
    r"""Find the first time step at which any class probability reaches the threshold θ.

    .. math:: t^* = \min \{ t : \max_k p_k(t) \ge \theta \}, \quad t^* = T - 1 \text{ if none}

    This is the definition over a whole sequence. `rc_snn.runner` finds the same step without
    computing what comes after it, and the tests hold the two together.

    Args:
        p: class probabilities, in [0, 1].
        theta: threshold θ, in (0, 1), reached with `>=`.

    Returns:
        `step` in 0..T-1 (steps, not seconds); a silent sequence has `step = T-1`, `fired = False`.

    Raises:
        ValueError: if θ is outside (0, 1), p holds NaN, or there is no step or no class.

    Source: Jeffares et al., ICLR 2022, Eq. 1 and Algorithm 1, line 9,
    https://openreview.net/forum?id=iMH1e5k7n3L. Differs from the authors' toy notebooks, which
    mark silence with index 0 and so read a spike at step 0 as silence.

    Example:
        >>> p = torch.tensor([[[0.9, 0.1], [0.5, 0.5]], [[0.6, 0.4], [0.5, 0.5]]])
        >>> first_spike(p, theta=0.8)
        FirstSpike(step=tensor([0, 1]), fired=tensor([ True, False]))
    """
    check_theta(theta)
    if p.shape[0] < 1 or p.shape[2] < 1:
        raise ValueError(f"p must have at least one step and one class, got shape {list(p.shape)}.")
    return first_step(crossed(p.amax(dim=-1), theta))  # amax of a NaN is NaN


def spike_steps(times: Any, n_steps: int) -> Int[Tensor, "*shape"]:
    """Read spike times on a grid of steps: `step = floor(time * n_steps)`.

    A time within four roundings of a step's edge is taken to lie on it, so that `step / n_steps`
    always comes back as `step`; a spike at the frame's end (time 1) belongs to the last step.

    Args:
        times: spike times in frames, in [0, 1], or `inf`; float32 or float64.
        n_steps: steps per frame, T.

    Returns:
        int16 steps in 0..n_steps-1; silent units hold `n_steps`.

    Raises:
        ValueError: if a time is NaN, negative or later than the frame, times are in half precision
            or integers, or n_steps < 1.

    Example:
        >>> spike_steps(torch.tensor([0.0, 0.1, 0.99, 1.0, float("inf")]), n_steps=10)
        tensor([ 0,  1,  9,  9, 10], dtype=torch.int16)
    """
    check_n_steps(n_steps)
    times = check_times(times)
    nudge = 1.0 + 4.0 * torch.finfo(times.dtype).eps
    steps = torch.floor(times * nudge * n_steps).clamp(max=n_steps - 1)
    return torch.where(torch.isposinf(times), float(n_steps), steps).to(torch.int16)


def spike_frames(steps: Any, n_steps: int) -> Float[Tensor, "time *shape"]:
    """Expand spike steps into a dense spike tensor, time first: 1 where a unit spikes, else 0.

    Args:
        steps: spike steps in 0..n_steps, `n_steps` for silence.
        n_steps: steps per frame, T.

    Raises:
        ValueError: if a step lies outside 0..n_steps.

    Example:
        >>> spike_frames(torch.tensor([1, 0, 2]), n_steps=2)
        tensor([[0., 1., 0.],
                [1., 0., 0.]])
    """
    found: Tensor = check_steps(steps, n_steps)
    grid = torch.arange(n_steps, device=found.device).view(-1, *[1] * found.dim())
    return (found == grid).float()


def steps_from_frames(frames: Any) -> Int[Tensor, "*shape"]:
    """Read a dense spike tensor back into spike steps; the inverse of `spike_frames`.

    Args:
        frames: `[T, ...]`, 0 or 1, in numbers of any type: a tensor, or an array as tonic makes it.

    Raises:
        ValueError: if a value is neither 0 nor 1, or a unit spikes more than once.

    Example:
        >>> steps_from_frames(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
        tensor([1, 0, 2], dtype=torch.int16)
    """
    frames = tensor(frames, "Spike frames")
    check_n_steps(frames.shape[0] if frames.dim() else 0)
    spikes = frames != 0
    if not torch.equal(spikes, frames == 1):
        raise ValueError("Spike frames must hold only 0 and 1. Threshold the tensor first.")
    counts = spikes.sum(dim=0)
    if (counts > 1).any():
        raise ValueError(
            f"{int((counts > 1).sum())} units spike more than once; a rank code has one spike "
            "per unit. Keep the first spike of each unit, or use a format with several."
        )
    steps = torch.where(counts > 0, spikes.byte().argmax(dim=0), frames.shape[0])
    return steps.to(torch.int16)


KINDS[Decision] = check_decision  # by what it can do: others have decisions of their own


@typed
def decision_spikes(
    decision: Decision,
    n_steps: int,
    n_classes: int,
    *,
    forced: Literal["silent", "spike"] = "silent",
) -> Float[Tensor, "time batch classes"]:
    """Write decisions as an output spike tensor, at most one spike per sample.

    The layout is that of snnTorch and norse: `[time, batch, class]`, float32, 0 or 1.

    A sample that never reached θ has answered without a spike. By default its row stays silent,
    which is the truth; `forced="spike"` writes the forced answer at its step, T-1.

    Know what snnTorch 1.0 makes of both. `accuracy_temporal` and the `*_temporal_loss` functions
    give every silent neuron a shadow spike at the last step. So an all-silent sample, and equally
    a real spike at the last step, is a tie of all classes, which `accuracy_temporal` resolves as
    class 0. Pass one step more than the model has, `n_steps=T + 1`, with `forced="spike"`: then
    every real spike precedes the shadows, and `accuracy_temporal` equals the decisions' accuracy.

    Args:
        decision: the decisions of a step model.
        n_steps: steps of the tensor; the model's T, or more to append empty steps.
        n_classes: number of classes, C.
        forced: what becomes of an answer without a threshold crossing.

    Raises:
        ValueError: if a label or step is out of range, or the decision has no steps.

    Example:
        >>> d = Decision(label=torch.tensor([2, 0]), time=torch.tensor([0.5, 1.0]),
        ...              step=torch.tensor([0, 1]), fired=torch.tensor([True, False]),
        ...              scores=torch.eye(3)[[2, 0]])
        >>> decision_spikes(d, n_steps=2, n_classes=3).nonzero().tolist()  # step, sample, class
        [[0, 0, 2]]
    """
    check_n_steps(n_steps)
    if forced not in ("silent", "spike"):
        raise ValueError(f'forced must be "silent" or "spike", got {forced!r}.')
    if decision.step is None:
        raise ValueError(
            "This decision is in continuous time and has no steps; bin decision.time on a grid "
            "that covers its latest spike and set decision.step."
        )
    check_labels(decision.label, n_classes)
    step = check_decision_steps(decision.step, n_steps)
    spikes = torch.zeros(n_steps, len(decision), n_classes, device=decision.label.device)
    sample = torch.arange(len(decision), device=spikes.device)
    if forced == "silent":
        step, sample = step[decision.fired], sample[decision.fired]
    spikes[step, sample, decision.label[sample]] = 1.0
    return spikes
