"""SpikeStream: every way in has its way back, and nothing is lost between them."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from drawn_streams import drawn_spikes, stream_of
from hypothesis import given
from hypothesis import strategies as st

from bridges.errors import BridgeError
from bridges.stream.clock import seconds, to_ticks
from bridges.stream.stream import SpikeStream
from encoders.functional import EVENT_DTYPE, steps_to_times
from rc_snn.models import RCLSTM
from rc_snn.regimes import account
from rc_snn.runner import decide
from rc_snn.sequences import Sequences, SpikeSequences
from rc_snn.spikes import Decision, decision_spikes, spike_frames, spike_steps


@given(drawn_spikes())
def test_a_tensor_comes_back(drawn):
    stream = stream_of(drawn)
    z = stream.to_tensor()
    back = SpikeStream.from_tensor(z, stream.dt_s)
    assert stream.same_spikes(back)
    assert torch.equal(back.to_tensor(), z)


@given(drawn_spikes())
def test_the_tensor_is_one_where_a_spike_is(drawn):
    """The slow definition, one cell after the other."""
    stream = stream_of(drawn)
    z = torch.zeros(stream.n_steps, len(stream), stream.n_units)
    for sample in range(len(stream)):
        for tick, unit in zip(*stream.of_sample(sample), strict=True):
            z[tick, sample, unit] += 1
    assert torch.equal(stream.to_tensor(), z)


@given(drawn_spikes(once=True))
def test_spike_times_come_back(drawn):
    stream = stream_of(drawn)
    times = stream.to_times()
    assert torch.isfinite(times).sum() == stream.n_spikes
    assert stream.same_spikes(SpikeStream.from_times(times, stream.n_steps, stream.dt_s))


@given(drawn_spikes(once=True))
def test_spike_times_mean_what_they_mean_in_rc_snn(drawn):
    stream = stream_of(drawn)
    steps = spike_steps(stream.to_times(), stream.n_steps)
    assert torch.equal(spike_frames(steps, stream.n_steps), stream.to_tensor())


@given(drawn_spikes(twice=True))
def test_events_come_back(drawn):
    stream = stream_of(drawn)
    stream = replace(stream, shape=(1, 1, stream.n_units))
    sensor, duration = (stream.n_units, 1, 1), round(stream.n_steps * stream.dt_s * 1e6)
    recordings = stream.to_events()
    assert len(recordings) == len(stream)
    shuffled = [np.random.default_rng(0).permutation(r) for r in recordings]
    assert stream.same_spikes(SpikeStream.from_events(shuffled, sensor, duration, stream.dt_s))


@given(drawn_spikes(twice=True), st.integers(0, 3))
def test_a_shift_is_undone_by_its_opposite(drawn, ticks):
    stream = stream_of(drawn)
    later = stream.shifted(ticks)
    assert later.n_steps == stream.n_steps + ticks
    assert stream.same_spikes(later.shifted(-ticks))


@given(drawn_spikes(twice=True), st.lists(st.integers(0, 3), max_size=5))
def test_taken_samples_hold_their_own_spikes(drawn, index):
    stream = stream_of(drawn)
    index = [i for i in index if i < len(stream)] or [0]
    part = replace(stream, samples={"label": np.arange(len(stream))}).take(index)
    assert part.samples["label"].tolist() == index
    for new, old in enumerate(index):
        for mine, theirs in zip(part.of_sample(new), stream.of_sample(old), strict=True):
            assert np.array_equal(mine, theirs)


@pytest.fixture
def decision() -> Decision:
    g = torch.Generator().manual_seed(0)
    step = torch.tensor([0, 9, 9, 4, 0])
    return Decision(
        label=torch.tensor([3, 0, 2, 2, 1]),
        time=(step + 1).double() / 10,
        step=step,
        fired=torch.tensor([True, True, False, True, True]),
        scores=torch.rand(5, 4, generator=g),
    )


@pytest.mark.parametrize("forced", ["silent", "spike"])
def test_a_decision_comes_back_whole(decision, forced):
    stream = SpikeStream.from_decision(decision, 10, 4, 1e-3, forced=forced)
    assert torch.equal(stream.to_tensor(), decision_spikes(decision, 10, 4, forced=forced))
    back = stream.to_decision()
    for name in ("label", "time", "step", "fired", "scores"):
        assert torch.equal(getattr(back, name), getattr(decision, name)), name


def test_other_spikes_are_not_read_as_the_decision(decision):
    stream = SpikeStream.from_decision(decision, 10, 4, 1e-3)
    other = replace(stream, ticks=np.minimum(stream.ticks + 1, 9))
    with pytest.raises(BridgeError, match="not those of the decisions"):
        other.to_decision()
    with pytest.raises(BridgeError, match="not made of decisions"):
        replace(stream, samples={}).to_decision()


def test_continuous_time_is_sent_to_from_times(decision):
    with pytest.raises(BridgeError, match="off_grid"):
        SpikeStream.from_decision(replace(decision, step=None), 10, 4, 1e-3)


@pytest.mark.parametrize("dt_s", [1e-4, 1e-3, 5e-3, 0.1, 255e-6, 1 / 3])
@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_seconds_is_the_float_nearest_to_tick_times_dt(dt_s, unit):
    ticks = np.arange(2000)
    exact = Fraction(repr(dt_s)) * {"s": 1, "ms": 1000, "us": 1_000_000}[unit]
    nearest = np.array([float(t * exact) for t in ticks])
    ours = seconds(ticks, dt_s, unit)
    if dt_s == 1 / 3:  # its decimal fraction is too long for exact products: one rounding more
        np.testing.assert_allclose(ours, nearest, rtol=3e-16)
    else:
        assert np.array_equal(ours, nearest)
    assert np.array_equal(to_ticks(ours, dt_s, unit), ticks)


def test_the_trap_is_real_that_step_times_dt_is_floored_to_another_step():
    """Why time crosses as ticks: 137 of 2,000 products are floored one step too early."""
    steps = np.arange(2000)
    assert int((np.floor(steps * 1e-4 / 1e-4) != steps).sum()) == 137


def test_times_between_two_ticks_are_refused_or_floored_as_asked():
    times = torch.tensor([[0.25, 0.3, torch.inf, 1.0]], dtype=torch.float64)
    with pytest.raises(BridgeError, match="2 spikes are on no tick"):
        SpikeStream.from_times(times, 10, 1e-3)
    floored = SpikeStream.from_times(times, 10, 1e-3, off_grid="floor")
    assert floored.ticks.tolist() == [2, 3, 9]
    with pytest.raises(BridgeError, match="on no tick of"):
        to_ticks(np.array([0.0, 0.0005]), 1e-3)


def test_neurons_may_spike_after_the_frame():
    times = torch.tensor([[0.5, 2.5]], dtype=torch.float64)
    stream = SpikeStream.from_times(times, 10, 1e-3, frames=3)
    assert (stream.ticks.tolist(), stream.n_steps) == ([5, 25], 30)
    assert torch.equal(stream.to_times(steps_per_frame=10), times)


def test_float32_times_on_the_grid_are_on_the_grid():
    times = (torch.arange(1000) / 1000).view(1, -1)
    assert SpikeStream.from_times(times, 1000, 1e-4).ticks.tolist() == list(range(1000))


def test_several_spikes_have_no_spike_times():
    stream = SpikeStream.silent(1, 2, 5, 1e-3).with_spikes([0, 0], [1, 3], [1, 1])
    with pytest.raises(BridgeError, match="1 spikes are not the first"):
        stream.to_times()


def test_the_same_unit_in_two_samples_is_no_repetition():
    stream = SpikeStream.silent(2, 2, 5, 1e-3).with_spikes([0, 1], [1, 1], [1, 1])
    assert (stream.repeated(), stream.twice_per_tick()) == (0, 0)


def test_a_tensor_cannot_hold_a_unit_twice_in_a_tick():
    stream = SpikeStream.silent(1, 2, 5, 1e-3).with_spikes([0, 0], [1, 1], [1, 1])
    assert stream.twice_per_tick() == 1
    with pytest.raises(BridgeError, match="one spike per unit and tick"):
        stream.to_tensor()


def test_axes_of_units_are_kept():
    z = (torch.rand(4, 3, 2, 5, 6, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    stream = SpikeStream.from_tensor(z, 1e-3)
    assert (stream.shape, stream.n_units) == ((2, 5, 6), 60)
    assert torch.equal(stream.to_tensor(), z)


def test_a_large_tensor_is_read_in_parts(monkeypatch):
    z = (torch.rand(7, 9, 5, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    whole = SpikeStream.from_tensor(z, 1e-3)
    monkeypatch.setattr("bridges.stream.columns.CELLS", 80)  # two samples at once
    assert whole.same_spikes(SpikeStream.from_tensor(z, 1e-3))


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, math.nan, math.inf])
def test_a_value_that_is_no_spike_is_refused(value):
    z = torch.zeros(3, 2, 2)
    z[2, 1, 0] = value
    with pytest.raises(ValueError, match="only 0 and 1"):
        SpikeStream.from_tensor(z, 1e-3)


def test_unit_of_an_event_is_its_place_in_tonics_frames():
    events = np.array([(2, 1, 7, True), (0, 1, 7, False)], dtype=EVENT_DTYPE)
    stream = SpikeStream.from_events([events], (3, 2, 2), 10)
    frame = stream.to_tensor()[7, 0]  # polarity, row, column
    assert frame.nonzero().tolist() == [[0, 1, 0], [1, 1, 2]]


def test_events_between_two_ticks_are_refused():
    events = np.array([(0, 0, 1500, True)], dtype=EVENT_DTYPE)
    with pytest.raises(BridgeError, match="between two ticks"):
        SpikeStream.from_events([events], (1, 1, 1), 10_000, dt_s=1e-3)
    assert SpikeStream.from_events([events], (1, 1, 2), 10_000, dt_s=5e-4).ticks.tolist() == [3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dt_s": 0.0}, "dt_s must be positive"),
        ({"dt_s": math.nan}, "dt_s must be positive"),
        ({"n_steps": 0}, "n_steps >= 1"),
        ({"n_units": 3}, "shape of as many units"),
        ({"ticks": np.array([0, 1], np.int32)}, "ticks must be a int64 array"),
        ({"ticks": np.array([0, 5])}, r"ticks must be in 0\.\.4, got 0\.\.5"),
        ({"ticks": np.array([-1, 1])}, "ticks must be in"),
        ({"units": np.array([0, 2], np.int32)}, "units must be in"),
        ({"ticks": np.array([1, 0])}, "sorted by tick"),
        ({"ticks": np.array([0, 0]), "units": np.array([1, 0], np.int32)}, "sorted by tick"),
        ({"offsets": np.array([0, 1])}, "offsets must begin with 0 and end"),
        ({"offsets": np.array([0, 3, 2])}, "must not fall"),
        ({"samples": {"label": np.zeros(2)}}, "one row for each of 1 samples"),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_what_is_no_stream_is_refused(change, message):
    stream = SpikeStream.silent(1, 2, 5, 1e-3).with_spikes([0, 0], [0, 1], [0, 1])
    with pytest.raises(ValueError, match=message):
        replace(stream, **{"shape": (2,), **change})


def test_a_stream_without_samples_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        SpikeStream.silent(2, 2, 5, 1e-3).take([])
    with pytest.raises(ValueError, match="at least one sample"):
        SpikeStream.from_tensor(torch.zeros(5, 0, 2), 1e-3)


@pytest.mark.parametrize(("sample", "unit"), [(1, 0), (-1, 0), (0, 2), (0, 2**32)])
def test_spikes_of_nobody_are_refused(sample, unit):
    with pytest.raises(ValueError, match=r"must be in 0\.\."):
        SpikeStream.silent(1, 2, 5, 1e-3).with_spikes([sample], [0], [unit])


# A stream is a sequence of inputs


@given(drawn_spikes(twice=True), st.data())
def test_a_step_model_reads_in_each_step_how_often_each_unit_spikes(drawn, data):
    stream = stream_of(drawn)
    assert isinstance(stream, Sequences)
    expected = torch.zeros(stream.n_steps, len(stream), stream.n_units)
    for sample, tick, unit in drawn[1].T:
        expected[tick, sample, unit] += 1
    few = range(stream.n_steps) if stream.n_steps <= 10 else (0, 1, stream.n_steps - 1)
    index = data.draw(st.lists(st.integers(0, len(stream) - 1), min_size=1, max_size=5))
    for step in few:
        assert torch.equal(stream.at(step), expected[step])
        assert torch.equal(stream.rows(torch.tensor(index)).at(step), expected[step, index])


def test_decisions_on_a_stream_are_those_on_its_tensor_and_cost_what_its_times_say():
    g = torch.Generator().manual_seed(0)
    steps, labels = torch.randint(0, 8, (30, 12), generator=g), torch.arange(30) % 3
    times = steps_to_times(steps, 7)
    stream = SpikeStream.from_times(times, 7, 1e-3)
    model = RCLSTM(12, 6, 3)
    by_stream = decide(model, stream, 0.445)
    by_tensor = decide(model, SpikeSequences(steps, 7), 0.445)
    assert torch.equal(by_stream.step, by_tensor.step)
    assert len(by_stream.step.unique()) > 1
    assert account(by_stream, labels, None, 7, model.cost(), inputs=stream) == account(
        by_stream, labels, times, 7, model.cost()
    )
