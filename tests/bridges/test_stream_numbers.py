"""Numbers that enter a stream: converted exactly, whatever their type, or refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import quantities as pq
import torch
from numpy.lib import recfunctions

from bridges.errors import BridgeError
from bridges.stream import file as stream_file
from bridges.stream.clock import read_dt, seconds, to_ticks
from bridges.stream.columns import of_counts
from bridges.stream.stream import SpikeStream
from encoders.functional import EVENT_DTYPE
from rc_snn.spikes import Decision

pytestmark = pytest.mark.usefixtures("as_user")
INTEGERS = ["i1", "u1", "i2", ">i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]
REFUSED = (ValueError, TypeError)


def silent(n: int = 1, n_units: int = 5, n_steps: int = 10) -> SpikeStream:
    return SpikeStream.silent(n, n_units, n_steps, 1e-3)


def spikes(stream: SpikeStream) -> list[list[int]]:
    return [stream.sample_ids.tolist(), stream.ticks.tolist(), stream.units.tolist()]


# Columns


@pytest.mark.parametrize("dtype", INTEGERS)
def test_whole_numbers_of_any_type_are_samples_ticks_and_units(dtype):
    columns = ([1, 0], [2, 9], [4, 3])
    arrays = [np.array(column, dtype) for column in columns]
    assert spikes(silent(2).with_spikes(*arrays)) == [[0, 1], [9, 2], [3, 4]]


def test_tensors_are_columns_wherever_they_come_from():
    half = torch.tensor([2.0, 9.0], dtype=torch.bfloat16, requires_grad=True)
    strided = torch.arange(10)[::5]
    stream = silent(1, 6).with_spikes(torch.zeros(2).to_sparse(), half, strided)
    assert spikes(stream) == [[0, 0], [2, 9], [0, 5]]


def test_a_tick_is_rounded_within_a_thousandth_and_no_further():
    assert silent().with_spikes([0, 0], [2.9995, 3.0009], [1, 1]).ticks.tolist() == [3, 3]
    for tick in (1.7, 2.9, 3.002, math.nan, math.inf):
        with pytest.raises(ValueError, match="Ticks of spikes must be whole"):
            silent().with_spikes([0], [tick], [1])


@pytest.mark.parametrize(
    ("sample", "tick", "unit"),
    [
        ([0], [1], [-(2**32) + 1]),
        ([0], [1], [2**32 + 1]),
        ([0], [1], np.array([2**63], np.uint64)),
        ([0], [1], [1.0009]),
        ([0.5], [1], [1]),
        ([2**32], [1], [1]),
        ([0], [10], [1]),
        ([0], [-1], [1]),
        ([0], np.array([2**63 + 1], np.uint64), [1]),
        ([0], [1e300], [1]),
        ([0], [True], [1]),
        ([0], ["1"], [1]),
        ([0], np.array([1], "m8[ms]"), [1]),
        ([0], [1j], [1]),
        ([0], pq.Quantity([1], "ms"), [1]),
        ([0], np.ma.masked_array([1], [True]), [1]),
        ([0, 0], [1], [1]),
        (0, 1, 1),
        ([[0]], [[1]], [[1]]),
    ],
)
def test_columns_that_would_be_other_spikes_are_refused(sample, tick, unit):
    with pytest.raises(REFUSED, match=r".{25}"):
        silent().with_spikes(sample, tick, unit)


@pytest.mark.parametrize(
    ("neurons", "n_units", "of"),
    [([1.5], None, None), ([10], None, None), ([-1], None, None), ([1], 0, None), ([1], 5, 9)],
)
def test_neurons_that_would_be_others_are_refused(neurons, n_units, of):
    with pytest.raises(REFUSED, match=r".{25}"):
        silent(2).with_neurons(neurons, [1], n_units, of=of)


# The grid


@pytest.mark.parametrize("name", ["n", "n_units", "n_steps"])
@pytest.mark.parametrize("value", [10.5, "3", True, None, -1, [2, 3]])
def test_a_size_that_is_no_count_is_refused(name, value):
    with pytest.raises(REFUSED, match=r".{25}"):
        SpikeStream.silent(**{"n": 1, "n_units": 2, "n_steps": 5, "dt_s": 1e-3, name: value})


def test_sizes_of_any_integer_type_become_pythons_and_are_saved(tmp_path):
    made = SpikeStream.silent(np.int16(2), np.uint8(4), torch.tensor(5), np.float32(1e-3))
    stream = replace(made, shape=(np.int64(2), np.int64(2)), metadata={"theta": np.float32(0.5)})
    back = stream_file.load(stream_file.save(stream, tmp_path / "spikes.npz"))
    assert (back.n_units, back.n_steps, back.dt_s, back.shape) == (4, 5, 0.001, (2, 2))
    assert back.metadata == {"theta": 0.5}


@pytest.mark.parametrize("metadata", [{1: "a"}, {"a": math.nan}, {"a": {2.5: 1}}, {"a": {1, 2}}])
def test_metadata_that_json_would_change_are_refused(metadata, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        stream_file.save(replace(silent(), metadata=metadata), tmp_path / "spikes.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble, float])
def test_dt_is_the_decimal_fraction_that_it_prints_as_in_any_precision(kind):
    assert read_dt(kind(1e-3)) == 1e-3
    assert read_dt(np.array(kind(1e-3))) == 1e-3
    assert to_ticks(seconds(np.arange(99), kind(1e-3)), kind(1e-3)).tolist() == list(range(99))


@pytest.mark.parametrize(
    "dt_s", [math.nan, math.inf, 0, 0.0, -1e-3, "1e-3", True, None, 1j, 1 * pq.ms, [1e-3]]
)
def test_a_tick_without_a_length_in_seconds_is_refused(dt_s):
    with pytest.raises(REFUSED, match=r"dt_s must be"):
        SpikeStream.silent(1, 2, 5, dt_s)


def test_times_of_small_integers_do_not_wrap_round():
    ticks = np.array([2_000_000, 3], np.int32)
    assert seconds(ticks, 0.1, "us").tolist() == [2e11, 3e5]
    assert to_ticks(np.array([3000, 7], np.uint16), 1e-3, "ms").tolist() == [3000, 7]


@pytest.mark.parametrize("times", [[1e300], [2.0**60], [math.nan], [math.inf], ["1"], [True]])
def test_times_on_no_tick_are_refused(times):
    with pytest.raises(REFUSED, match=r".{25}"):
        to_ticks(np.array(times), 1.0)
    with pytest.raises(ValueError, match="one of s, ms, us"):
        to_ticks(np.array([1.0]), 1.0, "minutes")


# Parts


def test_the_last_sample_is_also_the_one_before_the_end():
    stream = silent(3).with_spikes([0, 2, 2], [1, 2, 3], [0, 1, 2])
    for index in (-1, np.int64(2)):
        assert [part.tolist() for part in stream.of_sample(index)] == [[2, 3], [1, 2]]


def test_samples_are_taken_by_numbers_of_any_type_or_by_a_mask():
    stream = silent(3).with_spikes([0, 1, 2], [1, 2, 3], [0, 1, 2])
    for index in ([2, 0], np.array([2.0, 0.0]), torch.tensor([-1, -3]), np.array([2, 0], "u1")):
        assert stream.take(index).ticks.tolist() == [3, 1]
    assert stream.take(torch.tensor([True, False, True])).ticks.tolist() == [1, 3]
    for index in ([0.5], [3], [-4], [True, False], ["0"]):
        with pytest.raises(REFUSED, match=r".{25}"):
            stream.take(index)


@pytest.mark.parametrize("step", [-1, 10, 1.5, 1.0, "1"])
def test_a_step_that_no_sample_has_is_not_read_as_silence(step):
    with pytest.raises(REFUSED, match=r".{10}"):
        silent().at(step)


def test_what_is_said_of_samples_is_an_array_with_as_many_rows():
    held = {"label": torch.tensor([1.0, 2.0], requires_grad=True), "name": ["a", "b"]}
    stream = replace(silent(2), samples=held).take([1])
    assert [array.tolist() for array in stream.samples.values()] == [[2.0], ["b"]]
    for wrong in (np.array(1), 3, [1], pq.Quantity([1, 2], "s")):
        with pytest.raises(REFUSED, match=r".{25}"):
            replace(silent(2), samples={"label": wrong})


# Tensors

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_CUDA])


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize(
    "dtype",
    [torch.bool, torch.uint8, torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.double],
)
def test_a_tensor_of_any_type_holds_the_same_spikes(dtype, device):
    z = (torch.rand(7, 3, 2, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    expected = SpikeStream.from_tensor(z, 1e-3)
    assert expected.n_spikes == int(z.sum())
    given = z.to(dtype).to(device)
    views = [given, given.transpose(0, 1).contiguous().transpose(0, 1), given.to_sparse()]
    if dtype.is_floating_point:
        views.append(given.clone().requires_grad_() * 1.0)
    for view in views:
        back = SpikeStream.from_tensor(view, 1e-3)
        assert back.same_spikes(expected)
        assert back.shape == (2, 4)


def test_an_array_is_a_spike_tensor_too():
    z = np.zeros((4, 1, 3), ">u2")
    z[2, 0, 1] = 1
    assert spikes(SpikeStream.from_tensor(z[:, ::-1], 1e-3)) == [[0], [2], [1]]


def test_a_tensor_without_an_axis_of_samples_or_units_is_refused():
    with pytest.raises(ValueError, match=r"\[time, batch, units…\]"):
        SpikeStream.from_tensor(torch.zeros(5, 2), 1e-3)


def test_counts_are_as_many_spikes():
    counts = torch.tensor([[[0, 3], [1, 0]]], dtype=torch.int8)
    columns, shape = of_counts(counts, "Counts")
    assert [c.tolist() for c in columns] == [[0] * 4, [0, 0, 0, 1], [1, 1, 1, 0]]
    assert shape == (1, 2, 2)
    for wrong in (-1.0, 0.5, math.nan, math.inf):
        with pytest.raises(ValueError, match="Counts must be"):
            of_counts(torch.full((1, 1, 1), wrong), "Counts")


# Times


def test_spike_times_of_any_precision_that_tells_ticks_apart_are_read():
    ticks = torch.arange(100)
    for dtype in (torch.float16, torch.float32, torch.float64):
        times = (ticks.double() / 100).to(dtype).view(1, -1).requires_grad_()
        for given in (times, times.detach().numpy(), times.T.contiguous().T):
            assert SpikeStream.from_times(given, 100, 1e-3).ticks.tolist() == ticks.tolist()
    whole_frames = torch.tensor([[0, 2]], dtype=torch.uint8)
    assert SpikeStream.from_times(whole_frames, 4, 1e-3, frames=3).ticks.tolist() == [0, 8]


def test_spike_times_that_ask_for_a_gradient_are_those_without():
    times = torch.tensor([[0.25, 0.31, torch.inf]], requires_grad=True) * 1.0
    options = {"steps_per_frame": 10, "dt_s": 1e-3, "frames": 2, "off_grid": "floor"}
    stream = SpikeStream.from_times(times, **options)
    assert stream.same_spikes(SpikeStream.from_times(times.detach(), **options))
    assert stream.ticks.tolist() == [2, 3]


@pytest.mark.parametrize(("dtype", "n"), [(torch.bfloat16, 16), (torch.half, 128)])
def test_times_too_coarse_for_the_grid_are_refused(dtype, n):
    times = (torch.arange(n).double() / n).to(dtype).view(1, -1)
    with pytest.raises(ValueError, match="do not tell ticks apart"):
        SpikeStream.from_times(times, n, 1e-3)
    few = n // 2
    times = (torch.arange(few).double() / few).to(dtype).view(1, -1)
    assert SpikeStream.from_times(times, few, 1e-3).ticks.tolist() == list(range(few))


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 1.5},
        {"frames": 0},
        {"steps_per_frame": 0},
        {"steps_per_frame": -10, "frames": -1},
        {"steps_per_frame": 10.5},
        {"times": torch.tensor([[True]])},
        {"times": torch.tensor([0.5])},
        {"times": torch.zeros(1, 1, 1)},
        {"times": np.array([["0.5"]])},
        {"times": torch.tensor([[-torch.inf]])},
        {"times": torch.tensor([[torch.nan]])},
    ],
)
def test_times_and_grids_that_mean_nothing_are_refused(change):
    given = {"times": torch.zeros(1, 1), "steps_per_frame": 10, "dt_s": 1e-3, "off_grid": "floor"}
    with pytest.raises(REFUSED, match=r".{25}"):
        SpikeStream.from_times(**given | change)


@pytest.mark.parametrize("steps_per_frame", [0, -10, 2.5, True])
def test_a_frame_has_a_whole_number_of_ticks(steps_per_frame):
    with pytest.raises(REFUSED, match="steps_per_frame must be"):
        silent().with_spikes([0], [3], [1]).to_times(steps_per_frame)


# Decisions


def decision(**change) -> Decision:
    plain = {
        "label": torch.tensor([2, 0]),
        "time": torch.tensor([0.5, 1.0], dtype=torch.float64),
        "step": torch.tensor([4, 9]),
        "fired": torch.tensor([True, False]),
        "scores": torch.eye(3)[[2, 0]],
    }
    return Decision(**plain | change)


def test_a_decision_of_any_types_is_the_same_spikes():
    expected = SpikeStream.from_decision(decision(), 10, 3, 1e-3)
    assert spikes(expected) == [[0], [4], [2]]
    for change in (
        {"fired": torch.tensor([1, 0])},
        {"label": torch.tensor([2.0, 0.0])},
        {"label": torch.tensor([2, 0], dtype=torch.uint8)},
        {"step": torch.tensor([4, 9], dtype=torch.int8)},
        {"scores": torch.eye(3)[[2, 0]].requires_grad_().bfloat16()},
        {"time": torch.tensor([0.5, 1.0], requires_grad=True)},
    ):
        stream = SpikeStream.from_decision(decision(**change), 10, 3, 1e-3)
        assert stream.same_spikes(expected)
        assert torch.equal(stream.to_decision().fired, decision().fired)
        assert stream.to_decision().label.tolist() == [2, 0]


@pytest.mark.parametrize(
    "change",
    [
        {"fired": torch.tensor([2, 0])},
        {"label": torch.tensor([2, 1.9])},
        {"label": torch.tensor([2, 3])},
        {"label": torch.tensor([2, -1])},
        {"step": torch.tensor([4, 10])},
        {"step": torch.tensor([4, 8.5])},
    ],
)
def test_decisions_that_would_be_others_are_refused(change):
    with pytest.raises(REFUSED, match=r".{25}"):
        SpikeStream.from_decision(decision(**change), 10, 3, 1e-3)


# Events


def events(*rows, **dtypes) -> np.ndarray:
    kinds = {"x": "i2", "y": "i2", "t": "i8", "p": "?"} | dtypes
    return np.array(list(rows), list(kinds.items()))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_events_of_any_types_are_the_same_spikes(dtype):
    expected = SpikeStream.from_events([events((2, 1, 7, True))], (3, 2, 2), 10)
    given = events((2, 1, 7, 1), **dict.fromkeys("xytp", dtype))
    assert SpikeStream.from_events([given], (3, 2, 2), 10).same_spikes(expected)


def test_a_signed_polarity_is_off_and_on():
    given = events((0, 0, 5, -1), (1, 0, 6, 1), p="i1")
    plain = events((0, 0, 5, False), (1, 0, 6, True))
    both = [SpikeStream.from_events([e], (2, 1, 2), 10) for e in (given, plain)]
    assert both[0].same_spikes(both[1])
    assert both[0].units.tolist() == [0, 3]
    zero = events((0, 0, 5, 0), p="i1")
    with pytest.raises(ValueError, match="0 and -1 both"):
        SpikeStream.from_events([given, zero], (2, 1, 2), 10)
    only = SpikeStream.from_events([given[:1]], (2, 1, 1), 10)
    assert only.units.tolist() == [0]
    with pytest.raises(BridgeError, match="Both polarities"):
        SpikeStream.from_events([given], (2, 1, 1), 10)


@pytest.mark.parametrize(
    ("row", "dtypes"),
    [
        ((1.9, 1, 5, 1), {"x": "f8"}),
        ((1, 1, 5.9, 1), {"t": "f8"}),
        ((1, 1, 5.0005, 1), {"t": "f8"}),
        ((1, 1, math.nan, 1), {"t": "f4"}),
        ((-1, 1, 5, 1), {}),
        ((65_535, 1, 5, 1), {"x": "u2"}),
        ((3, 1, 5, 1), {}),
        ((1, 2, 5, 1), {}),
        ((1, 1, -1, 1), {}),
        ((1, 1, 10, 1), {}),
        ((1, 1, 2**64 - 1, 1), {"t": "u8"}),
        ((1, 1, 5, 2), {"p": "u1"}),
        ((1, 1, 5, 0.5), {"p": "f4"}),
    ],
)
def test_events_that_would_be_others_are_refused(row, dtypes):
    given = events(row, **dtypes)
    with pytest.raises(REFUSED, match=r".{25}"):
        SpikeStream.from_events([given], (3, 2, 2), 10)


def test_what_are_no_events_in_microseconds_on_a_sensor_is_refused():
    one = events((2, 1, 7, True))
    renamed = recfunctions.rename_fields(one, {"t": "timestamp"})
    for given in (renamed, one.reshape(1, 1), np.zeros((3, 4)), [(2, 1, 7, True)]):
        with pytest.raises(REFUSED, match="fields x, y, t, p"):
            SpikeStream.from_events([given], (3, 2, 2), 10)
    for sensor in ((3.5, 2, 2), (3, 2), (3, 2, 3), (3, 0, 2)):
        with pytest.raises(REFUSED, match="sensor_size"):
            SpikeStream.from_events([one], sensor, 10)
    for duration in (10.5, 0, -1, math.nan):
        with pytest.raises(REFUSED, match="duration_us must be"):
            SpikeStream.from_events([one], (3, 2, 2), duration)


def test_late_events_on_fine_ticks_do_not_wrap_round():
    late = 9_000_000_000
    stream = SpikeStream.from_events([events((0, 0, late, True))], (1, 1, 2), late + 1, 1e-12)
    assert stream.ticks.tolist() == [late * 10**6]
    coarse = SpikeStream.silent(1, 4, 2**52, 1e4).with_spikes([0], [2**40], [0])
    with pytest.raises(BridgeError, match="is later"):
        replace(coarse, shape=(1, 2, 2)).to_events()


def test_no_events_are_silence():
    none = np.zeros(0, EVENT_DTYPE)
    stream = SpikeStream.from_events([none, none], (3, 2, 2), 10)
    assert (len(stream), stream.n_spikes, stream.shape) == (2, 0, (2, 2, 3))


@pytest.mark.parametrize("large", [10**30, 10**400])
def test_numbers_beyond_what_memory_can_say_are_refused(large):
    stream = SpikeStream.silent(1, 2, 10, 1e-3).with_spikes([0], [3], [1])
    one = torch.tensor([[0.5]])
    for call in (
        lambda: stream.shifted(large),
        lambda: stream.to_times(large),
        lambda: stream.of_sample(large),
        lambda: stream.take([large]),
        lambda: SpikeStream.from_times(one, large, 1e-3),
        lambda: SpikeStream.from_times(one, 10, 1e-3, frames=large),
        lambda: SpikeStream.silent(1, 2, 10, large**20),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
