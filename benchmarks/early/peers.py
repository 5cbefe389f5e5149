"""Early classifiers of aeon (extra "aeon"), on the arrays that our networks read.

They learn from the whole official training set: TEASER cross-validates inside, the probability
threshold has nothing to choose. Both stop at ten prefixes, evenly apart as TEASER's authors have
them; aeon's default, T/1, T/2, ..., T/20, has none in a series' second half but its end.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from encoders.ucr import TimeSeries, UCRSet
from rc_snn.progress import progress

PREFIXES = 10
"""Prefixes at which a peer may stop, the whole series among them."""
SHORTEST = 8
"""Steps of the shortest prefix: what TEASER's default in aeon asks for."""
N_TREES = 50
PROBABILITY = 0.85
"""aeon's default of its probability threshold."""
BASE = f"time series forest of {N_TREES} trees"
"""The classifier of both peers. Of aeon's defaults for them MUSE (TEASER) did not end BasicMotions
within ten minutes on one busy core, and DrCIF (probability threshold) fails on three steps."""


class Answers(NamedTuple):
    """What a classifier answers, and at which step, from 0."""

    label: Int[Tensor, " batch"]
    step: Int[Tensor, " batch"]


def prefixes(n_steps: int) -> list[int]:
    """Return the lengths of the prefixes.

    Example:
        >>> prefixes(24)
        [10, 12, 14, 17, 19, 22, 24]
    """
    every = {round(n_steps * i / PREFIXES) for i in range(1, PREFIXES + 1)}
    return sorted(n for n in every if n >= min(SHORTEST, n_steps))


def answers(data: UCRSet, seed: int) -> Iterator[tuple[str, Answers]]:
    """Train both peers, and yield what they answer on the test series.

    Raises:
        ValueError: if aeon is not installed.
    """
    try:
        from aeon.classification.early_classification import (
            TEASER,
            ProbabilityThresholdEarlyClassifier,
        )
        from aeon.classification.interval_based import TimeSeriesForestClassifier
    except ImportError as error:
        raise ValueError('The peers are aeon\'s: pip install "rc_snn[aeon]".') from error
    known = _arrays(data.train), _arrays(data.validation)
    x, y = (torch.cat(parts).numpy() for parts in zip(*known, strict=True))
    settings: dict[str, Any] = {
        "estimator": TimeSeriesForestClassifier(n_estimators=N_TREES),
        "classification_points": prefixes(data.n_steps),
        "random_state": seed,
    }
    peers = {
        "TEASER": TEASER(**settings),
        f"probability threshold {PROBABILITY:g}": ProbabilityThresholdEarlyClassifier(
            probability_threshold=PROBABILITY, **settings
        ),
    }
    for name, peer in progress(peers.items(), "peers", unit="peers"):
        peer.fit(x, y)
        label, _ = peer.predict(_arrays(data.test)[0].numpy())
        step = torch.from_numpy(peer.state_info[:, 3]).long() - 1  # the prefix that was answered on
        yield name, Answers(torch.from_numpy(label).long(), step)


def _arrays(series: TimeSeries) -> tuple[Tensor, Tensor]:
    """Return series as aeon has them, `[batch, channel, time]`, and their classes."""
    return series.inputs.frames.permute(1, 2, 0).double(), series.labels
