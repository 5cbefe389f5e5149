"""The command: see `benchmarks.table1.task`."""

from benchmarks.table1.options import Table1
from benchmarks.table1.task import main
from rc_snn import commands

if __name__ == "__main__":
    commands.run(main, Table1)
