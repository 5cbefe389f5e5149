"""The command: see `benchmarks.figure2.task`."""

from functools import partial

from benchmarks.figure2.task import TASK
from benchmarks.task import command
from rc_snn import commands

if __name__ == "__main__":
    commands.run(partial(command, TASK), TASK.options)
