"""Run the task: `python -m benchmarks.anytime`."""

from benchmarks.anytime.task import TASK
from benchmarks.task import start

if __name__ == "__main__":
    start(TASK)
