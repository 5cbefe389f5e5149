"""Exit rules: scores at every step, curves over thresholds, thresholds for each step."""

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
    "calibrated_confidence",
    "certainty",
    "choose",
    "choose_block",
    "confidence",
    "every_threshold",
    "exit_at",
    "fit_rules",
    "fit_temperature",
    "frontier",
    "log_odds",
    "optimistic_area",
    "patience",
    "right_answers",
    "sweep",
    "sweep_per_step",
    "top2_gap",
    "tune",
]
