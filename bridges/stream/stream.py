"""Spikes on their way to another program: integer ticks, unit ids, and one `dt` in seconds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int, Int32, Int64
from torch import Tensor

from bridges.errors import BridgeError
from bridges.stream.clock import Unit, seconds, tick_length, tick_us
from encoders.functional import EVENT_DTYPE
from rc_snn.spikes import Decision, check_labels, check_times

Array: TypeAlias = npt.NDArray[Any]
Forced: TypeAlias = Literal["silent", "spike"]

_CELLS = 1 << 22
"""Cells of a spike tensor that are searched at once, so that memory goes with the spikes."""
_DECISION = ("label", "time", "step", "fired", "scores")


@dataclass(frozen=True, eq=False)
class SpikeStream:
    """Spikes of one or several samples, sorted by sample, then tick, then unit.

    Time is a whole number of ticks since the sample's start, and a tick lasts `dt_s` seconds: no
    float is ever binned. A unit may spike several times, also twice in one tick (as a pixel of an
    event camera may); what a target does not carry, its bridge refuses.

    Args:
        ticks: tick of each spike, 0..n_steps-1, int64.
        units: unit of each spike, 0..n_units-1, int32.
        offsets: spikes of sample i are `offsets[i]:offsets[i + 1]`; one more than samples, int64.
        dt_s: seconds per tick.
        n_units: number of units, silent ones included.
        n_steps: length of every sample in ticks.
        shape: axes of the units, channels first as in tonic's frames; default `(n_units,)`.
        metadata: anything that JSON holds, about the whole.
        samples: arrays with one row per sample, such as labels.

    Raises:
        ValueError: if a field has the wrong type, order or range.

    Example:
        >>> z = torch.zeros(5, 2, 3)  # time, sample, unit
        >>> z[4, 0, 2] = z[0, 1, 1] = 1
        >>> stream = SpikeStream.from_tensor(z, dt_s=1e-3)
        >>> stream.ticks.tolist(), stream.units.tolist(), stream.offsets.tolist()
        ([4, 0], [2, 1], [0, 1, 2])
        >>> stream.times("ms").tolist()
        [4.0, 0.0]
        >>> bool((stream.to_tensor() == z).all())
        True
    """

    ticks: Int64[np.ndarray, " spikes"]
    units: Int32[np.ndarray, " spikes"]
    offsets: Int64[np.ndarray, " bounds"]
    dt_s: float
    n_units: int
    n_steps: int
    shape: tuple[int, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    samples: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape) or (self.n_units,))
        _check_grid(self.dt_s, self.n_units, self.n_steps, self.shape)
        for name, dtype in (("ticks", np.int64), ("units", np.int32), ("offsets", np.int64)):
            _check_array(name, getattr(self, name), dtype)
        _check_order(self)
        for name, array in self.samples.items():
            if np.shape(array)[:1] != (len(self),):
                raise ValueError(
                    f"samples[{name!r}] must have one row for each of {len(self)} samples, got "
                    f"shape {np.shape(array)}."
                )

    # ---- what it is -------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.offsets) - 1

    @property
    def n_spikes(self) -> int:
        """Return the number of spikes in all samples."""
        return len(self.ticks)

    @property
    def duration_s(self) -> float:
        """Return the length of a sample in seconds."""
        return float(seconds(np.array([self.n_steps]), self.dt_s)[0])

    @property
    def sample_ids(self) -> Int64[np.ndarray, " spikes"]:
        """Return the sample of each spike."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def neurons(self) -> Int64[np.ndarray, " spikes"]:
        """Return the neuron of each spike if samples run side by side: unit + sample × n_units."""
        neurons: Int64[np.ndarray, " spikes"] = self.sample_ids * self.n_units + self.units
        return neurons

    def times(self, unit: Unit = "s") -> Float[np.ndarray, " spikes"]:
        """Return the time of each spike since its sample's start: see `seconds`."""
        return seconds(self.ticks, self.dt_s, unit)

    def of_sample(self, index: int) -> tuple[Int64[np.ndarray, " _"], Int32[np.ndarray, " _"]]:
        """Return ticks and units of one sample, without a copy."""
        part = slice(*self.offsets[range(len(self) + 1)[index] : range(len(self))[index] + 2])
        return self.ticks[part], self.units[part]

    def same_spikes(self, other: "SpikeStream") -> bool:
        """Return whether both hold the same spikes on the same grid, whatever they say of them."""
        grids = [(s.dt_s, s.n_units, s.n_steps) for s in (self, other)]
        arrays = [(s.ticks, s.units, s.offsets) for s in (self, other)]
        return grids[0] == grids[1] and all(map(np.array_equal, *arrays))

    def twice_per_tick(self, per_tick: int = 1) -> int:
        """Return how many spikes follow `per_tick` others of the same unit in the same tick."""
        columns = (self.sample_ids, self.ticks, self.units)  # sorted: equal ones are neighbours
        return int(np.all([x[per_tick:] == x[:-per_tick] for x in columns], axis=0).sum())

    def repeated(self) -> int:
        """Return how many spikes are not the first of their unit in their sample."""
        return self.n_spikes - len(np.unique(self.neurons))

    # ---- parts and shifts -------------------------------------------------------------------

    def take(self, index: Sequence[int] | slice) -> "SpikeStream":
        """Return some samples, in this order."""
        chosen = np.arange(len(self))[index if isinstance(index, slice) else list(index)]
        counts = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
        spikes = np.repeat(self.offsets[chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
        return replace(
            self,
            ticks=self.ticks[spikes],
            units=self.units[spikes],
            offsets=offsets,
            samples={name: array[chosen] for name, array in self.samples.items()},
        )

    # ---- as what a step model reads: `rc_snn.sequences.Sequences` ---------------------------

    @property
    def n_inputs(self) -> int:
        """Return the number of units, which a step model reads as inputs."""
        return self.n_units

    def at(self, step: int) -> Float[Tensor, "batch units"]:
        """Return how often each unit of each sample spikes in this tick.

        A stream is what a step model reads, and what is accounted for:

        Example:
            >>> from rc_snn.models import RCLSTM
            >>> from rc_snn.runner import decide
            >>> stream = SpikeStream.silent(2, n_units=6, n_steps=5, dt_s=1e-3)
            >>> decide(RCLSTM(6, 4, 3), stream.with_spikes([0, 0], [1, 1], [2, 2]), 0.9).fired
            tensor([False, False])
        """
        now = self.ticks == step
        counts = np.bincount(self.neurons[now], minlength=len(self) * self.n_units)
        return torch.from_numpy(counts).float().view(len(self), self.n_units)

    def rows(self, index: Int[Tensor, " rows"]) -> "SpikeStream":
        """Return the samples at these positions, as `take`."""
        return self.take(index.tolist())

    def shifted(self, ticks: int) -> "SpikeStream":
        """Return every spike later by so many ticks (or earlier), in samples longer by as many.

        Raises:
            BridgeError: if a spike would come before the start.
        """
        if self.n_spikes and int(self.ticks.min()) + ticks < 0:
            raise BridgeError(
                f"Shifting by {ticks} ticks moves the first spike, at tick "
                f"{int(self.ticks.min())}, before the start."
            )
        return replace(self, ticks=self.ticks + ticks, n_steps=self.n_steps + ticks)

    def with_spikes(
        self, sample: npt.ArrayLike, ticks: npt.ArrayLike, units: npt.ArrayLike
    ) -> "SpikeStream":
        """Return a stream like this one that holds these spikes, given in any order.

        Raises:
            ValueError: if a sample, tick or unit is out of range.
        """
        columns = [np.asarray(column).astype(np.int64) for column in (sample, ticks, units)]
        order = np.lexsort(columns[::-1])
        of, at, who = (column[order] for column in columns)
        if of.size and not 0 <= of[0] <= of[-1] < len(self):
            raise ValueError(f"Samples must be in 0..{len(self) - 1}, got {of[0]}..{of[-1]}.")
        if who.size and who.max() >= self.n_units:  # before int32 wraps it round
            raise ValueError(f"Units must be in 0..{self.n_units - 1}, got {who.max()}.")
        return replace(
            self,
            ticks=at,
            units=who.astype(np.int32),
            offsets=np.searchsorted(of, np.arange(len(self) + 1)).astype(np.int64),
        )

    def with_neurons(
        self, neurons: npt.ArrayLike, ticks: npt.ArrayLike, n_units: int | None = None
    ) -> "SpikeStream":
        """Return samples on the same clock, whose spikes are of neurons numbered as `neurons`.

        Args:
            neurons: neuron of each spike, in any order.
            ticks: tick of each spike.
            n_units: units per sample, if not those of this stream.

        Raises:
            ValueError: if a neuron or tick is out of range.

        Example:
            >>> stream = SpikeStream.silent(2, n_units=3, n_steps=10, dt_s=1e-3)
            >>> stream.with_neurons([5, 2], [9, 0]).neurons.tolist()
            [2, 5]
        """
        n_units = n_units or self.n_units
        empty = SpikeStream.silent(len(self), n_units, self.n_steps, self.dt_s)
        return empty.with_spikes(np.floor_divide(neurons, n_units), ticks, np.mod(neurons, n_units))

    # ---- spike tensors ----------------------------------------------------------------------

    @staticmethod
    def from_tensor(z: Float[Tensor, "time batch *shape"], dt_s: float) -> "SpikeStream":
        """Read a spike tensor of zeros and ones, time first, as snnTorch and norse have it.

        Raises:
            ValueError: if a value is neither 0 nor 1.
        """
        n_steps, n, shape = z.shape[0], z.shape[1], tuple(z.shape[2:])
        n_units = math.prod(shape)
        flat = z.detach().reshape(n_steps, n, n_units)
        parts, counts = [], []
        for rows in flat.split(max(1, _CELLS // max(1, n_steps * n_units)), dim=1):
            some = rows.cpu().transpose(0, 1)
            sample, tick, unit = (some != 0).nonzero().unbind(1)
            if not bool((some[sample, tick, unit] == 1).all()):  # NaN is not 0 and comes here, too
                raise ValueError("A spike tensor must hold only 0 and 1. Threshold it first.")
            parts.append((tick.numpy(), unit.int().numpy()))
            counts.append(torch.bincount(sample, minlength=some.shape[0]).numpy())
        ticks = np.concatenate([np.zeros(0, np.int64), *(tick for tick, _ in parts)])
        units = np.concatenate([np.zeros(0, np.int32), *(unit for _, unit in parts)])
        offsets = np.concatenate([[0], *counts]).cumsum()
        return SpikeStream(ticks, units, offsets, dt_s, n_units, n_steps, shape)

    def to_tensor(self) -> Float[Tensor, "time batch *shape"]:
        """Return the spike tensor, float32, time first.

        Raises:
            BridgeError: if a unit spikes twice in one tick.
        """
        self.refuse_twice("A spike tensor")
        z = torch.zeros(self.n_steps, len(self), self.n_units)
        z[self.ticks, self.sample_ids, self.units] = 1.0
        return z.view(self.n_steps, len(self), *self.shape)

    def refuse_twice(self, target: str, per_tick: int = 1) -> None:
        """Refuse units that spike more often in one tick; most targets cannot say "twice"."""
        if beyond := self.twice_per_tick(per_tick):
            most, repeat = (per_tick, "come on top") if per_tick > 1 else ("one", "repeat one")
            raise BridgeError(
                f"{target} holds {most} spike{'s' * (per_tick > 1)} per unit and tick; {beyond} "
                f"spikes {repeat}. Choose a smaller dt_s, or drop them yourself."
            )

    # ---- spike times ------------------------------------------------------------------------

    @staticmethod
    def from_times(
        times: Float[Tensor, "batch neuron"],
        steps_per_frame: int,
        dt_s: float,
        *,
        frames: int = 1,
        off_grid: Literal["refuse", "floor"] = "refuse",
    ) -> "SpikeStream":
        """Read spike times in frames; `inf` is silence.

        As in `rc_snn.spikes.spike_steps`, a time within four roundings of a tick's edge lies on it.

        Args:
            times: spike times in frames.
            steps_per_frame: ticks per frame.
            dt_s: seconds per tick.
            frames: length of a sample in frames: neurons in continuous time may spike after the
                input has ended. A spike at its very end belongs to the last tick.
            off_grid: what becomes of times between two ticks, which a stream cannot hold: refuse
                them, or take the earlier tick.

        Raises:
            BridgeError: if a time lies between two ticks and `off_grid` is "refuse".
            ValueError: if a time is NaN, negative or after the sample's end.

        Example:
            >>> times = torch.tensor([[0.3, torch.inf, 0.1]], dtype=torch.float64)
            >>> SpikeStream.from_times(times, steps_per_frame=10, dt_s=1e-3).ticks.tolist()
            [1, 3]
        """
        check_times(times / frames)
        if off_grid not in ("refuse", "floor"):
            raise ValueError(f'off_grid must be "refuse" or "floor", got {off_grid!r}.')
        n_steps = steps_per_frame * frames
        sample, unit = torch.isfinite(times).nonzero().unbind(1)
        exact = times[sample, unit] * steps_per_frame
        rounding = 4.0 * torch.finfo(times.dtype).eps
        ticks = torch.floor(exact * (1.0 + rounding))
        off = ((exact - ticks).abs() > rounding * exact) | (ticks >= n_steps)
        if off_grid == "refuse" and off.any():
            raise BridgeError(
                f"{int(off.sum())} spikes are on no tick of {steps_per_frame} per frame (first: "
                f"{times[sample, unit][off][0].item()} frames). Choose a finer grid, or pass "
                'off_grid="floor".'
            )
        empty = SpikeStream.silent(len(times), times.shape[1], n_steps, dt_s)
        arrays = (x.cpu().numpy() for x in (sample, ticks.clamp_max(n_steps - 1), unit))
        return empty.with_spikes(*arrays)

    def to_times(self, steps_per_frame: int | None = None) -> Float[Tensor, "batch neuron"]:
        """Return spike times in frames, float64: the start of each spike's tick.

        Args:
            steps_per_frame: ticks per frame; default: the sample is one frame.

        Raises:
            BridgeError: if a unit spikes more than once.
        """
        if repeated := self.repeated():
            raise BridgeError(
                f"Spike times hold one spike per unit; {repeated} spikes are not the first. Use "
                "to_tensor(), or drop them yourself."
            )
        times = torch.full((len(self), self.n_units), torch.inf, dtype=torch.float64)
        ticks = torch.from_numpy(self.ticks).double() / (steps_per_frame or self.n_steps)
        times[torch.from_numpy(self.sample_ids), torch.from_numpy(self.units).long()] = ticks
        return times

    @staticmethod
    def silent(n: int, n_units: int, n_steps: int, dt_s: float) -> "SpikeStream":
        """Return samples without a spike.

        Example:
            >>> SpikeStream.silent(2, n_units=3, n_steps=10, dt_s=1e-3).offsets.tolist()
            [0, 0, 0]
        """
        none = np.zeros(0, np.int64)
        offsets = np.zeros(n + 1, np.int64)
        return SpikeStream(none, none.astype(np.int32), offsets, dt_s, n_units, n_steps)

    # ---- decisions --------------------------------------------------------------------------

    @staticmethod
    def from_decision(
        decision: Decision, n_steps: int, n_classes: int, dt_s: float, *, forced: Forced = "silent"
    ) -> "SpikeStream":
        """Write decisions as one spike of the answered class, at the decision step.

        The decision itself travels along in `samples`, so that `to_decision` loses nothing.

        Args:
            decision: of a step model.
            n_steps: steps of a sample; the model's T, or more.
            n_classes: number of classes: the units.
            dt_s: seconds per step.
            forced: whether an answer without a threshold crossing is silent or a spike: see
                `rc_snn.spikes.decision_spikes`.

        Raises:
            BridgeError: if the decision is in continuous time.
            ValueError: if a label or step is out of range.

        Example:
            >>> d = Decision(label=torch.tensor([2, 0]), time=torch.tensor([0.5, 1.0]),
            ...              step=torch.tensor([0, 1]), fired=torch.tensor([True, False]),
            ...              scores=torch.eye(3)[[2, 0]])
            >>> stream = SpikeStream.from_decision(d, n_steps=2, n_classes=3, dt_s=1e-3)
            >>> stream.units.tolist(), stream.to_decision().step.tolist()
            ([2], [0, 1])
        """
        if forced not in ("silent", "spike"):
            raise ValueError(f'forced must be "silent" or "spike", got {forced!r}.')
        if decision.step is None:
            raise BridgeError(
                "A decision in continuous time has no steps. Write the output's spike times with "
                'SpikeStream.from_times(times, steps_per_frame, dt_s, off_grid="floor").'
            )
        check_labels(decision.label, n_classes)
        chosen = decision.fired if forced == "silent" else torch.ones_like(decision.fired)
        sample = chosen.nonzero().squeeze(1)
        arrays = (x.cpu().numpy() for x in (sample, decision.step[sample], decision.label[sample]))
        stream = SpikeStream.silent(len(decision), n_classes, n_steps, dt_s).with_spikes(*arrays)
        kept = {f"decision_{k}": getattr(decision, k).cpu().numpy() for k in _DECISION}
        return replace(stream, samples=kept)

    def to_decision(self) -> Decision:
        """Return the decisions that `from_decision` wrote, exactly.

        Raises:
            BridgeError: if the stream was not made of decisions, or its spikes are others.
        """
        try:
            held = {k: torch.from_numpy(np.array(self.samples[f"decision_{k}"])) for k in _DECISION}
        except KeyError as error:
            raise BridgeError(
                f"This stream was not made of decisions: samples has no {error}. The first spike "
                "of each sample is to_times().min(dim=1)."
            ) from None
        decision = Decision(**held)
        for forced in ("silent", "spike"):
            own = SpikeStream.from_decision(
                decision, self.n_steps, self.n_units, self.dt_s, forced=forced
            )
            if own.same_spikes(self):
                return decision
        raise BridgeError("The spikes of this stream are not those of the decisions it holds.")

    # ---- tonic events -----------------------------------------------------------------------

    @staticmethod
    def from_events(
        recordings: Sequence[Array],
        sensor_size: tuple[int, int, int],
        duration_us: int,
        dt_s: float = 1e-6,
    ) -> "SpikeStream":
        """Read tonic's event arrays (x, y, t in µs, p); unit = (p * height + y) * width + x.

        The units' shape is `(polarities, height, width)`, as in the frames of tonic's `ToFrame`.
        The clock starts at 0, not at the first event.

        Args:
            recordings: one structured array per sample, sorted or not.
            sensor_size: width, height, polarities, as tonic has it. Events of one polarity may say
                0 or 1; `to_events` says 1.
            duration_us: length of a sample; its last microsecond is `duration_us - 1`.
            dt_s: seconds per tick; every event must be on a tick.

        Raises:
            BridgeError: if an event is between two ticks, or has a polarity too many.
            ValueError: if an event lies outside the sensor or the duration.

        Example:
            >>> events = np.array([(2, 1, 5000, True)], dtype=EVENT_DTYPE)
            >>> stream = SpikeStream.from_events([events], (3, 2, 2), 255_000, dt_s=1e-3)
            >>> stream.ticks.tolist(), stream.units.tolist(), stream.shape
            ([5], [11], (2, 2, 3))
        """
        width, height, polarities = sensor_size
        shape = (polarities, height, width)
        lengths = [len(events) for events in recordings]
        sample = np.repeat(np.arange(len(recordings)), lengths)
        columns = [
            np.concatenate([np.zeros(0, np.int64), *(r[k].astype(np.int64) for r in recordings)])
            for k in ("p", "y", "x", "t")
        ]
        if polarities == 1 and columns[0].any():  # an only polarity is 0 or 1, as one likes
            if (columns[0] != 1).any():
                raise BridgeError(
                    f"Both polarities are in these events; sensor_size {sensor_size} has one. Give "
                    "it two, or choose one of them yourself: events[events['p']]."
                )
            columns[0] = np.zeros_like(columns[0])
        for name, column, size in zip("pyx", columns[:3], shape, strict=True):
            if column.size and not (0 <= column.min() and column.max() < size):
                raise ValueError(
                    f"{name} must be in 0..{size - 1}, got {column.min()}..{column.max()}. Is "
                    "sensor_size (width, height, polarities)?"
                )
        per_tick = tick_length(dt_s, "us")
        ticks, rest = np.divmod(columns[3] * per_tick.denominator, per_tick.numerator)
        n_steps = math.ceil(duration_us / per_tick)
        if rest.any():
            raise BridgeError(
                f"{int((rest != 0).sum())} events are between two ticks of {dt_s} s. Choose a "
                "dt_s that divides their times; 1e-6 always does."
            )
        units = np.ravel_multi_index(tuple(columns[:3]), shape) if sample.size else columns[0]
        empty = SpikeStream.silent(len(recordings), math.prod(shape), n_steps, dt_s)
        return replace(empty, shape=shape).with_spikes(sample, ticks, units)

    def to_events(self) -> list[Array]:
        """Return tonic's event arrays, one per sample, sorted by time.

        Raises:
            BridgeError: if the units are no image of one or two polarities, or a tick is no whole
                number of microseconds.
        """
        if len(self.shape) != 3 or self.shape[0] > 2 or max(self.shape[1:]) > 2**15:
            raise BridgeError(
                f"Events need units of shape (1 or 2 polarities, height, width), got {self.shape}. "
                "Set it: dataclasses.replace(stream, shape=(1, 28, 28))."
            )
        events = np.zeros(self.n_spikes, EVENT_DTYPE)
        p, events["y"], events["x"] = np.unravel_index(self.units, self.shape)
        events["p"] = p if self.shape[0] == 2 else True
        events["t"] = self.ticks * tick_us(self.dt_s)
        return np.split(events, self.offsets[1:-1])


def _check_grid(dt_s: float, n_units: int, n_steps: int, shape: tuple[int, ...]) -> None:
    if not 0.0 < dt_s < math.inf:
        raise ValueError(f"dt_s must be positive and finite seconds, got {dt_s}.")
    if not 1 <= n_steps < 2**53 or not 1 <= n_units < 2**31 or math.prod(shape) != n_units:
        raise ValueError(
            "A stream needs n_steps >= 1, n_units in 1..2^31-1 and a shape of as many units, got "
            f"n_steps={n_steps}, n_units={n_units}, shape={shape}."
        )


def _check_array(name: str, array: Any, dtype: type) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array)
        raise ValueError(f"{name} must be a {dtype.__name__} array with one axis, got {got}.")


def _check_order(stream: SpikeStream) -> None:
    ticks, units, offsets = stream.ticks, stream.units, stream.offsets
    n = len(ticks)
    if len(offsets) == 1:
        raise ValueError("A stream needs at least one sample, got none. Was the choice empty?")
    if len(units) != n or len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != n:
        raise ValueError(
            f"offsets must begin with 0 and end with the number of spikes; got {n} ticks, "
            f"{len(units)} units and offsets {offsets[:1]}..{offsets[-1:]}."
        )
    if (np.diff(offsets) < 0).any():
        raise ValueError("offsets must not fall: samples come one after the other.")
    if n == 0:
        return
    for name, values, size in (("ticks", ticks, stream.n_steps), ("units", units, stream.n_units)):
        if values.min() < 0 or values.max() >= size:
            raise ValueError(
                f"{name} must be in 0..{size - 1}, got {values.min()}..{values.max()}. Is the grid "
                "that of the spikes?"
            )
    later = ticks[1:] > ticks[:-1]
    fine = later | ((ticks[1:] == ticks[:-1]) & (units[1:] >= units[:-1]))
    starts = offsets[1:-1]
    fine[starts[(starts > 0) & (starts < n)] - 1] = True  # a new sample may begin anywhere
    if not fine.all():
        raise ValueError(
            "Spikes must be sorted by tick, then unit, within each sample. SpikeStream.silent(...)"
            ".with_spikes(sample, ticks, units) sorts them."
        )
