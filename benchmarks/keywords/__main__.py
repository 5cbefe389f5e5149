"""The command: see `benchmarks.keywords.task`."""

from benchmarks.keywords.task import KeywordOptions, main
from rc_snn import commands

if __name__ == "__main__":
    commands.run(main, KeywordOptions)
