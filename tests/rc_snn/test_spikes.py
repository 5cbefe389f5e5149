"""first_spike, Decision and the conversions between spike times, steps, frames and spikes."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from encoders.functional import steps_to_times
from rc_snn.spikes import (
    Decision,
    check_n_steps,
    check_steps,
    check_theta,
    crossed,
    decision_spikes,
    first_spike,
    first_step,
    log_theta_below,
    spike_frames,
    spike_steps,
    steps_from_frames,
)


def slow_first_spike(p: Tensor, theta: float) -> list[tuple[int, bool]]:
    """Algorithm 1 as written: one sample, one step, one neuron at a time."""
    answer = []
    for b in range(p.shape[1]):
        for t in range(p.shape[0]):
            if any(float(p[t, b, k]) >= theta for k in range(p.shape[2])):
                answer.append((t, True))
                break
        else:
            answer.append((p.shape[0] - 1, False))
    return answer


def probabilities(seed: int, shape: tuple[int, int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(3 * torch.randn(shape, generator=generator, dtype=torch.float64), dim=-1)


def decision_of(step: list[int], label: list[int], fired: list[bool], n_steps: int) -> Decision:
    steps = torch.tensor(step)
    return Decision(
        label=torch.tensor(label),
        time=(steps + 1).double() / n_steps,
        step=steps,
        fired=torch.tensor(fired),
        scores=torch.zeros(len(step), 10),
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("theta", [0.3, 0.7, 0.95])
def test_first_spike_equals_algorithm_1_written_out(seed, theta):
    p = probabilities(seed, (7, 20, 4))
    step, fired = first_spike(p, theta)
    assert list(zip(step.tolist(), fired.tolist(), strict=True)) == slow_first_spike(p, theta)


def test_a_probability_equal_to_theta_fires():
    p = torch.tensor([[[0.5, 0.5]], [[0.75, 0.25]], [[0.9, 0.1]]])
    assert first_spike(p, 0.75) == (torch.tensor([1]), torch.tensor([True]))


@pytest.mark.parametrize("theta", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_threshold_as_a_score_of_any_precision_crosses_and_the_next_below_does_not(
    theta, dtype
):
    at = torch.tensor(theta, dtype=dtype)
    below, above = (torch.nextafter(at, torch.tensor(x, dtype=dtype)) for x in (0.0, 1.0))
    assert below < at < above
    assert crossed(torch.stack([below, at, above]), theta).tolist() == [False, True, True]
    assert crossed(torch.stack([below, at, above]), at).tolist() == [False, True, True]


@given(st.floats(1e-6, 1.0 - 1e-6))
def test_no_number_is_between_the_logarithm_of_theta_and_what_targets_compare_with(theta):
    below = log_theta_below(theta)
    assert not below > below
    assert math.log(theta) > below
    assert math.nextafter(below, math.inf) == math.log(theta)


def test_an_answer_is_out_at_the_end_of_its_step():
    step, scores = torch.tensor([0, 2, 9]), torch.eye(4)[[2, 0, 3]]
    decision = Decision.at_steps(step, 10, torch.tensor([True, True, False]), scores)
    assert decision.time.tolist() == [1 / 10, 3 / 10, 1.0]  # as float64 divides
    assert decision.label.tolist() == [2, 0, 3]
    assert decision.fired.tolist() == [True, True, False]
    assert decision.step is step
    assert decision.scores is scores


def test_what_never_holds_is_silence_at_the_last_step():
    never, always = torch.zeros(3, 1).bool(), torch.ones(3, 1).bool()
    step, fired = first_step(torch.cat([never, always, never ^ (torch.arange(3) == 2)[:, None]], 1))
    assert (step.tolist(), fired.tolist()) == ([2, 0, 2], [False, True, True])


def test_spike_at_step_zero_is_not_silence():
    loud, mute = torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])
    p = torch.stack([torch.stack([loud, mute]), torch.stack([mute, mute])])
    step, fired = first_spike(p, 0.8)
    assert step.tolist() == [0, 1]
    assert fired.tolist() == [True, False]


def test_spike_at_the_last_step_is_not_silence():
    p = torch.tensor([[[0.5, 0.5]], [[0.9, 0.1]]])
    step, fired = first_spike(p, 0.8)
    assert (step.item(), fired.item()) == (1, True)


def test_raising_theta_never_speeds_up_a_decision():
    p = probabilities(0, (9, 200, 3))
    steps = [first_spike(p, theta) for theta in (0.2, 0.4, 0.6, 0.8, 0.95)]
    for low, high in pairwise(steps):
        assert (low.step <= high.step).all()
        assert (low.fired >= high.fired).all()


@pytest.mark.parametrize("theta", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_theta_outside_the_open_unit_interval_is_refused(theta):
    with pytest.raises(ValueError, match=r"theta must be in \(0, 1\), got"):
        first_spike(torch.full((2, 1, 2), 0.5), theta)
    with pytest.raises(ValueError, match=r"theta must be in \(0, 1\), got"):
        log_theta_below(theta)


def test_nan_and_empty_probabilities_are_refused():
    p = torch.full((2, 1, 2), 0.5)
    p[1, 0, 0] = math.nan
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        first_spike(p, 0.9)
    with pytest.raises(ValueError, match="at least one step"):
        first_spike(torch.zeros(0, 1, 2), 0.9)


@given(n_steps=st.integers(1, 3000), data=st.data())
def test_the_start_of_a_step_reads_as_that_step_in_float32_and_float64(n_steps, data):
    step = data.draw(st.integers(0, n_steps - 1))
    for dtype in (torch.float32, torch.float64):
        time = torch.tensor([step], dtype=dtype) / n_steps
        assert spike_steps(time, n_steps).item() == step


def test_times_become_steps_at_the_edges_of_the_frame():
    times = torch.tensor([0.0, 0.0999, 0.1, 0.9999, 1.0, math.inf])
    assert spike_steps(times, 10).tolist() == [0, 0, 1, 9, 9, 10]


@pytest.mark.parametrize("time", [-1e-3, 1.001, math.nan, -math.inf])
def test_times_outside_the_frame_are_refused(time):
    with pytest.raises(ValueError, match="must be in \\[0, 1\\] frames or inf"):
        spike_steps(torch.tensor([0.5, time]), 10)


@pytest.mark.parametrize("n_steps", [0, -1, 40_000])
def test_a_grid_without_steps_is_refused(n_steps):
    with pytest.raises(ValueError, match="n_steps must be in"):
        spike_steps(torch.tensor([0.5]), n_steps)


@given(steps=st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_steps_survive_the_way_through_frames(steps):
    tensor = torch.tensor(steps, dtype=torch.int16)
    frames = spike_frames(tensor, 6)
    assert frames.shape == (6, len(steps))
    assert torch.equal(frames.sum(dim=0), (tensor < 6).float())
    assert torch.equal(steps_from_frames(frames), tensor)


def test_frames_that_are_no_rank_code_are_refused():
    with pytest.raises(ValueError, match="1 units spike more than once"):
        steps_from_frames(torch.tensor([[1, 0], [1, 1]]))  # one unit of two
    with pytest.raises(ValueError, match="only 0 and 1"):
        steps_from_frames(torch.full((2, 1), 0.5))
    with pytest.raises(ValueError, match=r"n_steps must be in 1\.\.32767, got 0"):
        steps_from_frames(torch.zeros(0, 2))
    with pytest.raises(ValueError, match=r"n_steps must be .*, got 0"):
        steps_from_frames(torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"in 0\.\.2"):
        spike_frames(torch.tensor([3]), 2)


def test_decision_spikes_have_one_spike_where_fired_and_none_elsewhere():
    decision = decision_of([0, 3, 2, 3], [9, 0, 5, 1], [True, True, True, False], n_steps=4)
    z = decision_spikes(decision, n_steps=4, n_classes=10)
    assert z.dtype == torch.float32
    assert z.shape == (4, 4, 10)
    assert z.nonzero().tolist() == [[0, 0, 9], [2, 2, 5], [3, 1, 0]]
    assert z.sum() == 3


def test_forced_answers_can_be_written_at_their_step_and_empty_steps_appended():
    decision = decision_of([1, 3], [2, 7], [True, False], n_steps=4)
    z = decision_spikes(decision, n_steps=6, n_classes=10, forced="spike")
    assert z.shape == (6, 2, 10)
    assert z.nonzero().tolist() == [[1, 0, 2], [3, 1, 7]]


def test_decision_spikes_refuse_what_does_not_fit(as_user):
    decision = decision_of([3], [7], [True], n_steps=4)
    with pytest.raises(ValueError, match=r"Class indices must be in 0..4, got 7 at position 0"):
        decision_spikes(decision, n_steps=4, n_classes=5)
    with pytest.raises(ValueError, match=r"Decision steps must be in 0..2, got 3"):
        decision_spikes(decision, n_steps=3, n_classes=10)
    with pytest.raises(ValueError, match=r"n_steps must be in 1\.\.32767, got 40000"):
        decision_spikes(decision, n_steps=40_000, n_classes=10)
    with pytest.raises(ValueError, match='forced must be "silent" or "spike"'):
        decision_spikes(decision, n_steps=4, n_classes=10, forced="zero")
    timed = Decision(decision.label, decision.time, None, decision.fired, decision.scores)
    with pytest.raises(ValueError, match="continuous time"):
        decision_spikes(timed, n_steps=4, n_classes=10)


def test_joined_decisions_keep_their_order_and_do_not_mix_kinds():
    a, b = decision_of([0], [1], [True], 4), decision_of([3, 2], [2, 3], [False, True], 4)
    joined = Decision.cat([a, b])
    assert joined.step is not None
    assert joined.step.tolist() == [0, 3, 2]
    assert joined.label.tolist() == [1, 2, 3]
    assert joined.fired.tolist() == [True, False, True]
    timed = Decision(a.label, a.time, None, a.fired, a.scores)
    with pytest.raises(ValueError, match="Cannot join"):
        Decision.cat([a, timed])


def test_a_decision_on_another_device_says_the_same():
    one = decision_of([3, 2], [2, 3], [False, True], 4)
    for whole in (one, Decision(one.label, one.time, None, one.fired, one.scores)):
        moved = whole.to("cpu")
        assert (moved.step is None) == (whole.step is None)
        for name in ("label", "time", "fired", "scores"):
            assert torch.equal(getattr(moved, name), getattr(whole, name))
    assert one.to("cpu").step.tolist() == [3, 2]


def test_a_sequence_of_one_step_is_decided_at_it():
    p = torch.tensor([[[0.9, 0.1], [0.5, 0.5]]])
    step, fired = first_spike(p, 0.8)
    assert step.tolist() == [0, 0]
    assert fired.tolist() == [True, False]
    assert first_spike(p[..., :1], 0.8).fired.tolist() == [True, False], "and of one class"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_time_within_four_roundings_of_an_edge_lies_on_it(dtype):
    rounding = torch.finfo(dtype).eps
    times = 0.5 * (1 - rounding * torch.tensor([4, 5], dtype=dtype))
    assert spike_steps(times, 2).tolist() == [1, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_times_in_half_precision_are_refused_because_steps_would_move(dtype, as_user):
    """0.1 is 0.09998 in float16: step 0 of 10 by its value, step 1 by what was meant."""
    for times in (torch.tensor([0.1, 0.5, 1.0, math.inf]), torch.arange(255) / 255):
        with pytest.raises(ValueError, match="floats of 32 or 64 bits"):
            spike_steps(times.to(dtype), 255)


@pytest.mark.parametrize("times", [torch.arange(3), torch.zeros(2, dtype=torch.uint8)])
def test_steps_are_no_times(times, as_user):
    with pytest.raises(ValueError, match="Of spike steps make times"):
        spike_steps(times, 10)


@pytest.mark.parametrize(
    ("dtype", "n_steps"), [(torch.uint8, 256), (torch.int8, 128), (torch.int16, 32767)]
)
def test_steps_of_a_small_type_mean_the_same_at_its_end(dtype, n_steps, as_user):
    last = min(n_steps, torch.iinfo(dtype).max)
    steps = torch.tensor([0, 5, last]).to(dtype)
    assert check_steps(steps, n_steps).tolist() == [0, 5, last]
    assert spike_steps(steps_to_times(steps, n_steps), n_steps).tolist() == [0, 5, last]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float16, ">i4", np.float64])
def test_frames_of_any_type_and_of_tonic_are_read_alike(dtype):
    frames = np.zeros((3, 1, 1, 2), dtype)
    frames[1, 0, 0, 0] = 1
    assert steps_from_frames(frames).tolist() == [[[1, 3]]]
    assert steps_from_frames(frames[::-1]).tolist() == [[[1, 3]]]


def test_frames_of_counts_are_no_spike_frames():
    for wrong in (2, -1, 256):
        with pytest.raises(ValueError, match="only 0 and 1"):
            steps_from_frames(np.full((2, 1), wrong, np.int16))
    with pytest.raises(ValueError, match="only 0 and 1"):
        steps_from_frames(torch.tensor([[torch.nan], [0.0]]))


def decided(**changed):
    parts = {
        "label": torch.tensor([1, 0]),
        "time": torch.tensor([0.1, 1.0]).double(),
        "step": torch.tensor([0, 9]),
        "fired": torch.tensor([True, False]),
        "scores": torch.eye(2)[[1, 0]],
    }
    return Decision(**(parts | changed))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_a_decision_of_small_integers_is_held_in_large_ones(dtype, as_user):
    held = decided(label=torch.tensor([1, 0], dtype=dtype), step=torch.tensor([0, 9], dtype=dtype))
    assert (held.label.dtype, held.step.dtype) == (torch.int64, torch.int64)
    assert decision_spikes(held, 10, 2).nonzero().tolist() == [[0, 0, 1]]


def test_fired_of_ones_and_zeros_is_a_truth_value_not_a_position(as_user):
    both = decided(fired=torch.tensor([1, 1]))
    assert decision_spikes(both, 10, 2).nonzero().tolist() == [[0, 0, 1], [9, 1, 0]]
    with pytest.raises(ValueError, match="fired must be"):
        decided(fired=torch.tensor([2, 5]))


@pytest.mark.parametrize(
    "changed",
    [
        {"label": torch.tensor([[1], [0]])},
        {"label": torch.tensor([1.9, 0.0])},
        {"label": torch.tensor([-1, 0])},
        {"step": torch.tensor([0])},
        {"step": torch.tensor([[0], [9]])},
        {"step": torch.tensor([0.5, 9.0])},
        {"fired": torch.tensor([[True], [False]])},
        {"time": torch.tensor([[0.1], [1.0]])},
        {"scores": torch.eye(3)},
        {"scores": torch.zeros(2)},
        {"scores": torch.zeros(2, 3, 1)},
    ],
)
def test_a_decision_whose_parts_do_not_fit_is_refused(changed, as_user):
    with pytest.raises(ValueError, match=r"must be|A decision has one"):
        decided(**changed)


@pytest.mark.parametrize(
    "theta", [np.float32(0.5), torch.tensor(0.5), np.float64(0.5), torch.tensor(0.5).double()]
)
def test_a_threshold_of_any_library_is_that_number(theta, as_user):
    assert check_theta(theta) == 0.5
    assert type(check_theta(theta)) is float


@pytest.mark.parametrize("theta", [True, "0.5", None, torch.tensor([0.5, 0.5]), 0.5j])
def test_what_is_no_number_is_no_threshold(theta, as_user):
    with pytest.raises(TypeError, match="theta must be a number"):
        check_theta(theta)


def test_steps_are_counted_in_whole_numbers(as_user):
    assert check_n_steps(np.int64(10)) == 10
    for wrong, kind in ((10.0, ValueError), (True, TypeError), ("10", TypeError)):
        with pytest.raises(kind, match="n_steps must be a whole number"):
            check_n_steps(wrong)


@pytest.mark.parametrize(
    ("dtype", "step"),
    [("uint8", 255), ("int8", 127), ("uint16", 299), ("int16", 299), ("float32", 299)],
)
def test_a_step_of_any_type_is_out_at_the_end_of_it(dtype, step, as_user):
    decision = Decision.at_steps(
        torch.tensor([step]).to(getattr(torch, dtype)), 300, torch.ones(1) > 0, torch.eye(2)[:1]
    )
    assert decision.time.tolist() == [(step + 1) / 300]
    assert decision.step.tolist() == [step]


def test_an_answer_beyond_the_last_step_or_by_a_score_that_is_none_is_refused(as_user):
    fired, scores = torch.ones(1) > 0, torch.eye(2)[:1]
    for step, n_steps in ((10, 10), (-1, 10), (0, 0)):
        with pytest.raises(ValueError, match="steps must be"):
            Decision.at_steps(torch.tensor([step]), n_steps, fired, scores)
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        Decision.at_steps(torch.tensor([0]), 1, fired, torch.tensor([[0.1, math.nan]]))


@pytest.mark.parametrize("name", ["time", "scores"])
@pytest.mark.parametrize("value", [[[0.5]], np.ones((1, 1)), torch.ones(1, 1, dtype=torch.long)])
def test_times_and_scores_are_tensors_of_floats(name, value, as_user):
    held = {"label": torch.tensor([0]), "step": None, "fired": torch.tensor([True])}
    held |= {"time": torch.ones(1), "scores": torch.ones(1, 1), name: value}
    with pytest.raises(TypeError, match=f"{name} must be a tensor of floats"):
        Decision(**held)
