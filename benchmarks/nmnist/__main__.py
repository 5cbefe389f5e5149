"""The command: see `benchmarks.nmnist.task`."""

from benchmarks.nmnist.task import TASK
from benchmarks.task import start

if __name__ == "__main__":
    start(TASK)
