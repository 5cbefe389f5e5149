"""Where a number of the page comes from: the records that it was made of."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.record import Record


class Provenance:
    """The records that the page shows, each once; a number names them by their places.

    Example:
        >>> known = Provenance(record.RESULTS)
        >>> known.of([])
        []
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.entries: list[dict[str, Any]] = []
        """What the page says of each record."""
        self._places: dict[str, int] = {}

    def of(self, records: Iterable[Record]) -> list[int]:
        """Return the places of these records; those that are new are added."""
        return [self._place(r) for r in records]

    def named(self, name: str) -> list[int]:
        """Return the place of the record of this name, if results has it."""
        found = [
            r
            for path in record.named(name, self.results)
            if isinstance(r := record.read(path), Record)
        ]
        return self.of(found[:1])

    def _place(self, r: Record) -> int:
        if r.name not in self._places:
            self._places[r.name] = len(self.entries)
            seed = r.config.get("seed", r.config.get("train", {}).get("seed"))
            here = r.machine
            [path, *_] = record.named(r.name, self.results)
            self.entries.append(
                {
                    "file": f"{path.parent.name}/{path.name}",
                    "seed": seed,
                    "commit": r.commit[:12],
                    "dirty": r.dirty,
                    "machine": f"{here.get('gpu') or here.get('cpu')}, "
                    f"{here.get('threads')} of {here.get('cores')} threads",
                    "created": r.created[:10],
                    "command": r.command,
                }
            )
        return self._places[r.name]
