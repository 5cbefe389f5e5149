"""`python -m benchmarks.page --out FILE`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.page import html, players, results
from benchmarks.page.provenance import Provenance
from rc_snn import commands
from rc_snn.files import write_text
from rc_snn.progress import progress


@dataclass(frozen=True)
class Page:
    """Write the report page: Table 1, figures, speed, networks to play with, in one HTML file."""

    out: Path
    """The file to write; an earlier page of ours is written over, any other file is left alone."""
    results: Path = record.RESULTS
    """Where records are read: ours, or those of your own runs and networks."""
    data: Path | None = None
    """Folder with MNIST and Speech Commands; default: where they are looked for."""
    network: str = "rc-lstm-340-fast"
    """RC-LSTM that reads the digits: the name of one that ships, or a .safetensors file."""


def main(options: Page) -> int:
    """Write the page, and print its path; return the exit status."""
    html.check_ours(options.out)
    known = Provenance(options.results)
    made = progress(
        {
            "": partial(results.content, known),
            "digits": partial(players.digits, options.network, options.data, known),
            "words": partial(players.words, options.data, known),
        }.items(),
        "page",
        unit="parts",
    )
    content: dict[str, Any] = {}
    for name, make in made:
        content |= {name: make()} if name else make()
    if not known.entries:
        raise ValueError(
            f"{options.results} holds no records to make a page of. Name the folder that does with "
            "--results, or make some: python -m benchmarks.table1."
        )
    write_text(options.out, html.page(content | {"records": known.entries}))
    print(f"{options.out} ({options.out.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    commands.run(main, Page)
