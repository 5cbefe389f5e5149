"""Damaged files by the thousand for the readers of the project: `python -m tests.fuzz`.

`--reader NAME --n N` gives one reader N files; without a name, each reader. `--record` keeps the
figures in results/fuzz, and writes the table of docs/SECURITY.md anew.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: readers are forked

import torch
from tqdm import tqdm

from benchmarks import record
from tests.fuzz import table
from tests.fuzz.engine import Outcome, Reader, example, fuzz
from tests.fuzz.readers import READERS


def main() -> int:
    """Return 0 if no reader failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--reader", choices=sorted(READERS), help="default: each")
    parser.add_argument("--n", type=int, default=1000, help="damaged files for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that made a reader fail")
    parser.add_argument("--record", action="store_true", help="keep the figures in results/fuzz")
    options = parser.parse_args()
    if options.n < 1:
        parser.error(f"--n must be at least 1, got {options.n}")
    torch.set_num_threads(1)
    source, failed = record.source(), 0
    for name in [options.reader] if options.reader else sorted(READERS):
        start = time.time()
        with tempfile.TemporaryDirectory() as scratch, tqdm(total=options.n, desc=name) as bar:
            outcome = fuzz(READERS[name], options.n, Path(scratch), options.seed, bar.update)
            if options.keep:
                _keep(READERS[name], outcome, Path(scratch, "seeds"), options)
        print(said(outcome), flush=True)
        failed += outcome.failed
        if options.record:
            made = table.recorded(outcome, options.seed, time.time() - start, source)
            record.save(made, table.FOLDER)
    if options.record:
        table.write()
    return int(failed > 0)


def said(outcome: Outcome) -> str:
    """Return an outcome in words."""
    lines = [
        f"{outcome.reader}: {outcome.n} files, {dict(outcome.counts)}, slowest "
        f"{outcome.slowest_s:.2f} s, most memory {outcome.largest / 1e6:.0f} MB"
    ]
    lines += [f"  {f['index']} {f['kind']}: {f['said']}" for f in outcome.failures[:20]]
    return "\n".join(lines)


def _keep(reader: Reader, outcome: Outcome, seeds: Path, options: argparse.Namespace) -> None:
    options.keep.mkdir(parents=True, exist_ok=True)
    files = list(reader.seeds(seeds))
    for failure in outcome.failures:
        source, content = example(reader, files, options.seed, failure["index"])
        name = f"{reader.name}_{options.seed}_{failure['index']}_{failure['kind']}{source.suffix}"
        (options.keep / name).write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
