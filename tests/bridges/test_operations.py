"""Synaptic operations until the decision: held to products caught as torch executes them.

The slow definition runs one sample and one step at a time, catches every matrix product below the
layers, and looks at what came in: an accumulate for each spike and synapse where only 0 and 1 ever
come in, all multiply-adds else.
"""

from collections import defaultdict

import pytest
import snntorch as snn
import torch
from test_step_models import (
    ALL,
    CLASSES,
    INPUTS,
    B,
    T,
    norse_net,
    snntorch_layers,
    telling,
)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from baselines.lif import RCLIF, TTFSLIF, NorseLIF, SnnTorchLIF
from bridges.networks.step_models import NorseModel, SNNTorchModel, StepModule
from rc_snn import Decision, Network, account, decide
from rc_snn.models import RCLSTM
from rc_snn.regimes import count_operations, synaptic_operations
from rc_snn.runner import trace
from rc_snn.sequences import DenseSequences, SpikeSequences


class Caught(TorchDispatchMode):
    """What comes into the matrix products of a step, in order, with the size of what comes out."""

    def __init__(self):
        super().__init__()
        self.products = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in ("addmm", "mm"):
            x, weight = args[-2:]
            self.products.append((x.clone(), weight.shape[1]))
        return function(*args, **(kwargs or {}))


def slow(model: StepModule, frames: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Accumulates and multiply-accumulates of each sample until its step."""
    none = torch.zeros(len(step))
    spikes, dense = defaultdict(none.clone), defaultdict(none.clone)
    binary = defaultdict(lambda: True)
    for b in range(len(step)):
        state = None
        for t in range(int(step[b]) + 1):
            with torch.no_grad(), Caught() as caught:
                features, state = model.step(frames[t, b : b + 1], state)
                model.read_out(features)
            for i, (x, targets) in enumerate(caught.products):
                if t == 0 and i > 0 and not x.any():
                    continue  # of the first step, which has no previous state
                binary[i] &= set(x.unique().tolist()) <= {0.0, 1.0}
                spikes[i][b] += float((x != 0).sum()) * targets
                dense[i][b] += x.numel() * targets
    accumulates = sum((spikes[i] for i in binary if binary[i]), none)
    multiplies = sum((dense[i] for i in binary if not binary[i]), none)
    return accumulates.double(), multiplies.double()


def at(step: Tensor) -> Decision:
    return Decision.at_steps(step, T, torch.ones(len(step)) > 0, torch.eye(CLASSES)[step % CLASSES])


@pytest.fixture
def x() -> Tensor:
    g = torch.Generator().manual_seed(1)
    return (torch.rand(T, B, INPUTS, generator=g) < 0.4).float()


@pytest.mark.parametrize(("library", "name"), ALL)
@pytest.mark.parametrize("read_out", [False, True])
def test_operations_equal_the_products_that_torch_executes(library, name, read_out, x):
    linear = nn.Linear(CLASSES, CLASSES) if read_out else None
    options = {"gain": 2.0, "read_out": linear, "features": "output" if read_out else "potential"}
    if library == "snntorch":
        model = SNNTorchModel(snntorch_layers(name), INPUTS, CLASSES, **options)
    else:
        model = NorseModel(norse_net(name)[0], INPUTS, CLASSES, **options)
    few = 7
    inputs = DenseSequences(x[:, :few])
    with torch.no_grad():
        theta = telling(trace(model, inputs))
    decision = decide(model, inputs, min(theta, 0.999))
    step = torch.tensor([0, T - 1, 0, 3, 2, 5, 1])
    for of in (decision, at(step)):
        found, expected = count_operations(model, inputs, of, batch_size=3), slow(model, x, of.step)
        torch.testing.assert_close(found.ac, expected[0])
        torch.testing.assert_close(found.mac, expected[1])
    hidden = {"slstm": "mac"}.get(name, "ac")  # an LSTM's h is no spike
    assert float(getattr(found, hidden).sum()) > 0


def two_layers() -> tuple[SNNTorchModel, list[nn.Module]]:
    torch.manual_seed(0)
    layers = [nn.Linear(20, 30), snn.Leaky(0.9), nn.Linear(30, 10), snn.Leaky(0.9)]
    with torch.no_grad():
        layers[0].weight.mul_(3.0)
    return SNNTorchModel(layers, 20, 10, gain=3.0), layers


def test_the_account_of_a_two_layer_network_counts_hidden_spikes_as_a_hook_does():
    model, layers = two_layers()
    g = torch.Generator().manual_seed(2)
    times = torch.rand(40, 20, generator=g)
    times[:3] = torch.inf  # silent
    times[3:5] = 0.0  # all at once
    network = Network("two layers", model, theta=0.5, n_steps=T)
    decision = network.decide(times)
    assert len(decision.step.unique()) > 3
    hidden = torch.zeros(40)
    inputs = torch.zeros(40)
    steps = (times * T).floor().clamp(max=T)
    for b in range(40):
        spikes = []
        hook = layers[1].register_forward_hook(lambda *a, of=spikes: of.append(a[2][0].sum()))
        network.decide(times[b : b + 1])
        hook.remove()
        assert len(spikes) == int(decision.step[b]) + 1
        hidden[b] = float(sum(spikes))
        inputs[b] = float((steps[b] <= decision.step[b]).sum())
    assert float(hidden.mean()) > 5
    metrics = network.account(torch.zeros(40, dtype=torch.long), times)
    assert metrics["synops_mac"] == 0.0  # all are spikes
    assert metrics["synops_ac"] == pytest.approx(float((30 * inputs + 10 * hidden).mean()))
    one = network.account(torch.zeros(1, dtype=torch.long), times[7:8])
    assert one["synops_ac"] == float(30 * inputs[7] + 10 * hidden[7])
    silent = network.account(torch.zeros(1, dtype=torch.long), times[:1])
    assert silent["synops_ac"] == float(10 * hidden[0])  # biases may make hidden neurons spike


@pytest.mark.parametrize("kind", [RCLIF, TTFSLIF])
@pytest.mark.parametrize("neurons", [SnnTorchLIF(), NorseLIF(dt_s=2e-3)])
@torch.no_grad()
def test_our_lif_networks_count_their_hidden_spikes(kind, neurons):
    g = torch.Generator().manual_seed(0)
    model = kind(neurons, 12, 9, 4, generator=g)
    steps = torch.randint(7, (15, 12), generator=g)
    until = torch.arange(15) % 6
    decision = Decision.at_steps(until, 6, until > 0, torch.eye(4)[until % 4])
    found = count_operations(model, SpikeSequences(steps, 6), decision, batch_size=4)
    for b in range(15):
        state, expected = None, 0.0
        for t in range(int(until[b]) + 1):
            x = (steps[b : b + 1] == t).float()
            z, _, state = neurons.step(x @ model.weight_ih.t() + model.bias_h, state, True)
            expected += float(x.sum()) * 9 + float(z.sum()) * 4
        assert float(found.ac[b]) == expected
    assert not found.mac.any()


class Hidden(nn.Module):
    """Layers without state, between which nothing but what `act` gives passes."""

    def __init__(self, act: nn.Module, conv: bool = False):
        super().__init__()
        torch.manual_seed(0)
        first = nn.Sequential(nn.Unflatten(1, (1, 4, 5)), nn.Conv2d(1, 2, 3, padding=1))
        second = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Flatten())
        self.first = first if conv else nn.Linear(20, 8)
        self.second = second if conv else nn.Linear(8, 3)
        self.act, self.last = act, nn.Linear(18 if conv else 3, 3)

    def forward(self, x, state):
        count = x.new_zeros(len(x), 1) if state is None else state
        y = self.act(self.first(x))
        return self.last(self.second(y)), count + 1


class Spikes(nn.Module):
    def forward(self, x):
        return (x > 0.1).float()


def test_spikes_into_a_convolution_reach_the_targets_that_exist():
    model = StepModule(Hidden(Spikes(), conv=True), 20, 3)
    x = (torch.rand(T, B, 20, generator=torch.Generator().manual_seed(3)) < 0.3).float()
    step = torch.arange(B) % T
    found = count_operations(model, DenseSequences(x), at(step))
    for b in range(0, B, 5):
        expected = 0
        for t in range(int(step[b]) + 1):
            grids = [
                (x[t, b].view(1, 4, 5), 1, 2),
                (model.module.act(model.module.first(x[t, b : b + 1]))[0], 2, 3),
            ]
            for grid, stride, channels in grids:
                for _, i, j in grid.nonzero().tolist():
                    for u in range(0, 4, stride):
                        for v in range(0, 5, stride):
                            expected += channels * (abs(u - i) <= 1 and abs(v - j) <= 1)
        assert float(found.ac[b]) == expected
    last = 18 * 3 * (step + 1).double()  # what leaves the second convolution is analog
    assert torch.equal(found.mac, last)


def test_an_activation_that_is_zero_in_some_batch_is_still_analog():
    model = StepModule(Hidden(nn.ReLU()), 20, 3)
    with torch.no_grad():
        model.module.first.bias.fill_(-1.0)  # silent without input
        model.module.first.weight.abs_()
    x = torch.zeros(T, B, 20)
    x[:, ::2] = 1.0  # the last is silent
    step = torch.arange(B) % T
    by_one = count_operations(model, DenseSequences(x), at(step), batch_size=1)
    at_once = count_operations(model, DenseSequences(x), at(step))
    for one, all_ in zip(by_one, at_once, strict=True):
        assert torch.equal(one, all_)
    cost = model.cost()
    assert torch.equal(by_one.mac, (step + 1).double() * cost.inner)


def test_models_that_are_not_watched_keep_the_count_of_input_spikes_and_a_mean_is_a_bias():
    g = torch.Generator().manual_seed(0)
    model = RCLSTM(20, 6, CLASSES, generator=g)
    steps = torch.randint(T + 1, (B, 20), generator=g)
    until = torch.arange(B) % T
    expected = synaptic_operations(until, steps, model.cost())
    for mean in (None, torch.rand(T, 20, generator=g)):
        found = count_operations(model, SpikeSequences(steps, T, mean=mean), at(until))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    frames = torch.randint(3, (T, B, 20), generator=g).float()  # up to two spikes in a step
    found = count_operations(model, DenseSequences(frames), at(until))
    told = account(
        *(at(until), torch.zeros(B, dtype=torch.long)),
        n_steps=T,
        cost=model.cost(),
        inputs=DenseSequences(frames),
    )
    spikes = sum(frames[: int(until[b]) + 1, b].sum() for b in range(B))
    assert float(found.ac.sum()) == 24 * float(spikes)
    assert (float(found.ac.mean()), float(found.mac.mean())) == (told.synops_ac, told.synops_mac)
    watched, _ = two_layers()
    plain = SpikeSequences(steps, T)
    centred = SpikeSequences(steps, T, mean=torch.zeros(T, 20))
    for a, b in zip(
        *(count_operations(watched, s, at(until)) for s in (plain, centred)), strict=True
    ):
        assert torch.equal(a, b)


def test_an_analog_input_takes_multiply_accumulates():
    class GRU(nn.GRUCell):
        def forward(self, x, h):
            h = super().forward(x, h)
            return h, h

    model = StepModule(GRU(5, 4), 5, 3, read_out=nn.Linear(4, 3))
    x = torch.randn(T, B, 5, generator=torch.Generator().manual_seed(0))
    step = torch.arange(B) % T
    found = count_operations(model, DenseSequences(x), at(step))
    assert not found.ac.any()
    assert torch.equal(found.mac, 60.0 * (step + 1) + 48.0 * step + 12.0 * (step + 1))
    binary = count_operations(model, DenseSequences((x > 0).float()), at(step))
    assert torch.equal(binary.mac, found.mac - 60.0 * (step + 1))


def test_a_network_with_a_cost_of_its_own_is_not_watched():
    class Own(SNNTorchModel):
        def cost(self):
            return two_layers()[0].cost()

    layers = [nn.Linear(20, 30), snn.Leaky(0.9), nn.Linear(30, 10), snn.Leaky(0.9)]
    model, step = Own(layers, 20, 10), torch.arange(B) % T
    found = count_operations(model, DenseSequences(torch.ones(T, B, 20)), at(step))
    assert torch.equal(found.mac, 300.0 * (step + 1).double())


def test_operations_that_are_given_are_what_the_account_says():
    decision, labels = at(torch.arange(B) % T), torch.zeros(B, dtype=torch.long)
    pair = torch.arange(B), 2 * torch.arange(B)
    with pytest.raises(ValueError, match="each of 24 decisions, >= 0, got the shapes"):
        account(decision, labels, n_steps=T, operations=(pair[0][:3], pair[1]))
    found = account(decision, labels, n_steps=T, operations=pair)
    assert (found.synops_ac, found.synops_mac) == ((B - 1) / 2, B - 1.0)
    with pytest.raises(ValueError, match="got 24 sequences and 3 decisions"):
        count_operations(two_layers()[0], DenseSequences(torch.ones(T, B, 20)), at(torch.arange(3)))
