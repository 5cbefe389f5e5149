"""What the command line of Table 1 says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias, TypeVar

import tyro

from benchmarks.run import Options
from benchmarks.table1 import rows
from benchmarks.table1.rows import ProtocolName, RecipeName, Row
from encoders.functional import Polarity, ZeroPixels
from rc_snn.commands import made_by
from rc_snn.fast.fused import Precision

T = TypeVar("T")
Repeated: TypeAlias = Annotated[tuple[T, ...], tyro.conf.UseAppendAction]
"""An option that is given once for each of its values."""


@dataclass(frozen=True)
class Table1(Options):
    """Reproduce Table 1: evaluate what ships, or train with --train."""

    rows: tuple[str, ...] = ()
    """These rows only: to train, or, without --train, to evaluate and show; default: all."""
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
    model: Repeated[str] = ()
    """package.module:factory; what it returns, a network or a row, joins the table. Repeatable."""
    network: Repeated[Path] = ()
    """The file of a network, which joins the table. Repeatable."""

    ONLY_TRAIN: ClassVar[tuple[str, ...]] = (
        *("recipe", "profile", "seeds", "polarity", "zero_pixels", "protocol", "precision"),
        *("device", "ship", *Options.ONLY_TRAIN),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for row in self.rows:
            rows.row_of(row, self.model)

    @property
    def factories(self) -> tuple[str, ...]:
        """Return those of `model` that make networks; the others make rows."""
        return tuple(name for name in self.model if not isinstance(made_by(name), Row))

    @property
    def outside(self) -> bool:
        """Return whether networks of others are to be measured."""
        return bool(self.factories or self.network)

    @property
    def asked(self) -> tuple[str, ...]:
        """Return the rows that are asked for, else those that `model` adds, else all.

        Where networks of others are named, and no row, there is none.
        """
        ours = rows.known_rows()
        known = rows.known_rows(self.model)
        added = tuple(name for name in known if name not in ours)
        return self.rows or added or (() if self.outside else tuple(known))
