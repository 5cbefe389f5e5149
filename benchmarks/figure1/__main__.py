"""The command: see `benchmarks.figure1.task`."""

from benchmarks.figure1.task import main
from benchmarks.tasks import TaskOptions
from rc_snn import commands

if __name__ == "__main__":
    commands.run(main, TaskOptions)
