"""Speech Commands, recordings of single words: from zip files, a folder or a checked download."""

import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tonic import Dataset

from encoders import fetch
from encoders.audio import Samples, read_audio
from encoders.fetch import DataError, cache_folder, folders, named_folder
from encoders.transforms import transformed
from rc_snn.files import read_bytes, replacing, unzipped
from rc_snn.shown.citation import used

SplitName: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "stop", "go")
"""The eight keywords of the subset in three zips, which has no audio of "on" and "off"."""

PAPER_KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
"""The ten keywords of section 3.4, for the full data set."""

UNKNOWN = "unknown"
"""The last class: every other word."""

URL = "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
ARCHIVE_SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
ARCHIVE_BYTES = 2_428_923_189
"""As published: tensorflow/datasets, url_checksums/speech_commands.txt; torchaudio has the same."""

MOST_BYTES = 1 << 24
"""One recording in a zip file: a second at 16 kHz takes 32,044, and what is unpacked is bounded."""

_FOLDERS = (".", "speech_commands", "speech_commands_v0.02", "SpeechCommands/speech_commands_v0.02")
_LISTS: dict[str, str] = {"validation": "validation_list", "test": "testing_list"}
_NAME = re.compile(r"[^/\\.][^/\\]*/[^/\\]+")
_BUCKETS = 2**27 - 1


def split_of(name: str, validation_percent: float = 10.0, test_percent: float = 10.0) -> SplitName:
    """Return the split of a recording by the official rule: a hash of its speaker.

    All recordings of a speaker are in one split, and stay there when the data set grows.

    Args:
        name: name of the file, `word/speaker_nohash_n.wav`; word and number do not matter.
        validation_percent: share of the validation set in percent.
        test_percent: share of the test set in percent.

    Source: Warden 2018, arXiv:1804.03209, section 7, and `which_set` in the README of the data set.

    Example:
        >>> split_of("right/bb05582b_nohash_3.wav"), split_of("left/bb05582b_nohash_0.wav")
        ('test', 'test')
    """
    speaker = re.sub(r"_nohash_.*$", "", name.rsplit("/", 1)[-1])
    digest = int(hashlib.sha1(speaker.encode(), usedforsecurity=False).hexdigest(), 16)
    percent = digest % (_BUCKETS + 1) * (100.0 / _BUCKETS)
    if percent < validation_percent:
        return "validation"
    return "test" if percent < validation_percent + test_percent else "train"


@dataclass(frozen=True)
class Recordings:
    """The recordings of one split: where they lie, and their names `word/speaker_nohash_n.ext`."""

    path: Path
    """A zip file, or a folder of words."""
    split: SplitName
    names: tuple[str, ...]
    """In sorted order."""

    @cached_property
    def _zip(self) -> zipfile.ZipFile | None:
        # In memory: processes that load in parallel would move each other's place in one file.
        return _archive(self.path) if self.path.is_file() else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the zip's bytes behind on the way to another process, which reads its own."""
        return Recordings, (self.path, self.split, self.names)

    def read(self, name: str) -> Samples:
        """Read one recording, mono float32 at 16 kHz.

        Raises:
            encoders.audio.AudioError: if it is not a usable one.
            DataError: if the zip file does not have it, or it cannot be unpacked.
        """
        if self._zip is None:
            return read_audio(self.path / name).samples
        try:
            file = io.BytesIO(unzipped(self._zip, name, str(self.path), MOST_BYTES))
        except (KeyError, ValueError) as error:
            raise DataError(f"{error} Replace {self.path}.") from error
        file.name = f"{self.path}/{name}"
        return read_audio(file).samples

    def digest(self) -> str:
        """Return a hash that changes with the recordings.

        Of a zip file all bytes count. Of a folder the names, sizes and times of modification do: to
        read the 3.3 GB of the full data set would take longer than what the hash is there to save.
        """
        sha = hashlib.sha256()
        if self.path.is_file():
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        for name in self.names:
            about = (self.path / name).stat()
            sha.update(f"{name} {about.st_size} {about.st_mtime_ns}\n".encode())
        return sha.hexdigest()


def find_recordings(
    split: SplitName, data: Path | str | None = None, *, download: bool = True
) -> Recordings:
    """Find the recordings of one split: three zip files, or the full data set as a folder.

    A folder that is named, by `data` or by the environment variable RC_SNN_DATA, is the only one
    looked at. Otherwise: `../shared/data` beside the project, the user cache, and a download of the
    full data set (2.4 GB) into the cache. In each, and in its `speech_commands/`,
    `speech_commands_v0.02/` and `SpeechCommands/speech_commands_v0.02/`, `train.zip`,
    `validation.zip` and `test.zip` are looked for, then folders of words with WAV files. A folder
    is split by its `validation_list.txt` and `testing_list.txt`, without them by `split_of`.

    Args:
        split: train, validation or test.
        data: folder to read from.
        download: whether the network may be used.

    Raises:
        DataError: if there are none.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}.")
    named, bases = named_folder(data), folders(data)
    for base in bases:
        found = _find(base, split)
        if found is not None:
            return found
    if named or not download:
        places = " or ".join(str(base) for base in bases)
        raise DataError(
            f"No recordings of Speech Commands for the split {split} in {places}: looked for "
            f"{split}.zip and for folders of WAV files such as {KEYWORDS[0]}/, there and in "
            f"{', '.join(_FOLDERS[1:])}. Name the folder that holds them"
            f"{'.' if named else ', or let it download 2.4 GB.'}"
        )
    found = _find(download_archive(), split)
    assert found is not None  # the archive's bytes are known
    return found


def _find(base: Path, split: SplitName) -> Recordings | None:
    for folder in (base / below for below in _FOLDERS):
        packed = folder / f"{split}.zip"
        if packed.is_file():
            used("warden2018")
            return _zipped(packed, split)
        if any((folder / word).is_dir() for word in PAPER_KEYWORDS):
            names = _names(folder, split)
            if names:
                used("warden2018")
                return Recordings(folder, split, names)
    return None


def _archive(path: Path) -> zipfile.ZipFile:
    """Return a zip file, in memory.

    Raises:
        DataError: if it is none that can be read.
    """
    try:
        return zipfile.ZipFile(io.BytesIO(read_bytes(path)))
    except Exception as error:  # zipfile raises several kinds on damaged bytes
        raise DataError(f"{path} is not a zip file ({error}). Replace it.") from error


def _zipped(packed: Path, split: SplitName) -> Recordings:
    found = {name for name in _archive(packed).namelist() if "_nohash_" in name}
    # Of macOS: the attributes of each file, under its name with two signs before it.
    names = sorted(n for n in found if not n.startswith("__MACOSX/") and "/._" not in n)
    if not names:
        raise DataError(f"{packed} holds no word/speaker_nohash_n.ogg. Replace it.")
    if wrong := [name for name in names if not _NAME.fullmatch(name)]:
        raise DataError(
            f"{packed} holds {wrong[0]!r}, whose word is not its only folder; expected "
            "word/speaker_nohash_n.ogg. Pack the folders of words themselves."
        )
    return Recordings(packed, split, tuple(names))


def _names(folder: Path, split: SplitName) -> tuple[str, ...]:
    """Return the recordings of a split in a folder of words; noise and silence are no words."""
    every = sorted(
        f"{word.name}/{file.name}"
        for word in folder.iterdir()
        if word.is_dir() and not word.name.startswith(("_", "."))
        for file in word.glob("[!.]*_nohash_*.wav")  # those of macOS are no recordings
    )
    lists = {name: _read_list(folder, stem) for name, stem in _LISTS.items()}
    known = {k: v for k, v in lists.items() if v is not None}
    if len(known) < len(lists):
        return tuple(name for name in every if split_of(name) == split)
    if split != "train":
        return tuple(name for name in every if name in known[split])
    return tuple(name for name in every if not any(name in names for names in known.values()))


def _read_list(folder: Path, stem: str) -> set[str] | None:
    """Read an official list of names, if there is one."""
    path = folder / f"{stem}.txt"
    if not path.is_file():
        return None
    try:
        return set(read_bytes(path).decode().split())
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no list of names ({error}). Replace it by that of the data set."
        ) from error


def class_of(name: str, keywords: Sequence[str] = KEYWORDS) -> int:
    """Return the class of a recording: the place of its word among the keywords, or unknown, last.

    Example:
        >>> [class_of(f"{word}/a_nohash_0.wav") for word in ("yes", "go", "cat")]
        [0, 7, 8]
    """
    word = name.split("/", 1)[0]
    return keywords.index(word) if word in keywords else len(keywords)


def classes(keywords: Sequence[str] = KEYWORDS) -> tuple[str, ...]:
    """Return the names of the classes in the order of their numbers.

    Raises:
        ValueError: if there are no keywords, or one is twice among them or called "unknown".

    Example:
        >>> classes(("yes", "no"))
        ('yes', 'no', 'unknown')
    """
    if not keywords or len({*keywords, UNKNOWN}) != len(keywords) + 1:
        raise ValueError(
            f"Keywords must be distinct, and {UNKNOWN!r} is the last class anyway; got {keywords}."
        )
    return (*keywords, UNKNOWN)


def download_archive(url: str | None = None) -> Path:
    """Download the full data set into the cache, resume, check, unpack; return the cache folder.

    Raises:
        ConnectionError: if it cannot be downloaded; what has arrived stays, and is resumed.
        DataError: if the archive's bytes are not the published ones.
        OSError: if the cache cannot be written.
    """
    url, cache = url or URL, cache_folder()
    target = cache / "speech_commands_v0.02"
    if target.is_dir():
        return cache
    with fetch.filling(cache, target.name):
        if target.is_dir():  # another process has done it meanwhile
            return cache
        part = cache / "speech_commands_v0.02.part.tar.gz"
        try:
            fetch.download(part, url, partial(_check, url=url))
        except fetch.NETWORK_ERRORS as error:
            raise ConnectionError(
                f"Speech Commands could not be downloaded from {url} ({error}). Try again: it goes "
                "on where it stopped. Or name a folder that holds it."
            ) from error
        with replacing(target) as unpacked, tarfile.open(part) as archive:
            archive.extractall(unpacked, filter="data")
        part.unlink()
    return cache


def _check(part: Path, url: str) -> None:
    """Refuse an archive that is not the published one."""
    with part.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != ARCHIVE_SHA256:
        raise DataError(
            f"{url}: expected {ARCHIVE_BYTES} bytes with SHA-256 {ARCHIVE_SHA256}, found "
            f"{part.stat().st_size} bytes with {sha256}. It was deleted; try again, or name a "
            "folder."
        )


class SpeechCommands(Dataset):  # type: ignore[misc]
    """Recordings of one word each: a sample is `(samples, target)`, in tonic's conventions.

    Samples are mono float32 at 16 kHz, at most one second, as many as there are; the target is the
    place of the word among the keywords, or the last class, unknown. `LogMel` is a transform.

    Args:
        save_to: folder that holds the data; None looks where `find_recordings` looks.
        split: "train", "validation" or "test"; no speaker is in two.
        keywords: the words that are classes of their own, in this order.
        download: whether the network may be used.
        transform: applied to the samples.
        target_transform: applied to the target.
        transforms: applied to both, `transforms(samples, target)`.

    Raises:
        DataError: if there are no recordings, or none of a keyword.

    Source: P. Warden, Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, 2018,
    arXiv:1804.03209; CC BY 4.0. Jeffares et al., ICLR 2022, section 3.4.
    """

    def __init__(
        self,
        save_to: str | Path | None = None,
        split: SplitName = "train",
        *,
        keywords: Sequence[str] = KEYWORDS,
        download: bool = True,
        transform: Callable[[Samples], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        transforms: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    ) -> None:
        self.classes = classes(keywords)
        self.recordings = find_recordings(split, save_to, download=download)
        origin = str(self.recordings.path)
        super().__init__(origin, transform, target_transform, transforms)
        self.split, self.keywords = split, tuple(keywords)
        self.targets = [class_of(name, self.keywords) for name in self.recordings.names]
        absent = [w for i, w in enumerate(self.keywords) if i not in set(self.targets)]
        if absent:
            raise DataError(
                f"{origin} has no recording of {', '.join(absent)} for the split {split}. Leave "
                "these keywords out, or use the full data set."
            )

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return samples and target of one recording, transformed."""
        samples = self.recordings.read(self.recordings.names[index])
        return transformed(self, samples, self.targets[index])
