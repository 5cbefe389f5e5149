"""Tables from records: `python -m benchmarks.tables` rewrites results/table1.md.

With `--readme` it rewrites the tables of README and docs, too.

Nothing here trains or measures. A number that no record holds cannot appear.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cards, figure4, figure5, neurobench, record, reproduction, simulators
from benchmarks.anytime import task as anytime
from benchmarks.early import task as early
from benchmarks.figure1 import task as figure1
from benchmarks.figure2 import task as figure2
from benchmarks.keywords import peers
from benchmarks.keywords import task as keywords
from benchmarks.nmnist import task as nmnist
from benchmarks.poisson import task as poisson
from benchmarks.scale import plan
from benchmarks.speed import exchange, long_sequences, time_to_accuracy
from benchmarks.speed import task as speed
from benchmarks.table1 import table, tradeoff
from benchmarks.table1 import task as table1
from benchmarks.task import Task
from bridges import support
from encoders.mnist import MNIST_TITLE
from rc_snn import commands
from rc_snn.files import write_text

TASKS: dict[str, tuple[Task, ...]] = {
    "tasks": (figure1.TASK, figure2.TASK, figure5.TASK, peers.TASK, nmnist.TASK),
    "simulators": (simulators.TASK,),
    "anytime": (anytime.TASK,),
    "": (
        *(figure4.TASK, keywords.TASK, poisson.TASK, tradeoff.TASK, neurobench.TASK),
        *(speed.TASK, exchange.TASK, long_sequences.TASK, early.TASK),
    ),
}
"""All tasks with a text of their own, by the block of a page that they fill, in its order."""


PAGES: dict[str, tuple[str, ...]] = {
    "README.md": ("table1",),
    "docs/TASKS.md": ("time", "tasks"),
    "docs/BRIDGES.md": ("bridges", "simulators"),
    "docs/anytime.md": ("anytime",),
    "docs/SCALE.md": ("scale",),
    "docs/reproduction.md": ("reproduction",),
    "docs/MODELS.md": ("models",),
}
"""The generated blocks of each page."""


def with_block(text: str, name: str, block: str) -> str:
    """Return a text with what stands between the two markers of this name replaced."""
    begin = f"<!-- {name}: begin, written by python -m benchmarks.tables --readme -->"
    end = f"<!-- {name}: end -->"
    pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"The text must hold {begin} and {end}, once each.")
    return pattern.sub(lambda _: f"{begin}\n{block}\n{end}", text)


def blocks(results: Path) -> dict[str, str]:
    """Return all generated blocks, from records and what bridges say."""
    found = {name: _block(tasks, results) for name, tasks in TASKS.items() if name}
    times = time_to_accuracy.table(record.read_all(results / "time_to_accuracy"))
    return found | {
        "table1": _block([table1.TASK], results),
        "time": times,
        "bridges": support.markdown() + "\n",
        "scale": plan.markdown(plan.Plan(results=results)),
        "reproduction": reproduction.markdown(results),
        "models": cards.markdown(results),
    }


def pages(folder: Path, results: Path) -> dict[Path, str]:
    """Return the pages of a checkout, with their tables made anew."""
    made, found = {}, blocks(results)
    for page, names in PAGES.items():
        text = (folder / page).read_text()
        for name in names:
            text = with_block(text, name, found[name])
        made[folder / page] = text
    return made


def _block(tasks: Sequence[Any], results: Path) -> str:
    return "\n".join(line for task in tasks for line in [*task.readme(results), ""])


@dataclass(frozen=True)
class Tables:
    """Rewrite results/table1.md from the records, and with --readme those of README and docs."""

    results: Path = record.RESULTS
    """Where records are read and tables written."""
    readme: bool = False
    """Rewrite the tables of README.md and docs/ in the project's own folder."""


def main(options: Tables) -> None:
    """Rewrite results/table1.md and, where asked to, the tables of README."""
    if options.readme and record.CHECKOUT is None:
        raise ValueError("rc_snn is installed, not checked out: there is no README to rewrite.")
    records = table.paper_records(options.results / "table1")
    print(table.write(records, options.results, MNIST_TITLE))
    if options.readme and record.CHECKOUT is not None:
        for page, text in pages(record.CHECKOUT, options.results).items():
            write_text(page, text)
            print(page)


if __name__ == "__main__":
    commands.run(main, Tables)
