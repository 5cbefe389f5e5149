"""One training loop for rank coding (RC) and end of sequence (EOS): checkpoint, exact resume."""

import csv
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor, nn
from tqdm import tqdm

from rc_snn import checkpoint
from rc_snn.cells import StepModel
from rc_snn.fused import Precision
from rc_snn.models import Dropout, check_precision
from rc_snn.objective import rc_loss, warn_if_never_fires
from rc_snn.optimizer import Adam
from rc_snn.regimes import FAST_BELOW, SLOW_ABOVE
from rc_snn.runner import DenseSequences, decide, run
from rc_snn.sequences import SpikeSequences
from rc_snn.spikes import Decision, check_labels, check_theta

Select: TypeAlias = Literal["fast", "slow", "any"]
Row: TypeAlias = dict[str, float]

ANSWER_AT_ONCE = 1e-6
"""A threshold below any largest class probability: every sample fires at step 0."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train: everything that, with the data and the initial weights, decides the result."""

    epochs: int = 50
    """Passes over the training set."""
    method: Literal["rc", "eos"] = "rc"
    """Back-propagate from the first spike (rc) or from the end of the sequence (eos)."""
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
    """Precision of the products in training; `rc_snn.fused.Precision`."""
    seed: int = 0
    """Seed of the batch order (the initial weights come with the model)."""
    select: Select = "any"
    """Keep the epoch with the best validation accuracy among those in this regime (step clock)."""

    def __post_init__(self) -> None:
        if self.method not in ("rc", "eos"):
            raise ValueError(f'method must be "rc" or "eos", got {self.method!r}.')
        if self.select not in ("fast", "slow", "any"):
            raise ValueError(f'select must be "fast", "slow" or "any", got {self.select!r}.')
        if self.schedule not in ("constant", "one_cycle"):
            raise ValueError(f'schedule must be "constant" or "one_cycle", got {self.schedule!r}.')
        if not 0 <= self.first_step_epochs <= self.epochs:
            raise ValueError(
                f"first_step_epochs must be in 0..epochs={self.epochs}, got "
                f"{self.first_step_epochs}."
            )
        if self.first_step_epochs and self.method == "eos":
            raise ValueError("first_step_epochs is for method rc; eos has no threshold to lower.")
        check_precision(self.precision)
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

    def beta_at(self, epoch: int) -> float:
        """Return β in this epoch."""
        if self.beta_after is None or self.switch_epoch is None or epoch < self.switch_epoch:
            return self.beta
        return self.beta_after

    def theta_at(self, epoch: int) -> float | None:
        """Return the threshold of training in this epoch; None is the end of the sequence."""
        if self.method == "eos":
            return None
        return ANSWER_AT_ONCE if epoch < self.first_step_epochs else self.theta


@dataclass(frozen=True)
class Labelled:
    """Sequences with their classes.

    Raises:
        ValueError: if there are none, or not one label for each sequence.
    """

    inputs: SpikeSequences | DenseSequences
    labels: Int[Tensor, " batch"]

    def __post_init__(self) -> None:
        if len(self.labels) == 0:
            raise ValueError("The data set is empty; training needs at least one sample.")
        if len(self.inputs) != len(self.labels):
            raise ValueError(
                f"There must be one label per sequence, got {len(self.inputs)} sequences and "
                f"{len(self.labels)} labels."
            )

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def rows(self, index: Int[Tensor, " rows"]) -> "Labelled":
        """Return the samples at these positions."""
        return Labelled(self.inputs.rows(index), self.labels[index])

    def to(self, device: torch.device | str) -> "Labelled":
        """Return the samples on another device."""
        return Labelled(self.inputs.to(device), self.labels.to(device))


@dataclass(frozen=True)
class TrainResult:
    """What training leaves behind; the model holds the weights of `best_epoch`."""

    history: list[Row]
    """One row per epoch, as in the CSV log."""
    best_epoch: int
    """Epoch (from 0) with the best validation accuracy in the chosen regime."""
    regime_reached: bool
    """False if no epoch was in the chosen regime; then the nearest epoch was kept."""


def train(
    model: StepModel,
    data: Labelled,
    validation: Labelled,
    config: TrainConfig,
    run_dir: Path,
    *,
    fresh: Callable[[torch.Generator], Labelled] | None = None,
    tensorboard: bool = False,
    description: str = "train",
) -> TrainResult:
    """Train a step model, or go on with the run that `run_dir` holds.

    After every epoch `run_dir/checkpoint.pt` is replaced atomically; it holds weights, optimiser,
    all random states, config and history. A run that was killed and started again with the same
    arguments ends in bit-identical weights (same machine, torch and number of threads).

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
    return _Training(model, data, validation, config, run_dir, fresh, tensorboard).fit(description)


def evaluate(model: StepModel, data: Labelled, theta: float | None) -> tuple[Decision, Row]:
    """Decide on labelled data; return the decisions and a row of accuracy, loss, step and share."""
    decision = decide(model, data.inputs, theta)
    assert decision.step is not None
    labels = data.labels.to(decision.label.device)
    right = (decision.label == labels).double().mean()
    loss = -decision.scores.gather(1, labels.long().unsqueeze(1)).clamp_min(1e-38).log().mean()
    return decision, {
        "accuracy": float(right),
        "loss": float(loss),
        "mean_step": float(decision.step.double().mean()),
        "fired": float(decision.fired.double().mean()),
    }


class _Training:
    """State of one run."""

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
        for labelled in (data, validation):
            check_fit(model, labelled)
        if config.method == "rc":
            for beta in {config.beta_at(0), config.beta_at(config.epochs - 1)}:
                warn_if_never_fires(beta, config.theta, model.n_classes)
        assert isinstance(model, nn.Module)
        self.model: Any = model
        self.data, self.validation, self.config = data, validation, config
        self.fresh = fresh or (lambda generator: data)
        self.theta = config.theta if config.method == "rc" else None
        self.run_dir = run_dir
        self.optimizer = Adam(model, config.lr, config.weight_decay)
        self.scheduler = self._scheduler()
        self.generator = torch.Generator().manual_seed(config.seed)
        for module in model.modules():
            if isinstance(module, Dropout):  # one stream of randomness, kept in the checkpoint
                module.generator = self.generator
        if hasattr(model, "precision"):
            model.precision = config.precision  # type: ignore[assignment]
        self.history: list[Row] = []
        self.best: dict[str, Any] = {}
        run_dir.mkdir(parents=True, exist_ok=True)
        self.checkpoint = run_dir / "checkpoint.pt"
        if self.checkpoint.exists():
            self._resume()
        self.writer = _tensorboard(run_dir, purge=len(self.history)) if tensorboard else None

    def _scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        total = self.config.epochs * math.ceil(len(self.data) / self.config.batch_size)
        if self.config.schedule == "constant":
            return torch.optim.lr_scheduler.ConstantLR(self.optimizer, factor=1.0)
        return torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, self.config.lr, total_steps=total, pct_start=0.2, cycle_momentum=False
        )

    def fit(self, description: str) -> TrainResult:
        start = len(self.history)
        bar = tqdm(
            total=self.config.epochs * len(self.data),
            initial=start * len(self.data),
            desc=description,
            unit="img",
            disable=None,
            leave=False,
        )
        with bar:
            for epoch in range(start, self.config.epochs):
                began = time.perf_counter()
                row = {"epoch": float(epoch), "beta": self.config.beta_at(epoch)}
                row |= self._epoch(epoch, bar)
                row["train_seconds"] = time.perf_counter() - began
                row |= self._validate(epoch)
                row["seconds"] = time.perf_counter() - began
                self.history.append(row)
                self._save()
                bar.set_postfix(
                    val=f"{row['val_accuracy']:.4f}", step=f"{row['val_mean_step']:.2f}"
                )
        if self.writer is not None:
            self.writer.close()
        self.model.load_state_dict(self.best["model"])
        self.model.eval()
        return TrainResult(self.history, self.best["epoch"], self.best["key"][0] == 1.0)

    def _epoch(self, epoch: int, bar: "tqdm[Any]") -> Row:
        beta, theta = self.config.beta_at(epoch), self.config.theta_at(epoch)
        data = self.fresh(self.generator)
        if len(data) != len(self.data):
            raise ValueError(f"fresh must draw {len(self.data)} samples, got {len(data)}.")
        self.model.train()
        totals = torch.zeros(4, dtype=torch.float64)
        order = torch.randperm(len(self.data), generator=self.generator)
        for index in order.split(self.config.batch_size):
            totals += self._update(data.rows(index), beta, theta)
            bar.update(len(index))
        mean = (totals / len(self.data)).tolist()
        names = ("train_loss", "train_accuracy", "train_mean_step", "train_fired")
        return dict(zip(names, mean, strict=True))

    def _update(self, batch: Labelled, beta: float, theta: float | None) -> Tensor:
        """Train on one batch; return its sums of loss, right answers, steps and fired samples.

        A method of its own, so that the graph, and its memory, is gone before the next batch.
        """
        decision, logits = run(self.model, batch.inputs, theta)
        labels = batch.labels.to(logits.device)
        loss = rc_loss(logits, labels, beta)
        if not torch.isfinite(loss):
            raise ValueError(
                f"The loss is {loss.item()} in epoch {len(self.history)}. Lower "
                f"lr={self.config.lr}; the last good checkpoint stays in {self.checkpoint}."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        assert decision.step is not None
        right = (decision.label == labels).sum()
        sums = (loss.detach() * len(batch), right, decision.step.sum(), decision.fired.sum())
        return torch.stack([s.double().cpu() for s in sums])

    def _validate(self, epoch: int) -> Row:
        self.model.eval()
        _, row = evaluate(self.model, self.validation, self.theta)
        key = self._key(row)
        if not self.best or key > self.best["key"]:
            weights = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
            self.best = {"key": key, "epoch": epoch, "model": weights}
        return {f"val_{name}": value for name, value in row.items()}

    def _key(self, row: Row) -> tuple[float, float]:
        """Rank an epoch: in the chosen regime by accuracy, else by nearness to the regime."""
        share = row["mean_step"] / self.validation.inputs.n_steps
        if self.config.select == "fast" and share >= FAST_BELOW:
            return 0.0, -share
        if self.config.select == "slow" and share <= SLOW_ABOVE:
            return 0.0, share
        return 1.0, row["accuracy"]

    def _save(self) -> None:
        state = {
            "run": self._identity(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": checkpoint.random_states(self.generator),
            "history": self.history,
            "best": self.best,
        }
        checkpoint.write(self.checkpoint, state)
        self._log()

    def _log(self) -> None:
        """Write the CSV log anew from the history, so that a resumed run has no row twice."""
        partial = self.run_dir / "log.csv.partial"
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.history[-1]))
            writer.writeheader()
            writer.writerows(self.history)
        os.replace(partial, self.run_dir / "log.csv")
        if self.writer is not None:
            for name, value in self.history[-1].items():
                self.writer.add_scalar(name, value, int(self.history[-1]["epoch"]))

    def _identity(self) -> dict[str, Any]:
        """Return what a checkpoint must share with the run that goes on from it."""
        sums = [int(x.labels.long().cumsum(0).sum()) for x in (self.data, self.validation)]
        return asdict(self.config) | {
            "samples": [len(self.data), len(self.validation)],
            "n_steps": self.data.inputs.n_steps,
            "label_sums": sums,  # sums of running sums: another order or split gives others
        }

    def _resume(self) -> None:
        state = checkpoint.read(self.checkpoint)
        # More epochs may be asked of a run with a constant rate; all else is another experiment.
        here, there = self._identity(), state["run"]
        free = {"epochs"} if self.config.schedule == "constant" else set()
        other = [k for k in here if k not in free and here[k] != there.get(k)]
        if other or self.config.epochs < len(state["history"]):
            raise ValueError(
                f"{self.checkpoint} belongs to another run: it has {there}, asked for {here}. "
                "Choose another run_dir, or move the checkpoint away."
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.history, self.best = state["history"], state["best"]
        self.best["key"] = tuple(self.best["key"])
        checkpoint.restore_random_states(state["random"], self.generator)


def check_fit(model: StepModel, data: Labelled) -> None:
    """Refuse data that do not fit the model: input size or class indices."""
    first = data.rows(torch.zeros(1, dtype=torch.long))
    n_inputs = math.prod(first.inputs.at(0).shape[1:])
    if n_inputs != model.n_inputs:
        raise ValueError(
            f"The model reads {model.n_inputs} inputs per step, got sequences of {n_inputs}. Check "
            "the image size, or build the model for these data."
        )
    check_labels(data.labels, model.n_classes)


def _tensorboard(run_dir: Path, purge: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "TensorBoard logging needs the package tensorboard: pip install 'rc_snn[tensorboard]'."
        ) from error
    return SummaryWriter(str(run_dir / "tensorboard"), purge_step=purge)
