"""Grey levels to spike times and steps: exact arithmetic, the authors' notebook, and laws."""

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from encoders.functional import (
    encode_latency,
    encode_notebook,
    random_affine,
    steps_to_times,
)
from rc_snn.spikes import MAX_STEPS, spike_frames, spike_steps

ENCODINGS = [(p, z) for p in ("bright_first", "dark_first") for z in ("last", "silent")]


def all_levels() -> Tensor:
    """One image, 16x16, with every grey level once, in order."""
    return torch.arange(256).to(torch.uint8).view(1, 16, 16)


def random_images(seed: int, shape: tuple[int, int, int] = (3, 28, 28)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, shape, generator=generator).to(torch.uint8)


def exact_step(grey: int, n_steps: int, polarity: str) -> int:
    """The definition in integers: floor of time times T; the frame's end is in the last step."""
    numerator = 255 - grey if polarity == "bright_first" else grey
    return min(numerator * n_steps // 255, n_steps - 1)


def notebook_frames(images: Tensor, step: float) -> Tensor:
    """What the authors' notebook computes, [batch, 1, height, width, time], bin by bin.

    An intensity falls into the bin whose number is how many of the float32 edges
    1 - arange(0, 1, step) lie strictly below it; the bins are flipped.
    """
    intensity = images[:, None].float() / 255  # torchvision's ToTensor
    edges = 1 - torch.arange(0, 1, step)
    bins = sum((edge < intensity).long() for edge in edges)
    return torch.stack([(bins == b).long() for b in range(len(edges))], dim=-1).flip(-1)


@pytest.mark.parametrize("n_steps", [5, 10, 20, 25, 50])
def test_encode_notebook_equals_the_notebook_on_every_grey_level(n_steps):
    expected = notebook_frames(all_levels(), step=1 / n_steps)
    assert expected.shape == (1, 1, 16, 16, n_steps)
    assert (expected.sum(dim=-1) == 1).all()
    frames = spike_frames(spike_steps(encode_notebook(all_levels(), n_steps), n_steps), n_steps)
    time_first = expected.movedim(-1, 0).reshape(n_steps, 1, 256).float()
    torch.testing.assert_close(frames, time_first, rtol=0, atol=0)


def test_latency_differs_from_the_notebook_in_two_grey_levels_of_ten_steps():
    latency = spike_steps(encode_latency(all_levels()), 10)[0].int()
    notebook = spike_steps(encode_notebook(all_levels(), 10), 10)[0].int()
    expected = torch.zeros(256, dtype=torch.int32)
    expected[[51, 102]] = 1
    torch.testing.assert_close(latency - notebook, expected)


def test_the_notebook_is_at_most_one_step_early_and_only_on_a_step_edge():
    levels = torch.arange(256)
    for n_steps in [*range(1, 301), 1000]:
        latency = spike_steps(encode_latency(all_levels()), n_steps)[0].long()
        notebook = spike_steps(encode_notebook(all_levels(), n_steps), n_steps)[0].long()
        early = latency - notebook
        on_edge = (255 - levels) * n_steps % 255 == 0
        assert set(early.tolist()) <= {0, 1}, n_steps
        assert not (early[~on_edge] != 0).any(), n_steps


@pytest.mark.parametrize("polarity", ["bright_first", "dark_first"])
def test_latency_is_the_exact_fraction_rounded_once(polarity):
    numerators = range(255, -1, -1) if polarity == "bright_first" else range(256)
    expected = [[float(Fraction(numerator, 255)) for numerator in numerators]]
    assert encode_latency(all_levels(), polarity=polarity).tolist() == expected


@pytest.mark.parametrize("polarity", ["bright_first", "dark_first"])
def test_steps_of_latency_equal_integer_arithmetic_for_every_grey_level_and_grid(polarity):
    times = encode_latency(all_levels(), polarity=polarity)
    for n_steps in [*range(1, 301), 1000, 255 * 128, MAX_STEPS]:
        expected = [[exact_step(grey, n_steps, polarity) for grey in range(256)]]
        assert spike_steps(times, n_steps).tolist() == expected, n_steps


def test_background_at_the_frames_end_belongs_to_the_last_step():
    times = encode_latency(all_levels())[0]
    assert times[0] == 1.0
    assert spike_steps(times, 10)[0] == 9
    assert times[255] == 0.0
    assert spike_steps(times, 10)[255] == 0


@pytest.mark.parametrize("zero_pixels", ["last", "silent"])
def test_dark_first_is_bright_first_of_the_negative(zero_pixels):
    images = random_images(seed=0)
    dark = encode_latency(images, polarity="dark_first", zero_pixels=zero_pixels)
    bright = encode_latency(255 - images, polarity="bright_first", zero_pixels=zero_pixels)
    torch.testing.assert_close(dark, bright, rtol=0, atol=0)


def test_a_brighter_pixel_spikes_earlier_and_with_dark_first_later():
    bright = encode_latency(all_levels(), polarity="bright_first")[0]
    dark = encode_latency(all_levels(), polarity="dark_first")[0]
    assert (bright.diff() < 0).all()
    assert (dark.diff() > 0).all()


def test_a_brighter_pixel_never_spikes_later_in_the_notebooks_encoding():
    for n_steps in (1, 2, 10, 20, 300):
        assert (encode_notebook(all_levels(), n_steps)[0].diff() <= 0).all()


@pytest.mark.parametrize(("polarity", "undriven"), [("bright_first", 0), ("dark_first", 255)])
def test_zero_pixels_says_where_pixels_without_drive_go_and_nothing_else(polarity, undriven):
    images = random_images(seed=1)
    images[0, 0, :5] = undriven
    last = encode_latency(images, polarity=polarity, zero_pixels="last")
    silent = encode_latency(images, polarity=polarity, zero_pixels="silent")
    undriven_pixels = images.flatten(1) == undriven
    assert (last[undriven_pixels] == 1.0).all()
    assert torch.equal(silent, torch.where(undriven_pixels, math.inf, last))


@pytest.mark.parametrize("n_steps", [1, 2, 10, 255])
def test_every_pixel_spikes_exactly_once_unless_it_is_silent(n_steps):
    images = random_images(seed=2)
    for times in (encode_latency(images), encode_notebook(images, n_steps)):
        counts = spike_frames(spike_steps(times, n_steps), n_steps).sum(dim=0)
        assert torch.equal(counts, torch.ones(3, 784))
    silent = encode_latency(images, zero_pixels="silent")
    counts = spike_frames(spike_steps(silent, n_steps), n_steps).sum(dim=0)
    assert torch.equal(counts, (images.flatten(1) > 0).float())


def test_pixels_are_row_major_and_images_independent():
    images = random_images(seed=3, shape=(2, 3, 5))
    times = encode_latency(images)
    notebook = encode_notebook(images)
    assert times.shape == (2, 15)
    for b in range(2):
        torch.testing.assert_close(times[b], encode_latency(images[b : b + 1])[0], rtol=0, atol=0)
        assert torch.equal(notebook[b], encode_notebook(images[b : b + 1])[0])
        for y in range(3):
            for x in range(5):
                assert times[b, y * 5 + x] == (255 - int(images[b, y, x])) / 255


def test_an_empty_batch_stays_an_empty_batch():
    assert encode_latency(torch.zeros(0, 28, 28, dtype=torch.uint8)).shape == (0, 784)
    assert encode_notebook(torch.zeros(0, 28, 28, dtype=torch.uint8)).shape == (0, 784)


def test_encoding_does_not_write_into_the_images():
    images = random_images(seed=4)
    before = images.clone()
    for polarity, zero_pixels in ENCODINGS:
        encode_latency(images, polarity=polarity, zero_pixels=zero_pixels)
    encode_notebook(images)
    assert torch.equal(images, before)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("encode", [encode_latency, encode_notebook])
def test_images_that_are_not_uint8_are_refused(encode):
    with pytest.raises(ValueError, match=r"must be uint8 .*got torch\.float32.*\.to\(torch\.uint8"):
        encode(torch.zeros(1, 28, 28))
    with pytest.raises(ValueError, match=r"must be uint8 .*got torch\.int64"):
        encode(torch.zeros(1, 28, 28, dtype=torch.int64))


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("encode", [encode_latency, encode_notebook])
@pytest.mark.parametrize("shape", [(28, 28), (1, 1, 28, 28), (784,)])
def test_images_that_are_not_batch_height_width_are_refused(encode, shape):
    got = str(list(shape)).replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(ValueError, match=rf"\[batch, height, width\], got {got}\."):
        encode(torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.usefixtures("as_user")
def test_unknown_options_are_refused_by_name():
    with pytest.raises(ValueError, match=r'polarity must be "bright_first" or .*got \'bright\'\.'):
        encode_latency(all_levels(), polarity="bright")
    with pytest.raises(ValueError, match=r'zero_pixels must be "last" or "silent", got False\.'):
        encode_latency(all_levels(), zero_pixels=False)


@pytest.mark.parametrize("n_steps", [0, -1, MAX_STEPS + 1])
def test_a_grid_without_steps_or_with_too_many_is_refused(n_steps):
    with pytest.raises(ValueError, match=rf"n_steps must be in 1\.\.32767, got {n_steps}\."):
        encode_notebook(all_levels(), n_steps)
    with pytest.raises(ValueError, match=rf"n_steps must be in 1\.\.32767, got {n_steps}\."):
        steps_to_times(torch.tensor([0]), n_steps)


# -- random_affine ------------------------------------------------------------------------------

STILL = {"degrees": 0.0, "shift": 0.0, "scale": 0.0, "shear": 0.0}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(height: int, width: int, sigma_x: float, sigma_y: float, n: int = 1) -> Tensor:
    """A Gaussian spot in the middle, the same in n images."""
    y = torch.arange(height).sub((height - 1) / 2).view(-1, 1)
    x = torch.arange(width).sub((width - 1) / 2)
    spot = 255 * torch.exp(-(x**2) / (2 * sigma_x**2) - y**2 / (2 * sigma_y**2))
    return spot.round().to(torch.uint8).repeat(n, 1, 1)


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Centroid (x, y) from the middle, `[n, 2]`, and covariance, `[n, 2, 2]`, of the grey mass."""
    n, height, width = images.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([x - (width - 1) / 2, y - (height - 1) / 2], -1).view(-1, 2).double()
    mass = images.view(n, -1).double()
    mass = mass / mass.sum(dim=1, keepdim=True)
    centre = mass @ places
    away = places - centre.unsqueeze(1)
    return centre, torch.einsum("np,npi,npj->nij", mass, away, away)


@pytest.mark.parametrize("shape", [(5, 28, 28), (1, 28, 28), (2, 7, 12), (1, 1, 1)])
def test_without_bounds_nothing_moves(shape):
    images = random_images(5, shape)
    moved = random_affine(images, seeded(0), **STILL)
    assert moved.dtype == torch.uint8
    assert torch.equal(moved, images)


@pytest.mark.parametrize(("axis", "seed"), [(0, 0), (0, 2), (1, 3), (1, 8)])
def test_a_shift_by_whole_pixels_is_exact_and_brings_in_black(axis, seed):
    draw = torch.rand(6, 1, generator=seeded(seed)) * 2 - 1
    along, across = draw[4 + axis].item(), draw[5 - axis].item()
    assert abs(across) < abs(along)
    line = random_images(6, (1, 1, 20)).clamp_min(1)
    expected = torch.zeros_like(line)
    if along > 0:  # what is shown at x comes from x + 4
        expected[..., :-4] = line[..., 4:]
    else:
        expected[..., 4:] = line[..., :-4]
    images, shown = line.repeat(1, 20, 1), expected.repeat(1, 12, 1)
    if axis == 1:
        images, shown = images.transpose(1, 2), shown.transpose(1, 2)
    moved = random_affine(images, seeded(seed), **STILL | {"shift": 4 / abs(along)})
    inner = moved[:, 4:-4] if axis == 0 else moved[:, :, 4:-4]  # across, it moved by less than 4
    assert torch.equal(inner, shown)


def test_a_shift_stays_within_its_bound_along_each_axis_and_uses_it():
    moved = random_affine(blob(28, 28, 2, 2, n=300), seeded(0), **STILL | {"shift": 2.5})
    centre, covariance = moments(moved)
    assert 2.4 < centre.abs().amax() < 2.55
    assert centre.amin(dim=0).amax() < -2.4
    assert centre.amax(dim=0).amin() > 2.4
    still = moments(blob(28, 28, 2, 2))[1]
    assert (covariance - still).abs().max() < 0.15, "a blur, as of bilinear reading, adds 0.25"


def test_a_rotation_stays_within_its_bound_and_uses_it():
    moved = random_affine(blob(28, 28, 4, 1.5, n=300), seeded(0), **STILL | {"degrees": 30.0})
    centre, covariance = moments(moved)
    xx, yy, xy = covariance[:, 0, 0], covariance[:, 1, 1], covariance[:, 0, 1]
    angle = torch.rad2deg(torch.atan2(2 * xy, xx - yy) / 2)
    assert -30.5 < angle.min() < -29
    assert 29 < angle.max() < 30.5
    assert centre.abs().max() < 0.05
    assert (torch.linalg.det(covariance).sqrt() / 6 - 1).abs().max() < 0.1, "areas stay"


@pytest.mark.parametrize(("height", "width"), [(28, 28), (24, 40)])
def test_what_is_round_stays_round_when_it_is_turned(height, width):
    moved = random_affine(blob(height, width, 3, 3, n=50), seeded(0), **STILL | {"degrees": 90.0})
    _, covariance = moments(moved)
    still = moments(blob(height, width, 3, 3))[1]
    torch.testing.assert_close(covariance, still.expand(50, 2, 2), rtol=0, atol=0.15)


def test_a_stretch_stays_within_its_bound_along_each_axis_by_itself():
    moved = random_affine(blob(28, 28, 3, 2, n=300), seeded(0), **STILL | {"scale": 0.2})
    _, covariance = moments(moved)
    still = moments(blob(28, 28, 3, 2))[1][0]
    factor = (covariance / still).diagonal(dim1=1, dim2=2).sqrt()  # 1 / (1 ± 0.2)
    assert (factor.amin(dim=0) > 0.82).all()
    assert (factor.amin(dim=0) < 0.86).all()
    assert (factor.amax(dim=0) < 1.28).all()
    assert (factor.amax(dim=0) > 1.22).all()
    assert torch.corrcoef(factor.t())[0, 1].abs() < 0.2, "the axes are drawn apart"
    assert covariance[:, 0, 1].abs().max() < 0.1


def test_a_shear_moves_rows_along_themselves_in_proportion_to_their_height():
    moved = random_affine(blob(28, 28, 2, 3, n=300), seeded(0), **STILL | {"shear": 0.4})
    _, covariance = moments(moved)
    slope = covariance[:, 0, 1] / covariance[:, 1, 1]
    assert -0.42 < slope.min() < -0.38
    assert 0.38 < slope.max() < 0.42
    assert (covariance[:, 1, 1] - 9).abs().max() < 0.3, "heights stay"


def test_augmentation_comes_from_its_generator_and_leaves_all_else_alone():
    images, before = random_images(7).repeat(2, 1, 1), torch.get_rng_state()
    kept = images.clone()
    first = random_affine(images, seeded(1))
    assert torch.equal(first, random_affine(images, seeded(1)))
    assert not torch.equal(first, random_affine(images, seeded(2)))
    assert not torch.equal(first[:3], first[3:]), "each image is moved by itself"
    one = seeded(1)
    assert not torch.equal(random_affine(images, one), random_affine(images, one))
    assert torch.equal(images, kept)
    assert torch.equal(torch.get_rng_state(), before)
