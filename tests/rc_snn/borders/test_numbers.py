"""Numbers that enter are converted exactly, or refused with the first that does not fit."""

import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import torch

from rc_snn.borders import numbers


@dataclass(frozen=True)
class Options:
    n: int = 1
    rate: float = 0.5
    limit: int | None = None
    seeds: tuple[int, ...] = (0,)
    on: bool = False
    kind: Literal["fast", "slow"] = "slow"

    def __post_init__(self):
        numbers.check_fields(self, n=1)


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


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, ">i4"])
def test_indices_of_any_integers_are_int64_whose_sums_do_not_overflow(dtype):
    x = np.array([1, 0, 1], dtype)
    for labels in (x, x.tolist(), torch.from_numpy(x.astype(x.dtype.newbyteorder("=")))):
        found = numbers.indices(labels, "Labels", limit=2, n=3)
        assert (found.dtype, found.tolist()) == (torch.int64, [1, 0, 1])
    kept = torch.tensor([2, 0])
    assert numbers.indices(kept, "Labels") is kept


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.tensor([[1], [0]]), r"got \[2, 1\]\. Pass x\.squeeze\(1\)"),
        (torch.eye(2), r"got \[2, 2\]\. Of one-hot rows pass x\.argmax"),
        (torch.tensor(1), r"must be \[B\].*got \[\]"),
        (torch.tensor([1]), r"one for each of 2 samples, got \[1\]"),
        (torch.tensor([1.9, 0.0]), r"whole numbers, got 1\.(9|89999)"),
        (torch.tensor([torch.nan, 0.0]), "whole numbers, got nan"),
        (torch.tensor([0, -1]), r"in 0\.\.1, got -1 at position 1"),
        (np.array([0, 2], np.uint8), r"in 0\.\.1, got 2 at position 1"),
    ],
)
def test_what_is_no_index_of_each_sample_is_refused(x, said):
    with pytest.raises(ValueError, match=said):
        numbers.indices(x, "Labels", limit=2, n=2)


def test_counts_are_integers_and_floats_or_booleans_are_not():
    for three in (3, np.int8(3), np.uint64(3), torch.tensor(3)):
        found = numbers.count(three, "epochs", 1, 3)
        assert (type(found), found) == (int, 3)
    for wrong in (2.0, 2.5, np.float32(2), float("nan")):
        with pytest.raises(ValueError, match="epochs must be a whole number"):
            numbers.count(wrong, "epochs")
    for wrong in (True, np.True_, torch.tensor(True), "3", None, [3], torch.tensor([3, 4])):
        with pytest.raises(TypeError, match="epochs must be a whole number"):
            numbers.count(wrong, "epochs")
    with pytest.raises(ValueError, match="epochs must be at least 1, got epochs=0"):
        numbers.count(0, "epochs", low=1)


def test_fields_become_what_their_annotations_say():
    made = Options(np.int64(3), torch.tensor(0.5), None, [np.int16(1), 2], True, "fast")
    assert made == Options(3, 0.5, None, (1, 2), True, "fast")
    assert [type(x) for x in (made.n, made.rate, made.seeds[0])] == [int, float, int]


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"n": 0}, ValueError, "n must be at least 1, got n=0"),
        ({"n": 1.0}, ValueError, "n must be a whole number"),
        ({"n": True}, TypeError, "n must be a whole number"),
        ({"rate": "0.5"}, TypeError, "rate must be a number"),
        ({"rate": True}, TypeError, "rate must be a number"),
        ({"limit": 2.5}, ValueError, "limit must be a whole number"),
        ({"seeds": (0, 1.5)}, ValueError, "seeds must be a whole number"),
        ({"seeds": 3}, TypeError, "seeds must be a tuple"),
        ({"on": 1}, TypeError, "on must be True or False"),
        ({"kind": "none"}, ValueError, 'kind must be one of "fast" or "slow", got'),
    ],
)
def test_fields_of_another_type_are_refused_by_their_name(changed, kind, said):
    with pytest.raises(kind, match=said):
        Options(**changed)


def test_json_values_come_back_as_they_were():
    value = {"a": (np.float32(0.5), np.int64(2), torch.tensor(True)), "b": {"c": [None, "x"]}}
    found = numbers.json_value(value, "metrics")
    assert json.loads(json.dumps(found)) == found == {"a": [0.5, 2, True], "b": {"c": [None, "x"]}}
    for wrong, kind, said in (
        ({1: "a", "1": "b"}, TypeError, "Keys of metrics must be text, got 1"),
        ({"a": {"b": [0.0, np.nan]}}, ValueError, r"metrics\.a\.b\[1\] is nan"),
        ({"a": np.zeros(2)}, TypeError, r"metrics\.a is a ndarray"),
    ):
        with pytest.raises(kind, match=said):
            numbers.json_value(wrong, "metrics")
