"""Tasks: what each experiment of the benchmarks is made of, and the one way to run it.

A task lives in a room of its own and says which runs it has, how each is made, and what its records
say and show. The harness here makes what does not exist yet, in turn or on Ray, and publishes.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch

from benchmarks import cluster, record
from benchmarks.record import Record
from benchmarks.run import Options, Outcome, Run, check_folders, find, once
from rc_snn import commands, distributed
from rc_snn.files import check_room, write_text
from rc_snn.progress import Bar, progress, say


class Makes(Protocol):
    """An experiment: its runs, and how one is made.

    `options` is an `Options`, or what the task's own command line adds to it. Tasks hold nothing
    themselves: a worker of a cluster imports them anew.
    """

    @property
    def name(self) -> str:
        """Return the name of its folder in results/, and of its text and figure there."""

    def runs(self, options: Any) -> Sequence[Run]:
        """Return what is to be made."""

    def make(self, run: Any, options: Any, command: str) -> Record:
        """Make one record: data, training, one measurement on the test set."""

    def summary(self, done: Record) -> str:
        """Say in a line what a run found."""
        return done.name


class Task(Makes, Protocol):
    """An experiment, and what its records say and show.

    A task inherits from this: what has a body here is what most do.
    """

    options: type[Options] = Options
    """What its command line says, with its own defaults."""
    ending: str = ".txt"
    """Of its text."""
    of: Makes | None = None
    """The task whose records it shows, if they are not its own."""

    def find(self, options: Any) -> list[Record]:
        """Return the records that text and figure are made of.

        Raises:
            ValueError: if there are none.
        """
        return find(self.runs(options), options.results / self.name)

    def text(self, records: Sequence[Record]) -> str:
        """Return what the records say, for `results/<name>/<name>.txt`."""

    def draw(self, records: Sequence[Record], options: Any, path: Path) -> None:
        """Draw the figure; without one, nothing."""
        return None

    def readme(self, results: Path) -> list[str]:
        """Return what README shows of it, as lines of Markdown; none is nothing."""
        return []


def prepare(options: Options) -> None:
    """Refuse idle options, set the threads, and say where results go if not to our own folder."""
    options.check_used()
    if distributed.launched():
        raise ValueError(
            "This command makes runs of one process each, and torchrun has started "
            f"{os.environ['WORLD_SIZE']}. Start it with --ray; torchrun is for one training: "
            "rc_snn.distributed."
        )
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if record.CHECKOUT is None and options.results == record.RESULTS:
        print(
            f"results: {options.results} (rc_snn is installed, not checked out: they go under the "
            "current folder; --results names another)",
            file=sys.stderr,
        )


def make_all(task: Makes, options: Options) -> Iterator[Outcome]:
    """Make every record that does not exist yet, in turn or on Ray; yield what became of each.

    Raises:
        OSError: if nothing can be written in the folders of the options; before anything is made.
    """
    command = record.command_line(task.name)
    made = [
        cluster.Job(run.name, partial(make, task, run, command=command))
        for run in task.runs(options)
    ]
    check_folders(options, task.name)
    outcomes: Iterator[Outcome] = (job.function(options) for job in made)
    if options.ray or options.ray_address is not None:
        outcomes = cluster.run_all(made, options)
    return progress(outcomes, f"{task.name}: runs", total=len(made), unit="runs")


def make(task: Makes, run: Run, options: Options, *, command: str) -> Outcome:
    """Make one record unless it exists."""
    return once(
        run,
        options.results / task.name,
        lambda: task.make(run, options, command),
        task.summary,
        force=options.force,
    )


def owner(task: Task) -> Makes:
    """Return the task whose records this one shows."""
    return task.of or task


def command(task: Task, options: Options) -> int:
    """Make records where asked to; write and print what they say; return the exit status."""
    prepare(options)
    failed = False
    if options.train:
        check_room(options.results / task.name)
        for outcome in make_all(owner(task), options):
            say(outcome.line)
            failed |= outcome.failed
    try:
        found = task.find(options)
    except ValueError:
        if failed:  # which has been said, and is why there are none
            return 1
        raise
    publish(task, found, options)
    return int(failed)


def start(task: Task) -> NoReturn:
    """Run a task by its command line."""
    commands.run(partial(command, task), task.options)


def publish(task: Task, records: Sequence[Record], options: Options) -> None:
    """Write a task's text and figure beside its records, the quick profile's apart, and print."""
    short = "" if options.profile == "paper" else f".{options.profile}"
    made_of = options.results / owner(task).name
    picture = options.results / task.name / f"{task.name}{short}.png"
    written = picture.with_suffix(task.ending)
    text = task.text(records).removesuffix("\n") + "\n"
    record.check_ours(written, made_of, text)
    record.check_ours(picture, made_of)
    print(text, end="")  # first, for where nothing can be written
    write_text(written, text)
    with Bar(f"draw {picture.name}", 1):
        task.draw(records, options, picture)
    if picture.exists():
        print(picture)
