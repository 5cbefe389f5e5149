"""Accuracy against decision time, for first-spike networks and rank coding, as curves.

Trained by first spikes, ReL-PSP's knob is the temperature of the softmax; mapped from a ReLU
network (`baselines.from_relu`), ConvReL-PSP's is the deadline of its input, for either polarity:
one training for each. Rank coding's is the threshold θ: the networks that ship are read out at
many. All are drawn on the strict clock, the time at which the answer is out, and the table says who
is ahead at each time. Every point is a network, or a read-out of one, on the whole test set;
nothing is chosen on it.

`python -m benchmarks.table1.tradeoff` draws from the records in results/tradeoff; `--train` makes
them.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import record
from benchmarks.record import Record
from benchmarks.report import figures, tables
from benchmarks.run import Options
from benchmarks.table1 import table
from benchmarks.table1.options import Table1
from benchmarks.table1.rows import YOURS
from benchmarks.table1.runs import RowRun, planned
from benchmarks.table1.task import digits_of, make
from benchmarks.task import Task, start
from encoders.functional import Polarity, ZeroPixels, encode
from encoders.mnist import MNIST_TITLE, Digits, load_mnist
from rc_snn.network import load
from rc_snn.plots import frontier
from rc_snn.progress import progress
from rc_snn.regimes import account
from rc_snn.runner import decide

TEMPERATURES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
"""In frames."""
CALM: Any = {"jitter": 0.03, "drift": 1.0}
"""Where it differs from Table 1: high temperatures push outputs far apart, and with a drift of 0.1
the networks of 0.3 frames and more fell silent (one seed, no record)."""
WINDOWS = (0.01, 0.02, 0.04, 0.1, 0.25, 0.5, 1.0)
"""Deadlines of mapped networks, in frames; answers are out an eighth or a seventh later."""
THETAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
NETWORKS = (
    "rc-lstm-340-fast",
    "rc-lstm-340-slow",
    "rc-lstm-340-strict-augmented",
    "rc-convlstm-deep-fast-augmented",
    "rc-convlstm-strict-augmented",
)
DEADLINES = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.25)
"""Mean decision times, in frames, at which the table compares."""
LOWEST = 94
"""Per cent; what is below, a threshold too low for its network, is not drawn."""


@dataclass(frozen=True)
class Tradeoff(Options):
    """Sweep and draw accuracy against decision time."""

    epochs: int = 20
    """Passes over the training images, for each temperature and each deadline."""
    deadlines: bool = False
    """Also train mapped networks for the deadlines; without it, those with records are shown."""

    ONLY_TRAIN: ClassVar[tuple[str, ...]] = ("epochs", "deadlines", *Options.ONLY_TRAIN)
    IDLE: ClassVar[tuple[str, ...]] = ("seeds", "profile")


@dataclass(frozen=True)
class ThetaRun:
    """A network that ships, read out at many thresholds."""

    network: str
    record: str
    data: str

    @property
    def config(self) -> dict[str, Any]:
        """Return what decides the result."""
        return {"network": self.network, "record": self.record, "thetas": list(THETAS)}

    @property
    def name(self) -> str:
        """Return the name of the record."""
        return f"{self.network}_{self.data}_{record.config_key(self.config)}"


def temperature_runs(options: Tradeoff, digits: Digits) -> list[RowRun]:
    """Return one run of ReL-PSP 784-340-10 for each temperature."""
    (base,) = planned(Table1(rows=("rel-psp-340-slow",), profile="paper"), digits)
    changed: Any = {"epochs": options.epochs, "select": "any", **CALM}
    return [
        replace(base, task="tradeoff", train=replace(base.train, temperature=t, **changed))
        for t in TEMPERATURES
    ]


def deadline_runs(options: Tradeoff, digits: Digits) -> list[RowRun]:
    """Return one run of a mapped ConvReL-PSP for each deadline and polarity."""
    asked = Table1(rows=("conv-rel-psp-strict",), recipe=("mapped",), profile="paper")
    (base,) = planned(asked, digits)
    zeros: dict[Polarity, ZeroPixels] = {"dark_first": "last", "bright_first": "silent"}
    return [
        replace(
            base,
            task="tradeoff",
            polarity=polarity,
            zero_pixels=zero,
            train=replace(base.train, deadline=deadline, epochs=options.epochs),
        )
        for polarity, zero in zeros.items()
        for deadline in WINDOWS
    ]


class Sweeps(Task):
    """The sweeps."""

    name, options = "tradeoff", Tradeoff

    def runs(self, options: Tradeoff) -> list[Any]:
        """Return a run for each network that ships, each temperature, and deadline if asked."""
        digits = load_mnist(options.data)
        if digits.title != MNIST_TITLE:
            raise ValueError("The sweep needs MNIST; the embedded digits are too few.")
        thetas = [ThetaRun(name, load(name).record, digits.name) for name in NETWORKS]
        mapped = deadline_runs(options, digits) if options.deadlines else []
        return [*thetas, *temperature_runs(options, digits), *mapped]

    def make(self, run: Any, options: Tradeoff, command: str) -> Record:
        """Read a network out at all thresholds, or train for a temperature."""
        digits = digits_of(run.data, options.data)
        if isinstance(run, ThetaRun):
            return _swept(run, digits, command)
        return make(run, digits, options, command, options.runs / "tradeoff" / run.name)

    def summary(self, done: Record) -> str:
        """Say what was swept."""
        train = done.config.get("train", {})
        if "deadline" in train:
            return f"deadline {train['deadline']:g}, {done.config['polarity']}"
        return str(done.config.get("network") or f"τ = {train['temperature']:g}")

    def find(self, options: Options) -> list[Record]:
        """Return all records of the folder that have a curve."""
        folder = options.results / "tradeoff"
        found = record.read_all(folder)
        if not any(c.points for c in curves(found)):
            raise ValueError(
                f"{folder} holds no records. Run python -m benchmarks.table1.tradeoff --train."
            )
        return found

    def text(self, records: Sequence[Record]) -> str:
        """Say for each time who is ahead."""
        return "\n".join(ahead(curves(records)))

    def draw(self, records: Sequence[Record], options: Options, path: Path) -> None:
        """Draw the curves, and beside them the points of networks of others."""
        theirs = [
            Curve(f"{r.config['row']} (yours)", False, points)
            for r in record.read_all(options.results / "table1")
            if table.kind(r) == f"MNIST.{YOURS}" and (points := _points([r.metrics]))
        ]
        draw([c for c in curves(records) if c.points], path, theirs)


TASK = Sweeps()


def _swept(run: ThetaRun, digits: Digits, command: str) -> Record:
    """Account for a network at every threshold."""
    net, source, began = load(run.network), record.source(), time.monotonic()
    times = encode(digits.test.images, **net.encoder)
    inputs = net.sequences(times)
    points = {
        str(theta): asdict(
            account(decide(net.model, inputs, theta), digits.test.labels, times, net.n_steps)
        )
        for theta in progress(THETAS, f"decide by {run.network}", unit="thresholds")
    }
    seconds = time.monotonic() - began
    return record.new_record("tradeoff", run.name, run.config, points, {}, seconds, source, command)


@dataclass(frozen=True)
class Curve:
    """Points of mean decision time, in frames on the strict clock, and accuracy."""

    label: str
    rank_coded: bool
    points: list[tuple[float, float]]
    records: tuple[Record, ...] = ()
    """What it is made of."""


def curves(records: Sequence[Record]) -> list[Curve]:
    """Return the curves that the records hold; points whose mean time is infinite are left out."""
    found = []
    trained = [r for r in records if "network" not in r.config]
    timed = [r for r in trained if "deadline" not in r.config["train"]]
    timed.sort(key=lambda r: float(r.config["train"]["temperature"]))
    first = [r.metrics for r in timed]
    if first:
        found.append(Curve("ReL-PSP 784-340-10, first spike", False, _points(first), (*timed,)))
        forced = _points([m["at_frame_end"] for m in first])
        label = "the same, potential answers at the frame's end"
        found.append(Curve(label, False, forced, (*timed,)))
    for polarity in ("dark_first", "bright_first"):
        mapped = [
            r
            for r in trained
            if "deadline" in r.config["train"] and r.config["polarity"] == polarity
        ]
        if mapped:
            first_pixels = polarity.removesuffix("_first")
            label = f"mapped ConvReL-PSP, {first_pixels} first (augmented)"
            points = _points([r.metrics for r in mapped])
            found.append(Curve(label, False, points, (*mapped,)))
    for r in records:
        if "network" in r.config:
            label = f"{r.config['network'].removesuffix('-augmented')}, θ swept"
            if r.config["network"].endswith("-augmented"):
                label += " (augmented)"
            found.append(Curve(label, True, _points(list(r.metrics.values())), (r,)))
    return found


def _points(metrics: list[dict[str, Any]]) -> list[tuple[float, float]]:
    means = [(m["strict_clock"]["mean"], m["accuracy"]) for m in metrics]
    return sorted((t, a) for t, a in means if t is not None)


def ahead(found: list[Curve]) -> list[str]:
    """Say for each deadline what the best point with an earlier mean time is, on either side."""
    rows = [["mean time <=", "rank coding %", "first spikes %", "ahead"]]
    for deadline in DEADLINES:
        best = {
            side: max(
                (a for c in found if c.rank_coded is side for t, a in c.points if t <= deadline),
                default=None,
            )
            for side in (True, False)
        }
        rc, rel = best[True], best[False]
        who = "—"
        if rc != rel:
            who = "rank coding" if (rc or 0.0) > (rel or 0.0) else "first spikes"
        shown = ["—" if x is None else f"{100 * x:.2f}" for x in (rc, rel)]
        rows.append([f"{deadline:g}", *shown, who])
    return tables.text(rows, ">>><", widths=(12, 14, 15, 0))


def draw(found: list[Curve], path: Path, theirs: Sequence[Curve] = ()) -> None:
    """Draw the curves, and points of networks of others."""
    figure, axis = figures.subplots(figsize=(7.5, 5.6), layout="constrained")
    for i, curve in enumerate(found):
        style: Any = {"marker": "o", "ls": "-"}
        if not curve.rank_coded:
            style = {"marker": "s", "ls": "--"}
        style |= {"label": curve.label, "ms": 4, "color": f"C{i}"}
        frontier(zip(*curve.points, strict=True), envelope=False, ax=axis, **style)
    for curve in theirs:
        mark: Any = {"marker": "P", "color": "k", "ms": 8, "mfc": "none", "label": curve.label}
        frontier(zip(curve.points[0], strict=True), ax=axis, **mark)
    axis.axvline(1.0, color="0.5", lw=1, ls=":")
    axis.set_ylim(LOWEST, 100)
    axis.text(1.0, LOWEST + 0.1, " end of frame", size=8, color="0.4")
    axis.set(
        xscale="log",
        xlabel="mean decision time (frames, strict clock)",
        ylabel="test accuracy (%)",
        title=f"MNIST, one seed per network; below {LOWEST} % not shown",
    )
    figure.legend(loc="outside lower center", ncols=2)
    figures.save(figure, path)


if __name__ == "__main__":
    start(TASK)
