"""The transforms in tonic's Compose, and beside tonic's own transforms."""

import math

import numpy as np
import pytest
import torch
from tonic.transforms import Compose, RandomFlipLR, RandomFlipUD, ToFrame
from torch import Tensor

from encoders.functional import (
    FRAME_US,
    encode_latency,
    encode_notebook,
    random_affine,
    spikes_to_events,
)
from encoders.transforms import (
    FromEvents,
    FromFrames,
    FromSteps,
    Latency,
    NotebookLatency,
    ToEvents,
    ToFrames,
    ToSteps,
)
from rc_snn.spikes import spike_frames, spike_steps

ENCODINGS = [(p, z) for p in ("bright_first", "dark_first") for z in ("last", "silent")]
SMALL = (7, 5, 1)  # width, height, polarities: not square, so that x and y cannot be mixed up


def image(seed: int, height: int = 28, width: int = 28, *, low: int = 0, high: int = 255) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high + 1, (height, width), generator=generator).to(torch.uint8)


def slow_frames(image: Tensor, n_steps: int, polarity: str, zero_pixels: str) -> Tensor:
    """[time, pixel], one pixel at a time, in integer arithmetic."""
    frames = torch.zeros(n_steps, image.numel())
    for i, grey in enumerate(image.flatten().tolist()):
        numerator = 255 - grey if polarity == "bright_first" else grey
        if numerator < 255 or zero_pixels == "last":
            frames[min(numerator * n_steps // 255, n_steps - 1), i] = 1.0
    return frames


@pytest.mark.parametrize(("polarity", "zero_pixels"), ENCODINGS)
@pytest.mark.parametrize("n_steps", [1, 10, 25])
def test_image_to_times_to_steps_to_frames_is_the_code_written_pixel_by_pixel(
    n_steps, polarity, zero_pixels
):
    encode = Compose([Latency(polarity, zero_pixels), ToSteps(n_steps), ToFrames(n_steps)])
    digit = image(seed=0, height=5, width=7)
    digit[0] = torch.tensor([0, 255, 51, 102, 204, 254, 1])
    expected = slow_frames(digit, n_steps, polarity, zero_pixels)
    assert torch.equal(encode(digit), expected)
    assert torch.equal(encode(digit.numpy()), expected)


@pytest.mark.parametrize(("polarity", "zero_pixels"), ENCODINGS)
def test_each_transform_is_its_function_on_one_sample(polarity, zero_pixels):
    digits = torch.stack([image(seed=1), image(seed=2)])
    times = encode_latency(digits, polarity=polarity, zero_pixels=zero_pixels)
    steps = spike_steps(times, 20)
    frames = spike_frames(steps, 20)
    for b in range(2):
        assert torch.equal(Latency(polarity, zero_pixels)(digits[b]), times[b])
        assert torch.equal(NotebookLatency(20)(digits[b]), encode_notebook(digits, 20)[b])
        assert torch.equal(ToSteps(20)(times[b]), steps[b])
        assert torch.equal(ToFrames(20)(steps[b]), frames[:, b])
        np.testing.assert_array_equal(ToEvents()(times[b]), spikes_to_events(times[b], 28))


@pytest.mark.parametrize(("polarity", "zero_pixels"), ENCODINGS)
@pytest.mark.parametrize("n_steps", [10, 20, 25, 1000])
def test_there_and_back_through_all_of_them_loses_no_step(n_steps, polarity, zero_pixels):
    forth = Compose([Latency(polarity, zero_pixels), ToSteps(n_steps)])
    round_trip = Compose(
        [
            FromSteps(n_steps),
            ToEvents(SMALL),
            FromEvents(SMALL),
            ToSteps(n_steps),
            ToFrames(n_steps),
            FromFrames(),
        ]
    )
    for seed in range(3):
        steps = forth(image(seed, height=5, width=7))
        assert torch.equal(round_trip(steps), steps)


@pytest.mark.parametrize(("polarity", "zero_pixels"), ENCODINGS)
@pytest.mark.parametrize("frame_us", [255, FRAME_US])
def test_image_to_events_and_back_gives_the_same_times(frame_us, polarity, zero_pixels):
    latency = Latency(polarity, zero_pixels)
    there_and_back = Compose([latency, ToEvents(SMALL, frame_us), FromEvents(SMALL, frame_us)])
    for seed in range(3):
        digit = image(seed, height=5, width=7)
        digit[2, :2] = torch.tensor([0, 255])
        assert torch.equal(there_and_back(digit), latency(digit))


def test_the_notebooks_steps_survive_the_way_through_events():
    n_steps = 10
    digit = torch.arange(256).to(torch.uint8).view(16, 16)
    sensor_size = (16, 16, 1)
    direct = Compose([NotebookLatency(n_steps), ToSteps(n_steps)])
    # The middle of a step of 25.5 ms is 12.75 ms: a whole number of microseconds.
    by_events = Compose(
        [NotebookLatency(n_steps), ToEvents(sensor_size), FromEvents(sensor_size), ToSteps(n_steps)]
    )
    assert torch.equal(by_events(digit), direct(digit))


# Beside tonic's own transforms


@pytest.mark.parametrize(
    ("polarity", "low", "high"), [("bright_first", 1, 255), ("dark_first", 0, 254)]
)
@pytest.mark.parametrize("n_steps", [1, 5, 10, 20, 25, 50])
def test_our_frames_equal_tonics_when_no_pixel_spikes_at_the_frames_end(
    n_steps, polarity, low, high
):
    digit = image(seed=4, low=low, high=high)
    times = Latency(polarity)(digit)
    assert times.max() < 1.0
    # Without start_time and end_time tonic's clock runs from the first to the last event.
    to_frame = ToFrame(
        sensor_size=(28, 28, 1),
        time_window=FRAME_US // n_steps,
        start_time=0,
        end_time=FRAME_US,
    )
    theirs = Compose([Latency(polarity), ToEvents(), to_frame])(digit)
    ours = Compose([Latency(polarity), ToSteps(n_steps), ToFrames(n_steps)])(digit)
    assert theirs.shape == (n_steps, 1, 28, 28)
    torch.testing.assert_close(
        torch.from_numpy(theirs).view(n_steps, 784).float(), ours, rtol=0, atol=0
    )


@pytest.mark.parametrize("polarity", ["bright_first", "dark_first"])
def test_tonic_drops_the_spikes_at_the_frames_end_as_if_they_were_silent(polarity):
    digit = image(seed=5)
    digit[0] = torch.tensor([0, 255]).repeat(14)
    to_frame = ToFrame((28, 28, 1), time_window=FRAME_US // 10, start_time=0, end_time=FRAME_US)
    theirs = Compose([Latency(polarity, "last"), ToEvents(), to_frame])(digit)
    silent = Compose([Latency(polarity, "silent"), ToSteps(10), ToFrames(10)])(digit)
    last = Compose([Latency(polarity, "last"), ToSteps(10), ToFrames(10)])(digit)
    assert torch.equal(torch.from_numpy(theirs).view(10, 784).float(), silent)
    # Ours keep them, in the last step.
    extra = last - silent
    undriven = 0 if polarity == "bright_first" else 255
    assert torch.equal(extra[9], (digit.flatten() == undriven).float())
    assert not extra[:9].any()


@pytest.mark.parametrize(("flip", "axis"), [(RandomFlipLR, 1), (RandomFlipUD, 0)])
def test_x_is_the_column_and_y_the_row_as_in_tonics_flips(flip, axis):
    digit = image(seed=6, height=5, width=7)
    by_tonic = Compose(
        [Latency(), ToEvents(SMALL), flip(sensor_size=SMALL, p=1.0), FromEvents(SMALL)]
    )
    assert torch.equal(by_tonic(digit), Latency()(digit.flip(axis)))


# Edges


def test_a_sample_without_any_spike_leaves_compose_as_an_empty_array_of_events():
    dark = torch.zeros(5, 7, dtype=torch.uint8)
    left = Compose([Latency(zero_pixels="silent"), ToEvents(SMALL), FromEvents(SMALL)])(dark)
    assert isinstance(left, np.ndarray)
    assert left.shape == (0,)
    silence = torch.full((35,), math.inf, dtype=torch.float64)
    assert torch.equal(FromEvents(SMALL)(left), silence)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("encode", [Latency(), NotebookLatency()])
def test_bad_images_are_refused(encode):
    with pytest.raises(ValueError, match=r"must be uint8 .*got torch\.float32"):
        encode(torch.zeros(28, 28))
    with pytest.raises(ValueError, match=r"must be uint8 .*got torch\.float64"):
        encode(np.zeros((28, 28)))
    with pytest.raises(ValueError, match=r"\[batch, height, width\], got \[1, 1, 28, 28\]"):
        encode(torch.zeros(1, 28, 28, dtype=torch.uint8))


@pytest.mark.usefixtures("as_user")
def test_bad_options_are_refused():
    digit = image(seed=7)
    with pytest.raises(ValueError, match=r"polarity must be .*got 'darkest'"):
        Latency(polarity="darkest")(digit)
    with pytest.raises(ValueError, match=r"zero_pixels must be .*got 'first'"):
        Latency(zero_pixels="first")(digit)
    times, steps = Latency()(digit), Compose([Latency(), ToSteps(10)])(digit)
    for call in (
        lambda: NotebookLatency(0)(digit),
        lambda: ToSteps(0)(times),
        lambda: FromSteps(0)(steps),
        lambda: ToFrames(0)(steps),
    ):
        with pytest.raises(ValueError, match=r"n_steps must be in 1\.\.32767, got 0"):
            call()
    for call in (
        lambda: ToEvents(frame_us=0)(times),
        lambda: FromEvents(frame_us=0)(ToEvents()(times)),
    ):
        with pytest.raises(ValueError, match="frame_us must be at least 1 microsecond, got 0"):
            call()


def test_frames_of_another_grid_are_refused():
    steps = Compose([Latency(), ToSteps(20)])(image(seed=8))
    with pytest.raises(ValueError, match=r"must be in 0\.\.10 \(10 is silence\)"):
        ToFrames(10)(steps)


def test_events_of_a_larger_sensor_or_a_longer_frame_are_refused():
    events = Compose([Latency(), ToEvents()])(image(seed=9))
    with pytest.raises(ValueError, match="lie outside 7x5 pixels"):
        FromEvents(SMALL)(events)
    with pytest.raises(ValueError, match=r"lie outside 28x28 pixels and 0\.\.1000 us"):
        FromEvents(frame_us=1000)(events)


def test_times_that_do_not_fill_the_sensor_are_refused():
    times = Latency()(image(seed=10, height=14, width=28))
    with pytest.raises(ValueError, match="28"):
        ToEvents(sensor_size=(28, 28, 1))(times)


def test_an_image_that_is_read_only_as_pillow_gives_it_is_encoded_without_a_warning():
    digit = image(seed=11).numpy()
    digit.setflags(write=False)
    assert torch.equal(Latency()(digit), Latency()(torch.tensor(digit.tolist(), dtype=torch.uint8)))


def test_numpy_times_steps_and_frames_of_tonic_are_read_as_tensors_are(as_user):
    times = np.array([0.0, 0.25, np.inf])
    steps = ToSteps(4)(times)
    assert steps.tolist() == [0, 1, 4]
    for dtype in (np.uint8, np.int16, np.int64):
        assert FromSteps(4)(steps.numpy().astype(dtype)).tolist() == times.tolist()
        frames = ToFrames(4)(steps.numpy().astype(dtype)).numpy().astype(dtype)
        assert FromFrames()(frames).tolist() == [0, 1, 4]
    assert ToEvents((3, 1, 1))(times)["t"].tolist() == [0, 63_750]


@pytest.mark.parametrize("dtype", [np.int8, bool, np.int64, np.float32, np.uint16])
def test_images_of_another_scale_are_refused(dtype, as_user):
    with pytest.raises(ValueError, match="must be uint8 grey levels"):
        Latency()(np.zeros((4, 4), dtype))
    with pytest.raises(ValueError, match="must be uint8 grey levels"):
        random_affine(torch.from_numpy(np.zeros((1, 4, 4), dtype)), torch.Generator())


@pytest.mark.parametrize("made", [ToSteps, FromSteps, ToFrames, NotebookLatency])
def test_a_grid_has_a_whole_number_of_steps(made, as_user):
    for wrong in (0, 2.5, 10.0):
        with pytest.raises(ValueError, match="n_steps must be"):
            made(wrong)
