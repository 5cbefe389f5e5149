# ruff: noqa: F811  (imported fixtures)
"""Features of Speech Commands: made once, never stale, normalised, shifted."""

import dataclasses
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_speech_commands import (  # noqa: F401
    clip,
    empty_cache,
    packed_once,
    speaker_of,
    wavs,
    zips,
)

from encoders import keyword_features
from encoders.fetch import DataError
from encoders.keyword_features import (
    Features,
    KeywordData,
    Normalisation,
    cache_key,
    load_features,
    load_keywords,
    shift_frames,
)
from encoders.log_mel import LogMel
from encoders.speech_commands import (
    KEYWORDS,
    SpeechCommands,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "speech_commands"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs Speech Commands in {SHARED}")
pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the split whenever features are made."""
    made, make = [], keyword_features.make_features
    monkeypatch.setattr(
        keyword_features, "make_features", lambda s, f: made.append(s.split) or make(s, f)
    )
    return made


def test_features_are_those_of_each_recording_and_come_back_from_the_cache(zips, counted):
    front_end = LogMel(n_mels=12)
    load: Callable[[], Features] = lambda: load_features("train", zips, front_end=front_end)  # noqa: E731
    made, kept = load(), load()
    assert counted == ["train"]
    source = SpeechCommands(zips, "train", transform=front_end)
    for features in (made, kept):
        assert features.frames.shape == (20, 101, 12)
        assert features.labels.tolist() == source.targets
        assert features.names == source.recordings.names
        assert features.n_short == 3
        for i, (frames, _) in enumerate(source):
            np.testing.assert_array_equal(features.frames[i].numpy(), frames)


@needs_data
def test_the_first_real_recordings_have_the_features_that_their_samples_have():
    source = SpeechCommands(SHARED, "validation", transform=LogMel())
    source.recordings = dataclasses.replace(source.recordings, names=source.recordings.names[::150])
    source.targets = source.targets[::150]
    features = keyword_features.make_features(source, LogMel())
    assert len(features) == 8
    for i, (frames, target) in enumerate(source):
        assert target == int(features.labels[i])
        np.testing.assert_array_equal(features.frames[i].numpy(), frames)
    assert 2.0 < float(features.frames.std()) < 8.0


def test_the_cache_key_changes_with_everything_that_features_depend_on(zips, wavs, monkeypatch):
    base = SpeechCommands(zips, "test")
    front_end = LogMel()
    keys = [cache_key(base, front_end)]
    assert cache_key(SpeechCommands(zips, "test"), LogMel()) == keys[0]
    changed = {
        "sample_rate": 32_000, "window_ms": 30.0, "hop_ms": 20.0, "n_mels": 19, "fmin_hz": 40.0,
        "fmax_hz": 4_000.0, "offset": 1e-6, "clip_ms": 2_000.0, "context": 4,
    }  # fmt: skip
    assert set(changed) == {field.name for field in dataclasses.fields(LogMel)}
    keys += [cache_key(base, dataclasses.replace(front_end, **{k: v})) for k, v in changed.items()]
    keys.append(cache_key(SpeechCommands(zips, "train"), front_end))
    keys.append(cache_key(SpeechCommands(zips, "test", keywords=("no", "yes")), front_end))
    keys.append(cache_key(SpeechCommands(wavs, "test"), front_end))
    name = SpeechCommands(wavs, "test").recordings.names[3]
    os.utime(wavs / name, ns=(0, 1))
    keys.append(cache_key(SpeechCommands(wavs, "test"), front_end))
    (wavs / name).unlink()
    keys.append(cache_key(SpeechCommands(wavs, "test"), front_end))
    with zipfile.ZipFile(zips / "speech_commands" / "test.zip", "a") as packed:
        packed.writestr("README", "one file more")
    keys.append(cache_key(SpeechCommands(zips, "test"), front_end))
    for library in ("librosa", "soundfile", "soxr", "numpy"):
        real = keyword_features.version
        newer = lambda n, real=real, library=library: "99" if n == library else real(n)  # noqa: E731
        with monkeypatch.context() as patched:
            patched.setattr(keyword_features, "version", newer)
            keys.append(cache_key(base, front_end))
    monkeypatch.setattr(keyword_features, "FORMAT", "another")
    keys.append(cache_key(base, front_end))
    assert len(set(keys)) == len(keys)


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    with np.load(path) as file:
        arrays = dict(file)
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "bit":
        path.write_bytes(content[:5_000] + bytes([content[5_000] ^ 1]) + content[5_001:])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        arrays |= {
            "nan": {"frames": arrays["frames"] * np.nan},
            "labels": {"labels": arrays["labels"][::-1]},
            "names": {"names": arrays["names"][::-1]},
            "shape": {"frames": arrays["frames"][:, :50]},
            "double": {"frames": arrays["frames"].astype(np.float64)},
            "pickle": {"names": np.array([{}, None], dtype=object)},
            "value": {"frames": arrays["frames"] + np.float32(1e-6)},
            "count": {"n_short": arrays["n_short"] + 1},
        }[how]
        np.savez(path, **arrays)


@pytest.mark.parametrize(
    "how",
    [
        "cut",
        "bit",
        "empty",
        "nan",
        "labels",
        "names",
        "shape",
        "double",
        "pickle",
        "value",
        "count",
    ],
)
def test_a_spoilt_file_in_the_cache_is_made_anew_and_never_trusted(zips, empty_cache, counted, how):
    whole = load_features("validation", zips)
    [path] = (empty_cache / "keyword_features").glob("*.npz")
    spoil(path, how)
    again = load_features("validation", zips)
    assert counted == ["validation"] * 2
    assert torch.equal(again.frames, whole.frames)
    assert torch.equal(again.labels, whole.labels)
    load_features("validation", zips)
    assert counted == ["validation"] * 2, "the new file is whole"


def test_an_interrupted_write_leaves_nothing(zips, empty_cache, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(keyword_features.np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_features("test", zips)
    left = (empty_cache / "keyword_features").iterdir()
    assert [path.suffix for path in left] == [".lock"]


def test_a_recording_longer_than_a_clip_is_named(wavs):
    soundfile.write(wavs / "yes" / f"{speaker_of('train')}_nohash_0.wav", clip(0, 16_001), 16_000)
    with pytest.raises(DataError, match=r"yes/.*has 16001 samples .* clips of 16000"):
        load_features("train", wavs)


# For training


def test_the_training_split_has_mean_0_and_deviation_1_and_normalises_the_others(zips):
    data = load_keywords(zips)
    inputs = data.sequences("train").inputs
    frames = torch.stack([inputs.at(t)[:, :20] for t in range(81)]).double()
    assert inputs.n_steps == 81
    everything = data.normalisation(data.train.frames).double()
    torch.testing.assert_close(everything.mean((0, 1)), torch.zeros(20).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        everything.std((0, 1), correction=0), torch.ones(20).double(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(frames, everything[:, :81].transpose(0, 1))
    flat = data.train.frames.reshape(-1, 20).double()
    for split in ("validation", "test"):
        labelled, raw = data.sequences(split), getattr(data, split)
        wanted = (raw.frames - flat.mean(0)) / flat.std(0, correction=0)
        last = labelled.inputs.at(80).view(20, 21, 20).double()
        torch.testing.assert_close(last, wanted[:, 80:], atol=1e-5, rtol=1e-5)
        assert torch.equal(labelled.labels, raw.labels)
    assert data.classes == (*KEYWORDS, "unknown")


def test_a_band_without_variation_cannot_be_normalised():
    with pytest.raises(ValueError, match="positive deviations"):
        Normalisation.of(torch.zeros(2, 3, 4))


def test_features_that_do_not_belong_together_are_refused(as_user):
    frames = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match="2 clips, 1 labels and 2 names"):
        Features(frames, torch.zeros(1, dtype=torch.long), ("a", "b"), 0)
    with pytest.raises(ValueError, match="not finite"):
        Features(frames / 0, torch.zeros(2, dtype=torch.long), ("a", "b"), 0)


def test_a_shift_moves_whole_clips_and_fills_with_silence(generator):
    frames = torch.rand(500, 30, 2, generator=generator)
    before = frames.clone()
    moved = shift_frames(frames, generator, 4, fill=-9.0)
    assert torch.equal(frames, before)
    seen = []
    for old, new in zip(frames, moved, strict=True):
        [by] = [
            k
            for k in range(-4, 5)
            if torch.equal(new[max(k, 0) : 30 + min(k, 0)], old[max(-k, 0) : 30 - max(k, 0)])
            and (new[: max(k, 0)] == -9).all()
            and (new[30 + min(k, 0) :] == -9).all()
        ]
        seen.append(by)
    counts = torch.bincount(torch.tensor(seen) + 4, minlength=9)
    assert (counts > 30).all(), "each of nine shifts about 55 times"


def test_a_shift_of_none_changes_nothing_and_the_generator_decides(generator):
    frames = torch.rand(50, 30, 2, generator=generator)
    assert torch.equal(shift_frames(frames, generator, 0, fill=0.0), frames)
    draw = lambda seed: shift_frames(frames, torch.Generator().manual_seed(seed), 5, fill=0.0)  # noqa: E731
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize("by", [-1, 30])
def test_a_shift_must_leave_something(generator, by):
    with pytest.raises(ValueError, match=r"max_shift must be in 0\.\.29 frames"):
        shift_frames(torch.zeros(1, 30, 2), generator, by, fill=0.0)


def test_augmented_training_data_are_shifted_normalised_and_as_many(zips, generator):
    data: KeywordData = load_keywords(zips)
    fresh = data.augmented(generator, max_shift=3)
    assert torch.equal(fresh.labels, data.train.labels)
    silence = (data.front_end.silence() - data.normalisation.mean) / data.normalisation.std
    first = fresh.inputs.at(0)[:, :20]
    filled = torch.isclose(first, silence, atol=1e-4).all(dim=1)
    original = data.sequences("train").inputs.at(0)[:, :20]
    assert 0 < int(filled.sum()) < len(filled)
    assert not torch.equal(first, original)


@pytest.mark.parametrize(
    ("place", "value"),
    [(10, 1), (10, 8), (6, 97), (8, 1), (42, 255)],
    ids=["method 1", "method 8", "version 97", "encrypted", "place of the array"],
)
def test_a_cache_whose_list_of_arrays_is_damaged_is_made_anew(zips, counted, place, value):
    made = load_features("test", zips)
    [path] = (keyword_features.cache_folder() / "keyword_features").glob("*.npz")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + place] ^= value
    path.write_bytes(content)
    again = load_features("test", zips)
    assert counted == ["test", "test"]
    assert torch.equal(again.frames, made.frames)
