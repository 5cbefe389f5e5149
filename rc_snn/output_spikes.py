"""Output spikes of any spiking network, as its library returns them, read as decisions."""

import math
import warnings
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from rc_snn.borders.signatures import typed
from rc_snn.spikes import Decision, check_n_steps, crossed, first_step

Rule: TypeAlias = Literal["first", "count"]
Spikes: TypeAlias = Num[Tensor, "time batch classes"] | Bool[Tensor, "time batch classes"]
Potential: TypeAlias = Float[Tensor, "time batch classes"]


@typed
def decisions_from_spikes(
    spikes: Spikes,
    potential: Potential | None = None,
    rule: Rule = "first",
    theta: int | None = None,
) -> Decision:
    r"""Read decisions off the output spikes of snnTorch, norse, SpikingJelly or any other network.

    With the counts :math:`n_k(t) = \sum_{s \le t} z_k(s)` a sample answers at

    .. math:: t^* = \min \{ t : \max_k n_k(t) \ge \theta \}, \quad t^* = T - 1 \text{ if none}

    "first" is θ = 1, time-to-first-spike; "count" is a race to θ spikes. "count" without θ answers
    at the end with the largest count, as `snntorch.functional.accuracy_rate` does; then, as in
    `rc_snn.decide` without θ, nothing fires. A sample that never reaches θ has `fired=False`, and
    answers at step T-1 with the largest count.

    Where several classes reach θ in the same step, the one with the largest potential answers.
    Without potentials that is refused, as the order of the classes would decide. Equal counts at
    the end are told apart by the potential, too; without it the first of these classes answers,
    which is `accuracy_rate`'s answer, and a warning says how many samples that concerns.

    Args:
        spikes: 0 or 1, time first; batch-first output needs `.transpose(0, 1)`.
        potential: of the same neurons, **before their reset**. snnTorch's `mem` is (its reset comes
            a step later); norse's `v` is not: there a neuron that spiked holds 0.
        rule: "first" or "count".
        theta: spikes that a class needs, for "count".

    Returns:
        The decisions. Scores are the potentials at the decision for "first" (spikes where there are
        none), and the counts there for "count".

    Raises:
        ValueError: if spikes are not 0 or 1 or not `[T, B, C]`, if the potential has another shape,
            is not finite or is that after the reset, if θ does not fit the rule, or if classes tie.

    Warns:
        UserWarning: if no sample reaches θ, or if the order of the classes has decided.

    Source: ties in snnTorch 1.0: `accuracy_temporal` and `accuracy_rate` answer with the lowest
    class, without a word, and with class 0 for silence.

    Example:
        >>> spikes = torch.tensor([[[0, 1]], [[1, 0]], [[1, 0]]])  # 3 steps, a sample, 2 classes
        >>> decisions_from_spikes(spikes).label
        tensor([1])
        >>> answer = decisions_from_spikes(spikes, rule="count", theta=2)
        >>> answer.label, answer.step, answer.fired
        (tensor([0]), tensor([2]), tensor([True]))
    """
    if rule not in get_args(Rule):
        raise ValueError(f'rule must be "first" or "count", got {rule!r}.')
    if rule == "first" and theta not in (None, 1):
        raise ValueError(
            f'"first" answers at the first spike, got theta={theta}. Use rule="count" for theta '
            "spikes."
        )
    if theta is not None and (type(theta) is not int or theta < 1):
        raise ValueError(
            f"theta counts spikes here, 1 or more, got {theta}. For a threshold on probabilities "
            'run the network as a step model: bridges\' SNNTorchModel(..., features="count").'
        )
    needed = 1 if rule == "first" else theta
    counts, found = _race(spikes, potential, needed)
    if needed is not None and not found.fired.any():
        most = int(counts[-1].max())
        do = (
            "No output neuron ever spikes: lower its threshold, raise its weights, run more steps, "
            "or read its potential by rc_snn.decide."
            if most == 0
            else f"Take theta <= {most}, the largest count of any class, or None to answer at the "
            "end."
        )
        warnings.warn(
            f"None of {len(found)} samples reaches theta={needed} output spikes, so that all are "
            f"forced to answer at step {len(spikes) - 1}. {do}",
            stacklevel=2,
        )
    return found


def first_output_spike(spikes: Spikes, potential: Potential | None = None) -> Decision:
    """Decide by the first output spike: `decisions_from_spikes`, which silence does not warn.

    Example:
        >>> v = torch.tensor([[[0.5, 0.2]], [[1.2, 1.5]]])
        >>> decision = first_output_spike((v > 1.0).float(), v)
        >>> decision.label, decision.step, decision.fired
        (tensor([1]), tensor([1]), tensor([True]))
    """
    return _race(spikes, potential, 1)[1]


@torch.no_grad()
def _race(
    spikes: Spikes, potential: Potential | None, theta: int | None
) -> tuple[Num[Tensor, "time batch classes"], Decision]:
    """Return the counts of all steps, and who was first to have θ spikes."""
    _check(spikes, potential)
    counts = spikes.long().cumsum(dim=0)
    reached = crossed(counts.double(), math.inf if theta is None else float(theta))
    step, fired = first_step(reached.any(dim=2))
    rows = torch.arange(len(step), device=step.device)
    at = counts[step, rows]
    best = torch.where(fired.unsqueeze(1), reached[step, rows], at == at.amax(dim=1, keepdim=True))
    scores = at.to(torch.get_default_dtype() if potential is None else potential.dtype)
    if potential is not None:
        v = potential[step, rows].masked_fill(~best, -torch.inf)
        best = v == v.amax(dim=1, keepdim=True)
        if theta == 1:
            scores = potential[step, rows]
    tied = best.sum(dim=1) > 1
    _check_ties(tied, fired, spikes, potential)
    own = Decision.at_steps(step, len(spikes), fired, scores)
    return counts, replace(own, label=best.int().argmax(dim=1))


def _check(spikes: Tensor, potential: Tensor | None) -> None:
    if spikes.dim() != 3 or 0 in spikes.shape:
        raise ValueError(
            f"Output spikes are [time, batch, classes], none of them 0, got {list(spikes.shape)}. "
            "Stack the outputs of all steps: torch.stack(outputs)."
        )
    check_n_steps(len(spikes))
    if not ((spikes == 0) | (spikes == 1)).all():
        raise ValueError(
            "Output spikes are 0 or 1, got other values. Pass the spikes first and the potential "
            "second; a read-out that does not spike is a step model (rc_snn.decide)."
        )
    if potential is None:
        return
    if potential.shape != spikes.shape:
        raise ValueError(
            f"The potential must have the spikes' shape {list(spikes.shape)}, got "
            f"{list(potential.shape)}."
        )
    broken = ~torch.isfinite(potential).all(dim=2).all(dim=0)
    if broken.any():
        raise ValueError(
            f"The output potentials of {int(broken.sum())} of {len(broken)} samples are not "
            "finite. Lower the learning rate, or check the input for NaN."
        )


def _check_ties(tied: Tensor, fired: Tensor, spikes: Tensor, potential: Tensor | None) -> None:
    """Refuse ties that the order of the classes would decide; warn where it did."""
    several, n = int((tied & fired).sum()), len(tied)
    together = f"Of {several} of {n} samples several classes reach the threshold in one step"
    if potential is None:
        if several:
            raise ValueError(
                f"{together}. Pass their potential before the reset, `potential=` [T, B, C], which "
                "tells them apart."
            )
        if tied.any():
            warnings.warn(
                f"{int(tied.sum())} of {n} samples do not reach a threshold, and several classes "
                "have equally many spikes; the first of these classes answers. Pass potential= to "
                "tell them apart.",
                stacklevel=5,
            )
    elif several:
        if len(potential[spikes != 0].unique()) == 1:
            raise ValueError(
                f"{together}, and the potential is the same at every spike: it is that after the "
                "reset, or the spikes themselves. Pass the potential before the reset."
            )
        warnings.warn(
            f"{together}, with equal potentials; the first of these classes answers.", stacklevel=5
        )
