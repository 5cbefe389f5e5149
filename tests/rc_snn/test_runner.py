"""The runner against the full-length definition: same answers, same gradients, less work."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.machine import bytes_for_backward
from rc_snn import exits
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.objective import rc_loss
from rc_snn.regimes import decision_macs, training_macs
from rc_snn.runner import StreamingRunner, decide, run, trace
from rc_snn.sequences import ContextSequences, DenseSequences, SpikeSequences
from rc_snn.spikes import first_spike, spike_frames

T, B, N, H, K = 6, 40, 12, 9, 4


def spikes(seed: int, n: int = B, inputs: int = N, n_steps: int = T) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(n_steps + 1, (n, inputs), generator=generator).to(torch.int16)


def labels(seed: int, n: int = B, classes: int = K) -> Tensor:
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


def make_loud(model: RCLSTM | RCConvLSTM, gain: float) -> None:
    """Scale the weights so that samples decide at all steps, and some never."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)


def lstm(seed: int) -> RCLSTM:
    generator = torch.Generator().manual_seed(seed)
    model = RCLSTM(N, H, K, generator=generator).double()
    make_loud(model, 4.0)
    return model


def conv(seed: int, *, pool: int = 1, channels: tuple[int, ...] = (3,)) -> RCConvLSTM:
    generator = torch.Generator().manual_seed(seed)
    model = RCConvLSTM(
        channels, 3, pool=pool, image_shape=(4, 3), n_classes=K, generator=generator
    ).double()
    make_loud(model, 5.0)
    return model


def reference_lstm(
    model: RCLSTM, x: Tensor, theta: float
) -> tuple[Tensor, Tensor, nn.LSTM, nn.Linear]:
    """Full-length dense network: nn.LSTM over all steps, then gather at the first spike."""
    dense, output = nn.LSTM(N, H).double(), nn.Linear(H, K).double()
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(dense, f"{name}_l0").copy_(getattr(model.cell, name))
        output.weight.copy_(model.output.weight)
        output.bias.copy_(model.output.bias)
    logits = output(dense(x)[0])
    step, _ = first_spike(torch.softmax(logits, dim=-1).detach(), theta)
    return logits[step, torch.arange(x.shape[1])], step, dense, output


@pytest.mark.parametrize(("seed", "theta"), [(0, 0.8), (1, 0.5), (2, 0.8), (4, 0.5)])
def test_logits_and_all_gradients_equal_those_of_the_full_length_dense_lstm(seed, theta):
    model, steps, target = lstm(seed), spikes(seed), labels(seed)
    inputs = SpikeSequences(steps, T, dtype=torch.float64)
    decision, logits = run(model, inputs, theta)
    rc_loss(logits, target, 0.1).backward()

    dense_logits, step, dense, output = reference_lstm(
        model, spike_frames(steps, T).double(), theta
    )
    rc_loss(dense_logits, target, 0.1).backward()

    assert step.unique().tolist() == list(range(T)), "the case must have decisions at every step"
    assert not decision.fired.all(), "and samples that never fire"
    assert torch.equal(decision.step, step)
    torch.testing.assert_close(logits, dense_logits, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        decision.scores, torch.softmax(dense_logits, dim=1).detach(), rtol=1e-9, atol=1e-12
    )
    pairs = [
        (model.cell.weight_ih, dense.weight_ih_l0),
        (model.cell.weight_hh, dense.weight_hh_l0),
        (model.cell.bias_ih, dense.bias_ih_l0),
        (model.cell.bias_hh, dense.bias_hh_l0),
        (model.output.weight, output.weight),
        (model.output.bias, output.bias),
    ]
    for ours, theirs in pairs:
        assert theirs.grad.abs().max() > 0
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)


def dense_reference(model: RCConvLSTM, x: Tensor, theta: float) -> tuple[Tensor, Tensor]:
    """Every step of every sample, zero state written out, gates one by one; then gather."""
    states = [
        (torch.zeros(B, c.weight_hh.shape[1], *g).double(),) * 2
        for c, g in zip(model.layers, model.grids, strict=True)
    ]
    logits = []
    for x_t in x:
        a = x_t.view(B, 1, *model.image_shape)
        for i, cell in enumerate(model.layers):
            h, c = states[i]
            pad = cell.weight_ih.shape[-1] // 2
            gates = nn.functional.conv2d(
                torch.cat([a, h], dim=1),
                torch.cat([cell.weight_ih, cell.weight_hh], dim=1),
                cell.bias,
                padding=pad,
            )
            n = gates.shape[1] // 4
            i_gate, f_gate = gates[:, :n].sigmoid(), gates[:, n : 2 * n].sigmoid()
            g_gate, o_gate = gates[:, 2 * n : 3 * n].tanh(), gates[:, 3 * n :].sigmoid()
            c = f_gate * c + i_gate * g_gate
            h = o_gate * c.tanh()
            states[i] = (h, c)
            a = nn.functional.max_pool2d(h, model.pool) if model.pool > 1 else h
        logits.append(model.output(a.permute(0, 2, 3, 1).flatten(1)))
    stacked = torch.stack(logits)
    step, _ = first_spike(torch.softmax(stacked, dim=-1).detach(), theta)
    return stacked[step, torch.arange(B)], step


@pytest.mark.parametrize(
    ("pool", "channels", "theta"), [(1, (3,), 0.55), (1, (3, 2), 0.7), (2, (3,), 0.6)]
)
def test_convlstm_equals_its_full_length_dense_reference(pool, channels, theta):
    model = conv(1, pool=pool, channels=channels)
    steps, target = spikes(3), labels(3)
    decision, logits = run(model, SpikeSequences(steps, T, dtype=torch.float64), theta)
    rc_loss(logits, target, 0.1).backward()
    twin = copy.deepcopy(model)
    twin.zero_grad()
    dense_logits, step = dense_reference(twin, spike_frames(steps, T).double(), theta)
    rc_loss(dense_logits, target, 0.1).backward()
    assert len(step.unique()) > 2
    assert torch.equal(decision.step, step)
    torch.testing.assert_close(logits, dense_logits, rtol=1e-9, atol=1e-12)
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12, msg=name)


def cases() -> list[tuple[RCLSTM | RCConvLSTM, float]]:
    """Models with a threshold at which their samples decide at many steps."""
    return [
        (lstm(0), 0.8),
        (conv(1), 0.55),
        (conv(2, channels=(3, 2)), 0.4),
        (conv(3, pool=2), 0.6),
    ]


@pytest.mark.parametrize("index", range(4))
def test_multiply_adds_that_were_executed_equal_the_account(index):
    """torch's own counter sees every product of both passes; regimes.py predicts the number.

    On the reference path: the fast path does less than the dense products that the account names.
    """
    (model, theta), inputs = cases()[index], SpikeSequences(spikes(5), T, dtype=torch.float64)
    with torch.no_grad(), FlopCounterMode(display=False) as inference:
        decision = run(model, inputs, theta, fused=False).decision
    assert len(decision.step.unique()) > 2
    assert inference.get_total_flops() == 2 * int(decision_macs(decision.step, model.cost()).sum())
    with FlopCounterMode(display=False) as training:
        decision, logits = run(model, inputs, theta, fused=False)
        rc_loss(logits, labels(5)).backward()
    assert training.get_total_flops() == 2 * int(training_macs(decision.step, model.cost()).sum())


def test_memory_does_not_grow_with_the_steps_that_were_skipped():
    model = lstm(0)

    def kept(n_steps: int, theta: float) -> int:
        return bytes_for_backward(model, SpikeSequences(spikes(0), n_steps, torch.float64), theta)

    assert kept(10, 0.2) == kept(500, 0.2)
    assert kept(500, 0.999999) > 40 * kept(10, 0.999999)


@pytest.mark.parametrize("index", range(4))
def test_streaming_one_step_at_a_time_gives_the_same_decision(index):
    (model, theta), steps = cases()[index], spikes(7)
    together = decide(model, SpikeSequences(steps, T, dtype=torch.float64), theta)
    stream = StreamingRunner(model, theta, T)
    for i in range(B):
        stream.reset()
        frames = spike_frames(steps[i], T).double()
        decision = None
        for t in range(T):
            assert decision is None
            decision = stream.step(frames[t])
            if decision is not None:
                break
        assert decision is not None
        assert decision.step.item() == together.step[i].item()
        assert decision.label.item() == together.label[i].item()
        assert decision.fired.item() == together.fired[i].item()
        torch.testing.assert_close(decision.scores[0], together.scores[i])


def test_a_decided_stream_refuses_more_input_until_it_is_reset():
    stream = StreamingRunner(RCLSTM(N, H, K), 0.1, T)
    assert stream.step(torch.zeros(N)) is not None
    with pytest.raises(RuntimeError, match=r"decided at step 0; call reset"):
        stream.step(torch.zeros(N))
    stream.reset()
    assert stream.step(torch.zeros(N)) is not None


def test_decisions_do_not_depend_on_the_company_in_the_batch():
    model, inputs = lstm(2), SpikeSequences(spikes(2), T, dtype=torch.float64)
    whole = decide(model, inputs, 0.8)
    for batch_size in (1, 7, B):
        parts = decide(model, inputs, 0.8, batch_size=batch_size)
        assert torch.equal(parts.step, whole.step)
        assert torch.equal(parts.label, whole.label)
    order = torch.randperm(B, generator=torch.Generator().manual_seed(0))
    shuffled = decide(model, inputs.rows(order), 0.8)
    assert torch.equal(shuffled.step, whole.step[order])
    torch.testing.assert_close(shuffled.scores, whole.scores[order])


def test_spike_input_equals_the_same_input_given_densely():
    model, steps = lstm(3), spikes(3)
    sparse = decide(model, SpikeSequences(steps, T, dtype=torch.float64), 0.6)
    dense = decide(model, DenseSequences(spike_frames(steps, T).double()), 0.6)
    assert torch.equal(sparse.step, dense.step)
    torch.testing.assert_close(sparse.scores, dense.scores)


def test_end_of_sequence_runs_to_the_last_step_and_nothing_fires():
    model, inputs = lstm(4), SpikeSequences(spikes(4), T, dtype=torch.float64)
    decision = decide(model, inputs, None)
    assert (decision.step == T - 1).all()
    assert not decision.fired.any()
    torch.testing.assert_close(decision.time, torch.ones(B, dtype=torch.float64))


def test_a_single_sample_and_a_single_step_work():
    model = lstm(5)
    decision, logits = run(model, SpikeSequences(spikes(5)[:1], T, torch.float64), 0.6)
    assert logits.shape == (1, K)
    one = decide(model, SpikeSequences(spikes(5, n_steps=1), 1, torch.float64), 0.999999)
    assert (one.step == 0).all()
    assert len(decision) == 1


def test_crossing_at_the_last_step_counts_as_fired():
    decision = decide(lstm(0), SpikeSequences(spikes(0), T, dtype=torch.float64), 0.8)
    at_end = decision.step == T - 1
    crossed = decision.scores.amax(dim=1) >= 0.8
    assert torch.equal(decision.fired, crossed)
    assert (at_end & crossed).any()
    assert (at_end & ~crossed).any(), "the case must hold both"


def test_a_probability_equal_to_theta_fires_in_every_runner():
    model = RCLSTM(1, 3, 2)
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.zero_()  # both classes have probability 0.5, exactly
    for theta, step in ((0.5, 0), (0.5000001, 3)):
        decision = decide(model, DenseSequences(torch.zeros(4, 1, 1)), theta)
        assert (decision.step.item(), decision.fired.item()) == (step, step == 0)
        stream = StreamingRunner(model, theta, 4)
        assert (stream.step(torch.zeros(1)) is not None) == (step == 0)


def test_sigmoid_read_out_fires_above_theta_and_below_one_minus_theta():
    model = RCLSTM(1, 3, 2, read_out="sigmoid")
    with torch.no_grad():
        model.output.weight.zero_()
        for z, label, fired in ((3.0, 1, True), (-3.0, 0, True), (1.0, 1, False)):
            model.output.bias.fill_(z)
            decision = decide(model, DenseSequences(torch.zeros(4, 1, 1)), 0.95)
            assert (decision.label.item(), decision.fired.item()) == (label, fired)
            torch.testing.assert_close(decision.scores[0, 1].item(), 1 / (1 + math.exp(-z)))
            assert decision.step.item() == (0 if fired else 3)


def test_logits_that_are_not_finite_stop_the_run():
    model = lstm(0)
    with torch.no_grad():
        model.output.bias[1] = math.nan
    with pytest.raises(ValueError, match=r"40 of 40 samples are not finite at step 0"):
        run(model, SpikeSequences(spikes(0), T, torch.float64), 0.6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_logit_that_is_not_finite_is_enough(value):
    class Broken(RCLSTM):
        def read_out(self, features):
            logits = super().read_out(features)
            logits[7, 2] = value
            return logits

    with pytest.raises(ValueError, match=r"1 of 40 samples are not finite at step 0"):
        run(Broken(N, H, K), SpikeSequences(spikes(0), T), 0.9)


@pytest.mark.parametrize("method", [run, decide, trace])
def test_the_fast_path_is_taken_unless_it_is_refused(method, monkeypatch):
    model, taken = lstm(0), []
    fused = model.fused
    monkeypatch.setattr(RCLSTM, "fused", lambda self: taken.append(self) or fused())
    asked = {} if method is trace else {"theta": 0.9}
    method(model, SpikeSequences(spikes(0), T), **asked)
    assert taken == [model]
    if method is not decide:
        method(model, SpikeSequences(spikes(0), T), **asked, fused=False)
        assert taken == [model]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("fused", "grad"), [(True, False), (False, False), (False, True)])
def test_a_weight_that_is_not_finite_is_refused_though_no_spike_meets_it(value, fused, grad):
    model, steps = lstm(0), spikes(0)
    steps[:, 3] = T  # this input never spikes
    with torch.no_grad():
        model.cell.weight_ih[:, 3] = value
    with torch.set_grad_enabled(grad), pytest.raises(ValueError, match="finite"):
        run(model, SpikeSequences(steps, T), 0.9, fused=fused)


def test_logits_whose_sum_is_beyond_float32_are_finite_all_the_same():
    class Loud(RCLSTM):
        def read_out(self, features):
            return super().read_out(features) + 3e38

    assert run(Loud(N, H, K), SpikeSequences(spikes(0), T), None).logits.isfinite().all()


def test_empty_batches_and_bad_thresholds_are_refused():
    empty = SpikeSequences(torch.zeros(0, N, dtype=torch.int16), T)
    with pytest.raises(ValueError, match="batch is empty"):
        run(lstm(0), empty, 0.6)
    with pytest.raises(ValueError, match="no sequences"):
        decide(lstm(0), empty, 0.6)
    with pytest.raises(ValueError, match=r"theta must be in \(0, 1\), got 1.0"):
        run(lstm(0), SpikeSequences(spikes(0), T, torch.float64), 1.0)
    with pytest.raises(ValueError, match="n_steps must be in"):
        SpikeSequences(spikes(0), 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("index", range(4))
def test_cuda_gives_the_decisions_and_gradients_of_the_cpu(index):
    (model, theta), inputs = cases()[index], SpikeSequences(spikes(5), T, dtype=torch.float64)
    there = copy.deepcopy(model).cuda()
    decision, logits = run(model, inputs, theta)
    rc_loss(logits, labels(5)).backward()
    cuda_decision, cuda_logits = run(there, inputs.to("cuda"), theta)
    rc_loss(cuda_logits, labels(5).cuda()).backward()
    assert torch.equal(decision.step, cuda_decision.to("cpu").step)
    for ours, theirs in zip(model.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad.cpu(), rtol=1e-9, atol=1e-12)


def test_building_a_model_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    first, second = RCLSTM(), RCConvLSTM((4,))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.cell.weight_ih, RCLSTM().cell.weight_ih)
    other = RCLSTM(generator=torch.Generator().manual_seed(1))
    assert not torch.equal(first.cell.weight_ih, other.cell.weight_ih)
    assert torch.equal(second.output.bias, RCConvLSTM((4,)).output.bias)


def test_forget_bias_is_added_to_the_forget_gate_only():
    plain, remembering = RCLSTM(N, H, K), RCLSTM(N, H, K, forget_bias=2.0)
    difference = remembering.cell.bias_ih - plain.cell.bias_ih
    expected = torch.zeros(4 * H)
    expected[H : 2 * H] = 2.0
    torch.testing.assert_close(difference.detach(), expected)


def test_models_that_cannot_be_are_refused(as_user):
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        RCConvLSTM((4,), 4)
    with pytest.raises(ValueError, match="at least one layer"):
        RCConvLSTM(())
    with pytest.raises(ValueError, match="grid left to read"):
        RCConvLSTM((2, 2, 2), pool=6)
    with pytest.raises(ValueError, match="exactly two classes, got 10"):
        RCLSTM(read_out="sigmoid")
    with pytest.raises(ValueError, match='"softmax" or "sigmoid"'):
        RCLSTM(read_out="hardmax")


class Foreign:
    """Sequences that know nothing but the contract."""

    def __init__(self, frames: Tensor) -> None:
        self.frames, self.n_steps = frames, len(frames)

    def __len__(self) -> int:
        return self.frames.shape[1]

    def at(self, step: int) -> Tensor:
        return self.frames[step]

    def rows(self, index: Tensor) -> "Foreign":
        return Foreign(self.frames[:, index])


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("n_read", [1, N - 1, N + 1, 2 * N, 50 * N])
@pytest.mark.parametrize("make", [lstm, conv])
def test_sequences_of_another_size_are_refused_before_compiled_code_sees_them(make, n_read, fused):
    steps, model = spikes(0, inputs=n_read), make(0)
    frames = spike_frames(steps, T).double()
    window = ContextSequences(torch.zeros(B, T + 1, n_read, dtype=torch.float64), context=1)
    for inputs, size in (
        (SpikeSequences(steps, T, dtype=torch.float64), n_read),
        (DenseSequences(frames), n_read),
        (Foreign(frames), n_read),
        (window, 2 * n_read),
    ):
        for call in (
            lambda x: run(model, x, 0.9, fused=fused),
            lambda x: trace(model, x, fused=fused),
            lambda x: decide(model, x, 0.9),
        ):
            with pytest.raises(ValueError, match=f"reads {N} inputs per step, got .* of {size}"):
                call(inputs)
    with pytest.raises(ValueError, match=f"reads {N} inputs per step, got sequences of {n_read}"):
        StreamingRunner(model, 0.9, T).step(frames[0, 0])


def test_an_image_counts_as_its_pixels():
    model, frames = conv(0), spike_frames(spikes(0), T).double()
    image = frames.view(T, B, 1, 4, 3)
    for inputs in (DenseSequences(image), Foreign(image)):
        assert torch.equal(decide(model, inputs, 0.9).step, decide_flat(model, frames))


def decide_flat(model: RCConvLSTM, frames: Tensor) -> Tensor:
    step = decide(model, DenseSequences(frames), 0.9).step
    assert step is not None
    return step


@pytest.mark.parametrize("batch_size", [1, 7, B, 1_000])
@pytest.mark.parametrize("make", [lstm, conv])
def test_a_trace_in_batches_is_the_whole_trace_and_makes_the_decisions_of_decide(make, batch_size):
    model, inputs = make(1), SpikeSequences(spikes(1), T, dtype=torch.float64)
    in_batches = trace(model, inputs, batch_size=batch_size)
    torch.testing.assert_close(in_batches, trace(model, inputs), rtol=1e-9, atol=1e-12)
    found = exits.exit_at(exits.confidence(in_batches.detach()), in_batches.detach(), 0.5)
    want = decide(model, inputs, 0.5)
    assert want.step.unique().numel() > 2, "the case must have decisions at several steps"
    for name in ("step", "label", "fired", "time"):
        assert torch.equal(getattr(found, name), getattr(want, name)), name


def test_a_trace_of_one_sequence_is_its_part_of_the_trace_of_all_and_one_of_none_is_refused():
    model, steps = lstm(0), spikes(0)
    whole = trace(model, SpikeSequences(steps, T))
    one = trace(model, SpikeSequences(steps[:1], T))
    torch.testing.assert_close(one, whole[:, :1], rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="batch is empty"):
        trace(model, SpikeSequences(steps[:0], T))


def test_a_trace_is_evaluated_without_dropout_unless_training_is_asked_for():
    model, inputs = RCLSTM(N, H, K, dropout=0.5).double().train(), SpikeSequences(spikes(0), T)
    evaluated = trace(model, inputs)
    assert torch.equal(trace(model, inputs), evaluated)
    assert torch.equal(trace(model.eval(), inputs), evaluated)
    drawn = trace(model.train(), inputs, training=True)
    assert not torch.equal(drawn, evaluated)
    assert model.training


@pytest.mark.parametrize("method", [trace, run, decide])
def test_what_is_no_sequence_and_another_image_are_refused(method, as_user):
    asked = {} if method is trace else {"theta": 0.9}
    with pytest.raises(TypeError, match="Sequences are needed"):
        method(lstm(0), torch.zeros(T, B, N), **asked)
    turned = DenseSequences(torch.zeros(T, B, 3, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"reads images \[4, 3"):
        method(conv(0), turned, **asked)


def test_a_run_drops_features_where_autograd_records_and_in_training_only():
    model, inputs = RCLSTM(N, H, K, dropout=0.5).double().train(), SpikeSequences(spikes(0), T)
    drawn = [run(model, inputs, 0.999).logits for _ in range(2)]
    assert not torch.equal(*drawn)
    assert model.training
    with torch.no_grad():
        found = [run(model, inputs, 0.999).logits for _ in range(2)]
    assert torch.equal(*found)
    assert model.training
    assert torch.equal(run(model.eval(), inputs, 0.999).logits, found[0])


@pytest.mark.parametrize("method", [trace, run, decide])
def test_what_is_no_step_model_is_refused(method, as_user):
    asked = {} if method is trace else {"theta": 0.9}
    with pytest.raises(TypeError, match=r"Linear.*n_classes"):
        method(nn.Linear(N, K), SpikeSequences(spikes(0), T), **asked)


def test_what_a_refilled_batch_would_read_is_looked_at_as_any():
    wide = SpikeSequences(spikes(0, inputs=N + 1), T, dtype=torch.float64)
    with pytest.raises(ValueError, match=f"reads {N} inputs per step, got .* of {N + 1}"):
        decide(lstm(0), wide, 0.9, refill=True)


@pytest.mark.parametrize("method", [trace, decide])
def test_a_batch_of_no_sequence_at_a_time_is_refused(method, as_user):
    asked = {} if method is trace else {"theta": 0.9}
    for size in (0, -1, 2.5):
        with pytest.raises(ValueError, match="batch_size must be"):
            method(lstm(0), SpikeSequences(spikes(0), T), batch_size=size, **asked)
