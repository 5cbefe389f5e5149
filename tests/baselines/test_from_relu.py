"""ReLU networks as first-spike networks: gated or open, on every clock, in files, outside."""

import copy
import importlib
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import baselines
from baselines import first_spike_objective, from_relu, relu_inputs
from baselines.continuous import ContinuousNetwork, Conv, Dense
from baselines.continuous_training import ContinuousConfig, Timed, train_continuous
from baselines.relu_mapping import GATE, mapped_network
from bridges.support import bridge
from encoders import embedded_digits, encode_latency
from rc_snn import Network, load
from rc_snn.formats.half import round_to_half
from rc_snn.regimes import regime
from rc_snn.testing import check_network

F64 = torch.float64
INF = torch.inf


def mlp() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 60), nn.ReLU(), nn.Dropout(0.2), nn.Linear(60, 10)
    )


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, stride=2, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(6, 12, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(588, 10),
    )


def read(images, deadline=1.0, neuron="rel_psp"):
    """Return spike times, and what a ReLU network reads of them; dark ones first if in a hurry."""
    first = "bright_first" if deadline == 1.0 else "dark_first"
    times = encode_latency(images, polarity=first, zero_pixels="silent")
    return times, relu_inputs(times, deadline, neuron=neuron).view(-1, 1, 28, 28)


@pytest.fixture(autouse=True)
def seeded():
    """Let torch's layers begin alike, whichever tests run before."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def digits():
    return embedded_digits()


@pytest.fixture(scope="module")
def trained(digits):
    """Train a network of a kind on real digits, once for all tests."""
    known = {}

    def train(make, deadline=1.0, neuron="rel_psp"):
        key = make, deadline, neuron
        if key not in known:
            x, y = read(digits.train.images, deadline, neuron)[1].float(), digits.train.labels
            with torch.random.fork_rng():
                torch.manual_seed(0)
                net = make()
                optimizer = torch.optim.Adam(net.parameters(), 4e-3)
                for _ in range(3):
                    for rows in torch.randperm(len(x)).split(64):
                        optimizer.zero_grad()
                        F.cross_entropy(net(x[rows]), y[rows]).backward()
                        optimizer.step()
            known[key] = net.eval()
        return copy.deepcopy(known[key])

    return train


def small(seed=0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(),
                             nn.Linear(8, 4)).double()  # fmt: skip


def some_times(generator, n=5):
    times = torch.rand(n, 20, generator=generator, dtype=F64)
    times[:, 4:7] = INF
    return times


# -- The definition -------------------------------------------------------------------------------


def test_what_spikes_say_by_the_deadline():
    times = torch.tensor([0.0, 0.1, 0.4, 0.5, INF], dtype=F64)
    x = torch.tensor([1.0, 0.75, 0.0, 0.0, 0.0], dtype=F64)
    torch.testing.assert_close(relu_inputs(times, 0.4), x)
    said = relu_inputs(times, 0.4, neuron="alpha_psp", decay=0.5)
    torch.testing.assert_close(said, x * torch.exp(-0.5 * 0.4 * x))
    with pytest.raises(ValueError, match=r"NaN|negative|>= 0"):
        relu_inputs(torch.tensor([-0.1]))
    with pytest.raises(ValueError, match="deadline must be positive"):
        relu_inputs(times, 0.0)


def leaky(z, slope):
    return torch.where(z < 0.0, slope * z, z)


@pytest.mark.parametrize("k", [1, 3.7, 8, 100])
@pytest.mark.parametrize("fit", [True, False])
def test_gated_layers_are_leaky_relus_of_a_vanishing_slope_to_the_last_digits(k, fit, generator):
    """An independent definition, written out: hidden potentials on the clock of each layer."""
    net, times, deadline = small(), some_times(generator), 0.6
    samples = relu_inputs(torch.cat([times, some_times(generator, 50)]), deadline)
    model = from_relu(net, deadline, k, samples=samples if fit else None, dtype=F64)
    rate = 1.0 / model.clocks[1, 1]
    local = [t.detach() for t in model.local_times(times)]
    said = relu_inputs(times, deadline)
    # A relay that gets nothing lacks 1 / k when the gate comes; one that gets it late, less.
    late = (times > deadline) & (times < deadline * (1 + rate))
    lack = torch.where(said == 0.0, -1.0 / (1.0 / rate - 1.0 + GATE), said)
    spoken = 1.0 - (local[0] - 1.0) / rate
    assert float((spoken - lack)[~late].abs().max()) < 1e-9
    assert float((spoken - said).abs().max()) < 1.001 / GATE
    a, scale, slope = spoken, 1.0, 1.0 / (1.0 + GATE * rate)
    for i, layer in enumerate(net[:4:2], 1):
        z = F.linear(a * scale, layer.weight, layer.bias)
        theta = scale * float((layer.weight[0, 0] / model.layers[i].weight[0, 0]).detach())
        a, scale = leaky(z / theta, slope), theta
        torch.testing.assert_close(1.0 - (local[i] - 1.0) / rate, a, rtol=0, atol=1e-8)
    logits = F.linear(a * scale, net[4].weight, net[4].bias)
    torch.testing.assert_close(-local[-1], logits, rtol=1e-7, atol=1e-7)
    assert float((logits - net(said)).detach().abs().max()) < 2e-5 * k


def test_an_open_layer_is_the_closed_form(generator):
    """One layer: t = T (1 + (1 - z) / (R + S)), with S of the pixels that are in time."""
    net = nn.Sequential(nn.Linear(20, 4)).double()
    times, deadline = some_times(generator), 0.04
    times = torch.where(torch.rand(times.shape, generator=generator) < 0.5, times, times * 0.04)
    times[times > deadline] = 1.0
    samples = relu_inputs(times, deadline)
    model = from_relu(net, deadline, 8, gate=False, samples=samples, dtype=F64)
    z, weight = net(samples).detach(), net[0].weight.detach()
    theta = 1.05 * max(z.max(), net[0].bias.detach().max())
    spiked = (samples > 0).double()
    r = model.layers[0].weight.detach()[-2:].sum(dim=0)[0]  # the bias is taken off
    wanted = deadline * (1 + (1 - z / theta) / (r + spiked @ weight.t() / theta))
    torch.testing.assert_close(model.spike_times(times)[0].detach(), wanted, rtol=1e-10, atol=0)
    assert 8 <= r < 8 * 1.01 * max(1.0, float((spiked @ weight.t() / theta).abs().max()))


@pytest.mark.parametrize("neuron", ["rel_psp", "alpha_psp"])
def test_open_networks_converge_as_1_over_k(neuron, generator):
    net, times = small(), some_times(generator, 60)
    said = relu_inputs(times, neuron=neuron)
    errors = []
    for k in (8, 16, 32, 64):
        model = from_relu(net, k=k, gate=False, neuron=neuron, samples=said, dtype=F64)
        errors.append(float((-model.local_times(times)[-1] - net(said)).detach().abs().mean()))
    for before, after in itertools.pairwise(errors):
        assert 0.4 < after / before < 0.65


def test_gated_alpha_psp_converges_as_1_over_k(generator):
    net, times = small(), some_times(generator, 60)
    said = relu_inputs(times, neuron="alpha_psp")
    errors = [
        from_relu(net, k=k, neuron="alpha_psp", dtype=F64).local_times(times)[-1].add(net(said))
        for k in (4, 8, 16, 32)
    ]
    means = [float(e.detach().abs().mean()) for e in errors]
    for before, after in itertools.pairwise(means):
        assert 0.35 < after / before < 0.65


def test_nobody_is_early_within_bounds_that_hold_for_all_inputs(generator):
    times = torch.rand(300, 20, generator=generator, dtype=F64).mul(1.5).round(decimals=1)
    times[times > 1.2] = INF
    for seed in range(4):
        for gate in (True, False):
            model = from_relu(small(seed), gate=gate, dtype=F64)
            for i, out in enumerate(model.local_times(times)[:-1]):
                assert bool((out >= 1.0).all()), (seed, gate, i)


# -- On real digits -------------------------------------------------------------------------------

CASES = [
    (mlp, 1.0, "rel_psp"),
    (mlp, 0.04, "rel_psp"),
    (mlp, 1.0, "alpha_psp"),
    (cnn, 1.0, "rel_psp"),
    (cnn, 0.04, "rel_psp"),
]


@pytest.mark.parametrize(("make", "deadline", "neuron"), CASES)
@pytest.mark.parametrize("gate", [True, False])
def test_labels_are_those_of_the_relu_network(make, deadline, neuron, gate, digits, trained):
    net = trained(make, deadline, neuron)
    samples = read(digits.train.images[:300], deadline, neuron)[1]
    times, said = read(digits.test.images, deadline, neuron)
    wanted = net.double()(said)
    assert (wanted.argmax(1) == digits.test.labels).double().mean() > 0.8
    k = 8 if gate else 32
    model = from_relu(net, deadline, k, neuron=neuron, gate=gate, samples=samples)
    decision = model.decide(times)
    same = decision.label == wanted.argmax(1)
    assert same.double().mean() >= (0.995 if gate else 0.99)
    assert decision.fired.all()
    assert float(decision.time.max()) < deadline / (1 - 1 / k)
    if gate and neuron == "rel_psp":
        free = from_relu(net, deadline, k, input_size=(1, 28, 28)).decide(times)
        best = wanted.topk(2, dim=1).values
        told_apart = best[:, 0] - best[:, 1] > 0.02
        assert told_apart.double().mean() > 0.99
        for found in (decision, free):
            assert (found.label == wanted.argmax(1))[told_apart].all()
            torch.testing.assert_close(found.scores.double(), wanted.softmax(1), rtol=0, atol=0.05)


@pytest.mark.parametrize(("make", "deadline", "neuron"), CASES)
def test_clocks_only_say_times_otherwise(make, deadline, neuron, digits, trained):
    net = trained(make, deadline, neuron)
    samples = read(digits.train.images[:50], deadline, neuron)[1]
    times = read(digits.test.images[:40], deadline, neuron)[0]
    for gate in (True, False):
        options = {"neuron": neuron, "gate": gate, "samples": samples}
        model = from_relu(net, deadline, dtype=F64, **options)
        plain = model.in_frames()
        assert plain.clocks is None
        for ours, theirs in zip(model.spike_times(times), plain.spike_times(times), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
        exact, single = model.decide(times), from_relu(net, deadline, **options)
        decision = single.decide(times)
        assert torch.equal(decision.label, exact.label)
        torch.testing.assert_close(decision.time, exact.time, rtol=1e-5, atol=0)
        assert single.spike_times(times)[0].dtype == F64
        operations = single.synaptic_operations(times)
        torch.testing.assert_close(operations, plain.synaptic_operations(times), rtol=1e-3, atol=0)


def test_spikes_before_a_layers_time_are_kept(generator):
    """Samples that the calibration has not seen: hidden neurons fire before their reference."""
    net, times = small(), some_times(generator, 40)
    model = from_relu(net, gate=False, samples=relu_inputs(times[:2]) * 0.3, dtype=F64)
    local = model.local_times(times)
    assert float(local[0].detach().min()) < 1.0
    for ours, theirs in zip(
        model.spike_times(times), model.in_frames().spike_times(times), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    alone = torch.cat([model.decide(row[None]).time for row in times])
    assert torch.equal(alone, model.decide(times).time)


def test_half_precision_keeps_the_answers(digits, trained):
    net = trained(cnn, 0.04)
    times, said = read(digits.test.images, 0.04)
    model = from_relu(net, 0.04, samples=said[:300])
    clocks = model.clocks.clone()
    round_to_half(model)
    assert torch.equal(model.clocks[1:-1], clocks[1:-1])
    assert (model.decide(times).label == net(said.float()).argmax(1)).double().mean() > 0.99


# -- Edges ----------------------------------------------------------------------------------------


def test_black_images_single_samples_and_single_layers():
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    model = from_relu(net)
    black = model.decide(torch.full((1, 784), INF))
    assert int(black.label) == int(net[1].bias.argmax())
    assert bool(black.fired)
    assert from_relu(nn.Linear(3, 2, bias=False), gate=False).n_classes == 2
    assert baselines.from_relu is from_relu


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e6])
def test_weights_of_any_size_are_mapped(scale, generator):
    net, times = small(), some_times(generator)
    with torch.no_grad():
        for p in net.parameters():
            p *= scale
    decision = from_relu(net, dtype=F64).decide(times)
    assert decision.fired.all()
    assert torch.equal(decision.label, net(relu_inputs(times)).argmax(1))


def test_the_network_given_is_left_as_it_was(trained):
    net = trained(mlp).train()
    before = copy.deepcopy(net.state_dict())
    from_relu(net)
    assert net.training
    assert net[3].training
    assert net[1].weight.dtype == torch.float32
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


class Written(nn.Module):
    """A chain as people write it."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(2, 3, 3, padding="same"), nn.Linear(12, 4)
        self.out = nn.Sequential(nn.Identity(), nn.Linear(4, 2))

    def forward(self, x, drop=0.1):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x = F.dropout(x, drop, self.training)
        x = torch.relu(self.linear(x.view(x.size(0), -1)))
        return self.out(torch.flatten(x, 1).reshape(-1, 4))


def test_channels_come_last_and_functions_are_read_as_modules(generator):
    net = Written().double().eval()
    times = torch.rand(7, 2, 4, 4, generator=generator, dtype=F64)
    model = from_relu(net, input_size=(2, 4, 4), dtype=F64)
    out = model.local_times(times.permute(0, 2, 3, 1).flatten(1))[-1]
    torch.testing.assert_close(-out, net(relu_inputs(times)), rtol=0, atol=1e-3)


# -- Refusals -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_user")
def test_numbers_out_of_range_are_refused():
    net = nn.Linear(4, 2)
    for options, message in (
        ({"deadline": 0.0}, "deadline must be positive"),
        ({"k": 0.5}, "k >= 1"),
        ({"dtype": torch.float16}, "dtype must be"),
        ({"neuron": "lif"}, "neuron must be"),
        ({"neuron": "alpha_psp", "deadline": 9.0}, r"decay \* deadline must be <= 1"),
        ({"samples": torch.full((2, 4), 255.0)}, r"in \[0, 1\].*relu_inputs"),
        ({"samples": torch.zeros(0, 4)}, "samples are empty"),
        ({"samples": torch.zeros(2, 4), "input_size": (5,)}, "samples are of"),
        ({"input_size": (5,)}, r"4 inputs on \[5\].*input_size"),
    ):
        with pytest.raises(ValueError, match=message):
            from_relu(net, **options)
    with pytest.raises(ValueError, match=r"Pass samples.*or input_size"):
        from_relu(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)))
    with torch.no_grad():
        net.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="not all finite"):
        from_relu(net)


def test_clocks_that_are_none_are_refused(generator):
    model = from_relu(small())
    with torch.no_grad():
        model.clocks[1, 1] = 0.0
    with pytest.raises(ValueError, match="positive, finite rate"):
        model.decide(some_times(generator))
    with pytest.raises(ValueError, match=r"clocks must be \[5, 2\]"):
        ContinuousNetwork(list(model.layers), clocks=torch.ones(4, 2))


# -- Gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("neuron", ["rel_psp", "alpha_psp"])
@pytest.mark.parametrize("gate", [True, False])
def test_gradients_go_through_clocks_and_pulses(neuron, gate, generator):
    """By finite differences, of times, weights and pulses; kernels and tensors alike."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                        nn.Linear(8, 3)).double()  # fmt: skip
    model = from_relu(net, 0.8, 2, neuron=neuron, gate=gate, input_size=(1, 4, 4), dtype=F64)
    with torch.no_grad():  # a gate of 2^15 would drown finite differences
        for layer in model.layers:
            layer.weight.clamp_(max=20.0)
            layer.pulses += 0.01  # so that none is differentiated at 0
            layer.weight += 0.01 * torch.rand(layer.weight.shape, generator=generator, dtype=F64)
    times = torch.rand(2, 16, generator=generator, dtype=F64).requires_grad_()
    parameters = list(model.parameters())

    def out(times, *parameters):
        names = [name for name, _ in model.named_parameters()]
        given = dict(zip(names, parameters, strict=True)) | {"clocks": model.clocks}
        return torch.func.functional_call(model, given, (times,))

    model.forward = lambda times: model.local_times(times)[-1]
    assert torch.autograd.gradcheck(out, (times, *parameters), eps=1e-7, atol=1e-4, rtol=1e-3)
    gradients = []
    for fast in (True, False):
        for layer in model.layers:
            layer.fast = fast
        loss = first_spike_objective(model.forward(times), torch.tensor([0, 2]), 1.0)
        gradients.append(torch.autograd.grad(loss, [times, *parameters]))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


def test_gradients_are_those_of_the_relu_network_as_k_grows(generator):
    """With the references held: a weight moves the slope, too, of which 1 / k is seen."""
    net, times = small(), some_times(generator, 9)
    labels = torch.arange(9) % 4
    F.cross_entropy(net(relu_inputs(times)), labels).backward()
    wanted, errors = net[0].weight.grad, []
    for k in (8, 64):
        model = from_relu(net, k=k, dtype=F64)
        first_spike_objective(model.local_times(times)[-1], labels, 1.0).backward()
        theta = (net[0].weight[0, 0] / model.layers[1].weight[0, 0]).detach()
        found = model.layers[1].weight.grad[:20].t() / theta
        errors.append(float((found - wanted).norm() / wanted.norm()))
    assert errors[1] < 0.2 * errors[0] < 0.05


def test_first_spikes_fine_tune_what_was_mapped(digits, trained, tmp_path):
    net, times = trained(mlp), read(digits.train.images[:600])[0].float()
    with torch.no_grad():
        net[1].weight += 0.06 * torch.randn(net[1].weight.shape, generator=torch.Generator())
    model = from_relu(net, k=4, gate=False)
    data = Timed(times[:500], digits.train.labels[:500])
    held = Timed(times[500:], digits.train.labels[500:600])
    config = ContinuousConfig(epochs=2, optimizer="adamw", lr=1e-3, lr_pulses=0.0, drift=0.1,
                              silence=1e-6, jitter=1e-4, max_norm=1.0)  # fmt: skip
    before = float((model.decide(data.times).label == data.labels).double().mean())
    train_continuous(model, data, held, config, tmp_path)
    after = float((model.decide(data.times).label == data.labels).double().mean())
    assert after > before + 0.02


def test_jitter_is_in_frames_on_every_clock(generator):
    """The same draws move the same spikes as far, on clocks or without."""
    model, times = from_relu(small(), k=2, dtype=F64), some_times(generator)
    outs = [
        net.spike_times(times, jitter=1e-3, generator=torch.Generator().manual_seed(1))
        for net in (model, model.in_frames())
    ]
    for ours, theirs in zip(*outs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


# -- Accounts, files, other simulators ------------------------------------------------------------


def test_operations_count_pulses_for_every_neuron_that_they_reach(generator):
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3)
    )
    model = from_relu(net, deadline=0.5, input_size=(1, 4, 4))
    times = 0.5 * torch.rand(3, 16, generator=generator)
    # Relays: a synapse for each input, three pulses; then 2 x 2 places of 2 neurons, 9 synapses
    # and 3 pulses each; of 3 neurons 2 synapses and 2 pulses. The gate of the last hidden layer
    # comes before the answer, and that of no layer after it.
    wanted = 16 * (1 + 3) + 8 * (9 + 3) + 3 * (2 + 2)
    assert model.synaptic_operations(times).tolist() == [wanted] * 3
    unread = torch.tensor([[INF] * 16])
    assert model.synaptic_operations(unread).tolist() == [wanted - 16]


def test_the_end_of_the_frame_forces_an_answer_by_the_potentials_there(generator):
    net, times = small(), some_times(generator)
    model = from_relu(net, deadline=0.97, k=8, dtype=F64)  # hidden layers are in time, outputs not
    late = model.decide(times, fallback=True)
    plain = model.in_frames().decide(times, fallback=True)
    assert not late.fired.any()
    assert late.time.tolist() == [1.0] * len(times)
    assert torch.equal(late.label, plain.label)
    early = from_relu(net, deadline=0.5)
    assert early.decide(times, fallback=True).fired.all()


def test_the_account_of_a_mapped_network(digits, trained):
    net = trained(mlp, 0.04)
    times = read(digits.test.images[:50], 0.04)[0]
    network = Network(name="mapped", model=from_relu(net, 0.04), encoder={"polarity": "dark_first"})
    found = network.account(digits.test.labels[:50], times)
    decision = network.decide(times)
    assert found["fired"] == found["at_frame_end"]["fired"] == 50
    assert found["strict_clock"]["mean"] == pytest.approx(float(decision.time.mean()))
    assert found["accuracy"] > 0.8
    assert regime(found["strict_clock"]["mean"]) == "fast"


@pytest.mark.parametrize("kind", ["gated", "open", "alpha", "conv", "frames"])
def test_files_hold_mapped_networks(kind, tmp_path, generator):
    if kind == "conv":
        net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                            nn.Linear(8, 3))  # fmt: skip
        model = from_relu(net, input_size=(1, 4, 4))
    else:
        neuron = "alpha_psp" if kind == "alpha" else "rel_psp"
        model = from_relu(small(), gate=kind != "open", neuron=neuron)
    if kind == "frames":
        model = model.in_frames()
    network = Network(name=kind, model=model)
    check_network(network)
    back = load(network.save(tmp_path / "net.safetensors")).model
    times = torch.rand(6, model.n_inputs, generator=generator)
    for ours, theirs in zip(model.spike_times(times), back.spike_times(times), strict=True):
        assert torch.equal(ours, theirs)
    assert {p.dtype for p in back.state_dict().values()} == {model.layers[0].weight.dtype}
    fresh = mapped_network(**model.options).to(model.layers[0].weight.dtype)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.decide(times).time, model.decide(times).time)
    if kind != "frames":  # its pulses are no numbers of float16
        round_to_half(model)
        rounded = Network(name=kind, model=model).save(tmp_path / "half.safetensors", half=True)
        assert torch.equal(load(rounded).decide(times).time, model.decide(times).time)


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("neuron", ["rel_psp", "alpha_psp"])
@pytest.mark.parametrize("name", ["nest", "brian2"])
def test_simulators_run_mapped_networks(name, neuron, gate, generator):
    if reason := bridge(name).TARGET.missing():
        pytest.skip(reason)
    simulator = importlib.import_module(f"bridges.networks.{name}")
    times, dt = some_times(generator, 3), 2e-3
    model = from_relu(small(), 0.5, 3, neuron=neuron, gate=gate, samples=relu_inputs(times, 0.5))
    exact = model.spike_times(times)[-1].detach()
    ran = simulator.spike_times(model, times, dt=dt, frames=1.0)[-1]
    inside = exact < 1.0 - dt
    assert inside.any(dim=1).all()
    tolerance = 1e-5 if name == "nest" else dt
    assert float((ran - exact)[inside].abs().max()) < tolerance
    if name == "nest":
        assert torch.equal(ran.argmin(1), exact.argmin(1))


def test_nir_runs_mapped_networks(generator):
    """As a graph in frames, on a clock of steps: the interpreter of test_nir."""
    pytest.importorskip("nir", reason="NIR is not installed")
    from bridges.networks import nir as nir_models
    from bridges.stream.stream import SpikeStream
    from tests.bridges.test_nir import execute

    net, times = small(), some_times(generator, 2)
    model = from_relu(net, 0.8, 2, samples=relu_inputs(times, 0.8))
    exact, n = model.spike_times(times)[-1].detach().numpy(), 4000
    graph, inputs = nir_models.graph(model), nir_models.input_times(model, times)
    frames = 2
    stream = SpikeStream.from_times(
        torch.where(inputs < frames, inputs, INF), n // frames, 1e-4, frames=frames,
        off_grid="floor",
    )  # fmt: skip
    z = stream.to_tensor().double().numpy()
    for i in range(2):
        first, counts = execute(graph, z[:, i], nir_models.FRAME_S * frames / n, frames)
        assert counts.max() == 1
        assert first.argmin() == exact[i].argmin()
        assert abs(first.min() - exact[i].min()) < 8 * frames / n


def test_a_convolution_without_pooling_is_a_dense_layer(generator):
    weight = torch.rand(2 * 9 + 2, 3, generator=generator, dtype=F64)
    pulses = torch.tensor([0.1, 0.9], dtype=F64)
    times = torch.rand(4, 50, generator=generator, dtype=F64)
    for edge in (None, 1):
        layer = Conv(baselines.ReLPSP(3.0), weight, (5, 5, 2), 3, 1, pulses, padding=1, stride=2,
                     edge=edge)  # fmt: skip
        dense = layer.as_dense()
        assert isinstance(dense, Dense)
        torch.testing.assert_close(dense(times), layer(times), rtol=1e-12, atol=0)
        assert int(layer.fan_out().sum()) == int((dense.weight[:50] != 0).sum())
    with pytest.raises(ValueError, match="does not pool, this one does by 2"):
        Conv(baselines.ReLPSP(), weight, (5, 5, 2), 3, 2, pulses).as_dense()
    assert math.prod(layer.size) == dense.n_outputs
