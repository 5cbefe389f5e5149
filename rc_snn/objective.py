r"""What rank-coded training minimises (Eq. 7), and the entropy reward above which nothing fires."""

import math
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from rc_snn.borders.numbers import count, number
from rc_snn.borders.signatures import typed
from rc_snn.spikes import check_labels, check_theta


def entropy(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
    """Return the entropy H of softmax(logits), in nats, finite for any finite logits.

    Example:
        >>> import torch
        >>> round(entropy(torch.zeros(1, 10)).item(), 4)  # ln 10
        2.3026
    """
    log_p = F.log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)


@typed
def rc_loss(
    logits: Float[Tensor, "batch classes"], target: Any, beta: float = 0.0
) -> Float[Tensor, ""]:
    r"""Mean rank-coding loss over the batch, from the logits at each sample's decision step.

    .. math:: \mathcal{L}_{RC} = -\ln \hat y_{j}(t_{sp}) - \beta H(\hat y(t_{sp}))

    With the logits of the last step it is the end-of-sequence (EOS) loss. For the sigmoid read-out
    of two-class tasks the logits are `[0, z]`, and it is the binary cross-entropy of sigmoid(z).

    Args:
        logits: unnormalised class scores at t_sp. The paper uses a softmax; the authors' MNIST
            notebook feeds sigmoids to a loss that applies softmax a second time.
        target: class indices, 0..classes-1.
        beta: reward of output entropy, >= 0; above `critical_beta` the network learns not to fire.

    Raises:
        ValueError: if a class index is no whole number in range, there is not one for each sample,
            or beta is negative or not finite.

    Source: Jeffares et al., ICLR 2022, Eq. 7.

    Example:
        >>> import torch
        >>> rc_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]), beta=0.5)  # (1 - 0.5) ln 2
        tensor(0.3466)
    """
    target = check_labels(target, logits.shape[-1], len(logits))
    beta = check_beta(beta)
    log_p = F.log_softmax(logits, dim=-1)
    loss = F.nll_loss(log_p, target)
    if beta:
        loss = loss + beta * (log_p.exp() * log_p).sum(dim=-1).mean()
    return loss


def max_pooling_loss(logits: Float[Tensor, "time batch classes"], target: Any) -> Float[Tensor, ""]:
    r"""Mean loss of the logits pooled over time: each class counts at its own best step.

    .. math:: L = -\ln \operatorname{softmax}_j \big( \max_t z(t) \big)

    A peer of rank coding: it trains early answers without saying when to stop, and the threshold
    comes afterwards.

    Source: Sun et al., SLT 2016, Eq. 4, the loss at the best step of a single keyword, and at every
    step of the background. With several keywords that alone is met by a network that names every
    class at some step, whatever it hears, and ours learned just this; so here the other classes
    are held down at their own best steps.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[5.0, 0.0]], [[0.0, 5.0]]])  # either class, at a step each
        >>> max_pooling_loss(logits, torch.tensor([1]))  # ln 2
        tensor(0.6931)
    """
    target = check_labels(target, logits.shape[-1], logits.shape[1])
    return F.cross_entropy(logits.amax(dim=0), target)


def every_step_loss(logits: Float[Tensor, "time batch classes"], target: Any) -> Float[Tensor, ""]:
    r"""Mean loss over all steps, each with the sequence's label.

    .. math:: L = -\frac{1}{T} \sum_t \ln \hat y_j(t)

    Source: the early classification loss of EMI-RNN, Dennis et al., NeurIPS 2018, section 3.2,
    without its multiple instances: our sequences are one utterance each.

    Example:
        >>> import torch
        >>> every_step_loss(torch.zeros(5, 1, 2), torch.tensor([1]))  # ln 2 at each
        tensor(0.6931)
    """
    target = check_labels(target, logits.shape[-1], logits.shape[1])
    return F.cross_entropy(logits.flatten(0, 1), target.repeat(len(logits)))


def prefix_loss(
    logits: Float[Tensor, "pairs classes"], sample: Int[Tensor, " pairs"], target: Any
) -> Float[Tensor, ""]:
    r"""Mean loss over the steps up to each sample's spike, each with the sequence's label.

    .. math:: L = -\frac{1}{B} \sum_i \frac{1}{t_{sp,i} + 1} \sum_{t \le t_{sp,i}} \ln \hat y_j(t)

    `every_step_loss`, cut at the spike: nothing after it is computed.

    Args:
        logits: of each step of each sample, as `rc_snn.runner.run_with_prefix` returns them.
        sample: whose logits these are.
        target: class indices, one for each sample.

    Raises:
        ValueError: if a class index is no whole number in range, or a sample has no step.

    Source: ours.

    Example:
        >>> import torch
        >>> sample = torch.tensor([0, 1, 1])
        >>> prefix_loss(torch.zeros(3, 2), sample, torch.tensor([1, 0]))  # ln 2 at each
        tensor(0.6931)
    """
    target = check_labels(target, logits.shape[-1])
    steps = torch.bincount(sample, minlength=len(target))
    if len(steps) != len(target) or not (steps > 0).all():
        raise ValueError(
            f"Each of {len(target)} samples needs a step at least, and no other may have one; got "
            f"steps of {int((steps > 0).sum())} of {len(steps)}."
        )
    each = F.cross_entropy(logits, target[sample], reduction="none")
    return (each / steps[sample]).sum() / len(target)


def draw_thetas(
    n: int, low: float, high: float, generator: torch.Generator
) -> Float[Tensor, " samples"]:
    r"""Draw thresholds for training: uniform in their log-odds.

    .. math:: \operatorname{logit} \theta \sim U(\operatorname{logit} \theta_{low},
              \operatorname{logit} \theta_{high})

    A network trained with one threshold is asked at lower ones for answers that it never learned;
    with a threshold drawn anew for each sample it learns them all, and still computes nothing after
    a spike. In log-odds, so that the sure end, where thresholds crowd near 1, has its share.

    Args:
        n: number of samples.
        low: lower bound of θ, in (0, 1). Below 1 / classes every sample fires at step 0.
        high: upper bound, above it and below 1.
        generator: where they are drawn from.

    Raises:
        ValueError: if a bound is outside (0, 1), or they are not in this order.

    Source: ours; see docs/anytime.md.

    Example:
        >>> import torch
        >>> draw_thetas(3, 0.3, 0.99, torch.Generator().manual_seed(0))
        tensor([0.9883, 0.9528, 0.8393], dtype=torch.float64)
    """
    low, high = check_theta_range(low, high)
    ends = torch.tensor([low, high], dtype=torch.float64).logit()
    share = torch.rand(n, generator=generator, dtype=torch.float64)
    return torch.lerp(ends[0], ends[1], share).sigmoid()


def check_theta_range(low: float, high: float) -> tuple[float, float]:
    """Return the bounds of drawn thresholds; refuse what is no range inside (0, 1)."""
    low, high = check_theta(low), check_theta(high)
    if not low < high:
        raise ValueError(
            f"Thresholds are drawn between two bounds, theta_low < theta_high; got {low} and "
            f"{high}. For one threshold leave both out."
        )
    return low, high


def critical_beta(theta: float, n_classes: int) -> float:
    r"""Return β_c, the entropy reward above which a converged model never reaches θ.

    On a sample that the network can separate perfectly, the minimum of Eq. 7 has the right class
    at :math:`p^*` and the others at :math:`r = (1-p^*)/(K-1)`. There
    :math:`\partial L / \partial p = -1/p + \beta \ln(p/r) = 0`, so
    :math:`\beta\, p^* (\operatorname{logit}(p^*) + \ln(K-1)) = 1`. The left side grows with
    :math:`p^*`, hence :math:`p^* > \theta` if and only if

    .. math:: \beta < \beta_c = \frac{1}{\theta\,(\operatorname{logit}(\theta) + \ln(K-1))}

    It is infinite where the denominator is not positive: there even a uniform output fires.

    Args:
        theta: threshold θ, in (0, 1).
        n_classes: number of classes K, at least 2.

    Source: minimum of Eq. 7 of Jeffares et al., ICLR 2022, derived here; the paper names the two
    regimes (section 3.3) but gives no bound.

    Example:
        >>> round(critical_beta(theta=0.95, n_classes=10), 4)
        0.2047
    """
    theta = check_theta(theta)
    n_classes = count(n_classes, "n_classes", low=2)
    denominator = theta * (math.log(theta / (1.0 - theta)) + math.log(n_classes - 1))
    return 1.0 / denominator if denominator > 0.0 else math.inf


def check_beta(beta: float) -> float:
    """Return an entropy reward; refuse one that is negative or not a number."""
    found = number(beta, "beta")
    if not 0.0 <= found < math.inf:
        raise ValueError(f"beta must be finite and >= 0, got {beta}. 0 turns the reward off.")
    return found


def warn_if_never_fires(beta: float, theta: float, n_classes: int) -> None:
    """Warn where β is at or above β_c: legal, but the network will learn to wait for the end."""
    check_beta(beta)
    bound = critical_beta(theta, n_classes)
    if beta >= bound:
        warnings.warn(
            f"beta={beta} is at or above critical_beta={bound:.4f} (theta={theta}, {n_classes} "
            "classes): as training converges no output reaches theta, every answer is forced at "
            f"the last step, and nothing is saved. For early answers take beta < {bound:.4f}.",
            stacklevel=3,
        )
