"""tonic, AEDAT4, .es and .dat: events keep their pixel, polarity and microsecond."""

import os
import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from bridges.errors import BridgeError
from bridges.stream import event_files
from bridges.stream.clock import tick_us
from bridges.stream.pixels import sensor_size, to_recordings
from bridges.stream.stream import SpikeStream
from bridges.targets import aedat4, dat, es
from bridges.targets import tonic as tonic_bridge
from encoders.functional import EVENT_DTYPE

needs_tonic = pytest.mark.skipif(
    tonic_bridge.TARGET.missing() is not None, reason=str(tonic_bridge.TARGET.missing())
)
FORMATS = [
    pytest.param(form, id=form.suffix, marks=[pytest.mark.skip(reason=reason)] if reason else [])
    for form in (aedat4.FORMAT, es.FORMAT, dat.FORMAT)
    for reason in [form.target.missing()]
]
each_format = pytest.mark.parametrize("form", FORMATS)


def random_events(shape, n_steps, dt_s, n=2000, samples=2, seed=0) -> SpikeStream:
    """Return events anywhere, the corners at the last tick, one of them twice, one at tick 0."""
    g = np.random.default_rng(seed)
    n_units = int(np.prod(shape))
    last = n_units - 1
    ticks = np.concatenate([g.integers(0, n_steps, n), [0, *[n_steps - 1] * 3]])
    units = np.concatenate([g.integers(0, n_units, n), [0, 0, last, last]])
    sample = np.concatenate([g.integers(0, samples, n), [0, 0, 0, 0]])
    empty = SpikeStream.silent(samples, n_units, n_steps, dt_s)
    return replace(empty, shape=shape).with_spikes(sample, ticks, units)


def one_row(ticks, units, n_units=4, n_steps=10, dt_s=1e-3) -> SpikeStream:
    sample = np.zeros(len(ticks), int)
    return SpikeStream.silent(1, n_units, n_steps, dt_s).with_spikes(sample, ticks, units)


def columns(events) -> np.ndarray:
    """Return t, p, y and x as rows of integers, in an order that does not depend on the file's."""
    table = np.stack([np.asarray(events[name], np.int64) for name in "tpyx"])
    return table[:, np.lexsort(table[::-1])]


# ---- units and pixels -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "size"),
    [((12,), (12, 1, 1)), ((3, 4), (4, 3, 1)), ((1, 3, 4), (4, 3, 1)), ((2, 3, 2), (2, 3, 2))],
)
def test_units_become_pixels_by_one_rule(shape, size):
    stream = replace(SpikeStream.silent(1, 12, 5, 1e-3), shape=shape).with_spikes([0], [4], [11])
    (events,) = to_recordings(stream)
    assert sensor_size(stream) == size
    assert events[["x", "y", "t"]].tolist() == [(size[0] - 1, size[1] - 1, 4000)]
    assert SpikeStream.from_events([events], size, 5000, 1e-3).same_spikes(stream)


@pytest.mark.parametrize("shape", [(3, 2, 2), (1, 1, 2, 6), (2**15 + 1,)])
def test_units_that_are_no_sensor_are_refused(shape):
    stream = replace(SpikeStream.silent(1, int(np.prod(shape)), 5, 1e-3), shape=shape)
    with pytest.raises(BridgeError, match="height, width"):
        to_recordings(stream)


@pytest.mark.parametrize("dt_s", [1e-7, 2.5e-6, 1 / 3])
def test_a_tick_between_two_microseconds_is_refused(dt_s):
    with pytest.raises(BridgeError, match="whole microseconds"):
        to_recordings(SpikeStream.silent(1, 3, 5, dt_s))


def test_one_polarity_takes_events_of_either_but_not_of_both():
    events = np.array([(1, 0, 0, True), (2, 0, 3000, True)], EVENT_DTYPE)
    sent = one_row([0, 3], [1, 2])
    assert SpikeStream.from_events([events], (4, 1, 1), 10_000, 1e-3).same_spikes(sent)
    assert events["p"].all()  # untouched
    events["p"] = False
    assert SpikeStream.from_events([events], (4, 1, 1), 10_000, 1e-3).same_spikes(sent)
    events["p"] = [False, True]
    with pytest.raises(BridgeError, match="Both polarities"):
        SpikeStream.from_events([events], (4, 1, 1), 10_000, 1e-3)


# ---- tonic --------------------------------------------------------------------------------------


@needs_tonic
def test_tonics_clock_starts_at_the_first_event_and_ours_at_zero():
    from tonic.transforms import ToFrame

    stream = one_row([2, 5, 9], [0, 1, 2])
    (events,) = to_recordings(stream)
    theirs = ToFrame((4, 1, 1), time_window=1000)(events.copy())
    assert np.argwhere(theirs)[:, [0, 3]].tolist() == [[0, 0], [3, 1]]  # moved, and one lost
    ours = tonic_bridge.to_frame(stream)(events)
    assert np.argwhere(ours)[:, [0, 3]].tolist() == [[2, 0], [5, 1], [9, 2]]


@needs_tonic
def test_frames_are_those_of_a_loop_over_events_in_any_order():
    stream = random_events((2, 3, 5), n_steps=50, dt_s=5e-3, samples=1)
    (events,) = to_recordings(stream)
    expected = np.zeros((50, 2, 3, 5), int)
    for x, y, t, p in events.tolist():
        expected[t // 5000, int(p), y, x] += 1
    shuffled = np.random.default_rng(0).permutation(events)
    before = shuffled.copy()
    np.testing.assert_array_equal(tonic_bridge.to_frame(stream)(shuffled), expected)
    np.testing.assert_array_equal(shuffled, before)


@needs_tonic
def test_framing_leaves_the_polarity_of_the_events_alone():
    from tonic.transforms import ToFrame

    stream = one_row([1, 3], [0, 1])
    (events,) = to_recordings(stream)
    tonic_bridge.to_frame(stream)(events)
    assert events["p"].all()
    ToFrame((4, 1, 1), time_window=1000)(events)
    assert not events["p"].any()  # tonic's own has written into them


@needs_tonic
@pytest.mark.parametrize("t", [-1, 10_000])
def test_events_outside_the_frames_are_refused_where_tonic_drops_them(t):
    frame = tonic_bridge.to_frame(one_row([], []))
    assert frame(np.array([(0, 0, 9_999, True)], EVENT_DTYPE)).sum() == 1
    with pytest.raises(ValueError, match="outside"):
        frame(np.array([(0, 0, t, True)], EVENT_DTYPE))


@needs_tonic
def test_a_count_beyond_int16_is_refused():
    frame = tonic_bridge.to_frame(one_row([], []))
    events = np.zeros(2**15 - 1, EVENT_DTYPE)
    assert frame(events)[0, 0, 0, 0] == 2**15 - 1
    for n in (2**15, 2**16):  # int16 wraps to -32768 and to 0
        with pytest.raises(BridgeError, match="32,767"):
            frame(np.zeros(n, EVENT_DTYPE))


@needs_tonic
def test_a_loaders_batch_is_the_spike_tensor_silent_samples_included():
    from tonic.collation import PadTensors

    g = torch.Generator().manual_seed(0)
    z = (torch.rand(20, 5, 2, 3, 4, generator=g) < 0.1).float()
    z[:, 2] = 0
    stream = SpikeStream.from_tensor(z, dt_s=1e-3)
    labels = [3, 1, 4, 1, 5]
    data = tonic_bridge.event_data(stream, labels, transform=tonic_bridge.to_frame(stream))
    loader = DataLoader(data, 5, collate_fn=PadTensors(batch_first=False), num_workers=0)
    batch, target = next(iter(loader))
    assert torch.equal(batch, z)
    assert target.tolist() == labels
    assert tonic_bridge.from_frames(batch.unbind(1), stream).same_spikes(stream)


@needs_tonic
def test_a_silent_recording_is_framed_in_torchvisions_compose_and_lost_in_tonics():
    from tonic import transforms
    from torchvision.transforms import Compose

    stream = replace(SpikeStream.silent(1, 12, 7, 1e-3), shape=(1, 3, 4))
    chain = [transforms.RandomFlipLR((4, 3, 1), p=0.0), tonic_bridge.to_frame(stream)]
    assert tonic_bridge.event_data(stream, transform=Compose(chain))[0][0].shape == (7, 1, 3, 4)
    lost, _ = tonic_bridge.event_data(stream, transform=transforms.Compose(chain))[0]
    assert lost.dtype == EVENT_DTYPE  # never framed
    theirs = transforms.ToFrame((4, 3, 1), time_window=1000, start_time=0, end_time=7000)
    assert theirs(lost).shape == (1, 1, 4, 3)  # one frame, rows and columns exchanged


@needs_tonic
def test_the_data_set_is_tonics_and_survives_transforms_and_worker_processes():
    import tonic

    stream = random_events((2, 3, 5), n_steps=50, dt_s=1e-3)
    data = tonic_bridge.event_data(stream, targets=[8, 9], target_transform=str)
    assert isinstance(data, tonic.Dataset)
    assert (len(data), data.sensor_size) == (2, (5, 3, 2))
    first, target = data[0]
    assert target == "8"
    first["t"] = -1  # what a transform in place would do
    for i in range(2):
        np.testing.assert_array_equal(data[i][0], to_recordings(stream)[i])
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again[1][0], data[1][0])
    assert [again[i][1] for i in range(2)] == ["8", "9"]
    with pytest.raises(ValueError, match="one target"):
        tonic_bridge.event_data(stream, targets=[1])


@needs_tonic
def test_frames_that_hold_no_counts_are_refused():
    stream = one_row([1], [2])
    frames = np.zeros((10, 1, 1, 4), np.float32)
    for value in (0.5, -1.0, np.nan):
        frames[3, 0, 0, 1] = value
        with pytest.raises(BridgeError, match="counts"):
            tonic_bridge.from_frames([frames], stream)
    with pytest.raises(BridgeError, match="shape"):
        tonic_bridge.from_frames([frames[:9]], stream)


@needs_tonic
def test_a_script_lays_an_image_of_more_units_than_a_row_in_rows(tmp_path):
    from bridges.stream import script

    sent = random_events((1, 220, 200), n_steps=3, dt_s=1e-3, n=50).shifted(2)
    assert sent.n_units > 2**15
    assert sent.same_spikes(script.run(tonic_bridge.TARGET, sent))


@needs_tonic
def test_a_script_is_not_written_for_what_tonic_cannot_hold(tmp_path):
    with pytest.raises(BridgeError, match="whole microseconds"):
        tonic_bridge.export(SpikeStream.silent(1, 3, 5, 1e-7), tmp_path / "out.py")
    assert not list(tmp_path.iterdir())


# ---- files --------------------------------------------------------------------------------------


@each_format
@pytest.mark.parametrize("image", [True, False], ids=["image", "row"])
def test_the_farthest_pixel_and_the_last_microsecond_come_back(form, image):
    end_us = min(form.target.end_us, 2**31 if form.suffix == ".es" else 2**53 - 1)  # .es: 17 MB
    shape = (2, 3, form.target.side) if image else (form.target.side,)
    sent = random_events(shape, n_steps=end_us, dt_s=1e-6, samples=1)
    back = form.round_trip(sent)
    assert sent.same_spikes(back)
    assert sent.shape == back.shape


@each_format
def test_a_side_or_a_time_beyond_the_format_is_refused(form, tmp_path):
    path = tmp_path / f"out{form.suffix}"
    with pytest.raises(BridgeError, match=f"at most {form.target.side}"):
        form.export(SpikeStream.silent(1, form.target.side + 1, 5, 1e-3), path)
    if form.target.end_us < 2**53:
        late = one_row([form.target.end_us], [0], n_steps=form.target.end_us + 1, dt_s=1e-6)
        with pytest.raises(BridgeError, match=str(form.target.end_us)):
            form.export(late, path)
    assert not list(tmp_path.iterdir())


@each_format
@pytest.mark.parametrize("seed", range(3))
def test_events_of_one_microsecond_and_repeated_events_come_back(form, seed):
    sent = random_events((2, 3, 3), n_steps=300, dt_s=1e-6, seed=seed)
    assert sent.twice_per_tick() > 30
    assert sent.same_spikes(form.round_trip(sent))


@each_format
def test_faery_reads_what_the_other_package_reads(form, tmp_path):
    import faery

    sent = random_events((2, 34, 34), n_steps=300_000, dt_s=1e-6, samples=1)
    path = form.export(sent, tmp_path / f"one{form.suffix}")
    ours = form.read_events(path, sensor_size(sent))
    theirs = faery.events_stream_from_file(path)
    assert theirs.dimensions() == (34, 34)
    theirs = np.concatenate(list(theirs))
    for name in "xytp":
        np.testing.assert_array_equal(ours[name], theirs[name])  # in the same order


@each_format
def test_an_empty_recording_has_its_place_among_the_others(form, tmp_path):
    sent = random_events((2, 3, 5), n_steps=50, dt_s=1e-3, samples=1).take([0, 0, 0])
    sent = sent.with_spikes(
        *(a[sent.sample_ids != 1] for a in (sent.sample_ids, sent.ticks, sent.units))
    )
    path = form.export(sent, tmp_path / f"three{form.suffix}")
    names = [f"three_{i:04d}{form.suffix}" for i in range(3)]
    assert [file.name for file in form.files_of(path)] == names
    assert len(form.read_events(path / names[1], (5, 3, 2))) == 0
    back = form.from_files(path, (5, 3, 2), 50_000, 1e-3)
    assert back.same_spikes(sent)
    chosen = [path / names[2], path / names[1]]
    assert form.from_files(chosen, (5, 3, 2), 50_000, 1e-3).same_spikes(sent.take([2, 1]))


@pytest.mark.parametrize("n", [10_000, 10_001])
def test_more_samples_than_four_digits_count_keep_their_order(n):
    names = es.FORMAT.file_names("a", n)
    assert sorted(names) == names
    assert (len(set(names)), names[-1]) == (n, f"a_{n - 1}.es")


@each_format
def test_a_file_is_replaced_and_a_folder_is_not(form, tmp_path):
    path = tmp_path / f"out{form.suffix}"
    one, other = one_row([1], [2]), one_row([3, 4], [0, 0])
    form.export(one, path)
    form.export(other, path)
    assert form.from_files(path, (4, 1, 1), 10_000, 1e-3).same_spikes(other)
    two = other.take([0, 0])
    with pytest.raises(FileExistsError, match="never overwritten"):
        form.export(two, path)
    path.unlink()
    form.export(two, path)
    for again in (one, two):
        with pytest.raises(FileExistsError, match="never overwritten"):
            form.export(again, path)
    assert form.from_files(path, (4, 1, 1), 10_000, 1e-3).same_spikes(two)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_nothing_is_left_when_writing_fails(tmp_path):
    if reason := dat.TARGET.missing():
        pytest.skip(reason)
    wider = replace(dat.TARGET, side=2**15)
    too_wide = SpikeStream.silent(2, 20_000, 5, 1e-3)  # which faery refuses when it has begun
    with pytest.raises(RuntimeError, match="width"):
        event_files.EventFormat(wider, dat.FORMAT.read).export(too_wide, tmp_path / "out.dat")
    assert not list(tmp_path.iterdir())


@each_format
@pytest.mark.parametrize("content", [b"", b"\x00nothing of the kind" * 50], ids=["empty", "other"])
def test_a_file_of_another_kind_is_refused_by_name(form, content, tmp_path):
    path = tmp_path / f"broken{form.suffix}"
    with pytest.raises(ValueError, match=f"no {form.suffix} file"):
        form.read_events(path, (4, 1, 1))
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"broken\{form.suffix} cannot be read"):
        form.read_events(path, (4, 1, 1))
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=f"holds no {form.suffix} file"):
        form.from_files(tmp_path / "folder", (4, 1, 1), 10_000, 1e-3)


@each_format
def test_a_recording_of_another_sensor_is_refused(form, tmp_path):
    path = form.export(one_row([1], [0]), tmp_path / f"one{form.suffix}")
    with pytest.raises(BridgeError, match="sensor"):
        form.from_files(path, (5, 1, 1), 10_000, 1e-3)


@pytest.mark.parametrize("form", [p for p in FORMATS if p.id == ".aedat4"])
def test_an_aedat4_file_that_was_cut_short_is_refused(form, tmp_path):
    sent = random_events((2, 3, 5), n_steps=50, dt_s=1e-3, samples=1)
    path = form.export(sent, tmp_path / "cut.aedat4")
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ValueError, match="cannot be read"):
        form.read_events(path, (5, 3, 2))


@pytest.mark.parametrize("form", [p for p in FORMATS if p.id in (".es", ".dat")])
def test_left_alone_faery_takes_the_first_time_off_and_only_dat_says_so(form, tmp_path):
    import faery

    events = np.array([(7000, 0, 0, True), (9000, 1, 0, True)], faery.EVENTS_DTYPE)
    path = tmp_path / f"theirs{form.suffix}"
    faery.events_stream_from_array(events, (4, 1)).to_file(path)
    kept = form.suffix == ".dat"
    assert form.read_events(path, (4, 1, 1))["t"].tolist() == ([7000, 9000] if kept else [0, 2000])
    path = form.export(one_row([7, 9], [0, 1]), path)
    assert form.read_events(path, (4, 1, 1))["t"].tolist() == [7000, 9000]


def theirs(n=300, size=(300, 200), seed=0):
    """Return events as faery takes them, each anywhere on the sensor, sorted by time."""
    import faery

    g = np.random.default_rng(seed)
    events = np.zeros(n, faery.EVENTS_DTYPE)
    events["t"] = np.sort(g.integers(0, 10**6, n))
    events["x"], events["y"] = g.integers(0, size[0], n), g.integers(0, size[1], n)
    events["p"] = g.integers(0, 2, n)
    return events


def written_by_faery(path, events, size=(300, 200), **options):
    import faery

    faery.events_stream_from_array(events.copy(), size).to_file(path, zero_t0=False, **options)
    return path


@pytest.mark.parametrize("form", [p for p in FORMATS if p.id == ".dat"])
@pytest.mark.parametrize("version", ["dat1", "dat2"])
def test_both_versions_of_dat_are_read_as_faery_reads_them(form, version, tmp_path):
    """expelliarmus takes the first for the second: y's bits go to x."""
    import faery

    events = theirs()
    path = written_by_faery(tmp_path / "a.dat", events, version=version)
    np.testing.assert_array_equal(columns(dat.read_events(path, (300, 200, 2))), columns(events))
    again = np.concatenate(list(faery.events_stream_from_file(path)))
    np.testing.assert_array_equal(columns(again), columns(events))


def dat_bytes(lines=("% Version 2",), kind=12, words=((5, 1 | 1 << 14 | 1 << 28),)):
    head = "".join(f"{line}\n" for line in lines).encode() + bytes([kind, 8])
    return head + np.array(words, "<u4").tobytes()


def test_a_dat_file_is_read_by_its_documented_layout(tmp_path):
    path = tmp_path / "a.dat"
    lines = ["% Data file containing CD events.", "% Date 2020-01-01 10:00:00", "% Version 2"]
    path.write_bytes(dat_bytes([*lines, "% Height 3", "% Width 4"]))
    assert dat.read_events(path, (4, 3, 2)).tolist() == [(1, 1, 5, True)]
    path.write_bytes(dat_bytes(words=[(2**32 - 5, 0), (3, 0), (2, 0), (4, 1 << 28)]))
    times = [2**32 - 5, 2**32 + 3, 2**32 + 2, 2**32 + 4]
    assert dat.read_events(path, (4, 3, 2))["t"].tolist() == times  # its clock has 32 bits


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (dat_bytes(lines=[]), "version not said"),
        (dat_bytes(lines=["% Version 3"]), "version 3"),
        (dat_bytes(kind=14), "type 14"),
        (dat_bytes(words=[(5, 2 << 28)]), "polarity 2"),
        (dat_bytes(words=[(5, 4)]), "x = 4, outside"),
        (dat_bytes() + b"x", "cut within an event"),
    ],
)
def test_a_dat_file_that_is_another_thing_is_refused_with_the_reason(content, reason, tmp_path):
    path = tmp_path / "a.dat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        dat.read_events(path, (4, 3, 2))


@pytest.mark.parametrize("form", [p for p in FORMATS if p.id == ".aedat4"])
@pytest.mark.parametrize("packed", [None, ("lz4", 1), ("lz4", 9), ("zstd", 1), ("zstd", 19)])
def test_aedat4_is_read_however_it_is_packed(form, packed, tmp_path):
    events = theirs()
    path = written_by_faery(tmp_path / "a.aedat4", events, compression=packed)
    np.testing.assert_array_equal(columns(form.read_events(path, (300, 200, 2))), columns(events))


@pytest.mark.parametrize("form", [p for p in FORMATS if p.id == ".aedat4"])
def test_no_bit_of_an_aedat4_file_makes_its_decoder_panic(form, tmp_path):
    """The decoder's panics are no exceptions of Python, and some sizes abort the process."""
    path = written_by_faery(tmp_path / "a.aedat4", theirs(20))
    good = path.read_bytes()
    for bit in range(0, 8 * len(good), max(1, 8 * len(good) // 100)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with suppress(ValueError):
            assert form.read_events(path, (300, 200, 2)).dtype == EVENT_DTYPE


@pytest.mark.parametrize("form", [p for p in FORMATS if p.id == ".es"])
@pytest.mark.parametrize("kind", ["generic", "atis", "color"])
def test_es_events_that_are_no_dvs_are_refused_with_the_reason(form, kind, tmp_path):
    import event_stream

    path = tmp_path / "a.es"
    dtype = getattr(event_stream, f"{kind}_dtype")
    size = (0, 0) if kind == "generic" else (4, 3)
    with event_stream.Encoder(str(path), kind, *size) as encoder:
        if kind != "generic":
            encoder.write(np.zeros(1, dtype))
    with pytest.raises(BridgeError, match=f"'{kind}' events; this bridge reads 'dvs'"):
        form.read_events(path, (4, 3, 2))


@pytest.mark.parametrize("form", [p for p in FORMATS if p.id == ".dat"])
def test_a_dat_time_beyond_32_bits_would_become_another(form, tmp_path):
    import faery

    assert form.target.end_us == 2**32
    events = np.zeros(2, faery.EVENTS_DTYPE)
    for last, kept in ((2**32 - 1, True), (2**32, False)):
        events["t"] = [0, last]
        path = tmp_path / f"{last}.dat"
        faery.events_stream_from_array(events, (4, 1)).to_file(path, zero_t0=False)
        back = np.concatenate(list(faery.events_stream_from_file(path)))["t"].tolist()
        assert (back == [0, last]) is kept


@pytest.mark.parametrize("form", [p for p in FORMATS if p.id == ".es"])
def test_event_stream_shows_the_picture_upside_down_and_the_bridge_turns_it(form, tmp_path):
    import event_stream

    sent = replace(one_row([1], [1], n_units=12), shape=(1, 3, 4))  # the top row
    path = form.export(sent, tmp_path / "one.es")
    with event_stream.Decoder(str(path)) as decoder:
        assert np.concatenate(list(decoder))["y"].tolist() == [2]
    assert es.read_events(path, (4, 3, 1))["y"].tolist() == [0]


@pytest.mark.parametrize("content", [b"% Version 2", b"% Version 2\n", b"% V\n\x0c\x08" + b"x" * 9])
def test_a_cut_dat_file_is_refused_where_its_reader_never_ends_or_says_nothing(content, tmp_path):
    path = tmp_path / "cut.dat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as DAT"):
        dat.read_events(path, (4, 1, 1))


# ---- real recordings ----------------------------------------------------------------------------

NMNIST_SIZE = (34, 34, 2)
NMNIST_US = 350_000
"""Longer than any of the recordings."""


@pytest.fixture(scope="module")
def nmnist():
    """Return the folder of the N-MNIST recordings."""
    named = os.environ.get("RC_SNN_DATA")
    base = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    for folder in (base / "nmnist", base.parent / "nmnist"):
        if folder.is_dir():
            return folder
    pytest.skip("the N-MNIST recordings are not at hand")


@pytest.fixture(scope="module")
def untouched(nmnist):
    """Return the recordings in the data set's own format, by MNIST index, read by tonic."""
    if reason := tonic_bridge.TARGET.missing():
        pytest.skip(reason)
    from tonic.datasets import NMNIST
    from tonic.io import read_mnist_file

    files = sorted((nmnist / "bin").glob("*.bin"))
    return {int(f.name.split("_")[0]): read_mnist_file(f, NMNIST.dtype) for f in files}


@pytest.fixture(scope="module")
def hundred(nmnist):
    """Return a hundred test recordings, by MNIST index."""
    with np.load(nmnist / "nmnist_test100.npz") as file:
        x, y, t, offsets = (file[name] for name in ("x", "y", "t_us", "offsets"))
        events = np.zeros(len(x), EVENT_DTYPE)
        events["x"], events["y"], events["t"] = x, y, t
        events["p"] = np.unpackbits(file["p"])[: len(x)]
        return dict(zip(file["sample_id"].tolist(), np.split(events, offsets[1:-1]), strict=True))


def test_tonic_reads_the_recordings_of_the_archive(untouched, hundred):
    assert len(untouched) == 10
    for index, events in untouched.items():
        for name in "xytp":
            np.testing.assert_array_equal(events[name], hundred[index][name])


def test_real_recordings_repeat_an_event_within_a_microsecond(untouched):
    stream = SpikeStream.from_events(list(untouched.values()), NMNIST_SIZE, NMNIST_US)
    assert stream.twice_per_tick() == 11  # so a bridge for events must carry it


@each_format
def test_every_event_of_n_mnist_goes_through_the_files(form, untouched, hundred, tmp_path):
    for n, recordings in enumerate((list(untouched.values()), list(hundred.values()))):
        stream = SpikeStream.from_events(recordings, NMNIST_SIZE, NMNIST_US)
        path = form.export(stream, tmp_path / f"nmnist{n}{form.suffix}")
        files = form.files_of(path)
        for sent, file in zip(recordings, files, strict=True):
            back = form.read_events(file, NMNIST_SIZE)
            np.testing.assert_array_equal(columns(back), columns(sent))
        assert form.from_files(path, NMNIST_SIZE, NMNIST_US, 1e-6).same_spikes(stream)


@needs_tonic
def test_every_event_of_n_mnist_goes_through_a_tonic_data_set(untouched, hundred):
    for recordings in (list(untouched.values()), list(hundred.values())):
        stream = SpikeStream.from_events(recordings, NMNIST_SIZE, NMNIST_US)
        data = tonic_bridge.event_data(stream)
        for sent, (back, _) in zip(recordings, (data[i] for i in range(len(data))), strict=True):
            np.testing.assert_array_equal(columns(back), columns(sent))


@needs_tonic
def test_n_mnist_in_frames_of_a_millisecond_counts_every_event(untouched):
    frame = tonic_bridge.ToFrameOnClock(NMNIST_SIZE, frame_us=1000, n_frames=350)
    for events in untouched.values():
        expected = np.zeros((350, 2, 34, 34), int)
        np.add.at(expected, (events["t"] // 1000, events["p"], events["y"], events["x"]), 1)
        np.testing.assert_array_equal(frame(events), expected)


@needs_tonic
def test_n_mnist_goes_through_frames_of_a_microsecond(untouched):
    early = [events[events["t"] < 16_000] for events in [*untouched.values()][6:9]]
    stream = SpikeStream.from_events(early, NMNIST_SIZE, duration_us=16_000)
    assert stream.n_spikes > 100
    assert tick_us(stream.dt_s) == 1
    assert stream.same_spikes(tonic_bridge.round_trip(stream))
