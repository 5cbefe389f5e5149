"""UCR and UEA time series, the field's sets of early classification, as labelled sequences.

They come through aeon (extra "aeon"), whose wheel ships some of them: ACSF1, ArrowHead,
BasicMotions, GunPoint, ItalyPowerDemand, JapaneseVowels, OSULeaf, PickupGestureWiimoteZ, UnitTest.
It downloads the others on first use, into a folder of its own or that which is named.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from encoders.fetch import DataError, filling
from rc_snn.files import publish, scratch
from rc_snn.sequences import DenseSequences, Labelled
from rc_snn.shown.citation import used


@dataclass(frozen=True)
class TimeSeries:
    """Series of one split, padded at their end to one length.

    Args:
        inputs: normalised values, `[time, batch, channel]`.
        labels: classes.
        length: steps of each series before padding.
    """

    inputs: DenseSequences
    labels: Int[Tensor, " batch"]
    length: Int[Tensor, " batch"]

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.labels)

    @property
    def labelled(self) -> Labelled:
        """Return what a model trains on, or decides about."""
        return Labelled(self.inputs, self.labels)


@dataclass(frozen=True)
class UCRSet:
    """A set in its official split, with a part of the training series held out for validation."""

    name: str
    train: TimeSeries
    validation: TimeSeries
    test: TimeSeries
    classes: tuple[str, ...]
    """Names of the classes 0, 1, ..."""

    @property
    def n_steps(self) -> int:
        """Return the number of steps, T: the longest series of either official split."""
        return self.train.inputs.n_steps


def load_ucr(
    name: str, *, validation: float = 0.3, seed: int = 0, folder: Path | str | None = None
) -> UCRSet:
    r"""Load a UCR or UEA set by its name in the archive.

    The test series are those of the official split. Of the training series of each class a share is
    held out, drawn by `seed`. Each channel is normalised by mean and standard deviation over all
    series and steps of what is left to train, \(z = (x - \mu) / \sigma\): nothing of a series to be
    classified is seen before its step. Note that the archive's older univariate sets (ArrowHead,
    GunPoint, ItalyPowerDemand, ...) come z-normalised series by series, each over its whole length:
    whoever reads their first step has been told something of the last.

    Shorter series are padded at their end with 0, the mean.

    Args:
        name: "GunPoint", "JapaneseVowels", ...; univariate or multivariate, of equal length or not.
        validation: share of the training series to hold out, in (0, 1), of each class; at least one
            series stays and one goes where a class has two.
        seed: of the draw.
        folder: where aeon looks for `<name>/<name>_TRAIN.ts`, and downloads to; default: its own.

    Raises:
        ImportError: if aeon is not installed.
        DataError: if series have missing values, aeon has no such set, or cannot read its files.
        ValueError: if the share is outside (0, 1).

    Source: Dau et al., "The UCR time series archive", IEEE/CAA Journal of Automatica Sinica 6
    (2019), https://arxiv.org/abs/1810.07758; Bagnall et al., "The UEA multivariate time series
    classification archive" (2018), https://arxiv.org/abs/1811.00075. The z-normalisation of
    univariate sets is why Wu et al., ACM CSUR (2023), https://arxiv.org/abs/2102.11487, call most
    published results of early classification too good.
    """
    if not 0.0 < validation < 1.0:
        raise ValueError(f"validation must be a share in (0, 1), got {validation}.")
    (known, labels, classes), (new, new_labels, _) = (
        _read(name, split, folder) for split in ("train", "test")
    )
    held_out = _held_out(labels, validation, torch.Generator().manual_seed(seed))
    n_steps = max(series.shape[0] for series in (*known, *new))
    seen = torch.cat(
        [series for series, out in zip(known, held_out.tolist(), strict=True) if not out]
    )
    mean, std = seen.mean(dim=0), seen.std(dim=0, correction=0)
    std = torch.where(std > 0, std, 1.0)

    def split(series: Sequence[Tensor], of: Int[Tensor, " batch"]) -> TimeSeries:
        frames = torch.zeros(n_steps, len(series), len(mean))
        for i, one in enumerate(series):
            frames[: len(one), i] = ((one - mean) / std).float()
        length = torch.tensor([len(one) for one in series])
        return TimeSeries(DenseSequences(frames), of, length)

    def part(index: Bool[Tensor, " batch"]) -> TimeSeries:
        return split([known[i] for i in index.nonzero().flatten().tolist()], labels[index])

    return UCRSet(name, part(~held_out), part(held_out), split(new, new_labels), classes)


def _read(
    name: str, split: str, folder: Path | str | None
) -> tuple[list[Float[Tensor, "time channel"]], Int[Tensor, " batch"], tuple[str, ...]]:
    """Return the series of an official split, their classes, and the classes' names."""
    try:
        from aeon.datasets import load_classification
    except ImportError as error:
        raise ImportError(
            'UCR and UEA sets are read by aeon, which is not installed: pip install "rc_snn[aeon]".'
        ) from error
    place = _place(name, folder)
    options: Any = {"split": split, "extract_path": place, "return_metadata": True}
    try:
        x, y, about = load_classification(name, **options)
        series = [torch.from_numpy(np.asarray(one, dtype=np.float64).T.copy()) for one in x]
        classes = tuple(about["class_values"])
        labels = torch.tensor([classes.index(str(label)) for label in y])
        shapes = {one.shape[1:] for one in series}
        if len(shapes) != 1 or min(one.numel() for one in series) == 0:
            raise ValueError(f"its series have the channels {sorted(map(list, shapes))}")
    except Exception as error:  # aeon's parser raises many kinds on damaged text
        raise DataError(
            f"The {split} series of {name} in {place or 'aeon'} cannot be read: "
            f"{type(error).__name__}: {error} Correct or fetch its file anew."
        ) from error
    missing = sum(not bool(one.isfinite().all()) for one in series)
    if missing:
        raise DataError(
            f"{missing} of {len(series)} {split} series of {name} have missing values. Fill "
            "them in a file of your own, and name its folder."
        )
    used("dau2019")
    return series, labels, classes


def _place(name: str, folder: Path | str | None) -> str | None:
    """Return the folder that holds a set, fetched if need be; None is aeon's own, which ships some.

    aeon would write file after file where it then looks: a set that is half there, or that another
    process writes, would be read. So it is fetched elsewhere, alone.
    """
    import aeon.datasets

    base = name.removesuffix("_nmv").removesuffix("_eq")  # as aeon has it: files of one folder

    def has(root: Path) -> bool:
        return all((root / base / f"{base}_{split}.ts").is_file() for split in ("TRAIN", "TEST"))

    if folder is None and has(Path(aeon.datasets.__file__).parent / "data"):
        return None
    root = Path(os.environ.get("AEON_DATA", "~/aeon_data") if folder is None else folder)
    root = root.expanduser()
    if not has(root):
        with filling(root, base):
            if not has(root):  # another process may have fetched it meanwhile
                with scratch(root / base) as apart:
                    aeon.datasets.load_classification(name, extract_path=str(apart))
                    publish(apart / base, root / base)
    return str(root)


def _held_out(
    labels: Int[Tensor, " batch"], share: float, generator: torch.Generator
) -> Bool[Tensor, " batch"]:
    """Draw the same share of each class; of two or more at least one goes and one stays."""
    out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        mine = (labels == label).nonzero().flatten()
        n = min(max(round(share * len(mine)), 1), len(mine) - 1)
        out[mine[torch.randperm(len(mine), generator=generator)[:n]]] = True
    return out
