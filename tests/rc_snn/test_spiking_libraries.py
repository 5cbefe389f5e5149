"""The spike tensors inside the real snnTorch and norse, traps included."""

import matplotlib.pyplot as plt
import pytest
import torch
from torch import Tensor

from rc_snn.models import RCLSTM
from rc_snn.runner import decide
from rc_snn.sequences import SpikeSequences
from rc_snn.spikes import Decision, decision_spikes, spike_frames

T, C, B = 6, 10, 300


@pytest.fixture
def answers() -> tuple[Decision, Tensor]:
    """Decisions at all steps, the last one included, some forced, and labels to compare with."""
    g = torch.Generator().manual_seed(0)
    step = torch.randint(T, (B,), generator=g)
    fired = (step < T - 1) | (torch.rand(B, generator=g) < 0.5)
    label = torch.randint(C, (B,), generator=g)
    target = torch.where(torch.rand(B, generator=g) < 0.8, label, (label + 1) % C)
    scores = torch.zeros(B, C)
    return Decision(label, (step + 1).double() / T, step, fired, scores), target


def accuracy(label: Tensor, target: Tensor) -> float:
    return float((label == target).double().mean())


def test_accuracy_temporal_equals_ours_with_one_step_more(answers):
    from snntorch.functional.acc import accuracy_temporal

    decision, target = answers
    z = decision_spikes(decision, T + 1, C, forced="spike")
    assert accuracy_temporal(z, target) == pytest.approx(accuracy(decision.label, target))


def test_accuracy_temporal_reads_silence_and_the_last_step_as_class_zero(answers):
    """The trap that decision_spikes documents; if snnTorch mends it, its docstring must change."""
    from snntorch.functional.acc import accuracy_temporal

    decision, target = answers
    z = decision_spikes(decision, T, C)
    read = torch.where(decision.step < T - 1, decision.label, torch.zeros_like(decision.label))
    assert accuracy_temporal(z, target) == pytest.approx(accuracy(read, target))
    assert accuracy_temporal(z, target) != pytest.approx(accuracy(decision.label, target))


def test_temporal_cross_entropy_reads_our_spike_times(answers):
    from snntorch.functional import ce_temporal_loss

    decision, target = answers
    z = decision_spikes(decision, T + 1, C, forced="spike")
    assert decision.step is not None
    times = torch.full((B, C), float(T))  # silent neurons: the last of T + 1 steps
    times[torch.arange(B), decision.label] = decision.step.float()
    expected = torch.nn.functional.cross_entropy(-times, target)
    torch.testing.assert_close(ce_temporal_loss()(z, target), expected)


def test_raster_draws_one_point_per_spike(answers):
    from snntorch import spikeplot

    decision, _ = answers
    z = decision_spikes(decision, T, C)
    figure, axes = plt.subplots()
    points = spikeplot.raster(z.flatten(1), axes).get_offsets()
    plt.close(figure)
    assert len(points) == int(decision.fired.sum())
    assert sorted(map(tuple, points.astype(int).tolist())) == [
        tuple(row) for row in z.flatten(1).nonzero().tolist()
    ]


def test_a_leaky_layer_consumes_the_spikes(answers):
    import snntorch

    decision, _ = answers
    z = decision_spikes(decision, T, C)
    leaky = snntorch.Leaky(beta=0.5, threshold=10.0)
    mem = leaky.reset_mem()
    for t in range(T):
        spk, mem = leaky(z[t], mem)
        assert spk.sum() == 0
    assert decision.step is not None
    expected = torch.zeros(B, C)
    expected[torch.arange(B), decision.label] = torch.where(
        decision.fired, 0.5 ** (T - 1 - decision.step), 0.0
    )
    torch.testing.assert_close(mem, expected)


def test_norse_reads_our_frames_time_first(answers):
    from norse.torch import LIBoxCell, LIBoxParameters

    steps = torch.randint(T + 1, (4, 7), generator=torch.Generator().manual_seed(1))
    frames = spike_frames(steps, T)
    cell, state = LIBoxCell(LIBoxParameters(tau_mem_inv=torch.as_tensor(100.0)), dt=1e-3), None
    for t in range(T):
        v, state = cell(frames[t], state)
    # A leaky integrator with dt / tau = 0.1 and no rest adds 0.1 per spike and keeps 0.9 per step.
    expected = torch.where(steps < T, 0.1 * 0.9 ** (T - 1 - steps).clamp_min(0), 0.0)
    torch.testing.assert_close(v, expected)


def test_a_networks_own_decisions_reach_snntorch_unchanged():
    from snntorch.functional.acc import accuracy_temporal

    g = torch.Generator().manual_seed(0)
    model = RCLSTM(12, 8, C, generator=g)
    with torch.no_grad():
        model.output.weight.mul_(20.0)
    steps = torch.randint(T + 1, (B, 12), generator=g).to(torch.int16)
    decision = decide(model, SpikeSequences(steps, T), 0.8)
    assert 0 < int(decision.fired.sum()) < B
    target = torch.randint(C, (B,), generator=g)
    z = decision_spikes(decision, T + 1, C, forced="spike")
    assert accuracy_temporal(z, target) == pytest.approx(accuracy(decision.label, target))
