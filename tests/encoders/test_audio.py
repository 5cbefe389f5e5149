"""Recordings, good and bad: what is read is what was written, what is refused says why."""

import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from encoders import audio
from encoders.audio import SAMPLE_RATE, AudioError, read_audio, stream_audio

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.uniform(-0.5, 0.5, 20_000).astype(np.float32)


def tone(rate: int, seconds: float = 1.3, hz: float = 440.0) -> np.ndarray:
    t = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def wav(folder: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, **options: str) -> Path:
    path = folder / "clip.wav"
    soundfile.write(path, samples, rate, **({"subtype": "FLOAT"} | options))
    return path


def streamed(path: Path, n: int = 1000) -> np.ndarray:
    _, pieces = stream_audio(path, n)
    return np.concatenate(list(pieces))


# What is read


def test_float_samples_come_back_bit_by_bit_and_nothing_is_noted(tmp_path):
    heard = read_audio(wav(tmp_path, NOISE))
    np.testing.assert_array_equal(heard.samples, NOISE)
    assert heard.samples.dtype == np.float32
    assert heard.info.notes() == []
    assert (heard.info.sample_rate, heard.info.channels) == (16_000, 1)


@pytest.mark.parametrize(
    ("subtype", "scale"),
    [("PCM_16", 2**15), ("PCM_24", 2**23), ("PCM_32", 2**31), ("PCM_U8", 2**7)],
)
def test_integers_are_divided_by_their_full_scale(tmp_path, subtype, scale):
    levels = np.array([-scale, -scale // 2, 0, scale // 4] * 200, dtype=np.int64)
    whole = (levels * (2**31 // scale)).astype(np.int32)  # soundfile shifts int32 to the subtype
    heard = read_audio(wav(tmp_path, whole, subtype=subtype))
    np.testing.assert_array_equal(heard.samples, (levels / scale).astype(np.float32))


def test_stereo_is_averaged_and_that_is_noted(tmp_path):
    both = np.stack([NOISE, np.roll(NOISE, 5)], axis=1)
    heard = read_audio(wav(tmp_path, both))
    np.testing.assert_allclose(heard.samples, (both[:, 0] + both[:, 1]) / 2, atol=1e-7)
    assert heard.info.notes() == ["2 channels were averaged"]


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 192_000])
def test_another_rate_is_resampled_to_the_same_tone(tmp_path, rate):
    heard = read_audio(wav(tmp_path, tone(rate), rate))
    assert abs(len(heard.samples) - 1.3 * SAMPLE_RATE) <= 1
    middle = slice(2_000, 18_000)  # the filter rings at both ends
    np.testing.assert_allclose(heard.samples[middle], tone(SAMPLE_RATE)[middle], atol=2e-4)
    assert heard.info.notes() == [f"{rate} Hz was resampled to 16000 Hz"]


def test_a_tone_beyond_the_new_nyquist_frequency_is_gone_and_not_folded_back(tmp_path):
    heard = read_audio(wav(tmp_path, tone(44_100, hz=12_000.0), 44_100))
    assert np.abs(heard.samples[2_000:18_000]).max() < 1e-3


@pytest.mark.parametrize("format_", ["WAV", "FLAC", "OGG"])
def test_an_open_file_of_any_format_is_read(format_):
    file = io.BytesIO()
    soundfile.write(file, tone(SAMPLE_RATE), SAMPLE_RATE, format=format_)
    file.seek(0)
    np.testing.assert_allclose(read_audio(file).samples, tone(SAMPLE_RATE), atol=0.05)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0])
def test_silent_and_clipped_recordings_are_recordings(tmp_path, level):
    samples = np.full(400, level, np.float32)  # exactly one window: just long enough
    np.testing.assert_array_equal(read_audio(wav(tmp_path, samples)).samples, samples)


def written(format_: str, subtype: str, samples: np.ndarray | None = None) -> bytes:
    file, heard = io.BytesIO(), tone(SAMPLE_RATE) if samples is None else samples
    soundfile.write(file, heard, SAMPLE_RATE, format=format_, subtype=subtype)
    return file.getvalue()


def all_of(content: bytes) -> np.ndarray:
    """Read it whole and in pieces, which must be the same samples."""
    whole = read_audio(io.BytesIO(content)).samples
    pieces = np.concatenate(list(stream_audio(io.BytesIO(content), 700)[1]))
    np.testing.assert_array_equal(whole, pieces)
    return whole


WHOLE = ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3", "SVX", "NIST"]
PADDED = {"IMA_ADPCM": 512, "MS_ADPCM": 512, "G721_32": 120, "G723_24": 120, "G723_40": 120}
"""Formats whose last block is padded, and no field counts the samples: by at most so many."""


@pytest.mark.parametrize("format_", WHOLE)
def test_what_is_written_in_any_subtype_is_read_and_refused_where_it_is_cut(format_):
    x, n_read = tone(SAMPLE_RATE)[:16_001], 0
    for subtype in soundfile.available_subtypes(format_):
        try:
            content = written(format_, subtype, x)
        except soundfile.LibsndfileError:
            continue  # read only
        if subtype.startswith("DWVW"):  # libsndfile cannot read what it writes
            with pytest.raises(AudioError, match="which is not read here"):
                all_of(content)
            continue
        n_read += 1
        found, pad = all_of(content), PADDED.get(subtype, 1 if format_ == "AIFF" else 0)
        assert len(x) <= len(found) <= len(x) + pad, subtype
        right = np.corrcoef(found[1_000:16_000], x[1_000:16_000])[0, 1]
        assert right > 0.98, subtype  # Opus and GSM move the phase a little
        for share in (0.3, 0.7, 0.99):
            with pytest.raises(AudioError):
                all_of(content[: int(share * len(content))])
    assert n_read


@pytest.mark.parametrize("format_", ["AVR", "IRCAM", "PVF", "VOC", "MAT5"])
def test_formats_whose_end_is_not_known_are_refused_with_the_remedy(tmp_path, format_):
    path = tmp_path / "clip"
    soundfile.write(path, tone(SAMPLE_RATE), SAMPLE_RATE, format=format_)
    with pytest.raises(AudioError, match=rf"is {format_}, .*Convert it to WAV or FLAC"):
        read_audio(path)


def resized(content: bytes, data: int, riff: int) -> bytes:
    """Return a WAV whose header says these sizes."""
    at = content.index(b"data") + 4
    return (
        b"RIFF"
        + struct.pack("<I", riff)
        + content[8:at]
        + struct.pack("<I", data)
        + content[at + 4 :]
    )


@pytest.mark.parametrize("data", [0xFFFF_FFFF, 0x7FFF_F000, 0x7FFF_EFFE, 0x8000_0000])
def test_a_wav_that_was_written_into_a_pipe_is_read_to_its_end(data):
    content = written("WAV", "PCM_16")
    np.testing.assert_array_equal(all_of(resized(content, data, 0xFFFF_FFFF)), all_of(content))


def test_a_wav_whose_header_was_never_finished_is_refused():
    with pytest.raises(AudioError, match="holds no samples: it is empty, or cut off"):
        all_of(resized(written("WAV", "PCM_16"), 0, 0))


@pytest.mark.parametrize("chunk", [b"LIST\x05\0\0\0INFOx\0", b"id3 \x03\0\0\0abc", b"\0"])
def test_what_follows_the_samples_is_not_heard(chunk):
    content = written("WAV", "PCM_16")
    np.testing.assert_array_equal(all_of(content + chunk), all_of(content))


def test_an_mp3_of_variable_rate_without_a_count_of_its_frames_is_read_whole():
    x = np.concatenate([np.zeros(24_000), 0.3 * RANDOM.standard_normal(24_000)]).astype(np.float32)
    file, options = io.BytesIO(), {"format": "MP3", "subtype": "MPEG_LAYER_III"}
    variable = {"bitrate_mode": "VARIABLE", "compression_level": 0.5}
    with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, **options, **variable) as sound:
        sound.write(x)
    content = file.getvalue()
    first = content.index(b"\xff")
    second = content.index(content[first : first + 2], first + 4)
    found = all_of(content[second:])
    assert 48_000 <= len(found) < 50_500
    assert np.abs(found[:20_000]).max() < 0.01 < np.abs(found[30_000:40_000]).mean()
    assert stream_audio(io.BytesIO(content[second:]))[0].n_samples is None
    assert len(all_of(content)) == 48_000
    with pytest.raises(AudioError, match="announces 48000 samples"):
        all_of(content[: len(content) // 2])


def test_a_flac_of_a_pipe_is_read_and_one_that_claims_hours_is_refused():
    content = written("FLAC", "PCM_16")
    fields = int.from_bytes(content[18:26], "big")

    def claiming(n: int) -> bytes:
        return content[:18] + (fields >> 36 << 36 | n).to_bytes(8, "big") + content[26:]

    np.testing.assert_array_equal(all_of(claiming(0)), all_of(content))
    with pytest.raises(AudioError, match=f"announces {2**33} samples"):
        all_of(claiming(2**33))


def test_a_small_file_of_hours_is_read_in_pieces_only(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "allowance", lambda size: 4 * 20_000)
    path = wav(tmp_path, NOISE)
    with pytest.raises(AudioError, match=r"more than 10000 samples\. Read it with stream_audio"):
        read_audio(path)
    np.testing.assert_array_equal(streamed(path), NOISE)


# As a stream


@pytest.mark.parametrize("n", [1, 160, 16_000, 50_000])
def test_the_pieces_of_a_stream_are_the_recording(tmp_path, n):
    path = wav(tmp_path, NOISE)
    info, pieces = stream_audio(path, n)
    parts = list(pieces)
    assert info == read_audio(path).info
    assert {len(p) for p in parts[:-1]} <= {n}
    assert 1 <= len(parts[-1]) <= n
    np.testing.assert_array_equal(np.concatenate(parts), NOISE)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 3.7])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_resampled_stereo_stream_is_the_resampled_recording(tmp_path, rate, seconds):
    left, right = tone(rate, seconds), tone(rate, seconds, 300.0)
    path = wav(tmp_path, np.stack([left, right], axis=1), rate)
    whole = read_audio(path).samples
    np.testing.assert_allclose(streamed(path), whole, atol=1e-6)
    np.testing.assert_allclose(whole, soxr.resample((left + right) / 2, rate, 16_000), atol=1e-6)


def test_ten_minutes_are_streamed_in_the_memory_of_seconds(tmp_path):
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for _ in range(10):
            file.write(np.zeros(60 * SAMPLE_RATE, np.int16))
    _, pieces = stream_audio(path)
    n = 0
    tracemalloc.start()
    for piece in pieces:
        n += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n == 600 * SAMPLE_RATE
    assert peak < 5 * 4 * SAMPLE_RATE, "five seconds of samples, of 600"


def test_a_fault_in_the_middle_of_a_stream_is_found_when_it_is_reached(tmp_path):
    samples = np.zeros(40_000, np.float32)
    samples[20_000] = np.nan
    _, pieces = stream_audio(wav(tmp_path, samples))
    assert len(next(pieces)) == 16_000
    with pytest.raises(AudioError, match=r"first at sample 20000 \(1\.250 s\)"):
        next(pieces)


# What is refused, whole and as a stream


@pytest.fixture(params=[read_audio, streamed], ids=["whole", "stream"])
def read(request):
    return request.param


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_with_their_place(tmp_path, read, value):
    samples = np.zeros((1_600, 2), np.float32)
    samples[800, 1] = value
    with pytest.raises(AudioError, match=r"NaN or infinity, first at sample 800 \(0\.050 s\)"):
        read(wav(tmp_path, samples))


@pytest.mark.parametrize(
    ("n", "rate"), [(16, 16_000), (399, 16_000), (48, 48_000), (1_000, 48_000)]
)
def test_less_than_one_window_is_refused(tmp_path, read, n, rate):
    with pytest.raises(AudioError, match=rf"lasts {1000 * n / rate:.1f} ms; one analysis window"):
        read(wav(tmp_path, np.ones(n, np.float32) / 2, rate))


def test_a_file_without_samples_is_refused(tmp_path, read):
    with pytest.raises(AudioError, match=r"clip\.wav holds no samples"):
        read(wav(tmp_path, np.zeros(0, np.float32)))


def test_an_empty_file_is_refused(tmp_path, read):
    (tmp_path / "a.wav").touch()
    with pytest.raises(AudioError, match=r"a\.wav is an empty file of 0 bytes"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.txt", "a.raw", "a.ogg", "a"])
@pytest.mark.parametrize("content", [b"hello, world. " * 99, b"\x89PNG\r\n\x1a\n" + bytes(999)])
def test_what_is_not_audio_is_refused_whatever_its_name(tmp_path, read, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=rf"{name} is not audio that libsndfile can read"):
        read(tmp_path / name)


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path, read):
    for path in (tmp_path / "none.wav", tmp_path):
        with pytest.raises(AudioError, match="is not a file"):
            read(path)


@pytest.mark.parametrize("format_", ["FLAC", "OGG"])
def test_half_a_compressed_recording_is_refused(tmp_path, read, format_):
    path = tmp_path / "clip"
    soundfile.write(path, NOISE, SAMPLE_RATE, format=format_)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"is damaged|is not audio|holds no samples"):
        read(path)


def test_fewer_samples_than_announced_are_refused(tmp_path, read, monkeypatch):
    path = wav(tmp_path, NOISE)
    monkeypatch.setattr(soundfile.SoundFile, "frames", property(lambda _: 30_000))
    with pytest.raises(AudioError, match="announces 30000 samples, 20000 can be read"):
        read(path)


def test_integers_kept_as_floats_are_refused_but_an_overshoot_is_not(tmp_path, read):
    with pytest.raises(AudioError, match=r"reaches .*, full scale is 1"):
        read(wav(tmp_path, NOISE * 32768))
    read(wav(tmp_path, NOISE * 4))


@pytest.mark.parametrize("rate", [1, 1_000, 2_000_000])
def test_a_rate_that_is_not_of_speech_is_refused(tmp_path, read, rate):
    with pytest.raises(AudioError, match=f"claims {rate} samples per second"):
        read(wav(tmp_path, NOISE, rate))


def test_pieces_need_a_size():
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        stream_audio("a.wav", 0)
