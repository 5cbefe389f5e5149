"""The command: see `benchmarks.speed.task`."""

from functools import partial

from benchmarks.speed.task import TASK
from benchmarks.task import command
from rc_snn import commands

if __name__ == "__main__":
    commands.run(partial(command, TASK), TASK.options)
