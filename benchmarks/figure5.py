"""Figure 5 of the paper: accuracy against decision time of keyword networks, over θ.

`python -m benchmarks.figure5` draws, from the records in results/keywords, one curve for each β, of
networks that learn by rank coding (A) and from the end of the sequence (B), with the composite best
curve; and, over seeds, all methods at equal mean time (C), of the longer trainings in which they
are alike; θ is chosen on the validation split.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.figure4 import DASHES, GREEN, RED, SHADES, betas_of, trained_as
from benchmarks.keywords import task as keywords
from benchmarks.keywords.peers import AT_MS
from benchmarks.keywords.task import KeywordOptions
from benchmarks.methods import method_name
from benchmarks.record import Record
from benchmarks.report import figures, numbers, tables
from benchmarks.report.numbers import mean_and_half, seed_interval
from benchmarks.run import Options
from benchmarks.task import start
from rc_snn.exits import Curve, accuracy_within
from rc_snn.plots import frontier

ROWS = {
    "EOS β=0": ("eos", "first"),
    "RC β=0": ("rc", "first"),
    "RC best β": ("rc", "best"),
    "RC all β": ("rc", "all"),
    "RC random θ": ("random_theta", "first"),
    "RC random θ + prefix": ("random_theta_prefix", "first"),
    "every-step loss": ("every_step", "first"),
}
"""Who is compared: one network per seed, or, where every seed has several β, the best of them on
validation data and the composite of all."""
REFERENCE = "EOS β=0"


def curve(done: Record, split: str) -> Curve:
    """Return a recorded curve over θ: mean time heard in ms, and accuracy."""
    c = done.metrics["curves"][split]
    return Curve(
        torch.tensor(c["mean_ms"], dtype=torch.float64),
        torch.tensor(c["accuracy"], dtype=torch.float64),
    )


def family(done: Sequence[Record], which: str, budgets: torch.Tensor) -> tuple[Curve, Curve] | None:
    """Return validation and test curve of one seed's networks: the first, the best, or all of them.

    The best is the one with the largest mean validation accuracy within the budgets.
    """
    if not done:
        return None
    chosen = sorted(done, key=lambda r: float(r.config["train"]["beta"]))
    if which == "first":
        chosen = chosen[:1]
    elif which == "best":
        chosen = [max(chosen, key=lambda r: _mean_within(curve(r, "validation"), budgets))]
    parts = [[curve(r, split) for r in chosen] for split in ("validation", "test")]
    return Curve.cat(parts[0]), Curve.cat(parts[1])


def _mean_within(validation: Curve, budgets: torch.Tensor) -> float:
    return float(accuracy_within(validation, validation, budgets).mean())


def within(done: Sequence[Record], budgets: torch.Tensor) -> dict[str, Any]:
    """Return for each row the test accuracy within each mean time, `[seed, budget]`."""
    done = keywords.of_recipe(done, "compared")
    seeds = sorted({r.config["train"]["seed"] for r in done})
    found: dict[str, Any] = {}
    for name, (method, which) in ROWS.items():
        lines, betas = [], _betas_of_every_seed(done, method, seeds)
        for seed in seeds:
            mine = [r for r in done if _is(r, method, seed) and r.config["train"]["beta"] in betas]
            both = family(mine, which, budgets)
            if both is not None and not (which != "first" and len(mine) == 1):
                lines.append(accuracy_within(*both, budgets).tolist())
        if len(lines) == len(seeds):
            found[name] = np.array(lines)
    return found


def _betas_of_every_seed(done: Sequence[Record], method: str, seeds: Sequence[int]) -> set[float]:
    """Return the β that no seed lacks: the seeds choose among the same."""
    each = [set(betas_of([r for r in done if _is(r, method, seed)], method)) for seed in seeds]
    return set.intersection(*each)


def _is(done: Record, method: str, seed: int) -> bool:
    t = done.config["train"]
    return bool(method_name(t) == method and t["seed"] == seed)


def report(records: Sequence[Record]) -> str:
    """Return accuracy at equal mean time, and its differences to EOS, with intervals over seeds."""
    first = records[0]
    compared = keywords.of_recipe(records, "compared")
    seeds = sorted({r.config["train"]["seed"] for r in compared})
    budgets = torch.tensor(AT_MS, dtype=torch.float64)
    found = within(records, budgets)
    head = [f"{ms:g} ms" for ms in AT_MS]
    lines = [
        f"Test accuracy in % ({first.metrics['n']:,} clips, heard once per network) within a mean "
        f"time heard, context and window included; seeds {seeds}.",
        f"β and θ are chosen on {first.config['data']['sizes'][1]:,} validation clips; ± is half "
        "of a 95 % t-interval over seeds.",
        "",
        *_table(["", *head], [[name, *cells(values)] for name, values in found.items()]),
        "",
        *_table(
            [f"minus {REFERENCE}", *head],
            [
                [name, *cells(values - found[REFERENCE], signed=True)]
                for name, values in found.items()
                if REFERENCE in found and name != REFERENCE
            ],
        ),
        "",
        "* the interval does not hold 0. Published (Figure 5): RC above conventional training at "
        "any desired speed.",
    ]
    return "\n".join([*lines, *verdict(found)])


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return tables.text([head, *rows], "<>", widths=(16, 14))


def verdict(found: dict[str, Any]) -> list[str]:
    """Say at which times rank coding, one network against one, is ahead of EOS."""
    name = next((n for n in ("RC best β", "RC β=0") if n in found), None)
    if name is None or REFERENCE not in found:
        return []
    differences = (found[name] - found[REFERENCE]).T
    said = []
    for ms, values in zip(AT_MS, differences, strict=True):
        mean, half = seed_interval(values.tolist())
        sure = not np.isnan(half) and abs(mean) > half
        word = "ahead" if mean > 0 else "behind"
        said.append(f"{ms:g} ms: {word if sure else f'{word}, interval holds 0'}")
    return [f"{name} (one network) against {REFERENCE}: " + "; ".join(said)]


def cells(values: Any, *, signed: bool = False) -> list[str]:
    """Return mean and half of the interval over seeds, in percent, of each column."""
    percent = (100 * values).T.tolist()
    return [mean_and_half(column, signed=signed, starred=signed) for column in percent]


def draw(done: Sequence[Record], path: Path) -> None:
    """Draw curves over θ of the first seed, and the comparison over seeds."""
    figure, axes = figures.subplots(1, 3, figsize=(13.5, 4.6), sharey=True, layout="constrained")
    seeds = sorted({r.config["train"]["seed"] for r in keywords.of_recipe(done, "compared")})
    learning = keywords.of_recipe(done, "learning")
    mine = [r for r in learning if r.config["train"]["seed"] == seeds[0]]
    for axis, method, title in zip(axes, ("rc", "eos"), ("A  RC", "B  EOS"), strict=False):
        _curves(axis, mine, method)
        axis.set(title=f"{title}, θ swept, seed {seeds[0]}")
    _comparison(axes[2], done, len(seeds))
    axes[0].set(ylabel="test accuracy (%)", ylim=(0, 100))
    for axis in axes:
        axis.set(xlabel="mean time heard at the answer (ms)")
        axis.legend(loc="lower right")
    figures.save(figure, path)


def _curves(axis: Any, done: Sequence[Record], method: str) -> None:
    """Draw the curve of each β, its point at the θ of training, and the composite."""
    parts = []
    for beta in betas_of(done, method):
        (one,) = trained_as(done, method, beta)
        points = curve(one, "test")
        style: Any = {"color": SHADES[beta], "ls": DASHES[beta], "label": f"β = {beta:g}"}
        frontier(points, envelope=False, ax=axis, lw=1.2, **style)
        m = one.metrics
        mark: Any = {"marker": "o", "ms": 5, "color": SHADES[beta], "mec": "k"}
        frontier(([m["mean_heard_ms"]], [m["accuracy"]]), ax=axis, **mark)
        parts.append(points)
    if parts:
        best: Any = {"color": RED, "lw": 2.2, "alpha": 0.6, "label": "composite"}
        frontier(Curve.cat(parts), ax=axis, **best)
    axis.plot([], [], "o", ms=5, color="w", mec="k", label="θ of training")


def _comparison(axis: Any, done: Sequence[Record], n_seeds: int) -> None:
    heard = torch.tensor(done[0].metrics["heard_ms"], dtype=torch.float64)
    styles: dict[str, tuple[str, Any]] = {
        "EOS β=0": (GREEN, "--"),
        "RC β=0": ("#3182bd", "-"),
        "RC best β": ("#08519c", "-"),
        "RC all β": (RED, "-."),
        "RC random θ": ("#e69f00", (0, (3, 1))),
        "RC random θ + prefix": ("#d55e00", "-"),
        "every-step loss": ("#cc79a7", ":"),
    }
    for name, values in within(done, heard).items():
        mean, half = np.array([seed_interval(column.tolist()) for column in values.T]).T
        colour, dashes = styles[name]
        style: Any = {"color": colour, "ls": dashes, "label": name, "drawstyle": "steps-post"}
        band = half if n_seeds > 1 else None
        frontier((heard, mean), half=band, envelope=False, ax=axis, **style)
    axis.set(title=f"C  chosen on validation, {n_seeds} seeds (95 %)")


class Figure5(keywords.Keywords):
    """Figure 5: draw accuracy against decision time of keyword networks, from their records."""

    name, of = "figure5", keywords.TASK
    text = staticmethod(report)

    def draw(self, records: Sequence[Record], options: Options, path: Path) -> None:
        """Draw curves over θ, and the comparison at equal mean time."""
        draw(records, path)

    def readme(self, results: Path) -> list[str]:
        """Return the comparison at equal mean time."""
        options = KeywordOptions(results=results)
        done = self.find(options)
        found = within(done, torch.tensor(AT_MS, dtype=torch.float64))
        rows = [["", *(f"{ms:g} ms" for ms in AT_MS)]]
        rows += [[name, *cells(values)] for name, values in found.items()]
        return [
            f"**Keywords** (Figure 5; accuracy in % within a mean time heard, "
            f"{done[0].metrics['n']:,} test clips; ± 95 % over {numbers.seeds(options.seeds)}; "
            "choices on validation)",
            "",
            *tables.markdown(rows),
            "",
            *(f"{line}." for line in verdict(found)),
        ]


TASK = Figure5()

if __name__ == "__main__":
    start(TASK)
