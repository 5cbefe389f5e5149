"""SONATA: spikes as HDF5, which the tools of the Allen Institute and the Blue Brain Project read.

A file of ours holds, with what SONATA asks for and what it leaves open:

    /  attributes magic, version                  SONATA's
    /spikes/sample_<i>/timestamps  float64        in ms since the sample's start; attribute units
    /spikes/sample_<i>/node_ids    uint64         unit of each spike
    /spikes/sample_<i>  attribute sorting         enum none, by_id, by_time: here by_time
    /spikes  attributes dt_s, n_units, n_steps, shape                        ours
    /rc_snn/metadata, /rc_snn/samples/<name>      JSON; arrays with one row per sample; ours

Readers of SONATA list the populations below /spikes and overlook the rest.

Files of others are read by h5py, as they are written: libsonata refuses timestamps without a unit,
which BMTK takes for ms, and the first version of the format, with /spikes/gids and no population
(NEST's example is such a file).
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bridges.errors import BridgeError
from bridges.reading import reading
from bridges.stream.clock import Unit, to_ticks
from bridges.stream.stream import Array, SpikeStream
from bridges.target import Target, load
from rc_snn.borders.numbers import finite, json_value, whole
from rc_snn.files import parse_json, replacing

TARGET = Target(
    name="sonata",
    title="SONATA",
    row=140,
    kind="file",
    needs=("h5py", "libsonata"),
    versions="libsonata 0.2.2, h5py 3.16.0",
    unit="ms",
    repeats=True,
    per_tick=None,
    float_times="sample",
    samples="one population each, sample_0, sample_1, ...",
    suffix=".h5",
)
MAGIC = 0x0A7A
SORTING = {"none": 0, "by_id": 1, "by_time": 2}
_UNITS: dict[str, Unit] = {"ms": "ms", "milliseconds": "ms", "s": "s", "seconds": "s"}
_GRID = ("dt_s", "n_units", "n_steps")


def export(stream: SpikeStream, path: Path | str) -> Path:
    """Write a SONATA spike file, atomically.

    The names of the populations have as many digits as the last one needs, so that their order by
    name, which is how HDF5 lists them, is that of the samples.

    Raises:
        BridgeError: if the stream is too long for float64 times, or a row of `stream.samples` is
            nothing that HDF5 holds.
        ValueError: if the path does not end in .h5.

    Example:
        >>> import tempfile
        >>> stream = SpikeStream.silent(2, 3, 10, dt_s=1e-3).with_spikes([0], [4], [2])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     from_file(export(stream, f"{folder}/spikes.h5")).same_spikes(stream)
        True
    """
    path = TARGET.named(path)
    TARGET.admit(stream)
    for name, array in stream.samples.items():
        if np.asarray(array).dtype.kind not in "biufU" or "/" in name:
            raise BridgeError(
                f"HDF5 cannot hold samples[{name!r}] of {array.dtype}. Give it a numeric or string "
                "dtype, and a name without slash."
            )
    with replacing(path) as partial, load(TARGET).File(partial, "w") as file:
        _write(stream, file)
    return path


def _write(stream: SpikeStream, file: Any) -> None:
    h5py = load(TARGET)
    file.attrs["magic"] = np.uint32(MAGIC)
    file.attrs["version"] = np.array([0, 1], np.uint32)
    sorting = h5py.enum_dtype(SORTING, basetype=np.uint8)
    spikes = file.create_group("spikes")
    for name in _GRID:
        spikes.attrs[name] = getattr(stream, name)
    spikes.attrs["shape"] = np.array(stream.shape, np.int64)
    times, digits = stream.times("ms"), len(str(len(stream) - 1))
    for i in range(len(stream)):
        part = slice(stream.offsets[i], stream.offsets[i + 1])
        population = spikes.create_group(f"sample_{i:0{digits}}")
        population.attrs.create("sorting", SORTING["by_time"], dtype=sorting)
        population["timestamps"] = times[part]
        population["timestamps"].attrs["units"] = "ms"
        population["node_ids"] = stream.units[part].astype(np.uint64)
    ours = file.create_group("rc_snn")
    metadata = json_value(dict(stream.metadata), "metadata")
    ours["metadata"] = json.dumps(metadata)  # an attribute ends at 64 kB
    for name, array in stream.samples.items():
        text = array.dtype.kind == "U"
        ours[f"samples/{name}"] = array.astype(h5py.string_dtype()) if text else array


def from_file(
    path: Path | str,
    dt_s: float | None = None,
    n_units: int | None = None,
    n_steps: int | None = None,
    *,
    populations: Sequence[str] | None = None,
) -> SpikeStream:
    """Read a SONATA spike file, each population a sample.

    SONATA states no grid: say it for files of others.

    Args:
        path: the file.
        dt_s: seconds per tick; default: what our attributes say.
        n_units: number of units, silent ones included; default: what our attributes say.
        n_steps: length of a sample in ticks; default: what our attributes say.
        populations: which, in this order; default: all, by name.

    Raises:
        BridgeError: if nobody says the grid, a time is on no tick, an id is not below `n_units`,
            the file has no such population, or states a unit of time other than ms or s.
        OSError: if there is no such file.
        TypeError: if `populations` is one name, and no list.
        ValueError: if it cannot be read, or a spike comes after `n_steps`.
    """
    h5py = load(TARGET)
    if isinstance(populations, str):  # whose letters may be populations, too
        raise TypeError(f"populations must be a list of names, got {populations!r}. Pass a list.")
    with reading(path, TARGET.title, "hdf5", 16), h5py.File(path, "r") as file:
        if "spikes" not in file:
            raise BridgeError(
                f"{Path(path).name} has no group /spikes: it holds {', '.join(file) or 'nothing'}. "
                "Pass a spike file, not a network's or a report."
            )
        held = dict(file["spikes"].attrs)
        found = _populations(file["spikes"], Path(path).name)
        if lacking := [name for name in populations or () if name not in found]:
            raise BridgeError(
                f"{Path(path).name} has no population {lacking[0]!r}; it has "
                f"{', '.join(map(repr, found)) or 'none'}."
            )
        names = list(found) if populations is None else list(populations)
        spikes = [_spikes(found[name]) for name in names]
        ours = file.get("rc_snn", {})
        text = ours["metadata"].asstr()[()] if "metadata" in ours else "{}"
        metadata = dict(parse_json(text, "its metadata"))
        samples = {} if populations else _samples(ours.get("samples", {}))
        shape = whole(held.get("shape", np.zeros(0)), "shape", 1) if n_units is None else ()
    said = {"dt_s": dt_s, "n_units": n_units, "n_steps": n_steps}
    grid = {name: held.get(name) if said[name] is None else said[name] for name in _GRID}
    if lacking := [name for name, value in grid.items() if value is None]:
        raise BridgeError(
            f"{Path(path).name} does not say {', '.join(lacking)}, which SONATA has no place for. "
            f"Pass {'it' if len(lacking) == 1 else 'them'} to from_file."
        )
    dt = float(finite(grid["dt_s"], "dt_s"))
    units, steps = (int(whole(grid[name], name, low=1)) for name in ("n_units", "n_steps"))
    ticks = [to_ticks(times, dt, unit) for _, times, unit in spikes]
    ids = _join([ids for ids, _, _ in spikes], np.uint64)
    if ids.size and ids.max() >= units:  # before int64 wraps it round
        raise BridgeError(
            f"node_ids reach {ids.max()}; with n_units={units} they end at {units - 1}. Pass a "
            "larger n_units."
        )
    sample = np.repeat(np.arange(len(names)), [len(t) for t in ticks])
    silent = SpikeStream.silent(len(names), units, steps, dt)
    empty = replace(
        silent, shape=tuple(np.ravel(shape).tolist()), metadata=metadata, samples=samples
    )
    return empty.with_spikes(sample, _join(ticks, np.int64), ids)


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Write the spikes as SONATA, and return what is read; libsonata must find the same.

    Raises:
        BridgeError: if it does not.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = export(stream, Path(folder, f"spikes{TARGET.suffix}"))
        reader = load(TARGET, "libsonata").SpikeReader(str(path))
        theirs = [reader[name].get_dict() for name in sorted(reader.get_population_names())]
        back = from_file(path)
    times = _join([spikes["timestamps"] for spikes in theirs], np.float64)
    ids = _join([spikes["node_ids"] for spikes in theirs], np.uint64)
    sample = np.repeat(np.arange(len(theirs)), [len(spikes["node_ids"]) for spikes in theirs])
    if not back.with_spikes(sample, to_ticks(times, stream.dt_s, "ms"), ids).same_spikes(back):
        raise BridgeError("libsonata finds other spikes in this file than were written.")
    return back


def _populations(spikes: Any, file: str) -> dict[str, Any]:
    """Return the groups with spikes by name; of the first version of SONATA, the one there is."""
    if "timestamps" in spikes:
        return {"": spikes}
    h5py = load(TARGET)
    groups = {name: held for name, held in spikes.items() if isinstance(held, h5py.Group)}
    if not groups:
        raise BridgeError(f"{file} has no population below /spikes. Is it a spike file?")
    return groups


def _spikes(population: Any) -> tuple[Array, Array, Unit]:
    """Return ids, times, and the unit of these."""
    name = population.name
    ids = [key for key in ("node_ids", "gids") if key in population]
    if not ids or "timestamps" not in population:
        raise BridgeError(
            f"Population {name} lacks timestamps or node_ids; it has {', '.join(population)}."
        )
    who, when = population[ids[0]], population["timestamps"]
    if who.dtype.kind not in "iu" or when.dtype.kind not in "iuf" or who.ndim != 1:
        raise BridgeError(f"Population {name} has {who.dtype} ids and {when.dtype} timestamps.")
    if who.shape != when.shape:
        raise BridgeError(f"Population {name} has {len(who)} ids and {len(when)} timestamps.")
    numbers = who[()]
    if who.dtype.kind == "i" and numbers.size and numbers.min() < 0:
        raise BridgeError(f"Population {name} has an id of {numbers.min()}.")
    return numbers.astype(np.uint64), when[()].astype(np.float64), _unit(when, name)


def _unit(timestamps: Any, population: str) -> Unit:
    """Return the unit of time, which is SONATA's where none is stated."""
    unit = timestamps.attrs.get("units", "ms")
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    if unit not in _UNITS:
        raise BridgeError(
            f"The timestamps of population {Path(population).name} have units {unit!r}; they "
            f"must be one of {', '.join(_UNITS)}. Set the attribute."
        )
    return _UNITS[unit]


def _samples(group: Any) -> dict[str, Array]:
    is_text = load(TARGET).check_string_dtype
    return {
        name: held.asstr()[:].astype(str) if is_text(held.dtype) else held[()]
        for name, held in group.items()
    }


def _join(parts: list[Array], dtype: Any) -> Array:
    return np.concatenate([np.zeros(0, dtype), *parts])
