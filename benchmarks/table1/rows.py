"""The rows of Table 1: what was published, and how each is trained here.

A row is one `Row`: its line in the table, its family, and its recipes. Ours are listed in the files
beside this one; those of other packages come in by the entry point group "rc_snn.rows", or by
`--model package.module:factory`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal, Protocol, TypeAlias

from benchmarks.run import Profile
from encoders.functional import Polarity, ZeroPixels
from rc_snn.commands import made_by

GROUP = "rc_snn.rows"

ProtocolName: TypeAlias = Literal["held-out", "paper"]
RecipeName: TypeAlias = Literal[
    "weights", "published", "tuned", "dropout", "augmented", "mapped", "fine-tuned"
]
"""weights: the authors' own network, measured here. published: as its authors describe. tuned:
ours, on the same images, from random weights. dropout: the same, longer, while hidden spikes are
left out at random. augmented: tuned with randomly moved training images. mapped: a ReLU network as
a first-spike network, nothing trained by spikes; fine-tuned: then trained by first spikes, too. The
training images of both may be moved at random."""
YOURS = "yours"
"""Profile, recipe and regime of networks that were made elsewhere, and only measured here."""
Augment: TypeAlias = Literal["bicubic affine"]
"""`encoders.random_affine` with its own bounds. Another reading of the images or other bounds are
another name, because a record is known by its configuration."""
EncoderName: TypeAlias = Literal["latency", "alpha_psp"]
"""encoders.encode_latency, or the encoding of α-PSP's authors (bright first, zeros silent)."""


class ModelConfig(Protocol):
    """What builds a row's network: a frozen dataclass, which is part of the record's config."""

    def build(self, seed: int) -> Any:
        """Make the network with the initial weights of this seed."""


@dataclass(frozen=True)
class Recipe:
    """How a row is trained in a profile."""

    model: ModelConfig
    train: Any
    """The family's configuration of a training; it holds epochs and seed."""
    n_train: int = 60_000
    """Images to train on, at most; the rest is left out."""
    n_validation: int = 5_000
    n_test: int = 10_000
    centred: bool = False
    """Subtract the training images' mean from the input of each step."""
    augment: Augment | None = None
    """Move the training images at random before each epoch; the name says how."""
    polarity: Polarity = "bright_first"
    """Which pixels spike first, where the command line does not say."""
    zero_pixels: ZeroPixels = "last"
    """What pixels without drive do, where the command line does not say."""
    n_steps: int | None = 10
    """Steps per frame, T, where the command line does not say; None is continuous time."""
    encoder: EncoderName = "latency"
    train_other: Any = None
    """The training with the polarity that is not the recipe's own; None: the same."""


@dataclass(frozen=True)
class Row:
    """A line of the table, and how it is trained here."""

    name: str
    """As the command line and the records have it."""
    line: int
    """Where it stands in the table: 1 to 13 as published, ours behind them."""
    regime: str
    model: str
    architecture: str
    published: str
    """Accuracy in the paper's Table 1 (Jeffares et al., ICLR 2022), in percent; "—": none."""
    legend: str
    """What figures call networks of its kind."""
    family: str = "rank-coded"
    """See `rc_snn.families`."""
    recipes: Mapping[Profile, Mapping[RecipeName, Recipe]] = field(default_factory=dict)


@cache
def known_rows(more: tuple[str, ...] = ()) -> Mapping[str, Row]:
    """Return all rows by name: ours, those of packages that are installed, and more.

    Args:
        more: "package.module:factory" of rows; factories of networks are passed over.

    Raises:
        ValueError: if two rows have one name.
    """
    entries = sorted(
        entry_points(group=GROUP), key=lambda e: (not e.value.startswith("benchmarks."), e.name)
    )
    found: dict[str, Row] = {}
    sources = [(entry.value, entry.load()) for entry in entries]
    sources += [(name, (made,)) for name in more if isinstance(made := made_by(name), Row)]
    for where, rows in sources:
        for row in rows:
            if row.name in found:
                raise ValueError(
                    f"Two rows are called {row.name!r}; one is of {where}. Rename it there."
                )
            found[row.name] = row
    return found


def row_of(name: str, more: tuple[str, ...] = ()) -> Row:
    """Return the row of this name; `more` as of `known_rows`.

    Raises:
        ValueError: if there is none.
    """
    known = known_rows(more)
    if name not in known:
        raise ValueError(
            f"Table 1 has no row {name!r}; there are {', '.join(known)}. Rows of another package "
            f'come in by the entry point group "{GROUP}", or by --model package.module:factory.'
        )
    return known[name]
