"""NIR: spikes as event data or on a time grid, in files that its tools read."""

from pathlib import Path
from typing import Any

import numpy as np

from bridges.errors import BridgeError
from bridges.reading import SPIKE, reading
from bridges.stream.clock import read_dt, seconds, to_ticks
from bridges.stream.stream import SpikeStream
from bridges.target import Target, load
from rc_snn.borders.numbers import count, whole
from rc_snn.files import allowance, replacing

TARGET = Target(
    name="nir",
    title="NIR",
    row=80,
    kind="file",
    needs=("nir",),
    versions="nir 1.0.8",
    unit="s",
    repeats=True,
    per_tick=None,
    samples="one row each",
    limits="dt, shape, labels and metadata stay behind; graphs without LSTM",
    suffix=".h5",
)

NODE = "input"
OBSERVABLE = "spikes"


def to_event_data(stream: SpikeStream) -> Any:
    """Return `nir.EventData`: ids padded with -1, times in seconds padded with `inf`.

    NIR does not say whether a time is that of a step's start; its own `to_time_gridded` floors
    `time / dt`, and loses spikes if times are `step * dt`. So spikes are at the middles of their
    ticks, which no rounding moves to another. For the same reason `t_max` may be a rounding later
    than `n_steps * dt`: `int(t_max / dt)` must be n_steps.

    Example:
        >>> stream = SpikeStream.silent(1, 3, n_steps=10, dt_s=1e-4).with_spikes([0], [7], [2])
        >>> data = to_event_data(stream)
        >>> data.idx.tolist(), data.time.tolist(), data.to_time_gridded(dt=1e-4).data.shape
        ([[2]], [[0.00075]], (1, 10, 3))
    """
    counts = np.diff(stream.offsets)
    place = np.arange(stream.n_spikes) - np.repeat(stream.offsets[:-1], counts)
    shape = (len(stream), int(counts.max(initial=0)))
    idx, time = np.full(shape, -1), np.full(shape, np.inf)
    idx[stream.sample_ids, place] = stream.units
    # (2 tick + 1) halves of a dt
    time[stream.sample_ids, place] = seconds(2 * stream.ticks + 1, stream.dt_s) / 2
    t_max = stream.duration_s
    while int(t_max / stream.dt_s) < stream.n_steps:
        t_max = float(np.nextafter(t_max, np.inf))
    return load(TARGET).EventData(idx, time, n_neurons=stream.n_units, t_max=t_max)


def from_event_data(
    data: Any, dt_s: float, *, n_steps: int | None = None, middle: bool = True
) -> SpikeStream:
    """Read `nir.EventData`.

    Args:
        data: event data, with times in seconds.
        dt_s: seconds per tick, which event data do not hold.
        n_steps: length of a sample in ticks; default: `t_max / dt`, a whole number but for
            rounding.
        middle: times are those of the middles of ticks, as `to_event_data` writes them; False:
            those of their starts.

    Raises:
        BridgeError: if a time or the end is on no tick, or ids and times are not padded alike.
    """
    TARGET.holds(data, "EventData", "idx", "time", "n_neurons", "t_max")
    idx, time = whole(data.idx, "Ids"), np.asarray(data.time, np.float64)
    if idx.ndim != 2 or idx.shape != time.shape:
        raise BridgeError(f"Event data are [sample, event], got {idx.shape} and {time.shape}.")
    held = idx >= 0
    if (held != np.isfinite(time)).any():
        raise BridgeError(
            f"{int((held != np.isfinite(time)).sum())} events have an id without a time or a time "
            "without an id. NIR pads both: -1 and inf."
        )
    sample, place = np.nonzero(held)
    ticks = to_ticks(time[sample, place] - (dt_s / 2 if middle else 0.0), dt_s)
    if n_steps is None and not 0.0 < float(data.t_max) / dt_s < 2**53:
        raise BridgeError(
            f"These event data have t_max = {data.t_max} s, no length of ticks of {dt_s} s. Pass "
            "n_steps."
        )
    steps = int(to_ticks(np.array([data.t_max]), dt_s)[0]) if n_steps is None else n_steps
    empty = SpikeStream.silent(len(idx), count(data.n_neurons, "n_neurons"), steps, dt_s)
    return empty.with_spikes(sample, ticks, idx[sample, place])


def to_time_gridded(stream: SpikeStream) -> Any:
    """Return `nir.TimeGriddedData`, bool `[sample, time, unit]`: it holds dt, and every cell.

    Raises:
        BridgeError: if a unit spikes twice in one tick.

    Example:
        >>> to_time_gridded(SpikeStream.silent(2, 3, n_steps=10, dt_s=1e-4)).shape
        (2, 10, 3)
    """
    grid = stream.to_tensor().flatten(2).transpose(0, 1).bool().numpy()
    return load(TARGET).TimeGriddedData(grid, stream.dt_s)


def from_time_gridded(data: Any) -> SpikeStream:
    """Read boolean `nir.TimeGriddedData`.

    Raises:
        BridgeError: if the data are measurements and not spikes.
    """
    TARGET.holds(data, "TimeGriddedData", "data", "dt")
    grid = np.asarray(data.data)
    if grid.dtype != bool or grid.ndim != 3:
        raise BridgeError(
            f"Spikes on a grid are bool [sample, time, unit], got {grid.dtype} {list(grid.shape)}; "
            "NIR takes other numbers for measurements. Threshold them."
        )
    n, n_steps, n_units = grid.shape
    empty = SpikeStream.silent(n, n_units, n_steps, read_dt(data.dt))
    sample, tick, unit = np.nonzero(grid)
    return empty.with_spikes(sample, tick, unit)


def export(stream: SpikeStream, path: Path | str) -> Path:
    """Write the spikes as event data of a graph's node "input", by `nir.write_data`, atomically.

    Raises:
        ValueError: if the path does not end in .h5, .hdf5 or .nir.
    """
    path = Path(path)
    if path.suffix not in (".h5", ".hdf5", ".nir"):
        raise ValueError(f"NIR data go into a .h5, .hdf5 or .nir file, got {path.name!r}.")
    nir = load(TARGET)
    node = nir.NIRNodeData({OBSERVABLE: to_event_data(stream)})
    with replacing(path) as partial:
        nir.write_data(partial, nir.NIRGraphData({NODE: node}))
    return path


def from_file(
    path: Path | str,
    dt_s: float,
    *,
    n_steps: int | None = None,
    node: str = NODE,
    observable: str = OBSERVABLE,
    middle: bool = True,
) -> SpikeStream:
    """Read spikes from a file of NIR data: events, or a grid of truth values.

    Args:
        path: the file.
        dt_s: seconds per tick, which event data do not hold; of a grid it must be the file's.
        n_steps: of events: see `from_event_data`.
        node: whose spikes; default: that of `export`.
        observable: of the node; default: that of `export`.
        middle: of events: see `from_event_data`.

    Raises:
        BridgeError: if the file has no such node or observable, its data are no spikes, or a time
            is on no tick.
        OSError: if there is no such file.
        ValueError: if it cannot be read.
    """
    nir = load(TARGET)
    with reading(path, TARGET.title, "hdf5"):
        nodes = nir.read_data(path).nodes
        found = {
            (name, kind): data
            for name, held in nodes.items()
            for kind, data in getattr(held, "observables", {}).items()
        }
    if (node, observable) not in found:
        has = ", ".join(f"{name}/{kind}" for name, kind in found) or "none"
        raise BridgeError(
            f"{path} has no observable {observable!r} of a node {node!r}; it has {has}. Pass node "
            "and observable."
        )
    data = found[node, observable]
    n = np.count_nonzero(data.idx >= 0 if isinstance(data, nir.EventData) else data.data)
    if n * SPIKE > allowance(Path(path).stat().st_size):
        raise ValueError(
            f"{path} packs {n} spikes, more than a file of its size is expected to. Write it with "
            "compression=None."
        )
    if isinstance(data, nir.ValuedEventData):
        raise BridgeError(f"{path} holds events with values; a spike has none. Threshold them.")
    if isinstance(data, nir.EventData):
        return from_event_data(data, dt_s, n_steps=n_steps, middle=middle)
    stream = from_time_gridded(data)
    if stream.dt_s != dt_s:
        raise BridgeError(f"{path} holds a grid of {stream.dt_s} s, not of dt_s={dt_s}.")
    return stream


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Write the spikes to a file by NIR, read them back by NIR, and bin them by NIR's own rule."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = export(stream, Path(folder, "spikes.h5"))
        data = load(TARGET).read_data(path).nodes[NODE].observables[OBSERVABLE]
    back = from_event_data(data, stream.dt_s)
    if not stream.twice_per_tick():  # which a grid does not show
        gridded = from_time_gridded(data.to_time_gridded(stream.dt_s))
        if not gridded.same_spikes(back):
            raise BridgeError("NIR's own to_time_gridded puts spikes on other ticks than ours.")
    return back
