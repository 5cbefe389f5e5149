"""Numbers with what is known of their error: spreads over seeds, and 95 % intervals.

scipy.stats takes half a second to import, and `--help` needs none of it: functions import it.
"""

import math
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Write a mean, and with several seeds their standard deviation.

    Example:
        >>> spread([1.0, 2.0, 3.0], 1), spread([2.0])
        ('2.0 ± 1.0', '2.00')
    """
    shown = f"{mean(values):.{digits}f}"
    return shown if len(values) == 1 else f"{shown} ± {stdev(values):.{digits}f}"


def seed_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and half of its 95 % t-interval over seeds; nan for a single one.

    Example:
        >>> mean, half = seed_interval([1.0, 2.0, 3.0])
        >>> mean, round(half, 3)  # 4.303 / sqrt(3)
        (2.0, 2.484)
    """
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return float(np.mean(values)), math.nan
    return float(np.mean(values)), float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5)


def mean_and_half(values: Sequence[float], *, signed: bool = False, starred: bool = False) -> str:
    """Write a mean over seeds and half of its 95 % t-interval.

    Args:
        values: one for each seed.
        signed: write the sign of a mean above 0, too.
        starred: mark an interval without 0.

    Example:
        >>> mean_and_half([1.0, 2.0, 3.0]), mean_and_half([7.0, 7.5], signed=True, starred=True)
        ('2.00 ±2.48', '+7.25 ±3.18*')
        >>> mean_and_half([2.0])
        '2.00'
    """
    middle, half = seed_interval(values)
    shown = f"{middle:+.2f}" if signed else f"{middle:.2f}"
    star = "*" if starred and abs(middle) > half else ""
    return shown if math.isnan(half) else f"{shown} ±{half:.2f}{star}"


def count_interval(correct: int, n: int) -> list[float]:
    """Return the exact binomial (Clopper-Pearson) 95 % confidence interval of an accuracy.

    Example:
        >>> [round(x, 3) for x in count_interval(90, 100)]
        [0.824, 0.951]
    """
    from scipy.stats import binomtest

    found = binomtest(correct, n).proportion_ci(0.95, method="exact")
    return [float(found.low), float(found.high)]


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean: percentiles of 10,000 draws, seed 0.

    Example:
        >>> low, high = bootstrap_interval([0.0, 1.0] * 50)
        >>> round(low, 1), round(high, 1)
        (0.4, 0.6)
    """
    from scipy.stats import bootstrap

    found = bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return float(found.low), float(found.high)


def seeds(values: Sequence[float]) -> str:
    """Say how many seeds there are.

    Example:
        >>> seeds([0]), seeds([0, 1, 2])
        ('one seed', '3 seeds')
    """
    return "one seed" if len(values) == 1 else f"{len(values)} seeds"


def without_infinity(value: Any) -> Any:
    """Return the same with None for every infinite number, which JSON cannot hold.

    Example:
        >>> without_infinity({"mean": math.inf, "of": [1.0]})
        {'mean': None, 'of': [1.0]}
    """
    if isinstance(value, dict):
        return {k: without_infinity(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_infinity(v) for v in value]
    return None if isinstance(value, float) and math.isinf(value) else value
