"""Event arrays as they enter: the fields of tonic, read exactly or refused."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rc_snn.borders.numbers import polarities, whole

Events: TypeAlias = npt.NDArray[Any]

EVENT_DTYPE = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])
"""tonic's event array: column, row, time in microseconds, polarity."""


def event_columns(
    events: Events, sensor: Sequence[int] | None = None
) -> dict[str, npt.NDArray[np.int64]]:
    """Return x, y, t and p of events as int64, checked against the sensor.

    Whole numbers of any type are read, floats that hold whole numbers, and polarities of any
    convention (0 and 1, -1 and +1, booleans). Nothing wraps round: neither a pixel at -1, nor a
    difference of unsigned times.

    Args:
        events: a structured array with the fields x, t and p, and y where the sensor has rows.
        sensor: width, height and polarities; with one polarity all events are of it, whatever p.
            None leaves pixels and times unchecked.

    Raises:
        TypeError: if it is no such array, or a field holds no numbers.
        ValueError: if a number is not whole, a polarity is none, a time is negative, or a pixel
            outside of the sensor.

    Example:
        >>> dtype = [("x", int), ("y", int), ("t", np.uint32), ("p", np.int8)]
        >>> columns = event_columns(np.array([(3, 0, 7, -1)], dtype), (34, 34, 2))
        >>> {name: column.tolist() for name, column in columns.items()}
        {'x': [3], 'y': [0], 't': [7], 'p': [0]}
    """
    fields = getattr(getattr(events, "dtype", None), "names", None) or ()
    needed = ["x", "t", "p"] if sensor is not None and sensor[1] == 1 else ["x", "y", "t", "p"]
    if not set(needed) <= set(fields) or events.ndim != 1:
        raise TypeError(
            f"Events are a structured array [n] with the fields {', '.join(needed)}, got "
            f"{fields or type(events).__name__}."
        )
    x, t = whole(events["x"], "x of events"), whole(events["t"], "Times of events in microseconds")
    y = whole(events["y"], "y of events") if "y" in fields else np.zeros_like(x)
    try:
        p = polarities(events["p"], "Polarities of events")
    except ValueError as error:
        raise ValueError(f"An event is outside of the sensor's polarities. {error}") from error
    if sensor is not None:
        width, height, n_polarities = sensor
        outside = (t < 0) | (x < 0) | (x >= width) | (y < 0) | (y >= height)
        if outside.any():
            raise ValueError(
                f"{int(outside.sum())} of {len(events)} events lie before time 0 or outside of the "
                f"sensor of {width}x{height} pixels. The file is damaged, or of another sensor."
            )
        p = p if n_polarities > 1 else np.zeros_like(p)
    return {"x": x, "y": y, "t": t, "p": p}


def read_events(events: Events, sensor: Sequence[int]) -> Events:
    """Return events in tonic's types (`EVENT_DTYPE`), each field checked: see `event_columns`.

    Those that have these types already are returned as they are, not copied.
    """
    if getattr(events, "dtype", None) == EVENT_DTYPE and events.ndim == 1 and len(events):
        limits = zip(("x", "y"), sensor, strict=False)
        inside = all(0 <= events[name].min() and events[name].max() < size for name, size in limits)
        if inside and events["t"].min() >= 0:  # the quick question; the slow one says what is wrong
            return events
    out = np.zeros(len(events), EVENT_DTYPE)
    for name, column in event_columns(events, sensor).items():
        out[name] = column
    return out
