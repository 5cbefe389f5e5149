"""The command: see `benchmarks.poisson.task`."""

from benchmarks.poisson.task import TASK
from benchmarks.task import start

if __name__ == "__main__":
    start(TASK)
