"""What the plan takes from records: how long runs and steps are, and when samples stop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import record
from benchmarks.record import Record

TRAINED = ("table1", "keywords", "anytime", "early", "figure1", "figure2", "nmnist", "poisson")
"""Folders of results/ with the records of trainings."""


class Trained(NamedTuple):
    """What one recorded training took, on a core of the machine in its record."""

    epochs: int
    epoch_s: float
    """Mean wall time of an epoch, its validation and checkpoint included."""


class StepCost(NamedTuple):
    """Seconds of an update: fixed + each step that is computed + each sample at each step."""

    fixed_s: float
    step_s: float
    sample_step_s: float

    def of(self, steps: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the seconds of batches `[..., batch]`, by the decision step of each sample.

        Example:
            >>> float(StepCost(1.0, 0.1, 0.01).of(np.array([0, 2])))  # 3 steps, of 2, 1, 1 samples
            1.34
        """
        computed = steps + 1
        cost: npt.NDArray[Any] = (
            self.fixed_s + self.step_s * computed.max(-1) + self.sample_step_s * computed.sum(-1)
        )
        return cost


class Measured(NamedTuple):
    """What records hold of runs and steps."""

    trainings: list[Trained]
    record_bytes: float
    """Mean size of a record of Table 1."""
    cost: StepCost
    """Of an update of the RC-LSTM 784-340-10 on one core."""
    decided: dict[str, list[int]]
    """How many test samples were decided at each step, by three networks."""


def read(results: Path) -> Measured:
    """Read the records.

    Raises:
        ValueError: if what the plan needs is not among them.
    """
    found = {name: record.read_all(results / name) for name in (*TRAINED, "speed")}
    trained = [x for name in TRAINED for done in found[name] if (x := _trained(done)) is not None]
    tuned = {"recipe": "tuned", "polarity": "dark_first"}
    chosen = {
        "RC-LSTM fast": _one(found["table1"], row="rc-lstm-fast", **tuned),
        "RC-LSTM slow": _one(found["table1"], row="rc-lstm-slow", **tuned),
        "keywords, RC, T = 81": _one(found["keywords"], method="rc", beta=0.1),
    }
    return Measured(
        trained,
        float(np.mean([path.stat().st_size for path in record.paths(results / "table1")])),
        step_cost(_one(found["speed"], what="growth")),
        {name: done.metrics["decided_at_step"] for name, done in chosen.items()},
    )


def _trained(done: Record) -> Trained | None:
    """Return what a training took, if the record is of one."""
    seconds = [row["seconds"] for row in done.training.get("history", []) if "seconds" in row]
    return Trained(len(seconds), sum(seconds) / len(seconds)) if seconds else None


def step_cost(growth: Record) -> StepCost:
    """Fit the time of an update in which nothing fires, over sequence lengths and batch sizes.

    By least squares of the relative error, no part negative.

    Args:
        growth: the record of `benchmarks.speed --what growth`.
    """
    from scipy.optimize import nnls

    rows = [row for row in growth.metrics["rows"] if row["of"] in ("T", "batch")]
    sizes, seconds = [], np.array([row["full_ms"] / 1e3 for row in rows])
    for row in rows:
        n_steps = row["value"] if row["of"] == "T" else growth.config["n_steps"]
        n = row["value"] if row["of"] == "batch" else growth.config["batch_size"]
        sizes.append([1.0, n_steps, n_steps * n])
    parts, _ = nnls(np.array(sizes) / seconds[:, None], np.ones(len(rows)))
    return StepCost(*map(float, parts))


def _one(done: Sequence[Record], **config: Any) -> Record:
    """Return the first record, by name, whose config says this."""
    for one in done:
        said = one.config | one.config.get("train", {})
        if config.items() <= said.items() and said.get("device", "cpu") == "cpu":
            return one
    raise ValueError(f"The plan needs a record of {config}, and results has none: see --results.")
