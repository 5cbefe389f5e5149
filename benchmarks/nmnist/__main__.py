"""The command: see `benchmarks.nmnist.task`."""

import sys

import tyro

from benchmarks.nmnist.task import EventDigits, main

if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(EventDigits)))
    except ValueError as error:
        sys.exit(f"error: {error}")
