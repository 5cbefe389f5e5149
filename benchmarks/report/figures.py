"""What every figure of the benchmarks shares."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from rc_snn.files import replacing

plt.style.use(Path(__file__).with_name("rc_snn.mplstyle"))


def save(figure: Any, path: Path) -> None:
    """Write a figure atomically, and the same bytes for the same figure; then close it."""
    with replacing(path, path.suffix) as partial:
        figure.savefig(partial, metadata={"Software": None})
    plt.close(figure)
