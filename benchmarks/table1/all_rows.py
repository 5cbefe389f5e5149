"""Our rows, in the order in which they are trained."""

from benchmarks.table1 import continuous_rows, lif_rows, mapped_rows, rank_coded_rows

ROWS = (*rank_coded_rows.ROWS, *lif_rows.ROWS, *continuous_rows.ROWS, *mapped_rows.ROWS)
