"""The loop of every training: epochs, the choice of the best one, a log, and exact resume."""

import csv
import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from rc_snn import checkpoint, distributed
from rc_snn.borders.checks import check_weights
from rc_snn.files import check_room, locked, replacing, sweep
from rc_snn.progress import Bar
from rc_snn.regimes import FAST_BELOW, SLOW_ABOVE
from rc_snn.sequences import in_turn

Select: TypeAlias = Literal["fast", "slow", "any"]
Row: TypeAlias = dict[str, float]


@runtime_checkable
class Samples(Protocol):
    """A labelled data set."""

    @property
    def labels(self) -> Int[Tensor, " batch"]:
        """Return the classes."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def rows(self, index: Int[Tensor, " rows"]) -> Any:
        """Return the samples at these positions."""


@dataclass(frozen=True)
class TrainResult:
    """What training leaves behind; the model holds the weights of `best_epoch`."""

    history: list[Row]
    """One row per epoch, as in the CSV log."""
    best_epoch: int
    """Epoch (from 0) with the best validation accuracy in the chosen regime."""
    regime_reached: bool
    """False if no epoch was in the chosen regime; then the nearest epoch was kept."""


def rank(select: Select, share: float, accuracy: float) -> tuple[float, float]:
    """Rank an epoch: in the chosen regime by accuracy, else by nearness to the regime.

    `share` is the mean decision time as a share of the frame.

    Example:
        >>> rank("fast", 0.01, 0.9) > rank("fast", 0.3, 0.99) > rank("fast", 0.4, 0.99)
        True
    """
    if select == "fast" and share >= FAST_BELOW:
        return 0.0, -share
    if select == "slow" and share <= SLOW_ABOVE:
        return 0.0, share
    return 1.0, accuracy


class Loop(ABC):
    """State of one run; a subclass says what an update and a validation are.

    After every epoch `run_dir/log.csv` and then `run_dir/checkpoint.pt` are replaced atomically;
    the checkpoint holds weights, optimiser, all random states, config and history. A run that was
    killed and started again with the same arguments ends in bit-identical weights (same machine,
    torch and number of threads). The same arguments are the same config, samples, model and initial
    weights: digests of them are in the checkpoint, and a run with others is refused. One process at
    a time works in a run_dir: a second one is refused (`rc_snn.files.Busy`).

    A subclass sets the optimiser and the scheduler. All randomness comes from `generator`, which
    the checkpoint keeps.

    Under torchrun the ranks train together (`rc_snn.distributed`): each draws all that belongs to a
    batch from `generator`, alike, and takes its part; what cannot be drawn so, because its shape
    depends on the part, comes from `noise`. The first rank alone evaluates, reads and writes.
    """

    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler

    def __init__(
        self,
        model: nn.Module,
        data: Samples,
        validation: Samples,
        config: Any,
        run_dir: Path,
        *,
        fresh: Callable[[torch.Generator], Any] | None = None,
        tensorboard: bool = False,
    ) -> None:
        """Begin a run.

        `config` is a dataclass with at least epochs, batch_size, lr, schedule and seed; `fresh`
        draws the samples of an epoch anew.
        """
        check_weights(model)
        self.model: Any = model
        self.data: Any = data
        self.validation: Any = validation
        self.config, self.run_dir = config, run_dir
        self.fresh = fresh or (lambda generator: data)
        self.tensorboard = tensorboard
        self.generator = torch.Generator().manual_seed(config.seed)
        self.ranks = distributed.join(model)
        self.noise = self.generator if self.ranks.size == 1 else torch.Generator()
        self.n_batch = 0  # samples of the batch that is trained on, over all ranks
        self.history: list[Row] = []
        self.best: dict[str, Any] = {}
        self.checkpoint, self.log = run_dir / "checkpoint.pt", run_dir / "log.csv"
        kind = type(model)
        options = getattr(model, "options", None) or repr(model)
        self._made_of = {
            "model": f"{kind.__module__}:{kind.__qualname__} {options}",
            "initial_weights": checkpoint.digest(model.state_dict()),
        }
        for part, samples in (("training", data), ("validation", validation)):
            self._made_of[f"{part}_inputs"] = _inputs_digest(samples)
            self._made_of[f"{part}_labels"] = checkpoint.digest(samples.labels)

    @abstractmethod
    def update(self, batch: Any, epoch: int) -> Row:
        """Train on one batch, or this rank's part of it; return sums over its samples."""

    @abstractmethod
    def validate(self, epoch: int) -> tuple[Row, tuple[float, float]]:
        """Return what the log says of the validation samples, and the rank of this epoch."""

    def about(self, epoch: int) -> Row:
        """Return what else the log says of an epoch."""
        return {}

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint must share with the run that goes on from it."""
        return asdict(self.config) | self._made_of

    def n_updates(self) -> int:
        """Return the number of updates of the whole training."""
        return int(self.config.epochs * math.ceil(len(self.data) / self.config.batch_size))

    def one_cycle_or_constant(self) -> torch.optim.lr_scheduler.LRScheduler:
        """Return the schedule of the rate: torch's OneCycleLR, or none."""
        rates = torch.optim.lr_scheduler
        if self.config.schedule == "constant":
            return rates.ConstantLR(self.optimizer, factor=1.0)
        return rates.OneCycleLR(
            self.optimizer,
            self.config.lr,
            total_steps=self.n_updates(),
            pct_start=0.2,
            cycle_momentum=False,
        )

    def descend(
        self, loss: Tensor, more: Tensor | None = None, max_norm: float | None = None
    ) -> None:
        """Take one step down the gradient of the loss, and of what is added to it.

        Raises:
            ValueError: if the loss is not finite; the last good checkpoint stays.
        """
        if not torch.isfinite(loss):
            raise ValueError(
                f"The loss is {loss.item()} in epoch {len(self.history)}. Lower "
                f"lr={self.config.lr}; the last good checkpoint stays in {self.checkpoint}."
            )
        self.optimizer.zero_grad(set_to_none=True)
        self._backward(loss if more is None else loss + more, self.n_batch)
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm)
        self.optimizer.step()
        self.scheduler.step()

    def fit(self, description: str) -> TrainResult:
        """Train to the last epoch, or go on from the checkpoint.

        Raises:
            rc_snn.files.Busy: if another process works in `run_dir`.
            OSError: if `run_dir` has no room for the checkpoint; before the first epoch, if that
                can be known.
        """
        self.ranks.check_batches(len(self.data), self.config.batch_size)
        self.ranks.check_devices(self.model)
        self.ranks.check_alike(self.identity())
        with ExitStack() as held:
            state = self.ranks.from_first(lambda: self._open(held))
            if state is not None:
                self._resume(state)
            self._backward = self.ranks.backward(self.model)
            self.writer = None
            if self.tensorboard and self.ranks.first:
                self.writer = _tensorboard(self.run_dir, purge=len(self.history))
                held.callback(self.writer.close)
            self._epochs(description)
        self.model.load_state_dict(self.best["model"])
        self.model.eval()
        return TrainResult(self.history, self.best["epoch"], self.best["key"][0] == 1.0)

    def _open(self, held: ExitStack) -> dict[str, Any] | None:
        """Take the run's folder, put it in order, and return its checkpoint, if there is one."""
        held.enter_context(locked(self.run_dir, "training"))
        for path in (self.checkpoint, self.log):
            sweep(path, alone=True)
        check_room(self.run_dir, self._checkpoint_bytes())
        return checkpoint.read(self.checkpoint) if self.checkpoint.exists() else None

    def _checkpoint_bytes(self) -> int:
        """Return about how large a checkpoint is: weights, the best ones, and two for Adam."""
        held = self.model.state_dict().values()
        return 65_536 + 4 * sum(x.nbytes for x in held if isinstance(x, Tensor))

    def _epochs(self, description: str) -> None:
        start, n = len(self.history), len(self.data)
        bar = Bar(
            f"train {description}".strip(),
            self.config.epochs * n,
            unit="samples",
            done=start * n,
            silent=not self.ranks.first,
        )
        with bar:
            for epoch in range(start, self.config.epochs):
                self._one(epoch, bar)

    def _one(self, epoch: int, bar: Bar) -> None:
        began = time.perf_counter()
        self.ranks.seed(self.noise, self.config.seed, epoch)
        row: Row = {"epoch": float(epoch)} | self.about(epoch) | self._train(epoch, bar)
        row["train_seconds"] = time.perf_counter() - began
        self.model.eval()
        seen, key = self.ranks.from_first(lambda: self.validate(epoch))
        if not self.best or key > self.best["key"]:
            weights = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
            self.best = {"key": key, "epoch": epoch, "model": weights}
        row |= {f"val_{name}": value for name, value in seen.items()}
        row["seconds"] = time.perf_counter() - began
        self.history.append(row)
        self.ranks.from_first(self._save)
        shown = {k: f"{v:.4f}" for k, v in seen.items() if k in ("accuracy", "mean_step")}
        bar.note(epoch=epoch + 1, **shown)

    def _train(self, epoch: int, bar: Bar) -> Row:
        data = self.fresh(self.generator)
        if len(data) != len(self.data):
            raise ValueError(f"fresh must draw {len(self.data)} samples, got {len(data)}.")
        self.model.train()
        totals: Row = {}
        order = torch.randperm(len(data), generator=self.generator)
        self.ranks.check_alike({"the order of the samples": checkpoint.digest(order)})
        parts = order.split(self.config.batch_size)
        mine = in_turn(data, [self.ranks.part(part) for part in parts])
        for part, batch in zip(parts, mine, strict=True):
            self.n_batch = len(part)
            for name, value in self.update(batch, epoch).items():
                totals[name] = totals.get(name, 0.0) + value
            bar.update(len(part))
        return {
            f"train_{name}": total / len(data) for name, total in self.ranks.total(totals).items()
        }

    def _save(self) -> None:
        state = {
            "run": self.identity(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": checkpoint.random_states(self.generator),
            "history": self.history,
            "best": self.best,
        }
        self._write_log()  # first: it never lacks an epoch that the checkpoint has
        checkpoint.write(self.checkpoint, state)
        if self.writer is not None:
            for name, value in self.history[-1].items():
                self.writer.add_scalar(name, value, int(self.history[-1]["epoch"]))

    def _write_log(self) -> None:
        """Write the CSV log anew from the history, so that a resumed run has no row twice."""
        with replacing(self.log) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.history[-1]))
            writer.writeheader()
            writer.writerows(self.history)

    def _resume(self, state: dict[str, Any]) -> None:
        # More epochs may be asked of a run with a constant rate; all else is another experiment.
        here, there = self.identity(), state.get("run", {})
        free = {"epochs"} if self.config.schedule == "constant" else set()
        # Of an option that is younger than the checkpoint, its default was in use.
        young = {f.name: f.default for f in fields(self.config)}
        other = [k for k in here if k not in free and here[k] != there.get(k, young.get(k))]
        done = len(state.get("history", ()))
        if not other and self.config.epochs < done:
            other = ["epochs"]
        if other:
            differ = "; ".join(f"{k} is {there.get(k)} there, {here[k]} here" for k in other)
            raise ValueError(
                f"{self.checkpoint} belongs to another run ({done} epochs): {differ}. Go on with "
                "the same data and a model that is built anew from the same seed, choose another "
                "run_dir, or move the checkpoint away."
            )
        if self.ranks.first:
            print(
                f"resumed: epoch {done} of {self.config.epochs}, from {self.checkpoint}",
                file=sys.stderr,
            )
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            self.history, self.best = state["history"], state["best"]
            self.ranks.from_first(self._write_log)  # a kill may have come between the two
            checkpoint.restore_random_states(state["random"], self.generator)
        except OSError:  # of the log
            raise
        except Exception as error:  # torch raises what it likes on what another program wrote
            raise ValueError(
                f"{self.checkpoint} cannot be resumed ({error}). Move it away to start anew."
            ) from error


def _inputs_digest(samples: Any) -> str:
    """Return the digest of all that samples hold but their labels."""
    if not is_dataclass(samples):
        return checkpoint.digest(getattr(samples, "inputs", samples))
    held = {f.name: getattr(samples, f.name) for f in fields(samples)}
    return checkpoint.digest({name: part for name, part in held.items() if name != "labels"})


def _tensorboard(run_dir: Path, purge: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "TensorBoard logging needs the package tensorboard: pip install 'rc_snn[tensorboard]'."
        ) from error
    return SummaryWriter(str(run_dir / "tensorboard"), purge_step=purge)
