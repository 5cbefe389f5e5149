"""Every target, held to what its `TARGET` says: what it carries comes back, the rest is refused."""

import numpy as np
import pytest

from bridges import support
from bridges.errors import BridgeError
from bridges.stream import file as stream_file
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
@pytest.mark.parametrize("dt_s", [1e-4, 1e-3, 5e-3, 0.1])
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
    if bridge.TARGET.twice:
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
        from bridges.stream import script

        assert stream_file.load(path.with_suffix(".npz")).same_spikes(sent)
        assert sent.same_spikes(script.run(name, sent))


@each_target
def test_a_wrong_suffix_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"out\.nonsense"):
        support.bridge(name).export(support.sample_stream(), tmp_path / "out.nonsense")
    assert not list(tmp_path.iterdir())
