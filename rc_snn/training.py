"""One training loop for rank coding (RC), end of sequence (EOS) and peers; exact resume.

Algorithm 1, with two options of ours (docs/anytime.md): the threshold drawn anew for each sample,
and the loss of the steps before the spike.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rc_snn.borders.checks import check_labelled, check_model
from rc_snn.borders.numbers import check_fields
from rc_snn.exits import every_threshold, log_odds, optimistic_area, right_answers, sweep
from rc_snn.fast.fused import Precision
from rc_snn.loop import Loop, Row, Select, TrainResult, rank
from rc_snn.models import Dropout
from rc_snn.objective import (
    check_beta,
    check_theta_range,
    draw_thetas,
    every_step_loss,
    max_pooling_loss,
    prefix_loss,
    rc_loss,
    warn_if_never_fires,
)
from rc_snn.optimizer import Adam
from rc_snn.runner import Threshold, decide, run, run_with_prefix, trace
from rc_snn.runs.chunks import Chunks, chooser
from rc_snn.sequences import Labelled, check_input_size, input_size
from rc_snn.spikes import Decision, check_labels, check_theta
from rc_snn.step_model import StepModel

Method: TypeAlias = Literal["rc", "eos", "max_pool", "every_step"]
WHOLE_SEQUENCE: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "max_pool": max_pooling_loss,
    "every_step": every_step_loss,
}
"""Losses that read the logits of all steps."""

ANSWER_AT_ONCE = 1e-6
"""A threshold below any largest class probability: every sample fires at step 0."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train: everything that, with the data and the initial weights, decides the result."""

    epochs: int = 50
    """Passes over the training set."""
    method: Method = "rc"
    """Back-propagate from the first spike (rc) or from the end of the sequence (eos). Peers, which
    read every step: from each class's best step (max_pool), or from all steps (every_step)."""
    batch_size: int = 128
    """Samples per step of Adam."""
    lr: float = 1e-3
    """Learning rate of Adam; the highest one of a one-cycle schedule."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW), per unit of the learning rate."""
    schedule: Literal["constant", "one_cycle"] = "constant"
    """constant, as in the paper, or torch's OneCycleLR: up for a fifth of the steps, then down."""
    theta: float = 0.95
    """Threshold θ, reached with >=."""
    beta: float = 0.1
    """Entropy reward β of Eq. 7."""
    beta_after: float | None = None
    """β from `switch_epoch` on: slow to fast. None keeps β constant."""
    switch_epoch: int | None = None
    """First epoch (from 0) with `beta_after`."""
    first_step_epochs: int = 0
    """Epochs at the beginning in which every sample answers at step 0, whatever θ: the network
    learns to answer at once, and only then when to wait."""
    precision: Precision = "float32"
    """Precision of the products in training; `rc_snn.fast.fused.Precision`."""
    seed: int = 0
    """Seed of the batch order (the initial weights come with the model)."""
    select: Select = "any"
    """Keep the epoch with the best validation accuracy among those in this regime (step clock); of
    equal ones, the first."""
    max_norm: float | None = None
    """Largest L2 norm of the gradient; longer ones are scaled down to it."""
    judge: Literal["method", "spike", "area"] = "method"
    """What the kept epoch is best at on the validation samples: accuracy of the answers that the
    method trains (for all but rc, those at the end of the sequence), accuracy of first spikes at θ,
    however the network was trained, or the area under accuracy against mean time over all θ."""
    theta_low: float | None = None
    """With `theta_high`: a threshold is drawn for each sample of each batch, uniform in log-odds
    between the two (`rc_snn.objective.draw_thetas`). None trains all samples at θ."""
    theta_high: float | None = None
    """Upper bound of the thresholds that are drawn."""
    prefix: float = 0.0
    """Weight λ of the mean loss over the steps up to the spike, which are computed anyway
    (`rc_snn.objective.prefix_loss`)."""

    def __post_init__(self) -> None:
        check_fields(self, seed=0, switch_epoch=0)
        if self.max_norm is not None and not 0.0 < self.max_norm < math.inf:
            raise ValueError(f"max_norm must be positive and finite, got {self.max_norm}.")
        if self.beta and self.method in WHOLE_SEQUENCE:
            raise ValueError(f"{self.method} has no entropy reward; set beta=0, got {self.beta}.")
        if not 0 <= self.first_step_epochs <= self.epochs:
            raise ValueError(
                f"first_step_epochs must be in 0..epochs={self.epochs}, got "
                f"{self.first_step_epochs}."
            )
        if self.first_step_epochs and self.method != "rc":
            raise ValueError(
                f"first_step_epochs is for method rc; {self.method} has no threshold to lower."
            )
        if not 0.0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be finite and >= 0, got {self.weight_decay}.")
        if min(self.epochs, self.batch_size) < 1 or not 0.0 < self.lr < math.inf:
            raise ValueError(
                "epochs and batch_size must be at least 1 and lr positive, got "
                f"epochs={self.epochs}, batch_size={self.batch_size}, lr={self.lr}."
            )
        if (self.beta_after is None) != (self.switch_epoch is None):
            raise ValueError(
                "beta_after and switch_epoch belong together, got "
                f"beta_after={self.beta_after}, switch_epoch={self.switch_epoch}."
            )
        check_theta(self.theta)
        self._check_anytime()
        for beta in (self.beta, self.beta_after):
            check_beta(0.0 if beta is None else beta)

    def _check_anytime(self) -> None:
        if (self.theta_low is None) != (self.theta_high is None):
            raise ValueError(
                "theta_low and theta_high belong together, got "
                f"theta_low={self.theta_low}, theta_high={self.theta_high}."
            )
        if self.theta_low is not None and self.theta_high is not None:
            check_theta_range(self.theta_low, self.theta_high)
        if not 0.0 <= self.prefix < math.inf:
            raise ValueError(f"prefix must be finite and >= 0, got {self.prefix}.")
        if self.method != "rc" and (self.theta_low is not None or self.prefix):
            raise ValueError(
                f"theta_low, theta_high and prefix are for method rc; {self.method} has no spike "
                "in training. Leave them out."
            )

    def beta_at(self, epoch: int) -> float:
        """Return β in this epoch."""
        if self.beta_after is None or self.switch_epoch is None or epoch < self.switch_epoch:
            return self.beta
        return self.beta_after

    def theta_at(self, epoch: int, n: int, generator: torch.Generator) -> Threshold:
        """Return the threshold of n training samples in this epoch, or one drawn for each.

        None is the end of the sequence.
        """
        if self.method != "rc":
            return None
        if epoch < self.first_step_epochs:
            return ANSWER_AT_ONCE
        if self.theta_low is None or self.theta_high is None:
            return self.theta
        return draw_thetas(n, self.theta_low, self.theta_high, generator)


def train(
    model: StepModel,
    data: Labelled,
    validation: Labelled,
    config: TrainConfig,
    run_dir: Path | str,
    *,
    fresh: Callable[[torch.Generator], Labelled] | None = None,
    tensorboard: bool = False,
    description: str = "train",
) -> TrainResult:
    """Train a step model, or go on with the run that `run_dir` holds.

    A run that was stopped goes on where it was: see `rc_snn.loop.Loop`.

    Args:
        model: an `nn.Module` that meets `StepModel`; trained in place, on its own device.
        data: training samples.
        validation: held-out samples, for the log and the choice of the epoch.
        config: how to train.
        run_dir: folder of this run: `checkpoint.pt` and `log.csv`.
        fresh: draws the training samples of an epoch anew (augmentation), as many as `data` has;
            None trains on `data` itself.
        tensorboard: also write TensorBoard events to `run_dir/tensorboard`.
        description: what the progress bar shows.

    Raises:
        ValueError: for data that do not fit the model, a checkpoint of another config, or a loss
            or logit that is not finite; the last good checkpoint stays.

    Source: Jeffares et al., ICLR 2022, Algorithm 1 and appendix A.3.
    """
    run = _Training(model, data, validation, config, Path(run_dir), fresh, tensorboard)
    return run.fit(description)


def evaluate(model: StepModel, data: Labelled, theta: float | None) -> tuple[Decision, Row]:
    """Decide on labelled data; return the decisions and a row of accuracy, loss, step and share."""
    decision = decide(model, data.inputs, theta)
    assert decision.step is not None
    labels = data.labels.to(decision.label.device)
    right = (decision.label == labels).double().mean()
    loss = -decision.scores.gather(1, labels.unsqueeze(1)).clamp_min(1e-38).log().mean()
    step = decision.step.double()
    return decision, {
        "accuracy": float(right),
        "loss": float(loss),
        "mean_step": float(step.mean()),
        "fired": float(decision.fired.double().mean()),
        **{f"step_q{q}": float(step.quantile(q / 100)) for q in (10, 50, 90)},
    }


class _Training(Loop):
    """One run of rank coding or EOS."""

    model: Any

    def __init__(
        self,
        model: StepModel,
        data: Labelled,
        validation: Labelled,
        config: TrainConfig,
        run_dir: Path,
        fresh: Callable[[torch.Generator], Labelled] | None,
        tensorboard: bool,
    ) -> None:
        check_model(model)
        for labelled in (data, validation):
            check_labelled(labelled)
            check_fit(model.n_inputs, model.n_classes, labelled)
        if config.method == "rc":
            for beta in {config.beta_at(0), config.beta_at(config.epochs - 1)}:
                warn_if_never_fires(beta, config.theta_high or config.theta, model.n_classes)
        assert isinstance(model, nn.Module)
        super().__init__(
            model, data, validation, config, run_dir, fresh=fresh, tensorboard=tensorboard
        )
        self.n_steps = data.inputs.n_steps
        self._chunks: tuple[int, Chunks | None] | None = None
        self.theta = config.theta if config.method == "rc" else None
        self.optimizer = Adam(model, config.lr, config.weight_decay)
        self.scheduler = self.one_cycle_or_constant()
        for module in model.modules():
            if isinstance(module, Dropout):  # one stream of randomness, kept in the checkpoint
                module.generator = self.generator
        if hasattr(model, "precision"):
            model.precision = config.precision  # type: ignore[assignment]

    def about(self, epoch: int) -> Row:
        """Return β of the epoch."""
        return {"beta": self.config.beta_at(epoch)}

    def update(self, batch: Labelled, epoch: int) -> Row:
        """Train on one batch; return its sums of loss, right answers, steps and fired samples.

        A method of its own, so that the graph, and its memory, is gone before the next batch.
        """
        decision, loss = self._answer(batch, epoch)
        labels = batch.labels.to(loss.device)
        self.descend(loss, max_norm=self.config.max_norm)
        assert decision.step is not None
        return {
            "loss": float(loss.detach()) * len(batch),
            "accuracy": float((decision.label == labels).sum()),
            "mean_step": float(decision.step.sum()),
            "fired": float(decision.fired.sum()),
        }

    def _answer(self, batch: Labelled, epoch: int) -> tuple[Decision, Tensor]:
        """Return the decisions on a batch, and the loss with its graph."""
        labels = batch.labels.to(next(self.model.parameters()).device)
        if self.config.method in WHOLE_SEQUENCE:
            logits = trace(self.model, batch.inputs, training=True)
            loss = WHOLE_SEQUENCE[self.config.method](logits, labels)
            return _at_the_end(logits.detach()), loss
        theta = self.config.theta_at(epoch, len(batch), self.generator)
        beta, weight = self.config.beta_at(epoch), self.config.prefix
        chunks = self._chunks_of(epoch)
        if not weight:
            decision, at_spike = run(self.model, batch.inputs, theta, chunks=chunks)
            return decision, rc_loss(at_spike, labels, beta)
        decision, at_spike, prefix, sample = run_with_prefix(
            self.model, batch.inputs, theta, chunks=chunks
        )
        loss = rc_loss(at_spike, labels, beta) + weight * prefix_loss(prefix, sample, labels)
        return decision, loss

    def _chunks_of(self, epoch: int) -> Chunks | None:
        """Return what chooses the chunks of an epoch: anew for each, so that it can be resumed."""
        if self._chunks is None or self._chunks[0] != epoch:
            self._chunks = epoch, chooser(self.model, self.n_steps, training=True)
        return self._chunks[1]

    def validate(self, epoch: int) -> tuple[Row, tuple[float, float]]:
        """Evaluate, and rank the epoch by accuracy within the chosen regime."""
        _, row = evaluate(self.model, self.validation, self.theta)
        judged = row
        if self.theta is None:
            _, judged = evaluate(self.model, self.validation, self.config.theta)
            row |= {f"spike_{k}": v for k, v in judged.items() if k != "loss"}
        if self.config.judge == "method":
            judged = row
        best = judged["accuracy"]
        if self.config.judge == "area":
            best = row["area"] = self._area()
        share = judged["mean_step"] / self.n_steps
        return row, rank(self.config.select, share, best)

    @torch.no_grad()
    def _area(self) -> float:
        """Return the area under accuracy against mean step, over all θ that there are."""
        logits = trace(self.model, self.validation.inputs, batch_size=250)
        score, right = log_odds(logits), right_answers(logits, self.validation.labels)
        curve = sweep(score, right, every_threshold(score))
        return optimistic_area(curve, torch.arange(self.n_steps, dtype=torch.float64))

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint must share with the run that goes on from it."""
        return super().identity() | {"n_steps": self.n_steps}


def _at_the_end(logits: Float[Tensor, "time batch classes"]) -> Decision:
    """Return the answers of the last step."""
    p, n_steps = torch.softmax(logits[-1], dim=1), len(logits)
    step = torch.full((len(p),), n_steps - 1, device=p.device)
    return Decision.at_steps(step, n_steps, torch.zeros_like(step, dtype=torch.bool), p)


def check_fit(n_inputs: int, n_classes: int, data: Labelled) -> None:
    """Refuse data that do not fit a model of these sizes: input size or class indices."""
    check_input_size(n_inputs, input_size(data.inputs))
    check_labels(data.labels, n_classes, len(data.inputs))
