"""Spikes on their way to another program: integer ticks, unit ids, and one `dt` in seconds."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, SupportsIndex, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from bridges.errors import BridgeError
from bridges.stream import columns
from bridges.stream.clock import tick_us
from bridges.stream.columns import SensorSize
from bridges.stream.grid import Array as Array
from bridges.stream.spikes import Spikes
from encoders.functional import EVENT_DTYPE
from rc_snn.borders.numbers import count
from rc_snn.borders.signatures import typed
from rc_snn.spikes import Decision

Forced: TypeAlias = Literal["silent", "spike"]


@dataclass(frozen=True, eq=False)
class SpikeStream(Spikes):
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

    # ---- as what a step model reads: `rc_snn.sequences.Sequences` ---------------------------

    @property
    def n_inputs(self) -> int:
        """Return the number of units, which a step model reads as inputs."""
        return self.n_units

    def at(self, step: SupportsIndex) -> Float[Tensor, "batch units"]:
        """Return how often each unit of each sample spikes in this tick.

        Raises:
            TypeError: if the step is no whole number.
            ValueError: if it is none of the sample's.

        A stream is what a step model reads, and what is accounted for:

        Example:
            >>> from rc_snn.models import RCLSTM
            >>> from rc_snn.runner import decide
            >>> stream = SpikeStream.silent(2, n_units=6, n_steps=5, dt_s=1e-3)
            >>> decide(RCLSTM(6, 4, 3), stream.with_spikes([0, 0], [1, 1], [2, 2]), 0.9).fired
            tensor([False, False])
        """
        if not 0 <= (step := operator.index(step)) < self.n_steps:
            raise ValueError(f"step must be in 0..{self.n_steps - 1}, got {step}.")
        now = self.ticks == step
        counts = np.bincount(self.neurons[now], minlength=len(self) * self.n_units)
        return torch.from_numpy(counts).float().view(len(self), self.n_units)

    def rows(self, index: Int[Tensor, " rows"]) -> "SpikeStream":
        """Return the samples at these positions, as `take`."""
        return self.take(index)

    # ---- spike tensors ----------------------------------------------------------------------

    @staticmethod
    def from_tensor(z: Shaped[Tensor, "time batch *shape"], dt_s: float) -> "SpikeStream":
        """Read a spike tensor of zeros and ones, time first, as snnTorch and norse have it.

        Args:
            z: of any type of numbers, on any device, dense or sparse; a gradient ends here.
            dt_s: seconds per step.

        Raises:
            ValueError: if a value is neither 0 nor 1, or there is no axis of units.
        """
        what = "Values of a spike tensor, which holds only 0 and 1,"
        z = columns.as_tensor(z, what)
        if z.dim() < 3:
            raise ValueError(
                f"A spike tensor is [time, batch, units…], got {list(z.shape)}. Of one sample pass "
                "z.unsqueeze(1), of one unit z.unsqueeze(2)."
            )
        spikes, shape = columns.of_counts(z.transpose(0, 1), what, most=1)
        silent = SpikeStream.silent(shape[0], math.prod(shape[2:]), shape[1], dt_s)
        offsets = np.searchsorted(spikes.sample, np.arange(shape[0] + 1)).astype(np.int64)
        units = spikes.units.astype(np.int32)
        return replace(
            silent, ticks=spikes.ticks, units=units, offsets=offsets, shape=tuple(shape[2:])
        )

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
        times: Shaped[Tensor, "batch neuron"],
        steps_per_frame: int,
        dt_s: float,
        *,
        frames: int = 1,
        off_grid: Literal["refuse", "floor"] = "refuse",
    ) -> "SpikeStream":
        """Read spike times in frames; `inf` is silence.

        As in `rc_snn.spikes.spike_steps`, a time within four roundings of a tick's edge lies on it.

        Args:
            times: spike times in frames, in any precision that tells the ticks apart; a gradient
                ends here.
            steps_per_frame: ticks per frame.
            dt_s: seconds per tick.
            frames: length of a sample in frames: neurons in continuous time may spike after the
                input has ended. A spike at its very end belongs to the last tick.
            off_grid: what becomes of times between two ticks, which a stream cannot hold: refuse
                them, or take the earlier tick.

        Raises:
            BridgeError: if a time lies between two ticks and `off_grid` is "refuse".
            ValueError: if a time is NaN, negative or after the sample's end, a number of steps or
                frames is not whole, or the times are too coarse, as float16 is for 128 ticks.

        Example:
            >>> times = torch.tensor([[0.3, torch.inf, 0.1]], dtype=torch.float64)
            >>> SpikeStream.from_times(times, steps_per_frame=10, dt_s=1e-3).ticks.tolist()
            [1, 3]
        """
        read = columns.of_times(times, steps_per_frame, frames, off_grid)
        spikes, (n, n_units), n_steps = read
        return SpikeStream.silent(n, n_units, n_steps, dt_s).with_spikes(*spikes)

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
        per_frame = self.n_steps if steps_per_frame is None else steps_per_frame
        ticks = torch.from_numpy(self.ticks).double() / count(
            per_frame, "steps_per_frame", 1, 2**53
        )
        times[torch.from_numpy(self.sample_ids), torch.from_numpy(self.units).long()] = ticks
        return times

    # ---- decisions --------------------------------------------------------------------------

    @staticmethod
    @typed
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
            ValueError: if a label or step is not whole or out of range, or `fired` says neither
                yes nor no.

        Example:
            >>> d = Decision(label=torch.tensor([2, 0]), time=torch.tensor([0.5, 1.0]),
            ...              step=torch.tensor([0, 1]), fired=torch.tensor([True, False]),
            ...              scores=torch.eye(3)[[2, 0]])
            >>> stream = SpikeStream.from_decision(d, n_steps=2, n_classes=3, dt_s=1e-3)
            >>> stream.units.tolist(), stream.to_decision().step.tolist()
            ([2], [0, 1])
        """
        spikes, kept = columns.of_decision(decision, n_steps, n_classes, forced=forced)
        silent = SpikeStream.silent(len(decision), n_classes, n_steps, dt_s)
        return replace(silent, samples=kept).with_spikes(*spikes)

    def to_decision(self) -> Decision:
        """Return the decisions that `from_decision` wrote, exactly.

        Raises:
            BridgeError: if the stream was not made of decisions, or its spikes are others.
        """
        try:
            kept = {k: self.samples[f"decision_{k}"] for k in columns.DECISION}
        except KeyError as error:
            raise BridgeError(
                f"This stream was not made of decisions: samples has no {error}. The first spike "
                "of each sample is to_times().min(dim=1)."
            ) from None
        decision = Decision(**{k: torch.from_numpy(np.array(kept[k])) for k in kept})
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
        sensor_size: SensorSize,
        duration_us: int,
        dt_s: float = 1e-6,
    ) -> "SpikeStream":
        """Read tonic's event arrays (x, y, t in µs, p); unit = (p * height + y) * width + x.

        The units' shape is `(polarities, height, width)`, as in the frames of tonic's `ToFrame`.
        The clock starts at 0, not at the first event.

        Args:
            recordings: one structured array per sample, sorted or not; its fields may have any type
                that holds whole numbers. Polarities say 0 and 1, or -1 and 1.
            sensor_size: width, height, polarities, as tonic has it. Events of one polarity may all
                say 0, 1 or -1; `to_events` says 1.
            duration_us: length of a sample; its last microsecond is `duration_us - 1`.
            dt_s: seconds per tick; every event must be on a tick.

        Raises:
            BridgeError: if an event is between two ticks, or has a polarity too many.
            ValueError: if an event lies outside the sensor or the duration, a number is not whole,
                or a field is missing.

        Example:
            >>> events = np.array([(2, 1, 5000, True)], dtype=EVENT_DTYPE)
            >>> stream = SpikeStream.from_events([events], (3, 2, 2), 255_000, dt_s=1e-3)
            >>> stream.ticks.tolist(), stream.units.tolist(), stream.shape
            ([5], [11], (2, 2, 3))
        """
        spikes, shape, n_steps = columns.of_events(recordings, sensor_size, duration_us, dt_s)
        empty = SpikeStream.silent(len(recordings), math.prod(shape), n_steps, dt_s)
        return replace(empty, shape=shape).with_spikes(*spikes)

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
        tick = tick_us(self.dt_s)
        if int(self.ticks.max(initial=0)) * tick >= 2**63:  # which int64 would wrap round
            raise BridgeError(f"Events count µs to 2^63; the last tick of {self.dt_s} s is later.")
        events = np.zeros(self.n_spikes, EVENT_DTYPE)
        p, events["y"], events["x"] = np.unravel_index(self.units, self.shape)
        events["p"] = p if self.shape[0] == 2 else True
        events["t"] = self.ticks * tick
        return np.split(events, self.offsets[1:-1])
