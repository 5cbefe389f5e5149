"""The command: see `benchmarks.early.task`."""

from benchmarks.early.task import TASK
from benchmarks.task import start

if __name__ == "__main__":
    start(TASK)
