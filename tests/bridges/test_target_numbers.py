"""What targets hold, read as what it is: its units, its clock, its numbering; or refused."""

import math

import numpy as np
import pytest
import torch

from bridges.errors import BridgeError
from bridges.stream import timeline
from bridges.stream.stream import SpikeStream
from bridges.target import load
from bridges.targets import (
    brian2,
    dat,
    lava,
    nengo,
    neo,
    nest,
    nir,
    norse,
    nwb,
    pynn,
    rockpool,
    sinabs,
    snntorch,
    sonata,
    spikingjelly,
    tonic,
)
from encoders.functional import EVENT_DTYPE

pytestmark = pytest.mark.usefixtures("as_user")


def needs(*bridges, module=None):
    """Skip where a target is not installed."""
    for bridge in bridges:
        if bridge.TARGET.missing():
            pytest.skip(bridge.TARGET.missing())
    if module:
        pytest.importorskip(module)


def stream(*spikes, n=1, n_units=3, n_steps=10, dt_s=1e-3) -> SpikeStream:
    columns = np.array(spikes, int).reshape(-1, 3).T
    return SpikeStream.silent(n, n_units, n_steps, dt_s).with_spikes(*columns)


# ---- tensors of libraries ----


READERS = [snntorch.from_spk_rec, norse.from_spikes, spikingjelly.from_s_seq]


@pytest.mark.parametrize("read", READERS)
def test_output_of_any_type_with_a_gradient_is_read(read):
    sent = stream((0, 0, 0), (1, 9, 2), n=2)
    z = sent.to_tensor()
    for given in (z.clone().requires_grad_() * 1, z.bool(), z.half(), z.long(), z.to_sparse()):
        assert read(given, 1e-3).same_spikes(sent)
    with pytest.raises(ValueError, match="0 and 1"):
        read(2 * z, 1e-3)
    with pytest.raises(ValueError, match="time, batch"):
        read(z[:, 0], 1e-3)


def test_a_raster_of_any_type_is_counts():
    sent = stream((0, 0, 0), (0, 0, 0), (1, 9, 2), n=2)
    counts = sinabs.raster(sent)
    for given in (counts.clone().requires_grad_() * 1, counts.bfloat16(), counts.byte()):
        assert sinabs.from_raster(given, 1e-3).same_spikes(sent)
    assert sinabs.from_raster(counts.bool(), 1e-3).n_spikes == 2
    for wrong in (0.5, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="counts of spikes"):
            sinabs.from_raster(torch.full((1, 1, 1), wrong), 1e-3)


def test_a_series_that_starts_later_is_refused():
    needs(rockpool)
    sent = stream((0, 0, 0), (0, 9, 2))
    (series,) = rockpool.ts_events(sent)
    with pytest.raises(BridgeError, match="starts at 5"):
        rockpool.from_ts_events([series.start_at(5.0)], sent)
    assert rockpool.from_ts_events([series], sent).same_spikes(sent)


# ---- cameras ----


def test_frames_of_signed_polarities_and_of_any_types_are_those_of_tonics_events():
    needs(tonic)
    kinds = [("t", "u8"), ("x", "u2"), ("y", "f4"), ("p", "i1")]
    signed = np.array([(6, 1, 0, 1), (5, 0, 0, -1)], kinds)
    frames = tonic.ToFrameOnClock((2, 1, 2), 10, 1)(signed)
    assert np.argwhere(frames).tolist() == [[0, 0, 0, 0], [0, 1, 0, 1]]
    assert signed["p"].tolist() == [1, -1]  # left as they were
    with pytest.raises(BridgeError, match="Both polarities"):
        tonic.ToFrameOnClock((2, 1, 1), 10, 1)(signed)


@pytest.mark.parametrize(("x", "y"), [(-1, 0), (34, 0), (0, -1), (0, 20)])
def test_pixels_outside_the_sensor_are_not_wrapped_to_its_other_side(x, y):
    needs(tonic)
    events = np.zeros(1, EVENT_DTYPE)
    events["x"], events["y"] = x, y
    with pytest.raises(ValueError, match="outside of the sensor"):
        tonic.ToFrameOnClock((34, 20, 2), 100, 1)(events)


@pytest.mark.parametrize("options", [(10.5, 1), (10, 1.5), (0, 1), (10, -1), ("10", 1)])
def test_frames_are_whole_and_of_whole_microseconds(options):
    with pytest.raises((ValueError, TypeError), match="must be"):
        tonic.ToFrameOnClock((2, 1, 2), *options)


def test_frames_with_a_gradient_or_of_booleans_are_counts():
    needs(tonic)
    sent = stream((0, 2, 1), (0, 2, 1), (0, 9, 0))
    frames = torch.from_numpy(tonic.to_frame(sent)(tonic.to_recordings(sent)[0])).float()
    assert tonic.from_frames([frames.requires_grad_()], sent).same_spikes(sent)
    assert tonic.from_frames([frames.detach().bool().numpy()], sent).n_spikes == 2
    with pytest.raises(BridgeError, match="other numbers than counts"):
        tonic.from_frames([frames * 0.5], sent)


@pytest.mark.parametrize("field", [{"x": -1}, {"t": 2**63}, {"p": 2}, {"y": 2**15}])
def test_events_of_a_file_that_tonic_cannot_hold_are_refused(field, tmp_path, monkeypatch):
    held = np.zeros(1, [("t", "u8"), ("x", "i4"), ("y", "u2"), ("p", "i1")])
    for name, value in field.items():
        held[name] = value
    path = tmp_path / "recording.dat"
    path.touch()
    form = type(dat.FORMAT)(dat.TARGET, lambda path: (held, None))
    with pytest.raises(ValueError, match=r".{25}"):
        form.read_events(path, (4, 4, 2))


# ---- simulators ----


def test_a_nengo_step_that_does_not_divide_the_tick_is_refused_when_it_runs():
    needs(nengo)
    module, sent = load(nengo.TARGET), stream((0, 0, 0), (0, 1, 1), (0, 2, 0), (0, 7, 2))
    with module.Network() as network:
        probe = module.Probe(nengo.node(sent))
    for dt_s in (2e-3, 7e-4, 1e-3 * (1 + 1e-6)):
        with (
            module.Simulator(network, dt=dt_s, progress_bar=False) as simulator,
            pytest.raises(BridgeError, match="does not divide the stream's tick"),
        ):
            simulator.run_steps(5, progress_bar=False)
    with module.Simulator(network, dt=5e-4, progress_bar=False) as simulator:
        simulator.run_steps(20, progress_bar=False)
        assert (simulator.data[probe].sum(0) * 5e-4).round(9).tolist() == [2.0, 1.0, 1.0]


def test_nengo_spikes_of_another_amplitude_or_step_are_not_several():
    sent = stream((0, 0, 0), (0, 9, 2))
    data = np.zeros((10, 3), np.float32)
    data[0, 0] = data[9, 2] = 2 / sent.dt_s
    with pytest.raises(BridgeError, match="amplitude"):
        nengo.from_probe(data, sent)
    assert nengo.from_probe(data, sent, amplitude=2.0).same_spikes(sent)
    assert nengo.from_probe(data, sent, amplitude=1.0).n_spikes == 4
    with pytest.raises(BridgeError, match="no spikes"):
        nengo.from_probe(data, sent, amplitude=0.3)
    for amplitude in (0.0, math.nan, -1.0):
        with pytest.raises(ValueError, match="amplitude must be positive"):
            nengo.from_probe(data, sent, amplitude=amplitude)


def test_no_units_are_not_the_units_of_the_stream():
    sent = stream((0, 0, 0))
    for read in (
        lambda: nengo.from_probe(np.zeros((10, 3)), sent, n_units=0),
        lambda: lava.from_ring_buffer(np.zeros((3, 10)), sent, n_units=0),
    ):
        with pytest.raises(ValueError, match=r".{25}"):
            read()


def test_a_group_of_another_size_is_not_numbered_as_ours_in_brian2():
    needs(brian2)
    b2, sent = load(brian2.TARGET), stream((0, 0, 0), (1, 4, 2), n=2)
    group = brian2.spike_generator(sent)
    monitor = b2.SpikeMonitor(group)
    with brian2.interpreted():
        b2.Network(group, monitor).run(sent.duration_s * b2.second)
    assert brian2.from_monitor(monitor, sent).same_spikes(sent)
    with pytest.raises(BridgeError, match="6 neurons were recorded"):
        brian2.from_monitor(monitor, sent, n_units=2)


def test_a_recorder_of_other_nodes_or_in_steps_is_refused_in_nest():
    needs(nest)
    sent, kernel = stream((0, 0, 0), (1, 4, 2), n=2), nest.kernel()
    kernel.ResetKernel()
    try:
        kernel.resolution = 0.1
        nodes = nest.spike_generators(sent)
        ms = kernel.Create("spike_recorder")
        in_steps = kernel.Create("spike_recorder", params={"time_in_steps": True})
        for recorder in (ms, in_steps):
            kernel.Connect(nodes, recorder)
        with nest.quiet(kernel):
            kernel.Simulate(11.0)
        assert nest.from_recorder(ms, nodes, sent).same_spikes(sent)
        with pytest.raises(BridgeError, match="in steps"):
            nest.from_recorder(in_steps, nodes, sent)
        with pytest.raises(BridgeError, match="6 neurons were recorded"):
            nest.from_recorder(ms, nodes, sent, n_units=2)
    finally:
        kernel.ResetKernel()


def test_a_population_of_another_size_is_not_numbered_as_ours_in_pynn():
    needs(pynn)
    sent = stream((0, 0, 0), (1, 4, 2), n=2)
    with pynn._network(sent.dt_s, "brian2") as backend:
        population = backend.Population(6, pynn.spike_source_array(sent, backend))
        population.record("spikes")
        backend.run(10.0)
        assert pynn.from_population(population, sent, backend).same_spikes(sent)
        with pytest.raises(BridgeError, match="6 neurons were recorded"):
            pynn.from_population(population, sent, backend, n_units=2)


# ---- Neo ----


def block_of(*segments, unit="ms", t_stop=100):
    """Return a Block of others; a train is its times and annotations."""
    module = load(neo.TARGET)
    block = module.Block()
    for trains in segments:
        segment = module.Segment()
        for times, about in trains:
            segment.spiketrains.append(module.SpikeTrain(times, units=unit, t_stop=t_stop, **about))
        block.segments.append(segment)
    return block


ONE, TWO = {"channel_id": 1, "unit_id": 1}, {"channel_id": 1, "unit_id": 2}
APART = [
    pytest.param([[([1], ONE), ([2], TWO), ([3], {"channel_id": 2})]], id="one segment"),
    pytest.param([[([1], ONE)], [([2], TWO)]], id="two segments"),
    pytest.param([[([1], ONE), ([], TWO)]], id="one silent"),
    pytest.param([[([1], {"channel_id": 1}), ([2], {"channel_id": 1})]], id="unnamed"),
    pytest.param(
        [[([1], {"channel_id": 1, "source_population": name})] for name in ("V1", "LGN")],
        id="two populations",
    ),
    pytest.param([[([1], {"channel_id": 1}), ([2], {})]], id="channel and place"),
    pytest.param([[([1], {}), ([2], {})], [([1], {})]], id="one train missing"),
    pytest.param([[([1], {"channel_id": 1.9})]], id="fraction"),
    pytest.param([[([1], {"channel_id": "3"})]], id="text"),
    pytest.param([[([1], {"channel_id": -1})]], id="negative"),
]


@pytest.mark.parametrize("segments", APART)
def test_units_of_one_electrode_are_never_merged(segments):
    needs(neo)
    with pytest.raises(BridgeError, match="channel_id"):
        neo.from_block(block_of(*segments), dt_s=1e-3, n_steps=100)


@pytest.mark.parametrize(("unit", "per_ms"), [("s", 1e-3), ("ms", 1), ("us", 1000)])
def test_units_and_times_of_a_sorted_block_are_its_own(unit, per_ms):
    needs(neo)
    trains = [(np.array([1, 3]) * per_ms, {"channel_id": 7}), ([], {"channel_id": np.int16(2)})]
    block = block_of(trains, trains[::-1], unit=unit, t_stop=100 * per_ms)
    back = neo.from_block(block, dt_s=1e-3, n_steps=100)
    assert (back.ticks.tolist(), back.units.tolist()) == ([1, 3, 1, 3], [7, 7, 7, 7])
    assert back.n_units == 8


def test_a_grid_of_zero_is_not_that_of_the_block():
    needs(neo)
    block = neo.to_block(stream((0, 1, 1)))
    for said in ({"dt_s": 0.0}, {"n_steps": 0}, {"dt_s": math.nan}, {"n_steps": 10.5}):
        with pytest.raises(ValueError, match=r".{25}"):
            neo.from_block(block, **said)


def test_numbers_said_of_some_segments_do_not_become_text():
    needs(neo)
    block = neo.to_block(stream((0, 1, 1), n=2))
    block.segments[0].annotate(label=1)
    block.segments[1].annotate(label="one")
    assert "label" not in neo.from_block(block).samples


# ---- trials of a session ----


LIKE = SpikeStream.silent(2, 1, 1000, 1e-3)


def at(*times):
    return np.array(times), np.zeros(len(times), int)


def test_a_trial_has_the_spikes_between_its_start_and_its_stop():
    start, stop = np.array([10.0, 11.5]), np.array([10.5, 12.0])
    read = timeline.cut(*at(11.5, 10.0, 10.5, 12.0), start, LIKE, stop)
    assert [read.of_sample(i)[0].tolist() for i in (0, 1)] == [[0, 500], [0, 500]]
    for between in (9.0, 10.75, 12.25):
        with pytest.raises(BridgeError, match="in no sample"):
            timeline.cut(*at(between), start, LIKE, stop)
    unknown = timeline.cut(*at(10.75), start, LIKE, np.array([math.nan, 12.0]))
    assert unknown.ticks.tolist() == [750]


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        ([0.0, 0.5], [1.0, 1.5], "overlap"),
        ([0.0, math.nan], [1.0, 1.5], "one after the other"),
        ([0.5, 0.0], [1.0, 1.5], "one after the other"),
    ],
)
def test_trials_that_share_their_spikes_are_refused(start, stop, message):
    with pytest.raises(BridgeError, match=message):
        timeline.cut(*at(0.75), np.array(start), LIKE, np.array(stop))


def test_a_session_of_others_is_cut_at_its_trials():
    needs(nwb)
    module = load(nwb.TARGET)
    session = module.NWBFile("a session", "id", nwb.EPOCH)
    for start in (1.0, 5.0):
        session.add_trial(start_time=start, stop_time=start + 0.5)
    session.add_unit(id=17, spike_times=[1.25, 5.0])
    session.add_unit(id=3, spike_times=np.array([5.5], np.float32))
    read = nwb.from_nwbfile(session, dt_s=1e-3, n_steps=1000)
    assert read.ticks.tolist() == [250, 0, 500]
    assert read.units.tolist() == [0, 0, 1]  # rows of the table
    session.add_unit(id=4, spike_times=[2.5])
    for n_steps in (1000, 4000):
        with pytest.raises(BridgeError, match="in no sample"):
            nwb.from_nwbfile(session, dt_s=1e-3, n_steps=n_steps)
    with pytest.raises(ValueError, match="dt_s must be positive"):
        nwb.from_nwbfile(session, dt_s=0.0, n_steps=1000)


def test_a_group_of_pynapple_is_read_by_its_plain_support_and_its_keys():
    nap = pytest.importorskip("pynapple")
    support = nap.IntervalSet([0, 2], [1, 3])
    trains = {7: nap.Ts(np.array([0.001, 0.5, 2.25])), 2: nap.Ts(np.array([]))}
    group = nap.TsGroup(trains, time_support=support)
    read = nwb.from_tsgroup(group, 1e-3)
    assert (read.n_steps, read.n_units) == (1000, 8)
    assert (read.ticks.tolist(), read.units.tolist()) == ([1, 500, 250], [7, 7, 7])
    with pytest.raises(ValueError, match="no unit"):
        nwb.from_tsgroup(group[group.rates > 1e9], 1e-3)
    with pytest.raises(BridgeError, match="one length"):
        nwb.from_tsgroup(group.restrict(nap.IntervalSet([0, 2], [1, 2.5])), 1e-3)


@pytest.mark.filterwarnings("ignore")
def test_times_that_count_from_events_are_not_those_of_the_session():
    nap = pytest.importorskip("pynapple")
    events, spikes = nap.Ts(np.array([2.0, 5.0])), nap.Ts(np.arange(10.0))
    for window in ((-1.0, 1.0), (0.0, 1.0)):
        trials = nap.compute_perievent(spikes, events, window)
        with pytest.raises(BridgeError, match="count from events"):
            nwb.from_tsgroup(trials, 1.0)


# ---- files ----


@pytest.mark.parametrize("said", [{"dt_s": 0.0}, {"n_units": 0}, {"n_steps": 0}, {"n_steps": 9.5}])
def test_a_grid_of_zero_is_not_that_of_a_sonata_file(said, tmp_path):
    needs(sonata)
    path = sonata.export(stream((0, 1, 1)), tmp_path / "spikes.h5")
    with pytest.raises(ValueError, match=r".{25}"):
        sonata.from_file(path, **said)
    with pytest.raises(ValueError, match=r".{25}"):
        sonata.from_file(path, populations=[])


def test_the_end_of_event_data_is_on_a_tick():
    needs(nir)
    data = nir.to_event_data(stream((0, 1, 1)))
    data.t_max = 0.0104
    with pytest.raises(BridgeError, match="on no tick"):
        nir.from_event_data(data, 1e-3)
    assert nir.from_event_data(data, 1e-3, n_steps=10).n_steps == 10
    with pytest.raises(ValueError, match="n_steps"):
        nir.from_event_data(data, 1e-3, n_steps=0)
    data.idx = data.idx + 0.5
    with pytest.raises(ValueError, match="Ids must be whole"):
        nir.from_event_data(data, 1e-3, n_steps=10)


# ---- units of others, by their names ------------------------------------------------------------


def test_one_name_is_not_a_list_of_populations_named_by_its_letters(tmp_path):
    h5py = pytest.importorskip("h5py")
    from bridges.targets import sonata

    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("V1", "V", "1"):
            file[f"spikes/{name}/node_ids"] = np.array([0], np.uint32)
            file[f"spikes/{name}/timestamps"] = np.array([1.0])
    with pytest.raises(TypeError, match="list of names"):
        sonata.from_file(tmp_path / "a.h5", 1e-3, 1, 10, populations="V1")
    found = sonata.from_file(tmp_path / "a.h5", 1e-3, 1, 10, populations=["V1"])
    assert (len(found), found.ticks.tolist()) == (1, [1])


@pytest.mark.parametrize("says", ["name", "unit_id", "source_id"])
def test_trains_in_another_order_are_not_the_units_at_their_places(says):
    neo = pytest.importorskip("neo")
    from bridges.targets.neo import from_block

    def block(*orders):
        made = neo.Block(metadata="of a lab", shape="round")  # no annotations of ours
        for order in orders:
            made.segments.append(neo.Segment())
            for who in order:
                train = neo.SpikeTrain([1], units="ms", t_stop=10, **{says: who})
                made.segments[-1].spiketrains.append(train)
        return made

    assert from_block(block("ab", "ab"), 1e-3, 10).units.tolist() == [0, 1, 0, 1]
    with pytest.raises(BridgeError, match="another order"):
        from_block(block("ab", "ba"), 1e-3, 10)


@pytest.mark.parametrize("change", [lambda x: x[0], lambda x: x + 1j, lambda x: x.astype(str)])
def test_a_probe_holds_real_numbers_by_step_and_dimension(change):
    from bridges.targets import nengo

    like = SpikeStream.silent(1, 2, 3, 1e-3)
    with pytest.raises(BridgeError, match=r"numbers \[step, dimension\]"):
        nengo.from_probe(change(np.zeros((3, 2))), like)


@pytest.mark.parametrize("thing", [None, "spikes", {}, np.zeros((2, 3))], ids=repr)
@pytest.mark.parametrize(
    "read",
    [
        lambda x: neo.from_block(x, 1e-3, 10),
        lambda x: nwb.from_nwbfile(x, 1e-3, 10),
        lambda x: nwb.from_tsgroup(x, 1e-3),
        lambda x: nir.from_event_data(x, 1e-3),
        lambda x: nir.from_time_gridded(x),
        lambda x: rockpool.from_ts_events([x], SpikeStream.silent(1, 3, 10, 1e-3)),
    ],
)
def test_what_is_no_object_of_the_target_is_named(read, thing):
    with pytest.raises(TypeError, match=r"is needed, got .*, which has no"):
        read(thing)
