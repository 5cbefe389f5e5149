"""NeuroBench: the runner's own decisions, and every operation between its figures and ours."""

import subprocess
import sys
from dataclasses import replace
from functools import cache

import pytest
import snntorch
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from baselines.lif import RCLIF, TTFSLIF, NorseLIF, SnnTorchLIF
from baselines.rel_psp import rel_psp
from benchmarks import neurobench as benchmark
from benchmarks.task import command
from bridges.errors import BridgeError
from bridges.networks.step_models import NorseModel, SNNTorchModel, StepModule
from bridges.neurobench.account import Operations, books
from bridges.neurobench.metrics import (
    TARGET,
    ContinuousModel,
    RankCoded,
    SpikeFrames,
    latency_frames,
    measure,
    neurobench_model,
)
from bridges.target import load as snn_of
from bridges.targets import norse
from encoders.functional import encode_latency
from encoders.mnist import Digits, embedded_digits
from encoders.temporal_mnist import take
from rc_snn import RCLSTM, Network, RCConvLSTM, SpikeSequences, decide, load, spike_frames
from rc_snn.models import ReadOut
from rc_snn.network import names
from rc_snn.regimes import count_operations
from rc_snn.runner import trace
from rc_snn.spikes import Decision

installed = pytest.mark.skipif(TARGET.missing() is not None, reason=str(TARGET.missing()))
T, N, THETA = 4, 12, 0.6


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lively(model: nn.Module, scale: float) -> nn.Module:
    """Stretch the weights, so that answers come at several steps; put a zero into each matrix."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
            if parameter.dim() > 1:
                parameter[(-1,) * parameter.dim()] = 0.0
    return model


def random_steps(n_inputs: int, n: int = N) -> torch.Tensor:
    return torch.randint(0, T + 1, (n, n_inputs), generator=generator(3))


def labels(n: int = N) -> torch.Tensor:
    return torch.arange(n) % 2


def lstm(n_classes: int = 3, read_out: ReadOut = "softmax", seed: int = 3) -> nn.Module:
    return lively(RCLSTM(6, 5, n_classes, read_out=read_out, generator=generator(seed)), 8.0)


def conv() -> nn.Module:
    sizes = {"image_shape": (5, 4), "n_classes": 3}
    return lively(RCConvLSTM((2, 3), 3, pool=2, generator=generator(), **sizes), 5.0)


SMALL = {
    "lstm": (lstm, {"theta": 0.6}),
    "linear": (lstm, {"theta": 0.6, "gates": "linear"}),
    "sigmoid": (lambda: lstm(2, "sigmoid", 2), {"theta": 0.7}),
    "conv": (conv, {"theta": 0.8}),
    "rc-lif": (
        lambda: lively(RCLIF(SnnTorchLIF(), 6, 5, 3, generator=generator(1)), 5.0),
        {"theta": 0.95},
    ),
    "ttfs": (lambda: lively(TTFSLIF(SnnTorchLIF(), 6, 5, 3, generator=generator(1)), 3.0), {}),
}


def small(kind: str, **more) -> tuple[nn.Module, RankCoded, SpikeFrames]:
    make, options = SMALL[kind]
    model = make()
    data = SpikeFrames(random_steps(model.n_inputs), labels(), T)
    return model, RankCoded(model, n_steps=T, **options, **more), data


def threshold(kind: str) -> float | None:
    return SMALL[kind][1].get("theta")


def frames(data: SpikeFrames) -> torch.Tensor:
    return spike_frames(data.steps, data.n_steps).transpose(0, 1)


def answers(model: nn.Module, theta: float | None, steps, mean=None) -> Decision:
    inputs = SpikeSequences(steps, T, mean=mean)
    return model.decide(inputs) if isinstance(model, TTFSLIF) else decide(model, inputs, theta)


def assert_same(got: Decision, want: Decision) -> None:
    torch.testing.assert_close(got.label, want.label)
    torch.testing.assert_close(got.step, want.step)
    torch.testing.assert_close(got.fired, want.fired)
    torch.testing.assert_close(got.time, want.time)
    torch.testing.assert_close(got.scores, want.scores, rtol=1e-4, atol=1e-5)


# -- Decisions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("early_exit", [True, False])
@pytest.mark.parametrize("kind", SMALL)
def test_answers_are_those_of_the_runner(kind, early_exit):
    model, network, data = small(kind, early_exit=early_exit)
    want = answers(model, threshold(kind), data.steps)
    assert len(want.step.unique()) > 1, "else leaving early would not be seen"
    assert_same(network.decide(frames(data)), want)


@pytest.mark.parametrize("kind", ["lstm", "linear", "conv"])
def test_a_mean_folded_into_the_bias_changes_no_answer(kind):
    model, _, data = small(kind)
    mean = torch.rand(T, model.n_inputs, generator=generator(5))
    network = RankCoded(model, n_steps=T, mean=mean, **SMALL[kind][1])
    want = answers(model, threshold(kind), data.steps, mean)
    plain = answers(model, threshold(kind), data.steps)
    assert not torch.equal(want.step, plain.step), "the mean matters"
    assert_same(network.decide(frames(data)), want)


@cache
def digits() -> Digits:
    return embedded_digits()


def shipped(name: str, n: int, *ways: dict) -> None:
    net = load(name)
    split = take(digits().test, torch.arange(0, 1000, 1000 // n))
    encoder = {key: net.encoder[key] for key in ("polarity", "zero_pixels")}
    data = latency_frames(split, RankCoded(net).n_steps, **encoder)
    times = encode_latency(split.images, **encoder)
    want = net.decide(times)
    assert len(want) == n
    for options in ({}, *ways):
        network = RankCoded(net, **options)
        assert_same(Decision.cat([network.decide(x) for x in frames(data).split(250)]), want)


LIF = [name for name in names() if "lif" in name]
LSTM = [name for name in names() if name.startswith("rc-lstm-340")]
CONV = [name for name in names() if "rc-conv" in name]


@pytest.mark.slow
@pytest.mark.parametrize("name", LSTM)
def test_shipped_lstms_answer_all_embedded_digits_alike(name):
    shipped(name, 1000, {"gates": "linear"})


@pytest.mark.slow
@pytest.mark.parametrize("name", LIF)
def test_shipped_lif_networks_answer_all_embedded_digits_alike(name):
    shipped(name, 1000)


@pytest.mark.parametrize("name", [*LIF, LSTM[0], "rc-convlstm-10-fast"])
def test_shipped_networks_answer_alike_when_they_run_to_the_end(name):
    shipped(name, 20, {"early_exit": False})


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CONV if "fast" in name])
def test_shipped_convlstms_answer_alike(name):
    shipped(name, 50)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONV)
def test_shipped_convlstms_answer_all_embedded_digits_alike(name):
    shipped(name, 1000)
    shipped(name, 100, {"early_exit": False})


def test_weights_are_copies_and_the_global_generator_stays_as_it_was():
    model = RCLSTM(6, 5, 3)
    state = torch.get_rng_state()
    network = RankCoded(model, THETA, T)
    assert torch.equal(torch.get_rng_state(), state)
    before = network.network.cell.weight_ih.clone()
    with torch.no_grad():
        model.cell.weight_ih.zero_()
    torch.testing.assert_close(network.network.cell.weight_ih, before)
    assert not any(p.requires_grad for p in network.parameters())


# -- Operations, counted the slow way ------------------------------------------------------------


def fan(weight: torch.Tensor, grid: tuple[int, int] | None) -> list[list[int]]:
    """Return, for each input, its synapses: all of them, and those that are not 0."""
    if grid is None:
        return [[weight.shape[0], int((weight[:, i] != 0).sum())] for i in range(weight.shape[1])]
    height, width = grid
    out, inputs, k, _ = weight.shape
    found = [[0, 0] for _ in range(inputs * height * width)]
    for o in range(out):
        for i in range(inputs):
            for y in range(height):
                for x in range(width):
                    for dy in range(k):
                        for dx in range(k):
                            row, column = y + dy - k // 2, x + dx - k // 2
                            if 0 <= row < height and 0 <= column < width:
                                place = found[(i * height + row) * width + column]
                                place[0] += 1
                                place[1] += int(weight[o, i, dy, dx] != 0)
    return found


def total(weight: torch.Tensor, grid: tuple[int, int] | None = None) -> torch.Tensor:
    return torch.tensor(fan(weight, grid), dtype=torch.float64).sum(0)


def count(spikes, last, weight, inner, recurrent, read_out, grid=None) -> torch.Tensor:
    """Count ACs, MACs and dense products of one sample, step by step, as one would by hand."""
    acs = macs = dense = 0.0
    each = fan(weight, grid)
    for step in range(last + 1):
        acs += sum(each[i][1] for i, s in enumerate(spikes.tolist()) if s == step)
        dense += sum(all_ for all_, _ in each)
        for part in inner + read_out + (recurrent if step > 0 else []):
            dense, macs = dense + float(part[0]), macs + float(part[1])
    return torch.tensor([acs, macs, dense], dtype=torch.float64)


def as_tensor(operations) -> torch.Tensor:
    return torch.tensor(list(operations), dtype=torch.float64)


def seen(network, data, **options) -> torch.Tensor:
    m = measure(network, data, **options)
    return torch.tensor([m.effective_acs, m.effective_macs, m.dense], dtype=torch.float64)


@installed
def test_an_lstm_by_hand_products_with_h_are_booked_as_accumulates():
    model, network, data = small("lstm")
    step = answers(model, threshold("lstm"), data.steps).step
    cell, out = model.cell, [total(model.output.weight)]
    apart = torch.stack(
        [
            count(s, int(t), cell.weight_ih, [], [total(cell.weight_hh)], out)
            for s, t in zip(data.steps, step, strict=True)
        ]
    ).mean(0)
    with_h = float((step.double() * float(total(cell.weight_hh)[1])).mean())
    gates = float((5 * (3 * (step + 1) - 1)).double().mean())  # i·g, f·c but at first, o·tanh(c)
    want = apart + torch.tensor([with_h + gates, -with_h, gates], dtype=torch.float64)
    torch.testing.assert_close(seen(network, data), want)
    torch.testing.assert_close(
        seen(small("linear")[1], data), apart, msg="as two nn.Linear: each product what it is"
    )


@installed
def test_a_convlstm_by_hand_counts_inside_the_grid_only():
    model, network, data = small("conv")
    step = answers(model, threshold("conv"), data.steps).step
    (a, b), (first, second) = model.layers, model.grids
    parts = ([total(b.weight_ih, second)], [total(a.weight_hh, first), total(b.weight_hh, second)])
    want = torch.stack(
        [
            count(s, int(t), a.weight_ih, *parts, [total(model.output.weight)], first)
            for s, t in zip(data.steps, step, strict=True)
        ]
    ).mean(0)
    torch.testing.assert_close(seen(network, data), want)
    assert want[2] < books(network, step, data.steps).ours.dense, "ours has the padding"


@installed
@pytest.mark.parametrize("kind", ["rc-lif", "ttfs"])
def test_a_lif_network_by_hand_counts_hidden_spikes(kind):
    model, network, data = small(kind)
    step = answers(model, threshold(kind), data.steps).step
    rows = []
    for spikes, last in zip(data.steps, step.tolist(), strict=True):
        mem, before = torch.zeros(5), torch.zeros(5)
        row = count(spikes, last, model.weight_ih, [total(model.weight_ho)], [], [])
        row[1] = 0.0
        for t in range(last + 1):
            mem = 0.9 * mem - before
            mem = mem + model.weight_ih.detach() @ (spikes == t).float() + model.bias_h.detach()
            before = (mem > 1.0).float()
            for j in before.nonzero():
                row[0] += int((model.weight_ho[:, j] != 0).sum())
        rows.append(row)
    assert network.cost.inner > 0
    torch.testing.assert_close(seen(network, data), torch.stack(rows).mean(0))


@installed
@pytest.mark.parametrize("early_exit", [True, False])
@pytest.mark.parametrize("kind", SMALL)
def test_our_account_and_the_named_differences_add_up_to_what_neurobench_measures(kind, early_exit):
    model, network, data = small(kind, early_exit=early_exit)
    found = books(network, answers(model, threshold(kind), data.steps).step, data.steps)
    torch.testing.assert_close(seen(network, data), as_tensor(found.expected))
    assert found.differences, "the weights hold zeros: something is to be explained"


@installed
def test_an_lstm_of_linear_layers_without_zeros_is_counted_as_ours_is():
    model = RCLSTM(6, 5, 3, generator=generator())
    data = SpikeFrames(random_steps(6), labels(), T)
    found = books(RankCoded(model, THETA, T, gates="linear"), torch.full((N,), T - 1), data.steps)
    assert found.differences == {}
    network = RankCoded(model, 1.0 - 1e-6, T, gates="linear")  # nothing fires
    torch.testing.assert_close(seen(network, data), as_tensor(found.ours))


@installed
@pytest.mark.parametrize("kind", SMALL)
def test_operations_do_not_depend_on_the_batch_size_and_early_exit_saves_them(kind):
    _, network, data = small(kind)
    one = seen(network, data, batch_size=1)
    for batch_size in (5, N):
        torch.testing.assert_close(seen(network, data, batch_size=batch_size), one)
    network.early_exit = False
    assert (seen(network, data)[2] > one[2]).all()


@installed
def test_a_centred_input_that_is_not_folded_would_be_booked_as_multiply_accumulates():
    model = RCLSTM(6, 5, 3, generator=generator())
    mean, steps = torch.rand(T, 6, generator=generator(5)), random_steps(6)
    folded = RankCoded(model, THETA, T, mean=mean)
    centred = TensorDataset(spike_frames(steps, T).transpose(0, 1) - mean, labels())
    assert seen(folded, SpikeFrames(steps, labels(), T))[0] > 0
    assert seen(RankCoded(model, THETA, T), centred)[0] == 0, "not one accumulate"


# -- Networks of others --------------------------------------------------------------------------


def of_snntorch(*, conv: bool = False, recurrent: bool = False) -> SNNTorchModel:
    torch.manual_seed(0)
    first = [nn.Linear(6, 5)]
    if conv:
        first = [nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 2, 3, padding=1), nn.Flatten()]
    size = 12 if conv else 5
    hidden = snntorch.RLeaky(0.9, linear_features=size) if recurrent else snntorch.Leaky(0.9)
    layers = [*first, hidden, nn.Linear(size, 3), snntorch.Leaky(0.9)]
    with torch.no_grad():
        for layer in layers:
            if hasattr(layer, "weight"):
                layer.weight.mul_(3.0)
    return SNNTorchModel(layers, 6, 3, gain=2.0)


def of_norse() -> NorseModel:
    torch.manual_seed(0)
    snn = snn_of(norse.TARGET)
    cells = [nn.Linear(6, 5), snn.LIFCell(dt=0.01), nn.Linear(5, 3), snn.LICell(dt=0.01)]
    with torch.no_grad():
        cells[0].weight.mul_(10.0)
    return NorseModel(snn.SequentialState(*cells), 6, 3, gain=5.0)


class GRU(nn.GRUCell):
    def forward(self, x, h):
        h = super().forward(x, torch.zeros(len(x), 5) if h is None else h)
        return h, h


OTHERS = {
    "snntorch": of_snntorch,
    "snntorch, recurrent": lambda: of_snntorch(recurrent=True),
    "snntorch, grid": lambda: of_snntorch(conv=True),
    "norse": of_norse,
    "rate code": lambda: SNNTorchModel(
        nn.Sequential(*of_snntorch().module), 6, 3, features="count"
    ),
    "gru": lambda: StepModule(GRU(6, 5), 6, 3, read_out=nn.Linear(5, 3)),
}


def other(kind: str, **more) -> tuple[StepModule, RankCoded, SpikeFrames]:
    model, data = OTHERS[kind](), SpikeFrames(random_steps(6), labels(), T)
    p = torch.softmax(trace(model, SpikeSequences(data.steps, T)), dim=2).amax(2)
    return model, RankCoded(model, float(p.detach().median()), T, **more), data


@pytest.mark.parametrize("early_exit", [True, False])
@pytest.mark.parametrize("kind", OTHERS)
def test_networks_of_others_answer_as_the_runner_says(kind, early_exit):
    model, network, data = other(kind, early_exit=early_exit)
    want = decide(model, SpikeSequences(data.steps, T), network.network.theta)
    assert len(want.step.unique()) > 1
    assert_same(network.decide(frames(data)), want)
    assert network.network.model is not model, "a copy"
    to_the_end = RankCoded(Network("mine", model, n_steps=T)).decide(frames(data))
    assert_same(to_the_end, decide(model, SpikeSequences(data.steps, T), None))


@installed
@pytest.mark.parametrize("early_exit", [True, False])
@pytest.mark.parametrize("kind", [k for k in OTHERS if k != "gru"])
def test_of_spiking_networks_neurobench_measures_what_we_count(kind, early_exit):
    model, network, data = other(kind, early_exit=early_exit)
    decision = decide(model, SpikeSequences(data.steps, T), network.network.theta)
    if not early_exit:
        decision = replace(decision, step=torch.full((N,), T - 1))
    found = count_operations(model, SpikeSequences(data.steps, T), decision)
    assert found.ac.sum() > 0
    measured = seen(network, data)
    torch.testing.assert_close(
        measured[:2], torch.stack([part.mean() for part in found]).to(measured)
    )


@installed
def test_activation_sparsity_of_snntorch_is_that_of_its_neurons():
    model, network, data = other("snntorch", early_exit=False)
    spikes, size, state = 0.0, 0, None
    with torch.no_grad():
        for t in range(T):
            outputs = []
            hooks = [
                model.module[i].register_forward_hook(
                    lambda m, x, out, to=outputs: to.append(out[0])
                )
                for i in (1, 3)
            ]
            _, state = model.step((data.steps == t).float(), state)
            for hook in hooks:
                hook.remove()
            spikes += sum(float(z.sum()) for z in outputs)
            size += sum(z.numel() for z in outputs)
    assert measure(network, data).activation_sparsity == pytest.approx(1.0 - spikes / size)


@pytest.mark.usefixtures("as_user")
def test_what_is_known_of_our_networks_only_is_refused_of_others():
    model = of_snntorch()
    with pytest.raises(BridgeError, match="Leave it out"):
        RankCoded(model, THETA, T, mean=torch.zeros(T, 6))
    network = RankCoded(model, THETA, T)
    with pytest.raises(BridgeError, match="count_operations counts its operations"):
        books(network, torch.zeros(N, dtype=torch.long), random_steps(6))


# -- NeuroBench's traps ------------------------------------------------------------------------


class Whole(nn.Module):
    """`nn.LSTM` and a read-out, as one would write them first."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.output = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x):
        return self.output(self.lstm(x)[0][:, -1]).argmax(1)


class Stateless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.output = nn.LSTMCell(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.output(self.cell(x[:, 0])[0]).argmax(1)


def run_quietly(network: nn.Module, data, batch_size: int):
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.workload import SynapticOperations

    loader = DataLoader(data, batch_size)
    model = neurobench_model(network)
    with torch.no_grad():
        return Benchmark(model, loader, [], [], [[], [SynapticOperations]]).run(quiet=True)


@installed
def test_nn_lstm_is_silently_uncounted(capsys):
    data = SpikeFrames(random_steps(6), labels(), T)
    several = run_quietly(Whole(), data, 4)["SynapticOperations"]
    assert several["Dense"] == 2 * 5, "the read-out, and nothing else"
    assert run_quietly(Whole(), data, N)["SynapticOperations"] == 0.0
    assert capsys.readouterr().out == ""
    with pytest.raises(BridgeError, match=r"nn\.LSTM is not counted"):
        measure(Whole(), data, batch_size=4)


@installed
def test_a_cell_called_without_its_state_is_not_counted_either():
    with pytest.raises(BridgeError, match="called with their state"):
        measure(Stateless(), SpikeFrames(random_steps(6), labels(), T))


@installed
def test_a_network_can_be_measured_twice_and_nothing_stays_attached(capsys):
    _, network, data = small("lstm")
    assert measure(network, data) == measure(network, data)
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    said = capsys.readouterr()
    assert said.out == said.err == "", "NeuroBench prints, and draws a progress bar"


@installed
def test_a_second_benchmark_on_the_same_neurobench_model_would_measure_nothing():
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.workload import SynapticOperations

    _, network, data = small("lstm")
    model, metrics = neurobench_model(network), [[], [SynapticOperations]]
    bench = Benchmark(model, DataLoader(data), [], [], metrics)
    first = bench.run(quiet=True)["SynapticOperations"]["Dense"]
    bench = Benchmark(model, DataLoader(data), [], [], metrics)
    assert first > 0
    assert bench.run(quiet=True)["SynapticOperations"]["Dense"] == 0


@installed
def test_neurobench_adds_in_float32_and_rounds_beyond_two_to_the_24():
    from neurobench.metrics.utils.layers import single_layer_MACs

    layer = nn.Linear(1, 1, bias=False).requires_grad_(False)
    assert single_layer_MACs(torch.ones(2**24 + 1, 1), layer)[0] == 2**24


# -- Figures other than operations ---------------------------------------------------------------


@installed
def test_activation_sparsity_is_the_share_of_silent_hidden_neurons():
    model, network, data = small("rc-lif", early_exit=False)
    state, spikes = None, 0.0
    for t in range(T):
        current = nn.functional.linear(
            (data.steps == t).float(), model.weight_ih, model.bias_h
        ).detach()
        z, _, state = model.neurons.step(current, state, spiking=True)
        spikes += float(z.sum())
    measured = measure(network, data, batch_size=4)
    assert measured.activation_sparsity == pytest.approx(1.0 - spikes / (N * T * 5))
    assert measure(small("lstm")[1], data).activation_sparsity == 0.0


@installed
def test_footprint_has_the_weights_and_the_table_of_the_mean():
    model, data = RCLSTM(6, 5, 3), SpikeFrames(random_steps(6), labels(), T)
    n = sum(p.numel() for p in model.parameters())
    plain = measure(RankCoded(model, THETA, T), data)
    centred = measure(RankCoded(model, THETA, T, mean=torch.zeros(T, 6)), data)
    assert (plain.parameter_count, plain.footprint) == (n, 4 * n)
    assert (centred.parameter_count, centred.footprint) == (n, 4 * n + 4 * T * 4 * 5)


def timing(n: int = N) -> torch.Tensor:
    times = torch.rand(n, 16, generator=generator(7), dtype=torch.float64)
    return times.masked_fill(times > 0.8, torch.inf)


@installed
def test_of_a_network_in_continuous_time_neurobench_sees_weights_and_answers_only():
    model = rel_psp((16, 8, 3), generator=generator())
    with torch.no_grad():
        model.layers[0].weight.view(-1)[:4] = 0.0
    network, times = ContinuousModel(model), timing()
    want = model.decide(times)
    right = (want.label == labels()) & want.fired
    measured = measure(network, TensorDataset(times, labels()))
    n = sum(p.numel() for p in model.parameters())
    assert (measured.parameter_count, measured.footprint) == (
        n,
        sum(p.numel() * p.element_size() for p in model.parameters()),
    )
    weights = sum(layer.weight.numel() for layer in model.layers)
    assert measured.connection_sparsity == round(4 / weights, 4)
    assert measured.accuracy == pytest.approx(float(right.double().mean()))
    assert (measured.effective_acs, measured.effective_macs, measured.dense) == (0, 0, 0)
    torch.testing.assert_close(network.synaptic_operations(times), model.synaptic_operations(times))


def test_no_output_spike_is_no_answer_and_right_for_no_label():
    network = ContinuousModel(rel_psp((16, 8, 3), generator=generator()))
    assert network(torch.full((2, 16), torch.inf)).tolist() == [-1, -1]


# -- Refusals ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_user")
def test_what_cannot_be_stepped_is_refused():
    with pytest.raises(BridgeError, match="ContinuousModel"):
        RankCoded(rel_psp((16, 8, 3), generator=generator()), THETA, T)
    with pytest.raises(BridgeError, match="RankCoded"):
        ContinuousModel(RCLSTM(6, 5, 3))
    with pytest.raises(BridgeError, match=r'precision = "float32"'):
        RankCoded(RCLSTM(6, 5, 3, precision="bf16"), THETA, T)
    with pytest.raises(BridgeError, match="Leave it out"):
        RankCoded(RCLIF(NorseLIF(), 6, 5, 3), THETA, T, mean=torch.zeros(T, 6))
    with pytest.raises(BridgeError, match="RankCoded steps"):
        RankCoded(type("Own", (RCLSTM,), {})(6, 5, 3), THETA, T)


@pytest.mark.usefixtures("as_user")
def test_missing_and_wrong_values_are_refused():
    model = RCLSTM(6, 5, 3)
    with pytest.raises(ValueError, match="n_steps is missing"):
        RankCoded(model, THETA)
    with pytest.raises(ValueError, match="theta=None"):
        RankCoded(model, n_steps=T)
    with pytest.raises(ValueError, match="has none"):
        RankCoded(TTFSLIF(NorseLIF(), 6, 5, 3), THETA, T)
    with pytest.raises(ValueError, match=r"theta must be in \(0, 1\), got 0\.0"):
        RankCoded(load("rc-lstm-340-fast"), 0.0)
    with pytest.raises(ValueError, match="mean must be"):
        RankCoded(model, THETA, T, mean=torch.zeros(T + 1, 6))
    with pytest.raises(ValueError, match="gates must be"):
        RankCoded(model, THETA, T, gates="cells")
    with pytest.raises(ValueError, match="at least one sample"):
        RankCoded(model, THETA, T).decide(torch.zeros(0, T, 6))
    with pytest.raises(ValueError, match="n_steps"):
        RankCoded(model, THETA, T).decide(torch.zeros(1, T + 1, 6))
    with pytest.raises(ValueError, match="scores are NaN"):
        RankCoded(model, THETA, T).decide(torch.full((1, T, 6), torch.nan))
    with pytest.raises(ValueError, match="2 rows of spikes and 1 labels"):
        SpikeFrames(torch.zeros(2, 6, dtype=torch.int16), torch.tensor([0]), T)


@pytest.mark.usefixtures("as_user")
def test_steps_and_labels_are_whole_numbers_of_any_type():
    steps, labels = torch.zeros(2, 6), torch.tensor([1.0, 0.0])
    data = SpikeFrames(steps, labels, T)
    assert (data[0][1].item(), data.labels.dtype) == (1, torch.int64)
    for wrong in ((steps + 0.5, labels), (steps, labels + 0.9), (steps, -labels)):
        with pytest.raises(ValueError, match="must be"):
            SpikeFrames(*wrong, T)
    network = RankCoded(RCLSTM(6, 5, 3), THETA, T)
    with pytest.raises(ValueError, match="Decision steps must be"):
        books(network, torch.tensor([0.5]), steps[:1].long())


def test_neurobench_is_imported_only_when_used():
    program = "import bridges.neurobench.metrics, sys; sys.exit('neurobench' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_neurobench_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "neurobench.models", None)
    monkeypatch.setitem(sys.modules, "neurobench.metrics.static", None)
    with pytest.raises(ImportError, match=r"pip install 'rc_snn\[neurobench\]'"):
        neurobench_model(small("lstm")[1])


# -- The checked-in figures ----------------------------------------------------------------------


def test_every_operation_of_the_checked_in_figures_is_explained():
    [done] = benchmark.TASK.find(benchmark.NeuroBenchOptions())
    rows = done.metrics["rows"]
    assert {row["network"] for row in rows} == set(done.config["networks"])
    for row in rows:
        assert row["neurobench"]["accuracy"] == pytest.approx(row["accuracy"])
        if "unexplained" in row:
            dense = row["neurobench"]["dense"]
            assert max(map(abs, row["unexplained"].values())) < 1e-6 * dense  # float32 sums


@installed
def test_the_program_writes_figures_and_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("RC_SNN_DATA", raising=False)
    monkeypatch.setattr(benchmark, "load_mnist", lambda _: digits())
    options = benchmark.NeuroBenchOptions(
        networks=("rc-lstm-340-slow", "rel-psp-340-slow"), samples=4, results=tmp_path
    )
    assert command(benchmark.TASK, replace(options, train=True)) == 0
    written = (tmp_path / "neurobench" / "neurobench.md").read_text()
    assert written in capsys.readouterr().out
    assert "not seen" in written
    [done] = benchmark.TASK.find(options)
    assert done.versions["neurobench"]
    assert (done.config["samples"], done.config["data"]) == (4, "MNIST-5k")
    layers = [row["layers"] for row in done.metrics["rows"]]
    assert layers == ["LSTMCell", "LSTMCell", "Linear", "Linear", "—"]
    assert command(benchmark.TASK, options) == 0
    assert (tmp_path / "neurobench" / "neurobench.md").read_text() == written
    [run] = benchmark.TASK.runs(replace(options, samples=0))
    with pytest.raises(ValueError, match="samples must be"):
        benchmark.TASK.make(run, options, "-")
    assert Operations(1.0).minus(Operations(1.0)) == Operations()
