"""The reproduction report, computed from the records a second time."""

import re
from statistics import mean

import pytest

from benchmarks import record, reproduction
from benchmarks.table1.all_rows import ROWS

ENTRIES = list(reproduction.table1(record.RESULTS))
PUBLISHED = sorted((row for row in ROWS if row.published != "—"), key=lambda row: row.line)


def test_every_published_row_has_a_line_with_its_claim_and_a_cause():
    assert [entry.published for entry in ENTRIES] == [row.published for row in PUBLISHED]
    assert set(reproduction.CAUSES) == {row.name for row in PUBLISHED}
    assert all(entry.cause for entry in ENTRIES)


@pytest.mark.parametrize(("row", "entry"), list(zip(PUBLISHED, ENTRIES, strict=True)))
def test_the_gap_is_our_best_mean_on_the_published_images_minus_the_claim(row, entry):
    """Mean accuracies by recipe and polarity, gathered from the files themselves."""
    found: dict[tuple[str, str], list[float]] = {}
    for r in record.read_all(record.RESULTS / "table1"):
        c = r.config
        if (c.get("row"), c.get("profile"), c.get("protocol")) == (row.name, "paper", "held-out"):
            key = c.get("recipe", "published"), c["polarity"]
            found.setdefault(key, []).append(100 * r.metrics["accuracy"])
    same = [mean(v) for (recipe, _), v in found.items() if recipe in reproduction.SAME_IMAGES]
    known = same or [mean(v) for (recipe, _), v in found.items() if recipe == "augmented"]
    shown = [float(x) for x in re.findall(r"(\d+\.\d+)(?: ± \d+\.\d+)? \(", entry.ours)]
    assert sorted(shown) == pytest.approx(sorted(mean(v) for v in found.values()), abs=0.0051)
    if row.published.startswith("<"):
        assert (entry.gap == "met") == (max(known) < float(row.published.strip("< ")))
    else:
        assert float(entry.gap) == pytest.approx(max(known) - float(row.published), abs=0.0051)
