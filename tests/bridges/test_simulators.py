"""Traps of NEST, PyNN, Nengo and Lava: each is real, and the bridge goes round it or refuses."""

import subprocess

import numpy as np
import pytest

from bridges.errors import BridgeError
from bridges.stream.stream import SpikeStream
from bridges.target import interpreter, load
from bridges.targets import brian2, lava, nengo, nest, pynn


def needs(bridge, *modules):
    """Return a mark for tests that run a target."""
    reason = bridge.TARGET.missing()
    return pytest.mark.skipif(bool(reason), reason=str(reason))


def stream(*spikes, n=1, n_units=3, n_steps=10, dt_s=1e-3) -> SpikeStream:
    """Return a stream of (sample, tick, unit)."""
    columns = np.array(spikes, dtype=int).reshape(-1, 3).T
    return SpikeStream.silent(n, n_units, n_steps, dt_s).with_spikes(*columns)


# ---- NEST -----------------------------------------------------------------------------------


@pytest.fixture
def kernel():
    """NEST at a resolution of 0.1 ms, silent, reset afterwards."""
    module = nest.kernel()
    before = module.verbosity
    module.ResetKernel()
    module.verbosity = module.VerbosityLevel.ERROR
    yield module
    module.ResetKernel()
    module.verbosity = before


@needs(nest)
def test_nest_itself_refuses_a_spike_at_time_zero(kernel):
    with pytest.raises(kernel.NESTError, match="cannot be set to 0"):
        kernel.Create("spike_generator", params={"spike_times": [0.0]})


@needs(nest)
def test_nest_spikes_one_tick_later_than_the_stream(kernel):
    kernel.resolution = 0.1
    nodes = nest.spike_generators(stream((0, 0, 2), (0, 9, 2), dt_s=1e-4))
    np.testing.assert_allclose(nodes[2].spike_times, [0.1, 1.0])


@needs(nest)
@pytest.mark.parametrize("resolution", [0.1, 0.2, 1.0])
def test_nest_may_run_in_finer_steps_than_the_ticks(kernel, resolution):
    kernel.resolution = resolution
    sent = stream((0, 0, 0), (0, 9, 2), (1, 0, 1), n=2)
    nodes, recorder = nest.spike_generators(sent), kernel.Create("spike_recorder")
    kernel.Connect(nodes, recorder)
    kernel.Simulate(10.0)
    assert sent.same_spikes(nest.from_recorder(recorder, nodes, sent))


@needs(nest)
def test_nest_in_steps_that_do_not_divide_a_tick_is_refused(kernel):
    kernel.resolution = 0.3
    with pytest.raises(BridgeError, match=r"Set nest\.resolution = 1\.0"):
        nest.spike_generators(stream((0, 0, 0)))


@needs(nest)
def test_spikes_of_other_nodes_are_refused_not_renumbered(kernel):
    kernel.resolution = 1.0
    sent, recorder = stream((0, 0, 0)), kernel.Create("spike_recorder")
    mine, other = nest.spike_generators(sent), nest.spike_generators(sent)
    kernel.Connect(mine + other, recorder)
    kernel.Simulate(10.0)
    with pytest.raises(BridgeError, match=r"nodes \[5\]"):
        nest.from_recorder(recorder, mine, sent)


@needs(nest)
def test_spikes_of_several_threads_come_back_too(kernel):
    kernel.local_num_threads = 2
    kernel.resolution = 1.0
    sent = stream(*((0, tick, unit) for unit in range(8) for tick in (0, 9)), n_units=8)
    nodes, recorder = nest.spike_generators(sent), kernel.Create("spike_recorder")
    kernel.Connect(nodes, recorder)
    kernel.Simulate(10.0)
    assert sent.same_spikes(nest.from_recorder(recorder, nodes, sent))


@pytest.mark.parametrize("dt_s", [1e-7, 1 / 3, 1.5e-6])
def test_a_tick_of_no_whole_microseconds_is_refused_and_writes_nothing(dt_s, tmp_path):
    sent = stream((0, 0, 0), dt_s=dt_s)
    with pytest.raises(BridgeError, match="multiple of 1e-6"):
        nest.export(sent, tmp_path / "out.py")
    assert not list(tmp_path.iterdir())
    if not nest.TARGET.missing():
        with pytest.raises(BridgeError, match="multiple of 1e-6"):
            nest.round_trip(sent)


@needs(nest)
@pytest.mark.parametrize("dt_s", [1e-6, 7e-6, 3e-4, 7e-4, 0.0123, 100.0])
def test_every_tick_of_whole_microseconds_runs(dt_s):
    sent = stream(*((0, tick, tick % 3) for tick in range(500)), n_steps=500, dt_s=dt_s)
    assert sent.same_spikes(nest.round_trip(sent))


@needs(nest)
def test_a_round_trip_leaves_an_empty_kernel_and_its_verbosity(kernel):
    kernel.verbosity = kernel.VerbosityLevel.WARNING
    nest.round_trip(stream((0, 0, 0)))
    assert kernel.network_size == 0
    assert kernel.verbosity == kernel.VerbosityLevel.WARNING


@needs(nest)
def test_nest_prints_nothing(capfd):
    nest.round_trip(stream((0, 0, 0)))
    assert capfd.readouterr() == ("", "")


# ---- PyNN -----------------------------------------------------------------------------------

over_nest = pytest.mark.skipif(bool(nest.TARGET.missing()), reason="NEST is not installed")


def record(sim, cells, run_ms):
    """Return the population of these cells after a run in which its spikes were recorded."""
    with pynn._quiet(), brian2.interpreted():
        population = sim.Population(3, cells)
        population.record("spikes")
        sim.run(run_ms)
    return population


@pytest.fixture
def pynn_nest():
    """PyNN over NEST, emptied afterwards."""
    sim = pynn.setup(1e-3, "nest")
    yield sim
    sim.end()
    nest.kernel().ResetKernel()


@pytest.fixture
def pynn_brian2():
    """PyNN over Brian2 in steps of 10 µs, and Brian2's default clock left as it comes: 100 µs."""
    b2 = load(brian2.TARGET)
    sim = pynn.setup(1e-5)
    before, b2.defaultclock.dt = b2.defaultclock.dt, 0.1 * b2.ms
    yield sim
    sim.end()
    b2.defaultclock.dt = before


@needs(pynn)
@over_nest
@pytest.mark.parametrize("dt_s", [1e-6, 1e-4, 7e-4, 0.1])
def test_pynn_over_nest_brings_every_spike_back(dt_s):
    """NEST holds 0.7 ms as 0.7000000000000001 ms, and a delay of 0.7 ms as one of no step."""
    spikes = ((tick % 2, tick, tick % 30) for tick in range(500))
    sent = stream(*spikes, n=3, n_units=40, n_steps=500, dt_s=dt_s)
    assert sent.same_spikes(pynn.round_trip(sent, "nest"))
    assert nest.kernel().network_size == 0


@needs(pynn)
@over_nest
@pytest.mark.parametrize(("min_delay_ms", "first"), [(1.0, 2), (4.0, 5)])
def test_pynn_over_nest_shifts_no_more_than_it_must(pynn_nest, min_delay_ms, first):
    """A spike at the minimal delay is refused, an earlier one is lost, the next one arrives."""
    sent = stream((0, 0, 0), (0, 9, 2))
    for at_ms in range(first):
        pynn_nest.setup(timestep=1.0, min_delay=min_delay_ms)
        cells = pynn_nest.SpikeSourceArray(spike_times=[float(at_ms)])
        if at_ms == min_delay_ms:
            with pytest.raises(nest.kernel().NESTError, match="cannot be set to 0"):
                record(pynn_nest, cells, 20.0)
        else:
            with pynn._quiet():
                block = record(pynn_nest, cells, 20.0).get_data("spikes")
            assert not sum(map(len, block.segments[0].spiketrains))
    pynn_nest.setup(timestep=1.0, min_delay=min_delay_ms)
    assert pynn.later(sent, pynn_nest) == first
    sources = record(pynn_nest, pynn.spike_source_array(sent, pynn_nest), 10.0 + first)
    assert sent.same_spikes(pynn.from_population(sources, sent, pynn_nest))


@needs(pynn)
def test_spike_sources_of_pynn_over_brian2_ignore_the_time_step(pynn_brian2):
    """In steps of 10 µs, spikes at 0, 10, ... 90 µs are all recorded at 0: nothing says so."""
    sent = stream(*((0, tick, 0) for tick in (3, 14)), n_steps=20, dt_s=1e-5)
    plain = pynn_brian2.SpikeSourceArray(spike_times=sent.times("ms"))
    (train, *_) = record(pynn_brian2, plain, 0.2).get_data("spikes").segments[0].spiketrains
    np.testing.assert_allclose(train.magnitude, [0.0, 0.1])
    with pytest.raises(BridgeError, match=r"defaultclock.* is 0\.1 ms"):
        pynn.spike_source_array(sent, pynn_brian2)


@needs(pynn)
@pytest.mark.parametrize("dt_s", [1e-6, 1e-5, 7e-4, 1 / 3])
def test_pynn_over_brian2_brings_every_spike_back_at_any_tick(dt_s):
    sent = stream(*((0, tick, tick % 3) for tick in range(500)), n_steps=500, dt_s=dt_s)
    assert sent.same_spikes(pynn.round_trip(sent))


@needs(pynn)
def test_a_round_trip_leaves_the_default_clock_of_brian2():
    clock = load(brian2.TARGET).defaultclock
    before = float(clock.dt)
    pynn.round_trip(stream((0, 0, 0), dt_s=0.02))
    assert float(clock.dt) == before


@needs(pynn)
def test_a_back_end_that_was_not_checked_is_refused():
    with pytest.raises((ValueError, TypeError), match="mock"):  # TypeError: of the shape checks
        pynn.round_trip(stream((0, 0, 0)), "mock")
    with pytest.raises(BridgeError, match=r"pyNN\.mock has not been held"):
        pynn.spike_source_array(stream((0, 0, 0)), load(pynn.TARGET, "pyNN.mock"))


# ---- Nengo ----------------------------------------------------------------------------------


def simulate(spikes, dt_s, n_steps, synapse=None):
    """Return what a probe records of the node that `spikes` makes in a network."""
    module = load(nengo.TARGET)
    with module.Network() as network:
        probe = module.Probe(spikes(), synapse=synapse)
    with module.Simulator(network, dt=dt_s, progress_bar=False) as simulator:
        simulator.run_steps(n_steps, progress_bar=False)
        return simulator.data[probe]


@needs(nengo)
@pytest.mark.parametrize("dt_s", [1e-6, 7e-4, 1 / 3, 0.1, 30.0])
def test_every_tick_has_its_own_step_in_nengo(dt_s):
    sent = stream(*((0, tick, tick % 3) for tick in range(3000)), n_steps=3000, dt_s=dt_s)
    assert sent.same_spikes(nengo.round_trip(sent))


@needs(nengo)
def test_a_spike_has_integral_one_also_in_finer_steps():
    sent = stream((0, 0, 0), (0, 9, 2), (0, 9, 2))
    for finer in (1, 4, 10):
        data = simulate(lambda: nengo.node(sent), 1e-3 / finer, 10 * finer)
        ticks = data.reshape(10, finer, 3).sum(axis=1) * 1e-3 / finer
        expected = np.zeros((10, 3))
        expected[0, 0], expected[9, 2] = 1, 2
        np.testing.assert_allclose(ticks, expected)


@needs(nengo)
def test_the_node_is_silent_after_the_end_where_present_input_starts_again():
    sent, module = stream((0, 0, 1)), load(nengo.TARGET)
    values = sent.to_tensor()[:, 0].numpy() / sent.dt_s
    ours = simulate(lambda: nengo.node(sent), 1e-3, 25)
    theirs = simulate(
        lambda: module.Node(module.processes.PresentInput(values, sent.dt_s)), 1e-3, 25
    )
    assert np.argwhere(ours).tolist() == [[0, 1]]
    assert np.argwhere(theirs).tolist() == [[0, 1], [10, 1], [20, 1]]


@needs(nengo)
def test_filtered_spikes_and_other_lengths_are_refused():
    sent = stream((0, 0, 0))
    filtered = simulate(lambda: nengo.node(sent), 1e-3, 10, synapse=0.005)
    with pytest.raises(BridgeError, match="synapse=None"):
        nengo.from_probe(filtered, sent)
    longer = simulate(lambda: nengo.node(sent), 1e-3, 11)
    with pytest.raises(BridgeError, match="11 rows"):
        nengo.from_probe(longer, sent)
    with pytest.raises(BridgeError, match="no spikes"):
        nengo.from_probe(-longer[:10], sent)


# ---- Lava -----------------------------------------------------------------------------------

SINK = """
import sys, numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
data = np.load(sys.argv[1])
if __name__ == "__main__":
    source, sink = Source(data=data), Sink(shape=data.shape[:1], buffer=data.shape[1])
    source.s_out.connect(sink.a_in)
    source.run(RunSteps(num_steps=data.shape[1]), Loihi2SimCfg())
    np.save(sys.argv[2], sink.data.get())
    source.stop()
"""


@needs(lava)
def test_what_a_sink_of_lava_records_is_read_back(tmp_path):
    """Lava's own recorder, beside the one of the script."""
    sent = stream((0, 0, 0), (0, 9, 2), (1, 4, 1), (1, 9, 1), n=2)
    (tmp_path / "sink.py").write_text(SINK)
    np.save(tmp_path / "in.npy", lava.ring_buffer_data(sent))
    command = [interpreter(lava.TARGET), "sink.py", "in.npy", "out.npy"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert sent.same_spikes(lava.from_ring_buffer(np.load(tmp_path / "out.npy"), sent))


def test_two_spikes_in_one_tick_are_no_graded_spike():
    with pytest.raises(BridgeError, match="repeat one"):
        lava.ring_buffer_data(stream((0, 1, 1), (0, 1, 1)))
    with pytest.raises(BridgeError, match="graded"):
        lava.from_ring_buffer(np.full((3, 10), 2), stream())


def test_a_sink_of_another_length_is_refused():
    with pytest.raises(BridgeError, match="buffer=10"):
        lava.from_ring_buffer(np.zeros((3, 9)), stream())


def test_without_an_interpreter_lava_says_how_to_make_one(monkeypatch):
    monkeypatch.delenv(lava.TARGET.own_environment, raising=False)
    with pytest.raises(ImportError, match=r"python3\.10 -m venv"):
        lava.round_trip(stream((0, 0, 0)))


# ---- spikes of other units than those that were sent ---------------------------------------


def test_spikes_of_a_layer_with_other_units_are_read():
    sent = stream((0, 0, 0), n=2, n_units=3)
    data = np.zeros((10, 8))
    data[[0, 9], [3, 4]] = 1 / sent.dt_s  # unit 3 of sample 0, unit 0 of sample 1
    for back in (
        nengo.from_probe(data, sent, n_units=4),
        lava.from_ring_buffer(data.T * sent.dt_s, sent, n_units=4),
    ):
        assert stream((0, 0, 3), (1, 9, 0), n=2, n_units=4).same_spikes(back)
