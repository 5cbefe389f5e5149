"""Benchmarks: every number in tables, figures and README comes from `python -m benchmarks.…`."""

from typing import TYPE_CHECKING, Any

from rc_snn.commands import refuse

if TYPE_CHECKING:
    from benchmarks.table1.outside import score as score

__all__ = ["score"]

refuse(__name__)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name != "score":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from benchmarks.table1.outside import score

    globals()[name] = score
    return score
