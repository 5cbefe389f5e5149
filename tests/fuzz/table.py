"""The figures of the fuzzing: their records, and their table in docs/SECURITY.md."""

from pathlib import Path

from benchmarks import record
from benchmarks.record import Record, Source
from rc_snn.files import write_text
from tests.fuzz.engine import FAILURES, Outcome

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "results" / "fuzz"
PAGE = ROOT / "docs" / "SECURITY.md"
BEGIN, END = "<!-- fuzz: begin -->", "<!-- fuzz: end -->"


def recorded(outcome: Outcome, seed: int, seconds: float, source: Source) -> Record:
    """Return the record of an outcome; a reader has one, that of its last run."""
    config = {"reader": outcome.reader, "seed": seed}
    name = f"{outcome.reader}_seed{seed}_{record.config_key(config)}"
    counts = {kind: outcome.counts[kind] for kind in ("read", "refused", *FAILURES)}
    metrics = {"n": outcome.n, **counts, "failures": outcome.failures[:20]}
    metrics |= {"slowest_s": outcome.slowest_s, "largest_bytes": outcome.largest}
    command = f"python -m tests.fuzz --reader {outcome.reader} --n {outcome.n} --record"
    return record.new_record("fuzz", name, config, metrics, {}, seconds, source, command)


def lines(folder: Path = FOLDER) -> list[str]:
    """Return the table of the records."""
    rows = [
        "| reader | damaged files | read | refused | crashes | hangs | too much memory | "
        "wrong content | other exceptions | slowest, s of processor | most memory, MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for made in record.read_all(folder):
        m = made.metrics
        counts = [m[k] for k in ("n", "read", "refused", "crash", "hang", "memory", "wrong")]
        cells = [*(f"{c:,}" for c in counts), f"{m['exception']:,}", f"{m['slowest_s']:.2f}"]
        rows.append(
            f"| {' | '.join([made.config['reader'], *cells])} | {m['largest_bytes'] / 1e6:.0f} |"
        )
    return rows


def page(text: str) -> str:
    """Return the page with the table as the records say it."""
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return "\n".join([f"{head}{BEGIN}", *lines(), f"{END}{tail}"])


def write() -> None:
    """Write the table into the page."""
    if PAGE.exists():
        write_text(PAGE, page(PAGE.read_text()))
