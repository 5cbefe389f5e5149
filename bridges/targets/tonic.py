"""tonic: a stream as a tonic data set, framed on the stream's own clock, and back from frames."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bridges.errors import BridgeError
from bridges.stream import script
from bridges.stream.clock import tick_us
from bridges.stream.columns import read_events, read_sensor
from bridges.stream.pixels import SensorSize, as_image, sensor_size, to_recordings
from bridges.stream.stream import Array, SpikeStream
from bridges.target import Target, load
from rc_snn.borders.numbers import count, plain, whole

TARGET = Target(
    name="tonic",
    title="tonic",
    row=70,
    kind="library",
    needs=("tonic",),
    versions="tonic 1.7.0",
    unit="µs",
    repeats=True,
    per_tick=None,
    end_us=2**53,
    side=2**15,
    samples="one recording each",
    limits="ticks of whole µs; sensor up to 32,768 × 32,768, 1 or 2 polarities",
)


@dataclass(frozen=True)
class ToFrameOnClock:
    """tonic's `ToFrame`, with frame k at tick k: events to frames, int16 `[time, p, y, x]`.

    Left alone, tonic's clock starts at the first event, so that every sample answers at once; it
    drops events after the end, misplaces unsorted ones, writes into the events, and gives a silent
    recording one frame with rows and columns exchanged. Here the clock starts at 0, events are
    sorted and left as they were, and a silent recording has as many frames as any other.

    tonic's `Compose` hands a silent recording on unframed; compose this with torchvision's, which
    does not.

    Args:
        sensor_size: width, height, polarities.
        frame_us: length of a frame in microseconds.
        n_frames: number of frames.

    Example:
        >>> stream = SpikeStream.silent(1, 4, n_steps=10, dt_s=1e-3).with_spikes(
        ...     [0, 0], [2, 9], [3, 0]
        ... )
        >>> frames = to_frame(stream)(to_recordings(stream)[0])
        >>> frames.shape, np.argwhere(frames)[:, [0, 3]].tolist()  # frame, unit
        ((10, 1, 1, 4), [[2, 3], [9, 0]])
    """

    sensor_size: SensorSize
    frame_us: int
    n_frames: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "sensor_size", read_sensor(self.sensor_size))
        for name in ("frame_us", "n_frames"):
            object.__setattr__(self, name, count(getattr(self, name), name, low=1))

    def __call__(self, events: Array) -> Array:
        """Return how many events each pixel and polarity has in each frame.

        Raises:
            BridgeError: if an event is before the start or after the end, has a polarity too many,
                or a count exceeds int16.
            ValueError: if an event lies outside the sensor, a number is not whole, or a field is
                missing.
        """
        end_us = self.n_frames * self.frame_us
        columns = read_events([events], self.sensor_size)
        out = int(((columns["t"] < 0) | (columns["t"] >= end_us)).sum())
        if out:
            raise BridgeError(
                f"{out} events are outside the frames' {end_us} µs. Drop them yourself: "
                f"events[(events['t'] >= 0) & (events['t'] < {end_us})]."
            )
        if not len(events):
            return np.zeros((self.n_frames, *self.sensor_size[::-1]), np.int16)
        to_frame = load(TARGET, "tonic.transforms").ToFrame(
            self.sensor_size, time_window=self.frame_us, start_time=0, end_time=end_us
        )
        held = np.zeros(len(events), [(name, np.int64) for name in columns])
        for name, column in columns.items():
            held[name] = column
        frames: Array = to_frame(held[np.argsort(held["t"], kind="stable")])
        if int(frames.sum(dtype=np.int64)) != len(events):
            raise BridgeError("More than 32,767 events of a pixel in one frame. Shorten frame_us.")
        return frames


def to_frame(stream: SpikeStream) -> ToFrameOnClock:
    """Return the transform that makes a frame of every tick of the stream.

    Raises:
        BridgeError: if units or ticks are not a sensor's: see `bridges.stream.pixels`.
    """
    TARGET.admit(stream)
    return ToFrameOnClock(sensor_size(stream), tick_us(stream.dt_s), stream.n_steps)


def event_data(
    stream: SpikeStream,
    targets: npt.ArrayLike | None = None,
    transform: Callable[[Array], Any] | None = None,
    target_transform: Callable[[Any], Any] | None = None,
    transforms: Callable[[Array, Any], tuple[Any, Any]] | None = None,
) -> Any:
    """Return a `tonic.Dataset` whose items are `(events, target)`, one per sample.

    Items are copies: tonic's transforms write into the events they are given.

    Args:
        stream: units become pixels by the rule of `bridges.stream.pixels`; the data set has
            the `sensor_size` of it.
        targets: one per sample, such as labels; default: the sample's number.
        transform: of the events, such as `to_frame(stream)`, or tonic's own.
        target_transform: of the target.
        transforms: of both.

    Raises:
        BridgeError: if units or ticks are not a sensor's.
        ValueError: if there is not one target per sample.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> from tonic.collation import PadTensors
        >>> stream = SpikeStream.silent(2, 4, n_steps=10, dt_s=1e-3).with_spikes(
        ...     [0, 0], [2, 9], [3, 0]
        ... )
        >>> data = event_data(stream, targets=[7, 1], transform=to_frame(stream))
        >>> z, label = next(iter(DataLoader(data, 2, collate_fn=PadTensors(batch_first=False))))
        >>> z.shape, label.tolist()  # time, batch, polarity, height, width
        (torch.Size([10, 2, 1, 1, 4]), [7, 1])
    """
    TARGET.admit(stream)
    recordings = to_recordings(stream)
    held = np.arange(len(stream)) if targets is None else np.asarray(targets)
    if len(held) != len(stream):
        raise ValueError(
            f"There must be one target for each of {len(stream)} samples, got {len(held)}."
        )

    class EventData(load(TARGET).Dataset):  # type: ignore[misc]  # imported only when used
        def __init__(self) -> None:
            super().__init__("", transform, target_transform, transforms)
            self.data, self.targets, self.sensor_size = recordings, held, sensor_size(stream)

        def __len__(self) -> int:
            return len(self.data)

        def __getitem__(self, index: int) -> tuple[Any, Any]:
            events, target = self.data[index].copy(), self.targets[index]
            if self.transform is not None:
                events = self.transform(events)
            if self.target_transform is not None:
                target = self.target_transform(target)
            return self.transforms(events, target) if self.transforms else (events, target)

        def __reduce__(self) -> Any:  # a loader's worker processes make it again
            return event_data, (stream, held, transform, target_transform, transforms)

    return EventData()


def from_frames(frames: Iterable[npt.ArrayLike | Tensor], like: SpikeStream) -> SpikeStream:
    """Read frames, one `[time, polarity, height, width]` per sample; a count of 2 is two spikes.

    Args:
        frames: as `to_frame(like)` makes them. Of a loader's batch: `batch.unbind(1)`.
        like: the stream whose grid these frames have.

    Raises:
        BridgeError: if the frames have another shape, or hold something other than counts.
    """
    shape = (like.n_steps, *as_image(like).shape)
    samples, ticks, units = [], [], []
    n = 0
    for n, recording in enumerate(frames, start=1):
        counts = plain(recording, f"Recording {n - 1}")
        if counts.shape != shape:
            raise BridgeError(
                f"Recording {n - 1} has frames of shape {counts.shape}; the stream's are {shape}."
            )
        tick, unit = counts.reshape(like.n_steps, like.n_units).nonzero()
        times = counts.reshape(like.n_steps, like.n_units)[tick, unit]
        try:
            times = whole(times.astype(int) if times.dtype == bool else times, "Counts", low=1)
        except ValueError as error:
            raise BridgeError(
                f"Recording {n - 1} holds other numbers than counts of events: {error}"
            ) from error
        ticks.append(np.repeat(tick, times))
        units.append(np.repeat(unit, times))
        samples.append(np.full(times.sum(), n - 1))
    none = np.zeros(0, np.int64)
    columns = (np.concatenate([none, *column]) for column in (samples, ticks, units))
    empty = SpikeStream.silent(n, like.n_units, like.n_steps, like.dt_s)
    return replace(empty, shape=like.shape).with_spikes(*columns)


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Frame the stream's events with tonic, one sample at a time, and return what is in them."""
    data = event_data(stream, transform=to_frame(stream))
    return from_frames((data[i][0] for i in range(len(data))), stream)


export = script.exporter(TARGET)
