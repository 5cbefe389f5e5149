"""One training over many devices: what is sent, how long ranks wait, and what a failure costs."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.scale.measured import StepCost


class Link(NamedTuple):
    """What joins two neighbours of the ring."""

    name: str
    bytes_s: float
    latency_s: float


def sent_bytes(n_bytes: int, ranks: int) -> float:
    """Return what each rank sends in a ring all-reduce of so many bytes.

    Example:
        >>> sent_bytes(1_000, 2)
        1000.0
    """
    return 2.0 * (ranks - 1) / ranks * n_bytes


def all_reduce_s(n_bytes: int, ranks: int, link: Link) -> float:
    r"""Return the seconds of a ring all-reduce.

    .. math:: 2 (n - 1) \\left( \\lambda + \\frac{S}{n B} \\right)

    Example:
        >>> all_reduce_s(1_000, 2, Link("", 1e6, 0.5e-3))  # 2 (0.5 + 0.5) ms
        0.002
    """
    return 2.0 * (ranks - 1) * (link.latency_s + n_bytes / (ranks * link.bytes_s))


class Wait(NamedTuple):
    """How long the ranks of an update compute; the slowest is waited for."""

    mean_s: float
    slowest_s: float

    def efficiency(self, send_s: float) -> float:
        """Return the share of the devices' time that computes, if sending hides behind nothing."""
        return self.mean_s / (self.slowest_s + send_s)


def waiting(
    decided_at_step: Any,
    cost: StepCost,
    ranks: int,
    batch: int,
    generator: np.random.Generator,
    *,
    draws: int = 200,
) -> Wait:
    """Draw updates: each rank's samples stop as in a recorded distribution; return means of both.

    Args:
        decided_at_step: samples that were decided at each step.
        cost: of an update on one rank.
        ranks: how many there are.
        batch: samples on each.
        generator: where the samples are drawn from.
        draws: updates.
    """
    counts: npt.NDArray[np.float64] = np.asarray(decided_at_step, dtype=np.float64)
    steps = generator.choice(len(counts), size=(draws, ranks, batch), p=counts / counts.sum())
    seconds = cost.of(steps)
    return Wait(float(seconds.mean()), float(seconds.max(axis=1).mean()))


class Failure(NamedTuple):
    """What the failures of hosts take from a training that stops with each."""

    expected: float
    """Failures until it ends."""
    each_s: float
    """Wall seconds that one takes: half an interval between checkpoints, and the start."""
    share: float
    """Of the wall time, what all of them take."""


def failures(train_s: float, interval_s: float, start_s: float, mtbf_s: float) -> Failure:
    r"""Return what is lost where one failure of any host stops all.

    The time that is computed again delays the end, and may fail itself. With failures of rate
    1/M, a checkpoint at the end of each interval τ and a start of R, the mean time of an interval
    is exactly :math:`(M + R)\\,(e^{\\tau/M} - 1)`: R is paid at every failure, and may not fail.

    Args:
        train_s: of the training without any.
        interval_s: from one checkpoint to the next.
        start_s: until the ranks train again.
        mtbf_s: of any one of the hosts.

    Example:
        >>> round(failures(100.0, 10.0, 5.0, 1e6).each_s)  # rare: half an interval, and the start
        10
    """
    times = train_s / interval_s
    expected = times * math.expm1(interval_s / mtbf_s)
    wall = times * (mtbf_s + start_s) * math.expm1(interval_s / mtbf_s)
    return Failure(expected, (wall - train_s) / expected, (wall - train_s) / wall)
