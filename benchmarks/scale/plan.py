"""The plan: what it assumes, as options, and its tables."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from baselines.alpha_psp import alpha_psp
from benchmarks import record
from benchmarks.cluster import MAX_RETRIES
from benchmarks.report import tables
from benchmarks.scale import measured
from benchmarks.scale.grid import DAY_S, Grid, Outcome, between, simulate
from benchmarks.scale.measured import Measured, StepCost
from benchmarks.scale.training import Link, all_reduce_s, failures, sent_bytes, waiting
from rc_snn.models import RCLSTM, RCConvLSTM

LINKS = (
    Link("10 Gbit/s, 50 µs", 1.25e9, 50e-6),
    Link("100 Gbit/s, 10 µs", 12.5e9, 10e-6),
    Link("300 GB/s, 3 µs", 300e9, 3e-6),
)
"""Assumed: hosts on Ethernet, hosts on a fast network, devices of one host."""


@dataclass(frozen=True)
class Plan:
    """Plan a grid of runs on many hosts, and one training over many devices.

    What is measured comes from records; what follows is assumed.
    """

    runs: int = 100_000
    """Runs of the grid, each as long as one of the recorded trainings, drawn at random."""
    hosts: int = 1_000
    """Hosts of the grid."""
    cores: int = 16
    """Cores of a host; a run has one, as in the records."""
    mtbf_days: float = 200.0
    """Mean days between failures of one host that is ours."""
    spot_mtbf_days: float = 1.0
    """The same of one that is taken away when somebody pays more."""
    repair_minutes: float = 15.0
    """Until a failed host, or another in its place, is there."""
    startup_s: float = 20.0
    """Until a run that is started trains: imports, data, compiled kernels from the cache."""
    slow_share: float = 0.01
    """Share of the hosts that are slow."""
    slow_factor: float = 3.0
    """How many times as long everything takes there."""
    checkpoint_minutes: float = 5.0
    """Shortest time between two checkpoints of a run, in the last column; elsewhere every epoch
    has one, as `rc_snn.loop` writes them."""
    devices: int = 64
    """Ranks of the one training."""
    devices_per_host: int = 8
    """Ranks on a host."""
    batch: int = 128
    """Samples of an update on each rank."""
    seed: int = 0
    """Of everything that is drawn."""
    results: Path = record.RESULTS
    """Where the records are."""

    UNSHOWN: ClassVar[tuple[str, ...]] = ("results",)


class Table(NamedTuple):
    """A table of the plan; the first row is its head."""

    title: str
    rows: list[list[str]]


def text(plan: Plan) -> str:
    """Return the plan as text."""
    return "\n\n".join("\n".join([t.title, *tables.text(t.rows, rule=True)]) for t in _all(plan))


def markdown(plan: Plan) -> str:
    """Return the plan as Markdown, for docs/SCALE.md."""
    parts = [[f"### {t.title}", "", *tables.markdown(t.rows), ""] for t in _all(plan)]
    return "\n".join(line for part in parts for line in part)


def _all(plan: Plan) -> Iterator[Table]:
    found = measured.read(plan.results)
    yield _measured(found)
    yield _assumed(plan)
    yield _grid(plan, found)
    yield from _training(plan, found)


def networks() -> dict[str, Any]:
    """Return the networks whose gradients are sent, with any weights."""
    return {
        "RC-LSTM 784-340-10": RCLSTM(784, 340, 10),
        "RC-LSTM 784-1024-10": RCLSTM(784, 1024, 10),
        "keywords 420-128-32-9": RCLSTM(420, 128, 9, n_dense=32),
        "RC-ConvLSTM 20, 5×5": RCConvLSTM((20,), 5),
        "α-PSP 784-340-10": alpha_psp((784, 340, 10)),
    }


def weight_bytes(model: Any) -> int:
    """Return the bytes of a network's gradients, or weights."""
    return sum(p.nbytes for p in model.parameters())


def checkpoint_bytes(model: Any) -> int:
    """Return about how large a checkpoint is: weights, the best ones, two moments of Adam."""
    return 4 * weight_bytes(model)


def _measured(found: Measured) -> Table:
    runs, cost = found.trainings, found.cost
    seconds = np.array([run.epochs * run.epoch_s for run in runs])
    low, middle, high = np.quantile(seconds, [0.1, 0.5, 0.9])
    epochs = np.quantile([run.epoch_s for run in runs], [0.1, 0.5, 0.9])
    rows = [
        ["measured", "value", "in"],
        [
            f"a training, one core: mean (10 %, median, 90 % of {len(runs)})",
            f"{seconds.mean():.0f} s ({low:.0f}, {middle:.0f}, {high:.0f})",
            "results/: all trainings",
        ],
        [
            "an epoch: 10 %, median, 90 %",
            ", ".join(f"{x:.1f}" for x in epochs) + " s",
            "the same",
        ],
        ["a record", f"{found.record_bytes / 1e3:.1f} kB", "results/table1"],
        [
            "an update of the RC-LSTM 784-340-10, one core",
            f"{1e3 * cost.fixed_s:.1f} ms + {1e3 * cost.step_s:.2f} ms a step + "
            f"{1e6 * cost.sample_step_s:.0f} µs a sample and step",
            "results/speed: growth, fitted",
        ],
        [
            "a checkpoint of it",
            f"{checkpoint_bytes(networks()['RC-LSTM 784-340-10']) / 1e6:.1f} MB",
            "its weights, four times",
        ],
    ]
    return Table("Measured", rows)


def _assumed(plan: Plan) -> Table:
    shown = [f for f in fields(plan) if f.name not in Plan.UNSHOWN]
    rows = [[f"`--{f.name.replace('_', '-')}`", f"{getattr(plan, f.name):,}"] for f in shown]
    links = "; ".join(link.name for link in LINKS)
    return Table("Assumed", [["option", "value"], *rows, ["links of a ring", links]])


def _grid(plan: Plan, found: Measured) -> Table:
    runs, generator = found.trainings, np.random.default_rng(plan.seed)
    chosen = generator.integers(len(runs), size=plan.runs)
    epochs = np.array([run.epochs for run in runs])[chosen]
    epoch_s = np.array([run.epoch_s for run in runs])[chosen]
    size = checkpoint_bytes(networks()["RC-LSTM 784-340-10"])
    base = Grid(
        *(plan.hosts, plan.cores, np.inf, 60.0 * plan.repair_minutes, plan.startup_s),
        *(plan.slow_share, plan.slow_factor, MAX_RETRIES),
    )
    ours = replace(base, mtbf_s=DAY_S * plan.mtbf_days)
    spot = replace(base, mtbf_s=DAY_S * plan.spot_mtbf_days)
    drawn, first = np.arange(plan.runs), np.argsort(-epochs * epoch_s, kind="stable")
    rare = f"spot, checkpoints {plan.checkpoint_minutes:g} min apart"
    cases = (
        ("no host fails or is slow", replace(base, slow_share=0.0), drawn, 0.0),
        ("the longest run first", replace(base, slow_share=0.0), first, 0.0),
        ("and some hosts are slow", base, first, 0.0),
        ("and ours fail", ours, first, 0.0),
        ("spot hosts", spot, first, 0.0),
        (rare, spot, first, 60.0 * plan.checkpoint_minutes),
    )
    columns = []
    for name, grid, order, interval_s in cases:
        own = np.random.default_rng(plan.seed)
        out = simulate(epochs[order], epoch_s[order], grid, own, interval_s=interval_s)
        written = float((epochs // between(interval_s, epoch_s)).sum())
        columns.append([name, *_outcome(out, found, size, written)])
    head = ["", "hours until the last run ends", "core-hours that trained", "hosts that failed"]
    head += ["runs that died", "core-hours lost since a checkpoint", "core-hours of starting"]
    head += [f"runs given up: died more than {MAX_RETRIES} times", "records in the busiest second"]
    head += ["records", "checkpoints written", "mean GB/s of it, while runs go on"]
    rows = [list(row) for row in zip(head, *columns, strict=True)]
    return Table(f"A grid of {plan.runs:,} runs on {plan.hosts:,} hosts, simulated", rows)


def _outcome(out: Outcome, found: Measured, size: int, n_checkpoints: float) -> list[str]:
    used = out.trained_s + out.lost_s + out.startup_s
    per_second = np.bincount(np.array(out.ended_s, dtype=np.int64))
    n_records = len(out.ended_s)
    busy_s = float(np.quantile(out.ended_s, 0.9))
    return [
        f"{out.makespan_s / 3600:.2f}",
        f"{out.trained_s / 3600:,.0f}",
        f"{out.failures:,}",
        f"{out.deaths:,}",
        f"{out.lost_s / 3600:,.1f} ({100 * out.lost_s / used:.2f} %)",
        f"{out.startup_s / 3600:,.0f} ({100 * out.startup_s / used:.1f} %)",
        f"{out.given_up:,}",
        f"{per_second.max():,}",
        f"{n_records:,}: {n_records * found.record_bytes / 1e9:.1f} GB",
        f"{n_checkpoints * size / 1e12:,.0f} TB",
        f"{0.9 * n_checkpoints * size / 1e9 / busy_s:.1f}",
    ]


def _training(plan: Plan, found: Measured) -> Iterator[Table]:
    n, models = plan.devices, networks()
    rows = [["network", "sent by each rank, an update", *(link.name for link in LINKS)]]
    for name, model in models.items():
        size = weight_bytes(model)
        seconds = [all_reduce_s(size, n, link) for link in LINKS]
        cells = [f"{1e3 * s:.2f} ms ({9e3 * s:.0f} ms)" for s in seconds]
        rows.append([name, f"{sent_bytes(size, n) / 1e6:.2f} MB", *cells])
    yield Table(
        f"Gradients over {n} ranks: time of a ring (an update that is 90 % efficient)", rows
    )
    yield _waiting(plan, found, weight_bytes(models["RC-LSTM 784-340-10"]))
    yield _failing(plan, found)


def _waiting(plan: Plan, found: Measured, size: int) -> Table:
    counts = dict(found.decided)
    last = len(counts["RC-LSTM slow"])
    counts["all at step 0"] = [1]
    counts[f"EOS, T = {last}"] = [0] * (last - 1) + [1]
    draw = partial(waiting, ranks=plan.devices, batch=plan.batch)
    rows = [["decisions of", "mean of the ranks", "the slowest", "steps alone", "waiting alone"]]
    rows[0] += [f"with {link.name}" for link in LINKS]
    launches = StepCost(0.0, 1.0, 0.0)
    for name, decided in counts.items():
        wait, alike = (
            draw(decided, each, generator=np.random.default_rng(plan.seed))
            for each in (found.cost, launches)
        )
        sent = [0.0, *(all_reduce_s(size, plan.devices, link) for link in LINKS)]
        times = [f"{1e3 * x:.1f} ms" for x in (wait.mean_s, wait.slowest_s)]
        shares = [alike.efficiency(0.0), *map(wait.efficiency, sent)]
        rows.append([name, *times, *(f"{100 * share:.0f} %" for share in shares)])
    return Table(f"Efficiency of {plan.devices} ranks of {plan.batch} samples", rows)


def _failing(plan: Plan, found: Measured) -> Table:
    longest = max(found.trainings, key=lambda run: run.epochs * run.epoch_s)
    hosts = -(-plan.devices // plan.devices_per_host)
    train_s = longest.epochs * longest.epoch_s
    rows = [["hosts", "trained for", "checkpoint every", "failures", "each takes", "of the time"]]
    for name, days in (("ours", plan.mtbf_days), ("spot", plan.spot_mtbf_days)):
        for times in (1, 100):
            start_s = plan.startup_s + 60.0 * plan.repair_minutes
            lost = failures(times * train_s, longest.epoch_s, start_s, DAY_S * days / hosts)
            rows.append(
                [
                    f"{hosts} {name}",
                    f"{times * train_s / 3600:.1f} h",
                    f"{longest.epoch_s / 60:.1f} min",
                    f"{lost.expected:.2f}",
                    f"{lost.each_s / 60:.1f} min of {plan.devices} devices",
                    f"{100 * lost.share:.1f} %",
                ]
            )
    return Table(f"A failure stops all {plan.devices} ranks", rows)
