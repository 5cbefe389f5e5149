"""Table 1 of the paper: rank-coded rows and their rivals, measured here, beside the claims.

`python -m benchmarks.table1` evaluates the trained networks that ship with the package on MNIST's
test set and prints the table of records. `--train` trains: every run leaves one JSON record, and
the table is made from records only. Where there is no MNIST it trains on the embedded digits.
`--model package.module:factory` and `--network file` put networks of your own beside them.
"""

import functools
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from baselines.alpha_psp import load_network
from benchmarks import record, task
from benchmarks.record import Record
from benchmarks.report.numbers import without_infinity
from benchmarks.run import Data, Options, not_trained_here, recorded, trained
from benchmarks.table1 import outside, table
from benchmarks.table1.options import Table1
from benchmarks.table1.runs import RowRun, check_planned, planned, splits
from benchmarks.table1.shipped import evaluate_shipped
from encoders.functional import random_affine
from encoders.mnist import MNIST_TITLE, Digits, Split, embedded_digits, load_mnist
from rc_snn import families, network
from rc_snn.files import check_room
from rc_snn.formats.half import round_to_half
from rc_snn.progress import say


class Task:
    """Table 1 as a task of the harness."""

    name = "table1"

    def runs(self, options: Table1) -> Sequence[RowRun]:
        """Return one run per recipe, row, protocol, seed and polarity."""
        found = list(planned(options, load_mnist(options.data)))
        if not found:
            raise ValueError(
                "What was asked for has no run: the authors' own weights are measured once, with "
                "seed 0 and the protocol held-out."
            )
        return found

    def make(self, run: RowRun, options: Table1, command: str) -> Record:
        """Train one run, or go on with it, and account for it on the test set, once."""
        digits = digits_of(run.data, options.data)
        return make(run, digits, options, command, options.runs / run.name)

    def summary(self, done: Record) -> str:
        """Say in a line what a network reached."""
        m = done.metrics
        steps, mean = m["time_to_insight"], m["strict_clock"]["mean"]
        when = f"mean spike time {mean} frames" if steps is None else f"{steps:.2f} steps"
        seed = done.config["train"].get("seed")
        which = "" if seed is None else f" seed {seed}"
        return (
            f"{done.config['row']} {done.config['polarity']}{which}: "
            f"accuracy {100 * m['accuracy']:.2f} %, time to insight: {when}, "
            f"fired {100 * m['fired'] / m['n']:.1f} %, {done.seconds:.0f} s"
        )

    def readme(self, results: Path) -> list[str]:
        """Return the short table of the records that are checked in."""
        return table.short(table.paper_records(results / "table1"))


TASK = Task()


def make(run: RowRun, digits: Digits, options: Options, command: str, folder: Path) -> Record:
    """Train one run of any family, or go on with it, and account for it on the test set, once.

    What is evaluated is the network as it ships: weights rounded to float16, float32 products. The
    authors' own networks are evaluated in float64, as they are.
    """
    training, validation, test = splits(run, digits)
    if run.file is not None:
        return _published(run, digits, test, command)
    own = families.family(run.family)
    data = own.data(run, training)

    def moved(generator: torch.Generator) -> Any:
        images = random_affine(training.images, generator)
        return own.data(run, Split(images, training.labels), like=data)

    held_out = own.data(run, validation, like=data)
    known = Data(data, held_out, test, fresh=moved if run.augment else None)
    done = trained(run, known, options, folder)
    round_to_half(done.model)
    net = run.network(done.model, data)
    metrics = without_infinity(net.account(test.labels, run.encode(test.images)))
    made = recorded(run, done, metrics, command)
    measured = {k: metrics[k] for k in _MEASURED if metrics[k] is not None}
    net = replace(net, measured=measured, record=made.name)
    net.save(folder / f"{net.name}.safetensors", half=True)
    if getattr(options, "ship", False) and run.seed == 0:
        net.save(network.SHELF / f"{net.name}.safetensors", half=True)
    return made


_MEASURED = ("n", "correct", "accuracy", "time_to_insight", "fired")
"""What a network that ships says of its record."""


def _published(run: RowRun, digits: Digits, test: Split, command: str) -> Record:
    """Account for a network that its authors publish."""
    source = record.source()
    net = run.network(load_network(_find(str(run.file), Path(digits.origin))))
    metrics = without_infinity(net.account(test.labels, run.encode(test.images)))
    return record.new_record(
        run.task, run.name, run.config, metrics, not_trained_here(), 0, source, command
    )


def _find(name: str, data: Path) -> Path:
    """Find the authors' file in `alpha_psp`, in the folder of the data or beside it."""
    places = [data / "alpha_psp" / name, data.parent / "alpha_psp" / name]
    for place in places:
        if place.exists():
            return place
    raise ValueError(
        f"The authors' network {name} is not there; looked at {', '.join(map(str, places))}. "
        "Convert or copy it to alpha_psp/ beside MNIST."
    )


@functools.cache
def digits_of(name: str, data: Path | None) -> Digits:
    """Load the digits of this name, once per process.

    Raises:
        ValueError: if a worker finds others than the driver.
    """
    digits = embedded_digits() if name == "MNIST-5k" else load_mnist(data)
    if digits.name != name:
        raise ValueError(
            f"The run is on {name}, but its worker found {digits.name} ({digits.origin}). Name a "
            "folder that every worker sees with --data."
        )
    return digits


def main(options: Table1) -> int:
    """Evaluate or train, then print the table; return the exit status."""
    task.prepare(options)
    if options.n_steps is not None and not (options.train or options.factories):
        raise ValueError("--n-steps is for --train and --model; a network's file has its own.")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds none. Use --device cpu.")
    if options.train:
        check_planned(options)
    if options.outside:
        check_room(options.results / TASK.name)
    digits = load_mnist(options.data)
    known, joined, status = digits.title == MNIST_TITLE, bool(options.model or options.network), 0
    scored = [outside.measure(n, digits, options.results) for n in outside.networks(options)]
    for done in scored:
        print(TASK.summary(done.record))
        if warning := outside.unfired(done.record):
            print(warning, file=sys.stderr)
    if options.train or not (known or joined):
        for outcome in task.make_all(TASK, options):
            say(outcome.line)
            # Who names no rows wants those that there are: norse is an extra.
            status |= int(outcome.failed and (bool(options.rows) or not outcome.missing))
    elif known and (options.rows or not joined):
        status = evaluate_shipped(digits, options.rows)
    quick = options.train or not known
    records = table.records_on(options.results / TASK.name, digits.name, quick=quick)
    only: set[str] = set()
    if options.rows and not options.train:
        only = {*options.rows, *(done.record.config["row"] for done in scored)}
    print(table.table1(records, digits.title, "text", options.model, only))
    if records and (quick or scored):
        print(table.write(records, options.results, digits.title, options.model), file=sys.stderr)
    return status
