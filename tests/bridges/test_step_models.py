"""Networks of snnTorch and norse as step models: held to the libraries' own whole sequences.

The slow definition runs every step the way the library has it (snnTorch with hidden states, norse
with its layers over time), takes the softmax of all steps, and looks for the first one at θ.
"""

import norse.torch as norse
import pytest
import snntorch as snn
import torch
from snntorch import spikegen, utils
from snntorch.functional import accuracy_rate, ce_rate_loss
from torch import Tensor, nn

from bridges.errors import BridgeError
from bridges.networks.step_models import NorseModel, SNNTorchModel, StepModule
from encoders import embedded_digits, encode_latency
from rc_snn import decide, decisions_from_spikes, spike_steps
from rc_snn.objective import rc_loss
from rc_snn.runner import StreamingRunner, run
from rc_snn.sequences import DenseSequences, Labelled, SpikeSequences
from rc_snn.step_model import StepModel
from rc_snn.training import TrainConfig, train

T, B, INPUTS, HIDDEN, CLASSES, GAIN = 12, 24, 6, 5, 3, 2.0

FREE = {"reset_mechanism": "none"}
NEURONS = {
    "leaky": lambda **k: snn.Leaky(0.9, **k),
    "leaky, zero reset": lambda **k: snn.Leaky(0.7, reset_mechanism="zero", **k),
    "leaky, reset at once": lambda **k: snn.Leaky(0.7, reset_delay=False, **k),
    "leaky, learned": lambda **k: snn.Leaky(0.6, learn_beta=True, learn_threshold=True, **k),
    "lapicque": lambda **k: snn.Lapicque(R=3, C=2, **k),
    "synaptic": lambda **k: snn.Synaptic(alpha=0.5, beta=0.8, **k),
    "alpha": lambda **k: snn.Alpha(alpha=0.8, beta=0.6, threshold=0.3, **k),
    "rleaky": lambda **k: snn.RLeaky(0.9, linear_features=HIDDEN, **k),
    "rleaky, one to one": lambda **k: snn.RLeaky(0.9, all_to_all=False, V=0.5, **k),
    "rsynaptic": lambda **k: snn.RSynaptic(alpha=0.5, beta=0.8, linear_features=HIDDEN, **k),
    "slstm": lambda **k: snn.SLSTM(HIDDEN, HIDDEN, threshold=0.05, **k),
}


def snntorch_layers(name: str, **hidden) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Linear(INPUTS, HIDDEN),
        NEURONS[name](**hidden),
        nn.Linear(HIDDEN, CLASSES),
        snn.Leaky(0.8, reset_mechanism="none", **hidden),
    )
    with torch.no_grad():  # enough spikes
        layers[0].weight.mul_(4.0)
    return layers


def snntorch_course(layers: nn.Sequential, x: Tensor) -> Tensor:
    """All potentials of the last neurons, as snnTorch's users compute them."""
    utils.reset(layers)
    course = []
    for frame in x:
        layers(frame)
        course.append(layers[-1].mem)
    return torch.stack(course)


def norse_net(name: str) -> tuple[nn.Module, nn.Module]:
    """A step module, and the same network over time."""
    torch.manual_seed(0)
    first, last = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, CLASSES)
    with torch.no_grad():
        first.weight.mul_(20.0)
        last.weight.mul_(5.0)
    sizes = (HIDDEN, HIDDEN)
    cell, layer = {
        "lif": (lambda: norse.LIFCell(), lambda: norse.LIF()),
        "lif, recurrent": (
            lambda: norse.LIFRecurrentCell(*sizes),
            lambda: norse.LIFRecurrent(*sizes),
        ),
        "lsnn": (lambda: norse.LSNNCell(), lambda: norse.LSNN()),
        "lsnn, recurrent": (
            lambda: norse.LSNNRecurrentCell(*sizes),
            lambda: norse.LSNNRecurrent(*sizes),
        ),
        "adaptive": (lambda: norse.LIFAdExCell(), lambda: norse.LIFAdEx()),
        "integrate and fire": (lambda: norse.IAFCell(), lambda: norse.IAF()),
        "refractory, recurrent": (
            lambda: norse.LIFRefracRecurrentCell(*sizes),
            lambda: norse.Lift(norse.LIFRefracRecurrentCell(*sizes)),
        ),
    }[name]
    steps = norse.SequentialState(first, cell(), last, norse.LICell())
    course = norse.SequentialState(norse.Lift(first), layer(), norse.Lift(last), norse.LI())
    own = dict(steps[1].named_parameters())
    for key, parameter in course[1].named_parameters():
        parameter.data = own[key.removeprefix("lifted_module.")].data
    return steps, course


NORSE = [
    "lif",
    "lif, recurrent",
    "lsnn",
    "lsnn, recurrent",
    "adaptive",
    "integrate and fire",
    "refractory, recurrent",
]
ALL = [("snntorch", name) for name in NEURONS] + [("norse", name) for name in NORSE]
every_network = pytest.mark.parametrize(("library", "name"), ALL)


def both(library: str, name: str, x: Tensor) -> tuple[StepModule, Tensor, list[nn.Parameter]]:
    """The step model, the potentials of all steps by the library, and the weights of those."""
    if library == "snntorch":
        model = SNNTorchModel(snntorch_layers(name), INPUTS, CLASSES, gain=GAIN)
        whole = snntorch_layers(name, init_hidden=True)
        return model, snntorch_course(whole, x), list(whole.parameters())
    steps, whole = norse_net(name)
    model = NorseModel(steps, INPUTS, CLASSES, gain=GAIN)
    shared = [*steps[0].parameters(), *whole[1].parameters(), *steps[2].parameters()]
    return model, whole(x)[0], shared


@pytest.fixture
def x() -> Tensor:
    g = torch.Generator().manual_seed(1)
    return (torch.rand(T, B, INPUTS, generator=g) < 0.4).float()


def telling(logits: Tensor) -> float:
    """A threshold that samples reach at many steps, between two of the values there are."""
    peaks = torch.softmax(logits.detach(), dim=2).amax(dim=2).flatten().sort().values.double()
    return float(peaks[len(peaks) * 3 // 4 :][:2].mean())


def by_hand(logits: Tensor, theta: float) -> tuple[list[int], list[bool], list[int]]:
    """Step, fired and label of each sample, from the logits of all steps."""
    found = []
    for sample in torch.softmax(logits, dim=2).unbind(1):
        at = next((t for t in range(T) if max(sample[t].tolist()) >= theta), None)
        step = T - 1 if at is None else at
        found.append((step, at is not None, int(sample[step].argmax())))
    step, fired, label = zip(*found, strict=True)
    return list(step), list(fired), list(label)


@every_network
def test_a_run_decides_as_the_librarys_whole_sequence_does(library, name, x):
    model, course, _ = both(library, name, x)
    logits = GAIN * course
    theta = telling(logits)
    answer = run(model, DenseSequences(x), theta)
    step, fired, label = by_hand(logits, theta)
    assert len(set(step)) > 3, "the case tells little"
    assert answer.decision.step.tolist() == step
    assert answer.decision.fired.tolist() == fired
    assert answer.decision.label.tolist() == label
    torch.testing.assert_close(answer.logits, logits[step, range(B)], rtol=1e-5, atol=1e-6)


@every_network
def test_gradients_are_those_of_the_whole_sequence_read_at_the_decision(library, name, x):
    model, course, weights = both(library, name, x)
    labels = torch.arange(B) % CLASSES
    theta = telling(GAIN * course)
    step, _, _ = by_hand(GAIN * course, theta)
    rc_loss(GAIN * course[step, range(B)], labels, 0.1).backward()
    expected = [weight.grad.clone() for weight in weights]
    for weight in weights:  # norse's cells and layers share theirs
        weight.grad = None
    rc_loss(run(model, DenseSequences(x), theta).logits, labels, 0.1).backward()
    got = [parameter.grad for parameter in model.parameters()]
    if library == "norse":  # the layer over time and the cell hold their weights apart
        got = [*model.module[0].parameters(), *model.module[1].parameters()]
        got = [p.grad for p in [*got, *model.module[2].parameters()]]
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert all(bool(gradient.abs().sum() > 0) for gradient in got)


@every_network
def test_nothing_stays_behind_from_run_to_run(library, name, x):
    model, course, _ = both(library, name, x)
    theta = telling(GAIN * course)
    order = torch.randperm(B, generator=torch.Generator().manual_seed(2))
    first = run(model, DenseSequences(x), theta)
    run(model, DenseSequences(1.0 - x[:, :5]), theta)  # other samples, another batch size
    again = run(model, DenseSequences(x), theta)
    other = run(model, DenseSequences(x[:, order]), theta)
    assert torch.equal(first.logits, again.logits)
    assert torch.equal(first.decision.step[order], other.decision.step)
    torch.testing.assert_close(first.logits[order], other.logits)
    held = [value for part in model.modules() for value in vars(part).values()]
    held += [buffer for part in model.modules() for buffer in part.buffers(recurse=False)]
    assert not [value for value in held if isinstance(value, Tensor) and value.grad_fn is not None]


@every_network
def test_a_step_leaves_the_state_that_it_was_given(library, name, x):
    model, _, _ = both(library, name, x)
    _, state = model.step(x[0], None)
    before = [tensor.clone() for tensor in state]
    one, other = (model.step(x[1], state)[0] for _ in range(2))
    assert torch.equal(one, other)
    assert all(map(torch.equal, before, state))
    assert all(len(tensor) == B for tensor in state)


@pytest.mark.parametrize(("library", "name"), [("snntorch", "synaptic"), ("norse", "lsnn")])
def test_a_stream_of_one_sample_decides_as_the_batch_does(library, name, x):
    model, course, _ = both(library, name, x)
    theta = telling(GAIN * course)
    batch = run(model, DenseSequences(x), theta).decision
    stream = StreamingRunner(model, theta, T)
    for sample in range(B):
        stream.reset()
        for frame in x[:, sample]:
            if (decision := stream.step(frame)) is not None:
                break
        assert decision.step.tolist() == batch.step[sample : sample + 1].tolist()
        assert decision.label.tolist() == batch.label[sample : sample + 1].tolist()


def test_a_read_out_turns_hidden_potentials_or_spikes_into_logits(x):
    torch.manual_seed(0)
    linear, read_out = nn.Linear(INPUTS, 4), nn.Linear(4, CLASSES)
    neuron = snn.Synaptic(alpha=0.5, beta=0.9, threshold=0.1)  # whose current is another feature
    for features in ("potential", "output"):
        model = SNNTorchModel(
            [nn.Sequential(linear), neuron],
            INPUTS,
            CLASSES,
            read_out=read_out,
            gain=2.0,
            features=features,
        )
        z, current, v = neuron(linear(x[0]), torch.zeros(B, 4), torch.zeros(B, 4))
        z, _, v = neuron(linear(x[1]), current, v)
        expected = 2.0 * read_out(v if features == "potential" else z)
        got, _ = model.step(x[1], model.step(x[0], None)[1])
        torch.testing.assert_close(model.read_out(got), expected)
        assert isinstance(model, StepModel)
        assert model.cost().read_out == 4 * CLASSES


def test_the_output_of_a_last_layer_without_state_is_read_out(x):
    torch.manual_seed(0)
    linear, last = nn.Linear(INPUTS, 4), nn.Linear(4, CLASSES)
    for model, spikes in [
        (SNNTorchModel([linear, snn.Leaky(0.9), last], INPUTS, CLASSES), snn.Leaky(0.9)),
        (
            NorseModel(norse.SequentialState(linear, norse.LIFCell(), last), INPUTS, CLASSES),
            norse.LIFCell(),
        ),
    ]:
        torch.testing.assert_close(model.step(x[0], None)[0], last(spikes(linear(x[0]))[0]))


def test_norses_potentials_and_spikes_can_be_features(x):
    torch.manual_seed(0)
    nested = norse.SequentialState(
        nn.Linear(INPUTS, CLASSES), norse.SequentialState(norse.LIFRefracCell())
    )
    cell = norse.LIFRefracCell()
    z, state = cell(nested[0](x[0]))
    for features, expected in [("potential", state.lif.v), ("output", z)]:
        model = NorseModel(nested, INPUTS, CLASSES, features=features)
        torch.testing.assert_close(model.step(x[0], None)[0], expected)


def test_building_a_model_changes_neither_its_modes_nor_the_global_generator():
    layers = [nn.Linear(INPUTS, 4), nn.Dropout(0.5), snn.Leaky(0.9), nn.Linear(4, CLASSES)]
    layers[0].eval()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    SNNTorchModel(layers, INPUTS, CLASSES)
    assert torch.equal(before, torch.get_rng_state())
    assert [layer.training for layer in layers] == [False, True, True, True]


def test_snntorchs_slstm_forgets_everything_unless_it_has_as_many_inputs_as_neurons():
    """The trap that SNNTorchModel refuses; if snnTorch mends it, the refusal must go."""
    torch.manual_seed(0)
    x = torch.rand(4, 2, 3)
    slstm, syn, mem = snn.SLSTM(3, 5, threshold=0.1), None, None
    for frame in x:
        _, syn, mem = slstm(frame, syn, mem)
    alone = snn.SLSTM(3, 5, threshold=0.1)
    alone.load_state_dict(slstm.state_dict())
    assert torch.equal(mem, alone(x[-1])[2])
    with pytest.raises(BridgeError, match=r"forgets its state.*nn\.Linear\(3, 5\)"):
        SNNTorchModel([slstm, nn.Linear(5, 2)], 3, 2)


def test_what_keeps_its_state_or_takes_sequences_is_refused():
    linear = nn.Linear(4, 2)
    with pytest.raises(BridgeError, match="init_hidden=False"):
        SNNTorchModel([linear, snn.Leaky(0.9, init_hidden=True)], 4, 2)
    with pytest.raises(BridgeError, match="Use one of Leaky"):
        SNNTorchModel([linear, snn.LeakyParallel(2, 2)], 4, 2)
    with pytest.raises(BridgeError, match="Use one of Leaky"):
        SNNTorchModel([linear, snn.StateLeaky(0.9, channels=2)], 4, 2)
    with pytest.raises(BridgeError, match="LSTMCell"):
        SNNTorchModel([nn.LSTM(4, 2)], 4, 2)
    with pytest.raises(BridgeError, match="LayerNorm"):
        SNNTorchModel([linear, nn.BatchNorm1d(2)], 4, 2)
    for layer in (norse.LIF(), norse.LIFRecurrent(2, 2), norse.Lift(norse.LIFCell())):
        with pytest.raises(BridgeError, match="Use the cell"):
            NorseModel(norse.SequentialState(linear, layer), 4, 2)

    class Remembers(nn.Module):
        total = 0.0

        def forward(self, x, state):
            self.total = self.total + linear(x)
            return self.total, state

    with pytest.raises(BridgeError, match="keeps its state"):
        StepModule(Remembers(), 4, 2)
    with pytest.raises(BridgeError, match="first axis must be the batch"):
        StepModule(lambda x, state: (linear(x), torch.zeros(())), 4, 2)
    with pytest.raises(BridgeError, match="holds a int"):
        StepModule(lambda x, state: (linear(x), 1), 4, 2)


def test_wrong_sizes_are_refused_with_the_remedy(as_user):
    layers = [nn.Linear(4, 3), snn.Leaky(0.9)]
    with pytest.raises(ValueError, match=r"read_out=nn\.Linear"):
        SNNTorchModel(layers, 4, 2)
    with pytest.raises(ValueError, match="inputs \\[2, 5\\]"):
        SNNTorchModel(layers, 5, 3)
    with pytest.raises(ValueError, match="at least two classes"):
        SNNTorchModel(layers, 4, 1)
    with pytest.raises(ValueError, match="features must be"):
        SNNTorchModel(layers, 4, 3, features="spikes")
    with pytest.raises(ValueError, match="does not return"):
        NorseModel(nn.Sequential(nn.Linear(4, 3), norse.LIFCell()), 4, 3)


def test_cost_counts_every_product_of_a_step():
    def parts(model: StepModule) -> tuple[int, int, int, int]:
        cost = model.cost()
        return cost.input, cost.inner, cost.recurrent, cost.read_out

    layers = [nn.Linear(6, 5), snn.RLeaky(0.9, linear_features=5), nn.Linear(5, 3)]
    model = SNNTorchModel(layers, 6, 3)
    assert parts(model) == (30, 15, 25, 0)
    assert model.cost().fan_out.tolist() == [5.0] * 6
    layers = [nn.Linear(6, 5), snn.SLSTM(5, 5)]
    model = SNNTorchModel(layers, 6, 3, read_out=nn.Linear(5, 3))
    assert parts(model) == (30, 100, 100, 15)
    model = SNNTorchModel([snn.SLSTM(5, 5)], 5, 3, read_out=nn.Linear(5, 3))
    assert model.cost().fan_out.tolist() == [20.0] * 5
    net = norse.SequentialState(norse.LIFRecurrentCell(6, 5), norse.LILinearCell(5, 3))
    assert parts(NorseModel(net, 6, 3)) == (30, 15, 25, 0)


def test_cost_counts_a_convolutions_positions_and_the_border():
    conv = nn.Conv2d(1, 2, 3, padding=1)
    layers = [nn.Unflatten(1, (1, 4, 4)), conv, snn.Leaky(0.9), nn.Flatten(), nn.Linear(32, 3)]
    cost = SNNTorchModel(layers, 16, 3).cost()
    assert (cost.input, cost.inner) == (16 * 9 * 2, 32 * 3)
    reach = [sum(0 <= i + d < 4 for d in (-1, 0, 1)) for i in range(4)]
    assert cost.fan_out.tolist() == [2.0 * a * b for a in reach for b in reach]
    assert not (conv.weight == 1).all()  # it counted on a copy


def test_cost_refuses_weights_that_it_does_not_know():
    class Bilinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 2))

        def forward(self, x):
            return x @ self.weight

    model = SNNTorchModel([Bilinear()], 4, 2)
    with pytest.raises(BridgeError, match="does not know what Bilinear"):
        model.cost()
    pooled = [nn.Unflatten(1, (1, 4)), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(2, 2)]
    with pytest.raises(BridgeError, match="must read all 4 inputs"):
        SNNTorchModel(pooled, 4, 2).cost()


def digits(n_steps: int) -> tuple[Labelled, Labelled]:
    """500 training and 250 validation digits, on a grid of n_steps."""
    train_split = embedded_digits().train
    times = encode_latency(
        train_split.images[::5][:750], polarity="bright_first", zero_pixels="silent"
    )
    labels = train_split.labels[::5][:750]
    order = torch.randperm(750, generator=torch.Generator().manual_seed(0))
    steps = spike_steps(times, n_steps)[order]
    whole = Labelled(SpikeSequences(steps, n_steps), labels[order])
    return whole.rows(torch.arange(500)), whole.rows(torch.arange(500, 750))


@pytest.mark.parametrize("library", ["snntorch", pytest.param("norse", marks=pytest.mark.slow)])
def test_rank_coded_training_learns_digits(library, tmp_path):
    torch.manual_seed(0)
    if library == "snntorch":
        layers = [nn.Linear(784, 60), snn.Leaky(0.9), nn.Linear(60, 10), snn.Leaky(0.9, **FREE)]
        model = SNNTorchModel(layers, 784, 10)
    else:
        first, last = nn.Linear(784, 60), nn.Linear(60, 10)
        with torch.no_grad():
            first.weight.mul_(5.0)
            last.weight.mul_(5.0)
        p = norse.LIFParameters(method="tanh", alpha=torch.tensor(3.0))
        net = norse.SequentialState(first, norse.LIFCell(p), last, norse.LICell())
        model = NorseModel(net, 784, 10, gain=3.0)
    data, validation = digits(n_steps=10)
    config = TrainConfig(epochs=6, batch_size=50, lr=5e-3, theta=0.6, seed=0)
    history = train(model, data, validation, config, tmp_path).history
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]
    assert max(row["val_accuracy"] for row in history) > 0.6
    assert 0.0 < history[-1]["val_mean_step"] < 9.0


# -- rate codes -----------------------------------------------------------------------------------


def rate_coded(n_steps: int) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A small network of snnTorch, trained a little on rate-coded digits, and test spikes."""
    torch.manual_seed(0)
    digits = embedded_digits()
    net = nn.Sequential(nn.Linear(784, 40), snn.Leaky(0.9), nn.Linear(40, 10), snn.Leaky(0.9))

    def spikes(images: Tensor) -> Tensor:
        return spikegen.rate(images.flatten(1) / 255.0, num_steps=n_steps)

    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for part in torch.randperm(len(digits.train.labels))[:1500].split(50):
        out = by_snntorch(net, spikes(digits.train.images[part]))[0]
        optimizer.zero_grad()
        ce_rate_loss()(out, digits.train.labels[part]).backward()
        optimizer.step()
    shown = torch.randperm(len(digits.test.labels))[:500]
    return net, spikes(digits.test.images[shown]), digits.test.labels[shown]


def by_snntorch(net: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and potentials of the last neurons, as in snnTorch's tutorials."""
    mem1, mem2, course = net[1].init_leaky(), net[3].init_leaky(), []
    for frame in x:
        spike, mem1 = net[1](net[0](frame), mem1)
        spike, mem2 = net[3](net[2](spike), mem2)
        course.append((spike, mem2))
    spikes, potentials = zip(*course, strict=True)
    return torch.stack(spikes), torch.stack(potentials)


def test_a_rate_coded_network_scores_here_what_its_author_scores():
    n_steps = 12
    net, x, labels = rate_coded(n_steps)
    with torch.no_grad():
        z, v = by_snntorch(net, x)
    author = accuracy_rate(z, labels)
    assert 0.6 < author < 0.97
    model = SNNTorchModel(net, 784, 10, features="count", gain=1.5)
    inputs = DenseSequences(x)
    found = decide(model, inputs, theta=None)
    assert float((found.label == labels).double().mean()) == author
    for other in ("potential", "output"):  # what was measured instead
        label = decide(SNNTorchModel(net, 784, 10, features=other), inputs, None).label
        assert float((label == labels).double().mean()) < author
    with pytest.warns(UserWarning, match="equally many spikes"):
        spikes = decisions_from_spikes(z, rule="count")
    assert torch.equal(spikes.label, found.label)
    # A threshold on the softmax of counts: by hand, step by step.
    p = torch.softmax(1.5 * z.cumsum(0), dim=2).amax(dim=2)
    theta = 0.9
    early = decide(model, inputs, theta)
    assert 0.3 < float(early.fired.double().mean()) < 1.0
    for b in range(len(labels)):
        step = next((t for t in range(n_steps) if p[t, b] >= theta), n_steps - 1)
        assert int(early.step[b]) == step
        assert int(early.label[b]) == int(z[: step + 1, b].sum(0).argmax())
    # And by counts themselves, with snnTorch's potential, which is that before the reset.
    assert decisions_from_spikes(z, v, "count", 3).fired.any()


def test_norse_counts_its_spikes_too_and_what_does_not_spike_is_refused(x):
    net = norse.SequentialState(nn.Linear(INPUTS, CLASSES), norse.LIFCell(dt=0.01))
    with torch.no_grad():
        net[0].weight.mul_(10.0)
    counted = NorseModel(net, INPUTS, CLASSES, features="count")
    state, total, own = None, torch.zeros(B, CLASSES), None
    for frame in x:
        count, state = counted.step(frame, state)
        spikes, own = net(frame, own)
        total += spikes
        assert torch.equal(count, total)
    assert total.max() > 1
    for make in (
        lambda: NorseModel(norse_net("lif")[0], INPUTS, CLASSES, features="count"),
        lambda: SNNTorchModel([nn.Linear(INPUTS, CLASSES)], INPUTS, CLASSES, features="count"),
    ):
        with pytest.raises(BridgeError, match="End with neurons that spike"):
            make()
