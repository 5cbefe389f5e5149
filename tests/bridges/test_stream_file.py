"""Stream files: what is saved comes back whole; what is damaged or foreign is refused."""

import json
from contextlib import suppress
from dataclasses import replace

import h5py
import numpy as np
import pytest
from drawn_streams import drawn_spikes, stream_of
from hypothesis import HealthCheck, given, settings

from bridges.stream import file as stream_file
from bridges.stream.stream import SpikeStream

SUFFIXES = [".h5", ".hdf5", ".npz"]
each_format = pytest.mark.parametrize("suffix", SUFFIXES)


@pytest.fixture
def stream() -> SpikeStream:
    g = np.random.default_rng(0)
    spikes = g.integers(0, 3, 500), g.integers(0, 1000, 500), g.integers(0, 12, 500)
    empty = SpikeStream(
        *(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(4, np.int64)),
        dt_s=1e-4,
        n_units=12,
        n_steps=1000,
        shape=(3, 4),
        metadata={"model": "α-PSP", "theta": 0.95, "sizes": [784, 340]},
        samples={"label": np.array([3, 1, 4]), "name": np.array(["a", "βγ", ""])},
    )
    return empty.with_spikes(*spikes)


@each_format
def test_everything_comes_back(stream, suffix, tmp_path):
    back = stream_file.load(stream_file.save(stream, tmp_path / f"spikes{suffix}"))
    assert stream.same_spikes(back)
    assert (back.shape, back.metadata) == (stream.shape, stream.metadata)
    for name, array in stream.samples.items():
        assert np.array_equal(back.samples[name], array)
    assert [p.name for p in tmp_path.iterdir()] == [f"spikes{suffix}"]


@each_format
@given(drawn=drawn_spikes(twice=True))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_stream_comes_back(suffix, drawn, tmp_path):
    stream = stream_of(drawn)
    assert stream.same_spikes(stream_file.load(stream_file.save(stream, tmp_path / f"x{suffix}")))


@each_format
def test_a_byte_that_flipped_anywhere_is_never_read_as_other_spikes(stream, suffix, tmp_path):
    """Either the file is refused, or the byte meant nothing and the spikes are the same."""
    path = stream_file.save(stream, tmp_path / f"spikes{suffix}")
    content = path.read_bytes()
    refused = 0
    for place in range(0, len(content), max(1, len(content) // 100)):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        try:
            back = stream_file.load(path)
        except ValueError:
            refused += 1
        else:
            assert stream.same_spikes(back)
    assert refused > 10


def test_spikes_that_someone_changed_are_refused(stream, tmp_path):
    """Another tick in a file that is whole otherwise: only the digest can tell."""
    path = stream_file.save(stream, tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        file["ticks"][-1] = 999
    with pytest.raises(ValueError, match="is damaged: its content has not the digest"):
        stream_file.load(path)
    with np.load(stream_file.save(stream, tmp_path / "x.npz")) as file:
        arrays = dict(file)
    arrays["samples/label"][0] += 1
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match="is damaged"):
        stream_file.load(tmp_path / "x.npz")


@each_format
def test_a_file_cut_short_is_refused(stream, suffix, tmp_path):
    path = stream_file.save(stream, tmp_path / f"spikes{suffix}")
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="spikes"):
            stream_file.load(path)


@each_format
def test_what_is_no_stream_is_refused(suffix, tmp_path):
    path = tmp_path / f"foreign{suffix}"
    with pytest.raises(ValueError, match="no file"):
        stream_file.load(path)
    path.write_text("not a stream at all")
    with pytest.raises(ValueError, match="cannot be read as a spike stream"):
        stream_file.load(path)


def test_an_hdf5_file_of_others_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["spikes/exc/timestamps"] = np.arange(3.0)
    with pytest.raises(ValueError, match="is no spike stream: it has no 'header'"):
        stream_file.load(tmp_path / "other.h5")


def test_an_npz_file_of_others_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", w0=np.arange(3.0))
    with pytest.raises(ValueError, match="is no spike stream: it has no 'header'"):
        stream_file.load(tmp_path / "other.npz")


def test_pickles_are_not_opened(tmp_path):
    np.savez(tmp_path / "other.npz", header=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="cannot be read"):
        stream_file.load(tmp_path / "other.npz")


@each_format
def test_a_failed_save_leaves_the_old_file(stream, suffix, tmp_path, monkeypatch):
    path = stream_file.save(stream, tmp_path / f"spikes{suffix}")
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        stream_file.save(stream.take([0]), path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@each_format
def test_metadata_may_be_long(suffix, tmp_path):
    """An attribute of HDF5 holds 64 kB only."""
    silent = SpikeStream.silent(1, 2, 3, 1e-3)
    long = replace(silent, metadata={"words": ["spike"] * 50_000})
    back = stream_file.load(stream_file.save(long, tmp_path / f"x{suffix}"))
    assert back.metadata == long.metadata


def test_what_json_cannot_hold_is_refused(tmp_path):
    silent = SpikeStream.silent(1, 2, 3, 1e-3)
    for value in (float("nan"), object()):
        bad = replace(silent, metadata={"x": value})
        with pytest.raises(ValueError, match="metadata must be what JSON can hold"):
            stream_file.save(bad, tmp_path / "x.h5")
    assert not list(tmp_path.iterdir())


def test_the_documented_layout_is_in_the_file(stream, tmp_path):
    """What a reader in another language relies on."""
    with h5py.File(stream_file.save(stream, tmp_path / "spikes.h5")) as file:
        assert file["ticks"].dtype == np.int64
        assert file["units"].dtype == np.int32
        assert file["offsets"].shape == (4,)
        assert file["samples/label"][:].tolist() == [3, 1, 4]


# ---- what `save` takes comes back ---------------------------------------------------------------

NAMES = ["a", "a.npy", "/a", "samples/a", "left/right", "left", ".", "..", "", "header", "ticks"]


@each_format
def test_arrays_come_back_under_any_name(suffix, tmp_path):
    """Names that are places in HDF5, or lose their end in a zip."""
    empty = SpikeStream.silent(3, 5, 10, 1e-3)
    names = [*NAMES, "array_3", "größe", "a\\b", "x" * 300, "a\nb"]
    sent = replace(empty, samples={name: np.arange(3) + i for i, name in enumerate(names)})
    back = stream_file.load(stream_file.save(sent, tmp_path / f"x{suffix}"))
    assert {name: array.tolist() for name, array in back.samples.items()} == {
        name: array.tolist() for name, array in sent.samples.items()
    }


@each_format
@pytest.mark.parametrize(
    "array",
    [
        np.array([b"yes", b"no", b"\xff\x00up"]),
        np.array(["yes", "", "größer\0ß"]),
        np.array([["a", "b"], ["c", "d"], ["e", "f"]]),
        np.array([1, 2, 3], ">i4"),
        np.array([1.5, np.nan, -0.0], np.float16),
        np.array([1j, 2, 3], np.complex64),
        np.array([True, False, True]),
        np.zeros((3, 0, 2), np.uint8),
        np.arange(6, dtype=np.uint64).reshape(3, 2)[:, ::-1],
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_of_every_kind_come_back(array, suffix, tmp_path):
    sent = replace(SpikeStream.silent(3, 5, 10, 1e-3), samples={"x": array})
    back = stream_file.load(stream_file.save(sent, tmp_path / f"x{suffix}")).samples["x"]
    assert (back.shape, back.dtype.kind) == (array.shape, array.dtype.kind)
    np.testing.assert_array_equal(back, array)


@each_format
@pytest.mark.parametrize(
    "array", [np.zeros(3, "M8[s]"), np.zeros(3, "m8[ms]"), np.array([{}, [], 1], object)]
)
def test_arrays_that_a_file_cannot_hold_are_refused_before_anything_is_written(
    array, suffix, tmp_path
):
    with pytest.raises(ValueError, match=r"'when'.*cannot be saved"):
        stream_file.save(
            replace(SpikeStream.silent(3, 5, 10, 1e-3), samples={"when": array}),
            tmp_path / f"x{suffix}",
        )
    assert not list(tmp_path.iterdir())


def test_a_number_is_no_array_of_samples():
    with pytest.raises(ValueError, match="one row for each of 3 samples"):
        replace(SpikeStream.silent(3, 5, 10, 1e-3), samples={"t": np.array(3)})


def test_keys_that_json_makes_text_of_are_refused(tmp_path):
    bad = replace(SpikeStream.silent(1, 2, 3, 1e-3), metadata={"sizes": [{1: "a"}]})
    with pytest.raises(ValueError, match="must be text, got 1"):
        stream_file.save(bad, tmp_path / "x.h5")


@each_format
def test_spikes_that_pack_a_thousandfold_can_be_loaded(suffix, tmp_path, monkeypatch):
    """A bound on what a file may unpack to must not refuse what was saved."""
    n = 200_000
    zeros = np.zeros(n, int)
    sent = SpikeStream.silent(1, 2, 3, 1e-3).with_spikes(zeros, zeros, zeros)
    monkeypatch.setattr("rc_snn.files.limits.FLOOR", 1 << 20)
    path = stream_file.save(sent, tmp_path / f"x{suffix}")
    assert stream_file.load(path).same_spikes(sent)
    long = replace(SpikeStream.silent(1, 2, 3, 1e-3), metadata={"words": "spike" * 200_000})
    assert stream_file.load(stream_file.save(long, path)).metadata == long.metadata


# ---- files of others, and files that do harm ----------------------------------------------------


def test_a_stream_that_other_programs_packed_again_is_read(stream, tmp_path):
    """Other compression, chunks, byte order, width, and strings of any length, as they were."""
    ours = stream_file.save(stream, tmp_path / "ours.h5")
    ways = {
        "plain": ({}, "<"),
        "lzf": ({"compression": "lzf", "chunks": (3,), "fletcher32": True}, "<"),
        "big": ({"compression": 9, "maxshape": (None,)}, ">"),
    }
    for name, (options, order) in ways.items():
        with (
            h5py.File(ours) as old,
            h5py.File(tmp_path / f"{name}.h5", "w", libver="latest") as new,
        ):
            new["header"] = old["header"].asstr()[()]
            for place in ("ticks", "units", "offsets", "samples/label"):
                held = old[place][()]
                new.create_dataset(
                    place, data=held.astype(held.dtype.newbyteorder(order)), **options
                )
            new["samples/name"] = old["samples/name"].asstr()[:].astype(h5py.string_dtype())
        back = stream_file.load(tmp_path / f"{name}.h5")
        assert back.same_spikes(stream)
        assert back.samples["name"].tolist() == stream.samples["name"].tolist()
    with np.load(stream_file.save(stream, tmp_path / "ours.npz")) as file:
        held = dict(file) | {"ticks": file["ticks"].astype(">i4")}
    np.savez(tmp_path / "again.npz", **held)
    assert stream_file.load(tmp_path / "again.npz").same_spikes(stream)


def _empty(file):
    file["header"] = json.dumps({"format": stream_file.FORMAT})
    file["units"], file["offsets"] = np.zeros(0, "i4"), np.zeros(2, "i8")


def never_written(file):
    file.create_dataset("ticks", (2**29,), "i8", chunks=(2**20,), compression="gzip")


def compressed(file):
    file.create_dataset("ticks", data=np.zeros(2**26, "i8"), compression=1)


def of_many_strings(file):
    file.create_dataset("ticks", (2**23,), h5py.string_dtype())


def in_another_file(file):
    file["ticks"] = h5py.ExternalLink("/etc/other.h5", "ticks")


def in_another_place(file):
    file["ticks"] = h5py.SoftLink("/units")


def in_raw_bytes_of_another_file(file):
    file.create_dataset("ticks", (2,), "i8", external=[("/etc/hostname", 0, 16)])


def virtual(file):
    layout = h5py.VirtualLayout((2,), "i8")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "ticks", (2,))
    file.create_virtual_dataset("ticks", layout)


def in_a_circle(file):
    file["ticks"] = np.zeros(0, "i8")
    samples = file.create_group("samples")
    samples["again"] = samples


def far_down(file):
    file["ticks"] = np.zeros(0, "i8")
    file.create_group("samples/" + "a/" * 100)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        *((make, "unpacks to more") for make in (never_written, compressed, of_many_strings)),
        *((make, "another place") for make in (in_another_file, in_another_place)),
        *((make, "in another file") for make in (in_raw_bytes_of_another_file, virtual)),
        (in_a_circle, "two links lead to"),
        (far_down, "inside each other"),
    ],
)
def test_hdf5_that_takes_memory_or_leads_elsewhere_is_refused_by_name(make, reason, tmp_path):
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        _empty(file)
        make(file)
    with pytest.raises(ValueError, match=rf"bomb.h5 cannot be read as a spike stream.*{reason}"):
        stream_file.load(path)


def test_an_npz_that_unpacks_a_thousandfold_is_refused_before_it_does(tmp_path):
    path = tmp_path / "bomb.npz"
    held = {"units": np.zeros(0, "i4"), "offsets": np.zeros(2, "i8"), "ticks": np.zeros(0, "i8")}
    for more in ({"ticks": np.zeros(2**26, "i8")}, {"samples/x": np.zeros(2**22, "U1")}):
        np.savez_compressed(path, header="{}", **held | more)
        with pytest.raises(ValueError, match=r"bomb.npz .*unpack"):
            stream_file.load(path)


@each_format
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("n_steps", value) for value in (10**18, 1.5, True, "10", None)),
        *(("n_units", value) for value in (2**31, -1, [3])),
        *(("shape", value) for value in ([12.0], ["12"], 12, [10**400])),
        *(("dt_s", value) for value in ("1e-3", 0, [1e-3])),
        *(("metadata", value) for value in ([], None)),
        *(("names", value) for value in ([], {"label": 3})),
    ],
)
def test_a_header_that_says_something_absurd_is_refused(field, value, stream, suffix, tmp_path):
    """Though its digest is right: who wrote it knew how."""
    about = stream_file._about(stream) | {field: value}
    arrays = {name: getattr(stream, name) for name in ("ticks", "units", "offsets")}
    path = tmp_path / f"x{suffix}"
    write, _ = stream_file._format(path)
    digest = {"digest": stream_file._digest(about, arrays)}
    write(path, json.dumps(about | digest), arrays, True)
    with pytest.raises(ValueError, match=rf"x\{suffix} cannot be read as a spike stream"):
        stream_file.load(path)


def test_a_bit_in_whose_heap_libhdf5_loses_its_way_for_ever_is_refused(tmp_path):
    """Files before had the header in a heap of strings; now they have none."""
    sent = SpikeStream.silent(2, 5, 10, 1e-3).with_spikes([0, 1], [3, 4], [1, 2])
    path = stream_file.save(sent, tmp_path / "s.h5")
    assert b"GCOL" not in path.read_bytes()
    with h5py.File(path, "r+") as file:
        header = file["header"].asstr()[()]
        del file["header"]
        file["header"] = header
    assert stream_file.load(path).same_spikes(sent)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"GCOL") + 24] ^= 1 << 3
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"s\.h5 cannot be read as a spike stream .*2 s"):
        stream_file.load(path)


def test_no_bit_of_an_hdf5_file_makes_other_spikes_of_it(tmp_path):
    sent = SpikeStream.silent(2, 5, 10, 1e-3).with_spikes([0, 1], [3, 4], [1, 2])
    path = stream_file.save(sent, tmp_path / "s.h5")
    good = path.read_bytes()
    for bit in range(0, 8 * len(good), 397):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with suppress(ValueError):
            assert stream_file.load(path).same_spikes(sent)
