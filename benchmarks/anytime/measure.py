"""What a network is measured by: accuracy within each mean time, by each exit rule."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.keywords.peers import RULES, sweeps
from rc_snn.exits import accuracy_within, area, confidence, right_answers, sweep

THETAS = (
    *(0.12, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99),
    *(0.995, 0.998, 0.999, 0.9995, 0.9999),
)
"""Thresholds of the recorded curve of a network."""


def measure(
    validation: Float[Tensor, "time held_out classes"],
    validation_labels: Int[Tensor, " held_out"],
    test: Float[Tensor, "time batch classes"],
    test_labels: Int[Tensor, " batch"],
    clock: Float[Tensor, " time"],
    at: Sequence[float],
) -> dict[str, Any]:
    """Choose on validation traces, measure on test traces.

    Args:
        validation: logits at every step.
        validation_labels: classes of these samples.
        test: logits of the same network on the test set.
        test_labels: classes of these samples.
        clock: time of the answer of each step: of means, budgets and areas.
        at: mean times at which methods are compared.
    """
    budgets = torch.tensor(at, dtype=clock.dtype)
    rows = {}
    for rule, title in RULES.items():
        found = sweeps(rule, validation, validation_labels, test, test_labels, clock)
        both = found.validation, found.test
        rows[title] = {
            "area": area(*both, clock),
            "at": accuracy_within(*both, budgets.clamp_min(float(clock[0]))).tolist(),
        }
        if rule == "theta":
            rows[title]["accuracy"] = accuracy_within(*both, clock).tolist()
    right, limits = right_answers(test, test_labels), torch.tensor(THETAS, dtype=torch.float64)
    points = sweep(confidence(test.double()), right, limits)
    held_out = right_answers(validation, validation_labels)
    chosen = sweep(confidence(validation.double()), held_out, limits)
    return {
        "n_validation": len(validation_labels),
        "n_test": len(test_labels),
        "clock": clock.tolist(),
        "rows": rows,
        "curve": {
            "theta": list(THETAS),
            "mean_step": points.time.tolist(),
            "accuracy": points.accuracy.tolist(),
            "validation_accuracy": chosen.accuracy.tolist(),
        },
        "accuracy_at_end": float(right[-1].double().mean()),
    }


def effort(history: Sequence[dict[str, float]], n: int) -> dict[str, float]:
    """Return what a training computed: steps of all samples in all epochs, and its seconds."""
    return {
        "epochs": len(history),
        "steps": sum((row["train_mean_step"] + 1.0) * n for row in history),
        "seconds": sum(row["train_seconds"] for row in history),
    }
