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
        metadata=json.dumps(dict(stream.metadata)),
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

    A train's unit is its annotation `channel_id`, as Neo and PyNN write it, or else its position
    in the segment. Time counts from the segment's earliest `t_start`. Annotations that all segments
    have become `samples`, where they make an array.

    Args:
        block: made by `to_block`, or by others.
        dt_s: seconds per tick; default: the Block's annotation of that name.
        n_steps: length of a sample in ticks; default: the Block's annotation of that name.

    Raises:
        BridgeError: if the Block does not say its grid and you do not, or a time is on no tick.
        ValueError: if a spike comes after `n_steps`.
    """
    notes = block.annotations
    dt_s, n_steps = dt_s or notes.get("dt_s"), n_steps or notes.get("n_steps")
    if dt_s is None or n_steps is None:
        raise BridgeError(
            "This Block says neither how long a tick is nor how many a sample has. Pass both: "
            "from_block(block, dt_s=..., n_steps=...)."
        )
    columns: tuple[list[Array], ...] = ([], [], [])
    n_units = int(notes.get("n_units", 1))
    for i, segment in enumerate(block.segments):
        # Each train, and not `multiplexed`: that overlooks trains which were appended later.
        trains = list(segment.spiketrains)
        start = min((_seconds(train.t_start) for train in trains), default=0.0)
        for position, train in enumerate(trains):
            unit = int(train.annotations.get("channel_id", position))
            n_units = n_units if "n_units" in notes else max(n_units, unit + 1)
            if len(train):
                columns[0].append(np.full(len(train), i))
                columns[1].append(_seconds(train) - start)
                columns[2].append(np.full(len(train), unit))
    sample, times, units = (np.concatenate([np.zeros(0), *column]) for column in columns)
    silent = SpikeStream.silent(len(block.segments), n_units, int(n_steps), float(dt_s))
    empty = replace(
        silent,
        shape=tuple(int(size) for size in np.atleast_1d(notes.get("shape", n_units))),
        metadata=json.loads(notes.get("metadata", "{}")),
        samples=_rows([segment.annotations for segment in block.segments]),
    )
    return empty.with_spikes(sample, to_ticks(times, float(dt_s)), units)


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Make a Neo Block of the spikes, and return what its trains hold."""
    return from_block(to_block(stream))


export = script.exporter(TARGET)


def _seconds(quantity: Any) -> Any:
    return quantity.magnitude * _seconds_per(quantity.dimensionality.string)


@cache
def _seconds_per(unit: str) -> float:
    """Return a unit of time in seconds; Neo's own `rescale` takes a millisecond for each train."""
    return float(load(TARGET, "quantities").Quantity(1.0, unit).rescale("s"))


def _rows(notes: list[Any]) -> dict[str, Array]:
    shared = [name for name in notes[0] if all(name in note for note in notes)] if notes else []
    rows = {}
    for name in shared:
        values = [np.asarray(note[name]) for note in notes]
        if all(v.shape == values[0].shape and v.dtype.kind in _KINDS for v in values):
            rows[name] = np.stack(values)
    return rows
