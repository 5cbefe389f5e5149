"""Minutes of training until 98 % on the test set in the fast regime: ours against the authors'.

`python -m benchmarks.speed.time_to_accuracy` trains an RC-LSTM 784-340-10 twice on all 60,000
images, each run alone on the same threads: by the recipe "tuned" on the fast path, and by the
authors' recipe (dense input, nn.LSTM over all steps, gather at the first spike, Adam at a constant
rate). After every epoch the test set is asked, outside the clock. What counts is the first epoch
that has both the accuracy and a mean decision time below 5 % of the frame (step clock).
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F

from benchmarks import record
from benchmarks.report import tables
from benchmarks.speed.programs import AuthorsRecipe
from benchmarks.table1.options import Table1
from benchmarks.table1.runs import RowRun, planned
from encoders.functional import Polarity
from encoders.mnist import Digits, load_mnist
from encoders.temporal_mnist import latency_sequences
from rc_snn import commands, families
from rc_snn.files import check_room
from rc_snn.objective import rc_loss
from rc_snn.progress import progress, say
from rc_snn.regimes import FAST_BELOW
from rc_snn.spikes import first_spike, spike_frames

Recipe: TypeAlias = Literal["ours", "authors"]
Epoch: TypeAlias = dict[str, float]
N_STEPS = 10
HEADER = ["recipe", "input", "in the fast regime", "time", "epochs", "best test %", "machine"]


@dataclass(frozen=True)
class TimeToAccuracy:
    """Measure the minutes until an accuracy in the fast regime."""

    recipe: tuple[Recipe, ...] = get_args(Recipe)
    """What to measure."""
    accuracy: float = 0.98
    """Accuracy to reach on the test set."""
    limit_minutes: float = 20.0
    """The authors' recipe, which has no last epoch, gives up after this time of training."""
    authors_polarity: Polarity = "bright_first"
    """Polarity of the authors' recipe; in their notebook bright pixels spike first."""
    seed: int = 0
    """Seed of weights and batch order."""
    threads: int = 2
    """CPU threads."""
    data: Path | None = None
    """Folder with MNIST; default: as for table1."""
    results: Path = record.RESULTS
    """Where the records go."""


def reached(epoch: Epoch, accuracy: float) -> bool:
    """Return whether an epoch has the accuracy, in the fast regime."""
    return epoch["accuracy"] >= accuracy and epoch["mean_step"] / N_STEPS < FAST_BELOW


def tuned(options: TimeToAccuracy, digits: Digits) -> RowRun:
    """Return our run: the recipe "tuned" on all training images, the test set asked every epoch."""
    job = Table1(
        rows=("rc-lstm-fast",), profile="paper", protocol=("paper",), seeds=(options.seed,)
    )
    [run] = planned(job, digits)
    return run


def ours(run: RowRun, digits: Digits) -> Iterator[Epoch]:
    """Train by the recipe "tuned"; yield every epoch."""
    own = families.family(run.family)
    data = own.data(run, digits.train)
    test = own.data(run, digits.test, like=data)
    with tempfile.TemporaryDirectory() as folder:
        result = own.train(run.build(), data, test, run.train, Path(folder))
    for row in result.history:
        yield {
            "seconds": row["train_seconds"],
            "accuracy": row["val_accuracy"],
            "mean_step": row["val_mean_step"],
        }


def authors(options: TimeToAccuracy, digits: Digits) -> Iterator[Epoch]:
    """Train by the authors' recipe, without end; yield every epoch."""
    data, test = (
        latency_sequences(split, N_STEPS, polarity=options.authors_polarity)
        for split in (digits.train, digits.test)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = AuthorsRecipe()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(options.seed)
    while True:
        began = time.perf_counter()
        order = torch.randperm(len(data), generator=generator).split(128)
        for index in progress(order, "authors' recipe, an epoch", unit="batches"):
            batch = data.rows(index)
            optimizer.zero_grad(set_to_none=True)
            rc_loss(model(_frames(batch), 0.95), batch.labels).backward()
            optimizer.step()
        yield {"seconds": time.perf_counter() - began} | _authors_test(model, test)


def _frames(batch: Any) -> torch.Tensor:
    return spike_frames(batch.inputs.steps, batch.inputs.n_steps)


@torch.no_grad()
def _authors_test(model: AuthorsRecipe, test: Any) -> Epoch:
    right, steps = 0, 0
    for index in torch.arange(len(test)).split(1000):
        batch = test.rows(index)
        logits = model.output(model.recurrent(_frames(batch))[0])
        step, _ = first_spike(F.softmax(logits, dim=-1), 0.95)
        label = logits[step, torch.arange(len(batch))].argmax(dim=1)
        right += int((label == batch.labels).sum())
        steps += int(step.sum())
    return {"accuracy": right / len(test), "mean_step": steps / len(test)}


def measure(recipe: Recipe, options: TimeToAccuracy, digits: Digits) -> record.Record:
    """Train until the accuracy is reached, or to the end, and return the record."""
    source = record.source()
    config = tuned(options, digits)
    history: list[Epoch] = []
    for epoch in ours(config, digits) if recipe == "ours" else authors(options, digits):
        history.append(epoch)
        spent = sum(e["seconds"] for e in history)
        say(f"{recipe}: {spent:.0f} s, {epoch}")
        if reached(epoch, options.accuracy):
            break
        if recipe == "authors" and spent > 60 * options.limit_minutes:
            break
    seconds = sum(e["seconds"] for e in history)
    asked = {
        "recipe": recipe,
        "accuracy": options.accuracy,
        "limit_minutes": options.limit_minutes,
        "threads": options.threads,
        "run": config.config
        if recipe == "ours"
        else {"polarity": options.authors_polarity, "seed": options.seed},
    }
    metrics = {
        "reached": reached(history[-1], options.accuracy),
        "minutes": seconds / 60,
        "epochs": len(history),
        "best_accuracy": max(e["accuracy"] for e in history),
    }
    name = f"{recipe}_seed{options.seed}_{record.config_key(asked)}"
    return record.new_record(
        "time_to_accuracy", name, asked, metrics, {"history": history}, seconds, source
    )


def table(records: Sequence[record.Record]) -> str:
    """Lay out the records for README, ours first."""
    lines = []
    for r in sorted(records, key=lambda r: r.config["recipe"], reverse=True):
        c, m, machine = r.config, r.metrics, r.machine
        run = c["run"]
        lines.append(
            [
                c["recipe"],
                f"{run['polarity'].replace('_', ' ')}, seed {run.get('seed', 0)}",
                f"{100 * c['accuracy']:g} %",
                f"{m['minutes']:.1f} min" if m["reached"] else f"not within {m['minutes']:.1f} min",
                str(m["epochs"]),
                f"{100 * m['best_accuracy']:.2f}",
                f"{machine['threads']} threads, load {machine['load'][0]:g}, {machine['cpu']}",
            ]
        )
    return "\n".join(tables.markdown([HEADER, *lines])) + "\n"


def main(options: TimeToAccuracy) -> int:
    """Measure what has no record yet, and print both; return the exit status."""
    check_room(options.results / "time_to_accuracy")
    torch.set_num_threads(options.threads)
    digits = load_mnist(options.data)
    for recipe in options.recipe:
        done = measure(recipe, options, digits)
        path = record.save(done, options.results / "time_to_accuracy")
        m = done.metrics
        verdict = "reached in" if m["reached"] else "NOT reached within"
        print(
            f"{recipe}: {100 * options.accuracy:g} % in the fast regime {verdict} "
            f"{m['minutes']:.1f} min of training ({m['epochs']} epochs, {options.threads} threads; "
            f"best {100 * m['best_accuracy']:.2f} %) -> {path}"
        )
    return 0


if __name__ == "__main__":
    commands.run(main, TimeToAccuracy)
