"""The command: see `benchmarks.table1.task`."""

import sys

import tyro

from benchmarks.table1.task import Table1, main

if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Table1)))
    except ValueError as error:  # bad input or data, or a run that diverged: said in words
        sys.exit(f"error: {error}")
