"""What every figure of the benchmarks shares."""

import os
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def save(figure: Any, path: Path) -> None:
    """Write a figure atomically, and the same bytes for the same figure; then close it."""
    partial = path.with_suffix(".partial.png")
    figure.savefig(partial, dpi=150, metadata={"Software": None})
    os.replace(partial, path)
    plt.close(figure)
