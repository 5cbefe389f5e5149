"""Decisions from output spikes: held to counting by hand, and to what snnTorch's users compute."""

import pytest
import snntorch as snn
import spikingjelly.activation_based.neuron as jelly
import torch
from norse.torch import LIFCell
from snntorch.functional import accuracy_rate
from torch import Tensor

from baselines import lif
from rc_snn import decisions_from_spikes
from rc_snn.output_spikes import first_output_spike

T, B, C = 9, 80, 4


def drawn(rate: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Potentials of which some are above the threshold 1, and their spikes."""
    g = torch.Generator().manual_seed(seed)
    v = torch.rand(T, B, C, generator=g, dtype=torch.float64) / (1.0 - rate)
    v[:, 0] = v[:, 0] / 10.0  # silent
    v[0, 1, 2] = 5.0  # at step 0
    v[:-1, 2], v[-1, 2] = 0.1, torch.tensor([0.0, 7.0, 0.0, 8.0])  # in step T-1, two of them
    return (v > 1.0).float(), v


def by_hand(z: Tensor, v: Tensor, b: int, theta: int | None) -> tuple[int, int, bool]:
    """Count one sample's spikes; return label, step and whether a class came to θ."""
    counts = [0] * C
    for t in range(T):
        for k in range(C):
            counts[k] += int(z[t, b, k])
        there = [k for k in range(C) if theta is not None and counts[k] >= theta]
        if there:
            return max(there, key=lambda k: float(v[t, b, k])), t, True
    best = [k for k in range(C) if counts[k] == max(counts)]
    return max(best, key=lambda k: float(v[T - 1, b, k])), T - 1, False


@pytest.mark.parametrize(
    ("rule", "theta", "needed"),
    [("first", None, 1), ("first", 1, 1), ("count", 1, 1), ("count", 3, 3), ("count", None, None)],
)
def test_decisions_equal_counting_by_hand(rule, theta, needed):
    z, v = drawn(0.3)
    found = decisions_from_spikes(z, v, rule, theta)
    assert found.step is not None
    for b in range(B):
        expected = by_hand(z, v, b, needed)
        assert (int(found.label[b]), int(found.step[b]), bool(found.fired[b])) == expected
        assert float(found.time[b]) == (expected[1] + 1) / T
    if needed == 1:
        assert found.step[:3].tolist() == [T - 1, 0, T - 1]
        assert found.fired[:3].tolist() == [False, True, True]
        assert int(found.label[2]) == 3
        at = v[found.step, torch.arange(B)] if rule == "first" or theta == 1 else None
        assert torch.equal(found.scores, at)


def test_without_ties_the_potential_changes_no_answer():
    z, v = drawn(0.3)
    alone = torch.ones(B, dtype=torch.bool)
    first = (z.cumsum(0) * z == 1).any(2).int().argmax(0)
    alone &= z[first, torch.arange(B)].sum(1) == 1
    assert 20 < int(alone.sum()) < B - 3
    assert torch.equal(
        decisions_from_spikes(z[:, alone]).label,
        decisions_from_spikes(z[:, alone], v[:, alone]).label,
    )


@pytest.mark.parametrize("rule", ["first", "count"])
def test_ties_within_a_step_are_refused_without_a_potential_before_the_reset(rule):
    z, v = drawn(0.3)
    theta = 2 if rule == "count" else None
    n = sum(
        sum(int(z[: t + 1, b, k].sum()) >= (theta or 1) for k in range(C)) > 1
        for b in range(B)
        if (at := by_hand(z, v, b, theta or 1))[2]
        for t in [at[1]]
    )
    assert n > 5
    with pytest.raises(ValueError, match=f"Of {n} of {B} samples .* Pass their potential before"):
        decisions_from_spikes(z, rule=rule, theta=theta)
    for wrong in (z, torch.where(z > 0, 0.0, v)):  # the spikes themselves; reset to zero
        with pytest.raises(ValueError, match=f"Of {n} of {B} .* same at every spike"):
            decisions_from_spikes(z, wrong, rule, theta)
    reset = decisions_from_spikes(z, v - z, rule, theta)  # by subtraction: the order is kept
    assert torch.equal(reset.label, decisions_from_spikes(z, v, rule, theta).label)


def test_the_baselines_use_the_same_definition_and_refuse_spikes_alone():
    assert lif.first_output_spike is first_output_spike
    z, _ = drawn(0.3)
    with pytest.raises(ValueError, match="several classes reach the threshold in one step"):
        first_output_spike(z)
    with pytest.raises(ValueError, match="same at every spike"):
        first_output_spike(z, z)


def test_ties_of_true_potentials_are_said():
    z = torch.ones(1, 2, 2)
    v = torch.tensor([[[2.0, 2.0], [2.0, 3.0]]])
    with pytest.warns(UserWarning, match="Of 1 of 2 .* equal potentials"):
        assert decisions_from_spikes(z, v).label.tolist() == [0, 1]


def test_counts_at_the_end_answer_as_snntorchs_accuracy_rate_and_ties_are_said():
    z, _ = drawn(0.3)
    counts = z.sum(0)
    tied = int(((counts == counts.amax(1, keepdim=True)).sum(1) > 1).sum())
    assert tied > 10
    with pytest.warns(UserWarning, match=f"{tied} of {B} samples do not reach"):
        found = decisions_from_spikes(z, rule="count")
    labels = torch.randint(C, (B,), generator=torch.Generator().manual_seed(1))
    assert float((found.label == labels).double().mean()) == accuracy_rate(z, labels)
    assert torch.equal(found.scores, counts)
    assert not found.fired.any()
    assert found.step is not None
    assert (found.step == T - 1).all()


def test_a_threshold_that_nothing_reaches_warns_and_names_one_that_is_reached():
    z, v = drawn(0.3)
    most = int(z.sum(0).max())
    with pytest.warns(UserWarning, match=f"None of {B} samples .*theta={most + 1}.*<= {most}"):
        found = decisions_from_spikes(z, v, "count", most + 1)
    assert not found.fired.any()
    assert decisions_from_spikes(z, v, "count", most).fired.any()
    with pytest.warns(UserWarning, match="No output neuron ever spikes: lower its threshold"):
        decisions_from_spikes(z * 0, v)


def test_a_batch_of_one_and_a_single_step():
    spike = torch.tensor([[[False, True]]])
    found = decisions_from_spikes(spike)
    assert (found.label.tolist(), found.step.tolist(), found.fired.tolist()) == ([1], [0], [True])
    assert float(found.time) == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3, 2),), r"\[time batch classes\]"),
        ((torch.zeros(3, 0, 2),), "none of them 0"),
        ((torch.full((3, 2, 2), 0.5),), "0 or 1"),
        ((torch.full((3, 2, 2), torch.nan),), "0 or 1"),
        ((torch.zeros(3, 2, 2), torch.zeros(2, 3, 2)), r"got \[2, 3, 2\]"),
        ((torch.zeros(3, 2, 2), torch.full((3, 2, 2), torch.nan)), "2 of 2 samples are not finite"),
        ((torch.zeros(3, 2, 2), None, "last"), "rule must be"),
        ((torch.zeros(3, 2, 2), None, "first", 2), 'Use rule="count"'),
        ((torch.zeros(3, 2, 2), None, "count", 0), "counts spikes"),
        ((torch.zeros(3, 2, 2), None, "count", 0.95), "whole number"),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        decisions_from_spikes(*arguments)


# -- libraries ------------------------------------------------------------------------------------


def test_output_of_three_libraries_is_read_as_it_comes():
    torch.manual_seed(0)
    current = torch.rand(T, B, C) * 2.0
    leaky, cell, node = snn.Leaky(0.9), LIFCell(dt=0.1), jelly.LIFNode(step_mode="m")
    mem, state, courses = leaky.init_leaky(), None, []
    for x in current:
        z, mem = leaky(x, mem)
        courses.append((z, mem))
    z, v = (torch.stack(part) for part in zip(*courses, strict=True))
    assert (decisions_from_spikes(z, v).label == first_output_spike(z, v).label).all()
    outputs, after = [], []
    for x in current * 10.0:
        z, state = cell(x, state)
        outputs.append(z)
        after.append(state.v)
    z = torch.stack(outputs)
    with pytest.raises(ValueError, match="same at every spike"):  # norse's v is after the reset
        decisions_from_spikes(z, torch.stack(after))
    assert len(decisions_from_spikes(z, current, "count", 2)) == B
    z = node(current)
    assert torch.equal(decisions_from_spikes(z, current, "count").scores, z.sum(0))
