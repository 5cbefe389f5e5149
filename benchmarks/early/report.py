"""Tables and figure of `benchmarks.early.task`, from its records: means over seeds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.record import Record
from benchmarks.report import figures, tables
from benchmarks.report.numbers import seeds, spread
from rc_snn.plots import frontier

COLUMNS = {
    "accuracy": "accuracy %",
    "macro_recall": "macro recall %",
    "earliness": "earliness %",
    "harmonic_mean": "harmonic mean %",
    "average_cost": "cost %",
    "early_and_wrong": "early and wrong %",
}
BOUND = "optimal cutoff"
NOTES = """\
All numbers in %, mean ± std over seeds: other initial weights, batches and validation series, the
same test series. earliness: share of a series' own length that was read; less is earlier. harmonic
mean: of accuracy and 100 - earliness; more is better, but on two classes a guess at once has about
67. cost: errors + {alpha:g} · earliness; less is better. Formulas: rc_snn.exits.metrics.
early and wrong: share of all series answered wrongly before the last step; conformal keeps it, on
average over validation sets, at {epsilon:g} % or less. "by cost", "by harmonic mean": the threshold
that is best so on the validation series.
optimal cutoff: the bound of a network; it knows the labels.
Networks: LSTM with {n_hidden} units, epoch chosen on validation series. They learn from what these
leave of the official training series, the peers (aeon; {base}) from all of
them; TEASER chooses for the harmonic mean. Networks may stop at every step, peers at no more than
{prefixes} prefixes, of {shortest} steps or more.
GunPoint and ItalyPowerDemand come z-normalised over each whole series, which tells every reader of
a prefix something of what follows. Series of JapaneseVowels are padded to one length."""


def by_set(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the records of each set, in their order."""
    found: dict[str, list[Record]] = {}
    for one in records:
        found.setdefault(one.config["set"], []).append(one)
    return found


def rows_of(done: Record) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield a record's rows by name."""
    for network, found in done.metrics["networks"].items():
        for rule, row in found["rows"].items():
            yield f"{network}, {rule}", row
        yield f"{network}, {BOUND}", found["optimal_cutoff"]
    for peer, row in done.metrics["peers"].items():
        yield f"{peer} (aeon)", row


def text(records: Sequence[Record]) -> str:
    """Return one table per set, and what the columns mean."""
    parts = []
    for name, done in by_set(records).items():
        m = done[0].metrics
        fit, held_out, test = m["n"]
        head = (
            f"{name}: {len(m['classes'])} classes, {m['n_steps']} steps, channels: "
            f"{m['n_channels']}; series: {fit} to train, {held_out} to choose, {test} to test; "
            f"{seeds([r.config['train']['seed'] for r in done])}"
        )
        rows = [["", *COLUMNS.values()]]
        of_seed = [dict(rows_of(r)) for r in done]
        for key in of_seed[0]:
            cells = [spread([100 * r[key][c] for r in of_seed], 1) for c in COLUMNS]
            rows.append([key, *cells])
        parts.append("\n".join([head, "", *tables.text(rows, "<>")]))
    config = records[0].config
    notes = NOTES.format(
        alpha=config["alpha"],
        epsilon=100 * config["epsilon"],
        n_hidden=config["n_hidden"],
        base=config["peers"]["base"],
        prefixes=config["peers"]["prefixes"],
        shortest=config["peers"]["shortest"],
    )
    return "\n\n".join(
        ["Early classification on UCR and UEA sets; official test series", *parts, notes]
    )


LINES = {
    "EOS": {"color": "black", "ls": "-"},
    "every-step loss": {"color": "#009e73", "ls": "--"},
    "RC": {"color": "#d55e00", "ls": "-."},
}
MARKS = ("s", "^")


def draw(records: Sequence[Record], path: Path) -> None:
    """Draw accuracy against earliness over all θ, mean over seeds, and the peers' points."""
    sets = by_set(records)
    figure, axes = figures.subplots(
        1, len(sets), figsize=(3.2 * len(sets) + 0.6, 3.6), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, (name, done) in zip(axes[0], sets.items(), strict=True):
        for network, style in LINES.items():
            curves = [r.metrics["networks"][network]["curve"] for r in done]
            earliness = [100 * x for x in _means([c["earliness"] for c in curves])]
            frontier(
                (earliness, _means([c["accuracy"] for c in curves])),
                envelope=False,
                ax=axis,
                **style,
                label=f"{network}, all θ",
            )
        for mark, peer in zip(MARKS, done[0].metrics["peers"], strict=True):
            points = [r.metrics["peers"][peer] for r in done]
            frontier(
                ([100 * p["earliness"] for p in points], [p["accuracy"] for p in points]),
                envelope=False,
                ax=axis,
                ls="",
                marker=mark,
                color="#0072b2",
                mfc="none",
                label=f"{peer}, each seed",
            )
        axis.set(title=name, xlabel="earliness: % of a series read", xlim=(0, 102))
    axes[0, 0].set(ylabel="test accuracy (%)")
    axes[0, 0].legend(loc="lower right", fontsize="small")
    figures.save(figure, path)


def _means(curves: Sequence[Sequence[Any]]) -> list[float]:
    return [mean(values) for values in zip(*curves, strict=True)]
