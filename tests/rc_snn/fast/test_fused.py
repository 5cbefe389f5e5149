"""The fast path against the reference path: same decisions, logits, gradients, and training."""

import copy
import math
from dataclasses import replace
from typing import TypeAlias

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from encoders.mnist import Split, embedded_digits
from encoders.temporal_mnist import latency_sequences, take
from rc_snn.cells import LSTMCell
from rc_snn.models import RCLSTM, Dropout, RCConvLSTM
from rc_snn.objective import rc_loss
from rc_snn.runner import Answer, decide, run
from rc_snn.sequences import ContextSequences, DenseSequences, Labelled, Sequences, SpikeSequences
from rc_snn.spikes import spike_frames
from rc_snn.training import TrainConfig, evaluate, train

Model: TypeAlias = RCLSTM | RCConvLSTM
T, K, F64 = 6, 4, torch.float64


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loud(model: Model, gain: float) -> Model:
    """Scale the weights, so that samples leave at every step and some never fire."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)
    return model


def lstm() -> Model:
    return loud(RCLSTM(12, 9, K, generator=generator(3)), 4.0)


def conv() -> Model:
    return loud(RCConvLSTM((3,), 3, image_shape=(4, 3), n_classes=K, generator=generator(2)), 8.0)


def deep() -> Model:
    model = RCConvLSTM((4, 3), 3, pool=2, image_shape=(6, 4), n_classes=K, generator=generator(4))
    return loud(model, 10.0)


CASES = {"lstm": (lstm, 3, 70, 0.45), "conv": (conv, 2, 30, 0.55), "deep": (deep, 4, 60, 0.65)}
"""A model, the seed of its spikes, the size of the batch, θ at which samples leave at all steps."""
KINDS = ["spikes", "centred spikes", "dense"]


def spikes(seed: int, n: int, inputs: int) -> Tensor:
    """Random steps; in every third sample most inputs spike together, as a background does."""
    g = generator(seed)
    steps = torch.randint(T + 1, (n, inputs), generator=g).to(torch.int16)
    together = torch.rand(steps[::3].shape, generator=g) < 0.8
    steps[::3] = torch.where(together, 2, steps[::3].long()).to(torch.int16)
    return steps


def case(
    name: str, kind: str = "spikes", dtype: torch.dtype = F64
) -> tuple[Model, Sequences, float]:
    build, seed, n, theta = CASES[name]
    model = build().to(dtype)
    steps = spikes(seed, n, model.n_inputs)
    if kind == "dense":
        return model, DenseSequences(spike_frames(steps, T).to(dtype)), theta
    plain = SpikeSequences(steps, T, dtype)
    mean = plain.mean_input() if kind == "centred spikes" else None
    return model, replace(plain, mean=mean), theta


def loss(answer: Answer) -> Tensor:
    target = torch.arange(len(answer.logits)).remainder(answer.logits.shape[1])
    return rc_loss(answer.logits, target, 0.1)


def gradients(model: Model) -> dict[str, Tensor | None]:
    return {name: p.grad for name, p in model.named_parameters()}


def trace(
    model: Model, inputs: Sequences, theta: float | None, *, fused: bool
) -> tuple[Answer, dict[str, Tensor | None]]:
    """Run forward and backward on a copy; return the answer and the gradients."""
    model = copy.deepcopy(model)
    answer = run(model, inputs, theta, fused=fused)
    loss(answer).backward()
    return answer, gradients(model)


def assert_same_decisions(ours: Answer, theirs: Answer) -> None:
    for field in ("label", "step", "fired"):
        assert torch.equal(getattr(ours.decision, field), getattr(theirs.decision, field)), field


def assert_same_gradients(
    ours: dict[str, Tensor | None], theirs: dict[str, Tensor | None], relative: float
) -> None:
    """Each gradient deviates by at most this share of its largest value; None where None is."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        found = ours[name]
        assert (found is None) == (expected is None), name
        if found is not None and expected is not None:
            bound = relative * expected.abs().max().item()
            torch.testing.assert_close(
                found, expected, rtol=0, atol=bound, msg=lambda m, name=name: f"{name}: {m}"
            )


# -- One run ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_decisions_logits_and_all_gradients_equal_those_of_the_reference_path(name, kind):
    model, inputs, theta = case(name, kind)
    ours, our_gradients = trace(model, inputs, theta, fused=True)
    theirs, their_gradients = trace(model, inputs, theta, fused=False)
    assert theirs.decision.step.unique().tolist() == list(range(T)), "the case leaves at all steps"
    assert not theirs.decision.fired.all(), "and has samples that never fire"
    assert_same_decisions(ours, theirs)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-10, atol=1e-10)
    assert all(g is not None and g.abs().max() > 1e-4 for g in their_gradients.values())
    assert_same_gradients(our_gradients, their_gradients, 1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_float32_deviates_by_rounding_only(name, kind):
    model, inputs, theta = case(name, kind, torch.float32)
    ours, our_gradients = trace(model, inputs, theta, fused=True)
    theirs, their_gradients = trace(model, inputs, theta, fused=False)
    assert_same_decisions(ours, theirs)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-5, atol=1e-5)
    assert_same_gradients(our_gradients, their_gradients, 2e-5)


def test_more_gates_and_steps_than_a_kernel_takes_at_once_change_nothing():
    model = RCLSTM(12, 70, K, generator=generator(0)).double()
    steps = torch.randint(19, (20, 12), generator=generator(1))
    inputs = SpikeSequences(steps, 18, F64, torch.rand(18, 12, generator=generator(2)))
    ours, our_gradients = trace(model, inputs, None, fused=True)
    theirs, their_gradients = trace(model, inputs, None, fused=False)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-10, atol=1e-10)
    assert_same_gradients(our_gradients, their_gradients, 1e-10)


def test_a_run_that_begins_with_a_state_has_the_recurrent_product_at_once():
    cell, g = LSTMCell(4, 3, generator(0)).double(), generator(1)
    x, state = (
        torch.rand(2, 5, 4, dtype=F64, generator=g),
        torch.rand(2, 5, 3, dtype=F64, generator=g),
    )
    found = []
    for step in (cell.fused().step, cell):
        cell.zero_grad()
        h, c = step(x[1], step(x[0], tuple(state)))
        (h.sum() + c.square().sum()).backward()
        found.append({n: p.grad for n, p in cell.named_parameters()})
    assert_same_gradients(*found, 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_without_a_recurrent_product_and_for_frozen_weights_there_is_no_gradient(name):
    model, inputs, _ = case(name)
    frozen = next(n for n, _ in model.named_parameters() if n.endswith("weight_ih"))
    model.get_parameter(frozen).requires_grad_(False)
    _, ours = trace(model, inputs, 1e-6, fused=True)  # every sample leaves at step 0
    _, theirs = trace(model, inputs, 1e-6, fused=False)
    none = {n for n, _ in model.named_parameters() if n.endswith("weight_hh")} | {frozen}
    assert {n for n, g in theirs.items() if g is None} == none
    assert_same_gradients(ours, theirs, 1e-10)


@pytest.mark.parametrize("kind", ["centred spikes", "dense"])
@pytest.mark.parametrize("name", ["lstm", "conv", pytest.param("deep", marks=pytest.mark.slow)])
def test_two_threads_give_what_one_gives(name, kind):
    model, inputs, theta = case(name, kind)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(trace(model, inputs, theta, fused=True))
    finally:
        torch.set_num_threads(before)
    (alone, alone_gradients), (together, together_gradients) = found
    assert_same_decisions(together, alone)
    torch.testing.assert_close(together.logits, alone.logits, rtol=1e-12, atol=1e-12)
    assert_same_gradients(together_gradients, alone_gradients, 1e-12)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_a_single_sample_decides_as_it_does_in_the_batch(name, fused):
    model, inputs, theta = case(name, "centred spikes")
    whole = decide(model, inputs, theta)
    for i in (0, 1, 2):
        answer = run(model, inputs.rows(torch.tensor([i])), theta, fused=fused)
        assert answer.decision.step[0] == whole.step[i]
        torch.testing.assert_close(answer.decision.scores[0], whole.scores[i])


def tiny(name: str) -> Model:
    if name == "lstm":
        return RCLSTM(4, 2, 2, generator=generator(0)).double()
    return RCConvLSTM((1, 1), 3, image_shape=(2, 2), n_classes=2, generator=generator(0)).double()


@pytest.mark.parametrize("kind", ["centred spikes", "dense"])
@pytest.mark.parametrize("name", ["lstm", "conv"])
def test_gradients_of_a_whole_run_match_finite_differences(name, kind):
    model = loud(tiny(name), 2.0)
    steps = torch.tensor([[0, 1, 2, 3], [1, 1, 1, 0], [2, 0, 2, 2]])
    inputs: Sequences = DenseSequences(spike_frames(steps, 3).double())
    if kind == "centred spikes":
        mean = torch.rand(3, 4, dtype=F64, generator=generator(1))
        inputs = SpikeSequences(steps, 3, F64, mean)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self) -> Tensor:
            return run(self.model, inputs, None).logits

    named = {n: p.detach().clone().requires_grad_() for n, p in Whole().named_parameters()}

    def logits(*parameters: Tensor) -> Tensor:
        return functional_call(Whole(), dict(zip(named, parameters, strict=True)), ())

    assert torch.autograd.gradcheck(logits, tuple(named.values()))


# -- Autograd -----------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_gradient_of_a_dense_input_equals_that_of_the_reference_path(name, frozen):
    model, inputs, theta = case(name, "dense")
    model.requires_grad_(not frozen)
    found = []
    for fused in (True, False):
        frames = inputs.frames.clone().requires_grad_()
        loss(run(model, DenseSequences(frames), theta, fused=fused)).backward()
        found.append(frames.grad)
    assert found[1].abs().amax(dim=(1, 2)).min() > 0, "every step has a share"
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_second_backward_pass_gives_the_same_gradients_once_more(name):
    model, inputs, theta = case(name, "centred spikes")
    value = loss(run(model, inputs, theta))
    first = torch.autograd.grad(value, list(model.parameters()), retain_graph=True)
    second = torch.autograd.grad(value, list(model.parameters()))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", CASES)
def test_asking_for_the_inputs_gradient_first_leaves_the_weights_gradients_as_they_are(name):
    model, inputs, theta = case(name, "dense")
    _, expected = trace(model, inputs, theta, fused=True)
    frames = inputs.frames.clone().requires_grad_()
    value = loss(run(model, DenseSequences(frames), theta))
    torch.autograd.grad(value, frames, retain_graph=True)
    value.backward()
    assert_same_gradients(gradients(model), expected, 1e-10)


@pytest.mark.parametrize("name", CASES)
def test_runs_that_overlap_keep_their_gradients_apart(name):
    model, inputs, theta = case(name, "centred spikes")
    halves = [inputs.rows(part) for part in torch.arange(len(inputs)).chunk(2)]
    expected = [trace(model, half, theta, fused=True)[1] for half in halves]
    losses = [loss(run(model, half, theta)) for half in halves]
    for i in (1, 0):
        model.zero_grad()
        losses[i].backward(retain_graph=True)
        assert_same_gradients(gradients(model), expected[i], 1e-12)
    model.zero_grad()
    (losses[0] + losses[1]).backward()
    both = {n: expected[0][n] + expected[1][n] for n in expected[0]}
    assert_same_gradients(gradients(model), both, 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_no_two_gradients_share_their_memory(name):
    model, inputs, theta = case(name)
    loss(run(model, inputs, theta)).backward()
    places = [p.grad.data_ptr() for p in model.parameters()]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize(("dtype", "bound"), [(F64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", CASES)
def test_three_steps_of_fused_adam_equal_those_of_plain_adam_on_the_reference_path(
    name, dtype, bound
):
    model, inputs, theta = case(name, "centred spikes", dtype)
    twin = copy.deepcopy(model)
    for net, fused in ((model, True), (twin, False)):
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=fused)
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            loss(run(net, inputs, theta, fused=fused)).backward()
            optimizer.step()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=bound)


def columns_lie_together(model: RCLSTM) -> bool:
    return model.cell.weight_ih.stride() == (1, model.cell.weight_ih.shape[0])


def test_columns_of_the_input_weights_lie_together_whatever_happens_to_the_model(tmp_path):
    model, inputs, theta = case("lstm", dtype=torch.float32)
    assert isinstance(model, RCLSTM)
    assert columns_lie_together(model)
    assert columns_lie_together(copy.deepcopy(model))
    assert columns_lie_together(copy.deepcopy(model).double())
    contiguous = {name: value.contiguous() for name, value in model.state_dict().items()}
    torch.save(contiguous, tmp_path / "weights.pt")
    other = RCLSTM(12, 9, K)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert columns_lie_together(other)
    assert torch.equal(other.cell.weight_ih, model.cell.weight_ih)
    optimizer = torch.optim.Adam(other.parameters(), fused=True)
    loss(run(other, inputs, theta)).backward()
    optimizer.step()
    weight = other.cell.weight_ih
    assert weight.grad.stride() == weight.stride() == optimizer.state[weight]["exp_avg"].stride()


# -- Gates --------------------------------------------------------------------------------------

EDGES = [0.0, 1e-30, 43.5, 44.0, 87.0, 88.0, 88.5, 89.0, 104.0, 710.0, 1e4, 1e30]
SWEEP = torch.cat(
    [torch.linspace(-200, 200, 8001), torch.tensor([s * e for e in EDGES for s in (1, -1)])]
)
OPEN, SHUT = 200.0, -200.0


def gate_cell(units: int) -> LSTMCell:
    """A cell whose inputs 0..3 drive the gates i, f, g, o of all units, and nothing else does."""
    cell = LSTMCell(4, units, generator(0))
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.weight_ih.copy_(torch.eye(4).repeat_interleave(units, dim=0))
    return cell


def gates(
    i: Tensor | float, f: Tensor | float, g: Tensor | float, o: Tensor | float, c: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Return (h', c') of the fast path in float32 for drives of the gates and an old c."""
    columns = [v if isinstance(v, Tensor) else torch.full_like(SWEEP, v) for v in (i, f, g, o, c)]
    units = 13  # a number that leaves a rest for every width of vector
    old = columns[4].unsqueeze(1).expand(-1, units).contiguous()
    h, new = (
        gate_cell(units).fused().step(torch.stack(columns[:4], 1), (torch.zeros_like(old), old))
    )
    return h.detach(), new.detach()


def sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x.double())


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda x: gates(x, SHUT, OPEN, OPEN, 0.0)[1], sigmoid),  # c' = σ(i)
        (lambda x: gates(SHUT, x, OPEN, OPEN, 1.0)[1], sigmoid),  # c' = σ(f)
        (lambda x: gates(OPEN, SHUT, x, OPEN, 0.0)[1], lambda x: x.double().tanh()),  # c' = tanh(g)
        (lambda x: gates(SHUT, OPEN, 0.0, x, 20.0)[0], sigmoid),  # h' = σ(o)
        (lambda x: gates(SHUT, OPEN, 0.0, OPEN, x)[0], lambda x: x.double().tanh()),  # h' = tanh(c)
    ],
    ids=["input", "forget", "cell", "output", "state"],
)
def test_each_gate_in_float32_is_within_half_a_millionth_of_float64(found, expected):
    values = found(SWEEP)
    assert values.dtype == torch.float32
    error = (values.double() - expected(SWEEP).unsqueeze(1)).abs()
    assert error.max() < 5e-7, f"at {SWEEP[error.amax(dim=1).argmax()]}"


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("gate", range(4))
def test_a_gate_that_is_not_a_number_is_never_hidden(gate, dtype):
    units, old = 13, torch.full((2, 13), 0.5, dtype=dtype)
    for unit in range(units):
        cell = gate_cell(units).to(dtype)
        with torch.no_grad():
            cell.bias_ih[gate * units + unit] = math.nan
        h, _ = cell.fused().step(torch.zeros(2, 4, dtype=dtype), (old, old))
        assert torch.equal(h[0].isnan(), torch.arange(units) == unit)


# -- bf16 ---------------------------------------------------------------------------------------


def analog() -> tuple[Model, Sequences, float]:
    """A keyword network: dense input through a window of frames, and a layer before the output."""
    model = loud(RCLSTM(12, 9, K, n_dense=7, dense_input=True, generator=generator(3)), 4.0)
    frames = torch.randn(70, T + 2, 4, generator=generator(8))
    return model, ContextSequences(frames, context=2), 0.6


@pytest.mark.parametrize("name", [*CASES, "analog"])
def test_bf16_equals_the_reference_path_in_bf16_within_its_rounding(name):
    """Where the paths' float32 values straddle two bf16 numbers, they differ by 2**-8 of it.

    Few do: so a logit differs by less than that, and together they agree with each other several
    times better than with float32.
    """
    model, inputs, _ = analog() if name == "analog" else case(name, "centred spikes", torch.float32)
    exact, exact_gradients = trace(model, inputs, None, fused=True)
    model.precision = "bf16"
    ours, our_gradients = trace(model, inputs, None, fused=True)
    theirs, their_gradients = trace(model, inputs, None, fused=False)
    rounding = (theirs.logits - exact.logits).norm()
    assert rounding > 1e-4 * exact.logits.norm(), "bf16 has an effect"
    assert (ours.logits - theirs.logits).norm() < rounding / 4
    largest = theirs.logits.abs().max().item()
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=0, atol=2**-8 * largest)
    for n, expected in their_gradients.items():
        assert our_gradients[n].dtype == torch.float32
        assert (our_gradients[n] - expected).norm() < 2**-8 * expected.norm(), n
        assert not torch.equal(expected, exact_gradients[n]), n


def test_a_window_of_frames_and_a_dense_layer_equal_the_reference_path():
    model, inputs, theta = analog()
    model, inputs = model.double(), replace(inputs, frames=inputs.frames.double())
    ours, our_gradients = trace(model, inputs, theta, fused=True)
    theirs, their_gradients = trace(model, inputs, theta, fused=False)
    assert len(theirs.decision.step.unique()) == T, "the case leaves at all steps"
    assert_same_decisions(ours, theirs)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-10, atol=1e-10)
    assert_same_gradients(our_gradients, their_gradients, 1e-10)


@pytest.mark.parametrize("name", CASES)
def test_bf16_keeps_state_logits_and_gradients_in_float32(name):
    model, inputs, _ = case(name, dtype=torch.float32)
    model.precision = "bf16"
    advance, state = model.fused(), None
    for t in range(3):
        features, state = advance(t, inputs, state)
        assert {x.dtype for x in (features, *state)} == {torch.float32}
    answer, found = trace(model, inputs, None, fused=True)
    assert answer.logits.dtype == answer.decision.scores.dtype == torch.float32
    assert {g.dtype for g in found.values()} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def digits(split: Split, n: int, seed: int) -> Labelled:
    part = torch.randperm(len(split.labels), generator=generator(seed))[:n]
    return latency_sequences(take(split, part), n_steps=3, zero_pixels="silent")


@pytest.mark.parametrize(
    "build",
    [lambda: RCLSTM(784, 32), lambda: RCConvLSTM((3, 4), 3, pool=2)],
    ids=["lstm", "convlstm"],
)
@pytest.mark.slow
def test_trained_in_bf16_a_network_is_as_accurate_as_in_float32(build, tmp_path):
    """On 500 digits an accuracy p has the standard error sqrt(p (1 - p) / 500): allow two of the

    difference of two, 5 points at p = 0.8. The training noise of another rounding is far smaller.
    """
    embedded = embedded_digits()
    data, test = digits(embedded.train, 400, 0), digits(embedded.test, 500, 1)
    accuracy, weights = {}, {}
    for precision in ("float32", "bf16"):
        model = build()
        config = TrainConfig(
            epochs=4, batch_size=20, lr=1e-2, schedule="one_cycle", precision=precision
        )
        train(model, data, test.rows(torch.arange(50)), config, tmp_path / precision)
        model.precision = "float32"
        accuracy[precision] = evaluate(model, test, 0.95)[1]["accuracy"]
        weights[precision] = model.output.weight
    p = accuracy["float32"]
    assert p > 0.7, "the case must learn"
    assert abs(accuracy["bf16"] - p) <= 2 * math.sqrt(2 * p * (1 - p) / 500)
    assert not torch.equal(weights["bf16"], weights["float32"]), "it was trained in bf16"


@pytest.mark.parametrize("name", CASES)
def test_bf16_products_of_float64_weights_are_refused(name):
    model, inputs, theta = case(name)
    model.precision = "bf16"
    with pytest.raises(
        ValueError, match=r"bf16 products go with float32 weights, got torch.float64"
    ):
        run(model, inputs, theta)


@pytest.mark.usefixtures("as_user")
def test_an_unknown_precision_is_refused():
    for build in (RCLSTM, RCConvLSTM):
        with pytest.raises(ValueError, match=r'precision must be "float32" or "bf16", got'):
            build(precision="half")


# -- Dropout ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_both_paths_drop_the_same_features(name):
    model, inputs, theta = case(name)
    model.train().dropout = Dropout(0.4, generator(5))
    ours, our_gradients = trace(model, inputs, theta, fused=True)
    model.dropout.generator.manual_seed(5)
    theirs, their_gradients = trace(model, inputs, theta, fused=False)
    assert_same_decisions(ours, theirs)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-10, atol=1e-10)
    assert_same_gradients(our_gradients, their_gradients, 1e-10)
    model.eval()
    whole = run(model, inputs, theta).logits
    assert torch.equal(whole, run(model, inputs, theta).logits)
    model.dropout = Dropout(0.0, generator(5))
    assert torch.equal(whole, run(model, inputs, theta).logits), "nothing is dropped in evaluation"


def test_dropout_keeps_the_mean_and_scales_what_it_keeps():
    p, n = 0.3, 200_000
    out = Dropout(p, generator(0)).train()(torch.ones(n, dtype=F64))
    torch.testing.assert_close(out.unique(), torch.tensor([0.0, 1 / (1 - p)], dtype=F64))
    four_standard_errors = 4 * math.sqrt(p / (1 - p) / n)
    assert abs(out.mean().item() - 1.0) < four_standard_errors


def test_dropout_comes_from_its_generator_and_not_from_torchs():
    x, before = torch.ones(50, 7), torch.get_rng_state()
    first, second = (Dropout(0.5, generator(3)).train() for _ in range(2))
    drawn = [first(x), first(x)]
    assert torch.equal(drawn[0], second(x))
    torch.manual_seed(123)
    assert torch.equal(drawn[1], second(x))
    assert not torch.equal(*drawn), "every call draws anew"
    torch.set_rng_state(before)
    first(x)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("p", [-0.1, 1.0, math.nan])
def test_a_share_that_cannot_be_dropped_is_refused(p):
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got"):
        RCLSTM(12, 9, K, dropout=p)


def test_a_subclass_with_a_step_of_its_own_does_not_take_its_parents_fast_path():
    class Silent(RCLSTM):
        def step(self, x, state):
            features, state = super().step(x, state)
            return torch.zeros_like(features), state

    inputs = SpikeSequences(torch.zeros(2, 5, dtype=torch.int16), 3)
    assert RCLSTM(5, 4, 3).fused() is not None
    assert Silent(5, 4, 3).fused() is None
    logits = run(Silent(5, 4, 3), inputs, None).logits
    torch.testing.assert_close(logits[0], Silent(5, 4, 3).output.bias)
