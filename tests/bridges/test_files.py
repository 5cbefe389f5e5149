"""Neo, SONATA and NWB: what readers of others find in what we write, and what we refuse."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from bridges.errors import BridgeError
from bridges.stream import clock, timeline
from bridges.stream.stream import SpikeStream
from bridges.targets import neo, nwb, sonata
from rc_snn.spikes import Decision

if any(bridge.TARGET.missing() for bridge in (neo, nwb, sonata)):
    pytest.skip("needs neo, h5py, libsonata and pynwb", allow_module_level=True)

each_bridge = pytest.mark.parametrize(
    "bridge", [pytest.param(b, id=b.TARGET.name) for b in (neo, nwb, sonata)]
)


def three_samples(dt_s=1e-3):
    """First and last tick, a silent sample, a silent unit, a unit that spikes only once in all."""
    of, at, who = [0, 0, 2, 2, 2], [0, 9, 0, 0, 9], [1, 1, 1, 3, 5]
    return SpikeStream.silent(3, 6, 10, dt_s).with_spikes(of, at, who)


def digits_up_to(n):
    """One spike per sample, so that an order of samples by name shows."""
    return SpikeStream.silent(n, n, 4, 1e-3).with_spikes(range(n), np.arange(n) % 4, range(n))


# ---- all three ------------------------------------------------------------------------------


@each_bridge
def test_labels_shape_and_metadata_travel_along(bridge):
    sent = replace(
        three_samples(),
        shape=(1, 2, 3),
        metadata={"net": "rc", "layers": [1, None, {"θ": 0.5, "on": True}]},
        samples={
            "label": np.array([3, 0, 9], np.int32),
            "fired": np.array([True, False, True]),
            "scores": np.arange(6, dtype=np.float32).reshape(3, 2) / 7,
            "text": np.array(["a", "", "größer"]),
        },
    )
    back = bridge.round_trip(sent)
    assert (back.shape, back.metadata) == (sent.shape, sent.metadata)
    assert list(back.samples) == list(sent.samples) or bridge is sonata  # HDF5 sorts by name
    for name, array in sent.samples.items():
        np.testing.assert_array_equal(back.samples[name], array, strict=name != "text")


@each_bridge
def test_a_decision_comes_back_whole(bridge):
    sent = Decision(
        label=torch.tensor([2, 0, 1]),
        time=torch.tensor([0.5, 1.0, 0.0]),
        step=torch.tensor([4, 7, 0]),
        fired=torch.tensor([True, False, True]),
        scores=torch.eye(3)[[2, 0, 1]],
    )
    stream = SpikeStream.from_decision(sent, n_steps=8, n_classes=3, dt_s=1e-3)
    back = bridge.round_trip(stream).to_decision()
    for name in ("label", "time", "step", "fired", "scores"):
        torch.testing.assert_close(getattr(back, name), getattr(sent, name), rtol=0, atol=0)


@each_bridge
def test_what_cannot_be_held_is_refused_and_nothing_is_written(bridge, tmp_path):
    dated = np.array(["2020-01-01"] * 3, "datetime64[D]")
    path = tmp_path / f"spikes{bridge.TARGET.suffix}"
    if bridge is not neo:  # whose script has the spikes beside it
        with pytest.raises(BridgeError, match=r"samples\['day'\]"):
            bridge.export(replace(three_samples(), samples={"day": dated}), path)
    with pytest.raises(BridgeError, match=r"samples\['day'\]"):
        bridge.round_trip(replace(three_samples(), samples={"day": dated}))
    with pytest.raises(BridgeError, match="ticks apart"):
        bridge.export(SpikeStream.silent(1, 2, clock.LONGEST + 1, 1e-6), path)
    assert not list(tmp_path.iterdir())


# ---- Neo and Elephant -----------------------------------------------------------------------

elephants_own_warning = pytest.mark.filterwarnings("ignore:The 'copy' argument in Quantity")


@elephants_own_warning
def test_elephants_bins_are_our_spike_tensor():
    conversion = pytest.importorskip("elephant.conversion")
    import quantities as pq

    z = (torch.rand(2000, 2, 5, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    z[0, 0, 0] = z[-1, 0, 0] = 1.0
    stream = SpikeStream.from_tensor(z, dt_s=1e-4)
    for sample, segment in enumerate(neo.to_block(stream).segments):
        binned = conversion.BinnedSpikeTrain(
            segment.spiketrains, bin_size=stream.dt_s * pq.s, n_bins=stream.n_steps
        )
        np.testing.assert_array_equal(binned.to_array().T, z[:, sample].numpy())


@elephants_own_warning
def test_elephant_without_its_tolerance_floors_spikes_into_the_wrong_bin():
    conversion = pytest.importorskip("elephant.conversion")
    import quantities as pq

    each = SpikeStream.silent(1, 2000, 2000, 1e-4).with_spikes([0] * 2000, *[range(2000)] * 2)
    trains = neo.to_block(each).segments[0].spiketrains
    binned = conversion.BinnedSpikeTrain(
        trains, bin_size=1e-4 * pq.s, n_bins=2000, tolerance=None
    ).to_array()
    assert (binned.argmax(axis=1) != np.arange(2000)).any()


def test_trains_reach_from_zero_to_the_samples_end_and_silent_units_have_one():
    block = neo.to_block(three_samples())
    assert [len(segment.spiketrains) for segment in block.segments] == [6, 6, 6]
    for train in block.segments[1].spiketrains:
        assert (len(train), float(train.t_start), float(train.t_stop)) == (0, 0.0, 0.01)
        assert train.dimensionality.string == "s"
    assert [t.annotations["channel_id"] for t in block.segments[0].spiketrains] == list(range(6))


def test_a_block_of_many_silent_units_makes_no_train_until_asked():
    block = neo.to_block(SpikeStream.silent(50, 784, 256, 1e-3))
    assert all(segment.spiketrains._items is None for segment in block.segments)


def others_block():
    """In ms, on a clock that runs through, without unit numbers."""
    import neo as theirs
    import quantities as pq

    block = theirs.Block()
    for first in (5.0, 7.0):
        segment = theirs.Segment()
        segment.spiketrains = [
            theirs.SpikeTrain(
                1e3 * (np.array(t) + first),
                units="ms",
                t_start=first * pq.s,
                t_stop=(first + 1) * pq.s,
            )
            for t in ([], [0.0, 0.0999], [0.0003])
        ]
        block.segments.append(segment)
    return block


def test_a_block_of_others_is_read_when_its_grid_is_said():
    with pytest.raises(BridgeError, match="neither how long a tick is"):
        neo.from_block(others_block())
    read = neo.from_block(others_block(), dt_s=1e-4, n_steps=1000)
    assert (read.n_units, len(read)) == (3, 2)
    assert read.ticks.tolist() == [0, 3, 999] * 2
    assert read.units.tolist() == [1, 2, 1] * 2
    with pytest.raises(BridgeError, match="on no tick"):
        neo.from_block(others_block(), dt_s=1e-3, n_steps=1000)


def test_a_train_appended_to_our_block_is_read_which_neos_multiplexed_overlooks():
    import neo as theirs

    stream = three_samples()
    block = neo.to_block(stream)
    more = theirs.SpikeTrain([0.004], units="s", t_stop=0.01, channel_id=4)
    block.segments[1].spiketrains.append(more)
    assert len(block.segments[1].spiketrains.multiplexed[1]) == 0
    assert neo.from_block(block).of_sample(1) == ([4], [4])


def test_neos_own_files_keep_the_grid(tmp_path):
    from neo.io import NeoMatlabIO

    sent = replace(three_samples(), samples={"label": np.array([3, 0, 9])}, metadata={"a": None})
    NeoMatlabIO(str(tmp_path / "block.mat")).write_block(neo.to_block(sent))
    back = neo.from_block(NeoMatlabIO(str(tmp_path / "block.mat")).read_block())
    assert back.same_spikes(sent)
    assert (back.metadata, back.samples["label"].tolist()) == ({"a": None}, [3, 0, 9])


# ---- SONATA ---------------------------------------------------------------------------------


def test_a_sonata_file_is_what_the_developer_guide_asks_for(tmp_path):
    import h5py

    with h5py.File(sonata.export(three_samples(), tmp_path / "spikes.h5")) as file:
        assert (file.attrs["magic"], file.attrs["magic"].dtype) == (0x0A7A, np.uint32)
        assert file.attrs["version"].tolist() == [0, 1]
        assert file.attrs["version"].dtype == np.uint32
        population = file["spikes/sample_2"]
        kind = population.attrs.get_id("sorting").dtype
        assert h5py.check_enum_dtype(kind) == {"none": 0, "by_id": 1, "by_time": 2}
        assert population.attrs["sorting"] == 2
        assert population["timestamps"].dtype == np.float64
        assert population["timestamps"].attrs["units"] == "ms"
        assert population["timestamps"][:].tolist() == [0.0, 0.0, 9.0]
        assert population["node_ids"].dtype == np.uint64
        assert population["node_ids"][:].tolist() == [1, 3, 5]


def test_libsonata_selects_a_units_spikes_and_knows_their_order(tmp_path):
    import libsonata

    path = sonata.export(three_samples(), tmp_path / "spikes.h5")
    reader = libsonata.SpikeReader(str(path))
    assert reader.get_population_names() == ["sample_0", "sample_1", "sample_2"]
    assert (reader["sample_0"].sorting, reader["sample_0"].time_units) == ("by_time", "ms")
    assert reader["sample_0"].get(node_ids=libsonata.Selection([1])) == [(1, 0.0), (1, 9.0)]
    assert reader["sample_1"].get() == []


def test_eleven_samples_come_back_in_their_order():
    assert sonata.round_trip(digits_up_to(11)).same_spikes(digits_up_to(11))


def test_metadata_may_be_longer_than_an_attribute_holds():
    sent = replace(three_samples(), metadata={"text": "x" * 100_000})
    assert sonata.round_trip(sent).metadata == sent.metadata


def others_sonata(path, ids, times, unit):
    import h5py

    with h5py.File(path, "w") as file:
        population = file.create_group("spikes/cortex")
        population["timestamps"] = np.array(times)
        population["node_ids"] = np.array(ids, np.uint64)
        if unit:
            population["timestamps"].attrs["units"] = unit
    return path


def test_a_sonata_file_of_others_is_read_when_its_grid_is_said(tmp_path):
    path = others_sonata(tmp_path / "spikes.h5", [7, 2], [0.0999, 0.0003], "s")
    with pytest.raises(BridgeError, match="does not say dt_s, n_units, n_steps"):
        sonata.from_file(path)
    read = sonata.from_file(path, 1e-4, 8, 1000, populations=["cortex"])
    assert (read.ticks.tolist(), read.units.tolist(), len(read)) == ([3, 999], [2, 7], 1)


def test_a_sonata_file_that_says_something_else_is_refused(tmp_path):
    wrapped = others_sonata(tmp_path / "ids.h5", [2**63 + 5], [1.0], "ms")
    with pytest.raises(BridgeError, match="node_ids reach 9223372036854775813"):
        sonata.from_file(wrapped, 1e-3, 8, 10)
    with pytest.raises(BridgeError, match="must be one of ms"):
        sonata.from_file(others_sonata(tmp_path / "unit.h5", [1], [1.0], "us"), 1e-3, 8, 10)
    with pytest.raises(BridgeError, match="on no tick"):
        sonata.from_file(others_sonata(tmp_path / "off.h5", [1], [1.5], "ms"), 1e-3, 8, 10)


def as_bmtk(file):
    """As BMTK's writer does it, two populations packed and sorted."""
    for name in ("V1", "LGN"):
        population = file.create_group(f"spikes/{name}")
        population.attrs["sorting"] = "by_time"
        data = {"timestamps": np.array([1.0, 2.0, 3.0]), "node_ids": np.array([0, 1, 2], np.uint64)}
        for column, values in data.items():
            population.create_dataset(column, data=values, compression="gzip")
        population["timestamps"].attrs["units"] = "ms"


def without_unit(file):
    """BMTK reads milliseconds; libsonata refuses. Ids and times in other widths, in any order."""
    file["spikes/V1/node_ids"] = np.array([2, 0, 1], np.int32)
    file["spikes/V1/timestamps"] = np.array([3, 1, 2], np.float32)


def first_version(file):
    """Without population, its ids called gids: NEST's example is one."""
    file["spikes/gids"], file["spikes/timestamps"] = np.array([2, 0, 1]), np.array([3.0, 1.0, 2.0])
    file["spikes"].attrs["sorting"] = "by_gid"


def in_seconds(file):
    file["spikes/V1/node_ids"] = np.array([2, 0, 1], ">u4")
    file["spikes/V1/timestamps"] = np.array([0.003, 0.001, 0.002])
    file["spikes/V1/timestamps"].attrs["units"] = np.bytes_("seconds")


@pytest.mark.parametrize("write", [as_bmtk, without_unit, first_version, in_seconds])
def test_sonata_as_others_write_it_is_read(write, tmp_path):
    import h5py

    with h5py.File(tmp_path / "s.h5", "w") as file:
        write(file)
    read = sonata.from_file(tmp_path / "s.h5", dt_s=1e-3, n_units=3, n_steps=10)
    n = len(read)
    assert n == (2 if write is as_bmtk else 1)
    assert (read.ticks.tolist(), read.units.tolist()) == ([1, 2, 3] * n, [0, 1, 2] * n)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"x": [1]}, "s.h5 has no group /spikes"),
        ({"spikes/x": [1]}, "no population below /spikes"),
        ({"spikes/V1/node_ids": [1]}, "lacks timestamps"),
        ({"spikes/V1/node_ids": [1], "spikes/V1/timestamps": [1.0, 2.0]}, "1 ids and 2 timest"),
        ({"spikes/V1/node_ids": [-1], "spikes/V1/timestamps": [1.0]}, "an id of -1"),
        ({"spikes/V1/node_ids": [0.5], "spikes/V1/timestamps": [1.0]}, "float64 ids"),
    ],
)
def test_sonata_that_lacks_something_is_refused_by_what_it_lacks(content, reason, tmp_path):
    import h5py

    with h5py.File(tmp_path / "s.h5", "w") as file:
        for place, values in content.items():
            file[place] = np.array(values)
    with pytest.raises(BridgeError, match=reason):
        sonata.from_file(tmp_path / "s.h5", 1e-3, 3, 10)


def test_a_population_that_is_not_there_is_named_with_those_that_are(tmp_path):
    path = others_sonata(tmp_path / "s.h5", [1], [1.0], "ms")
    with pytest.raises(BridgeError, match="no population 'V2'; it has 'cortex'"):
        sonata.from_file(path, 1e-3, 3, 10, populations=["V2"])


@pytest.mark.parametrize("bridge", [sonata, nwb])
def test_bytes_of_no_such_file_are_refused_by_name(bridge, tmp_path):
    path = tmp_path / f"broken{bridge.TARGET.suffix}"
    with pytest.raises(OSError, match="broken"):
        bridge.from_file(path, 1e-3)
    for content in (b"", b"\x89HDF\r\n\x1a\n" + bytes(500), b"no such file" * 50):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken.* cannot be read as"):
            bridge.from_file(path, 1e-3)


# ---- NWB and pynapple -----------------------------------------------------------------------


def test_the_nwb_file_is_valid_and_holds_one_timeline(tmp_path):
    import h5py
    import pynwb

    sent = replace(three_samples(), samples={"label": np.array([3, 0, 9])})
    path = nwb.export(sent, tmp_path / "spikes.nwb")
    assert not pynwb.validate(path=str(path))
    with h5py.File(path) as file:
        assert file["units/spike_times"][:].tolist() == [0.0, 0.009, 0.02, 0.02, 0.029]
        assert file["units/spike_times_index"][:].tolist() == [0, 3, 3, 4, 4, 5]
        assert file["units/spike_times"].attrs["resolution"] == 1e-3
        assert file["units/obs_intervals"][:].tolist() == [[0.0, 0.0295]] * 6
        assert file["units/obs_intervals_index"][:].tolist() == [1, 2, 3, 4, 5, 6]
        assert file["intervals/trials/start_time"][:].tolist() == [0.0, 0.01, 0.02]
        assert file["intervals/trials/label"][:].tolist() == [3, 0, 9]


def test_the_same_stream_has_the_same_identifier_and_time():
    one, same = nwb.to_nwbfile(three_samples()), nwb.to_nwbfile(three_samples())
    assert (one.identifier, one.session_start_time) == (same.identifier, nwb.EPOCH)
    moved = three_samples().with_spikes([0], [1], [1])
    labelled = replace(three_samples(), samples={"label": np.arange(3)})
    others = (moved, labelled, three_samples(dt_s=2e-3))
    assert one.identifier not in [nwb.to_nwbfile(stream).identifier for stream in others]
    at = datetime(2024, 5, 6, tzinfo=UTC)
    assert nwb.to_nwbfile(three_samples(), session_start_time=at).session_start_time == at


@pytest.mark.parametrize("name", ["start_time", "stop_time", "id", "name", "a/b", "tags"])
def test_a_column_that_trials_cannot_have_is_refused(name):
    with pytest.raises(BridgeError, match="cannot be a column"):
        nwb.to_nwbfile(replace(three_samples(), samples={name: np.arange(3.0)}))


def test_samples_that_are_too_long_together_are_refused():
    half = SpikeStream.silent(2, 1, clock.LONGEST // 2, 1e-6)
    assert nwb.to_nwbfile(half).units is not None
    with pytest.raises(BridgeError, match="ticks apart"):
        nwb.to_nwbfile(SpikeStream.silent(3, 1, clock.LONGEST // 2, 1e-6))


def test_an_nwb_file_of_others_is_read_when_its_grid_is_said():
    import pynwb

    theirs = pynwb.NWBFile("their session", "42", nwb.EPOCH, notes="not JSON")
    with pytest.raises(BridgeError, match="no spike times"):
        nwb.from_nwbfile(theirs)
    for times in ([], [2.5, 2.5 + 30 / 30000, 9.0]):
        theirs.add_unit(spike_times=np.array(times))
    with pytest.raises(BridgeError, match="Pass dt_s"):
        nwb.from_nwbfile(theirs)
    whole = nwb.from_nwbfile(theirs, dt_s=1 / 30000, n_steps=300_000)
    assert (len(whole), whole.ticks.tolist()) == (1, [75_000, 75_030, 270_000])
    theirs.add_trial_column("side", "left or right")
    for start, side in ((2.5, "left"), (8.0, "right")):
        theirs.add_trial(start_time=start, stop_time=start + 1.5, side=side)
    cut = nwb.from_nwbfile(theirs, dt_s=1 / 30000, n_steps=45_000)
    assert (cut.offsets.tolist(), cut.ticks.tolist()) == ([0, 2, 3], [0, 30, 30_000])
    assert cut.samples["side"].tolist() == ["left", "right"]
    with pytest.raises(BridgeError, match="in no sample"):
        nwb.from_nwbfile(theirs, dt_s=1 / 30000, n_steps=30_000)


def test_pynapple_keeps_units_that_spike_once_only_with_our_time_support():
    nap = pytest.importorskip("pynapple")
    sent = three_samples()
    times, ends = timeline.by_unit(sent)
    with pytest.warns(UserWarning, match="no duration"), np.errstate(divide="ignore"):
        guessed = nap.TsGroup(dict(enumerate(map(nap.Ts, np.split(times, ends[:-1])))))
    assert [len(guessed[unit]) for unit in (1, 3, 5)] == [3, 1, 0]  # pynapple's trap: 5 is lost
    group = nwb.to_tsgroup(sent)
    assert [len(group[unit]) for unit in range(6)] == [0, 3, 0, 1, 0, 1]
    assert nwb.from_tsgroup(group, sent.dt_s).same_spikes(sent)


def test_pynapples_trials_hold_the_spikes_of_their_sample_and_no_other(tmp_path):
    nap = pytest.importorskip("pynapple")
    stream = three_samples()  # whose last sample starts with a spike
    loaded = nap.load_file(str(nwb.export(stream, tmp_path / "spikes.nwb")))
    trials = loaded["trials"]
    loaded.close()
    group = nwb.to_tsgroup(nwb.from_file(tmp_path / "spikes.nwb"))
    for sample in range(3):
        spikes = group.restrict(trials[sample])
        assert sum(len(spikes[unit]) for unit in spikes) == len(stream.of_sample(sample)[0])
    with pytest.warns(UserWarning, match="Removing 1 microsecond"):  # what touching trials get
        nap.IntervalSet([0.0, 0.01], [0.01, 0.02])


def test_pynapple_counts_samples_exactly_but_not_ticks():
    pytest.importorskip("pynapple")
    z = (torch.rand(1000, 3, 20, generator=torch.Generator().manual_seed(0)) < 0.1).float()
    stream = SpikeStream.from_tensor(z, dt_s=1e-3)
    group = nwb.to_tsgroup(stream)
    np.testing.assert_array_equal(group.count(bin_size=stream.duration_s).d, z.sum(0).numpy())
    ticks = np.nan_to_num(group.trial_count(group.time_support, bin_size=1e-3))
    assert (ticks.transpose(2, 1, 0) != z.numpy()).any()
    assert (nwb.from_tsgroup(group, 1e-3).to_tensor() == z).all()


def test_a_group_restricted_to_unequal_samples_is_refused():
    nap = pytest.importorskip("pynapple")
    group = nwb.to_tsgroup(three_samples())
    with pytest.raises(BridgeError, match="one length"):
        nwb.from_tsgroup(group.restrict(nap.IntervalSet([0, 0.01], [0.0045, 0.0195])), 1e-3)


def test_nwb_as_pynwb_writes_it_is_read(tmp_path):
    """Electrodes, a device, raw data, more columns, spikes unit by unit."""
    import pynwb

    made = pynwb.NWBFile("a session", "42", nwb.EPOCH)
    group = made.create_electrode_group(
        name="shank", description="of four", location="V1", device=made.create_device(name="probe")
    )
    for _ in range(3):
        made.add_electrode(location="V1", group=group)
    made.add_acquisition(
        pynwb.TimeSeries(name="lfp", data=np.zeros((100, 3)), unit="V", rate=1000.0)
    )
    made.add_unit_column("quality", "of the sorting")
    for times in ([0.003], [], [0.001, 0.012]):
        made.add_unit(
            spike_times=np.array(times),
            electrodes=[0, 2],
            obs_intervals=[[0.0, 0.02]],
            waveform_mean=np.zeros((4, 2)),
            quality="good",
        )
    made.add_trial_column("stimulus", "shown")
    for start, name in ((0.0, "left"), (0.01, "right")):
        made.add_trial(start_time=start, stop_time=start + 0.01, stimulus=name, tags=["a", "b"])
    path = tmp_path / "theirs.nwb"
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(made)
    read = nwb.from_file(path, dt_s=1e-3, n_steps=10)
    assert (read.ticks.tolist(), read.units.tolist()) == ([1, 3, 2], [2, 0, 2])
    assert read.offsets.tolist() == [0, 2, 3]
    assert read.samples["stimulus"].tolist() == ["left", "right"]


@pytest.mark.parametrize("ends", [[0, 3, 1, 4, 4, 5], [0, 3, 3, 4, 4, 2**31], [0, 3, 3, 4, 4, 4]])
def test_a_table_of_units_that_does_not_divide_its_spikes_is_refused(ends, tmp_path):
    """Else numpy is asked to repeat a unit two thousand million times."""
    import h5py

    path = nwb.export(three_samples(), tmp_path / "spikes.nwb")
    with h5py.File(path, "r+") as file:
        index = file["units/spike_times_index"]
        about = dict(index.attrs)
        del file["units/spike_times_index"]
        file["units/spike_times_index"] = np.array(ends)
        file["units/spike_times_index"].attrs.update(about)
    with pytest.raises(BridgeError, match="does not divide"):
        nwb.from_file(path)
