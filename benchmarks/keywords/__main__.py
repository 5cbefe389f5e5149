"""The command: see `benchmarks.keywords.task`."""

import sys

import tyro

from benchmarks.keywords.task import KeywordOptions, main

if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(KeywordOptions)))
    except ValueError as error:
        sys.exit(f"error: {error}")
