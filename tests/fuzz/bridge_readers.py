"""Readers of bridges: streams, files of event cameras, SONATA, NWB, NIR."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bridges.stream import SpikeStream
from bridges.stream import file as stream_file
from bridges.support import bridge
from bridges.targets import aedat4, dat, es, nir, nwb, sonata
from tests.fuzz.engine import Reader
from tests.fuzz.mutations import inside_zip

SENSOR = (4, 3, 1)


def stream(samples: int = 2) -> SpikeStream:
    """Return spikes of some samples, with labels and metadata."""
    empty = replace(
        SpikeStream.silent(samples, 12, 50, 1e-3),
        shape=(1, 3, 4),
        metadata={"model": "α-PSP", "sizes": [784, 340]},
        samples={"label": np.arange(samples), "word": np.array(["yes", "größer"])[:samples]},
    )
    rng = np.random.default_rng(0)
    spikes = rng.integers(0, samples, 40), rng.integers(0, 50, 40), rng.integers(0, 12, 40)
    return empty.with_spikes(*spikes)


def _saved(suffix: str):
    return lambda folder: [stream_file.save(stream(), folder / f"spikes{suffix}")]


def _exported(target, make=None, samples: int = 2):
    """Return what puts a file of ours into a folder, and those of others that `make` returns."""

    def seeds(folder: Path) -> list[Path]:
        ours = folder / f"ours{target.TARGET.suffix}"
        target.export(stream(samples), ours)
        return [ours, *(make(folder) if make else ())]

    return seeds


def _compressions(folder: Path) -> list[Path]:
    """Return AEDAT4 files as faery packs them."""
    import faery

    (events,) = (aedat4.FORMAT.read_events(folder / "ours.aedat4", SENSOR),)
    native = np.zeros(len(events), faery.EVENTS_DTYPE)
    for name in "txyp":
        native[name] = events[name]
    paths = []
    for name, packed in (("none", None), ("zstd", ("zstd", 1))):
        paths.append(folder / f"{name}.aedat4")
        faery.events_stream_from_array(native, SENSOR[:2]).to_file(paths[-1], compression=packed)
    return paths


def _old_strings(folder: Path) -> list[Path]:
    """Return a stream whose header has any length, as those before had it."""
    import h5py

    path = folder / "old.h5"
    shutil.copy(folder / "spikes.h5", path)
    with h5py.File(path, "r+") as file:
        header = file["header"].asstr()[()]
        del file["header"]
        file["header"] = header
    return [path]


def _sonata_of_others(folder: Path) -> list[Path]:
    """Return a file of the first version, and one of two populations without unit."""
    import h5py

    paths = [folder / "first.h5", folder / "populations.h5"]
    with h5py.File(paths[0], "w") as file:
        file["spikes/gids"], file["spikes/timestamps"] = np.array([2, 0, 1]), np.arange(3.0)
    with h5py.File(paths[1], "w") as file:
        for name in ("V1", "LGN"):
            file[f"spikes/{name}/node_ids"] = np.array([2, 0, 1], np.uint32)
            file.create_dataset(f"spikes/{name}/timestamps", data=np.arange(3.0), compression=4)
    return paths


def _nwb_of_others(folder: Path) -> list[Path]:
    """Return a file as pynwb makes it of a recording: electrodes, trials, a device."""
    import pynwb

    made = pynwb.NWBFile("a session", "42", nwb.EPOCH)
    device = made.create_device(name="probe")
    group = made.create_electrode_group("shank", "of four", "V1", device)
    made.add_electrode(location="V1", group=group)
    made.add_unit_column("quality", "of the sorting")
    for unit in range(3):
        made.add_unit(spike_times=np.arange(unit) * 0.002, electrodes=[0], quality="good")
    made.add_trial(start_time=0.0, stop_time=0.05)
    path = folder / "theirs.nwb"
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(made)
    return [path]


def _grid_of_nir(folder: Path) -> list[Path]:
    """Return a grid as NIR writes it."""
    import nir as theirs

    path = folder / "grid.h5"
    node = theirs.NIRNodeData({nir.OBSERVABLE: nir.to_time_gridded(stream().take([0]))})
    theirs.write_data(path, theirs.NIRGraphData({nir.NODE: node}))
    return [path]


def _first_version(folder: Path) -> list[Path]:
    """Return a .dat file of version 1, whose times begin at 0, as faery writes it."""
    import faery

    events = np.zeros(5, faery.EVENTS_DTYPE)
    events["t"], events["x"] = np.arange(5) + 7000, [0, 1, 2, 3, 0]
    path = folder / "first.dat"
    faery.events_stream_from_array(events, SENSOR[:2]).to_file(path, version="dat1")
    return [path]


def _as_bytes(found: SpikeStream) -> tuple:
    arrays = (found.ticks, found.units, found.offsets, *found.samples.values())
    about = (found.dt_s, found.n_units, found.n_steps, found.shape, list(found.samples))
    return (*(a.tobytes() for a in arrays), *about, found.metadata)


def _is_stream(found: SpikeStream) -> None:
    """A stream that checks itself again; its spikes can be gone through."""
    assert replace(found).same_spikes(found)
    assert len(found.times()) == found.n_spikes


def _is_events(events: np.ndarray) -> None:
    assert events.dtype.names == ("x", "y", "t", "p")
    for name, side in zip("xy", SENSOR, strict=False):
        assert not len(events) or 0 <= events[name].min() <= events[name].max() < side


def _h5_seeds(folder: Path) -> list[Path]:
    return [*_saved(".h5")(folder), *_old_strings(folder)]


def _camera(target, make=None) -> Reader:
    """Return the reader of a camera's files."""
    return Reader(
        target.TARGET.name,
        _exported(target, make, samples=1),
        partial(target.read_events, sensor_size=SENSOR),
        check=_is_events,
        about=f"events of a camera, {target.TARGET.title}",
    )


READERS = (
    Reader(
        "stream-npz",
        _saved(".npz"),
        stream_file.load,
        _as_bytes,
        layers=(inside_zip,),
        about="spikes, npz",
    ),
    Reader("stream-h5", _h5_seeds, stream_file.load, _as_bytes, about="spikes, HDF5"),
)

_OF_TARGETS = (
    Reader(
        "sonata",
        _exported(sonata, _sonata_of_others),
        lambda path: sonata.from_file(path, 1e-3, 12, 50),
        check=_is_stream,
        about="spikes, SONATA",
    ),
    Reader(
        "nwb",
        _exported(nwb, _nwb_of_others),
        lambda path: nwb.from_file(path, 1e-3, 50),
        check=_is_stream,
        about="spikes, NWB",
    ),
    Reader(
        "nir",
        _exported(nir, _grid_of_nir),
        lambda path: nir.from_file(path, 1e-3),
        check=_is_stream,
        about="spikes, NIR data",
    ),
    _camera(aedat4, _compressions),
    _camera(es),
    _camera(dat, _first_version),
)
READERS += tuple(r for r in _OF_TARGETS if bridge(r.name).TARGET.missing() is None)
