"""Tables from records: `python -m benchmarks.tables` rewrites results/table1.md and the README's.

Nothing here trains or measures. A number that no record holds cannot appear.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import figure4, figure5, neurobench, record, simulators
from benchmarks.early import task as early
from benchmarks.figure1 import task as figure1
from benchmarks.figure2 import task as figure2
from benchmarks.keywords import peers
from benchmarks.keywords import task as keywords
from benchmarks.nmnist import task as nmnist
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
    "": (
        *(figure4.TASK, keywords.TASK, tradeoff.TASK, neurobench.TASK),
        *(speed.TASK, exchange.TASK, long_sequences.TASK, early.TASK),
    ),
}
"""All tasks with a text of their own, by the block of README that they fill, in its order."""


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
    times = time_to_accuracy.table(record.read_all(results / "time_to_accuracy"))
    text = with_block(readme, "time", times)
    text = with_block(text, "bridges", support.markdown() + "\n")
    text = with_block(text, "table1", _block([table1.TASK], results))
    for name, tasks in TASKS.items():
        if name:
            text = with_block(text, name, _block(tasks, results))
    return text


def _block(tasks: Sequence[Any], results: Path) -> str:
    return "\n".join(line for task in tasks for line in [*task.readme(results), ""])


@dataclass(frozen=True)
class Tables:
    """Rewrite the tables in results/ and in the README from the records."""

    results: Path = record.RESULTS
    """Where records are read and tables written."""


def main(options: Tables) -> None:
    """Rewrite results/table1.md and the README's table."""
    records = table.paper_records(options.results / "table1")
    print(table.write(records, options.results, MNIST_TITLE))
    if record.CHECKOUT is None:  # an installed package has no README of its own
        return
    readme = record.CHECKOUT / "README.md"
    write_text(readme, readme_with_tables(readme.read_text(), options.results))
    print(readme)


if __name__ == "__main__":
    commands.run(main, Tables)
