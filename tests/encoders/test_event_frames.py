"""From recordings to steps: every event in its place, none from the future, none invented."""

import itertools
import math
import random

import numpy as np
import pytest
import torch

from encoders.event_frames import Disturb, EventFrames, event_sequences, share_arrived
from encoders.functional import EVENT_DTYPE, Events
from encoders.nmnist import NeuromorphicMNIST

STEP_US = 1_000
N_STEPS = 6


def drawn(n: int, seed: int = 0, until: int = STEP_US * N_STEPS) -> Events:
    """Return n events sorted by time, among them the edges of all steps."""
    rng = np.random.default_rng(seed)
    events = np.zeros(n, EVENT_DTYPE)
    events["x"], events["y"] = rng.integers(34, size=(2, n))
    edges = [e for t in range(0, until + 1, STEP_US) for e in (t - 1, t, t + 1) if 0 <= e]
    times = np.concatenate([edges, rng.integers(until, size=n)])[:n]
    events["t"] = np.sort(times)
    events["p"] = rng.integers(2, size=n)
    return events


class Recordings(NeuromorphicMNIST):
    """Stands in for a data set: what `event_sequences` reads of one."""

    def __init__(self, recordings: list[Events]) -> None:
        self.recordings, self.targets = recordings, [i % 10 for i in range(len(recordings))]

    def __len__(self) -> int:
        return len(self.recordings)

    def events(self, index: int) -> Events:
        return self.recordings[index].copy()


def same(a: Events, b: Events) -> bool:
    return a.tolist() == b.tolist()


@pytest.fixture
def recordings() -> Recordings:
    return Recordings([drawn(n, seed=n) for n in (40, 90, 60, 200)])


# Frames


@pytest.mark.parametrize("value", ["count", "root", "binary"])
@pytest.mark.parametrize("factor", [1, 2, 17, 34])
@pytest.mark.parametrize(("step_us", "n_steps"), [(1_000, 6), (700, 3), (1, 9), (100_000, 1)])
def test_every_event_is_counted_in_its_step_polarity_and_block(step_us, n_steps, factor, value):
    events = drawn(300)
    side = 34 // factor
    expected = np.zeros((n_steps, 2, side, side))
    for x, y, t, p in events.tolist():
        if t // step_us < n_steps:
            expected[t // step_us, int(p), y // factor, x // factor] += 1
    frames = EventFrames(step_us, n_steps, factor, value)
    worth = {"count": float, "root": math.sqrt, "binary": lambda n: float(n > 0)}[value]
    expected = np.vectorize(worth, otypes=[np.float32])(expected)
    found = frames(events)
    assert found.dtype == torch.float32
    assert found.shape == (n_steps, frames.n_inputs)
    np.testing.assert_array_equal(found.numpy(), expected.reshape(n_steps, -1))


def test_a_step_holds_nothing_from_after_its_end():
    events = drawn(300)
    whole = EventFrames(STEP_US, N_STEPS)(events)
    for step in range(N_STEPS):
        past = events[events["t"] < EventFrames(STEP_US).seen_ms(torch.tensor(step)).item() * 1000]
        found = EventFrames(STEP_US, N_STEPS)(past)
        assert torch.equal(found[: step + 1], whole[: step + 1])
        assert not found[step + 1 :].any()


def test_a_recording_that_begins_late_begins_late_in_its_steps():
    """ToFrame by itself would start at the first event."""
    events = drawn(100, until=2 * STEP_US - 2)
    later = events.copy()
    later["t"] += 3 * STEP_US
    frames = EventFrames(STEP_US, N_STEPS)
    assert torch.equal(frames(later)[3:], frames(events)[:3])
    assert not frames(later)[:3].any()


@pytest.mark.parametrize("events", [drawn(0), drawn(3)[:0], drawn(60)[-1:]])
def test_silence_and_events_after_the_last_step_are_all_zeros(events):
    events["t"] += N_STEPS * STEP_US
    assert torch.equal(EventFrames(STEP_US, N_STEPS)(events), torch.zeros(N_STEPS, 578))


def test_frames_do_not_write_into_the_events():
    events = drawn(50)
    before = events.copy()
    EventFrames(STEP_US, N_STEPS)(events)
    assert same(events, before)


def test_what_a_decision_has_seen_is_the_end_of_its_step():
    frames = EventFrames(step_us=12_500, n_steps=4)
    assert frames.duration_ms == 50.0
    assert frames.seen_ms(torch.tensor([0, 3])).tolist() == [12.5, 50.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_us": 0}, "whole number of microseconds, at least 1, got 0"),
        ({"step_us": -5}, "whole number of microseconds, at least 1, got -5"),
        ({"step_us": 1e4}, "whole number of microseconds, at least 1, got 10000.0"),
        ({"step_us": True}, "whole number of microseconds, at least 1, got True"),
        ({"n_steps": 0}, "n_steps must be in 1"),
        ({"factor": 0}, "factor must divide 34, got 0"),
        ({"factor": 3}, "factor must divide 34, got 3"),
        ({"value": "mean"}, "value must be one of .*, got 'mean'"),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_frames_refuse_what_is_no_grid(options, message):
    with pytest.raises(ValueError, match=message):
        EventFrames(**options)


# Shares


def test_the_share_that_arrived_is_counted_event_by_event(recordings):
    frames = EventFrames(STEP_US, N_STEPS - 1)  # the last events come after the last step
    found = share_arrived(recordings, frames)
    for i, events in enumerate(recordings.recordings):
        for step in range(frames.n_steps):
            n = sum(t < (step + 1) * STEP_US for t in events["t"].tolist())
            assert found[i, step].item() == n / len(events)
    assert (found[:, -1] < 1.0).all()
    assert (found.diff(dim=1) >= 0.0).all()


def test_the_share_that_arrived_is_the_share_counted_in_the_frames(recordings):
    frames = EventFrames(STEP_US, N_STEPS, value="count")
    counts = torch.stack([frames(e).sum(dim=1) for e in recordings.recordings])
    n = torch.tensor([[len(e)] for e in recordings.recordings])
    torch.testing.assert_close(
        share_arrived(recordings, frames), (counts.cumsum(dim=1) / n).double(), rtol=1e-6, atol=0.0
    )


# Augmentation


def test_without_any_disturbance_a_recording_stays_as_it_is():
    events = drawn(200)
    assert same(Disturb()(events, np.random.default_rng(0)), events)


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_moves_all_events_alike_and_loses_those_that_leave(seed):
    events = drawn(400, seed)
    disturb = Disturb(shift_px=3.0, shift_us=2_000)
    found = disturb(events, np.random.default_rng(seed)).tolist()
    candidates = []
    for dx, dy in itertools.product(range(-3, 4), repeat=2):
        moved = [(x + dx, y + dy, t, p) for x, y, t, p in events.tolist()]
        inside = [(x, y, t, p) for x, y, t, p in moved if 0 <= x < 34 and 0 <= y < 34]
        for dt in {found[-1][2] - t for _, _, t, _ in inside}:
            if abs(dt) <= 2_000:
                candidates.append([(x, y, t + dt, p) for x, y, t, p in inside if t + dt >= 0])
    assert found in candidates


def test_shifts_reach_both_sides_and_stay_within_their_bounds():
    one = drawn(1)
    one["x"], one["y"], one["t"] = 17, 17, 5_000
    rng = np.random.default_rng(0)
    moved = [Disturb(shift_px=2.0, shift_us=300)(one, rng)[0] for _ in range(400)]
    for name, middle, bound in (("x", 17, 2), ("y", 17, 2), ("t", 5_000, 300)):
        values = [int(e[name]) - middle for e in moved]
        assert max(values) <= bound
        assert min(values) >= -bound
        assert max(values) > 0.9 * bound - 1
        assert min(values) < 1 - 0.9 * bound


@pytest.mark.parametrize("options", [{"turn_deg": 10.0}, {"stretch": 0.2}])
def test_motion_is_about_the_centre_and_one_linear_map_up_to_a_pixel(options):
    """The positions after fit a linear map of those before; what is left is jitter."""
    side = np.arange(8, 26)
    events = np.zeros(len(side) ** 2, EVENT_DTYPE)
    events["x"], events["y"] = (a.ravel() for a in np.meshgrid(side, side))
    before = np.stack([events["x"], events["y"]]) - 16.5
    rng = np.random.default_rng(1)
    strengths = []
    for _ in range(10):
        found = Disturb(**options)(events, rng)
        assert len(found) == len(events)  # the middle of the sensor stays on it
        after = np.stack([found["x"], found["y"]]) - 16.5
        motion = np.linalg.lstsq(before.T, after.T, rcond=None)[0].T
        left = after - motion @ before
        assert np.abs(left).max() < 1.6
        assert np.abs(left.mean(axis=1)).max() < 0.1
        strengths.append(np.abs(motion - np.eye(2)).max())
    assert 0.03 < max(strengths) < 0.45
    assert len({round(s, 3) for s in strengths}) > 5


def test_events_are_dropped_up_to_the_share_and_the_rest_keeps_its_order():
    events = drawn(2_000)
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(60):
        found = Disturb(drop=0.4)(events, rng)
        rest = iter(events.tolist())
        assert all(e in rest for e in found.tolist())  # a subsequence
        shares.append(1 - len(found) / len(events))
    assert 0.35 < max(shares) < 0.45
    assert min(shares) < 0.05
    assert np.mean(shares) == pytest.approx(0.2, abs=0.04)


def test_a_disturbance_is_its_generators_and_nobody_elses():
    events = drawn(300)
    before, disturb = events.copy(), Disturb(2.0, 5.0, 0.1, 500, 0.2)
    found = []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        torch.manual_seed(seed)
        state = np.random.get_state()[1].copy()  # noqa: NPY002
        found.append(disturb(events, np.random.default_rng(7)))
        np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert same(*found)
    assert not same(found[0], disturb(events, np.random.default_rng(8)))
    assert same(events, before)
    assert (np.diff(found[0]["t"]) >= 0).all()


@pytest.mark.parametrize(
    "options",
    [{"drop": 1.0}, {"drop": -0.1}, {"stretch": 1.0}, {"turn_deg": np.nan}, {"shift_px": np.inf}],
)
def test_a_disturbance_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match="finite numbers >= 0, stretch and drop below 1"):
        Disturb(**options)


# Sequences


def test_sequences_hold_the_frames_time_first_in_the_order_asked_for(recordings, as_user):
    frames = EventFrames(STEP_US, N_STEPS)
    whole = event_sequences(recordings, frames)
    assert whole.labels.tolist() == [0, 1, 2, 3]
    part = event_sequences(recordings, frames, [2, 0])
    assert part.labels.tolist() == [2, 0]
    for i, row in ((2, 0), (0, 1)):
        expected = frames(recordings.events(i))
        assert torch.equal(part.inputs.frames[:, row], expected)
        assert torch.equal(whole.inputs.frames[:, i], expected)
    one = event_sequences(recordings, frames, [3])
    assert one.inputs.frames.shape == (N_STEPS, 1, 578)


def test_augmented_sequences_are_new_each_time_and_repeat_with_their_generator(recordings, as_user):
    frames, disturb = EventFrames(STEP_US, N_STEPS), Disturb(shift_px=3.0, drop=0.3)
    drawn_twice = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(3)
        drawn_twice.append(
            [
                event_sequences(recordings, frames, disturb=disturb, generator=generator)
                for _ in range(2)
            ]
        )
    (a, b), (c, d) = drawn_twice
    assert torch.equal(a.inputs.frames, c.inputs.frames)
    assert torch.equal(b.inputs.frames, d.inputs.frames)
    assert not torch.equal(a.inputs.frames, b.inputs.frames)
    assert torch.equal(a.labels, torch.arange(4))


@pytest.mark.usefixtures("as_user")
def test_augmentation_and_generator_belong_together(recordings):
    frames = EventFrames(STEP_US, N_STEPS)
    for options in ({"disturb": Disturb()}, {"generator": torch.Generator()}):
        with pytest.raises(ValueError, match="disturb and generator belong together"):
            event_sequences(recordings, frames, **options)


# What enters


def as_types(events: Events, **types: object) -> np.ndarray:
    """Return the same events in fields of other types."""
    dtype = [(name, types.get(name, events.dtype[name])) for name in events.dtype.names]
    return events.astype(dtype)


@pytest.mark.parametrize(
    "types",
    [
        {"p": np.int8},
        {"x": np.uint8, "y": np.uint8, "t": np.uint64},
        {"x": float, "y": np.float32, "t": float},
        {"t": ">u4"},
    ],
)
def test_events_of_other_types_and_in_any_order_give_the_same_frames(types, as_user):
    events, frames = drawn(300), EventFrames(STEP_US, N_STEPS, 2, "count")
    expected = frames(events)
    other = as_types(events, **types)
    assert torch.equal(frames(other), expected)
    assert torch.equal(frames(other[::-1]), expected)
    assert same(
        Disturb(shift_us=500)(other, np.random.default_rng(0)),
        Disturb(shift_us=500)(events, np.random.default_rng(0)),
    )


def test_signed_polarities_are_off_and_on():
    events = drawn(300)
    signed = as_types(events, p=np.int8)
    signed["p"] = np.where(events["p"], 1, -1)
    frames = EventFrames(STEP_US, N_STEPS, 1, "count")
    assert torch.equal(frames(signed), frames(events))
    signed["p"][0] = 0  # beside -1: which of them is OFF?
    with pytest.raises(ValueError, match="0 and -1 both occur"):
        frames(signed)


@pytest.mark.parametrize(
    ("name", "value"), [("x", -1), ("x", 34), ("y", -1), ("y", 40), ("t", -1), ("t", 2.5)]
)
def test_events_that_would_wrap_round_or_be_cut_are_refused(name, value, as_user):
    events = as_types(drawn(50), x=float, y=float, t=float)
    events[name][7] = value
    for take in (EventFrames(STEP_US, N_STEPS), lambda e: Disturb()(e, np.random.default_rng(0))):
        with pytest.raises(ValueError, match=r"1 of 50 events lie before|must be whole numbers"):
            take(events)


def test_what_is_no_array_of_events_is_refused(as_user):
    for wrong in (np.zeros((3, 4)), [(1, 2, 3, 0)], np.zeros(3, [("x", int), ("t", int)])):
        with pytest.raises(TypeError, match="structured array"):
            EventFrames()(wrong)


def test_the_last_step_of_a_byte_has_been_seen(as_user):
    frames = EventFrames(step_us=20_000, n_steps=256)
    assert frames.seen_ms(torch.tensor([255], dtype=torch.uint8)).tolist() == [5120.0]


def test_of_a_recording_without_events_nothing_arrives(as_user):
    class Silent:
        def __len__(self):
            return 1

        def events(self, i):
            return np.zeros(0, EVENT_DTYPE)

    assert share_arrived(Silent(), EventFrames(n_steps=3)).tolist() == [[0.0, 0.0, 0.0]]
