"""Training of LIF networks whose first output spike answers, with surrogate gradients."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from baselines.lif import TTFSLIF, check_positive, first_spike_time
from rc_snn.borders.numbers import check_fields
from rc_snn.loop import Loop, Row, Select, TrainResult, rank
from rc_snn.optimizer import Adam
from rc_snn.output_spikes import first_output_spike
from rc_snn.sequences import Labelled
from rc_snn.spikes import Decision
from rc_snn.training import TrainConfig, check_fit


@dataclass(frozen=True)
class TTFSConfig:
    """How to train; options that `rc_snn.training.TrainConfig` has, too, mean the same."""

    epochs: int = 12
    batch_size: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.0
    schedule: Literal["constant", "one_cycle"] = "one_cycle"
    temperature_steps: float = 1.0
    """τ of softmax(-t / τ), in steps."""
    seed: int = 0
    select: Select = "any"

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(temperature_steps=self.temperature_steps)
        TrainConfig(**{k: v for k, v in asdict(self).items() if k != "temperature_steps"})


def train_ttfs(
    model: TTFSLIF,
    data: Labelled,
    validation: Labelled,
    config: TTFSConfig,
    run_dir: Path | str,
    *,
    tensorboard: bool = False,
    description: str = "train",
) -> TrainResult:
    """Train a TTFS network, or go on with the run that `run_dir` holds (`rc_snn.loop.Loop`).

    The loss is the cross entropy of softmax(-t / τ), with the steps t of `first_spike_time`. With
    snnTorch's `ce_temporal_loss` norse's network had 94.3 % of the validation images instead of
    95.5 %, in twice the time (10,000 training images, 5 epochs, one seed, no record).

    Raises:
        ValueError: for data that do not fit the model, a checkpoint of another config, or
            potentials that are not finite; the last good checkpoint stays.
    """
    return _Training(model, data, validation, config, Path(run_dir), tensorboard).fit(description)


class _Training(Loop):
    def __init__(
        self,
        model: TTFSLIF,
        data: Labelled,
        validation: Labelled,
        config: TTFSConfig,
        run_dir: Path,
        tensorboard: bool,
    ) -> None:
        for part in (data, validation):
            check_fit(model.n_inputs, model.n_classes, part)
        super().__init__(model, data, validation, config, run_dir, tensorboard=tensorboard)
        self.n_steps = data.inputs.n_steps
        self.optimizer = Adam(model, config.lr, config.weight_decay)
        self.scheduler = self.one_cycle_or_constant()

    def update(self, batch: Labelled, epoch: int) -> Row:
        z, v = self.model(batch.inputs)
        decision, labels = first_output_spike(z.detach(), v.detach()), batch.labels.to(z.device)
        loss = F.cross_entropy(-first_spike_time(z) / self.config.temperature_steps, labels)
        self.descend(loss)
        return {"loss": float(loss.detach()) * len(batch)} | _sums(decision, labels)

    def validate(self, epoch: int) -> tuple[Row, tuple[float, float]]:
        sums = _sums(self.model.decide(self.validation.inputs), self.validation.labels)
        row = {name: total / len(self.validation) for name, total in sums.items()}
        return row, rank(self.config.select, row["mean_step"] / self.n_steps, row["accuracy"])

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"n_steps": self.n_steps}


def _sums(decision: Decision, labels: Tensor) -> Row:
    assert decision.step is not None
    right = decision.label == labels.to(decision.label.device)
    counts = {"accuracy": right, "mean_step": decision.step, "fired": decision.fired}
    return {name: float(count.sum()) for name, count in counts.items()}
