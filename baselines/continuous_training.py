"""Training of networks whose neurons spike at most once: two recipes, one loop."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from baselines.continuous import ContinuousNetwork, Dense, check_spike_times
from baselines.first_spike import first_spike_loss, silence_penalty
from rc_snn.borders.numbers import check_fields, indices
from rc_snn.loop import Loop, Row, Select, TrainResult, rank
from rc_snn.sequences import check_paired
from rc_snn.spikes import check_labels


@dataclass(frozen=True)
class ContinuousConfig:
    """How to train: everything that, with the data and the initial weights, decides the result."""

    epochs: int = 100
    """Passes over the training set."""
    batch_size: int = 32
    """Samples per update."""
    optimizer: Literal["authors", "adamw"] = "authors"
    """authors: Adam with ε inside the root, as α-PSP's authors have it. adamw: torch's."""
    lr: float = 1e-3
    """Learning rate of the weights; the highest one of a cosine schedule."""
    lr_pulses: float = 0.1
    """Learning rate of the pulse times."""
    schedule: Literal["constant", "cosine"] = "constant"
    """constant, or half a cosine down to 0, update by update."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW), per unit of the learning rate."""
    temperature: float = 1.0
    """τ of softmax(-t / τ), in frames: what moves networks between early and accurate. Of a network
    with clocks, in units of its outputs' clock; so is the horizon."""
    horizon: float | None = None
    """Output times beyond it grow ten times slower in the loss, in frames; None: all alike."""
    jitter: float = 0.0
    """Standard deviation of noise on hidden spike times, in frames."""
    jitter_epochs: int | None = None
    """Epochs with this noise, from the beginning; None: all of them."""
    spike_dropout: float = 0.0
    """Share of the hidden spikes that are left out, drawn for each sample."""
    max_norm: float | None = None
    """Bound of the norm of all gradients together; None has none."""
    silence: float = 0.0
    """Added to every weight's gradient, negative, for each sample that leaves its neuron silent."""
    drift: float = 0.0
    """Weight of relu(1 - S), where S is the sum of the weights that reach a neuron: for a silent
    label neuron, and for hidden neurons that stay silent in a whole batch."""
    seed: int = 0
    """Seed of the batch order and of the noise (the initial weights come with the model)."""
    select: Select = "any"
    """Keep the epoch with the best validation accuracy among those in this regime."""

    def __post_init__(self) -> None:
        check_fields(self, jitter_epochs=0, seed=0)
        if min(self.epochs, self.batch_size) < 1 or not 0.0 < self.lr < math.inf:
            raise ValueError(
                "epochs and batch_size must be at least 1 and lr positive, got "
                f"epochs={self.epochs}, batch_size={self.batch_size}, lr={self.lr}."
            )
        positive = (self.temperature, self.horizon, self.max_norm)
        if not all(x is None or 0.0 < x < math.inf for x in positive):
            raise ValueError(
                f"temperature, horizon and max_norm must be positive and finite, got {positive}."
            )
        if not 0.0 <= self.spike_dropout < 1.0:
            raise ValueError(f"spike_dropout must be in [0, 1), got {self.spike_dropout}.")
        negative = [
            name
            for name in ("weight_decay", "jitter", "silence", "drift", "lr_pulses")
            if not 0.0 <= getattr(self, name) < math.inf
        ]
        if negative:
            raise ValueError(f"{', '.join(negative)} must be finite and >= 0.")


@dataclass(frozen=True)
class Timed:
    """Spike times with their classes.

    Raises:
        ValueError: if there are none, not one label for each sample, or labels are no `[B]` of
            whole numbers >= 0.
    """

    times: Float[Tensor, "batch inputs"]
    labels: Int[Tensor, " batch"]

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", indices(self.labels, "Labels"))
        check_paired(len(self.times), len(self.labels), "sample")

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def rows(self, index: Int[Tensor, " rows"]) -> "Timed":
        """Return the samples at these positions."""
        return Timed(self.times[index], self.labels[index])


class AuthorsAdam(torch.optim.Optimizer):
    r"""Adam with ε inside the root, bias-corrected.

    .. math:: \Delta = -\eta\, \hat m / \sqrt{\hat v + \epsilon}

    With ε = 1e-8 it matters where gradients are smaller than 1e-4, which most are in a trained
    α-PSP network: `torch.optim.Adam` adds ε after the root.

    Source: google/ihmehimmeli, tempcoding.
    """

    def __init__(self, parameters: Any, lr: float, eps: float = 1e-8) -> None:
        super().__init__(parameters, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["step"] = torch.zeros(())
                    state["m"], state["v"] = torch.zeros_like(p), torch.zeros_like(p)
                state["step"] += 1
                n = float(state["step"])
                state["m"].lerp_(p.grad, 0.1)
                state["v"].mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
                # lr * m̂ / sqrt(v̂ + ε), with both corrections taken out of the root
                scale = 1.0 - 0.999**n
                root = (state["v"] + group["eps"] * scale).sqrt_()
                p.addcdiv_(state["m"], root, value=-group["lr"] * scale**0.5 / (1.0 - 0.9**n))


def train_continuous(
    model: ContinuousNetwork,
    data: Timed,
    validation: Timed,
    config: ContinuousConfig,
    run_dir: Path | str,
    *,
    fresh: Callable[[torch.Generator], Timed] | None = None,
    tensorboard: bool = False,
    description: str = "train",
) -> TrainResult:
    """Train a network of neurons that spike once, or go on with the run that `run_dir` holds.

    Args:
        model: trained in place, on its own device.
        data: training samples.
        validation: held-out samples, for the log and the choice of the epoch.
        config: how to train.
        run_dir: folder of this run; see `rc_snn.loop.Loop`.
        fresh: draws the training samples of an epoch anew (augmentation), as many as `data` has.
        tensorboard: also write TensorBoard events to `run_dir/tensorboard`.
        description: what the progress bar shows.

    Raises:
        ValueError: for data that do not fit the model, a checkpoint of another config, a loss that
            is not finite, or a network whose outputs are silent for a whole epoch.
    """
    run = _Training(model, data, validation, config, Path(run_dir), fresh, tensorboard)
    return run.fit(description)


def first_spike_objective(
    out: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    temperature: float,
    horizon: float | None = None,
) -> Float[Tensor, ""]:
    """Return the loss of output times: see `first_spike_loss`, with temperature and horizon.

    A time t beyond the horizon counts as horizon + (t - horizon) / 10: a hard bound would take the
    gradient from label neurons that are late.
    """
    if horizon is not None:
        late = torch.where(torch.isposinf(out), out, horizon + 0.1 * (out - horizon))
        out = torch.where(out > horizon, late, out)
    return first_spike_loss(out / temperature, labels)


class _Training(Loop):
    model: ContinuousNetwork

    def __init__(
        self,
        model: ContinuousNetwork,
        data: Timed,
        validation: Timed,
        config: ContinuousConfig,
        run_dir: Path,
        fresh: Callable[[torch.Generator], Timed] | None,
        tensorboard: bool,
    ) -> None:
        for part in (data, validation):
            check_spike_times(part.times, model.n_inputs)
            check_labels(part.labels, model.n_classes)
        super().__init__(
            model, data, validation, config, run_dir, fresh=fresh, tensorboard=tensorboard
        )
        named = list(model.named_parameters())
        self.pulses = [p for name, p in named if name.endswith("pulses")]
        weights = [p for name, p in named if not name.endswith("pulses")]
        groups: list[dict[str, Any]] = [{"params": weights}]
        if self.pulses:
            groups.append({"params": self.pulses, "lr": config.lr_pulses})
        if config.optimizer == "authors":
            self.optimizer = AuthorsAdam(groups, config.lr)
        else:
            self.optimizer = torch.optim.AdamW(
                groups, config.lr, weight_decay=config.weight_decay, fused=True
            )
        total, cosine = self.n_updates(), config.schedule == "cosine"
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda n: 0.5 * (1.0 + math.cos(math.pi * min(n / total, 1.0))) if cosine else 1.0,
        )

    def update(self, batch: Timed, epoch: int) -> Row:
        """Train on one batch; return its sums of loss, right answers and fired samples."""
        config, model = self.config, self.model
        labels = batch.labels.to(model.layers[0].weight.device)
        quiet = config.jitter_epochs is not None and epoch >= config.jitter_epochs
        jitter = 0.0 if quiet else config.jitter
        layers = model.local_times(
            batch.times,
            jitter=jitter,
            dropout=config.spike_dropout,
            generator=self.noise,
        )
        out = layers[-1]
        loss = first_spike_objective(out, labels, config.temperature, config.horizon)
        self.descend(loss, self._revival(batch, layers, labels), config.max_norm)
        with torch.no_grad():
            for pulses in self.pulses:
                pulses.clamp_min_(0.0)
        time, label = out.detach().min(dim=1)
        fired = torch.isfinite(time)
        return {
            "loss": float(loss.detach()) * len(batch),
            "accuracy": float(((label == labels) & fired).sum()),
            "fired": float(fired.sum()),
        }

    def _revival(self, batch: Timed, layers: list[Tensor], labels: Tensor) -> Tensor:
        """Return what brings silent neurons back."""
        config, total = self.config, layers[-1].new_zeros(())
        if config.silence > 0.0:
            for layer, out in zip(self.model.layers, layers, strict=True):
                out = out.detach()
                term = silence_penalty(out.view(len(out), -1, layer.weight.shape[1]), layer.weight)
                total = total + config.silence * term
        if config.drift > 0.0:
            total = total + config.drift * self._drift([batch.times, *layers], labels)
        return total

    def _drift(self, spikes: list[Tensor], labels: Tensor) -> Tensor:
        """Sum relu(1 - S) of the neurons to be brought back; `spikes` begins with the input's."""
        total = spikes[-1].new_zeros(())
        for i, layer in enumerate(self.model.layers):
            if not isinstance(layer, Dense):
                continue
            silent = torch.isposinf(spikes[i + 1].detach())
            if i + 2 == len(spikes):  # the outputs
                wanted = silent & F.one_hot(labels, self.model.n_classes).bool()
            else:
                wanted = self.ranks.every(silent.all(dim=0, keepdim=True))
            if not bool(wanted.any()):
                continue
            arrived = torch.isfinite(spikes[i].detach()).to(layer.weight.dtype)
            lack = torch.relu(1.0 - arrived @ layer.weight[: layer.n_inputs])
            total = total + (lack * wanted).sum() / len(labels)
        return total

    def validate(self, epoch: int) -> tuple[Row, tuple[float, float]]:
        """Evaluate, and rank the epoch by accuracy within the chosen regime."""
        decision = self.model.decide(self.validation.times, temperature=self.config.temperature)
        if not bool(decision.fired.any()):
            raise ValueError(
                f"After epoch {epoch} no output neuron fires for any validation sample, so nothing "
                "can be learned any more. Lower lr, or raise silence or drift."
            )
        right = (decision.label.cpu() == self.validation.labels) & decision.fired.cpu()
        time = decision.time[decision.fired]
        row = {
            "accuracy": float(right.double().mean()),
            "mean_time": float(time.mean()),
            "median_time": float(time.median()),
            "fired": float(decision.fired.double().mean()),
        }
        return row, rank(self.config.select, row["mean_time"], row["accuracy"])
