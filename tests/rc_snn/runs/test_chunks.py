"""Chunks of steps, refilled batches, and the rule that chooses lengths, against single steps."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rc_snn import cells, runner
from rc_snn.borders.checks import Form
from rc_snn.checkpoint import digest
from rc_snn.data.packed import pack
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.objective import prefix_loss, rc_loss
from rc_snn.runner import decide, run, run_with_prefix, trace
from rc_snn.runs import chunks as rule
from rc_snn.runs.chunks import Chunks, chooser, chunk_of, fitting, span
from rc_snn.runs.refill import decide_refilled
from rc_snn.sequences import ContextSequences, DenseSequences, Labelled, SpikeSequences
from rc_snn.step_model import StepCost
from rc_snn.training import TrainConfig, train

T, B, K = 7, 30, 4
LENGTHS = ([7], [1, 6], [1, 1, 2, 3], [3, 4], [1] * 7)
CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
    ],
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loud(model, gain: float):
    """Scale the weights so that samples decide at all steps, and some never."""
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.mul_(gain)
    return model


def lstm(n_inputs: int = 12) -> RCLSTM:
    return loud(RCLSTM(n_inputs, 9, K, n_dense=8, generator=generator(0)), 4.5)


def conv(pool: int = 1, channels: tuple[int, ...] = (3,)) -> RCConvLSTM:
    model = RCConvLSTM(
        channels, 3, pool=pool, image_shape=(4, 3), n_classes=K, generator=generator(0)
    )
    return loud(model, 5.0)


def spikes(n: int = B) -> SpikeSequences:
    steps = torch.randint(T + 1, (n, 12), generator=generator(1)).to(torch.int16)
    mean = torch.rand(T, 12, generator=generator(2), dtype=torch.float64)
    return SpikeSequences(steps, T, torch.float64, mean)


def dense(n: int = B) -> DenseSequences:
    return DenseSequences(torch.randn(T, n, 12, generator=generator(3), dtype=torch.float64))


def windows(n: int = B) -> ContextSequences:
    frames = torch.randn(n + 3, T + 2, 4, generator=generator(4), dtype=torch.float64)
    return ContextSequences(frames, 2, torch.randperm(n + 3, generator=generator(5))[:n])


def sparse(n: int = B):
    counts = torch.poisson(torch.full((n, T, 12), 0.4), generator=generator(6))
    return pack([x.numpy() for x in counts.to(torch.uint8)]).sparse()


MODELS = {"lstm": lstm, "conv": conv, "stacked": lambda: conv(1, (3, 2)), "pooled": lambda: conv(2)}
INPUTS = {"spikes": spikes, "dense": dense, "windows": windows, "sparse": sparse}
LIMITS = torch.linspace(0.3, 0.99, B, dtype=torch.float64)


def limit(model, inputs, threshold: str) -> float | Tensor | None:
    """Return a θ that some samples reach soon, or late; one for each; or none."""
    with torch.no_grad():
        p = torch.softmax(trace(model, inputs), dim=2).amax(dim=2).amax(dim=0)
    if threshold == "drawn":
        return torch.linspace(0.3, float(p.max()), B, dtype=torch.float64)
    share = {"early": 0.1, "late": 0.6, "EOS": None}[threshold]
    return None if share is None else float(p.quantile(share))


def labels(n: int = B) -> Tensor:
    return torch.randint(K, (n,), generator=generator(7))


def same(ours, theirs) -> None:
    assert torch.equal(ours.step.cpu(), theirs.step)
    assert torch.equal(ours.fired.cpu(), theirs.fired)
    assert torch.equal(ours.label.cpu(), theirs.label)
    torch.testing.assert_close(ours.scores.cpu(), theirs.scores, rtol=1e-10, atol=1e-10)


def gradients(model, loss: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss.backward()
    return [torch.zeros(()) if p.grad is None else p.grad.cpu() for p in model.parameters()]


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("threshold", ["early", "late", "drawn", "EOS"])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("kind", MODELS)
def test_decisions_and_gradients_are_those_of_single_steps(kind, lengths, threshold, device):
    model, inputs, target = MODELS[kind](), spikes(), labels()
    theta = limit(model, inputs, threshold)
    reference = run(model, inputs, theta, fused=False)
    if theta is not None:
        assert len(reference.decision.step.unique()) > 2  # or the test would say little
    wanted = gradients(model, rc_loss(reference.logits, target, 0.1))
    there = copy.deepcopy(model).to(device)
    found = run(there, inputs.to(device), theta, chunks=lengths)
    same(found.decision, reference.decision)
    for ours, theirs in zip(
        gradients(there, rc_loss(found.logits, target.to(device), 0.1)), wanted, strict=True
    ):
        torch.testing.assert_close(ours, theirs.expand_as(ours), rtol=1e-9, atol=1e-10)


@pytest.fixture
def gates_of_a_gpu(monkeypatch):
    """Put what torch's kernels of an LSTM's gates compute on a GPU in their place on the CPU."""
    used = []

    def forward(fed, back, c, bias_ih=None, bias_hh=None):
        assert fed.shape == back.shape == (len(c), 4 * c.shape[1])
        assert bias_ih is bias_hh is None
        used.append("forward")
        i, f, g, o = (fed + back).chunk(4, 1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        new = f * c + i * g
        return o * new.tanh(), new, torch.cat([i, f, g, o], 1)

    def backward(grad_h, grad_new, c, new, kept, has_bias):
        used.append("backward")
        i, f, g, o = kept.chunk(4, 1)
        zero = torch.zeros_like(c)
        grad_h, grad_new = (zero if x is None else x for x in (grad_h, grad_new))
        inner = grad_new + grad_h * o * (1 - new.tanh() ** 2)
        gates = [
            inner * g * i * (1 - i),
            inner * c * f * (1 - f),
            inner * i * (1 - g**2),
            grad_h * new.tanh() * o * (1 - o),
        ]
        return torch.cat(gates, 1), inner * f, None

    library = torch.library.Library("aten", "IMPL", "CPU")
    library.impl("_thnn_fused_lstm_cell", forward)
    library.impl("_thnn_fused_lstm_cell_backward_impl", backward)
    monkeypatch.setattr(cells, "FUSED_DEVICES", {"cpu"})
    yield used
    library._destroy()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("kind", ["conv", "stacked", "pooled"])
def test_gates_in_one_launch_are_those_of_single_steps(kind, lengths, gates_of_a_gpu):
    model, inputs, target = MODELS[kind](), spikes(), labels()
    theta = limit(model, inputs, "late")
    reference = run(model, inputs, theta, fused=False)
    wanted = gradients(model, rc_loss(reference.logits, target, 0.1))
    found = run(model, inputs, theta, chunks=lengths)
    same(found.decision, reference.decision)
    for ours, theirs in zip(
        gradients(model, rc_loss(found.logits, target, 0.1)), wanted, strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
    launches = T * len(model.layers)
    assert gates_of_a_gpu.count("forward") == launches
    assert 0 < gates_of_a_gpu.count("backward") <= launches


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("kind", INPUTS)
def test_each_kind_of_sequences_shows_a_chunk_what_its_steps_show(kind, lengths):
    model, inputs = lstm(), INPUTS[kind]()
    same(
        run(model, inputs, 0.8, chunks=lengths).decision,
        run(model, inputs, 0.8, fused=False).decision,
    )


@pytest.mark.parametrize("threshold", ["late", "drawn", "EOS"])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("kind", MODELS)
def test_the_prefix_holds_the_steps_up_to_each_spike_and_no_other(kind, lengths, threshold):
    model, inputs, target = MODELS[kind](), spikes(), labels()
    theta = limit(model, inputs, threshold)
    reference = run_with_prefix(model, inputs, theta, fused=False)
    found = run_with_prefix(model, inputs, theta, chunks=lengths)
    same(found.decision, reference.decision)
    if theta is not None:
        assert torch.equal(found.sample, reference.sample)
        torch.testing.assert_close(found.prefix, reference.prefix, rtol=1e-10, atol=1e-10)
    of = [
        gradients(model, rc_loss(x.logits, target, 0.0) + prefix_loss(x.prefix, x.sample, target))
        for x in (reference, found)
    ]
    for theirs, ours in zip(*of, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_a_batch_of_one_and_a_sequence_of_one_step():
    model = lstm()
    one = SpikeSequences(spikes(1).steps.clamp_max(1), 1, torch.float64)
    for inputs, lengths in ((spikes(1), [3, 4]), (one, [1])):
        for theta in (0.01, 0.999999, None):
            same(
                run(model, inputs, theta, chunks=lengths).decision,
                run(model, inputs, theta, fused=False).decision,
            )


def test_all_at_step_0_and_nothing_fires():
    model = lstm()
    for theta, step in ((0.01, 0), (1 - 1e-12, T - 1)):
        decision = run(model, spikes(), theta, chunks=[2, 5]).decision
        assert decision.step.tolist() == B * [step]


def test_what_would_diverge_after_the_spike_is_never_asked_for():
    model, frames = lstm(), dense().frames.clone()
    frames[3:] = torch.finfo(torch.float64).max  # gates overflow: NaN from step 3 on
    with torch.no_grad():
        model.cell.weight_ih.abs_().add_(2.0)
        model.cell.weight_ih[:, ::2] *= -1
    inputs = DenseSequences(frames)
    same(
        run(model, inputs, 0.01, chunks=[7]).decision,
        run(model, inputs, 0.01, fused=False).decision,
    )
    for way in ({"fused": False}, {"chunks": [7]}, {"chunks": [2, 5]}):
        with pytest.raises(ValueError, match="are not finite at step"):
            run(model, inputs, 1 - 1e-12, **way)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 9])
@pytest.mark.parametrize("batch", [1, 4, 29, 30, 100])
@pytest.mark.parametrize("kind", ["spikes", "dense", "windows"])
def test_a_batch_that_is_refilled_gives_the_same_decisions(kind, batch, length, device):
    model, inputs = lstm(), INPUTS[kind]()
    there = copy.deepcopy(model).to(device).eval()
    for theta in (0.8, 1 - 1e-12, None, LIMITS):
        wanted = decide(model, inputs, theta)
        with torch.no_grad():
            same(decide_refilled(there, inputs.to(device), theta, batch, length), wanted)


def test_refill_is_an_option_of_decide_and_says_where_it_cannot_be():
    model = conv()
    same(decide(model, spikes(), 0.7, batch_size=4, refill=True), decide(model, spikes(), 0.7))
    with pytest.raises(ValueError, match="SparseSequences does not show"):
        decide(model, sparse(), 0.7, refill=True)
    with pytest.raises(ValueError, match="Leave out refill"):
        decide(type("Own", (RCLSTM,), {})(12, 9, K).double(), spikes(), 0.7, refill=True)

    broken = lstm()
    broken.output.bias.data[0] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        decide(broken, spikes(), 0.7, refill=True)
    for size in (0, -1, 1.5, True):
        with pytest.raises((ValueError, TypeError), match="batch_size"):
            decide(model, spikes(), 0.7, batch_size=size)


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("kind", MODELS)
def test_where_a_call_is_a_launch_runs_choose_chunks_by_themselves(kind, make, monkeypatch):
    """On the CPU, made to choose chunks as on a GPU."""
    model, inputs = MODELS[kind](), make()
    wanted = trace(model, inputs), [decide(model, inputs, theta) for theta in (0.7, None)]
    for module in (rule, runner):
        monkeypatch.setattr(module, "chunked_by_itself", lambda model: True)
    torch.testing.assert_close(trace(model, inputs), wanted[0], rtol=1e-10, atol=1e-10)
    for theta, decision in zip((0.7, None), wanted[1], strict=True):
        same(decide(model, inputs, theta, batch_size=B), decision)
        same(run(model, inputs, theta).decision, decision)


def test_chunks_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"sum to the 7 steps of the sequences, got \[1, 7\]"):
        run(lstm(), spikes(), 0.9, chunks=[1, 7])
    with pytest.raises(ValueError, match="Each length of a chunk"):
        run(lstm(), spikes(), 0.9, chunks=[0, 7])
    hooked = lstm()
    hooked.cell.register_forward_hook(lambda *_: None)
    for model in (hooked, type("Own", (RCLSTM,), {})(12, 9, K).double()):
        assert chunk_of(model) is None
        with pytest.raises(ValueError, match="does not advance by chunks here"):
            run(model, spikes(), 0.9, chunks=[7])


def test_inputs_on_another_device_than_the_weights_are_refused():
    there = lstm().to("meta")
    with pytest.raises(ValueError, match=r"on meta, its inputs on cpu. Move them: inputs.to\("):
        span(there, spikes(), 0, T)
    with pytest.raises(ValueError, match="on meta, its inputs on cpu"):
        Form.of(there).read(spikes().at(0))


def seconds(lengths, shares, n, cost, training) -> float:
    """The rule's sum, slowly."""
    total, a = 0.0, 0
    for length in lengths:
        there = n * shares[a]
        step = (3 if training else 1) * there * (cost.input + cost.recurrent) / rule.RATE
        reached = min(1.0, there)
        total += reached * (length * max(rule.LATENCY, step))
        total += reached * (rule.BOUNDARY[training] if a else 0.0)
        a += length
    return total


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n", [1, 128, 8_192, 10**6])
def test_the_rule_finds_the_cheapest_of_all_ways_to_cut_a_sequence(n, training):
    cost, n_steps = StepCost(1_000_000, 0, 400_000, 10, torch.ones(1)), 9
    for undecided in ([900, 500, 300, 0], 9 * [1000], [0], [1000, 1000, 20, 20, 20, 20, 20, 20, 3]):
        chunks = Chunks(cost, n_steps, training)
        chunks.note(undecided, 1000)
        shares = [1.0, *(x / 1000 for x in undecided), *(n_steps * [0.0])][:n_steps]
        ways = [
            [b - a for a, b in itertools.pairwise((0, *cut, n_steps))]
            for k in range(n_steps)
            for cut in itertools.combinations(range(1, n_steps), k)
        ]
        found = chunks.lengths(n)
        assert sum(found) == n_steps
        best = min(seconds(way, shares, n, cost, training) for way in ways)
        assert seconds(found, shares, n, cost, training) == pytest.approx(best, rel=1e-12)


def test_the_rule_follows_the_last_runs_and_forgets_older_ones():
    chunks = Chunks(RCLSTM().cost(), 10, training=True)
    assert sum(chunks.lengths(8)) == 10
    model, inputs = loud(RCLSTM(12, 9, K, generator=generator(0)), 3.0), spikes()
    own = Chunks(model.cost(), T, training=True)
    step = run(model, inputs, 0.8, chunks=own).decision.step
    undecided = [int((step > t).sum()) for t in range(T)]
    told = Chunks(model.cost(), T, training=True)
    told.note(undecided, B)
    assert own.lengths(10**7) == told.lengths(10**7)
    for _ in range(rule.MEMORY):
        told.note([0], B)
    assert told.lengths(10**7)[0] == 1  # all at step 0: the rest of a chunk would be for nobody


def test_on_the_cpu_runs_are_single_steps_in_batches_that_fit_the_cache():
    assert chooser(lstm(), T, training=True) is None
    assert fitting(lstm(), T) == 250


@pytest.mark.parametrize("kind", INPUTS)
def test_a_span_shows_each_sequence_its_own_steps_and_stays_at_the_last(kind):
    model, inputs = lstm(), INPUTS[kind]()
    whole = torch.stack([inputs.at(t).double() for t in range(T)])
    torch.testing.assert_close(span(model, inputs, 2, 3), whole[2:5])
    if kind != "sparse":
        first = torch.randint(T, (B,), generator=generator(8))
        at = (first + torch.arange(4)[:, None]).clamp_max(T - 1)
        torch.testing.assert_close(span(model, inputs, first, 4), whole[at, torch.arange(B)])


def test_a_training_by_chunks_resumes_bit_by_bit(tmp_path, monkeypatch):
    """On the CPU, made to choose chunks as on a GPU; a resumed epoch chooses as the first did."""
    monkeypatch.setattr(rule, "chunked_by_itself", lambda model: True)
    data = Labelled(spikes(), labels())

    def trained(folder: Path, *epochs: int) -> str:
        for n in epochs:
            model = RCLSTM(12, 9, K, dropout=0.2, generator=generator(0)).double()
            config = TrainConfig(epochs=n, batch_size=8, lr=1e-2, theta=0.5, beta=0.0)
            train(model, data, data, config, folder)
        return digest(model.state_dict())

    assert trained(tmp_path / "once", 3) == trained(tmp_path / "twice", 1, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu_memory_of_a_step_that_ends_at_step_0_is_that_of_one_step():
    peaks = []
    for n_steps in (10, 100):
        model = RCLSTM(784, 340, 10).cuda()
        steps = torch.randint(n_steps + 1, (1024, 784), generator=generator(0)).to(torch.int16)
        inputs = SpikeSequences(steps.cuda(), n_steps)
        chunks = chooser(model, n_steps, training=True)
        for _ in range(3):
            torch.cuda.reset_peak_memory_stats()
            run(model, inputs, 0.01, chunks=chunks).logits.sum().backward()
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 1.05 * peaks[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu_a_trace_and_decisions_in_float32_are_the_cpus_within_rounding():
    model = RCLSTM(12, 9, K, generator=generator(0))
    inputs = SpikeSequences(spikes().steps, T)
    there = copy.deepcopy(model).cuda()
    torch.testing.assert_close(
        trace(there, inputs.to("cuda")).cpu(), trace(model, inputs), rtol=1e-3, atol=1e-4
    )
