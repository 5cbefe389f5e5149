"""torch's recurrent modules as step models: held to the modules' own whole sequences."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations
from torch.utils.flop_counter import FlopCounterMode

import bridges
from bridges.errors import BridgeError
from rc_snn import DenseSequences, Labelled, TrainConfig, decide, rc_loss, run, train
from rc_snn.models import Dropout
from rc_snn.runner import trace

T, B, INPUTS, HIDDEN, CLASSES = 11, 7, 5, 6, 3
MODULES = {
    "lstm": lambda **k: nn.LSTM(INPUTS, HIDDEN, **k),
    "gru": lambda **k: nn.GRU(INPUTS, HIDDEN, **k),
    "rnn": lambda **k: nn.RNN(INPUTS, HIDDEN, **k),
    "relu": lambda **k: nn.RNN(INPUTS, HIDDEN, nonlinearity="relu", **k),
}
OPTIONS = [
    {},
    {"num_layers": 3},
    {"num_layers": 2, "bias": False},
    {"num_layers": 2, "dropout": 0.5, "batch_first": True},
]
every_module = pytest.mark.parametrize("kind", MODULES)


def frames(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(T, B, INPUTS, generator=torch.Generator().manual_seed(1), dtype=dtype)


def made(kind: str, dtype: torch.dtype = torch.float32, **options) -> tuple[nn.Module, nn.Linear]:
    torch.manual_seed(0)
    return MODULES[kind](**options).to(dtype), nn.Linear(HIDDEN, CLASSES).to(dtype)


def whole(rnn: nn.Module, read_out: nn.Linear, x: Tensor) -> Tensor:
    """Logits of all steps, as torch's users compute them."""
    if rnn.batch_first:
        return read_out(rnn(x.transpose(0, 1))[0]).transpose(0, 1)
    return read_out(rnn(x)[0])


@every_module
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 3e-6), (torch.float64, 1e-14)])
def test_the_logits_are_the_modules_own_at_every_step(kind, options, dtype, atol):
    rnn, read_out = made(kind, dtype, **options)
    rnn.eval()
    model = bridges.StepModule.from_rnn(rnn, read_out=read_out)
    x = frames(dtype)
    got = trace(model, DenseSequences(x))
    torch.testing.assert_close(got, whole(rnn, read_out, x), rtol=0, atol=atol)


@every_module
def test_gradients_reach_the_module_and_are_those_of_the_whole_sequence(kind):
    rnn, read_out = made(kind, torch.float64, num_layers=2)
    x, labels = frames(torch.float64), torch.arange(B) % CLASSES
    weights = [*rnn.parameters(), *read_out.parameters()]
    rc_loss(whole(rnn, read_out, x)[-1], labels, 0.1).backward()
    expected = [weight.grad for weight in weights]
    for weight in weights:
        weight.grad = None
    model = bridges.StepModule.from_rnn(rnn, read_out=read_out)
    rc_loss(run(model, DenseSequences(x), None).logits, labels, 0.1).backward()
    for weight, gradient in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-10, atol=1e-13)


@every_module
def test_early_answers_are_the_first_crossings_of_the_whole_sequence(kind):
    rnn, read_out = made(kind, torch.float64, num_layers=2)
    x = 3.0 * frames(torch.float64)
    p = torch.softmax(whole(rnn, read_out, x), dim=2).amax(dim=2)
    theta = float(p.detach().quantile(0.85) - 1e-9)
    step = [next((t for t in range(T) if p[t, i] >= theta), T - 1) for i in range(B)]
    assert len(set(step)) > 2, "the case tells little"
    model = bridges.StepModule.from_rnn(rnn, read_out=read_out)
    assert run(model, DenseSequences(x), theta).decision.step.tolist() == step


def counted(model: nn.Module, x: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _, state = model.step(x, None)
        first = counter.get_total_flops()
        model.read_out(model.step(x, state)[0])
    return (counter.get_total_flops() - first) // 2 // len(x)


@every_module
@pytest.mark.parametrize("layers", [1, 3])
def test_cost_is_what_torchs_counter_counts_of_a_step(kind, layers):
    rnn, read_out = made(kind, num_layers=layers)
    model = bridges.StepModule.from_rnn(rnn, read_out=read_out)
    cost = model.cost()
    total = cost.input + cost.inner + cost.recurrent + cost.read_out
    assert counted(model, frames()[0]) == total
    gates = {"lstm": 4, "gru": 3}.get(kind, 1) * HIDDEN
    assert (cost.input, cost.recurrent) == (gates * INPUTS, layers * gates * HIDDEN)
    assert cost.inner == (layers - 1) * gates * HIDDEN
    assert cost.fan_out.tolist() == [gates] * INPUTS


def test_training_trains_the_module_that_was_given(tmp_path):
    """Class k holds its input up at step 2 + k: rank coding must learn to wait for it."""
    g = torch.Generator().manual_seed(2)
    labels = torch.arange(90) % CLASSES
    x = 0.1 * torch.randn(T, 90, INPUTS, generator=g)
    x[2 + labels, torch.arange(90), labels] += 3.0
    data = Labelled(DenseSequences(x), labels)
    rnn, read_out = made("gru")
    before = rnn.weight_hh_l0.detach().clone()
    model = bridges.StepModule.from_rnn(rnn, read_out=read_out)
    config = TrainConfig(epochs=15, batch_size=30, lr=2e-2)
    train(model, data, data, config, tmp_path)
    assert not torch.equal(before, rnn.weight_hh_l0)
    decision = decide(model, data.inputs, 0.95)
    assert (decision.label == labels).float().mean() > 0.95
    torch.testing.assert_close(
        trace(model, data.inputs), whole(rnn, read_out, x), rtol=0, atol=1e-5
    )


def test_dropout_between_layers_is_the_modules_share_and_only_in_training():
    rnn, read_out = made("lstm", num_layers=2, dropout=0.25)
    model = bridges.StepModule.from_rnn(rnn, read_out=read_out)
    seen = []
    model.module.layers[1].register_forward_pre_hook(lambda cell, args: seen.append(args[0]))
    x = torch.randn(4000, INPUTS)
    assert not (model.step(x, None)[0] == 0).any()  # the last layer's h is not dropped
    model.eval()
    model.step(x, None)
    trained, evaluated = seen
    dropped = trained == 0
    assert abs(float(dropped.float().mean()) - 0.25) < 0.01
    torch.testing.assert_close(trained[~dropped], evaluated[~dropped] / 0.75)
    assert [m.p for m in model.modules() if isinstance(m, Dropout)] == [0.25]


def test_dropout_draws_from_the_runs_generator(tmp_path):
    data = Labelled(DenseSequences(frames()), torch.arange(B) % CLASSES)
    weights = []
    for n in (1, 2):
        rnn, read_out = made("gru", num_layers=2, dropout=0.5)
        model = bridges.StepModule.from_rnn(rnn, read_out=read_out)
        torch.manual_seed(n)  # torch's global generator must not matter
        train(model, data, data, TrainConfig(epochs=2, batch_size=3), tmp_path / str(n))
        weights.append(rnn.weight_ih_l1.detach())
    assert torch.equal(*weights)


def test_what_cannot_be_stepped_is_refused_with_the_reason(as_user):
    with pytest.raises(BridgeError, match="end of the sequence, which has not come"):
        bridges.StepModule.from_rnn(nn.LSTM(3, 4, bidirectional=True))
    with pytest.raises(BridgeError, match="no cell with proj_size=2"):
        bridges.StepModule.from_rnn(nn.LSTM(3, 4, proj_size=2))
    with pytest.raises(TypeError, match=r"got Linear.*StepModule\(module"):
        bridges.StepModule.from_rnn(nn.Linear(3, 4))
    with pytest.raises(TypeError, match=r"read_out must be an nn\.Linear, got Sequential"):
        bridges.StepModule.from_rnn(nn.GRU(3, 4), read_out=nn.Sequential(nn.Linear(4, 2)))
    with pytest.raises(BridgeError, match="from_rnn"):
        bridges.StepModule(nn.Sequential(nn.GRU(3, 4)), 3, 4)


class Negated(nn.LSTM):
    def forward(self, x, state=None):
        out, state = super().forward(x, state)
        return -out, state


def hooked():
    lstm = nn.LSTM(INPUTS, HIDDEN)
    lstm.register_forward_hook(lambda module, inputs, out: (-out[0], out[1]))
    return lstm


REWRITTEN = {
    "subclass": lambda: Negated(INPUTS, HIDDEN),
    "hook": hooked,
    "pruned": lambda: prune.l1_unstructured(nn.LSTM(INPUTS, HIDDEN), "weight_hh_l0", 0.5),
    "parametrized": lambda: weight_norm(nn.GRU(INPUTS, HIDDEN), "weight_hh_l0"),
}


@pytest.mark.parametrize("case", REWRITTEN)
def test_modules_that_do_other_than_their_class_says_are_refused(case):
    with pytest.raises(BridgeError, match=r"as torch has it; this .*prune\.remove"):
        bridges.StepModule.from_rnn(REWRITTEN[case]())


@pytest.mark.parametrize("case", ["pruned", "parametrized"])
def test_pruned_modules_step_once_their_weights_are_ordinary(case):
    rnn, x = REWRITTEN[case](), frames()
    told = rnn(x)[0][-1]
    if case == "pruned":
        prune.remove(rnn, "weight_hh_l0")
    else:
        remove_parametrizations(rnn, "weight_hh_l0")
    model, state = bridges.StepModule.from_rnn(rnn), None
    for frame in x:
        out, state = model.step(frame, state)
    torch.testing.assert_close(out, told)


class DiagonalSSM(nn.Module):
    """A linear state-space layer, h = λ h + B x with complex λ, read out as C h: a step model."""

    n_inputs, n_classes, n_state = INPUTS, CLASSES, 8

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.decay = nn.Parameter(torch.rand(self.n_state, generator=g))
        self.turn = nn.Parameter(3 * torch.rand(self.n_state, generator=g))
        self.b = nn.Parameter(torch.randn(self.n_state, INPUTS, generator=g))
        self.c = nn.Linear(2 * self.n_state, CLASSES)

    @property
    def poles(self) -> Tensor:
        return torch.exp(torch.complex(-self.decay, self.turn))

    def step(self, x, state):
        h = (x @ self.b.T).to(torch.complex64)
        h = h if state is None else h + self.poles * state[0]
        return torch.cat([h.real, h.imag], dim=1), (h,)

    def read_out(self, features):
        return self.c(features)

    def cost(self):
        raise NotImplementedError


def test_a_state_space_layer_with_a_complex_state_is_a_step_model_as_it_is(tmp_path, as_user):
    model, x = DiagonalSSM(), frames()
    # The closed form: h_t is the sum over s <= t of λ^(t - s) B x_s.
    drive = torch.einsum("ni,tbi->tbn", model.b, x).to(torch.complex64)
    powers = torch.stack([model.poles**k for k in range(T)])
    h = torch.stack([sum(powers[t - s] * drive[s] for s in range(t + 1)) for t in range(T)])
    logits = model.c(torch.cat([h.real, h.imag], dim=2))
    torch.testing.assert_close(trace(model, DenseSequences(x)), logits, rtol=0, atol=1e-4)
    theta = float(torch.softmax(logits, 2).amax(2).detach().quantile(0.7))
    crossed = torch.softmax(logits, 2).amax(2) >= theta
    step = [next((t for t in range(T) if crossed[t, i]), T - 1) for i in range(B)]
    assert run(model, DenseSequences(x), theta).decision.step.tolist() == step
    data = Labelled(DenseSequences(x), torch.arange(B) % CLASSES)
    result = train(model, data, data, TrainConfig(epochs=30, lr=1e-2, beta=0.0), tmp_path)
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
