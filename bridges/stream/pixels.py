"""How units become pixels of an event camera, and spikes its events.

Units of shape `(1 or 2 polarities, height, width)` are the pixels of that sensor. Missing leading
axes are 1: plain units lie in one row, in their order, and `(height, width)` has one polarity.
Other shapes are refused, and so is a side longer than coordinates reach. With one polarity all
events are ON.
"""

from dataclasses import replace

from bridges.errors import BridgeError
from bridges.stream.columns import SensorSize as SensorSize
from bridges.stream.stream import Array, SpikeStream

LONGEST_SIDE = 2**15
"""Of a sensor in tonic's events, whose coordinates are int16."""


def as_image(stream: SpikeStream, side: int = LONGEST_SIDE) -> SpikeStream:
    """Return the stream with its units as pixels, by the rule at the top of this module.

    Raises:
        BridgeError: if the units are no image of one or two polarities, or a side is too long.

    Example:
        >>> as_image(SpikeStream.silent(1, n_units=10, n_steps=5, dt_s=1e-3)).shape
        (1, 1, 10)
    """
    shape = (1,) * (3 - len(stream.shape)) + stream.shape
    if len(shape) != 3 or shape[0] > 2 or max(shape[1:]) > side:
        raise BridgeError(
            "Events need units of shape (1 or 2 polarities, height, width), each side at most "
            f"{side} pixels, got {stream.shape}. Choose one: dataclasses.replace(stream, "
            "shape=(1, height, width))."
        )
    return replace(stream, shape=shape)


def sensor_size(stream: SpikeStream) -> SensorSize:
    """Return width, height and polarities of the sensor whose pixels the units are.

    Example:
        >>> sensor_size(SpikeStream.silent(1, n_units=10, n_steps=5, dt_s=1e-3))
        (10, 1, 1)
    """
    polarities, height, width = as_image(stream).shape
    return width, height, polarities


def to_recordings(stream: SpikeStream) -> list[Array]:
    """Return tonic's event arrays, one per sample, sorted by time, then by unit.

    Raises:
        BridgeError: if the units are no sensor, or a tick is no whole number of microseconds.
    """
    return as_image(stream).to_events()
