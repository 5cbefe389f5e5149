"""What every figure of the benchmarks shares; matplotlib is imported when one is drawn."""

from functools import cache
from pathlib import Path
from typing import Any

from rc_snn.files import replacing
from rc_snn.plots import STYLE


@cache
def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.style.use(STYLE)
    return plt


def figure(**options: Any) -> Any:
    """Return an empty figure, as `matplotlib.pyplot.figure` does, in our style."""
    return _pyplot().figure(**options)


def subplots(*grid: int, **options: Any) -> Any:
    """Return a figure and its axes, as `matplotlib.pyplot.subplots` does, in our style."""
    return _pyplot().subplots(*grid, **options)


def save(figure: Any, path: Path) -> None:
    """Write a figure atomically, and the same bytes for the same figure; then close it."""
    with replacing(path, path.suffix) as partial:
        figure.savefig(partial, metadata={"Software": None})
    _pyplot().close(figure)
