"""Neurodata Without Borders: spikes as a table of units and one of trials; so pynapple, too.

NWB has one timeline, so samples follow each other on it: sample i starts at i × duration and is
trial i, which ends half a tick before the next starts. Thus pynapple, which counts an interval's
end as part of it, does not find the first spikes of the next sample in it.

A tick is the `resolution` of the units table. What NWB has no place for (n_steps, shape, metadata)
is JSON in the file's `notes`. `to_tsgroup` is for pynapple, with the time support that its guess
would get wrong.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bridges.errors import BridgeError
from bridges.reading import reading
from bridges.stream.clock import to_ticks
from bridges.stream.stream import Array, SpikeStream
from bridges.stream.timeline import by_unit, cut, starts, stops
from bridges.target import Target, load
from rc_snn.borders.numbers import json_value, whole
from rc_snn.files import parse_json, replacing

TARGET = Target(
    name="nwb",
    title="NWB, pynapple",
    row=150,
    kind="file",
    needs=("pynwb",),
    versions="pynwb 4.2.0, pynapple 0.11.4",
    unit="s",
    repeats=True,
    per_tick=None,
    float_times="timeline",
    samples="one after the other, each a trial",
    suffix=".nwb",
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTES = "rc_snn"
_BOUNDS = ("start_time", "stop_time")


def to_nwbfile(stream: SpikeStream, *, session_start_time: datetime = EPOCH) -> Any:
    """Return a pynwb `NWBFile` with all spikes.

    Unit u is row u of `units`, also if it is silent, observed all the time. Columns of `trials` are
    the arrays of `stream.samples`. The file's identifier is a digest of the stream.

    Args:
        stream: the spikes.
        session_start_time: with its time zone. A simulation has none: 1970.

    Raises:
        BridgeError: if the samples together are too long for float64 times, or an array of
            `stream.samples` cannot be a column of `trials`.
        ImportError: if pynwb is not installed.

    Example:
        >>> stream = SpikeStream.silent(2, 3, 10, dt_s=1e-3).with_spikes([1], [4], [2])
        >>> nwb = to_nwbfile(stream)
        >>> nwb.units["spike_times"][2].tolist(), nwb.trials["stop_time"][:].tolist()
        ([0.014], [0.0095, 0.0195])
        >>> from_nwbfile(nwb).same_spikes(stream)
        True
    """
    TARGET.admit(stream)
    pynwb = load(TARGET)
    notes = {"n_steps": stream.n_steps, "shape": list(stream.shape)}
    nwb = pynwb.NWBFile(
        session_description="Spikes of a simulation, one trial per sample.",
        identifier=_digest(stream),
        session_start_time=session_start_time,
        notes=json.dumps({_NOTES: {**notes, "metadata": _metadata(stream)}}),
    )
    times, ends = by_unit(stream)
    rows = np.arange(stream.n_units)
    observed = np.tile([0.0, stops(stream)[-1]], (stream.n_units, 1))
    nwb.units = pynwb.misc.Units(
        name="units",
        description="Units of the simulation, silent ones included.",
        resolution=stream.dt_s,
        id=rows,
        columns=[
            *_ragged("spike_times", times, ends),
            *_ragged("obs_intervals", observed, rows + 1),
        ],
        colnames=["spike_times", "obs_intervals"],
    )
    bounds = {"start_time": starts(stream), "stop_time": stops(stream)}
    nwb.trials = pynwb.epoch.TimeIntervals(
        name="trials",
        description="Samples. Each ends half a tick before the next starts.",
        id=np.arange(len(stream)),
        columns=[_vector(name, array) for name, array in (bounds | _rows(stream)).items()],
        colnames=[*bounds, *stream.samples],
    )
    return nwb


def from_nwbfile(nwb: Any, dt_s: float | None = None, n_steps: int | None = None) -> SpikeStream:
    """Return the spikes of a pynwb `NWBFile`, each trial a sample.

    A spike belongs to the last trial that has started, and not ended: see
    `bridges.stream.timeline.cut`. Times are those of the session, as NWB has them, of which a
    trial's start is taken away. A file without trials is one sample, which starts at 0. Other
    columns of the trials become `samples`, where they are arrays.

    Args:
        nwb: made by `to_nwbfile`, or by others.
        dt_s: seconds per tick; default: the `resolution` of the units table.
        n_steps: length of a sample in ticks; default: what our notes say.

    Raises:
        BridgeError: if there are no spike times, nobody says the grid, a time is on no tick, trials
            overlap, or a spike is in none of `n_steps` ticks.
    """
    TARGET.holds(nwb, "an NWBFile", "units", "trials", "notes")
    if nwb.units is None or "spike_times" not in nwb.units.colnames:
        raise BridgeError("This NWB file has no spike times: its units table lacks the column.")
    ours = _read_notes(nwb.notes)
    dt_s = nwb.units.resolution if dt_s is None else dt_s
    n_steps = ours.get("n_steps") if n_steps is None else n_steps
    if dt_s is None or n_steps is None:
        raise BridgeError(
            "This NWB file does not say how long a tick is, or how many a sample has. Pass dt_s "
            "and n_steps."
        )
    start, stop, samples = np.zeros(1), None, {}
    if nwb.trials is not None:
        start, stop = (np.asarray(nwb.trials[name].data[:], np.float64) for name in _BOUNDS)
        samples = _samples(nwb.trials)
    silent = SpikeStream.silent(len(start), len(nwb.units), n_steps, dt_s)
    like = replace(
        silent,
        shape=tuple(ours.get("shape", ())),
        metadata=ours.get("metadata", {}),
        samples=samples,
    )
    index = nwb.units["spike_times"]
    ends = np.asarray(index.data[:], np.int64)
    times = np.asarray(index.target.data[:], np.float64)
    counts = np.diff(ends, prepend=0)
    if len(ends) != len(nwb.units) or (counts < 0).any() or counts.sum() != len(times):
        raise BridgeError(
            f"The units table has {len(nwb.units)} rows and {len(times)} spike times, which its "
            "spike_times_index does not divide among them."
        )
    return cut(times, np.repeat(np.arange(len(counts)), counts), start, like, stop)


def export(stream: SpikeStream, path: Path | str) -> Path:
    """Write an NWB file, atomically: see `to_nwbfile`.

    Raises:
        BridgeError: as `to_nwbfile` does.
        ValueError: if the path does not end in .nwb.
    """
    path = TARGET.named(path)
    nwb = to_nwbfile(stream)
    with replacing(path, ".nwb") as partial, load(TARGET).NWBHDF5IO(str(partial), "w") as io:
        io.write(nwb)
    return path


def from_file(
    path: Path | str, dt_s: float | None = None, n_steps: int | None = None
) -> SpikeStream:
    """Read an NWB file: see `from_nwbfile`.

    Raises:
        BridgeError: as `from_nwbfile` does.
        OSError: if there is no such file.
        ValueError: if it cannot be read.
    """
    load(TARGET)  # or say how to install it
    with reading(path, TARGET.title, "nwb", 8), load(TARGET).NWBHDF5IO(str(path), "r") as io:
        return from_nwbfile(io.read(), dt_s, n_steps)


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Write the spikes as NWB, and return what pynwb reads."""
    with tempfile.TemporaryDirectory() as folder:
        return from_file(export(stream, Path(folder, f"spikes{TARGET.suffix}")))


def to_tsgroup(stream: SpikeStream) -> Any:
    """Return a pynapple `TsGroup`: one `Ts` per unit; its time support holds the samples.

    Samples follow each other, as in the file. Without a time support, pynapple takes
    the span from a unit's first spike to its last, which is empty for a unit that spikes once, as
    all do in a rank code; then it drops the spike, also when its `load_file` reads an NWB file. So
    read NWB files by `to_tsgroup(from_file(path))`.

    `group.count(bin_size=stream.duration_s)` counts each sample exactly. Bins of one tick are not
    exact, for spikes lie on their edges: `from_tsgroup(group, dt_s).to_tensor()` is.

    Raises:
        BridgeError: if the samples together are too long for float64 times.
        ImportError: if pynapple is not installed.

    Example:
        >>> stream = SpikeStream.silent(2, 3, 10, dt_s=1e-3).with_spikes([1], [4], [2])
        >>> group = to_tsgroup(stream)
        >>> len(group), group[2].times().tolist(), group.time_support.end.tolist()
        (3, [0.014], [0.0095, 0.0195])
        >>> from_tsgroup(group, dt_s=1e-3).same_spikes(stream)
        True
    """
    TARGET.admit(stream)
    nap = load(TARGET, "pynapple")
    support = nap.IntervalSet(starts(stream), stops(stream))
    times, ends = by_unit(stream)
    trains = np.split(times, ends[:-1])
    units = {unit: nap.Ts(train, time_support=support) for unit, train in enumerate(trains)}
    return nap.TsGroup(units, time_support=support)


def from_tsgroup(group: Any, dt_s: float) -> SpikeStream:
    """Return the spikes of a pynapple `TsGroup`; each interval of its time support is a sample.

    Its keys are the units, the largest of them the last unit. The intervals last a whole number of
    ticks, or end half a tick before, as those of `to_tsgroup` do. Times are those of the session:
    a group of pynapple's `compute_perievent`, whose keys are trials and whose times count from
    their events, is refused.

    Args:
        group: made by `to_tsgroup`, or by what you did with that.
        dt_s: seconds per tick.

    Raises:
        BridgeError: if a time is on no tick or in no interval, the intervals differ in length, the
            group has no unit, or its times are those of trials.
    """
    TARGET.holds(group, "pynapple's TsGroup", "keys", "time_support", "metadata_columns")
    keys = whole(
        list(group.keys()), "Keys of a TsGroup, which are its units,", 0, 2**31 - 2
    ).tolist()
    if not keys:
        raise BridgeError("This TsGroup has no unit. Was the choice of units empty?")
    support = group.time_support
    start, stop = (np.asarray(bound, np.float64) for bound in (support.start, support.end))
    if start.min(initial=0.0) < 0.0 or {"events", "ref_times"} & set(group.metadata_columns):
        raise BridgeError(
            "Times of this TsGroup count from events, as compute_perievent makes them, and its "
            "keys are trials. Pass the group of the session, restricted to the trials."
        )
    ends = np.rint(2.0 * (stop - start) / dt_s) % 2 == 1  # half a tick before the next starts
    lengths = np.unique(to_ticks(stop - start + np.where(ends, 0.5 * dt_s, 0.0), dt_s))
    if len(lengths) != 1:
        raise BridgeError(f"Samples must have one length, got {lengths.tolist()} ticks.")
    trains = [np.asarray(group[key].times(), np.float64) for key in keys]
    like = SpikeStream.silent(len(start), max(keys) + 1, int(lengths[0]), dt_s)
    units = np.repeat(keys, [len(train) for train in trains])
    return cut(np.concatenate(trains), units, start, like, stop)


def _rows(stream: SpikeStream) -> dict[str, Any]:
    """Return the arrays of `stream.samples`, as far as they can be columns of NWB's trials."""
    table = load(TARGET).epoch.TimeIntervals
    own = {column["name"] for column in table.__columns__}
    for name, array in stream.samples.items():
        taken = name in own or hasattr(table, name)
        bare = array.dtype.kind == "U" and not array.size  # which pynwb cannot write
        if taken or bare or "/" in name or ":" in name or array.dtype.kind not in "biufU":
            raise BridgeError(
                f"samples[{name!r}] of {array.dtype} cannot be a column of NWB's trials. Give it a "
                "numeric or string dtype, and another name."
            )
    return {name: a.tolist() if a.dtype.kind == "U" else a for name, a in stream.samples.items()}


def _vector(name: str, data: Any) -> Any:
    table = load(TARGET, "hdmf.common")
    return table.VectorData(name=name, description="Of each row.", data=data)


def _ragged(name: str, data: Array, ends: Array) -> tuple[Any, Any]:
    values = _vector(name, data)
    index = load(TARGET, "hdmf.common").VectorIndex
    return values, index(name=f"{name}_index", data=ends, target=values)


def _samples(trials: Any) -> dict[str, Array]:
    found = {}
    for name in trials.colnames:
        column = trials[name]
        if name in _BOUNDS or hasattr(column, "target"):  # which is an index
            continue
        array = np.asarray(column.data[:])
        if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.flat):
            array = array.astype(str)
        if array.dtype.kind in "biufU":
            found[name] = array
    return found


def _read_notes(notes: str | None) -> Mapping[str, Any]:
    try:
        return dict(parse_json(notes or "{}", "notes")[_NOTES])
    except (ValueError, KeyError, TypeError):  # the notes of others
        return {}


def _metadata(stream: SpikeStream) -> Any:
    return json_value(dict(stream.metadata), "metadata")


def _digest(stream: SpikeStream) -> str:
    grid = [stream.dt_s, stream.n_units, stream.n_steps, stream.shape, _metadata(stream)]
    digest = hashlib.blake2b(json.dumps(grid, sort_keys=True).encode(), digest_size=16)
    arrays = {"ticks": stream.ticks, "units": stream.units, "offsets": stream.offsets}
    arrays |= {f"samples/{name}": array for name, array in stream.samples.items()}
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
