"""What every figure of the benchmarks shares."""

import os
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

plt.style.use(Path(__file__).with_name("rc_snn.mplstyle"))


def save(figure: Any, path: Path) -> None:
    """Write a figure atomically, and the same bytes for the same figure; then close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.png")
    figure.savefig(partial, metadata={"Software": None})
    os.replace(partial, path)
    plt.close(figure)


def write_text(text: str, path: Path) -> None:
    """Write the text beside a figure atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.txt")
    partial.write_text(text + "\n")
    os.replace(partial, path)
