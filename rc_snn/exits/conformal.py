"""Thresholds with a guarantee on wrong early answers, whatever the network and the data are.

Both need samples that neither network nor score were fitted to, drawn like those to come. An answer
is early if the score reached the threshold before the last step; the answer that is forced there is
that of the whole sequence, and no threshold makes it better.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rc_snn.borders.numbers import number
from rc_snn.exits.curves import ROUNDING, as_scores, as_thresholds, checked, first_reached


def conformal_threshold(
    score: Float[Tensor, "time batch"], right: Bool[Tensor, "time batch"], epsilon: float
) -> float:
    r"""Return the lowest threshold with P(early and wrong) <= ε, by split conformal prediction.

    A sample's nonconformity is the highest threshold at which it would be answered early and wrong,

    .. math:: b_i = \max \{ s_i(t) : t < T - 1,\ \text{wrong at } t,\ s_i(t) > s_i(t') \ \forall\,
        t' < t \}, \quad b_i = -\infty \text{ if none,}

    and the threshold lies just above the k-th largest of n, k = ⌊ε (n + 1)⌋. Then for a new sample,
    exchangeable with these, the mean over draws of calibration set and sample is

    .. math:: P(\text{early and wrong at } \hat\theta) \le P(b_{n+1} \ge \hat\theta) \le \epsilon

    It is a share of all samples, not of the early ones (`selective_threshold` is for those), and
    holds on average over calibration sets, not for each.

    Args:
        score: of each step and sample, larger is surer; of calibration data.
        right: whether an answer at that step would be right.
        epsilon: ε, largest share of samples that may be answered early and wrong, in (0, 1).

    Returns:
        Threshold for `exit_at`, reached with `>=`: inf, which never exits early, if
        n < 1/ε - 1, too few samples to say anything; -inf if no sample needs a higher one.

    Raises:
        ValueError: if ε is outside (0, 1), there is no sample, or a score is NaN.

    Source: Vovk et al., "Algorithmic Learning in a Random World" (2005), with the nonconformity
    above, which is ours; it is the conformal risk control of Angelopoulos et al., ICLR 2024
    (https://arxiv.org/abs/2208.02814), of a 0-1 loss. SpikeCP (Chen et al., 2023,
    https://arxiv.org/abs/2305.11322) stops spiking networks by the size of conformal sets instead.

    Example:
        >>> score = torch.tensor([[0.9, 0.6, 0.8], [1.0, 1.0, 1.0]])
        >>> right = torch.tensor([[True, False, True], [True, True, True]])
        >>> conformal_threshold(score, right, 0.25) > 0.6  # k = 1: above 0.6, not above 0.9
        True
        >>> conformal_threshold(score, right, 0.5)  # k = 2: one of three may be wrong
        -inf
    """
    epsilon = _checked_share("epsilon", epsilon)
    score, right, _ = checked(as_scores(score, fitted=True), right)
    n = score.shape[1]
    allowed = math.floor(epsilon * (n + 1) + ROUNDING)
    if allowed < 1:
        return math.inf
    highest = score.cummax(dim=0).values
    before = torch.cat([torch.full_like(highest[:1], -torch.inf), highest[:-1]])
    wrong_at = score.masked_fill(right | (score <= before), -torch.inf)[:-1]
    if len(wrong_at) == 0:
        return -math.inf
    nonconformity = wrong_at.amax(dim=0)
    limit = nonconformity.sort(descending=True).values[allowed - 1]
    if limit.isneginf():
        return -math.inf
    return float(torch.nextafter(limit, limit.new_tensor(torch.inf)))


def selective_threshold(
    score: Float[Tensor, "time batch"],
    right: Bool[Tensor, "time batch"],
    thresholds: Float[Tensor, " points"],
    epsilon: float,
    delta: float = 0.1,
) -> float:
    r"""Return the lowest threshold that is certified to have P(wrong | early) <= ε.

    Of N samples that answer early, W wrong, W is binomial; "the error is above ε" is rejected at

    .. math:: P(\mathrm{Bin}(N, \epsilon) \le W) \le \delta / m ,

    with m the number of thresholds (Bonferroni). So with probability 1 - δ over calibration sets,
    all thresholds that are certified, and the one returned, have an error of at most ε among early
    answers. At least ln(m/δ) / -ln(1 - ε) early answers are needed, 66 of m = 100, δ = ε = 0.1.

    Args:
        score: of each step and sample, larger is surer; of calibration data.
        right: whether an answer at that step would be right.
        thresholds: candidates, named before the calibration data are seen: few and well apart.
        epsilon: ε, largest share of wrong answers among the early ones, in (0, 1).
        delta: δ, how often calibration sets may mislead, in (0, 1).

    Returns:
        One of `thresholds`; inf, which never exits early, if none is certified.

    Raises:
        ValueError: if ε or δ is outside (0, 1), there is no sample, or a score is NaN.

    Source: Learn then Test (Angelopoulos et al., Annals of Applied Statistics 2025,
    https://arxiv.org/abs/2110.01052); for early classification Ringel et al., ICML 2024
    (https://arxiv.org/abs/2402.00857), who bound the loss of accuracy against the whole sequence.

    Example:
        >>> score = torch.tensor([[0.9] * 60 + [0.6] * 60, [1.0] * 120])
        >>> right = torch.tensor([[True] * 60 + [False] * 60, [True] * 120])
        >>> round(selective_threshold(score, right, torch.tensor([0.5, 0.8]), 0.1), 2)
        0.8
    """
    epsilon, delta = _checked_share("epsilon", epsilon), _checked_share("delta", delta)
    score, right, _ = checked(as_scores(score, fitted=True), right)
    thresholds = as_thresholds(thresholds, score)
    sample = torch.arange(score.shape[1], device=score.device)
    certified = math.inf
    for threshold in thresholds.tolist():
        step = first_reached(score, torch.full_like(score[:, 0], threshold))
        early = step < len(score) - 1
        wrong = early & ~right[step, sample]
        chance = binomial_at_most(int(wrong.sum()), int(early.sum()), epsilon)
        if chance <= delta / len(thresholds):
            certified = min(certified, threshold)
    return certified


def binomial_at_most(k: int, n: int, p: float) -> float:
    """Return P(Bin(n, p) <= k). SciPy has it too, and takes longer to import than all of this.

    Example:
        >>> round(binomial_at_most(1, 3, 0.5), 6)
        0.5
    """
    i = torch.arange(k + 1, dtype=torch.float64)
    whole = torch.tensor(float(n), dtype=torch.float64)
    ways = torch.lgamma(whole + 1) - torch.lgamma(i + 1) - torch.lgamma(whole - i + 1)
    return float((ways + i * math.log(p) + (n - i) * math.log1p(-p)).exp().sum())


def _checked_share(name: str, value: float) -> float:
    found = number(value, name)
    if not 0.0 < found < 1.0:
        raise ValueError(f"{name} must be in (0, 1), got {value}.")
    return found
