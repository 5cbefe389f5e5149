"""What every plot shares: axes, given or made, and their labels; drawing imports matplotlib."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
else:
    Axes = Any

STYLE = Path(__file__).with_name("rc_snn.mplstyle")
"""How our figures look: `matplotlib.pyplot.style.use(rc_snn.plots.STYLE)`."""


@contextmanager
def on(ax: Axes | None) -> Iterator[Axes]:
    """Give the axes to draw on: those of the caller as they are, or new ones, in our style.

    Axes made here get a legend; who has axes of their own writes theirs.

    Raises:
        ImportError: if axes are to be made, and there is no matplotlib.
        TypeError: if they are no axes.
    """
    if ax is not None:
        if not hasattr(ax, "get_xlabel"):
            raise TypeError(
                f"ax must be axes of matplotlib, got {type(ax).__name__}: those that "
                "figure, ax = matplotlib.pyplot.subplots() gives; of several, one."
            )
        yield ax
        return
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "rc_snn.plots draws by matplotlib, which is not installed: pip install matplotlib."
        ) from error
    with plt.style.context(STYLE):
        own = plt.subplots(layout="constrained")[1]
        colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
        own.set_prop_cycle(color=colours, linestyle=["-", "--", "-.", ":"] * 2)  # without colours
        yield own
        if own.get_legend_handles_labels()[1]:
            own.legend()


def label(ax: Axes, x: str, y: str) -> None:
    """Say what the axes show, where their owner has not, and where they say numbers."""
    if not ax.get_xlabel() and ax.xaxis.get_tick_params().get("labelbottom", True):
        ax.set_xlabel(x)
    if not ax.get_ylabel() and ax.yaxis.get_tick_params().get("labelleft", True):
        ax.set_ylabel(y)
