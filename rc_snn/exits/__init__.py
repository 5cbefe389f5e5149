"""Exit rules: scores, curves over thresholds, thresholds (per step, with a guarantee), metrics."""

from rc_snn.exits.choice import fastest_as_good
from rc_snn.exits.conformal import conformal_threshold, selective_threshold
from rc_snn.exits.curves import (
    Curve,
    accuracy_within,
    area,
    area_as_chosen,
    choose,
    every_threshold,
    frontier,
    optimistic_area,
    right_answers,
    sweep,
    sweep_per_step,
)
from rc_snn.exits.metrics import (
    average_cost,
    class_weights,
    earliness,
    harmonic_mean,
    macro_recall,
    optimal_cutoff,
)
from rc_snn.exits.scores import (
    calibrated_confidence,
    certainty,
    confidence,
    exit_at,
    fit_temperature,
    log_odds,
    patience,
    top2_gap,
)
from rc_snn.exits.step_thresholds import StepRules, choose_block, fit_rules, tune

__all__ = [
    "Curve",
    "StepRules",
    "accuracy_within",
    "area",
    "area_as_chosen",
    "average_cost",
    "calibrated_confidence",
    "certainty",
    "choose",
    "choose_block",
    "class_weights",
    "confidence",
    "conformal_threshold",
    "earliness",
    "every_threshold",
    "exit_at",
    "fastest_as_good",
    "fit_rules",
    "fit_temperature",
    "frontier",
    "harmonic_mean",
    "log_odds",
    "macro_recall",
    "optimal_cutoff",
    "optimistic_area",
    "patience",
    "right_answers",
    "selective_threshold",
    "sweep",
    "sweep_per_step",
    "top2_gap",
    "tune",
]
