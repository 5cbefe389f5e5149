"""The best accuracy that is reached at each mean decision time, and how far a model is from it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Frontier:
    """Concave envelope of achieved points: the best accuracy at each mean step, and back."""

    mean_steps: tuple[float, ...]
    accuracies: tuple[float, ...]

    def accuracy_at(self, mean_step: float) -> float:
        """Return the best accuracy with this mean step, or with the nearest one that exists."""
        return float(np.interp(mean_step, self.mean_steps, self.accuracies))

    def step_at(self, accuracy: float) -> float | None:
        """Return the least mean step with this accuracy; None if no rule reaches it."""
        if accuracy > self.accuracies[-1]:
            return None
        return float(np.interp(accuracy, self.accuracies, self.mean_steps))


def frontier(points: Iterable[tuple[float, float]]) -> Frontier:
    """Return the concave envelope of points (mean step, accuracy), up to the highest accuracy.

    Example:
        >>> frontier([(0.0, 0.6), (5.0, 0.7), (10.0, 0.9), (20.0, 0.8)])
        Frontier(mean_steps=(0.0, 10.0), accuracies=(0.6, 0.9))
    """
    hull: list[tuple[float, float]] = []
    for x, y in sorted(points):
        while hull and hull[-1][0] == x:  # sorted: this one is at least as high
            hull.pop()
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (x - hull[-2][0]) <= (
            y - hull[-2][1]
        ) * (hull[-1][0] - hull[-2][0]):
            hull.pop()
        hull.append((x, y))
    best = max(range(len(hull)), key=lambda i: hull[i][1])
    steps, accuracies = zip(*hull[: best + 1], strict=True)
    return Frontier(tuple(map(float, steps)), tuple(map(float, accuracies)))


class Distance(NamedTuple):
    """How far a model is from the frontier."""

    accuracy: float
    """Accuracy lost against the best rule with the same mean step."""
    steps: float | None
    """Steps lost against the best rule with the same accuracy; None if no rule reaches it."""


def distance_to_frontier(mean_step: float, accuracy: float, limit: Frontier) -> Distance:
    """Return how far a point is below the frontier, and how far to its right.

    Negative distances are noise of finite samples, on either side.

    Args:
        mean_step: mean decision step of the model, 0..T-1, silent samples at T-1.
        accuracy: share of right answers.
        limit: the frontier.

    Example:
        >>> distance_to_frontier(10.0, 0.75, Frontier((0.0, 10.0), (0.5, 1.0)))
        Distance(accuracy=0.25, steps=5.0)
    """
    fastest = limit.step_at(accuracy)
    return Distance(
        limit.accuracy_at(mean_step) - accuracy, None if fastest is None else mean_step - fastest
    )
