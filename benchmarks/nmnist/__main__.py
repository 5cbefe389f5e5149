"""The command: see `benchmarks.nmnist.task`."""

from functools import partial

from benchmarks.nmnist.task import TASK
from benchmarks.task import command
from rc_snn import commands

if __name__ == "__main__":
    commands.run(partial(command, TASK), TASK.options)
