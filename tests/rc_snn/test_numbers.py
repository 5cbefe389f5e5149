"""Numbers that enter are converted exactly, or refused with the first that does not fit."""

import numpy as np
import pytest
import torch

from rc_snn import numbers

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


@pytest.mark.parametrize("dtype", [*INTEGERS, "float16", "float32", "float64", ">i2", ">f8"])
def test_whole_numbers_of_any_dtype_are_the_same_as_int64(dtype):
    found = numbers.whole(np.array([[0, 5], [100, 127]], dtype), "Steps")
    assert found.dtype == np.int64
    assert found.tolist() == [[0, 5], [100, 127]]


def test_tensors_come_back_as_tensors_bfloat16_too():
    x = torch.tensor([3.0, 256.0], dtype=torch.bfloat16, requires_grad=True)
    found = numbers.whole(x, "Steps")
    assert found.dtype == torch.int64
    assert found.tolist() == [3, 256]
    assert not found.requires_grad


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ([1.7], r"whole numbers, got 1.7 \(1 of 1\)"),
        ([0.0, np.nan], r"got nan \(1 of 2\)"),
        ([np.inf], "got inf"),
        ([1e300], "got 1e"),
        ([2.0**63], "got 9.2"),
        (np.array([2**63], np.uint64), "at most 9223372036854775807, got 9223372036854775808"),
        (0.5, r"got 0.5 \(1 of 1\)"),
    ],
)
def test_what_is_no_int64_is_refused(x, said):
    with pytest.raises(ValueError, match=said):
        numbers.whole(x, "Ticks")


@pytest.mark.parametrize("x", [[True], ["1"], [b"1"], [1j], [None], np.array(["2020"], "M8[Y]")])
def test_what_is_no_number_is_a_type_error(x):
    for convert in (numbers.whole, numbers.finite):
        with pytest.raises(TypeError, match="must be numbers"):
            convert(x, "Units")


def test_ranges_name_their_bounds():
    assert numbers.whole([0, 9], "Units", 0, 9).tolist() == [0, 9]
    for x, low, high, said in (([-1, 3], 0, 9, "0..9, got -1"), ([10], None, 9, r"\.\.9, got 10")):
        with pytest.raises(ValueError, match=said):
            numbers.whole(x, "Units", low, high)


def test_slack_is_a_distance_from_a_whole_number_and_its_edge_counts():
    assert numbers.whole([2.0009, -0.001], "Ticks", slack=1e-3).tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"whole numbers, got 2\.0011"):
        numbers.whole([2.0, 2.0011], "Ticks", slack=1e-3)


def test_nothing_is_nothing():
    for convert in (numbers.whole, numbers.finite, numbers.flags, numbers.polarities):
        assert convert([], "Spikes").shape == (0,)


def test_finite_numbers_are_doubles_and_integers_beyond_them_are_refused():
    assert numbers.finite(np.array([1, 2], np.uint8), "Weights").dtype == np.float64
    for x in ([np.nan], [np.inf], np.array([2**53 + 1])):
        with pytest.raises(ValueError, match=r"must be (finite|at most)"):
            numbers.finite(x, "Weights")
    assert numbers.finite(np.array([2**53]), "Weights")[0] == 2.0**53


def test_flags_are_truth_values_not_indices():
    assert numbers.flags(torch.tensor([1, 0, 1]), "fired").tolist() == [True, False, True]
    assert numbers.flags(np.array([True, False]), "fired").dtype == bool
    for x in ([2], [-1], [0.5]):
        with pytest.raises(ValueError, match="fired must be"):
            numbers.flags(x, "fired")


@pytest.mark.parametrize(
    ("p", "right"),
    [
        ([0, 1], [0, 1]),
        ([-1, 1], [0, 1]),
        ([False, True], [0, 1]),
        ([-1], [0]),
        ([1], [1]),
        ([0.0, 1.0], [0, 1]),
    ],
)
def test_polarities_of_every_convention(p, right):
    assert numbers.polarities(np.array(p)).tolist() == right


def test_polarities_that_say_two_things_are_refused():
    for p in ([0, -1], [2], [255], [0.5]):
        with pytest.raises(ValueError, match="Polarities"):
            numbers.polarities(np.array(p))
