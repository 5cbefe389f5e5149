"""Table 1 as text: every published row, and ours beside its claim, from records only."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, Literal, TypeAlias, get_args

from benchmarks import record
from benchmarks.record import Record
from benchmarks.report import tables
from benchmarks.report.numbers import spread
from benchmarks.table1.all_rows import ROWS
from benchmarks.table1.rows import YOURS, RecipeName, Row, known_rows
from rc_snn.files import write_text

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
    "MSynOps",
    "dense MMACs (of full)",
    "trained / tested on",
]

NOTES = (
    "ours: mean ± std over seeds; every choice on held-out training images, the test set touched "
    "once per record. paper's protocol: all training images, best epoch and run by test accuracy.",
    "Clocks: mean decision time as share of the frame, and its regime (fast < 5 %, slow > 25 %). "
    "step: t_sp / T, the paper's; strict: (t_sp + 1) / T; input seen: share of input spikes. In "
    "continuous time the first two are the spike time.",
    "mean step: over all samples, forced answers at T-1; in continuous time the mean first spike, "
    "in frames. MSynOps: million synaptic operations per sample until the decision, accumulates "
    "(AC: one per spike and synapse, hidden spikes included) and multiply-accumulates (MAC: "
    "products with anything but spikes). dense MMACs: million multiply-adds if nothing were a "
    "spike, and their share of the full sequence's; continuous time has no steps to count.",
    "recipe: weights, the network that its authors publish, measured here; published, as its "
    "authors describe; tuned, ours on the same images; augmented, ours on randomly moved training "
    "images. θ is 0.95 where none is named. bf16: products in bfloat16 while training; every "
    "accuracy of ours is measured with float32 products and float16-rounded weights.",
    "! no epoch was in the row's regime by the step clock on validation; the nearest was kept. "
    "— not trained here (yet), or not published.",
)


def table1(records: Sequence[Record], title: str, style: Style, more: tuple[str, ...] = ()) -> str:
    """Lay out Table 1: every row of ours beside its claim; then others that have records.

    `more` are factories of rows, as of `rows.known_rows`.
    """
    found = groups(records, more)
    shown = {row.name: row for row in ROWS} | {row.name: row for row, _ in found}
    lines = [
        line
        for row in sorted(shown.values(), key=lambda row: row.line)
        for line in _row_lines(row, found)
    ]
    head = f"Table 1 on {title}"
    if style == "text":
        return "\n".join([head, "", *tables.text([HEADER, *lines], rule=True), "", *NOTES])
    return "\n".join(
        [f"**{head}**", "", *tables.markdown([HEADER, *lines]), "", "\n\n".join(NOTES), ""]
    )


def groups(records: Iterable[Record], more: tuple[str, ...] = ()) -> list[tuple[Row, list[Record]]]:
    """Return the records of each line of the table that has any: all seeds and protocols of it."""
    known = known_rows(more)
    found: dict[tuple[int, str, str], tuple[Row, list[Record]]] = {}
    for r in records:
        row = known.get(r.config["row"]) or _unknown(r)
        found.setdefault((row.line, row.name, _group(r)), (row, []))[1].append(r)
    return [found[key] for key in sorted(found)]


def _unknown(r: Record) -> Row:
    """Return a line for a record whose row is not installed here: it is shown, not dropped."""
    name = r.config["row"]
    architecture = r.config.get("architecture", "row not installed here")
    return Row(name, 1000, YOURS, name, architecture, "—", YOURS)


def _row_lines(row: Row, found: Iterable[tuple[Row, list[Record]]]) -> list[Line]:
    claim = [row.regime, row.model, row.architecture, row.published]
    ours = [claim + _ours(group) for of, group in found if of.name == row.name]
    return ours or [claim + ["—"] * (len(HEADER) - len(claim))]


def _group(r: Record) -> str:
    """Return what the runs of one line share: all but seed and protocol."""
    c = r.config
    train = {k: v for k, v in c["train"].items() if k != "seed"}
    rest = {k: v for k, v in c.items() if k not in ("train", "protocol", "n_train", "n_validation")}
    recipes = (*get_args(RecipeName), YOURS)
    order = recipes.index(c.get("recipe", "published"))
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
        _input(shown[0]),
        *(_clock(shown, name) for name in ("step_clock", "strict_clock", "input_seen")),
        _insight(shown),
        f"{_mean(shown, lambda m: 100 * m['fired'] / m['n']):.1f}",
        *_operations(shown),
        _effort(shown[0]),
    ]


def _steps(r: Record) -> int | None:
    """Return the steps that a run decides on; None in continuous time."""
    counts = r.metrics["decided_at_step"]
    return None if counts is None else len(counts)


def _input(r: Record) -> str:
    n_steps = _steps(r)
    grid = "continuous" if n_steps is None else f"T={n_steps}"
    return f"{r.config['polarity'].replace('_', ' ')}, {grid}"


def _insight(group: list[Record]) -> str:
    if _steps(group[0]) is not None:
        return f"{_mean(group, lambda m: m['time_to_insight']):.2f}"
    times = [r.metrics["strict_clock"]["mean"] for r in group]
    return "∞" if None in times else f"{mean(times):.2f} frames"


def _operations(group: list[Record]) -> list[str]:
    """Return synaptic operations, and dense multiply-adds."""
    first = group[0].metrics
    sparse = dense = "—"
    if first["synops_ac"] is not None:
        ac, mac = (mean(r.metrics[f"synops_{kind}"] / 1e6 for r in group) for kind in ("ac", "mac"))
        sparse = f"{ac:.3f} AC + {mac:.3f} MAC"
    if first["macs"] is not None:
        share = _mean(group, lambda m: 100 * m["macs"] / m["macs_full"])
        dense = f"{_mean(group, lambda m: m['macs'] / 1e6):.2f} ({share:.0f} %)"
    return [sparse, dense]


def _effort(r: Record) -> str:
    c = r.config
    if not r.training["history"]:
        whose = "your network" if c["profile"] == YOURS else "the authors' weights"
        return f"{whose} / {c['n_test']:,}"
    kernel, theta = c["model"].get("kernel_size"), c["train"].get("theta", 0.95)
    parts = [
        f"{c['n_train']:,} × {c['train']['epochs']} epochs / {c['n_test']:,}",
        f"kernel {kernel}×{kernel}" if kernel else "",
        "bf16" if c["train"].get("precision") == "bf16" else "",
        "" if theta == 0.95 else f"θ={theta}",
    ]
    return f"{', '.join(filter(None, parts))} ({c['profile']})"


def _accuracy(held_out: list[Record]) -> str:
    if not held_out:
        return "—"
    values = [100 * r.metrics["accuracy"] for r in held_out]
    if held_out[0].config["profile"] == YOURS:  # measured here, trained elsewhere
        return spread(values)
    seeds = "1 seed" if len(values) == 1 else f"{len(values)} seeds"
    missed = "" if all(r.training["regime_reached"] for r in held_out) else " !"
    return f"{spread(values)} ({seeds}){missed}"


def _clock(group: list[Record], name: str) -> str:
    regimes = "/".join(sorted({r.metrics[name]["regime"] for r in group}))
    if any(r.metrics[name]["mean"] is None for r in group):
        return f"∞ {regimes}"
    return f"{_mean(group, lambda m: 100 * m[name]['mean']):.1f} % {regimes}"


def _mean(group: list[Record], value: Callable[[dict[str, Any]], float]) -> float:
    return mean(value(r.metrics) for r in group)


def write(records: Sequence[Record], results: Path, title: str, more: tuple[str, ...] = ()) -> Path:
    """Write the Markdown table of these records, atomically, and return its path.

    `table1.md` is the checked-in table of paper runs on MNIST; anything else has its own file.
    """
    if not records:
        raise ValueError(f"There is no record in {results / 'table1'} to make a table of.")
    others = sorted(
        {f"{r.config['data']}.{r.config['profile']}" for r in records} - {"MNIST.paper"}
    )
    path = results / ".".join(["table1", *others, "md"])
    text = table1(records, title, "markdown", more)
    record.check_ours(path, results / "table1", text)
    write_text(path, text)
    return path


def paper_records(folder: Path) -> list[Record]:
    """Return the records of the paper profile on all of MNIST: those that README and docs show."""
    return [
        r
        for r in record.read_all(folder)
        if r.config["profile"] == "paper" and r.config["data"] == "MNIST"
    ]
