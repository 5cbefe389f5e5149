"""What the command line of Table 1 says."""

from dataclasses import dataclass
from typing import Literal

from benchmarks.run import Options
from benchmarks.table1 import rows
from benchmarks.table1.rows import ProtocolName, RecipeName
from encoders.functional import Polarity, ZeroPixels
from rc_snn.fast.fused import Precision


@dataclass(frozen=True)
class Table1(Options):
    """Reproduce Table 1: evaluate what ships, or train with --train."""

    rows: tuple[str, ...] = ()
    """Rows to train; default: all."""
    recipe: tuple[RecipeName, ...] = ("tuned",)
    """published: as the authors describe. tuned: ours. augmented: ours, on moved images. weights:
    the authors' own networks, measured here."""
    profile: Literal["quick", "paper"] = "quick"
    """quick: minutes, on part of the training images. paper: all of them, hours."""
    polarity: tuple[Polarity, ...] | None = None
    """Which pixels spike first; each polarity is a run of its own. Default: the recipe's."""
    zero_pixels: ZeroPixels | None = None
    """Whether pixels without drive spike at the frame's end, or never. Default: the recipe's."""
    n_steps: int | None = None
    """Steps per frame, T. Default: the recipe's."""
    protocol: tuple[ProtocolName, ...] = ("held-out",)
    """held-out: choose on held-out training images. paper: choose the epoch by test accuracy."""
    precision: Precision | None = None
    """Precision of products in training: float32, or bf16 for speed. Default: the recipe's."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train. The two are not bit-identical."""
    ship: bool = False
    """Also write the networks of seed 0 into the package, for `rc_snn.load`."""
    model: tuple[str, ...] = ()
    """package.module:factory; what it returns, a network or a row, joins the table."""

    def __post_init__(self) -> None:
        known = rows.known_rows(self.model)
        added = tuple(known.keys() - rows.known_rows().keys())
        object.__setattr__(self, "rows", self.rows or added or tuple(known))
        for row in self.rows:
            rows.row_of(row, self.model)
