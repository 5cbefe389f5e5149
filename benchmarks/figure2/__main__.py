"""The command: see `benchmarks.figure2.task`."""

import sys

import tyro

from benchmarks.figure2.task import main
from benchmarks.tasks import TaskOptions

if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(TaskOptions)))
    except ValueError as error:
        sys.exit(f"error: {error}")
