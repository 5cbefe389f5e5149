"""The command: see `benchmarks.speed.task`."""

from benchmarks.speed.task import TASK
from benchmarks.task import start

if __name__ == "__main__":
    start(TASK)
