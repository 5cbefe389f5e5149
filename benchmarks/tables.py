"""Tables from records: `python -m benchmarks.tables` rewrites results/table1.md and the README's.

Nothing here trains or measures. A number that no record holds cannot appear.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal, TypeAlias, get_args

from benchmarks import record, simulators
from benchmarks.record import Record
from benchmarks.table1.rows import PUBLISHED, Published, RecipeName
from bridges import support
from encoders.mnist import MNIST_TITLE
from rc_snn import commands, files

Style: TypeAlias = Literal["text", "markdown"]
Line: TypeAlias = list[str]

HEADER = [
    "regime",
    "model",
    "architecture",
    "published %",
    "ours %",
    "paper's protocol %",
    "recipe",
    "input",
    "step clock",
    "strict clock",
    "input seen",
    "mean step",
    "fired %",
    "MMACs (of full), MSynOps",
    "trained / tested on",
]

NOTES = (
    "ours: mean ± std over seeds; every choice on held-out training images, the test set touched "
    "once per record. paper's protocol: all training images, best epoch and run by test accuracy.",
    "Clocks: mean decision time as share of the frame, and its regime (fast < 5 %, slow > 25 %). "
    "step: t_sp / T, the paper's; strict: (t_sp + 1) / T; input seen: share of input spikes. In "
    "continuous time the first two are the spike time.",
    "mean step: over all samples, forced answers at T-1; in continuous time the mean first spike, "
    "in frames. MMACs: million dense multiply-adds per sample until the decision, and their share "
    "of the full sequence's; in continuous time million accumulates, one per spike and synapse.",
    "recipe: weights, the network that its authors publish, measured here; published, as its "
    "authors describe; tuned, ours on the same images; augmented, ours on randomly moved training "
    "images. θ is 0.95 where none is named. bf16: products in bfloat16 while training; every "
    "accuracy of ours is measured with float32 products and float16-rounded weights.",
    "! no epoch was in the row's regime by the step clock on validation; the nearest was kept. "
    "— not trained here (yet), or not published.",
)

TIME_HEADER = ["recipe", "input", "in the fast regime", "time", "epochs", "best test %", "machine"]


def table1(records: Sequence[Record], title: str, style: Style) -> str:
    """Lay out Table 1: every published row, and each of ours beside its claim."""
    lines = [line for row in PUBLISHED for line in _row_lines(row, records)]
    head = f"Table 1 on {title}"
    if style == "text":
        return "\n".join([head, "", *_text(HEADER, lines), "", *NOTES])
    return "\n".join([f"**{head}**", "", *_markdown(HEADER, lines), "", "\n\n".join(NOTES), ""])


def groups(records: Iterable[Record]) -> list[tuple[Published, list[Record]]]:
    """Return the records of each line of the table that has any: all seeds and protocols of it."""
    found: dict[tuple[int, str], list[Record]] = {}
    rows = {row.row: i for i, row in enumerate(PUBLISHED) if row.row is not None}
    for r in records:
        if r.config["row"] in rows:
            found.setdefault((rows[r.config["row"]], _group(r)), []).append(r)
    return [(PUBLISHED[key[0]], found[key]) for key in sorted(found)]


def _row_lines(row: Published, records: Iterable[Record]) -> list[Line]:
    claim = [row.regime, row.model, row.architecture, row.accuracy]
    ours = [claim + _ours(group) for of, group in groups(records) if of is row]
    return ours or [claim + ["—"] * (len(HEADER) - len(claim))]


def _group(r: Record) -> str:
    """Return what the runs of one line share: all but seed and protocol."""
    c = r.config
    train = {k: v for k, v in c["train"].items() if k != "seed"}
    rest = {k: v for k, v in c.items() if k not in ("train", "protocol", "n_train", "n_validation")}
    order = get_args(RecipeName).index(c.get("recipe", "published"))
    key = record.config_key({"train": train, "rest": rest})
    return f"{c['profile']} {order} {c['polarity']} {key}"


def _ours(group: list[Record]) -> Line:
    held_out = [r for r in group if r.config["protocol"] == "held-out"]
    published_way = [r for r in group if r.config["protocol"] == "paper"]
    shown = held_out or published_way
    best = max((100 * r.metrics["accuracy"] for r in published_way), default=None)
    c = shown[0].config
    return [
        _accuracy(held_out),
        "—" if best is None else f"{best:.2f} (best of {len(published_way)})",
        c.get("recipe", "published"),
        _input(c),
        *(_clock(shown, name) for name in ("step_clock", "strict_clock", "input_seen")),
        _insight(shown),
        f"{_mean(shown, lambda m: 100 * m['fired'] / m['n']):.1f}",
        _operations(shown),
        _effort(c),
    ]


def _timed(config: dict[str, Any]) -> bool:
    """Return whether a run's neurons spike once, in continuous time."""
    return "n_steps" not in config


def _input(config: dict[str, Any]) -> str:
    grid = "continuous" if _timed(config) else f"T={config['n_steps']}"
    return f"{config['polarity'].replace('_', ' ')}, {grid}"


def _insight(group: list[Record]) -> str:
    if not _timed(group[0].config):
        return f"{_mean(group, lambda m: m['time_to_insight']):.2f}"
    times = [r.metrics["strict_clock"]["mean"] for r in group]
    return "∞" if None in times else f"{mean(times):.2f} frames"


def _operations(group: list[Record]) -> str:
    if _timed(group[0].config):
        return f"{_mean(group, lambda m: m['synops_ac'] / 1e6):.3f} MSynOps"
    share = _mean(group, lambda m: 100 * m["macs"] / m["macs_full"])
    return f"{_mean(group, lambda m: m['macs'] / 1e6):.2f} ({share:.0f} %)"


def _effort(config: dict[str, Any]) -> str:
    if _timed(config) and config["model"]["file"]:
        return f"the authors' weights / {config['n_test']:,}"
    kernel = config["model"].get("kernel_size")
    theta = config["train"].get("theta", 0.95)
    parts = [
        f"{config['n_train']:,} × {config['train']['epochs']} epochs / {config['n_test']:,}",
        f"kernel {kernel}×{kernel}" if kernel else "",
        "bf16" if config["train"].get("precision") == "bf16" else "",
        "" if theta == 0.95 else f"θ={theta}",
    ]
    return f"{', '.join(filter(None, parts))} ({config['profile']})"


def _accuracy(held_out: list[Record]) -> str:
    if not held_out:
        return "—"
    values = [100 * r.metrics["accuracy"] for r in held_out]
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    seeds = "1 seed" if len(values) == 1 else f"{len(values)} seeds"
    missed = "" if all(r.training["regime_reached"] for r in held_out) else " !"
    return f"{mean(values):.2f}{spread} ({seeds}){missed}"


def _clock(group: list[Record], name: str) -> str:
    regimes = "/".join(sorted({r.metrics[name]["regime"] for r in group}))
    if any(r.metrics[name]["mean"] is None for r in group):
        return f"∞ {regimes}"
    return f"{_mean(group, lambda m: 100 * m[name]['mean']):.1f} % {regimes}"


def _mean(group: list[Record], value: Callable[[dict[str, Any]], float]) -> float:
    return mean(value(r.metrics) for r in group)


def _text(header: Line, lines: list[Line]) -> list[str]:
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    return ["  ".join(_pad(line, widths)).rstrip() for line in [header, rule, *lines]]


def _markdown(header: Line, lines: list[Line]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *lines]]


def _pad(line: Line, widths: list[int]) -> Line:
    return [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]


def write(records: Sequence[Record], results: Path, title: str) -> Path:
    """Write the Markdown table of these records, atomically, and return its path.

    `table1.md` is the checked-in table of paper runs on MNIST; anything else has its own file.
    """
    others = sorted(
        {f"{r.config['data']}.{r.config['profile']}" for r in records} - {"MNIST.paper"}
    )
    path = results / ".".join(["table1", *others, "md"])
    files.write_text(path, table1(records, title, "markdown"))
    return path


def time_to_accuracy(records: Sequence[Record]) -> str:
    """Lay out the records of `benchmarks.table1.time_to_accuracy`, ours first."""
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
    return "\n".join(_markdown(TIME_HEADER, lines)) + "\n"


def with_block(text: str, name: str, block: str) -> str:
    """Return a text with what stands between the two markers of this name replaced."""
    begin = f"<!-- {name}: begin, written by python -m benchmarks.tables -->"
    end = f"<!-- {name}: end -->"
    pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"The text must hold {begin} and {end}, once each.")
    return pattern.sub(lambda _: f"{begin}\n{block}\n{end}", text)


def readme_with_tables(readme: str, results: Path) -> str:
    """Return the README's text with its tables made anew, from records and what bridges say."""
    from benchmarks import task_tables  # the main job prints its table without all of the tasks

    table = table1(paper_records(results / "table1"), MNIST_TITLE, "markdown")
    times = time_to_accuracy(record.read_all(results / "time_to_accuracy"))
    text = with_block(with_block(readme, "table1", table), "time", times)
    text = with_block(text, "bridges", support.markdown() + "\n")
    text = with_block(text, "tasks", task_tables.block(results))
    said = simulators.verdicts(simulators.read(results))
    return with_block(text, "simulators", "\n".join(f"- {line}" for line in said) + "\n")


def paper_records(folder: Path) -> list[Record]:
    """Return the records of the paper profile on all of MNIST: those that README and docs show."""
    return [
        r
        for r in record.read_all(folder)
        if r.config["profile"] == "paper" and r.config["data"] == "MNIST"
    ]


@dataclass(frozen=True)
class Tables:
    """Rewrite the tables in results/ and in the README from the records."""

    results: Path = record.RESULTS
    """Where records are read and tables written."""


def main(options: Tables) -> None:
    """Rewrite results/table1.md and the README's table."""
    records = paper_records(options.results / "table1")
    print(write(records, options.results, MNIST_TITLE))
    readme = record.PROJECT / "README.md"
    files.write_text(readme, readme_with_tables(readme.read_text(), options.results))
    print(readme)


if __name__ == "__main__":
    commands.run(main, Tables)
