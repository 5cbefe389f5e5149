"""The command: see `benchmarks.figure2.task`."""

from benchmarks.figure2.task import TASK
from benchmarks.task import start

if __name__ == "__main__":
    start(TASK)
