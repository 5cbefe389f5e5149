"""How step models are trained that are compared: rank coding, its variants, and its peers."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Literal, TypeAlias

from rc_snn.training import TrainConfig

MethodName: TypeAlias = Literal[
    "eos", "max_pool", "every_step", "rc", "random_theta", "random_theta_prefix"
]
TITLES: dict[MethodName, str] = {
    "eos": "EOS",
    "max_pool": "max-pooling loss",
    "every_step": "every-step loss",
    "rc": "RC",
    "random_theta": "RC random θ",
    "random_theta_prefix": "RC random θ + prefix",
}
ANYTIME: tuple[MethodName, ...] = (
    "eos",
    "every_step",
    "rc",
    "random_theta",
    "random_theta_prefix",
)
"""Whom docs/anytime.md compares, on every data set."""
THETA_LOW, THETA_HIGH = 0.3, 0.99
"""Bounds of drawn thresholds, where there are many classes."""
PREFIX = 1.0
"""λ, where the steps before the spike are in the loss."""


def variant(
    base: TrainConfig,
    name: MethodName,
    beta: float = 0.0,
    low: float = THETA_LOW,
    high: float = THETA_HIGH,
) -> TrainConfig:
    """Return a training by this method, in all else as `base` has it.

    Args:
        base: how all methods train alike.
        name: of the method.
        beta: entropy reward of Eq. 7; the peers that read every step have none.
        low: lower bound of thresholds that are drawn.
        high: upper bound.

    Example:
        >>> variant(TrainConfig(), "random_theta").theta_low
        0.3
    """
    if name in ("eos", "max_pool", "every_step", "rc"):
        return replace(base, method=name, beta=beta)
    weight = PREFIX if name == "random_theta_prefix" else 0.0
    return replace(base, method="rc", beta=beta, theta_low=low, theta_high=high, prefix=weight)


def method_name(train: TrainConfig | Mapping[str, Any]) -> str:
    """Return how a training, or the one of a record, is called here.

    Example:
        >>> method_name(variant(TrainConfig(), "random_theta_prefix"))
        'random_theta_prefix'
    """
    of = train if isinstance(train, Mapping) else asdict(train)
    name: str = of["method"] if of.get("theta_low") is None else "random_theta"
    return f"{name}_prefix" if of.get("prefix") else name
