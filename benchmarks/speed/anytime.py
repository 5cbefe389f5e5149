"""What a training step costs whose thresholds are drawn, or whose loss reads the prefix."""

from pathlib import Path

import torch

from benchmarks.keywords.task import SHIPPED_AS
from benchmarks.methods import PREFIX, THETA_HIGH, THETA_LOW
from benchmarks.speed.programs import training_step
from benchmarks.speed.ratios import Ratio, compare
from encoders.functional import encode
from encoders.keyword_features import load_keywords
from encoders.keyword_network import front_end_of, load_network
from encoders.mnist import Split
from encoders.temporal_mnist import take
from rc_snn.exits import every_threshold, log_odds, sweep
from rc_snn.models import RCLSTM
from rc_snn.network import load
from rc_snn.objective import draw_thetas
from rc_snn.runner import Threshold, decide, trace
from rc_snn.sequences import Labelled
from rc_snn.step_model import StepModel

AT_MOST = {0.0: 1.1, PREFIX: 1.25}
"""Times of rank coding's step at equal mean step that are allowed, by λ."""


@torch.no_grad()
def equal_theta(model: StepModel, batch: Labelled, mean_step: float) -> float:
    """Return the threshold, one for all samples, whose mean step is nearest."""
    score = log_odds(trace(model, batch.inputs))
    limits = every_threshold(score)[1:-1]
    right = torch.zeros_like(score, dtype=torch.bool)  # times alone are asked for
    times = sweep(score, right, limits).time
    return float(limits[(times - mean_step).abs().argmin()].double().sigmoid())


def ratios(name: str, model: RCLSTM, batch: Labelled, repeats: int) -> tuple[list[Ratio], str]:
    """Time steps of training with drawn thresholds beside one of rank coding at equal mean step."""
    drawn = draw_thetas(len(batch), THETA_LOW, THETA_HIGH, torch.Generator().manual_seed(0))
    mean = _mean_step(model, batch, drawn)
    theta = equal_theta(model, batch, mean)
    own = _mean_step(model, batch, theta)
    found = [
        compare(
            f"{name}: step of RC / with drawn θ{', prefix' if weight else ''}",
            training_step(model, batch, theta),
            training_step(model, batch, drawn, prefix=weight),
            repeats,
            round(1.0 / most, 2),
        )
        for weight, most in AT_MOST.items()
    ]
    return found, f"{name}: mean step {mean:.2f} with drawn θ, {own:.2f} of RC at θ = {theta:.4f}"


def _mean_step(model: StepModel, batch: Labelled, theta: Threshold) -> float:
    step = decide(model, batch.inputs, theta).step
    assert step is not None
    return float(step.double().mean())


def measure(
    digits: Split, data: Path | None, batch_size: int, repeats: int
) -> tuple[list[Ratio], list[str]]:
    """Measure on temporal MNIST, ten steps, and on keywords, 81; networks that ship."""
    split, net = take(digits, torch.arange(batch_size)), load("rc-lstm-340-slow")
    short = Labelled(net.sequences(encode(split.images, **net.encoder)), split.labels)
    words = load_network(SHIPPED_AS)
    clips = load_keywords(data, front_end=front_end_of(words)).sequences("train")
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(0))
    model = words.model
    model.precision = "bf16"  # as it is trained
    parts = [
        ratios("RC-LSTM 784-340-10, T=10", net.model, short, repeats),
        ratios("keywords 420-128-32-9, T=81", model, clips.rows(order[:batch_size]), repeats),
    ]
    return [ratio for found, _ in parts for ratio in found], [remark for _, remark in parts]
