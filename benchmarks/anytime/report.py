"""Table, claims and figure of `benchmarks.anytime`, from its records."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.anytime.settings import SETTINGS
from benchmarks.figure2.frontier import Frontier
from benchmarks.keywords.peers import AT_MS
from benchmarks.methods import ANYTIME, TITLES, MethodName, method_name
from benchmarks.record import Record
from benchmarks.report import figures, tables
from benchmarks.report.numbers import mean_and_half, seed_interval, seeds
from rc_snn.plots import frontier
from rc_snn.regimes import FAST_BELOW, SLOW_ABOVE

KEYWORDS = "keywords"
ABOUT: dict[str, tuple[str, str, tuple[float, ...]]] = {
    KEYWORDS: ("keywords", "ms heard", AT_MS),
    **{s.name: (s.title, s.unit, s.at) for s in SETTINGS},
}
"""Title, unit of the clock, and mean times of comparison."""
LIMITS = {s.name: s.limit for s in SETTINGS if s.limit is not None}
REFERENCES: tuple[MethodName, ...] = ("rc", "every_step")
"""To whom differences are shown."""
NOTES = """\
area: mean test accuracy in % over the mean times at which steps end; at each, θ is the best on
validation data among those within that mean time. ± is half of a 95 % t-interval over seeds (other
initial weights and batches, the same test set); differences are paired by seed, * marks an interval
without 0. steps: of all samples in all epochs of training, in millions, and as a share of those of
the every-step loss; seconds of training on a shared machine, for orientation. All methods of a data
set have the same network, epochs, rate, and choice of the epoch (validation area)."""


def by_setting(records: Sequence[Record]) -> dict[str, dict[str, dict[int, Record]]]:
    """Return the records as setting, method, seed."""
    found: dict[str, dict[str, dict[int, Record]]] = {}
    for r in records:
        methods = found.setdefault(r.config["data"]["setting"], {})
        methods.setdefault(method_name(r.config["train"]), {})[r.config["train"]["seed"]] = r
    return {
        name: {m: dict(sorted(found[name][m].items())) for m in ANYTIME if m in found[name]}
        for name in ABOUT
        if name in found
    }


def areas(of: dict[int, Record], rule: str = "θ") -> list[float]:
    """Return the areas of a method's networks in percent, by seed."""
    return [100 * r.metrics["rows"][rule]["area"] for r in of.values()]


def differences(mine: dict[int, Record], others: dict[int, Record], rule: str = "θ") -> list[float]:
    """Return the differences of areas, of the seeds that both have."""
    both = [seed for seed in mine if seed in others]
    a, b = ({s: part[s] for s in both} for part in (mine, others))
    return [x - y for x, y in zip(areas(a, rule), areas(b, rule), strict=True)]


def text(records: Sequence[Record]) -> str:
    """Return everything."""
    lines = ["Any time from one network: areas and accuracies of five ways to train it", ""]
    found = by_setting(records)
    for name, methods in found.items():
        title, unit, at = ABOUT[name]
        first = next(iter(next(iter(methods.values())).values()))
        lines += [
            f"{title}: {first.metrics['n_test']:,} test samples, choices on "
            f"{first.metrics['n_validation']:,}; accuracy in % within a mean time ({unit})",
            "",
            *tables.text([_head(at), *(_line(m, methods) for m in methods)], "<>"),
            "",
            *tables.text(_rules(methods), "<>"),
            "",
        ]
    return "\n".join([*lines, *claims(found), "", NOTES])


def _head(at: Sequence[float]) -> list[str]:
    shown = [f"{t:g}" for t in at]
    return ["θ", "seeds", "area", "- RC", "- every-step", *shown, "steps", "share", "seconds"]


def _line(method: str, methods: dict[str, dict[int, Record]]) -> list[str]:
    of = methods[method]
    cells = [TITLES[method], str(len(of)), mean_and_half(areas(of))]  # type: ignore[index]
    for reference in REFERENCES:
        gain = [] if method == reference else differences(of, methods.get(reference, {}))
        cells.append(mean_and_half(gain, signed=True, starred=True) if gain else "—")
    at = zip(*(r.metrics["rows"]["θ"]["at"] for r in of.values()), strict=True)
    cells += [f"{100 * mean(values):.1f}" for values in at]
    steps = _steps(of)
    whole = methods.get("every_step")
    share = "—" if not whole else f"{100 * steps / _steps(whole):.0f} %"
    seconds = mean(r.metrics["effort"]["seconds"] for r in of.values())
    return [*cells, f"{steps / 1e6:.2f}", share, f"{seconds:.0f}"]


def _steps(of: dict[int, Record]) -> float:
    return float(mean(r.metrics["effort"]["steps"] for r in of.values()))


def _rules(methods: dict[str, dict[int, Record]]) -> list[list[str]]:
    """Return the areas by exit rule."""
    rules = list(next(iter(next(iter(methods.values())).values())).metrics["rows"])
    lines = [["area by exit rule", *rules]]
    for method, of in methods.items():
        cells = [mean_and_half(areas(of, rule)) for rule in rules]
        lines.append([TITLES[method], *cells])  # type: ignore[index]
    return lines


def below_limit(r: Record, limit: Frontier) -> float:
    """Return how many points of area a network is below the exact limit."""
    clock, reached = r.metrics["clock"], r.metrics["rows"]["θ"]["accuracy"]
    gaps = [limit.accuracy_at(t) - a for t, a in zip(clock, reached, strict=True)]
    return 100 * float(mean(gaps))


def claims(found: dict[str, dict[str, dict[int, Record]]]) -> list[str]:
    """Say what became of the claims, as the records have it."""
    lines = ["Claims, as they come out:"]
    words = found.get(KEYWORDS, {})
    if {"random_theta", "rc"} <= set(words):
        gain = differences(words["random_theta"], words["rc"])
        lines.append(
            f"(a) keywords, random θ - RC >= 4 points of area: {_said(gain)}; "
            f"{_verdict(mean(gain) >= 4.0)}"
        )
    for name, methods in found.items():
        if not {"random_theta_prefix", "every_step"} <= set(methods):
            continue
        gain = differences(methods["random_theta_prefix"], methods["every_step"])
        share = _steps(methods["random_theta_prefix"]) / _steps(methods["every_step"])
        met = mean(gain) >= -0.5 and share <= 0.5
        lines.append(
            f"(b) {ABOUT[name][0]}, random θ + prefix - every step >= -0.5 at <= 50 % of its "
            f"steps: {_said(gain)} at {100 * share:.0f} %; {_verdict(met)}"
        )
    for name, limit_of in LIMITS.items():
        methods = found.get(name, {})
        if not methods:
            continue
        limit = limit_of(record.RESULTS)
        gaps = {m: [below_limit(r, limit) for r in of.values()] for m, of in methods.items()}
        shown = "; ".join(f"{TITLES[m]} {mean_and_half(g)}" for m, g in gaps.items())  # type: ignore[index]
        lines.append(f"(c) {ABOUT[name][0]}, points of area below the exact limit: {shown}")
    for name in ("mnist-dark", "mnist-bright"):
        for method, of in found.get(name, {}).items():
            lines.append(f"(d) {ABOUT[name][0]}, {TITLES[method]}: {_regimes(of)}")  # type: ignore[index]
    return lines


def _said(gain: list[float]) -> str:
    return f"{mean_and_half(gain, signed=True)} ({seeds(gain)})"


def _verdict(met: bool) -> str:
    return "met" if met else "NOT MET"


def _regimes(of: dict[int, Record]) -> str:
    """Say how accurate one network is in the fast and in the slow regime, by θ alone.

    Of the thresholds whose mean step is in the regime, that with the best validation accuracy.
    """
    said = []
    for word, low, high in (
        (f"fast (< {100 * FAST_BELOW:g} %)", -1.0, FAST_BELOW),
        (f"slow (> {100 * SLOW_ABOVE:g} %)", SLOW_ABOVE, 1.0),
    ):
        best = []
        for r in of.values():
            n_steps, c = len(r.metrics["clock"]), r.metrics["curve"]
            inside = [
                (chosen, 100 * accuracy)
                for step, chosen, accuracy in zip(
                    c["mean_step"], c["validation_accuracy"], c["accuracy"], strict=True
                )
                if low < step / n_steps < high
            ]
            best.append(max(inside, default=(0.0, 0.0))[1])
        said.append(f"{word} {mean_and_half(best)} %" if all(best) else f"{word} none")
    return ", ".join(said)


def markdown(records: Sequence[Record]) -> list[str]:
    """Return the areas of all methods on all data sets."""
    found = by_setting(records)
    rows = [["area under accuracy-time, %", *(TITLES[m] for m in ANYTIME)]]
    for name, methods in found.items():
        cells = [mean_and_half(areas(methods[m])) if m in methods else "—" for m in ANYTIME]
        rows.append([ABOUT[name][0], *cells])
    return ["± 95 % over seeds, none: one seed; θ swept at inference.", "", *tables.markdown(rows)]


COLOURS = dict(zip(ANYTIME, ("black", "#e69f00", "#0072b2", "#009e73", "#d55e00"), strict=True))
DASHES: dict[str, Any] = dict(zip(ANYTIME, ("--", "-.", (0, (1, 1)), "-", "-"), strict=True))


def draw(records: Sequence[Record], path: Path) -> None:
    """Draw accuracy within each mean time, mean and interval over seeds, a panel per data set."""
    found = by_setting(records)
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    figure, axes = figures.subplots(
        rows, columns, figsize=(4.4 * columns, 3.6 * rows), squeeze=False, layout="constrained"
    )
    for axis, (name, methods) in zip(axes.flat, found.items(), strict=False):
        title, unit, _ = ABOUT[name]
        clock: Any = None
        for method, of in methods.items():
            clock = np.array(next(iter(of.values())).metrics["clock"])
            lines = np.array([r.metrics["rows"]["θ"]["accuracy"] for r in of.values()])
            middle, half = np.array([seed_interval(column) for column in lines.T]).T
            style: Any = {"color": COLOURS[method], "ls": DASHES[method]}  # type: ignore[index]
            style |= {"lw": 1.3, "label": TITLES[method]}  # type: ignore[index]
            band = half if len(of) > 1 else None
            frontier((clock, middle), half=band, envelope=False, ax=axis, **style)
        if name in LIMITS:
            limit = LIMITS[name](record.RESULTS)
            best = [limit.accuracy_at(t) for t in clock]
            frontier((clock, best), envelope=False, ax=axis, color="0.5", lw=1, label="exact limit")
        axis.set(title=title, xlabel=f"mean time ({unit})", ylabel="test accuracy (%)")
    for axis in list(axes.flat)[len(found) :]:
        axis.set_visible(False)
    shown = {
        label: line
        for axis in axes.flat
        for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=2 * columns)
    figures.save(figure, path)
