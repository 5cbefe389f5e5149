"""The command: see `benchmarks.speed.task`."""

import sys

import tyro

from benchmarks.speed.task import Speed, main

if __name__ == "__main__":
    sys.exit(main(tyro.cli(Speed)))
