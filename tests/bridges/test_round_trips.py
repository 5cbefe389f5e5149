"""Every target, held to what its `TARGET` says: what it carries comes back, the rest is refused."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bridges import support
from bridges.errors import BridgeError
from bridges.stream import file as stream_file
from bridges.stream import script
from bridges.stream.clock import LONGEST
from bridges.stream.stream import SpikeStream

INSTALLED = []
for _name in support.NAMES:
    _reason = support.bridge(_name).TARGET.missing()
    _mark = [pytest.mark.skip(reason=_reason)] if _reason else []
    INSTALLED.append(pytest.param(_name, marks=_mark))

each_target = pytest.mark.parametrize("name", INSTALLED)


def random_stream(n: int, n_units: int, n_steps: int, dt_s: float, share: float) -> SpikeStream:
    """Return several spikes per unit, at most one per tick; the first and last step included."""
    g = np.random.default_rng(0)
    sample, tick, unit = np.nonzero(g.random((n, n_steps, n_units)) < share)
    more = ([0, 0, n - 1], [0, n_steps - 1, n_steps - 1], [0, 0, n_units - 1])
    joined = (np.concatenate([a, b]) for a, b in zip((sample, tick, unit), more, strict=True))
    cells = np.unique(np.stack(list(joined)), axis=1)
    return SpikeStream.silent(n, n_units, n_steps, dt_s).with_spikes(*cells)


@each_target
@pytest.mark.parametrize(
    "dt_s", [1e-4, 5e-3, *(pytest.param(x, marks=pytest.mark.slow) for x in (1e-3, 0.1))]
)
def test_a_rank_code_comes_back_tick_for_tick(name, dt_s):
    """1,000 steps, each unit once, ties, first and last step, silent units, an empty sample."""
    sent = support.sample_stream()
    sent = SpikeStream(sent.ticks, sent.units, sent.offsets, dt_s, sent.n_units, sent.n_steps)
    assert sent.same_spikes(support.bridge(name).round_trip(sent))


@each_target
def test_one_silent_sample_comes_back(name):
    sent = SpikeStream.silent(1, n_units=4, n_steps=7, dt_s=1e-3)
    assert sent.same_spikes(support.bridge(name).round_trip(sent))


@each_target
def test_a_single_step_comes_back(name):
    sent = SpikeStream.silent(1, 3, n_steps=1, dt_s=1e-3).with_spikes([0, 0], [0, 0], [0, 2])
    assert sent.same_spikes(support.bridge(name).round_trip(sent))


@each_target
def test_several_spikes_per_unit_come_back_or_are_refused(name):
    bridge = support.bridge(name)
    sent = random_stream(n=2, n_units=5, n_steps=40, dt_s=1e-3, share=0.3)
    if bridge.TARGET.repeats:
        assert sent.same_spikes(bridge.round_trip(sent))
    else:
        with pytest.raises(BridgeError, match="spike"):
            bridge.round_trip(sent)


@each_target
def test_two_spikes_in_one_tick_come_back_or_are_refused(name):
    bridge = support.bridge(name)
    sent = SpikeStream.silent(1, 3, 5, 1e-3).with_spikes([0, 0, 0], [2, 2, 4], [1, 1, 0])
    if bridge.TARGET.per_tick is None or bridge.TARGET.per_tick > 1:
        assert sent.same_spikes(bridge.round_trip(sent))
    else:
        with pytest.raises(BridgeError, match="tick"):
            bridge.round_trip(sent)


@each_target
def test_what_is_exported_exists_and_says_so(name, tmp_path):
    """Scripts are run for real, where the target is; files are read back by the round trip."""
    bridge = support.bridge(name)
    sent = support.sample_stream()
    path = bridge.export(sent, tmp_path / f"out{bridge.TARGET.suffix}")
    assert path.exists()
    if bridge.TARGET.suffix == ".py" and not bridge.TARGET.own_environment:
        assert stream_file.load(path.with_suffix(".npz")).same_spikes(sent)
        assert sent.same_spikes(script.run(bridge.TARGET, sent))


@each_target
def test_a_wrong_suffix_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"out\.nonsense"):
        support.bridge(name).export(support.sample_stream(), tmp_path / "out.nonsense")
    assert not list(tmp_path.iterdir())


# ---- what follows from TARGET ---------------------------------------------------------------


def one_unit(ticks, n_steps=10, dt_s=1e-3) -> SpikeStream:
    """Return one sample in which unit 1 of three spikes at these ticks."""
    zeros = np.zeros(len(ticks), int)
    return SpikeStream.silent(1, 3, n_steps, dt_s).with_spikes(zeros, ticks, zeros + 1)


def shaped(*shape) -> SpikeStream:
    return replace(SpikeStream.silent(1, int(np.prod(shape)), 10, 1e-3), shape=shape)


def refusals(target):
    """Yield what a target refuses: a stream just beyond that limit alone, and one just within."""
    if not target.repeats:
        yield "repeats", one_unit([1, 2]), one_unit([1])
    if target.per_tick is not None:
        yield "per_tick", one_unit([4] * (target.per_tick + 1)), one_unit([4] * target.per_tick)
    if target.end_us is not None:
        end = target.end_us // 2  # of ticks of 2 µs
        yield "microseconds", one_unit([1], dt_s=2.5e-6), one_unit([1], dt_s=2e-6)
        yield "end_us", one_unit([end], end + 1, 2e-6), one_unit([end - 1], end + 1, 2e-6)
    if target.side is not None:
        yield "width", shaped(target.side + 1), shaped(target.side)
        yield "height", shaped(2, target.side + 1, 3), shaped(2, target.side, 3)
        yield "polarities", shaped(3, 2, 2), shaped(2, 3, 2)
    if target.float_times:
        n = 2 if target.float_times == "timeline" else 1
        most = LONGEST // n
        yield "float_times", *(SpikeStream.silent(n, 3, steps, 1e-6) for steps in (most + 1, most))


REFUSALS = [
    pytest.param(target, beyond, within, id=f"{target.name}-{what}")
    for target in support.targets()
    for what, beyond, within in refusals(target)
]


@pytest.mark.parametrize(("target", "beyond", "within"), REFUSALS)
def test_a_stream_within_every_limit_is_admitted_and_one_beyond_is_refused(
    target, beyond, within, tmp_path
):
    target.admit(within)
    with pytest.raises(BridgeError):
        target.admit(beyond)
    bridge = support.bridge(target.name)
    with pytest.raises(BridgeError):
        bridge.export(beyond, tmp_path / f"out{target.suffix}")
    assert not list(tmp_path.iterdir())
    if target.own_environment or not target.missing():
        with pytest.raises(BridgeError):
            bridge.round_trip(beyond)


def test_a_target_of_one_spike_per_unit_would_refuse_the_second():
    once = replace(support.bridge("brian2").TARGET, repeats=False)
    ((what, beyond, within), *_) = refusals(once)
    assert what == "repeats"
    once.admit(within)
    with pytest.raises(BridgeError, match="1 spikes are not the first"):
        once.admit(beyond)


def test_spikes_beyond_so_many_per_tick_are_counted_as_a_loop_counts_them():
    g = np.random.default_rng(0)
    columns = g.integers(0, 3, (3, 200))  # 27 cells, about 7 spikes each
    stream = SpikeStream.silent(3, 3, 3, 1e-3).with_spikes(*columns)
    counts = Counter(zip(*columns.tolist(), strict=True)).values()
    for most in (1, 2, 7, 20):
        assert stream.twice_per_tick(most) == sum(max(0, n - most) for n in counts)
