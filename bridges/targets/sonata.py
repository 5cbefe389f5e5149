"""SONATA: spikes as HDF5, which the tools of the Allen Institute and the Blue Brain Project read.

A file of ours holds, with what SONATA asks for and what it leaves open:

    /  attributes magic, version                  SONATA's
    /spikes/sample_<i>/timestamps  float64        in ms since the sample's start; attribute units
    /spikes/sample_<i>/node_ids    uint64         unit of each spike
    /spikes/sample_<i>  attribute sorting         enum none, by_id, by_time: here by_time
    /spikes  attributes dt_s, n_units, n_steps, shape                        ours
    /rc_snn/metadata, /rc_snn/samples/<name>      JSON; arrays with one row per sample; ours

Readers of SONATA list the populations below /spikes and overlook the rest.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bridges.errors import BridgeError
from bridges.stream.clock import Unit, to_ticks
from bridges.stream.stream import Array, SpikeStream
from bridges.target import Target, load
from rc_snn.files import replacing
from rc_snn.numbers import count, json_value

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
    """Read a SONATA spike file by libsonata, each population a sample.

    SONATA states no grid: say it for files of others.

    Args:
        path: the file.
        dt_s: seconds per tick; default: what our attributes say.
        n_units: number of units, silent ones included; default: what our attributes say.
        n_steps: length of a sample in ticks; default: what our attributes say.
        populations: which, in this order; default: all, by name.

    Raises:
        BridgeError: if nobody says the grid, a time is on no tick, an id is not below `n_units`, or
            the file states a unit of time other than ms or s.
        ValueError: if a spike comes after `n_steps`.
    """
    with load(TARGET).File(path, "r") as file:
        held = dict(file["spikes"].attrs)
        names = list(file["spikes"] if populations is None else populations)
        times_in = [_unit(file["spikes"][name]) for name in names]
        ours = file.get("rc_snn", {})
        metadata = json.loads(ours["metadata"][()]) if "metadata" in ours else {}
        samples = {} if populations is not None else _samples(ours.get("samples", {}))
    said = {"dt_s": dt_s, "n_units": n_units, "n_steps": n_steps}
    grid: dict[str, Any] = {n: held.get(n) if said[n] is None else said[n] for n in _GRID}
    if lacking := [name for name, value in grid.items() if value is None]:
        raise BridgeError(
            f"{Path(path).name} does not say {', '.join(lacking)}, which SONATA has no place for. "
            f"Pass {'it' if len(lacking) == 1 else 'them'} to from_file."
        )
    reader = load(TARGET, "libsonata").SpikeReader(str(path))
    spikes = [reader[name].get_dict() for name in names]
    dt, (size, length) = grid["dt_s"], (count(grid[name], name) for name in _GRID[1:])
    ticks = [to_ticks(s["timestamps"], dt, unit) for s, unit in zip(spikes, times_in, strict=True)]
    ids = _join([s["node_ids"] for s in spikes], np.uint64)
    if ids.size and ids.max() >= grid["n_units"]:  # before int64 wraps it round
        raise BridgeError(
            f"node_ids reach {ids.max()}; with n_units={grid['n_units']} they end at "
            f"{grid['n_units'] - 1}. Pass a larger n_units."
        )
    sample = np.repeat(np.arange(len(names)), [len(t) for t in ticks])
    shape = tuple(int(size) for size in held.get("shape", ())) if n_units is None else ()
    silent = SpikeStream.silent(len(names), size, length, dt)
    empty = replace(silent, shape=shape, metadata=metadata, samples=samples)
    return empty.with_spikes(sample, _join(ticks, np.int64), ids)


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Write the spikes as SONATA, and return what libsonata reads."""
    with tempfile.TemporaryDirectory() as folder:
        return from_file(export(stream, Path(folder, f"spikes{TARGET.suffix}")))


def _unit(population: Any) -> Unit:
    unit = population["timestamps"].attrs.get("units", "none")
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    if unit not in _UNITS:
        raise BridgeError(
            f"The timestamps of population {Path(population.name).name} have units {unit!r}; they "
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
