"""Metrics of early classification: what an accuracy and its time are worth together.

Time is `earliness`, the share of a sequence that was read, as the field counts it: in (0, 1], and
smaller is earlier. With `(torch.arange(T) + 1) / T` as the clock of `rc_snn.exits.curves.sweep`,
the times of a curve are earlinesses, and the functions here take a whole curve at once.
"""

from typing import Any, TypeVar

from jaxtyping import Float, Int
from torch import Tensor

from rc_snn.borders.numbers import flags, indices, tensor, whole

Number = TypeVar("Number", float, Tensor)
"""One rule's number, or a tensor with one for each rule."""


def earliness(step: Any, length: Any) -> float:
    r"""Return the mean share of a sequence that was read before the answer.

    .. math:: E = \frac{1}{n} \sum_i \frac{\min(s_i + 1, L_i)}{L_i}

    Args:
        step: decision steps, from 0: an answer at step s has read s + 1 steps.
        length: steps of the sequences, L; one for each where they differ. Steps of padding behind
            a sequence's end read nothing more.

    Returns:
        In (0, 1]; 1 is "everything was read". Some papers call 1 - E by this name.

    Raises:
        ValueError: if there is no sample, a step is negative or a length is not positive.

    Source: Schäfer & Leser, TEASER, Data Mining and Knowledge Discovery 34 (2020),
    https://arxiv.org/abs/1908.03405; the same in aeon's early classifiers.

    Example:
        >>> import torch
        >>> earliness(torch.tensor([0, 9]), 10)
        0.55
    """
    step = indices(step, "step")
    lengths = whole(tensor(length, "length"), "length").to(step.device)
    if lengths.shape not in ((), step.shape):
        raise ValueError(
            f"length must be one number, or one for each of {len(step)} samples, got "
            f"{list(lengths.shape)}."
        )
    lengths = lengths.expand_as(step)
    if len(step) == 0 or not (lengths >= 1).all():
        raise ValueError(
            f"Earliness needs at least one sample, steps >= 0 and lengths >= 1; got "
            f"{len(step)} steps"
            + (f" from {int(step.min())}, lengths from {int(lengths.min())}." if len(step) else ".")
        )
    return float(((step + 1).minimum(lengths).double() / lengths).mean())


def average_cost(accuracy: Number, earliness: Number, alpha: float) -> Number:
    r"""Return the mean cost of an answer: an error costs 1, the whole sequence's time costs α.

    .. math:: C = (1 - A) + \alpha E

    Args:
        accuracy: A, in [0, 1].
        earliness: E, in [0, 1]: see `earliness`.
        alpha: price of reading a whole sequence, in errors; >= 0.

    Returns:
        In [0, 1 + α]; smaller is better.

    Raises:
        ValueError: if a share is outside [0, 1], or α is negative.

    Source: Achenchabe et al., Machine Learning 110 (2021), https://arxiv.org/abs/2005.09945: the
    mean over samples of a misclassification cost and a delay cost, here 0 or 1 and
    α t/T. Mori et al., IEEE TNNLS 29 (2018), weigh the same two as
    α' (1 - A) + (1 - α') E, which is C times α' at α = (1 - α') / α'.

    Example:
        >>> import torch
        >>> average_cost(0.75, 0.5, alpha=0.5)
        0.5
    """
    _check_shares(accuracy, earliness)
    if not alpha >= 0.0:
        raise ValueError(f"alpha must be >= 0, got {alpha}.")
    cost: Number = (1.0 - accuracy) + alpha * earliness
    return cost


def harmonic_mean(accuracy: Number, earliness: Number) -> Number:
    r"""Return the harmonic mean of accuracy and of the share that need not be read.

    .. math:: \mathrm{HM} = \frac{2 A (1 - E)}{A + (1 - E)}

    Returns:
        In [0, 1]; larger is better, and it is 0 for a rule that reads everything.

    Raises:
        ValueError: if a share is outside [0, 1].

    Source: Schäfer & Leser, TEASER, 2020, https://arxiv.org/abs/1908.03405.

    Example:
        >>> import torch
        >>> harmonic_mean(0.9, 0.1), harmonic_mean(0.9, 1.0)
        (0.9, 0.0)
    """
    _check_shares(accuracy, earliness)
    saved = 1.0 - earliness
    product: Number = 2.0 * accuracy * saved
    total = accuracy + saved
    return product / (total + (total == 0.0))  # 0 / 0 is the worst of both: 0


def macro_recall(label: Any, labels: Any) -> float:
    r"""Return the mean over classes of the share of a class that is answered right.

    .. math:: R = \frac{1}{K} \sum_k \frac{|\{i : y_i = k,\ \hat y_i = k\}|}{|\{i : y_i = k\}|}

    Also called balanced accuracy: where a class is rare, accuracy hides that it is never named.

    Args:
        label: classes answered.
        labels: the right ones; classes that none of them has do not count in K.

    Raises:
        ValueError: if there is no sample.

    Example:
        >>> import torch
        >>> macro_recall(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1]))
        0.5
    """
    labels = indices(labels, "labels")
    label = indices(label, "label", n=len(labels)).to(labels.device)
    return float(((label == labels) * class_weights(labels)).mean())


def class_weights(labels: Any) -> Float[Tensor, " batch"]:
    r"""Return the weight of each sample with which an accuracy is the macro recall.

    .. math:: w_i = \frac{n}{K \, n_{y_i}}

    Their mean is 1. As `weights` of `rc_snn.exits.curves.sweep` they make its curve that of macro
    recall against mean time.

    Example:
        >>> import torch
        >>> class_weights(torch.tensor([0, 0, 0, 1])).tolist()
        [0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 2.0]
    """
    known: Tensor = indices(labels, "labels")
    if len(known) == 0:
        raise ValueError("Weights of classes need at least one label, got none.")
    count = known.bincount().double()
    return len(known) / ((count > 0).sum() * count[known])


def optimal_cutoff(right: Any) -> Int[Tensor, " batch"]:
    r"""Return the step from which on the answer is right and stays right (OCT).

    .. math:: t^*_i = \min \{ t : \hat y_i(t') = y_i \ \forall\, t' \ge t \}, \quad
        t^*_i = T - 1 \text{ if none}

    No exit rule can know it, for it needs the label and what follows: it is the bound of a trace,
    the earliest stop that costs no accuracy against reading on to the end.

    Args:
        right: whether an answer at that step would be right: see `right_answers`.

    Returns:
        Steps from 0, as everywhere here; SNNCutoff counts timesteps from 1.

    Raises:
        ValueError: if there is no step.

    Source: the optimal cutoff timestep of SNNCutoff, `Evaluator.oct_evaluation`,
    https://github.com/Dengyu-Wu/snncutoff (Wu et al., Frontiers in Neuroscience 2025,
    https://arxiv.org/abs/2301.09522).

    Example:
        >>> import torch
        >>> optimal_cutoff(torch.tensor([[True, True], [False, True], [True, True]]))
        tensor([2, 0])
    """
    table: Tensor = flags(tensor(right, "right"), "right")
    if table.dim() != 2 or len(table) == 0:
        raise ValueError(
            f"right must be [time, batch], of at least one step, got {list(table.shape)}."
        )
    onward = table.flip(0).int().cumprod(dim=0).sum(dim=0)  # right answers in a row at the end
    return (len(table) - onward).clamp_max(len(table) - 1)


def _check_shares(accuracy: float | Tensor, earliness: float | Tensor) -> None:
    for name, share in (("accuracy", accuracy), ("earliness", earliness)):
        values = tensor(share, name)
        if not ((values >= 0.0) & (values <= 1.0)).all():
            raise ValueError(
                f"{name} must be a share in [0, 1], got {values.min()} to {values.max()}. "
                "Divide percent by 100, and steps by the number of steps."
            )
