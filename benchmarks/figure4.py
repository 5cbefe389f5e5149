"""Figure 4 of the paper: keyword networks as they learn: `python -m benchmarks.figure4`.

Validation accuracy and spike time over the epochs, by RC inference at θ, at a constant rate, of
networks trained by rank coding (left) and from the end of the sequence (right), for several entropy
rewards β. Drawn from the records in results/keywords, which `python -m benchmarks.keywords --train`
makes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.keywords import task as keywords
from benchmarks.keywords.task import THETA
from benchmarks.methods import method_name
from benchmarks.record import Record
from benchmarks.report import figures, tables
from benchmarks.run import Options
from benchmarks.task import start
from rc_snn.objective import critical_beta

SHADES = {0.0: "#9ecae1", 0.1: "#6baed6", 0.2: "#3182bd", 0.3: "#08519c", 0.4: "#08306b"}
"""Darker is more entropy reward, as in the paper."""
DASHES: dict[float, Any] = {0.0: "-", 0.1: "--", 0.2: "-.", 0.3: ":", 0.4: (0, (5, 1, 1, 1, 1, 1))}
GREEN, RED, GREY = "#31a354", "#d7301f", "#666666"
PUBLISHED = (
    ("RC β=0", "spike time falls below 500 ms, accuracy falls with it"),
    ("RC β=0.2", "about 600 ms, accuracy almost that of β=0.4"),
    ("RC β=0.3, 0.4", "spike time stays at the end of the sequence"),
    ("EOS β=0", "lower best accuracy than RC, then deteriorates fast"),
)
"""What section 3.4 says of these curves: ten keywords, 105,829 utterances, 1,000 epochs."""


def trained_as(done: Sequence[Record], method: str, beta: float) -> list[Record]:
    """Return the records of one training, a seed each."""
    wanted = (method, beta)
    trained = [(r, r.config["train"]) for r in done]
    return [r for r, t in trained if (method_name(t), t["beta"]) == wanted]


def betas_of(done: Sequence[Record], method: str) -> list[float]:
    """Return the entropy rewards that a method was trained with."""
    trained = [r.config["train"] for r in done]
    return sorted({t["beta"] for t in trained if method_name(t) == method})


def over_epochs(group: Sequence[Record], column: str) -> Any:
    """Return a column of the logs, `[seed, epoch]`."""
    return np.array([[row[column] for row in r.training["history"]] for r in group])


def draw(done: Sequence[Record], path: Path) -> None:
    """Draw the four panels; a line is the mean over seeds, a band their range."""
    heard_ms = done[0].metrics["heard_ms"]
    figure, axes = figures.subplots(
        2, 2, figsize=(10, 7), sharex=True, sharey="row", layout="constrained"
    )
    for column, method in enumerate(("rc", "eos")):
        prefix = "val_" if method == "rc" else "val_spike_"
        for beta in betas_of(done, method):
            group = trained_as(done, method, beta)
            style = {"color": SHADES[beta], "ls": DASHES[beta], "label": f"β = {beta:g}"}
            _line(axes[0, column], 100 * over_epochs(group, f"{prefix}accuracy"), style)
            _line(axes[1, column], over_epochs(group, f"{prefix}mean_step"), style)
    baseline = trained_as(done, "eos", 0.0)
    if baseline:
        early = {"color": GREEN, "ls": "--", "label": "EOS, RC inference"}
        _line(axes[0, 0], 100 * over_epochs(baseline, "val_spike_accuracy"), early)
        _line(axes[1, 0], over_epochs(baseline, "val_spike_mean_step"), early)
        at_end = {"color": RED, "ls": "-", "label": "EOS, at the end"}
        for axis in axes[0]:
            _line(axis, 100 * over_epochs(baseline, "val_accuracy"), at_end)
    axes[0, 0].set(title="trained by rank coding", ylabel="validation accuracy (%)")
    axes[0, 1].set(title="trained from the end of the sequence")
    axes[1, 0].set(ylabel="mean spike time (step)")
    for axis in axes[1]:
        axis.set(xlabel="epoch", ylim=(0, len(heard_ms) - 1))
        _milliseconds(axis, heard_ms)
    for axis in axes.flat:
        axis.spines["right"].set_visible(True)
    for axis in axes[0]:
        axis.legend(loc="lower right")
    bound = critical_beta(THETA, len(done[0].config["data"]["classes"]))
    n_seeds = len({r.config["train"]["seed"] for r in done})
    figure.suptitle(
        f"Keywords, θ = {THETA}, seeds: {n_seeds} (band: range). Above the critical β = "
        f"{bound:.4f} a converged network does not fire",
        size=10,
    )
    figures.save(figure, path)


def _line(axis: Any, values: Any, style: dict[str, Any]) -> None:
    epochs = np.arange(1, values.shape[1] + 1)
    axis.plot(epochs, values.mean(axis=0), lw=1.3, **style)
    if len(values) > 1:
        axis.fill_between(
            epochs, values.min(axis=0), values.max(axis=0), color=style["color"], alpha=0.12, lw=0
        )


def _milliseconds(axis: Any, heard_ms: Sequence[float]) -> None:
    """Say on the right what had been heard at a step, context and window included."""
    right = axis.twinx()
    ticks = range(0, len(heard_ms), 20)
    right.set(ylim=axis.get_ylim(), ylabel="heard (ms)")
    right.set_yticks(list(ticks), [f"{heard_ms[i]:.0f}" for i in ticks])
    right.spines["right"].set_visible(True)


HEAD = (
    *("training", "seeds", "best accuracy", "at epoch", "step there", "last accuracy"),
    "last step",
)


def report(records: Sequence[Record]) -> str:
    """Return the figure in numbers: best epoch, and the last."""
    rows = [HEAD]
    for method in ("rc", "eos"):
        prefix = "val_" if method == "rc" else "val_spike_"
        for beta in betas_of(records, method):
            group = trained_as(records, method, beta)
            accuracy = 100 * over_epochs(group, f"{prefix}accuracy")
            step = over_epochs(group, f"{prefix}mean_step")
            best = accuracy.argmax(axis=1)
            seeds = np.arange(len(group))
            rows.append(
                (
                    f"{method.upper()} β={beta:g}",
                    str(len(group)),
                    _range(accuracy[seeds, best]),
                    f"{np.median(best + 1):.0f}",
                    _range(step[seeds, best]),
                    _range(accuracy[:, -1]),
                    _range(step[:, -1]),
                )
            )
    lines = ["Validation, RC inference at θ; step, and accuracy %; mean over seeds (range)"]
    lines += tables.text(rows, "<>", widths=(12, 5, 22, 8, 18, 22, 18))
    lines += ["", "Published (section 3.4; ten keywords, 105,829 utterances, 1,000 epochs):"]
    lines += [f"  {name}: {said}" for name, said in PUBLISHED]
    return "\n".join(lines)


def _range(values: Any) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{values.mean():.2f} ({values.min():.2f}-{values.max():.2f})"


class Figure4(keywords.Keywords):
    """Figure 4: draw keyword networks as they learn, from the records in results/keywords."""

    name, of = "figure4", keywords.TASK
    text = staticmethod(report)

    def find(self, options: Any) -> list[Record]:
        """Return the records of networks that learn at a constant rate."""
        return keywords.of_recipe(keywords.records(options), "learning")

    def draw(self, records: Sequence[Record], options: Options, path: Path) -> None:
        """Draw accuracy and spike time over the epochs."""
        draw(records, path)


TASK = Figure4()

if __name__ == "__main__":
    start(TASK)
