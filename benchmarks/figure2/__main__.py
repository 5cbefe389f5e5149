"""The command: see `benchmarks.figure2.task`."""

from benchmarks.figure2.task import main
from benchmarks.tasks import TaskOptions
from rc_snn import commands

if __name__ == "__main__":
    commands.run(main, TaskOptions)
