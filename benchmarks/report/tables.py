"""Tables as text with aligned columns, and as Markdown. Cells come written; nothing is rounded."""

from collections.abc import Iterable, Sequence
from typing import Any


def text(
    rows: Iterable[Sequence[str]],
    align: str = "<",
    *,
    widths: Sequence[int] | None = None,
    gap: str = "  ",
    rule: bool = False,
) -> list[str]:
    r"""Return the lines of a table, its columns aligned.

    Args:
        rows: cells, as many in each row; the first row is the head.
        align: `<` (left) or `>` (right) for each column; the last sign holds for the rest.
        widths: width of each column, the last one for the rest; a wider cell moves what is right of
            it in its own line. Default: the widest cell's.
        gap: what stands between two columns.
        rule: whether dashes part the head from the rest.

    Returns:
        One line per row. A last column that is aligned left is not filled up.

    Raises:
        ValueError: if the rows differ in length.

    Example:
        >>> print(*text([["network", "%"], ["RC", "99.94"], ["EOS", "61.67"]], "<>"), sep="\n")
        network      %
        RC       99.94
        EOS      61.67
    """
    lines = [list(row) for row in rows]
    if len({len(line) for line in lines}) > 1:
        raise ValueError(f"All rows must have as many cells; they have {[*map(len, lines)]}.")
    n = len(lines[0]) if lines else 0
    if widths is None:
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    signs, wide = _each(align, n), _each(widths, n)
    if rule and lines:
        lines.insert(1, ["-" * width for width in wide])
    if signs[-1:] == ["<"]:
        wide[-1] = 0
    columns = list(zip(signs, wide, strict=True))
    return [
        gap.join(f"{cell:{sign}{width}}" for cell, (sign, width) in zip(line, columns, strict=True))
        for line in lines
    ]


def _each(given: Sequence[Any], n: int) -> list[Any]:
    """Return one of each for n columns: the last one holds for the rest."""
    return [given[min(i, len(given) - 1)] for i in range(n)]


def markdown(rows: Iterable[Sequence[str]]) -> list[str]:
    r"""Return the lines of a Markdown table; the first row is its head.

    Example:
        >>> print(*markdown([["network", "%"], ["RC", "99.94"]]), sep="\n")
        | network | % |
        | --- | --- |
        | RC | 99.94 |
    """
    head, *body = rows
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body)]
