"""Neo: spikes as a `Block`, one `Segment` per sample, one `SpikeTrain` per unit; so Elephant, too.

Neo writes a Block to files itself. `export` writes a script rather than one of them: NIX, which
keeps everything, needs a further package; MATLAB's refuses an annotation that is None; and a pickle
runs whatever code it holds.
"""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from bridges.errors import BridgeError
from bridges.stream import script
from bridges.stream.clock import to_ticks
from bridges.stream.stream import Array, SpikeStream
from bridges.target import Target, load
from rc_snn.borders.numbers import count, json_value, whole
from rc_snn.files import parse_json

TARGET = Target(
    name="neo",
    title="Neo, Elephant",
    row=130,
    kind="library",
    needs=("neo",),
    versions="neo 0.14.6, elephant 1.2.1",
    unit="s, explicit",
    repeats=True,
    per_tick=None,
    float_times="sample",
    samples="one Segment each",
)
_KINDS = "biufU"
"""Kinds of arrays whose elements Neo takes as annotations and gives back as they were."""


def to_block(stream: SpikeStream) -> Any:
    """Return a Neo `Block` with one `Segment` per sample and one `SpikeTrain` per unit.

    Times are in seconds since the sample's start; trains reach from 0 to the sample's end, silent
    units have empty ones, and the annotation `channel_id` is the unit. Neo makes the trains of a
    segment when they are first asked for (about 0.1 ms each), so that a Block of many silent units
    costs nothing. Annotations of the Block are dt_s, n_units, n_steps, shape, and metadata as JSON,
    which every file format of Neo keeps; those of a Segment are its row of `stream.samples`.

    For Elephant: `BinnedSpikeTrain(segment.spiketrains, bin_size=stream.dt_s * quantities.s,
    n_bins=stream.n_steps)` has one bin per tick. Leave its tolerance as it is, for without one
    Elephant floors t / dt.

    Raises:
        BridgeError: if the stream is too long for float64 times, or a row of `stream.samples` is
            nothing that Neo takes as an annotation.
        ImportError: if Neo is not installed.

    Example:
        >>> stream = SpikeStream.silent(2, 3, 10, dt_s=1e-3).with_spikes([0], [4], [2])
        >>> block = to_block(stream)
        >>> [float(train.sum()) for train in block.segments[0].spiketrains]
        [0.0, 0.0, 0.004]
        >>> from_block(block).same_spikes(stream)
        True
    """
    TARGET.admit(stream)
    for name, array in stream.samples.items():
        if np.asarray(array).dtype.kind not in _KINDS:
            raise BridgeError(
                f"Neo takes no {array.dtype} as an annotation (samples[{name!r}]). Give it a "
                "numeric or string dtype."
            )
    neo, s = load(TARGET), load(TARGET, "quantities").s
    of_arrays = load(TARGET, "neo.core.spiketrainlist").SpikeTrainList.from_spike_time_array
    block = neo.Block(
        dt_s=stream.dt_s,
        n_units=stream.n_units,
        n_steps=stream.n_steps,
        shape=list(stream.shape),
        metadata=json.dumps(json_value(dict(stream.metadata), "metadata")),
    )
    times, units = stream.times(), list(range(stream.n_units))
    for i in range(len(stream)):
        part = slice(stream.offsets[i], stream.offsets[i + 1])
        segment = neo.Segment(name=f"sample {i}", index=i)
        segment.annotate(**{name: array[i] for name, array in stream.samples.items()})
        segment.spiketrains = of_arrays(
            times[part] * s, stream.units[part], units, t_stop=stream.duration_s * s
        )
        segment.spiketrains.segment = segment
        block.segments.append(segment)
    return block


def from_block(block: Any, dt_s: float | None = None, n_steps: int | None = None) -> SpikeStream:
    """Return the spikes of a Neo `Block`, each segment a sample.

    A train's unit is its annotation `channel_id`, as Neo and PyNN write it, or, if no train has
    one, its position in the segment. Time counts from the segment's earliest `t_start`. Annotations
    that all segments have become `samples`, where they make an array.

    Two trains of a segment are two units: with one `channel_id`, as sorted units of an electrode or
    cells of two populations have it, they are refused and never merged. Number them yourself,
    `for i, train in enumerate(segment.spiketrains): train.annotate(channel_id=i)`.

    Args:
        block: made by `to_block`, or by others.
        dt_s: seconds per tick; default: the Block's annotation of that name.
        n_steps: length of a sample in ticks; default: the Block's annotation of that name.

    Raises:
        BridgeError: if the Block does not say its grid and you do not, a time is on no tick, or
            trains do not say which unit they are.
        ValueError: if a spike comes after `n_steps`.
    """
    TARGET.holds(block, "a Block", "segments", "annotations")
    notes = block.annotations
    dt_s = notes.get("dt_s") if dt_s is None else dt_s
    n_steps = notes.get("n_steps") if n_steps is None else n_steps
    if dt_s is None or n_steps is None:
        raise BridgeError(
            "This Block says neither how long a tick is nor how many a sample has. Pass both: "
            "from_block(block, dt_s=..., n_steps=...)."
        )
    columns: tuple[list[Array], ...] = ([], [], [])
    # Each train, and not `multiplexed`: that overlooks trains which were appended later.
    segments = [list(segment.spiketrains) for segment in block.segments]
    ours = "n_units" in notes
    numbered = _units_of(segments, ours=ours)
    last = max((int(units.max()) for units in numbered if units.size), default=0)
    n_units = count(notes.get("n_units", last + 1), "n_units")
    for i, (trains, units_of) in enumerate(zip(segments, numbered, strict=True)):
        start = min((_seconds(train.t_start) for train in trains), default=0.0)
        for unit, train in zip(units_of, trains, strict=True):
            if len(train):
                columns[0].append(np.full(len(train), i))
                columns[1].append(_seconds(train) - start)
                columns[2].append(np.full(len(train), unit))
    shape = notes.get("shape", n_units) if ours else n_units  # others' mean something else
    sample, times, units = (np.concatenate([np.zeros(0), *column]) for column in columns)
    silent = SpikeStream.silent(len(block.segments), n_units, count(n_steps, "n_steps"), dt_s)
    empty = replace(
        silent,
        shape=tuple(whole(np.atleast_1d(shape), "shape").tolist()),
        metadata=parse_json(notes.get("metadata", "{}"), "metadata") if ours else {},
        samples=_rows([segment.annotations for segment in block.segments]),
    )
    return empty.with_spikes(sample, to_ticks(times, dt_s), units)


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Make a Neo Block of the spikes, and return what its trains hold."""
    return from_block(to_block(stream))


export = script.exporter(TARGET)


_IDENTITY = ("unit_id", "source_population", "source_id")
"""Annotations that say which unit a train is of, where an electrode has several."""


def _units_of(segments: list[list[Any]], *, ours: bool) -> list[Array]:
    """Return the unit of each train of each segment; refuse those that would be merged.

    In a Block of ours the channel is the unit, also if a train was added to one that there was.
    """
    said = [[train.annotations.get("channel_id") for train in trains] for trains in segments]
    if all(channel is None for channels in said for channel in channels):
        if len(sizes := {len(trains) for trains in segments}) > 1:
            raise BridgeError(
                f"Segments have {sorted(sizes)} trains without a channel_id: which is which? "
                "Annotate each, train.annotate(channel_id=unit)."
            )
        for i, trains in enumerate(segments):
            these, first = ([_who(train) for train in some] for some in (trains, segments[0]))
            if these != first:
                raise BridgeError(
                    f"Trains without a channel_id are of other units, or in another order, in "
                    f"segment {i} than in segment 0: {these} and {first}. Annotate each, "
                    "train.annotate(channel_id=unit)."
                )
        return [np.arange(len(trains)) for trains in segments]
    known: dict[int, tuple[Any, ...]] = {}
    units = []
    for i, (trains, channels) in enumerate(zip(segments, said, strict=True)):
        try:
            found = whole(channels or np.zeros(0, int), "channel_id", 0, 2**31 - 2)
        except (TypeError, ValueError) as error:
            raise BridgeError(
                f"Trains of segment {i} do not say their unit by a whole number each: {error} "
                "Annotate them, train.annotate(channel_id=unit)."
            ) from error
        for unit, train in zip(found.tolist(), trains, strict=True):
            own = _who(train)[1:]
            alone = ours or (found == unit).sum() == 1
            if not alone or known.setdefault(unit, own) != own:
                raise BridgeError(
                    f"Several units have channel_id {unit} ({', '.join(_IDENTITY)} of one in "
                    f"segment {i}: {', '.join(own)}), and would be merged. Number them yourself: "
                    "for i, train in enumerate(segment.spiketrains): train.annotate(channel_id=i)."
                )
        units.append(found)
    return units


def _who(train: Any) -> tuple[str, ...]:
    return str(train.name), *(str(train.annotations.get(name)) for name in _IDENTITY)


def _seconds(quantity: Any) -> Any:
    return np.asarray(quantity.magnitude, np.float64) * _seconds_per(quantity.dimensionality.string)


@cache
def _seconds_per(unit: str) -> float:
    """Return a unit of time in seconds; Neo's own `rescale` takes a millisecond for each train."""
    return float(load(TARGET, "quantities").Quantity(1.0, unit).rescale("s"))


def _rows(notes: list[Any]) -> dict[str, Array]:
    shared = [name for name in notes[0] if all(name in note for note in notes)] if notes else []
    rows = {}
    for name in shared:
        values = [np.asarray(note[name]) for note in notes]
        alike = {(v.shape, v.dtype.kind) for v in values}  # else a number might become text
        if len(alike) == 1 and values[0].dtype.kind in _KINDS:
            rows[name] = np.stack(values)
    return rows
