"""The command: see `benchmarks.table1.task`."""

from benchmarks.table1.task import Table1, main
from rc_snn import commands

if __name__ == "__main__":
    commands.run(main, Table1)
