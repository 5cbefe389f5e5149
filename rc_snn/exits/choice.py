"""The one threshold to use a network with: the fastest that is as accurate as the best."""

from rc_snn.borders.numbers import count
from rc_snn.borders.signatures import typed
from rc_snn.exits.curves import Curve


@typed
def fastest_as_good(validation: Curve, n: int) -> int:
    r"""Return the fastest rule that is as accurate as the best one, by one standard error.

    .. math:: a \ge a^* - \sqrt{a^* (1 - a^*) / n}

    Of rules that the noise of n samples cannot tell apart the earliest is wanted.

    Args:
        validation: the rules, where they may be chosen.
        n: samples of the curve.

    Raises:
        ValueError: if there is no rule, or n is not at least 1.

    Source: the one-standard-error rule of Breiman et al., Classification and Regression Trees
    (1984), section 3.4.3.

    Example:
        >>> import torch
        >>> curve = Curve(torch.tensor([10.0, 20.0, 30.0]), torch.tensor([0.5, 0.9, 0.92]))
        >>> fastest_as_good(curve, n=100)
        1
    """
    n = count(n, "n", low=1)
    if len(validation) == 0:
        raise ValueError("There is no rule to choose from; the curve is empty.")
    top = float(validation.accuracy.max())
    enough = top - (top * (1.0 - top) / n) ** 0.5
    good = (validation.accuracy >= enough).nonzero().squeeze(1)
    return int(good[validation.time[good].argmin()])
