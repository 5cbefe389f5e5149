"""From event-camera recordings to sequences for training, by tonic's transforms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from tonic.transforms import Compose, Downsample, ToFrame
from torch import Tensor

from encoders.events import Events, read_events
from encoders.nmnist import SIDE, NeuromorphicMNIST
from rc_snn.borders.numbers import check_fields, tensor, whole
from rc_snn.sequences import DenseSequences, Labelled
from rc_snn.spikes import check_n_steps

Value: TypeAlias = Literal["count", "root", "binary"]


@dataclass(frozen=True)
class EventFrames:
    """From events to the input of each step, by tonic's Downsample and ToFrame.

    Step s holds the events with `s * step_us <= t < (s + 1) * step_us` since the recording's start,
    summed over blocks of `factor * factor` pixels, per polarity. ToFrame by itself would begin at
    the first event, and with n_time_bins stretch every recording to its own length; here a step has
    the same meaning in every recording, and a decision at step s has seen `(s + 1) * step_us`.

    Args:
        step_us: duration of a step in whole microseconds.
        n_steps: steps per recording, T; events after the last step are never seen.
        factor: side of the blocks in pixels, one of 1, 2, 17 and 34, which tile the sensor.
        value: what a block is worth: its number of events, the root of it, or 1 if there are any.

    Raises:
        ValueError: if a value is not of that kind.

    Example:
        >>> from encoders.functional import EVENT_DTYPE
        >>> frames = EventFrames(step_us=20_000, n_steps=16)
        >>> frames(np.zeros(3, EVENT_DTYPE)).shape  # steps, polarities * 17 * 17
        torch.Size([16, 578])
    """

    step_us: int = 20_000
    n_steps: int = 16
    factor: int = 2
    value: Value = "root"

    def __post_init__(self) -> None:
        if type(self.step_us) is not int or self.step_us < 1:
            raise ValueError(
                f"step_us must be a whole number of microseconds, at least 1, got {self.step_us!r}."
            )
        check_fields(self)
        check_n_steps(self.n_steps)
        if self.factor < 1 or SIDE % self.factor:
            raise ValueError(f"factor must divide {SIDE}, got {self.factor}. Try 2.")

    @property
    def side(self) -> int:
        """Return the blocks of a side."""
        return SIDE // self.factor

    @property
    def n_inputs(self) -> int:
        """Return the inputs per step: polarities, rows, columns."""
        return 2 * self.side**2

    @property
    def duration_ms(self) -> float:
        """Return the duration of all steps in milliseconds."""
        return self.n_steps * self.step_us / 1000

    def seen_ms(self, step: Any) -> Float[Tensor, "..."]:
        """Return what a decision at this step has seen, in milliseconds: all of its step.

        Example:
            >>> EventFrames().seen_ms(torch.tensor([0, 15]))
            tensor([ 20., 320.], dtype=torch.float64)
        """
        known: Tensor = whole(tensor(step, "Steps"), "Steps", 0, self.n_steps - 1)
        return (known + 1).double() * (self.step_us / 1000)

    def __call__(self, events: Events) -> Float[Tensor, "time inputs"]:
        """Return the input of each step of one recording.

        Raises:
            ValueError: if events lie before time 0 or outside of the sensor, or are no whole
                numbers: see `event_columns`.
        """
        events = read_events(events, (SIDE, SIDE, 2))
        if (np.diff(events["t"]) < 0).any():  # ToFrame cuts by bisection
            events = events[np.argsort(events["t"], kind="stable")]
        if len(events) == 0:  # ToFrame would return one frame, whatever the window
            return torch.zeros(self.n_steps, self.n_inputs)
        to_frames = Compose(
            [
                Downsample(spatial_factor=1 / self.factor),
                ToFrame(
                    (self.side, self.side, 2),
                    time_window=self.step_us,
                    start_time=0,
                    end_time=self.n_steps * self.step_us,
                ),
            ]
        )
        counts = to_frames(events).reshape(self.n_steps, -1).astype(np.float32)
        if self.value == "root":  # numpy's is rounded exactly; torch's, on some processors, is not
            counts = np.sqrt(counts)
        elif self.value == "binary":
            counts = np.minimum(counts, 1.0)
        return torch.from_numpy(counts)


@dataclass(frozen=True)
class Disturb:
    """Augmentation of a recording: another place, size and slant, another start, fewer events.

    The whole recording moves as one object, as if the camera had looked elsewhere. tonic's own
    random transforms draw from numpy's global generator; this one is given its generator.

    Args:
        shift_px: largest shift along either axis, in pixels.
        turn_deg: largest rotation about the centre, and largest slant, in degrees.
        stretch: largest relative change of width, and of height.
        shift_us: largest shift in time, in microseconds; events before 0 are lost.
        drop: largest share of events left out; the share itself is drawn, too.

    Example:
        >>> from encoders.functional import EVENT_DTYPE
        >>> events = np.zeros(100, EVENT_DTYPE)
        >>> len(Disturb(drop=0.5)(events, np.random.default_rng(0))) <= 100
        True
    """

    shift_px: float = 0.0
    turn_deg: float = 0.0
    stretch: float = 0.0
    shift_us: int = 0
    drop: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        numbers = (self.shift_px, self.turn_deg, self.stretch, self.shift_us, self.drop)
        if not all(0 <= x < float("inf") for x in numbers) or max(self.stretch, self.drop) >= 1:
            raise ValueError(
                f"Disturb takes finite numbers >= 0, stretch and drop below 1; got {self}."
            )

    def __call__(self, events: Events, random: np.random.Generator) -> Events:
        """Return a disturbed copy, sorted by time; what leaves the sensor is lost."""
        events = read_events(events, (SIDE, SIDE, 2))
        turn, slant = np.deg2rad(random.uniform(-self.turn_deg, self.turn_deg, 2))
        width, height = 1 + random.uniform(-self.stretch, self.stretch, 2)
        shift = random.uniform(-self.shift_px, self.shift_px, (2, 1))
        later = random.integers(-self.shift_us, self.shift_us, endpoint=True)
        share = random.uniform(0.0, self.drop)
        turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        motion = turned @ np.array([[width, slant], [0.0, height]])
        middle = (SIDE - 1) / 2
        at = np.stack([events["x"], events["y"]]) - middle
        if self.turn_deg or self.stretch:  # an event is somewhere in its pixel: no gaps when larger
            at = at + random.uniform(-0.5, 0.5, at.shape)
        at = np.rint(motion @ at + shift + middle)
        t = events["t"] + later
        keep = (at >= 0).all(axis=0) & (at < SIDE).all(axis=0) & (t >= 0)
        keep &= random.random(len(events)) >= share
        out: Events = events[keep]
        (out["x"], out["y"]), out["t"] = at[:, keep], t[keep]
        return out


def event_sequences(
    data: NeuromorphicMNIST,
    frames: EventFrames,
    index: Sequence[int] | None = None,
    *,
    disturb: Disturb | None = None,
    generator: torch.Generator | None = None,
) -> Labelled:
    """Turn recordings into labelled sequences for training.

    600 recordings take a third of a second, so that nothing is cached and every epoch may disturb
    them anew.

    Args:
        data: the recordings.
        frames: how events become steps.
        index: which recordings, in which order; None is all of them.
        disturb: augmentation; needs a generator.
        generator: source of the augmentation.

    Raises:
        ValueError: if disturb comes without a generator.
    """
    if (disturb is None) != (generator is None):
        raise ValueError(
            f"disturb and generator belong together, got disturb={disturb} and "
            f"generator={generator}."
        )
    chosen = range(len(data)) if index is None else index
    random = None
    if generator is not None:
        random = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    rows = []
    for i in chosen:
        events = data.events(i)
        rows.append(
            frames(events if disturb is None or random is None else disturb(events, random))
        )
    labels = torch.tensor([data.targets[i] for i in chosen])
    return Labelled(DenseSequences(torch.stack(rows, dim=1)), labels)


def share_arrived(data: NeuromorphicMNIST, frames: EventFrames) -> Float[Tensor, "batch time"]:
    """Return which share of each recording's events had arrived by the end of each step.

    Events after the last step count as never seen: the last share may be below 1. Of a recording
    without events it is 0, as of silence in `rc_snn.regimes.account`.
    """
    ends = (np.arange(frames.n_steps) + 1) * frames.step_us
    rows = []
    for i in range(len(data)):
        t = data.events(i)["t"]
        rows.append(np.searchsorted(t, ends) / max(len(t), 1))
    return torch.from_numpy(np.stack(rows))
