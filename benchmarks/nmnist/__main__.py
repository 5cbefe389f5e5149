"""The command: see `benchmarks.nmnist.task`."""

from benchmarks.nmnist.task import EventDigits, main
from rc_snn import commands

if __name__ == "__main__":
    commands.run(main, EventDigits)
