"""Figure 3 of the paper: learning slowly first, then fast: `python -m benchmarks.figure3`.

An RC-LSTM is trained with a high entropy reward β, so that it waits for the whole digit, and then
without one, so that it learns to answer early. The figure shows an encoded digit, and accuracy,
mean spike time and β over the epochs, with `critical_beta` marked. It is drawn from the record in
results/figure3; `--train` makes that record first, and resumes where it was stopped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from benchmarks.record import Record
from benchmarks.report import figures
from benchmarks.run import Options, find
from benchmarks.table1 import task as table1
from benchmarks.table1.rank_coded_rows import StepNetwork
from benchmarks.table1.runs import RowRun
from benchmarks.table1.task import digits_of, make
from benchmarks.task import make_all, prepare
from encoders.functional import Encoding, Polarity, encode_latency
from encoders.mnist import Digits, load_mnist
from encoders.temporal_mnist import take
from rc_snn import commands
from rc_snn.objective import critical_beta
from rc_snn.progress import Bar, say
from rc_snn.spikes import spike_frames, spike_steps
from rc_snn.training import TrainConfig

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"


@dataclass(frozen=True)
class Figure3(Options):
    """Draw Figure 3 from its record, or train for it with --train."""

    polarity: Polarity = "bright_first"
    """Which pixels spike first."""


def run_of(options: Figure3, digits: Digits, seed: int) -> RowRun:
    """Return the run behind the figure."""
    quick = options.profile == "quick"
    n_validation = min(1_000 if quick else 5_000, len(digits.train.labels) // 8)
    available = len(digits.train.labels) - n_validation
    return RowRun(
        row="rc-lstm-fast",
        profile=options.profile,
        protocol="held-out",
        data=digits.name,
        polarity=options.polarity,
        zero_pixels="last",
        n_steps=10,
        n_train=min(5_000, available) if quick else available,
        n_validation=n_validation,
        n_test=min(10_000, len(digits.test.labels)),
        model=StepNetwork("lstm", 340, forget_bias=3.0),
        train=TrainConfig(
            epochs=6 if quick else 20,
            batch_size=64 if quick else 128,
            beta=0.165,
            beta_after=0.0,
            switch_epoch=3 if quick else 8,
            seed=seed,
            select="fast",
        ),
        task="figure3",
    )


class Task:
    """Figure 3 as a task of the harness."""

    name = "figure3"

    def runs(self, options: Figure3) -> list[RowRun]:
        """Return one run for each seed."""
        digits = load_mnist(options.data)
        return [run_of(options, digits, seed) for seed in options.seeds]

    def make(self, run: RowRun, options: Figure3, command: str) -> Record:
        """Train, account for the result on the test set, and return the record."""
        digits = digits_of(run.data, options.data)
        return make(run, digits, options, command, options.runs / "figure3" / run.name)

    def summary(self, done: Record) -> str:
        """Say what the kept epoch reached."""
        return table1.TASK.summary(done)

    def find(self, options: Figure3) -> list[Record]:
        """Return the record of the first seed that there is one of."""
        return find(self.runs(options), options.results / "figure3")[:1]


TASK = Task()


def draw(done: record.Record, digits: Digits, path: Path) -> None:
    """Draw the figure from a record and the digit that it shows."""
    from matplotlib.ticker import MaxNLocator

    history, c = done.training["history"], done.config
    epochs = [row["epoch"] + 1 for row in history]
    figure = figures.figure(figsize=(8.5, 6.6), layout="constrained")
    rows: Any = figure.subfigures(2, 1, height_ratios=(1, 3.4))
    top, bottom = rows
    _draw_digit(top, c, digits)
    accuracy, step, beta = bottom.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1))
    accuracy.plot(
        epochs, [100 * r["val_accuracy"] for r in history], color=BLUE, label="validation"
    )
    accuracy.plot(
        epochs, [100 * r["train_accuracy"] for r in history], color=GREY, lw=0.8, label="training"
    )
    accuracy.set(ylabel="accuracy (%)")
    accuracy.legend(loc="lower right", fontsize="medium")
    step.plot(epochs, [r["val_mean_step"] for r in history], color=ORANGE)
    step.axhline(0.05 * c["n_steps"], color=GREY, ls=":", lw=1)
    step.text(
        epochs[0], 0.05 * c["n_steps"], "fast regime below (step clock, 5 %)", va="bottom", size=8
    )
    step.set(ylabel="mean spike time\n(steps, validation)", ylim=(0, c["n_steps"]))
    critical = critical_beta(c["train"]["theta"], 10)
    beta.step(epochs, [r["beta"] for r in history], where="mid", color="black")
    beta.axhline(critical, color=ORANGE, ls="--", lw=1)
    beta.text(epochs[-1], critical, f"critical β = {critical:.4f}", va="bottom", ha="right", size=8)
    beta.set(ylabel="β", xlabel="epoch", ylim=(-0.02, 1.4 * critical))
    beta.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (accuracy, step, beta):
        axis.axvline(c["train"]["switch_epoch"] + 0.5, color=GREY, ls="--", lw=1)
    m = done.metrics
    figure.suptitle(
        f"RC-LSTM 784-340-10, {c['polarity'].replace('_', ' ')}, {c['n_train']:,} images, "
        f"one seed: test {100 * m['accuracy']:.2f} % at {m['time_to_insight']:.2f} steps (epoch "
        f"{done.training['best_epoch'] + 1})",
        size=10,
    )
    figures.save(figure, path)


def _draw_digit(figure: Any, c: dict[str, Any], digits: Digits) -> None:
    """Draw one test digit and the pixels that spike at each step."""
    one = take(digits.test, torch.tensor([0]))
    encoding = Encoding(polarity=c["polarity"], zero_pixels=c["zero_pixels"])
    steps = spike_steps(encode_latency(one.images, **encoding), c["n_steps"])
    frames = spike_frames(steps, c["n_steps"]).view(-1, 28, 28)
    axes = figure.subplots(1, c["n_steps"] + 1)
    axes[0].imshow(one.images[0].numpy(), cmap="gray")
    axes[0].set_title("image", size=8)
    for t, axis in enumerate(axes[1:]):
        axis.imshow(frames[t].numpy(), cmap="gray", vmin=0, vmax=1)
        axis.set_title(f"step {t}", size=8)
    for axis in axes:
        axis.set_axis_off()


def main(options: Figure3) -> int:
    """Make the record where asked to, and draw the figure; return the exit status."""
    prepare(options)
    failed = False
    if options.train:
        for outcome in make_all(TASK, options):
            say(outcome.line)
            failed |= outcome.failed
    [done] = TASK.find(options)
    short = "" if options.profile == "paper" else f".{options.profile}"
    path = options.results / "figure3" / f"figure3_{options.polarity}{short}.png"
    record.check_ours(path, path.parent)
    with Bar(f"draw {path.name}", 1):
        draw(done, load_mnist(options.data), path)
    print(path)
    return int(failed)


if __name__ == "__main__":
    commands.run(main, Figure3)
