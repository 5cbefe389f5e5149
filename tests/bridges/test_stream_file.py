"""Stream files: what is saved comes back whole; what is damaged or foreign is refused."""

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
