"""When to answer: exit rules, each a score per step and sample, and one way to read them.

All rules have the form of rank coding: the answer is the likeliest class at the first step with
`score >= threshold`. They differ in the score, which is computed from a trace, the logits at every
step (`rc_snn.runner.trace`); larger means surer. No score looks ahead: at step t it depends on the
logits up to t, so that each rule could run in a stream.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rc_snn.borders.checks import check_numbers
from rc_snn.borders.signatures import typed
from rc_snn.exits.curves import as_scores, as_thresholds
from rc_snn.objective import entropy
from rc_snn.spikes import Decision, check_labels, crossed, first_step

LARGEST_TEMPERATURE = 1e3
"""Bound of fitted temperatures, and of their inverses: at a step without information the best
temperature is infinite, at one without errors it is zero."""


@typed
def confidence(trace: Float[Tensor, "time batch classes"]) -> Float[Tensor, "time batch"]:
    """Return the largest class probability: the score of RC inference.

    Source: Jeffares et al., ICLR 2022, Eq. 1. As an exit of spiking networks it is SEENN-I of Li et
    al., NeurIPS 2023 (https://github.com/Intelligent-Computing-Lab-Yale/SEENN), with `>` there and
    `>=` here, and on outputs summed over time, which a recurrent state makes unnecessary.

    Example:
        >>> confidence(torch.tensor([[[0.0, 0.0]], [[0.0, 30.0]]]))
        tensor([[0.5000],
                [1.0000]])
    """
    return torch.softmax(trace, dim=-1).amax(dim=-1)


@typed
def log_odds(trace: Float[Tensor, "time batch classes"]) -> Float[Tensor, "time batch"]:
    r"""Return the log-odds of the likeliest class: the same rule as `confidence` on another scale.

    .. math:: \ln \frac{p}{1 - p} = z_k - \ln \sum_{j \ne k} e^{z_j} , \quad k = \arg\max_j z_j

    θ is the threshold logit(θ). The scale is for sums and differences of thresholds, and it does
    not end where float32 probabilities round to 1.

    Example:
        >>> log_odds(torch.tensor([[[0.0, 30.0]]]))
        tensor([[30.]])
    """
    top, k = trace.max(dim=-1, keepdim=True)
    others = trace.scatter(-1, k, -torch.inf).logsumexp(dim=-1)
    return top.squeeze(-1) - others


@typed
def calibrated_confidence(
    trace: Float[Tensor, "time batch classes"], temperature: Float[Tensor, " time"]
) -> Float[Tensor, "time batch"]:
    """Return the largest probability after each step's logits are divided by its temperature.

    Even one temperature for all steps changes the rule, and not only its threshold, where there are
    more than two classes: it moves samples with one rival against samples with many.

    Args:
        trace: logits at every step.
        temperature: of each step, positive; see `fit_temperature`.

    Source: Dynamic Confidence (Li, Jones, Furber, ICCV 2023, https://arxiv.org/abs/2303.10276)
    stops a spiking network by one threshold on a calibrated confidence; the calibration here is
    temperature scaling (Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599).

    Example:
        >>> calibrated_confidence(torch.tensor([[[0.0, 8.0]]]), torch.tensor([1e9]))
        tensor([[0.5000]])
    """
    if not (temperature > 0).all():
        raise ValueError(f"Temperatures must be positive, got {temperature.min().item()}.")
    return confidence(trace / temperature.view(-1, 1, 1))


@typed
def certainty(trace: Float[Tensor, "time batch classes"]) -> Float[Tensor, "time batch"]:
    """Return 1 - H / ln K: 1 if all probability is on one class, 0 if it is uniform.

    Source: BranchyNet (Teerapittayanon et al., ICPR 2016, https://arxiv.org/abs/1709.01686) exits
    at low entropy H; SEENN's code offers this normalised form beside its confidence.

    Example:
        >>> certainty(torch.tensor([[[0.0, 0.0], [0.0, 90.0]]]))
        tensor([[0., 1.]])
    """
    h: Tensor = entropy(trace.flatten(0, 1)).unflatten(0, trace.shape[:2])
    return 1.0 + h / -math.log(trace.shape[-1])


@typed
def top2_gap(trace: Float[Tensor, "time batch classes"]) -> Float[Tensor, "time batch"]:
    """Return how far the largest logit is above the second largest.

    Of logits, as in SNNCutoff, not of probabilities: it is the logarithm of the odds between two
    classes, whatever the others do, and it goes on growing where float32 probabilities have become
    1. With two classes it is the same rule as `confidence`.

    Source: the Top-K cutoff of Wu et al., Frontiers in Neuroscience 2025,
    https://arxiv.org/abs/2301.09522 (code: SNNCutoff, `topk_cutoff.py`). Theirs is the gap of
    outputs summed over time, with `>`, and a threshold for each step, set by a wanted accuracy;
    here the threshold is chosen as for all other rules.

    Example:
        >>> top2_gap(torch.tensor([[[1.0, 4.0, 3.5]]]))
        tensor([[0.5000]])
    """
    if trace.shape[-1] < 2:
        raise ValueError(f"The gap of two classes needs two, got {list(trace.shape)}.")
    first, second = trace.topk(2, dim=-1).values.unbind(dim=-1)
    return first - second


@typed
def patience(trace: Float[Tensor, "time batch classes"]) -> Float[Tensor, "time batch"]:
    """Return for how many steps in a row, this one included, the likeliest class is the same.

    Source: PABEE (Zhou et al., NeurIPS 2020, https://arxiv.org/abs/2006.04152), with steps in place
    of layers. There a patience of n ends after n repetitions, which is a run of n + 1 here.

    Example:
        >>> steps = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> patience(steps.unsqueeze(1)).squeeze(1)
        tensor([1., 2., 1.])
    """
    check_numbers(trace, "the trace")
    label = trace.argmax(dim=-1)
    step = torch.arange(len(label), device=trace.device).unsqueeze(1).expand_as(label)
    changed = torch.ones_like(label, dtype=torch.bool)
    changed[1:] = label[1:] != label[:-1]
    began = torch.where(changed, step, 0).cummax(dim=0).values
    return (step - began + 1).float()


@typed
def fit_temperature(
    trace: Float[Tensor, "time batch classes"],
    labels: Any,
    *,
    per_step: bool = True,
) -> Float[Tensor, " time"]:
    r"""Fit the temperature τ that minimises the negative log-likelihood of softmax(logits / τ).

    In a = 1/τ the likelihood of a step is convex, with the slope

    .. math:: \tfrac{d}{da} \langle -\ln p_y \rangle = \langle \sum_k p_k z_k - z_y \rangle ,
        \quad p = \operatorname{softmax}(a z) ,

    so bisection of the slope's sign finds the minimum of all steps at once, without a step size or
    a stopping rule to choose, where LBFGS would have both.

    Args:
        trace: logits at every step, of samples that the network was not trained on.
        labels: their classes.
        per_step: one temperature for each step; False fits one to all steps together, and returns
            it for each.

    Raises:
        ValueError: if a label is out of range.

    Source: Guo et al., ICML 2017, section 4.2; one temperature per exit is ours.

    Example:
        >>> trace = torch.tensor([0.0, 4.0]).expand(1, 4, 2)  # says 98 %, is right in 75 %
        >>> tau = fit_temperature(trace, torch.tensor([1, 1, 1, 0]))
        >>> round(calibrated_confidence(trace, tau)[0, 0].item(), 4)
        0.75
    """
    labels = check_labels(labels, trace.shape[-1], trace.shape[1])
    check_numbers(trace, "the trace")
    z = trace.detach().double()
    right = z.gather(2, labels.view(1, -1, 1).expand(len(z), -1, 1)).mean(dim=(1, 2))
    high = torch.full((len(z),), math.log(LARGEST_TEMPERATURE), dtype=z.dtype, device=z.device)
    low = -high
    for _ in range(50):
        middle = (low + high) / 2
        p = torch.softmax(middle.exp().view(-1, 1, 1) * z, dim=-1)
        slope = (p * z).sum(dim=-1).mean(dim=1) - right
        if not per_step:
            slope = slope.mean().expand_as(slope)
        low, high = torch.where(slope > 0, low, middle), torch.where(slope > 0, middle, high)
    return (-(low + high) / 2).exp()


@typed
def exit_at(
    score: Any,
    trace: Float[Tensor, "time batch classes"],
    threshold: Any,
) -> Decision:
    """Answer at the first step with `score >= threshold`; at the last step if there is none.

    With `confidence` as score it makes the decisions of `rc_snn.runner.decide`, which computes
    nothing after them; this function is for whole traces.

    Args:
        score: of each step and sample `[time, batch]`, larger is surer.
        trace: logits at every step, for the label and the probabilities of the answer.
        threshold: one for all steps, or one for each `[time]`; -inf always and +inf never exits.

    Returns:
        Decisions in the order of the batch; silence is `step = T-1`, `fired=False`, as everywhere.

    Raises:
        ValueError: if there is no step, or a score or threshold is NaN.

    Example:
        >>> trace = torch.tensor([[[0.0, 1.0]], [[3.0, 0.0]]])
        >>> decision = exit_at(confidence(trace), trace, 0.9)
        >>> decision.label, decision.step, decision.fired
        (tensor([0]), tensor([1]), tensor([True]))
    """
    score = as_scores(score)
    limit = as_thresholds(threshold, score)
    if score.shape != trace.shape[:2] or limit.shape not in ((), (len(score),)):
        raise ValueError(
            f"Scores must be [time, batch] as the trace {list(trace.shape)}, with one threshold or "
            f"one for each step; got {list(score.shape)} and {list(limit.shape)}."
        )
    step, fired = first_step(crossed(score, limit.view(-1, 1)))
    p = torch.softmax(trace[step, torch.arange(len(step), device=step.device)], dim=-1)
    return Decision.at_steps(step, len(score), fired, p)
