"""The command: see `benchmarks.speed.task`."""

from benchmarks.speed.task import Speed, main
from rc_snn import commands

if __name__ == "__main__":
    commands.run(main, Speed)
