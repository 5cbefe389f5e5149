"""Log-mel features of Speech Commands: made once, kept in the cache, normalised for training."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from encoders.fetch import DataError, cache_folder, filling
from encoders.log_mel import LogMel, check_rate
from encoders.speech_commands import KEYWORDS, SpeechCommands, SplitName, classes
from rc_snn.borders.numbers import count, indices
from rc_snn.checkpoint import digest
from rc_snn.files import check_room, load_npz, replacing
from rc_snn.progress import progress
from rc_snn.sequences import ContextSequences, Labelled

FORMAT = "rc_snn.keyword_features/2"
_BATCH = 64


@dataclass(frozen=True)
class Features:
    """Log-mel energies of one split, not normalised.

    Raises:
        ValueError: if frames, labels and names are not as many, or a frame is not finite.
    """

    frames: Float32[Tensor, "clip frame mel"]
    labels: Int[Tensor, " clip"]
    names: tuple[str, ...]
    """`word/speaker_nohash_n.ogg`"""
    n_short: int
    """Clips of less than full length, padded with zeros."""

    def __post_init__(self) -> None:
        if not len(self.frames) == len(self.labels) == len(self.names):
            raise ValueError(
                f"Got {len(self.frames)} clips, {len(self.labels)} labels and {len(self.names)} "
                "names; they must be as many."
            )
        object.__setattr__(self, "labels", indices(self.labels, "Labels"))
        if not torch.isfinite(self.frames).all():
            raise ValueError("A log-mel energy is not finite. Check the recordings for NaN.")

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.labels)


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each mel band over the frames of the training split."""

    mean: Float32[Tensor, " mel"]
    std: Float32[Tensor, " mel"]

    def __post_init__(self) -> None:
        known = torch.isfinite(self.mean).all() and torch.isfinite(self.std).all()
        if self.mean.shape != self.std.shape or not (known and (self.std > 0).all()):
            raise ValueError(
                "Normalisation needs finite means and positive deviations, got "
                f"{self.mean.tolist()} and {self.std.tolist()}."
            )

    @classmethod
    def of(cls, frames: Float32[Tensor, "clip frame mel"]) -> "Normalisation":
        """Measure them, in double precision.

        Example:
            >>> Normalisation.of(torch.tensor([[[1.0], [3.0]]])).mean
            tensor([2.])
        """
        mean = frames.mean(dim=(0, 1), dtype=torch.float64)
        variance = (frames - mean).square().mean(dim=(0, 1))
        # numpy's root is rounded exactly; torch's, on some processors, is not.
        return cls(mean.float(), torch.from_numpy(np.sqrt(variance.numpy())).float())

    def __call__(self, frames: Float32[Tensor, "*batch mel"]) -> Float32[Tensor, "*batch mel"]:
        """Return the frames with mean 0 and deviation 1 in each band, as measured."""
        return (frames - self.mean) / self.std


@dataclass(frozen=True)
class KeywordData:
    """The three splits, and the normalisation that the training split gives."""

    train: Features
    validation: Features
    test: Features
    normalisation: Normalisation
    front_end: LogMel
    classes: tuple[str, ...]

    def sequences(self, split: SplitName) -> Labelled:
        """Return a split, normalised, for training and accounting."""
        features: Features = getattr(self, split)
        return self.labelled(features.frames, features.labels)

    def labelled(
        self, frames: Float32[Tensor, "clip frame mel"], labels: Int[Tensor, " clip"]
    ) -> Labelled:
        """Normalise frames, augmented ones for example, into labelled sequences."""
        context = self.front_end.context
        return Labelled(ContextSequences(self.normalisation(frames), context), labels)

    def augmented(self, generator: torch.Generator, max_shift: int = 10) -> Labelled:
        """Return the training split, each clip shifted at random: for `train(..., fresh=...)`."""
        silence = self.front_end.silence()
        shifted = shift_frames(self.train.frames, generator, max_shift, fill=silence)
        return self.labelled(shifted, self.train.labels)


def load_keywords(
    data: Path | str | None = None,
    *,
    front_end: LogMel | None = None,
    keywords: Sequence[str] = KEYWORDS,
    download: bool = True,
) -> KeywordData:
    """Return the features of all three splits, from the cache or made now.

    Args:
        data: folder with the recordings; `encoders.speech_commands.find_recordings`.
        front_end: None is `LogMel()`.
        keywords: classes of their own, in this order; unknown is the last.
        download: whether the network may be used.

    Raises:
        DataError: if there are no recordings.
    """
    front_end = front_end or LogMel()
    train, validation, test = (
        load_features(split, data, front_end=front_end, keywords=keywords, download=download)
        for split in ("train", "validation", "test")
    )
    return KeywordData(
        train=train,
        validation=validation,
        test=test,
        normalisation=Normalisation.of(train.frames),
        front_end=front_end,
        classes=classes(keywords),
    )


def load_features(
    split: SplitName,
    data: Path | str | None = None,
    *,
    front_end: LogMel | None = None,
    keywords: Sequence[str] = KEYWORDS,
    download: bool = True,
) -> Features:
    """Return the features of one split: from the cache, or made now and kept there.

    The name of the file in the cache is a hash of all that its content depends on: every parameter
    of the front end, split, keywords, the recordings, and the versions of this format and of the
    libraries that read, resample and transform. A file that cannot be read, or does not fit, is
    made anew. Of two processes that need it one makes it, and the other waits.

    Raises:
        DataError: if there are no recordings.
        OSError: if the cache cannot be written; XDG_CACHE_HOME names another.
    """
    front_end = front_end or LogMel()
    check_rate(front_end)
    source = SpeechCommands(data, split, keywords=keywords, download=download)
    path = cache_folder() / "keyword_features" / f"{split}_{cache_key(source, front_end)}.npz"
    features = _read(path, source, front_end)
    if features is not None:
        return features
    with filling(path.parent, path.name):
        features = _read(path, source, front_end)  # another process may have made it meanwhile
        if features is None:
            check_room(path.parent, 4 * len(source) * front_end.n_frames * front_end.n_mels)
            features = make_features(source, front_end)
            _write(path, features)
    return features


def cache_key(source: SpeechCommands, front_end: LogMel) -> str:
    """Return a hash of everything that features depend on."""
    about = {
        "format": FORMAT,
        "front_end": asdict(front_end),
        "split": source.split,
        "keywords": source.keywords,
        "recordings": source.recordings.digest(),
        "versions": {name: version(name) for name in ("librosa", "soundfile", "soxr", "numpy")},
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def make_features(source: SpeechCommands, front_end: LogMel) -> Features:
    """Read all recordings of a split, and compute their features."""
    check_rate(front_end)
    frames = np.empty((len(source), front_end.n_frames, front_end.n_mels), np.float32)
    names, n_short = source.recordings.names, 0
    for first in progress(range(0, len(names), _BATCH), f"log-mel {source.split}", unit="batches"):
        clips = np.zeros((len(names[first : first + _BATCH]), front_end.clip_samples), np.float32)
        for clip, name in zip(clips, names[first : first + _BATCH], strict=True):
            samples = source.recordings.read(name)
            if len(samples) > front_end.clip_samples:
                raise DataError(
                    f"{name} has {len(samples)} samples at 16 kHz, the front end takes clips of "
                    f"{front_end.clip_samples}. Cut it, or set clip_ms."
                )
            clip[: len(samples)] = samples
            n_short += len(samples) < front_end.clip_samples
        frames[first : first + _BATCH] = front_end(clips)
    return Features(torch.from_numpy(frames), torch.tensor(source.targets), names, n_short)


def _write(path: Path, features: Features) -> None:
    arrays = {
        "frames": features.frames.numpy(),
        "labels": features.labels.numpy(),
        "names": np.array(features.names),
        "n_short": np.array(features.n_short),
    }
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, digest=np.array(digest(arrays)), **arrays)


def _read(path: Path, source: SpeechCommands, front_end: LogMel) -> Features | None:
    """Read features, or nothing if the file is not there, is damaged or is not theirs."""
    try:
        arrays = load_npz(path, "features of keywords")
    except (OSError, ValueError):
        return None
    said = arrays.pop("digest", None)
    known = ("frames", "labels", "names", "n_short")
    if said is None or [*arrays] != [*known] or str(said) != digest(arrays):
        return None
    frames, labels, names = arrays["frames"], arrays["labels"], tuple(arrays["names"].tolist())
    shape = (len(source), front_end.n_frames, front_end.n_mels)
    fits = frames.shape == shape and frames.dtype == np.float32 and np.isfinite(frames).all()
    same = names == source.recordings.names and labels.tolist() == source.targets
    if not (fits and same and arrays["n_short"].shape == ()):
        return None
    n_short = int(arrays["n_short"])
    return Features(torch.from_numpy(frames), torch.from_numpy(labels), names, n_short)


def shift_frames(
    frames: Float[Tensor, "clip frame mel"],
    generator: torch.Generator,
    max_shift: int,
    *,
    fill: float,
) -> Float[Tensor, "clip frame mel"]:
    """Shift each clip by a random number of frames in -max_shift..max_shift, each equally likely.

    Args:
        frames: clips; not written to.
        generator: source of the draws.
        max_shift: largest shift, earlier or later; 10 frames are 100 ms.
        fill: what moves in from outside; `LogMel.silence()`.

    Raises:
        ValueError: if max_shift is negative, or not smaller than a clip.

    Example:
        >>> clip = torch.arange(4.0).view(1, 4, 1)
        >>> shift_frames(clip, torch.Generator().manual_seed(2), 1, fill=-1.0).flatten().tolist()
        [1.0, 2.0, 3.0, -1.0]
    """
    n, n_frames, _ = frames.shape
    if not 0 <= count(max_shift, "max_shift") < n_frames:
        raise ValueError(f"max_shift must be in 0..{n_frames - 1} frames, got {max_shift}.")
    by = torch.randint(-max_shift, max_shift + 1, (n, 1), generator=generator)
    origin = torch.arange(n_frames) - by  # [clip, frame]
    outside: Bool[Tensor, "clip frame"] = (origin < 0) | (origin >= n_frames)
    moved = frames[torch.arange(n).unsqueeze(1), origin.clamp(0, n_frames - 1)]
    return moved.masked_fill(outside.unsqueeze(2), fill)
