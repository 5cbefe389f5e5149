"""The command: see `benchmarks.figure1.task`."""

from benchmarks.figure1.task import TASK
from benchmarks.task import start

if __name__ == "__main__":
    start(TASK)
