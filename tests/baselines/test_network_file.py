"""Network files: the authors' text and npz give the same network; damage is named."""

import numpy as np
import pytest
import torch

from baselines.alpha_psp import load_network
from baselines.network_file import MAX_WEIGHTS, read_parameters

TEXT = "pulses_per_layer 0.5 3 2 2 1 1  0.25 0.5 0.75  1 2 3 4 5 6  7 8 9 "


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "network"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_weights_are_read_neuron_by_neuron_with_the_pulse_last(file):
    held = read_parameters(file(TEXT))
    assert held.theta == 0.5
    assert held.decay is None
    assert held.pulses.tolist() == [[0.25], [0.5], [0.75]]
    assert held.weights[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert held.weights[1].tolist() == [[7, 8, 9]]
    net = load_network(file(TEXT))
    assert net.layers[0].weight.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert net.layers[0].neuron.decay == 0.181769
    assert net.layers[1].pulses.tolist() == [0.5]


def test_the_older_format_shares_one_pulse_vector(file):
    held = read_parameters(file("0.5 3 2 2 1 1 0.25 1 2 3 4 5 6 7 8 9"))
    assert held.pulses.tolist() == [[0.25]] * 3
    assert held.weights[1].tolist() == [[7, 8, 9]]


def test_text_and_npz_of_a_published_network_are_the_same(published, file):
    known = np.load(published / "alpha_fast.npz")
    words = ["pulses_per_layer", "1.16732", "3", "784", "340", "10", "10"]
    for part in (known["pulses"], known["w0"], known["w1"]):
        words += [f"{x:.6g}" for x in part.ravel().tolist()]
    text = file(" ".join(words) + " ")
    assert len(text.read_text().split()) == 273_497
    ours, npz = load_network(text), load_network(published / "alpha_fast.npz")
    times = torch.rand(3, 784, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for a, b in zip(ours.spike_times(times), npz.spike_times(times), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("pulses_per_layer", "ends too early: 1 numbers for the threshold"),
        (TEXT[:-4], r"ends too early: 3 numbers for weights 2 -> 1"),
        (TEXT + "10", "holds 1 tokens more"),
        (TEXT.replace("5 6", "5 six"), "'six', should be a number"),
        (TEXT.replace("5 6", "5 nan"), "is nan"),
        (TEXT.replace("5 6", "5 1e999"), "is 1e999"),
        (TEXT.replace(" 3 2 2 1 1 ", " 2.5 2 2 1 1 "), "must be a whole number"),
        (TEXT.replace(" 3 2 2 1 1 ", " -3 2 2 1 1 "), "must be a whole number"),
        (TEXT.replace(" 3 2 2 1 1 ", " 1 2 1 "), "at least two"),
        (TEXT.replace(" 3 2 2 1 1 ", " 3 2 0 1 1 "), "at least one neuron"),
        (TEXT.replace("0.25", "-0.25"), "pulse times that are negative"),
        (TEXT.replace(" 0.5 3", " -0.5 3"), "threshold -0.5"),
        ("layers 1 2 3", "begins with 'layers'"),
        (b"\xff\xfe\x00", "neither a text file of numbers nor an npz"),
        (b"PK\x03\x04 broken", "cannot be read as npz"),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(file, content, message):
    with pytest.raises(ValueError, match=message):
        load_network(file(content))


def test_absurd_sizes_are_refused_before_memory_is_asked_for(file):
    with pytest.raises(ValueError, match=f"more than {MAX_WEIGHTS:,}"):
        load_network(file("pulses_per_layer 1 3 40000000 40000000 10 10 1 2 3"))
    with pytest.raises(ValueError, match="must be a whole number in"):
        load_network(file("pulses_per_layer 1 2 1e18 10 10 1 2 3"))


@pytest.mark.parametrize("change", ["missing", "shape", "nan", "objects"])
def test_an_npz_that_is_not_a_network_is_refused(tmp_path, change):
    held = {
        "theta": 1.0,
        "sizes": np.array([2, 1]),
        "pulses": np.zeros((2, 1)),
        "w0": np.zeros((1, 3)),
    }
    if change == "missing":
        del held["w0"]
    elif change == "shape":
        held["w0"] = np.zeros((1, 2))
    elif change == "nan":
        held["w0"] = np.full((1, 3), np.nan)
    else:
        held["w0"] = np.array([object()])
    np.savez(tmp_path / "net.npz", **held)
    with pytest.raises(ValueError, match=r"lacks|belong|not finite|cannot be read"):
        load_network(tmp_path / "net.npz")
    with pytest.raises(ValueError, match="cannot be read"):
        load_network(tmp_path / "none")


NETWORK = {
    "theta": 1.0,
    "sizes": np.array([3, 2]),
    "pulses": np.zeros((2, 1)),
    "w0": np.ones((2, 4)),
}


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": np.array([np.inf, 2])},
        {"sizes": np.array([3.7, 2.2])},
        {"sizes": np.array([[3, 2]])},
        {"sizes": np.array(3)},
        {"sizes": np.array(["3", "2"])},
        {"theta": np.array([1.0, 2.0])},
        {"theta": "1"},
        {"decay": np.nan},
        {"pulses": np.zeros((2, 1), complex)},
        {"w0": np.full((2, 4), 1 + 5j)},
        {"w0": np.zeros((2, 4), "M8[s]")},
        {"w0": np.zeros((2, 4), bool)},
        {"w0": np.full((2, 4), np.inf, np.float32)},
    ],
)
def test_numbers_of_another_kind_are_refused_and_not_converted(tmp_path, change):
    path = tmp_path / "net.npz"
    np.savez(path, **NETWORK)
    assert read_parameters(path).weights[0].tolist() == np.ones((2, 4)).tolist()
    np.savez(path, **(NETWORK | change))
    with pytest.raises(
        ValueError, match=r"net\.npz .*(lacks|not finite|must be positive)|net\.npz: "
    ):
        read_parameters(path)


def test_a_changed_bit_of_an_npz_is_refused_or_lies_where_nothing_is_read(tmp_path):
    path = tmp_path / "net.npz"
    np.savez_compressed(path, **NETWORK)
    whole, weights = path.read_bytes(), read_parameters(path).weights
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        try:
            found = read_parameters(path).weights
        except ValueError as error:
            assert "net.npz" in str(error)  # noqa: PT017
        else:
            assert torch.equal(found[0], weights[0])


def test_an_array_that_nobody_asked_for_takes_no_memory(tmp_path):
    path = tmp_path / "net.npz"
    np.savez_compressed(path, **NETWORK, junk=np.zeros(80_000_000))
    with pytest.raises(ValueError, match=r"would unpack from .* to 640000"):
        read_parameters(path)
