"""The command: see `benchmarks.keywords.task`."""

from benchmarks.keywords.task import TASK
from benchmarks.task import start

if __name__ == "__main__":
    start(TASK)
