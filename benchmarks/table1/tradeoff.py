"""Accuracy against decision time, for ReL-PSP and rank coding, as curves.

ReL-PSP's knob is the temperature of the first-spike softmax: one training for each. Rank coding's
is the threshold θ: the networks that ship are read out at many. Both are drawn on the strict clock,
the time at which the answer is out, and the table says who is ahead at each time. Every point is a
network, or a read-out of one, on the whole test set; nothing is chosen on it.

`python -m benchmarks.table1.tradeoff` draws from the records in results/tradeoff; `--train` makes
them.
"""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from benchmarks import record
from benchmarks.record import Record
from benchmarks.report import figures
from benchmarks.table1 import continuous_run
from benchmarks.table1.continuous_rows import TimingRun
from benchmarks.table1.task import Table1, run_name, splits, timing
from encoders.functional import encode_latency
from encoders.mnist import MNIST_TITLE, Digits, load_mnist
from encoders.temporal_mnist import latency_sequences
from rc_snn import commands, files, zoo
from rc_snn.regimes import account
from rc_snn.runner import decide

TEMPERATURES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
"""In frames."""
CALM: Any = {"jitter": 0.03, "drift": 1.0}
"""Where it differs from Table 1: high temperatures push outputs far apart, and with a drift of 0.1
the networks of 0.3 frames and more fell silent (one seed, no record)."""
THETAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
NETWORKS = ("rc-lstm-340-fast", "rc-lstm-340-slow", "rc-lstm-340-strict-augmented")
DEADLINES = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.25)
"""Mean decision times, in frames, at which the table compares."""


@dataclass(frozen=True)
class Tradeoff:
    """Sweep and draw accuracy against decision time."""

    train: bool = False
    """Make the records that do not exist yet."""
    epochs: int = 20
    """Passes over the training images, for each temperature."""
    threads: int | None = None
    """CPU threads; default: torch's."""
    data: Path | None = None
    """Folder with MNIST; default: as for table1."""
    results: Path = record.RESULTS
    """Where records and the figure go."""
    runs: Path = record.PROJECT / "runs"
    """Where checkpoints go."""


def configs(options: Tradeoff, digits: Digits) -> list[TimingRun]:
    """Return one run of ReL-PSP 784-340-10 for each temperature."""
    table = Table1(rows=("rel-psp-340-slow",), profile="paper")
    (base,) = timing(table, digits)
    return [
        replace(
            base,
            train=replace(base.train, temperature=t, epochs=options.epochs, select="any", **CALM),
        )
        for t in TEMPERATURES
    ]


def sweep_temperatures(options: Tradeoff, digits: Digits) -> None:
    """Train and account for each temperature."""
    folder = options.results / "tradeoff"
    for config in configs(options, digits):
        name = run_name(config)
        if (folder / f"{name}.json").exists():
            continue
        done, _ = continuous_run.execute(
            config,
            splits(config, digits),
            name,
            options.runs / "tradeoff" / name,
            Path(digits.origin),
            command=record.command_line("tradeoff"),
            tensorboard=False,
        )
        print(record.save(replace(done, benchmark="tradeoff"), folder), file=sys.stderr)


def sweep_thetas(options: Tradeoff, digits: Digits) -> None:
    """Read the shipped RC-LSTMs out at many thresholds."""
    for name in NETWORKS:
        net, source = zoo.load(name), record.source()
        config: dict[str, Any] = {"network": name, "record": net.record, "thetas": list(THETAS)}
        key = f"{name}_{digits.name}_{record.config_key(config)}"
        if (options.results / "tradeoff" / f"{key}.json").exists():
            continue
        data = latency_sequences(digits.test, net.n_steps, **net.encoder, mean=net.mean)
        times = encode_latency(digits.test.images, **net.encoder)
        points = {
            str(theta): asdict(
                account(
                    decide(net.model, data.inputs, theta), digits.test.labels, times, net.n_steps
                )
            )
            for theta in THETAS
        }
        done = record.new_record("tradeoff", key, config, points, {}, 0.0, source)
        print(record.save(done, options.results / "tradeoff"), file=sys.stderr)


@dataclass(frozen=True)
class Curve:
    """Points of mean decision time, in frames on the strict clock, and accuracy in percent."""

    label: str
    rank_coded: bool
    points: list[tuple[float, float]]


def curves(records: list[Record]) -> list[Curve]:
    """Return the curves that the records hold; points whose mean time is infinite are left out."""
    found = []
    timed = sorted(
        (r for r in records if "network" not in r.config),
        key=lambda r: r.config["train"]["temperature"],
    )
    first = [r.metrics for r in timed]
    if first:
        found.append(Curve("ReL-PSP 784-340-10, first spike", False, _points(first)))
        forced = _points([m["at_frame_end"] for m in first])
        found.append(Curve("the same, potential answers at the frame's end", False, forced))
    for r in records:
        if "network" in r.config:
            label = f"{r.config['network'].removesuffix('-augmented')}, θ swept"
            if r.config["network"].endswith("-augmented"):
                label += " (augmented)"
            found.append(Curve(label, True, _points(list(r.metrics.values()))))
    return found


def _points(metrics: list[dict[str, Any]]) -> list[tuple[float, float]]:
    means = [(m["strict_clock"]["mean"], 100 * m["accuracy"]) for m in metrics]
    return sorted((t, a) for t, a in means if t is not None)


def ahead(found: list[Curve]) -> list[str]:
    """Say for each deadline what the best point with an earlier mean time is, on either side."""
    lines = [f"{'mean time <=':>12}  {'rank coding %':>14}  {'ReL-PSP %':>10}  ahead"]
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
        if rc is not None or rel is not None:
            who = "rank coding" if (rc or 0.0) > (rel or 0.0) else "ReL-PSP"
        shown = ["—" if x is None else f"{x:.2f}" for x in (rc, rel)]
        lines.append(f"{deadline:>12g}  {shown[0]:>14}  {shown[1]:>10}  {who}")
    return lines


def draw(found: list[Curve], path: Path) -> None:
    """Draw the curves."""
    figure, axis = plt.subplots(figsize=(7.5, 5.0), layout="constrained")
    for i, curve in enumerate(found):
        x, y = zip(*curve.points, strict=True)
        style: Any = {"marker": "o", "ls": "-"}
        if not curve.rank_coded:
            style = {"marker": "s", "ls": "--"}
        axis.plot(x, y, label=curve.label, ms=4, color=f"C{i}", **style)
    axis.axvline(1.0, color="0.5", lw=1, ls=":")
    axis.text(1.0, axis.get_ylim()[0], " end of frame", size=8, color="0.4")
    axis.set(
        xscale="log",
        xlabel="mean decision time (frames, strict clock)",
        ylabel="test accuracy (%)",
        title="MNIST, one seed per network",
    )
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    axis.spines[["top", "right"]].set_visible(False)
    figures.save(figure, path)


def main(options: Tradeoff) -> int:
    """Make records where asked to; draw, and print who is ahead; return the exit status."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    folder = options.results / "tradeoff"
    if options.train:
        digits = load_mnist(options.data)
        if digits.title != MNIST_TITLE:
            raise ValueError("The sweep needs MNIST; the embedded digits are too few.")
        sweep_thetas(options, digits)
        sweep_temperatures(options, digits)
    found = [c for c in curves(record.read_all(folder)) if c.points]
    if not found:
        raise ValueError(
            f"{folder} holds no records. Run python -m benchmarks.table1.tradeoff --train."
        )
    draw(found, folder / "tradeoff.png")
    text = "\n".join(ahead(found))
    files.write_text(folder / "tradeoff.txt", text + "\n")
    print(text, folder / "tradeoff.png", sep="\n")
    return 0


if __name__ == "__main__":
    commands.run(main, Tradeoff)
