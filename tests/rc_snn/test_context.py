"""Windows of frames against windows laid out one by one, and the trace against the run."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rc_snn.models import RCLSTM
from rc_snn.regimes import training_macs
from rc_snn.runner import StreamingRunner, decide, run, trace
from rc_snn.sequences import ContextSequences, DenseSequences
from rc_snn.spikes import first_spike

N, FRAMES, CHANNELS, CONTEXT = 30, 11, 3, 4
T = FRAMES - CONTEXT


def frames(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, FRAMES, CHANNELS, generator=generator, dtype=torch.float64)


def network() -> RCLSTM:
    """A network whose samples decide at all steps."""
    generator = torch.Generator().manual_seed(3)
    model = RCLSTM(CHANNELS * (CONTEXT + 1), 8, 5, n_dense=6, generator=generator).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model


def laid_out(x: Tensor) -> Tensor:
    """Return all windows the slow way, `[time, batch, inputs]`."""
    return torch.stack(
        [
            torch.stack([torch.cat(list(one[t : t + CONTEXT + 1])) for one in x])
            for t in range(len(x[0]) - CONTEXT)
        ]
    )


def test_each_step_reads_its_window():
    x = frames()
    sequences = ContextSequences(x, CONTEXT)
    assert (sequences.n_steps, len(sequences)) == (T, N)
    assert torch.equal(torch.stack([sequences.at(t) for t in range(T)]), laid_out(x))


def test_rows_of_rows_are_those_of_the_windows_laid_out():
    x, index = frames(), torch.tensor([4, 4, 29, 0, 7])
    sequences = ContextSequences(x, CONTEXT).rows(index).rows(torch.tensor([2, 1]))
    assert len(sequences) == 2
    for t in (0, T - 1):
        assert torch.equal(sequences.at(t), laid_out(x)[t, [29, 4]])


def test_without_context_a_step_is_a_frame():
    x = frames()
    assert torch.equal(ContextSequences(x, 0).at(FRAMES - 1), x[:, -1])


@pytest.mark.parametrize("context", [-1, FRAMES])
@pytest.mark.usefixtures("as_user")
def test_a_window_that_does_not_fit_is_refused(context):
    with pytest.raises(ValueError, match=rf"context \+ 1 = {context + 1} frames"):
        ContextSequences(frames(), context)


@pytest.mark.parametrize("theta", [None, 0.6])
def test_a_run_reads_windows_as_it_reads_dense_sequences(theta):
    model, x = network(), frames()
    ours = run(model, ContextSequences(x, CONTEXT), theta)
    theirs = run(model, DenseSequences(laid_out(x)), theta)
    assert torch.equal(ours.decision.step, theirs.decision.step)
    assert theta is None or len(ours.decision.step.unique()) > 3
    torch.testing.assert_close(ours.logits, theirs.logits)


@pytest.mark.parametrize("fused", [True, False])
def test_the_first_crossing_of_the_trace_is_the_decision_of_the_run(fused):
    model, x = network(), ContextSequences(frames(), CONTEXT)
    logits = trace(model, x, fused=fused)
    found = first_spike(torch.softmax(logits, dim=2), 0.6)
    decision = decide(model, x, 0.6)
    assert torch.equal(found.step, decision.step)
    assert torch.equal(found.fired, decision.fired)
    at_spike = logits[found.step, torch.arange(N)]
    torch.testing.assert_close(torch.softmax(at_spike, dim=1), decision.scores)


def test_gradients_of_a_trace_are_those_of_torchs_lstm():
    model, x = network(), ContextSequences(frames(), CONTEXT)
    lstm = nn.LSTM(model.n_inputs, model.n_hidden).double()
    with torch.no_grad():
        for name, parameter in model.cell.named_parameters():
            getattr(lstm, f"{name}_l0").copy_(parameter)
    weight = torch.randn(T, N, 5, generator=torch.Generator().manual_seed(1)).double()
    (trace(model, x) * weight).sum().backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    (
        model.read_out(lstm(laid_out(x.frames))[0].flatten(0, 1)).view(T, N, 5) * weight
    ).sum().backward()
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        torch.testing.assert_close(ours[f"cell.{name}"], getattr(lstm, f"{name}_l0").grad)
    for name in ("dense.weight", "dense.bias", "output.weight", "output.bias"):
        torch.testing.assert_close(ours[name], model.get_parameter(name).grad)


def test_an_empty_trace_is_refused():
    x = ContextSequences(frames(), CONTEXT).rows(torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match=r"The batch is empty; a trace needs"):
        trace(network(), x)


def test_a_stream_of_windows_decides_as_the_run_does():
    model, x = network(), ContextSequences(frames(), CONTEXT)
    batch = decide(model, x, 0.6)
    for i in range(5):
        stream = StreamingRunner(model, 0.6, T)
        for t in range(T):
            if stream.step(x.at(t)[i]) is not None:
                break
        assert stream.decision.step.item() == batch.step[i].item()
        assert stream.decision.label.item() == batch.label[i].item()


def test_the_rectified_layer_is_part_of_the_read_outs_cost():
    cost = network().cost()
    assert cost.read_out == 8 * 6 + 6 * 5
    assert training_macs(torch.tensor([0]), cost) == (
        cost.input + cost.read_out * 2 + cost.input + 2 * cost.read_out
    )


def test_moving_sequences_keeps_their_rows():
    x = ContextSequences(frames(), CONTEXT).rows(torch.tensor([3, 1])).to("cpu")
    assert torch.equal(x.at(0), laid_out(frames())[0, [3, 1]])
    assert replace(x, index=None).at(0).shape == (N, 15)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_decisions_of_the_cpu():
    model, x = network(), ContextSequences(frames(), CONTEXT).rows(torch.arange(20))
    here = decide(model, x, 0.6)
    there = decide(model.cuda(), x.to("cuda"), 0.6)
    assert torch.equal(here.step, there.step.cpu())
    assert torch.equal(here.label, there.label.cpu())
