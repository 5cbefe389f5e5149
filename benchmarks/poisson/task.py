"""Rate-coded MNIST, decided at the first spike: `python -m benchmarks.poisson`.

Each pixel is a Poisson spike train of 25 steps, drawn anew each epoch: evidence comes in from the
first step to the last, and no step holds the image. An RC-LSTM decides when it has seen enough.
Text and figure show its accuracy against the mean step over θ, beside the same network read out at
one step for all. They are made of the records in results/poisson; `--train` makes those first, and
resumes where it was stopped.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import Record
from benchmarks.report import figures, tables
from benchmarks.report.numbers import count_interval, seeds, spread
from benchmarks.run import Data, Options, TaskModel, TaskRun, recorded, trained
from benchmarks.task import Task
from encoders.mnist import Digits, embedded_digits, load_mnist
from encoders.poisson import poisson_sequences
from encoders.temporal_mnist import hold_out
from rc_snn.exits import confidence, exit_at, right_answers, sweep
from rc_snn.plots import frontier
from rc_snn.plots import histogram as draw_histogram
from rc_snn.regimes import account
from rc_snn.runner import trace
from rc_snn.sequences import Labelled
from rc_snn.training import TrainConfig

THETA = 0.95
THETAS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999)
N_STEPS = 25
MAX_RATE = 0.1
"""Spikes per step of a white pixel: about ten spikes of all pixels per step, 250 in the end."""


def runs(options: Options) -> list[TaskRun]:
    """Return one run for each seed; the quick profile reads the embedded digits."""
    quick = options.profile == "quick"
    return [
        TaskRun(
            task="poisson",
            profile=options.profile,
            data={
                "name": "MNIST-5k" if quick else "MNIST",
                "n_validation": 500 if quick else 5_000,
                "n_steps": N_STEPS,
                "max_rate": MAX_RATE,
                "seeds": {"training": 0, "validation": 1, "test": 2},
            },
            model=TaskModel(784, 100 if quick else 340, 10, forget_bias=1.0),
            train=TrainConfig(
                epochs=6 if quick else 10,
                lr=5e-3 if quick else 3e-3,
                schedule="one_cycle",
                theta=THETA,
                beta=0.1,
                first_step_epochs=1,
                max_norm=1.0,
                precision="bf16",
                seed=seed,
            ),
        )
        for seed in options.seeds
    ]


def data(run: TaskRun, digits: Digits) -> Data:
    """Return the images as spike trains; those of training are drawn anew before each epoch."""
    d = run.data
    training, held_out = hold_out(digits.train, d["n_validation"])
    drawn = partial(poisson_sequences, n_steps=d["n_steps"], max_rate=d["max_rate"])

    def once(split: Any, part: str) -> Labelled:
        return drawn(split, generator=torch.Generator().manual_seed(d["seeds"][part]))

    return Data(
        training=once(training, "training"),
        validation=once(held_out, "validation"),
        test=once(digits.test, "test"),
        fresh=lambda generator: drawn(training, generator=generator),
    )


@torch.no_grad()
def measure(model: Any, test: Labelled) -> dict[str, Any]:
    """Read the test set once: the account at θ, the curve over θ, and each step by itself."""
    seen = trace(model, test.inputs, batch_size=250)
    score, right = confidence(seen), right_answers(seen, test.labels)
    curve = sweep(score, right, torch.tensor(THETAS, dtype=score.dtype))
    told = account(
        exit_at(score, seen, THETA),
        test.labels,
        n_steps=len(seen),
        cost=model.cost(),
        inputs=test.inputs,
    )
    return {
        "fixed": asdict(told),
        "interval": count_interval(told.correct, told.n),
        "curve": {
            "theta": list(THETAS),
            "mean_step": curve.time.tolist(),
            "accuracy": curve.accuracy.tolist(),
        },
        "accuracy_at_step": right.double().mean(dim=1).tolist(),
    }


@cache
def digits_of(name: str, folder: Path | None) -> Digits:
    """Load the digits of this name, once per process.

    Raises:
        ValueError: if MNIST is wanted and not at hand.
    """
    digits = embedded_digits() if name == "MNIST-5k" else load_mnist(folder)
    if digits.name != name:
        raise ValueError(
            f"The run is on {name}, found {digits.name} ({digits.origin}). Name the folder of "
            "MNIST with --data, or try --profile quick."
        )
    return digits


def make(run: TaskRun, options: Options, command: str) -> Record:
    """Train one run, or go on with it, and measure it once."""
    digits = digits_of(run.data["name"], options.data)
    sets = data(run, digits)
    done = trained(run, sets, options)
    return recorded(run, done, measure(done.model, sets.test), command)


def text(records: Sequence[Record]) -> str:
    """Say what the network reaches over θ, and beside it every step read out for all alike."""
    first = records[0]
    d, n = first.config["data"], first.metrics["fixed"]["n"]
    epochs = first.config["train"]["epochs"]
    accounts = [r.metrics["fixed"] for r in records]
    low, high = (100 * x for x in first.metrics["interval"])
    percent = spread([100 * a["accuracy"] for a in accounts])
    rows: list[tuple[str, ...]] = [("θ", "accuracy %", "mean step", "one step for all %")]
    rows += [_at(records, i, theta) for i, theta in enumerate(first.metrics["curve"]["theta"])]
    last = [100 * r.metrics["accuracy_at_step"][-1] for r in records]
    rows.append(("none", spread(last), f"{d['n_steps'] - 1:.2f}", spread(last)))
    lines = [
        f"Poisson {d['name']}: {n:,} test images as spike trains of T = {d['n_steps']} steps, a "
        f"white pixel spikes with p = {d['max_rate']:g} in each.",
        f"RC-LSTM 784-{first.config['model']['n_hidden']}-10, profile {first.config['profile']}, "
        f"{seeds([r.config['train']['seed'] for r in records])}; {epochs} epochs, spikes drawn "
        f"anew in each; kept: epoch {' '.join(str(r.training['best_epoch']) for r in records)}.",
        "",
        f"At θ = {THETA}: {percent} % (seed {first.config['train']['seed']}: 95 % interval "
        f"{low:.2f}-{high:.2f}), mean step {_mean(accounts, 'time_to_insight'):.2f}, fired "
        f"{100 * sum(a['fired'] for a in accounts) / (n * len(accounts)):.1f} %",
        f"until the answer: {100 * _mean([a['input_seen'] for a in accounts], 'mean'):.1f} % of "
        f"the input spikes; synaptic operations: {_mean(accounts, 'synops_ac'):,.0f} accumulates "
        f"(input), {_mean(accounts, 'synops_mac'):,.0f} multiply-accumulates (hidden)",
        f"dense: {_mean(accounts, 'macs') / 1e6:.2f} MMAC, of {accounts[0]['macs_full'] / 1e6:.2f} "
        "for all steps",
        "",
        *tables.text(rows, ">", widths=(6, 14, 11, 20)),
        "",
        "one step for all: the same network read out at the mean step for every image, whatever "
        "its confidence (between two steps, interpolated).",
    ]
    return "\n".join(lines) + "\n"


def _mean(parts: Sequence[dict[str, Any]], name: str) -> float:
    return sum(float(part[name]) for part in parts) / len(parts)


def _at(records: Sequence[Record], i: int, theta: float) -> tuple[str, ...]:
    curves = [r.metrics["curve"] for r in records]
    alike = [
        100 * _between(r.metrics["accuracy_at_step"], c["mean_step"][i])
        for r, c in zip(records, curves, strict=True)
    ]
    return (
        f"{theta:g}",
        spread([100 * c["accuracy"][i] for c in curves]),
        spread([c["mean_step"][i] for c in curves]),
        spread(alike),
    )


def _between(values: Sequence[float], step: float) -> float:
    """Return the value at a step that is no whole number, on the line between its neighbours."""
    below = min(int(step), len(values) - 2)
    return values[below] + (step - below) * (values[below + 1] - values[below])


def draw(records: Sequence[Record], path: Path) -> None:
    """Draw accuracy against mean step over θ, and when the decisions at θ are made."""
    figure, (curve, histogram) = figures.subplots(1, 2, figsize=(9.0, 3.8), layout="constrained")
    for i, r in enumerate(records):
        points, alike = r.metrics["curve"], r.metrics["accuracy_at_step"]
        label: Any = (lambda what: what) if i == 0 else (lambda what: None)
        frontier(
            (points["mean_step"], points["accuracy"]),
            envelope=False,
            ax=curve,
            marker="o",
            color="#0072b2",
            ms=3,
            label=label("first spike, θ swept"),
        )
        frontier(
            (range(len(alike)), alike),
            envelope=False,
            ax=curve,
            marker="s",
            ls="--",
            color="0.5",
            ms=3,
            lw=1,
            label=label("one step for all"),
        )
        fixed = r.metrics["fixed"]
        frontier(
            ([fixed["time_to_insight"]], [fixed["accuracy"]]),
            ax=curve,
            marker="*",
            ls="",
            color="#d55e00",
            ms=12,
            label=label(f"θ = {THETA}"),
        )
    curve.set(xlabel="mean decision step", ylabel="test accuracy (%)")
    curve.legend(loc="lower right")
    told = [r.metrics["fixed"] for r in records]
    for key, colour, what in (
        ("decided_at_step", "0.75", "decided"),
        ("correct_at_step", "#0072b2", "right"),
    ):
        counts = torch.tensor([a[key] for a in told], dtype=torch.float64).mean(dim=0)
        draw_histogram(counts, ax=histogram, color=colour, label=what)
    histogram.set(xlabel=f"decision step at θ = {THETA}", ylabel="test images")
    histogram.legend()
    first = records[0].config
    figure.suptitle(
        f"Poisson {first['data']['name']}, p = {first['data']['max_rate']:g} per step and white "
        f"pixel, RC-LSTM, {seeds([r.config['train']['seed'] for r in records])}",
        size=10,
    )
    figures.save(figure, path)


class PoissonMNIST(Task):
    """Rank coding on Poisson spike trains of MNIST: accuracy against the mean step."""

    name = "poisson"
    runs = staticmethod(runs)
    make = staticmethod(make)
    text = staticmethod(text)

    def summary(self, done: Record) -> str:
        """Say what a network reached at θ."""
        told = done.metrics["fixed"]
        return (
            f"Poisson {done.config['data']['name']} seed {done.config['train']['seed']}: "
            f"{100 * told['accuracy']:.2f} % at a mean step of {told['time_to_insight']:.2f}, "
            f"fired {100 * told['fired'] / told['n']:.1f} %, {done.seconds:.0f} s"
        )

    def draw(self, records: Sequence[Record], options: Options, path: Path) -> None:
        """Draw accuracy against time, and the decision times."""
        draw(records, path)


TASK = PoissonMNIST()
