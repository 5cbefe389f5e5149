"""Log-mel energies: the definition written slowly, the stream, and what was heard when."""

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from encoders.log_mel import LogMel, LogMelStream

RANDOM = np.random.default_rng(0)
NOISE = (0.1 * RANDOM.standard_normal(16_000)).astype(np.float32)


def slow(front_end: LogMel, samples: np.ndarray) -> np.ndarray:
    """The definition: windows centred at k * hop, Fourier sums, triangles on Slaney's mel scale."""

    def hz(mel: float) -> float:  # linear to 1000 Hz at mel 15, then 27 mel for a factor of 6.4
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    def mel(f: float) -> float:
        return f * 3 / 200 if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4)

    n, rate = 400, 16_000
    low, high = mel(front_end.fmin_hz), mel(front_end.fmax_hz)
    corners = [hz(m) for m in np.linspace(low, high, front_end.n_mels + 2)]
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(n) / n)
    padded = np.concatenate([np.zeros(200), samples, np.zeros(16_000 - len(samples) + 200)])
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(201), np.arange(n)) / n)
    frames = []
    for k in range(101):
        power = np.abs(fourier @ (window * padded[160 * k : 160 * k + n])) ** 2
        energies = []
        for a, b, c in zip(corners, corners[1:], corners[2:], strict=False):
            f = np.arange(201) * rate / n
            triangle = np.maximum(0, np.minimum((f - a) / (b - a), (c - f) / (c - b)))
            energies.append((triangle * 2 / (c - a)) @ power)
        frames.append(np.log(np.array(energies) + front_end.offset))
    return np.array(frames)


@pytest.mark.parametrize("n", [16_000, 9_999, 400])
def test_the_energies_are_those_of_the_definition(n):
    front_end = LogMel(fmax_hz=7_000.0, n_mels=13)
    np.testing.assert_allclose(front_end(NOISE[:n]), slow(front_end, NOISE[:n]), atol=2e-5)


def test_a_second_has_101_frames_81_steps_and_420_inputs_as_in_the_paper():
    front_end = LogMel()
    assert front_end(NOISE).shape == (101, 20)
    assert front_end(NOISE).dtype == np.float32
    assert (front_end.n_frames, front_end.n_steps, front_end.n_inputs) == (101, 81, 420)
    assert (front_end.window_samples, front_end.hop_samples) == (400, 160)


def test_a_batch_is_its_clips_one_by_one():
    clips = np.stack([NOISE, np.roll(NOISE, 77), 0 * NOISE])
    one_by_one = np.stack([LogMel()(clip) for clip in clips])
    np.testing.assert_array_equal(LogMel()(clips), one_by_one)


def test_a_short_clip_is_padded_with_silence_at_its_end():
    padded = np.concatenate([NOISE[:7_000], np.zeros(9_000, np.float32)])
    np.testing.assert_array_equal(LogMel()(NOISE[:7_000]), LogMel()(padded))


def test_silence_has_the_offset_and_a_constant_offset_of_the_signal_is_nearly_unheard():
    front_end = LogMel()
    assert (front_end(np.zeros(16_000, np.float32)) == np.float32(front_end.silence())).all()
    assert front_end.silence() == pytest.approx(math.log(1e-8))
    quiet = front_end(np.full(16_000, 1e-3, np.float32))[2:-2]
    assert quiet[:, 1:].max() < front_end.silence() + 0.01


def test_a_tone_is_loudest_in_the_band_that_holds_it_and_at_its_time():
    tone = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype(np.float32)
    tone[:8_000] = 0.0
    x = LogMel()(tone)
    assert (x[55:, :].argmax(axis=1) == x[60].argmax()).all()
    assert (x[:49] == np.float32(LogMel().silence())).all(), "the window of 480 ms ends before it"
    assert (x[49:].max(axis=1) > LogMel().silence() + 10).all(), "that of 490 ms ends at 502.5 ms"


def test_each_parameter_changes_the_energies_or_the_steps():
    changed = {
        "sample_rate": 8_000, "window_ms": 30.0, "hop_ms": 20.0, "n_mels": 19, "fmin_hz": 40.0,
        "fmax_hz": 4_000.0, "offset": 1e-6, "clip_ms": 2_000.0, "context": 4,
    }  # fmt: skip
    assert set(changed) == {field.name for field in fields(LogMel)}
    for name, value in changed.items():
        other = replace(LogMel(fmax_hz=4_000.0), **{name: value})
        if name == "fmax_hz":
            other = LogMel()
        base, x = LogMel(fmax_hz=4_000.0), other(NOISE[:8_000])
        same = x.shape == (101, 20) and np.array_equal(x, base(NOISE[:8_000]))
        assert not same or other.n_steps != base.n_steps, name


# As a stream


@pytest.mark.parametrize(
    ("chunk", "n"),
    [(1, 5_003), *itertools.product([7, 160, 400, 16_000], [16_000, 15_999, 5_003, 1])],
)
def test_a_stream_gives_the_numbers_of_the_whole_whatever_the_size_of_its_pieces(chunk, n):
    front_end = LogMel()
    stream = LogMelStream(front_end)
    samples = NOISE[:n]
    parts = [stream.push(samples[i : i + chunk]) for i in range(0, n, chunk)]
    frames = np.concatenate([*parts, stream.finish()])
    # Double precision inside: at most the last digit of a float32 may be rounded otherwise.
    np.testing.assert_array_max_ulp(frames, front_end(samples), maxulp=1)


def test_a_frame_is_there_with_the_last_sample_of_its_window_and_not_before():
    stream = LogMelStream(LogMel())
    for n in range(1, 16_001):
        frames = stream.push(NOISE[n - 1 : n])
        complete = [k for k in range(101) if 160 * k + 200 == n]
        assert len(frames) == len(complete), n
    assert stream.n_frames == 99, "frames 99 and 100 end in the zeros after the clip"
    assert len(stream.finish()) == 2


def test_no_frame_depends_on_what_is_heard_later():
    front_end = LogMel()
    for k in (0, 20, 50, 98):
        heard = 160 * k + 200
        other = NOISE.copy()
        other[heard:] = -0.5
        np.testing.assert_array_equal(front_end(NOISE)[: k + 1], front_end(other)[: k + 1])
        assert not np.array_equal(front_end(NOISE)[k + 1], front_end(other)[k + 1])


def test_a_stream_forgets_one_clip_before_the_next():
    stream = LogMelStream(LogMel())
    stream.push(NOISE[:6_000])
    stream.reset()
    assert stream.room == 16_000
    np.testing.assert_array_max_ulp(stream.push(NOISE), LogMel()(NOISE)[:99], maxulp=1)


def test_a_stream_refuses_what_goes_beyond_its_clip():
    stream = LogMelStream(LogMel())
    stream.push(NOISE[:10_000])
    with pytest.raises(ValueError, match="room for 6000 more samples, got 6001"):
        stream.push(NOISE[:6_001])
    assert stream.room == 6_000
    stream.finish()
    assert (stream.room, len(stream.finish())) == (0, 0)


# What was heard


def test_what_was_heard_at_a_step_is_what_its_frames_depend_on():
    front_end = LogMel()
    heard = front_end.heard_ms(torch.arange(front_end.n_steps))
    for step in (0, 1, 40, 77, 78):
        n = round(float(heard[step]) * 16)
        last = step + front_end.context
        for at, same in ((n, True), (n - 1, False)):  # the first unheard and the last heard sample
            other = NOISE.copy()
            other[at] += 0.5
            changed = not np.array_equal(front_end(other)[last], front_end(NOISE)[last])
            assert changed is not same, (step, at)


def test_step_0_has_heard_212_5_ms_and_the_last_steps_the_whole_second():
    heard = LogMel().heard_ms(torch.tensor([0, 1, 77, 78, 79, 80]))
    assert heard.tolist() == [212.5, 222.5, 982.5, 992.5, 1000.0, 1000.0]
    assert LogMel().seen(torch.tensor([0, 80])).tolist() == [0.2125, 1.0]
    assert LogMel(context=0).heard_ms(torch.tensor(0)).item() == 12.5


# What is refused


def test_too_long_a_clip_is_refused():
    with pytest.raises(ValueError, match=r"at most 16000 samples .*, got 16001"):
        LogMel()(np.zeros(16_001, np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_ms": 25.03}, "window_ms must be a whole number of samples"),
        ({"hop_ms": 0.0}, "hop_ms must be a whole number"),
        ({"clip_ms": -1000.0}, "clip_ms must be a whole number"),
        ({"window_ms": math.nan}, "window_ms must be a whole number"),
        ({"window_ms": 25.0625}, "must have a middle, .* got 401 samples"),
        ({"hop_ms": 30.0}, "from one frame to the next; got 400 samples with a hop of 480"),
        ({"context": 101}, "context . 1 = 102 frames, but a clip has 101"),
        ({"context": -1}, "smaller context"),
        ({"fmax_hz": 8_001.0}, "fmin_hz < fmax_hz"),
        ({"fmin_hz": 8_000.0}, "fmin_hz < fmax_hz"),
        ({"n_mels": 0}, "must be a mel band"),
        ({"offset": 0.0}, "offset must be positive"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LogMel(**options)


def test_mel_bands_narrower_than_the_frequencies_resolved_are_warned_of():
    with pytest.warns(UserWarning, match="Empty filters detected"):
        LogMel(n_mels=256)(NOISE)


def test_int16_samples_are_those_divided_by_32768():
    whole = np.round(NOISE * 32768).astype(np.int16)
    whole[:2] = -32768, 32767
    shares = (whole.astype(np.float64) / 32768).astype(np.float32)
    np.testing.assert_array_equal(LogMel()(whole), LogMel()(shares))
    np.testing.assert_array_equal(LogMel()(whole[None]), LogMel()(shares[None]))
    one, other = LogMelStream(LogMel()), LogMelStream(LogMel())
    for i in range(0, 16_000, 1_000):
        np.testing.assert_array_equal(one.push(whole[i:][:1_000]), other.push(shares[i:][:1_000]))


@pytest.mark.parametrize(
    "take", [lambda x: LogMel()(x), lambda x: LogMelStream(LogMel()).push(x), LogMel().energies]
)
def test_samples_of_an_unknown_scale_or_layout_are_refused(take, as_user):
    for dtype in (np.int32, np.int64, np.uint8, np.uint16, bool, complex):
        with pytest.raises(TypeError, match="full scale is 1, or int16"):
            take(np.zeros(800, dtype))
    for wrong, said in ((NOISE * 32768, "reach"), (np.full(800, np.nan), "NaN or infinity")):
        with pytest.raises(ValueError, match=said):
            take(wrong)


def test_channels_are_no_clips(as_user):
    stereo = np.stack([NOISE, NOISE], axis=1)  # as soundfile reads it
    with pytest.raises(ValueError, match=r"Time is the last axis.*mean\(axis=1\)"):
        LogMel()(stereo)
    for columns in (stereo, stereo.T, NOISE[:, None]):
        with pytest.raises(ValueError, match="mono"):
            LogMelStream(LogMel()).push(columns[:100])


def test_half_and_double_precision_are_read_as_they_are():
    half = NOISE.astype(np.float16)
    np.testing.assert_array_equal(LogMel()(half), LogMel()(half.astype(np.float32)))
    np.testing.assert_array_equal(LogMel()(NOISE.astype(np.float64)), LogMel()(NOISE))


def test_what_was_heard_is_asked_of_steps_that_there_are(as_user):
    front_end = LogMel()
    assert front_end.heard_ms(1) == front_end.heard_ms([1])[0] == 222.5
    for step in (-1, 81, 1.5):
        with pytest.raises(ValueError, match="Steps must be"):
            front_end.heard_ms(torch.tensor([step]))


@pytest.mark.parametrize("shape", [(), (0,), (10,), (16_000, 2)])
def test_frames_of_no_window_are_refused(shape, as_user):
    with pytest.raises(ValueError, match="a window of 400 samples at least, time last"):
        LogMel().energies(np.zeros(shape, np.float32))
