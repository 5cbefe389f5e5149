"""Table 1 as text: every published row, and ours beside its claim, from records only."""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, Literal, TypeAlias, get_args

from benchmarks import record
from benchmarks.record import Record
from benchmarks.report import tables
from benchmarks.report.numbers import spread
from benchmarks.table1.all_rows import ROWS
from benchmarks.table1.rows import YOURS, ProtocolName, RecipeName, Row, known_rows
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
    "authors describe; tuned, ours on the same images; dropout, longer, with hidden spikes left "
    "out at random in training; augmented, ours on randomly moved training images; mapped, a "
    "trained ReLU network as a first-spike network, nothing of it trained by spikes; fine-tuned, "
    "then trained by first spikes. θ is 0.95 where none is named. bf16: "
    "products in bfloat16 while training; every accuracy of ours is measured with float32 products "
    "and float16-rounded weights.",
    "! no epoch was in the row's regime by the step clock on validation; the nearest was kept. "
    "— not trained here (yet), or not published.",
)


YOURS_NOTE = (
    "yours: networks that were made elsewhere, and only measured here; how they were trained and "
    "chosen, only their authors know."
)


def table1(
    records: Sequence[Record],
    title: str,
    style: Style,
    more: tuple[str, ...] = (),
    only: Collection[str] = (),
) -> str:
    """Lay out Table 1: every row of ours beside its claim; then others that have records.

    Args:
        records: what to show; what the table cannot show is said on stderr, with the reason.
        title: the data, for the head.
        style: of the text.
        more: factories of rows, as of `rows.known_rows`.
        only: names of the rows to show; default: all.
    """
    found = groups(records, more)
    known = known_rows(more)
    shown = {(row.line, row.name): row for row in ROWS}
    shown |= {(known[name].line, name): known[name] for name in only if name in known}
    shown |= {(row.line, row.name): row for row, _ in found}
    lines = [
        line
        for key in sorted(shown)
        if not only or key[1] in only
        for line in _row_lines(shown[key], found)
    ]
    yours = any(_is_yours(group[0]) for _, group in found)
    notes = (*NOTES, YOURS_NOTE) if yours else NOTES
    head = f"Table 1 on {title}"
    if style == "text":
        return "\n".join([head, "", *tables.text([HEADER, *lines], rule=True), "", *notes])
    return "\n".join(
        [f"**{head}**", "", *tables.markdown([HEADER, *lines]), "", "\n\n".join(notes), ""]
    )


SHORT = ["model", "published %", "ours %", "recipe, input", "when (frames)", "cost (MSynOps)"]


def short(records: Sequence[Record]) -> list[str]:
    """Return the lines of the table as README shows it: who, what, when, and what it costs."""
    found, rows = groups(records), []
    for row in sorted(ROWS, key=lambda row: row.line):
        mine = [group for of, group in found if (of.line, of.name) == (row.line, row.name)]
        title = f"{row.model} {row.architecture}, {row.regime}"
        for group in mine:
            shown = stand_for(group)
            means = [r.metrics["strict_clock"]["mean"] for r in shown]
            when = "∞" if None in means else f"{mean(means):.3f}"
            first = shown[0].config
            polarity = first["polarity"].replace("_", " ")
            recipe = f"{_recipe(first)}, {polarity}"
            about = [_accuracy(held_out(group)), recipe, when, _operations(shown)[0]]
            rows.append([title, row.published, *about])
        if not mine:
            rows.append([title, row.published, *["—"] * 4])
    return tables.markdown([SHORT, *rows])


def groups(records: Iterable[Record], more: tuple[str, ...] = ()) -> list[tuple[Row, list[Record]]]:
    """Return the records of each line of the table that has any: all seeds and protocols of it.

    A record that no line can be made of is left out, and the reason said on stderr.
    """
    known = known_rows(more)
    found: dict[tuple[int, str, str], tuple[Row, list[Record]]] = {}
    for r in records:
        if reason := unshowable(r):
            print(f"not shown: {r.name} {reason}", file=sys.stderr)
            continue
        # A network of others may be called as a row of ours is.
        row = (None if _is_yours(r) else known.get(r.config["row"])) or _unknown(r)
        found.setdefault((row.line, row.name, _group(r)), (row, []))[1].append(r)
    return [found[key] for key in sorted(found)]


def unshowable(r: Record) -> str | None:
    """Return why no line of the table can be made of a record; None if one can."""
    if (protocol := r.config.get("protocol")) not in (*get_args(ProtocolName), YOURS):
        return f"has the protocol {protocol!r}, which no column is for"
    try:
        _group(r)
        line(_unknown(r), [r])
    except KeyError as error:
        return f"lacks {error} in its config or metrics"
    except (AttributeError, TypeError, ValueError) as error:
        return f"is not as the table needs it ({error})"
    return None


def _is_yours(r: Record) -> bool:
    return bool(r.config.get("profile") == YOURS)


def _unknown(r: Record) -> Row:
    """Return a line for a network of others, or a row that is not installed here."""
    name = r.config["row"]
    architecture = r.config.get("architecture", "row not installed here")
    regime = YOURS if _is_yours(r) else "—"
    return Row(name, 1000, regime, name, architecture, "—", YOURS if _is_yours(r) else name)


def _row_lines(row: Row, found: Iterable[tuple[Row, list[Record]]]) -> list[Line]:
    ours = [line(of, group) for of, group in found if (of.line, of.name) == (row.line, row.name)]
    return ours or [_claim(row) + ["—"] * (len(HEADER) - len(_claim(row)))]


def line(row: Row, group: list[Record]) -> Line:
    """Return the cells of a row's line, one for each column of `HEADER`."""
    return _claim(row) + _ours(group)


def _claim(row: Row) -> Line:
    return [row.regime, row.model, row.architecture, row.published]


def held_out(group: Sequence[Record]) -> list[Record]:
    """Return the runs whose epoch was not chosen on the test set: all but the paper's protocol."""
    return [r for r in group if r.config["protocol"] != "paper"]


def stand_for(group: Sequence[Record]) -> list[Record]:
    """Return the runs whose means stand for a line: by the paper's protocol only without others."""
    return held_out(group) or list(group)


def _group(r: Record) -> str:
    """Return what the runs of one line share: all but seed and protocol."""
    c = r.config
    train = {k: v for k, v in c["train"].items() if k != "seed"}
    rest = {k: v for k, v in c.items() if k not in ("train", "protocol", "n_train", "n_validation")}
    recipes, recipe = (*get_args(RecipeName), YOURS), c.get("recipe", "published")
    order = recipes.index(recipe) if recipe in recipes else len(recipes)  # unknown ones last
    key = record.config_key({"train": train, "rest": rest})
    return f"{c['profile']} {order} {c['polarity']} {key}"


def _ours(group: list[Record]) -> Line:
    shown = stand_for(group)
    published_way = [r for r in group if r.config["protocol"] == "paper"]
    best = max((100 * r.metrics["accuracy"] for r in published_way), default=None)
    c = shown[0].config
    return [
        _accuracy(held_out(group)),
        "—" if best is None else f"{best:.2f} (best of {len(published_way)})",
        _recipe(c),
        _input(shown[0]),
        *(_clock(shown, name) for name in ("step_clock", "strict_clock", "input_seen")),
        _insight(shown),
        f"{_mean(shown, lambda m: 100 * m['fired'] / m['n']):.1f}",
        *_operations(shown),
        _effort(shown[0]),
    ]


def _recipe(config: Mapping[str, Any]) -> str:
    """Return how a row came about; of mapped networks also whether the images were moved."""
    name = str(config.get("recipe", "published"))
    moved = config.get("augment") is not None and name != "augmented"
    return f"{name}, augmented" if moved else name


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
        counts = [[r.metrics[name] or 0.0 for r in group] for name in ("synops_ac", "synops_mac")]
        ac, mac = (mean(count) / 1e6 for count in counts)
        sparse = f"{ac:.3f} AC + {mac:.3f} MAC"
    if first["macs"] is not None:
        share = _mean(group, lambda m: 100 * m["macs"] / m["macs_full"])
        dense = f"{_mean(group, lambda m: m['macs'] / 1e6):.2f} ({share:.0f} %)"
    return [sparse, dense]


def _effort(r: Record) -> str:
    c = r.config
    if not r.training["history"]:
        if _is_yours(r):
            return f"your network / {c['n_test']:,} of {c['data']}"
        authors = c.get("recipe") == "weights"
        whose = "the authors' weights" if authors else f"not trained here ({c['profile']})"
        return f"{whose} / {c['n_test']:,}"
    kernel, theta = c["model"].get("kernel_size"), c["train"].get("theta", 0.95)
    by_spikes = c["train"].get("first_spikes")
    further = f" + {by_spikes['epochs']}" if by_spikes else ""
    parts = [
        f"{c['n_train']:,} × {c['train']['epochs']}{further} epochs / {c['n_test']:,}",
        f"kernel {kernel}×{kernel}" if kernel else "",
        "bf16" if c["train"].get("precision") == "bf16" else "",
        "" if theta == 0.95 else f"θ={theta}",
    ]
    return f"{', '.join(filter(None, parts))} ({c['profile']})"


def _accuracy(held_out: list[Record]) -> str:
    if not held_out:
        return "—"
    values = [100 * r.metrics["accuracy"] for r in held_out]
    if _is_yours(held_out[0]):  # measured here, trained elsewhere
        return spread(values)
    seeds = "1 seed" if len(values) == 1 else f"{len(values)} seeds"
    missed = "" if all(r.training["regime_reached"] for r in held_out) else " !"
    return f"{spread(values)} ({seeds}){missed}"


def _clock(group: list[Record], name: str) -> str:
    if any(r.metrics[name] is None for r in group):  # of networks of others, the input is unknown
        return "—"
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
    others = sorted({kind(r) for r in records if not _is_yours(r)} - {PAPER})
    yours = [YOURS] if any(map(_is_yours, records)) else []
    path = results / ".".join(["table1", *others, *yours, "md"])
    text = table1(records, title, "markdown", more)
    record.check_ours(path, results / "table1", text)
    write_text(path, text)
    return path


PAPER = "MNIST.paper"
"""The kind of the records that are checked in."""


def kind(r: Record) -> str:
    """Return data and profile of a record: what a table of its own is about."""
    return f"{r.config.get('data', 'no data')}.{r.config.get('profile', 'no profile')}"


def paper_records(folder: Path) -> list[Record]:
    """Return the records of the paper profile on all of MNIST: those that README and docs show.

    What they leave out is said on stderr.
    """
    return shown_of(folder, lambda r: kind(r) == PAPER)


def records_on(folder: Path, data: str, *, quick: bool = True) -> list[Record]:
    """Return the records of a table: on its data, and of networks of others on their own data.

    What they leave out is said on stderr.

    Args:
        folder: of the records.
        data: name of the digits: those on other digits are in another table.
        quick: whether the profile "quick" is among them.
    """

    def wanted(r: Record) -> bool:
        own = _is_yours(r) and r.config.get("data") not in ("MNIST", "MNIST-5k")
        here = own or r.config.get("data", data) == data
        return here and (quick or r.config.get("profile") != "quick")

    return shown_of(folder, wanted)


def shown_of(folder: Path, wanted: Callable[[Record], bool]) -> list[Record]:
    """Return the records of a folder that are wanted; say on stderr how many of each others are."""
    found = record.read_all(folder)
    others = Counter(kind(r) for r in found if not wanted(r))
    if others:
        kinds = ", ".join(f"{n} of {kind}" for kind, n in sorted(others.items()))
        print(f"records of {folder} that are not in this table: {kinds}", file=sys.stderr)
    return [r for r in found if wanted(r)]
