"""Small zips and folders that stand in for Speech Commands, as fixtures of two test files."""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from encoders import fetch
from encoders.speech_commands import KEYWORDS, SPLITS, split_of

WORDS = (*KEYWORDS, "cat", "bird")


def speaker_of(split: str, n: int = 0) -> str:
    """The n-th speaker, counted from 00000000, whom the official rule puts into this split."""
    found = (f"{i:08x}" for i in range(10_000) if split_of(f"{i:08x}") == split)
    return [next(found) for _ in range(n + 1)][-1]


def clip(seed: int, n: int = 16_000) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(n)


def names_of(split: str, ext: str) -> list[str]:
    return [f"{word}/{speaker_of(split, n)}_nohash_0.{ext}" for word in WORDS for n in range(2)]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing beside the project, and an empty cache."""
    monkeypatch.setattr(fetch, "__file__", str(tmp_path / "project" / "encoders" / "fetch.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("RC_SNN_DATA", raising=False)
    return tmp_path / "cache" / "rc_snn"


@pytest.fixture(scope="session")
def packed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech_commands")
    for s, split in enumerate(SPLITS):
        with zipfile.ZipFile(folder / f"{split}.zip", "w") as packed:
            for i, name in enumerate(names_of(split, "ogg")):
                file = io.BytesIO()
                samples = clip(100 * s + i, 9_000 if i % 7 == 0 else 16_000)
                soundfile.write(file, samples, 16_000, format="OGG")
                packed.writestr(name, file.getvalue())
    return folder


@pytest.fixture
def zips(packed_once: Path, tmp_path: Path) -> Path:
    """Three small zip files as those of the subset: 20 clips each, some shorter than a second."""
    shutil.copytree(packed_once, tmp_path / "zips" / "speech_commands")
    return tmp_path / "zips"


@pytest.fixture
def wavs(tmp_path: Path) -> Path:
    """A folder of words as the full data set has them, noise and all, without lists."""
    return write_wavs(tmp_path / "wavs" / "speech_commands_v0.02")


def write_wavs(folder: Path) -> Path:
    for split in SPLITS:
        for i, name in enumerate(names_of(split, "wav")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name, clip(i, 800), 16_000)
    (folder / "_background_noise_").mkdir()
    soundfile.write(folder / "_background_noise_" / "a_nohash_0.wav", clip(0), 16_000)
    (folder / "yes" / "README.txt").write_text("no recording")
    return folder
