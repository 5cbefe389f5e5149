"""The account against its definition, sample by sample."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.regimes import (
    account,
    count_operations,
    decision_macs,
    regime,
    shown_by,
    synaptic_operations,
    training_macs,
)
from rc_snn.sequences import DenseSequences, SpikeSequences
from rc_snn.spikes import Decision, spike_frames, spike_steps
from rc_snn.step_model import StepCost

COST = StepCost(input=100, inner=7, recurrent=30, read_out=5, fan_out=torch.tensor([2.0, 3.0, 5.0]))
T = 20


def case(seed: int, n: int = 50) -> tuple[Decision, Tensor, Tensor]:
    """Random decisions, labels and input spike times, some inputs silent."""
    g = torch.Generator().manual_seed(seed)
    step = torch.randint(T, (n,), generator=g)
    fired = (step < T - 1) | (torch.rand(n, generator=g) < 0.5)
    times = torch.rand(n, 3, generator=g, dtype=torch.float64)
    times[torch.rand(n, 3, generator=g) < 0.3] = math.inf
    times[0] = math.inf  # a blank image
    decision = Decision(
        label=torch.randint(4, (n,), generator=g),
        time=(step + 1).double() / T,
        step=step,
        fired=fired,
        scores=torch.zeros(n, 4),
    )
    return decision, torch.randint(4, (n,), generator=g), times


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("seed", range(3))
def test_account_equals_its_definition_written_out(seed):
    decision, labels, times = case(seed)
    assert decision.step is not None
    a = account(decision, labels, times, T, COST)
    step, label = decision.step.tolist(), decision.label.tolist()
    n = len(step)
    right = [x == y for x, y in zip(label, labels.tolist(), strict=True)]
    assert (a.n, a.correct, a.accuracy) == (n, sum(right), sum(right) / n)
    assert a.fired == sum(decision.fired.tolist())
    assert a.fired + a.forced == n
    assert a.time_to_insight == pytest.approx(mean(step))
    assert a.step_clock.mean == pytest.approx(mean([s / T for s in step]))
    assert a.strict_clock.mean == pytest.approx(mean([(s + 1) / T for s in step]))
    assert a.step_clock.share_fast == pytest.approx(mean([float(s / T < 0.05) for s in step]))
    seen = []
    for row, s in zip(times.tolist(), step, strict=True):
        spikes = [t for t in row if t != math.inf]
        arrived = [t for t in spikes if min(int(t * T), T - 1) <= s]
        seen.append(len(arrived) / max(len(spikes), 1))
    assert a.input_seen.mean == pytest.approx(mean(seen))
    assert a.decided_at_step == [step.count(t) for t in range(T)]
    hits = [s for s, ok in zip(step, right, strict=True) if ok]
    assert a.correct_at_step == [hits.count(t) for t in range(T)]
    macs = [sum(112 + (30 if t > 0 else 0) for t in range(s + 1)) for s in step]
    assert a.macs == pytest.approx(mean([float(m) for m in macs]))
    assert a.macs_full == 112 * T + 30 * (T - 1)
    ac = [
        sum(f for t, f in zip(row, (2.0, 3.0, 5.0), strict=True) if t != math.inf and t * T < s + 1)
        for row, s in zip(times.tolist(), step, strict=True)
    ]
    assert a.synops_ac == pytest.approx(mean(ac))
    assert a.synops_mac == pytest.approx(mean([12.0 * (s + 1) + 30 * s for s in step]))


def test_account_does_not_depend_on_the_order_of_samples():
    decision, labels, times = case(7)
    assert decision.step is not None
    order = torch.randperm(len(decision), generator=torch.Generator().manual_seed(0))
    shuffled = Decision(
        decision.label[order],
        decision.time[order],
        decision.step[order],
        decision.fired[order],
        decision.scores[order],
    )
    a = asdict(account(decision, labels, times, T, COST))
    b = asdict(account(shuffled, labels[order], times[order], T, COST))
    for name, value in a.items():
        expected = value if isinstance(value, dict | list) else pytest.approx(value)
        if isinstance(value, dict):
            expected = {k: v if isinstance(v, str) else pytest.approx(v) for k, v in value.items()}
        assert b[name] == expected


def test_first_step_is_free_on_the_step_clock_and_not_on_the_strict_one():
    zero = torch.zeros(3, dtype=torch.long)
    decision = Decision(zero, torch.full((3,), 0.1).double(), zero, zero == 0, torch.zeros(3, 2))
    a = account(decision, zero, torch.full((3, 2), 0.5), 10)
    assert (a.step_clock.mean, a.step_clock.regime) == (0.0, "fast")
    assert (a.strict_clock.mean, a.strict_clock.regime) == (pytest.approx(0.1), "between")
    assert (a.input_seen.mean, a.input_seen.regime) == (0.0, "fast")
    assert a.macs is None


def test_continuous_times_use_one_clock_and_silence_counts_at_infinity():
    time = torch.tensor([0.02, 1.3, math.inf], dtype=torch.float64)
    decision = Decision(torch.tensor([0, 1, 0]), time, None, time < math.inf, torch.zeros(3, 2))
    inputs = torch.tensor([[0.01, 0.5], [0.2, math.inf], [0.3, math.inf]], dtype=torch.float64)
    a = account(decision, torch.tensor([0, 1, 1]), inputs)
    assert a.step_clock == a.strict_clock
    assert a.strict_clock.mean == math.inf
    assert a.strict_clock.regime == "slow"
    assert a.strict_clock.median == pytest.approx(1.3)
    assert a.strict_clock.share_fast == pytest.approx(1 / 3)
    assert a.strict_clock.share_within == pytest.approx(1 / 3)
    assert (a.fired, a.forced) == (2, 1)
    assert a.input_seen.mean == pytest.approx((0.5 + 1 + 1) / 3)
    assert a.decided_at_step is None


def test_a_spike_at_the_moment_of_the_answer_is_seen_and_continuous_ones_may_come_after_the_frame():
    decision = Decision(
        torch.tensor([1]), torch.tensor([0.5]), None, torch.tensor([True]), torch.eye(2)[1:]
    )
    found = account(decision, torch.tensor([1]), torch.tensor([[0.25, 0.5, 0.75, 1.5, math.inf]]))
    assert found.input_seen.mean == 0.5


def test_operations_come_as_accumulates_or_as_both_kinds(as_user):
    decision = Decision.at_steps(torch.tensor([4, 9, 0]), 10, torch.ones(3) > 0, torch.eye(3))
    both = account(decision, [0, 1, 2], n_steps=10, operations=([1, 2, 6], [0, 1, 5]))
    assert (both.synops_ac, both.synops_mac) == (3.0, 2.0)
    one = account(decision, [0, 1, 2], n_steps=10, operations=(1, 2, 6))
    assert (one.synops_ac, one.synops_mac) == (3.0, 0.0)


@pytest.mark.parametrize(
    ("share", "name"),
    [(0.0, "fast"), (0.0499, "fast"), (0.05, "between"), (0.25, "between"), (0.2501, "slow")],
)
def test_regimes_have_the_papers_bounds(share, name):
    assert regime(share) == name


def test_deciding_later_never_costs_less():
    steps = torch.arange(T)
    macs = decision_macs(steps, COST)
    assert (macs.diff() > 0).all()
    inputs = spike_steps(torch.rand(T, 3, generator=torch.Generator().manual_seed(0)), T)
    for row in inputs:
        ac, mac = synaptic_operations(steps, row.expand(T, 3), COST)
        assert (ac.diff() >= 0).all()
        assert (mac.diff() > 0).all()


def test_fan_out_of_a_convolution_counts_the_targets_that_exist():
    model = RCConvLSTM((3,), 5, image_shape=(6, 7))
    fan_out = model.cost().fan_out.view(6, 7)
    for y in range(6):
        for x in range(7):
            rows = sum(0 <= y + dy < 6 for dy in range(-2, 3))
            columns = sum(0 <= x + dx < 7 for dx in range(-2, 3))
            assert fan_out[y, x] == 4 * 3 * rows * columns


def test_account_refuses_what_does_not_fit(as_user):
    decision, labels, times = case(0)
    with pytest.raises(ValueError, match="50 decisions, 49 labels"):
        account(decision, labels[:-1], times, T)
    with pytest.raises(ValueError, match="Give n_steps for step models only"):
        account(decision, labels, times)
    with pytest.raises(ValueError, match=r"in 0\.\.9, got 19"):
        account(decision, labels, times, 10)
    with pytest.raises(ValueError, match="Class indices"):
        account(decision, labels + 4, times, T)
    with pytest.raises(ValueError, match="share of the frame must be >= 0"):
        regime(-0.1)


@pytest.mark.usefixtures("as_user")
def test_inputs_that_are_no_spikes_are_accounted_by_what_was_heard():
    decision, labels, _ = case(3)
    assert decision.step is not None
    heard = (decision.step + 5).double() / (T + 4)
    a = account(decision, labels, n_steps=T, cost=COST, seen=heard)
    with_spikes = account(decision, labels, case(3)[2], T, COST)
    assert a.input_seen is not None
    assert a.input_seen.mean == pytest.approx(mean(heard.tolist()))
    assert (a.synops_ac, a.synops_mac) == (None, None)
    assert (a.macs, a.strict_clock) == (with_spikes.macs, with_spikes.strict_clock)
    assert account(decision, labels, n_steps=T).input_seen is None
    with pytest.raises(ValueError, match="all say what was seen"):
        account(decision, labels, case(3)[2], T, seen=heard)
    with pytest.raises(ValueError, match=r"50 decisions, 50 labels and \[49\] rows"):
        account(decision, labels, n_steps=T, seen=heard[1:])


# Sequences instead of spike times


@pytest.mark.parametrize("seed", range(3))
def test_sequences_of_a_rank_code_are_accounted_for_as_its_spike_times(seed):
    decision, labels, times = case(seed)
    steps = spike_steps(times, T)
    mean_input = torch.full((T, 3), 0.25)
    by_times = account(decision, labels, times, T, COST)
    for inputs in (
        SpikeSequences(steps, T),
        SpikeSequences(steps, T, mean=mean_input),
        DenseSequences(spike_frames(steps, T)),
    ):
        assert account(decision, labels, None, T, COST, inputs=inputs) == by_times


@pytest.mark.parametrize("sign", [1, -1])
def test_every_spike_of_a_unit_counts_once_per_synapse_until_the_decision(sign):
    decision, labels, _ = case(4)
    assert decision.step is not None
    counts = torch.randint(0, 3, (T, len(labels), 3), generator=torch.Generator().manual_seed(0))
    inputs = DenseSequences(sign * counts.float())
    a = account(decision, labels, None, T, COST, inputs=inputs)
    seen, operations = [], []
    for i, step in enumerate(decision.step.tolist()):
        until = [counts[t, i].tolist() for t in range(step + 1)]
        everything = int(counts[:, i].sum())
        seen.append(sum(map(sum, until)) / everything)
        operations.append(sum(2 * a + 3 * b + 5 * c for a, b, c in until))
    assert a.input_seen is not None
    assert a.input_seen.mean == pytest.approx(mean(seen))
    assert a.synops_ac == pytest.approx(mean(operations))
    without = account(decision, labels, case(4)[2], T, COST)
    assert a.synops_mac == without.synops_mac, "hidden activations cost what they cost"
    assert (a.macs, a.macs_full) == (without.macs, without.macs_full)


def test_analog_inputs_cost_multiplications_where_they_are_not_zero():
    decision, labels, _ = case(5)
    assert decision.step is not None
    frames = torch.randn(T, len(labels), 3, generator=torch.Generator().manual_seed(0))
    frames[:, :, 1] = 0.0
    a = account(decision, labels, None, T, COST, inputs=DenseSequences(frames))
    hidden = account(decision, labels, case(5)[2], T, COST).synops_mac
    steps = (decision.step + 1).double().mean().item()
    assert (a.synops_ac, a.synops_mac) == (0.0, pytest.approx(hidden + steps * (2 + 5)))
    assert a.input_seen == a.strict_clock


def test_what_is_no_decision_and_spikes_after_the_frame_are_refused(as_user):
    decision, labels, times = case(6)
    with pytest.raises(TypeError, match="Decision"):
        account(decision.label, labels, times, T)
    with pytest.raises(ValueError, match="Spike times"):
        account(decision, labels, torch.full_like(times, 1.5), T)


def test_a_label_without_a_score_is_refused(as_user):
    decision, labels, times = case(6)
    n_classes = decision.scores.shape[1]
    with pytest.raises(ValueError, match="Class indices"):
        account(replace(decision, label=decision.label + n_classes), labels, times, T)


def test_sequences_that_are_not_those_of_the_decisions_are_refused(as_user):
    decision, labels, times = case(6)
    inputs = SpikeSequences(spike_steps(times, T), T)
    with pytest.raises(ValueError, match="give one of them"):
        account(decision, labels, times, T, inputs=inputs)
    with pytest.raises(ValueError, match=r"got 50 decisions, 50 labels and \[49\] rows"):
        account(decision, labels, None, T, inputs=inputs.rows(torch.arange(49)))
    with pytest.raises(ValueError, match=f"sequences have {T + 1} steps, got n_steps={T}"):
        account(decision, labels, None, T, inputs=SpikeSequences(inputs.steps, T + 1))
    with pytest.raises(TypeError, match="Sequences are needed"):
        account(decision, labels, None, T, inputs=inputs.steps)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_multiply_adds_of_steps_in_small_integers_do_not_overflow(dtype, as_user):
    """784-340-10, read to the last of ten steps: 10 products with the input, 9 with the state."""
    cost = RCLSTM(784, 340, 10).cost()
    forward = 10 * (4 * 340 * 784 + 340 * 10) + 9 * 4 * 340 * 340
    step = torch.tensor([9], dtype=dtype)
    assert decision_macs(step, cost).item() == forward
    assert training_macs(step, cost).item() == training_macs(torch.tensor([9]), cost).item()
    assert torch.equal(
        synaptic_operations(step, torch.zeros(1, 784, dtype=dtype), cost).mac,
        synaptic_operations(torch.tensor([9]), torch.zeros(1, 784).long(), cost).mac,
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
def test_an_account_does_not_depend_on_the_integers_of_labels_and_steps(dtype, as_user):
    decision, labels, times = case(3)
    small = replace(decision, step=decision.step.to(dtype), label=decision.label.to(dtype))
    right = account(decision, labels, times, n_steps=T, cost=COST)
    for given in (labels.to(dtype), labels.numpy().astype(np.uint8), labels.tolist()):
        assert account(small, given, times, n_steps=T, cost=COST) == right


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"labels": torch.zeros(50, 1).long()}, r"Pass x\.squeeze\(1\)"),
        ({"labels": torch.full((50,), 1.9)}, r"whole numbers, got 1\.(9|89999)"),
        ({"labels": torch.full((50,), -1)}, "got -1 at position 0"),
        ({"input_times": torch.zeros(50)}, r"Input times must be \[batch, inputs\]"),
        ({"input_times": torch.zeros(50, 3).half()}, "floats of 32 or 64 bits"),
        ({"n_steps": 20.0}, "n_steps must be a whole number"),
        ({"input_times": None, "seen": torch.full((50,), 20.0)}, "share in"),
        ({"input_times": None, "seen": torch.tensor([1.01] + 49 * [0.5])}, r"in 0\.5\.\.1\.01"),
        ({"input_times": None, "seen": torch.full((50,), math.nan)}, "seen must be finite"),
        ({"input_times": None, "seen": torch.zeros(50, 1)}, "share in"),
        ({"operations": torch.full((50,), math.nan)}, "operations must be finite"),
    ],
)
def test_an_account_of_what_would_broadcast_or_mislead_is_refused(changed, said, as_user):
    decision, labels, times = case(3)
    given = {"labels": labels, "input_times": times, "n_steps": T} | changed
    with pytest.raises(ValueError, match=said):
        account(decision, **given)


def test_operations_of_a_column_of_steps_are_refused(as_user):
    with pytest.raises(ValueError, match=r"Decision steps must be \[B\]"):
        decision_macs(torch.tensor([[1], [2]]), COST)
    with pytest.raises(ValueError, match=r"Input steps must be \[2, 3\]"):
        synaptic_operations(torch.tensor([1, 2]), torch.zeros(1, 3).long(), COST)


def test_decisions_of_another_grid_are_refused_and_half_precision_is_rounding(as_user):
    decision = Decision.at_steps(torch.tensor([4, 9]), 10, torch.ones(2) > 0, torch.eye(2))
    with pytest.raises(ValueError, match=r"On 20 steps an answer at step 4 is out at 0\.25"):
        account(decision, [0, 1], n_steps=20)
    half = replace(decision, time=decision.time.half())
    assert account(half, [0, 1], n_steps=10).strict_clock.mean == 0.75


def test_costs_and_operations_that_are_not_of_these_decisions_are_refused(as_user):
    decision = Decision.at_steps(torch.tensor([4, 9]), 10, torch.ones(2) > 0, torch.eye(2))
    inputs, cost = SpikeSequences(torch.zeros(2, 5).short(), 10), RCLSTM(3, 4, 2).cost()
    with pytest.raises(ValueError, match="model with 3 inputs, got sequences of 5"):
        account(decision, [0, 1], None, 10, cost, inputs=inputs)
    with pytest.raises(ValueError, match="operations are those of each of 2 decisions, >= 0"):
        account(decision, [0, 1], n_steps=10, operations=torch.tensor([-1.0, 2.0]))
    assert account(decision, [0, 1], n_steps=10, operations=[1, 2]).synops_ac == 1.5
    with pytest.raises(TypeError, match="cost must be a StepCost, got dict"):
        account(decision, [0, 1], None, 10, {"input": 3})
    for size in (0, -1, 2.5):
        for count in (
            lambda n: shown_by(decision.step, inputs, batch_size=n),
            lambda n: count_operations(RCLSTM(5, 4, 2), inputs, decision, batch_size=n),
        ):
            with pytest.raises(ValueError, match="batch_size must be"):
                count(size)


def test_one_sample_alone_is_accounted_for():
    one = Decision.at_steps(torch.tensor([4]), 10, torch.tensor([True]), torch.eye(2)[:1])
    for times, share in (([0.3, math.inf], 1.0), ([0.9, math.inf], 0.0), ([math.inf] * 2, 0.0)):
        got = account(one, torch.tensor([0]), torch.tensor([times]), n_steps=10)
        assert (got.n, got.accuracy, got.step_clock.median) == (1, 1.0, 0.4)
        assert got.input_seen.mean == share


def test_where_most_never_answer_the_median_time_is_infinite():
    time = torch.tensor([0.1, math.inf, math.inf])
    silent = Decision(torch.zeros(3).long(), time, None, time.isfinite(), torch.zeros(3, 2))
    clock = account(silent, torch.zeros(3).long()).strict_clock
    assert clock.median == clock.mean == math.inf


def test_an_answer_at_the_very_end_of_a_frame_unseen_is_within_it():
    end = Decision(torch.tensor([0]), torch.tensor([1.0]), None, torch.tensor([True]), torch.eye(1))
    got = account(end, torch.tensor([0]), seen=torch.tensor([0.0]))
    assert got.strict_clock.share_within == 1.0
    assert got.input_seen.mean == 0.0


def test_one_sample_on_another_grid_is_found_among_others():
    right = Decision.at_steps(torch.tensor([1, 2]), 4, torch.ones(2).bool(), torch.eye(2))
    other = replace(right, time=torch.tensor([0.5, 0.3], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"at step 2 is out at 0\.75 frames; sample 1 says 0\.3"):
        account(other, torch.tensor([0, 1]), n_steps=4)


def test_sequences_without_a_cost_have_no_operations():
    decision = Decision.at_steps(torch.tensor([1]), 4, torch.tensor([True]), torch.eye(2)[:1])
    shown = SpikeSequences(torch.tensor([[0, 3]], dtype=torch.int16), 4)
    got = account(decision, torch.tensor([0]), n_steps=4, inputs=shown)
    assert (got.synops_ac, got.synops_mac, got.input_seen.mean) == (None, None, 0.5)
