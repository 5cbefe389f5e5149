"""The two-sequence problem: a generator, and the exact posterior, which no observer can beat.

Is the mean of a noisy sequence positive or negative, and after how many steps is it clear?
"""

import math
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rc_snn.borders.numbers import check_fields, count, finite, tensor
from rc_snn.sequences import DenseSequences, Labelled
from rc_snn.spikes import check_n_steps

QUADRATURE = 48
"""Gauss-Legendre nodes over log σ; with 32, log-odds of the paper's sequences differ by 1e-11."""


@dataclass(frozen=True)
class TwoSequence:
    """The generative model: x_t ~ N(±mean, σ²), σ ~ U(low, high), one σ for a sequence.

    Both classes are equally likely; class 1 has the positive mean.

    Raises:
        ValueError: if n_steps is not positive, the mean is not, or the noise has no range.

    Source: Jeffares et al., ICLR 2022, section 3.2; Hochreiter & Schmidhuber 1997, task 3.
    """

    n_steps: int = 40
    """Steps of a sequence, T."""
    mean: float = 0.05
    """Distance of either mean from zero, in units of the input."""
    low: float = 0.05
    """Smallest standard deviation σ of the noise, in units of the input."""
    high: float = 0.25
    """Largest standard deviation σ."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_n_steps(self.n_steps)
        if not (0.0 < self.mean < math.inf and 0.0 < self.low < self.high < math.inf):
            raise ValueError(
                "The mean must be positive and the noise have 0 < low < high, all finite; got "
                f"{asdict(self)}. The paper uses mean 0.05 and σ in 0.05..0.25."
            )


PAPER = TwoSequence()
"""The problem as published."""


def two_sequence(n: int, generator: torch.Generator, problem: TwoSequence = PAPER) -> Labelled:
    """Draw labelled sequences of the two-sequence problem, `[time, batch, 1]`.

    Args:
        n: how many, at least 1.
        generator: source of classes, noise levels and noise, in this order.
        problem: the generative model.

    Raises:
        ValueError: if n is not positive.

    Source: Jeffares et al., ICLR 2022, section 3.2 and appendix A.2.

    Example:
        >>> data = two_sequence(3, torch.Generator().manual_seed(0))
        >>> data.inputs.frames.shape, data.labels.tolist()
        (torch.Size([40, 3, 1]), [0, 1, 1])
    """
    if count(n, "n") < 1:
        raise ValueError(f"n must be at least 1 sequence, got {n}.")
    labels = torch.randint(2, (n,), generator=generator)
    sigma = problem.low + (problem.high - problem.low) * torch.rand(n, generator=generator)
    frames = torch.randn(problem.n_steps, n, generator=generator)
    frames.mul_(sigma).add_(problem.mean * (2.0 * labels - 1.0))
    return Labelled(DenseSequences(frames.unsqueeze(2)), labels)


@cache
def _nodes(low: float, high: float, n: int) -> tuple[Tensor, Tensor]:
    """Return σ at the nodes, and the logarithm of weight times dσ / d log σ over the range."""
    x, weight = np.polynomial.legendre.leggauss(n)
    half = (math.log(high) - math.log(low)) / 2.0
    sigma = torch.from_numpy(low * np.exp(half * (x + 1.0)))
    return sigma, torch.from_numpy(half * weight / (high - low)).log() + sigma.log()


def log_evidence(
    n_seen: int,
    squares: Float[Tensor, "*shape"],
    problem: TwoSequence = PAPER,
    *,
    nodes: int = QUADRATURE,
) -> Float[Tensor, "*shape"]:
    r"""Return the log-likelihood of observations given their class, σ integrated out.

    .. math:: F_n(Q) = \ln \int_a^b \sigma^{-n} e^{-Q / 2\sigma^2} \frac{d\sigma}{b - a},
        \qquad Q_\pm = \sum_{i \le n} (x_i \mp \mu)^2

    The factor :math:`(2\pi)^{-n/2}`, the same for both classes, is left out. The integral is taken
    by Gauss-Legendre quadrature over log σ, in log space. (It has a closed form with incomplete
    gamma functions, which cancels where Q lies outside n a² .. n b²; the tests compare the two.)

    Args:
        n_seen: number of observations n, at least 1.
        squares: sum of squared distances Q from the mean of the class, float64.
        problem: the generative model.
        nodes: quadrature nodes.

    Example:
        >>> log_evidence(1, torch.tensor([0.01], dtype=torch.float64))
        tensor([1.5984], dtype=torch.float64)
    """
    n_seen, squares = count(n_seen, "n_seen", low=1), finite(tensor(squares, "squares"), "squares")
    if (squares < 0).any():
        raise ValueError(f"Sums of squares must be >= 0, got {squares.min():g}.")
    sigma, log_weight = _nodes(problem.low, problem.high, nodes)
    at_node = log_weight - n_seen * sigma.log()
    exponent = torch.addr(at_node.unsqueeze(1), -0.5 / sigma.square(), squares.flatten())
    largest = exponent.amax(dim=0)  # logsumexp, in place: a third of the time
    total = exponent.sub_(largest).exp_().sum(dim=0)
    return (largest + total.log()).view(squares.shape)


def log_odds(
    frames: Float[Tensor, "time batch 1"], problem: TwoSequence = PAPER, *, nodes: int = QUADRATURE
) -> Float[Tensor, "time batch"]:
    r"""Return the exact log-odds of class 1 after each step, float64.

    .. math:: \ln \frac{P(1 \mid x_{0..t})}{P(0 \mid x_{0..t})} = F_{t+1}(Q_+) - F_{t+1}(Q_-)

    Their sigmoid is the posterior. It needs no more of the past than :math:`t`, :math:`\sum x` and
    :math:`\sum x^2`, because :math:`Q_\pm = \sum x^2 \mp 2 \mu \sum x + (t+1) \mu^2`.

    Args:
        frames: sequences, finite; the log-odds at a step use it and the steps before.
        problem: the generative model.
        nodes: quadrature nodes over log σ.

    Raises:
        ValueError: if an input is not finite.

    Example:
        >>> log_odds(torch.tensor([[[0.05]], [[0.05]], [[-0.25]]])).squeeze(1)
        tensor([ 0.4869,  1.1583, -0.6455], dtype=torch.float64)
    """
    if frames.dim() != 3 or frames.shape[2] != 1 or len(frames) == 0:
        raise ValueError(f"frames must be [time, batch, 1], got {list(frames.shape)}.")
    x = frames.squeeze(2).double()
    if not torch.isfinite(x).all():
        raise ValueError(
            f"{int((~torch.isfinite(x)).sum())} of {x.numel()} inputs are not finite; a posterior "
            "needs numbers. Remove those sequences."
        )
    above, below = ((x - sign * problem.mean).square().cumsum(dim=0) for sign in (1.0, -1.0))
    steps = [
        log_evidence(t + 1, above[t], problem, nodes=nodes)
        - log_evidence(t + 1, below[t], problem, nodes=nodes)
        for t in range(len(x))
    ]
    return torch.stack(steps)


def posterior(
    frames: Float[Tensor, "time batch 1"], problem: TwoSequence = PAPER
) -> Float[Tensor, "time batch classes"]:
    """Return the exact class probabilities after each step; see `log_odds`.

    Example:
        >>> posterior(torch.tensor([[[0.05]]]))
        tensor([[[0.3806, 0.6194]]], dtype=torch.float64)
    """
    odds = log_odds(frames, problem)
    return torch.stack([torch.sigmoid(-odds), torch.sigmoid(odds)], dim=2)
