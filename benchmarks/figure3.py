"""Figure 3 of the paper: learning slowly first, then fast: `python -m benchmarks.figure3`.

An RC-LSTM is trained with a high entropy reward β, so that it waits for the whole digit, and then
without one, so that it learns to answer early. The figure shows an encoded digit, and accuracy,
mean spike time and β over the epochs, with `critical_beta` marked. It is drawn from the record in
results/figure3; `--train` makes that record first, and resumes where it was stopped.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.ticker import MaxNLocator

from benchmarks import record
from benchmarks.report import figures
from benchmarks.table1 import task as table1
from benchmarks.table1.rows import ModelConfig, Profile, RunConfig
from encoders.functional import Encoding, Polarity, encode_latency
from encoders.mnist import Digits, load_mnist
from encoders.temporal_mnist import take
from rc_snn import commands
from rc_snn.objective import critical_beta
from rc_snn.spikes import spike_frames, spike_steps
from rc_snn.training import TrainConfig

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"


@dataclass(frozen=True)
class Figure3:
    """Draw Figure 3 from its record, or train for it with --train."""

    train: bool = False
    """Make the record: train, or go on with what was stopped."""
    profile: Profile = "paper"
    """quick: minutes, on part of the training images. paper: all of them."""
    polarity: Polarity = "bright_first"
    """Which pixels spike first."""
    seed: int = 0
    """Seed of weights and batch order."""
    threads: int | None = None
    """CPU threads; default: torch's."""
    data: Path | None = None
    """Folder with MNIST; default: as for table1."""
    results: Path = record.RESULTS
    """Where the record and the figure go."""
    runs: Path = record.PROJECT / "runs"
    """Where checkpoints and logs go."""


def config(options: Figure3, digits: Digits) -> RunConfig:
    """Return the run behind the figure."""
    quick = options.profile == "quick"
    n_validation = min(1_000 if quick else 5_000, len(digits.train.labels) // 8)
    available = len(digits.train.labels) - n_validation
    return RunConfig(
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
        model=ModelConfig("lstm", 340, forget_bias=3.0),
        train=TrainConfig(
            epochs=6 if quick else 20,
            batch_size=64 if quick else 128,
            beta=0.165,
            beta_after=0.0,
            switch_epoch=3 if quick else 8,
            seed=options.seed,
            select="fast",
        ),
    )


def make_record(options: Figure3, digits: Digits) -> Path:
    """Train, account for the result on the test set, and write the record."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    job = table1.Table1(results=options.results, runs=options.runs / "figure3")
    done = table1.execute(config(options, digits), digits, job, record.command_line("figure3"))
    return record.save(replace(done, benchmark="figure3"), options.results / "figure3")


def draw(done: record.Record, digits: Digits, path: Path) -> None:
    """Draw the figure from a record and the digit that it shows."""
    history, c = done.training["history"], done.config
    epochs = [row["epoch"] + 1 for row in history]
    figure = plt.figure(figsize=(8.5, 6.6), layout="constrained")
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
    accuracy.legend(frameon=False, loc="lower right")
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
        axis.spines[["top", "right"]].set_visible(False)
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
    digits = load_mnist(options.data)
    name = table1.run_name(config(options, digits))
    folder = options.results / "figure3"
    path = folder / f"{name}.json"
    if options.train and not path.exists():
        path = make_record(options, digits)
    done: record.Record | str = "is not there" if not path.exists() else record.read(path)
    if isinstance(done, str):
        raise ValueError(f"{path} {done}. Run python -m benchmarks.figure3 --train to make it.")
    short = "" if options.profile == "paper" else f".{options.profile}"
    target = folder / f"figure3_{options.polarity}{short}.png"
    draw(done, digits, target)
    print(target)
    return 0


if __name__ == "__main__":
    commands.run(main, Figure3)
