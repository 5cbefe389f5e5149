"""NIR: spike data in its own files, graphs held to their equations, and its reference neuron."""

import math

import numpy as np
import pytest
import torch

from baselines.alpha_psp import alpha_psp
from baselines.conv import conv_rel_psp
from baselines.rel_psp import rel_psp
from bridges.errors import BridgeError
from bridges.networks import nir as nir_models
from bridges.stream.stream import SpikeStream
from bridges.support import sample_stream
from bridges.targets import nir as nir_bridge
from encoders import embedded_digits
from encoders.functional import encode
from rc_snn import load
from rc_snn.models import RCLSTM
from rc_snn.runner import decide
from rc_snn.sequences import DenseSequences
from rc_snn.spikes import first_spike

nir = pytest.importorskip("nir", reason="NIR is not installed")


# ---- spike data -----------------------------------------------------------------------------


@pytest.mark.parametrize("dt_s", [1e-4, 1e-3, 5e-3, 0.1])
@pytest.mark.parametrize("n_steps", [1, 3, 35, 308, 597, 1000])
def test_nirs_own_grid_has_our_steps_and_our_spikes(dt_s, n_steps):
    """Its `int(t_max / dt)` makes too short a grid of 308 in 597 lengths if t_max is n * dt."""
    ticks = np.arange(n_steps)
    stream = SpikeStream.silent(1, 2, n_steps, dt_s).with_spikes(0 * ticks, ticks, ticks % 2)
    gridded = nir_bridge.to_event_data(stream).to_time_gridded(dt_s)
    assert gridded.data.shape == (1, n_steps, 2)
    assert stream.same_spikes(nir_bridge.from_time_gridded(gridded))


def test_the_trap_is_real_that_nir_loses_spikes_at_step_times_dt():
    ticks = np.arange(2000)
    data = nir.EventData(np.zeros((1, 2000), int), (ticks * 1e-4)[None], 1, t_max=1.0)
    assert int(data.to_time_gridded(1e-4).data.sum()) == 2000 - 137


def test_times_at_the_start_of_ticks_are_read_when_one_says_so():
    stream = sample_stream()
    data = nir_bridge.to_event_data(stream)
    starts = nir.EventData(data.idx, data.time - 0.5e-4, data.n_neurons, data.t_max)
    assert stream.same_spikes(nir_bridge.from_event_data(starts, 1e-4, middle=False))
    with pytest.raises(BridgeError, match="on no tick"):
        nir_bridge.from_event_data(starts, 1e-4)


def test_padding_that_does_not_fit_is_refused():
    data = nir.EventData(np.array([[0, -1]]), np.array([[0.05, 0.15]]), 1, t_max=1.0)
    with pytest.raises(BridgeError, match="1 events have an id without a time or a time without"):
        nir_bridge.from_event_data(data, 0.1)


def test_measurements_are_not_read_as_spikes():
    with pytest.raises(BridgeError, match="measurements"):
        nir_bridge.from_time_gridded(nir.TimeGriddedData(np.ones((1, 2, 3)), 1e-3))


def test_files_as_nir_writes_them_are_read(tmp_path):
    """Events or a grid, of any node, packed or not; times at the start of ticks, if one says so."""
    sent = SpikeStream.silent(2, 3, 10, 1e-3).with_spikes([0, 1], [7, 0], [2, 1])
    events, grid = nir_bridge.to_event_data(sent), nir_bridge.to_time_gridded(sent)
    early = nir.EventData(events.idx, events.time - 5e-4, 3, events.t_max)
    node = nir.NIRNodeData({"events": events, "grid": grid, "early": early})
    for packed in ("gzip", "lzf", None):
        path = tmp_path / "data.nir"
        nir.write_data(path, nir.NIRGraphData({"lif": node}), compression=packed)
        for name in node.observables:
            read = nir_bridge.from_file(
                path, 1e-3, node="lif", observable=name, middle=name != "early"
            )
            assert read.same_spikes(sent)
    with pytest.raises(BridgeError, match=r"grid of 0\.001 s"):
        nir_bridge.from_file(path, 1e-4, node="lif", observable="grid")
    with pytest.raises(BridgeError, match="it has lif/early, lif/events, lif/grid"):
        nir_bridge.from_file(path, 1e-3)


@pytest.mark.parametrize("t_max", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_length_that_is_none_is_refused(t_max):
    data = nir.EventData(np.array([[0]]), np.array([[0.05]]), 1, t_max=t_max)
    with pytest.raises(BridgeError, match="no length of ticks"):
        nir_bridge.from_event_data(data, 0.1)


def test_a_file_that_is_none_of_nir_is_refused_by_name(tmp_path):
    path = tmp_path / "broken.h5"
    with pytest.raises(OSError, match="broken"):
        nir_bridge.from_file(path, 1e-3)
    nir.write(path, nir_models.read_out(RCLSTM(3, 4, 5), 0.95))  # a graph, and no data
    for content in (path.read_bytes(), b"", b"no such file" * 50):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken.h5 cannot be read as NIR"):
            nir_bridge.from_file(path, 1e-3)


def test_a_grid_that_packs_millions_of_spikes_into_a_few_bytes_is_refused(tmp_path):
    import h5py

    path = nir_bridge.export(SpikeStream.silent(1, 3, 10, 1e-3), tmp_path / "bomb.h5")
    with h5py.File(path, "r+") as file:
        held = file["nodes/input/observables/spikes"]
        held.attrs["__type__"], held.attrs["dt"] = "TimeGriddedData", 1e-3
        options = {"chunks": (1, 4000, 1000), "compression": "gzip", "fillvalue": True}
        held.create_dataset("data", (1, 20_000, 1000), bool, **options)
    with pytest.raises(ValueError, match="packs 20000000 spikes"):
        nir_bridge.from_file(path, 1e-3)


# ---- a reference interpreter of the equations, one step after the other ------------------------


def execute(graph, z, dt, frames):
    """Run a graph on input impulses `[time, unit]`; return first output spikes and all counts.

    Between steps the linear equations are integrated exactly; impulses of a step come at its end,
    spikes of a layer reach the next one in the same step.
    """
    order = ["input"]
    while len(order) < len(graph.nodes):  # all edges go forward
        for name in graph.nodes:
            sources = {a for a, b in graph.edges if b == name}
            if name not in order and sources <= set(order):
                order.append(name)
    state = {n: [np.zeros(tuple(x.output_type["output"]))] * 2 for n, x in graph.nodes.items()}
    first = np.full(tuple(graph.nodes["output"].output_type["output"]), np.inf)
    counts = np.zeros_like(first)
    for step, impulses in enumerate(z):
        out = {"input": impulses}
        for name in order[1:]:
            node = graph.nodes[name]
            total = sum(out[a] for a, b in graph.edges if b == name)
            out[name], state[name] = advance(node, total, state[name], dt)
        counts += out["output"]
        first = np.where((out["output"] > 0) & np.isinf(first), (step + 1) / len(z) * frames, first)
    return first, counts


def advance(node, total, state, dt):
    """Return a node's output impulses, or its current for an integrator, and its new state."""
    kind = type(node).__name__
    current, v = state
    if kind in ("Linear", "Affine"):
        return node.weight @ total + getattr(node, "bias", 0.0), state
    if kind == "I":  # its input are impulses, its output is a current
        return current + node.r * total, [current + node.r * total, v]
    if kind == "IF":
        v = v + node.r * current * dt  # the current of the step, before this step's impulses
        current = total
    elif kind == "CubaLIF":
        assert np.array_equal(node.tau_syn, node.tau_mem)
        fade = np.exp(-dt / node.tau_syn)
        v = fade * (v + node.r * current * dt / node.tau_mem)
        current = fade * current + node.w_in * total / node.tau_syn
    else:
        return total, state
    z = v > node.v_threshold
    return z.astype(float), [current, np.where(z, node.v_reset, v)]


@pytest.mark.parametrize("kind", ["alpha", "rel"])
def test_a_graph_spikes_when_the_network_does(kind, tmp_path):
    """The file is read back by NIR, and executed by its nodes' documented equations."""
    g = torch.Generator().manual_seed(0)
    if kind == "alpha":
        net = alpha_psp((12, 8, 4), generator=g, n_pulses=2, pulse_mean=9.0).double()
    else:
        net = rel_psp((12, 8, 4), generator=g, gain=2.0).double()
    frames, n = 3, 1500
    times = torch.rand(4, 12, generator=g, dtype=torch.float64)
    exact = net.spike_times(times)[-1].detach().numpy()
    nir.write(tmp_path / "net.nir", nir_models.graph(net, frame_s=0.5))
    graph = nir.read(tmp_path / "net.nir")
    assert graph.metadata["frame_s"] == 0.5
    inputs = nir_models.input_times(net, times)
    stream = SpikeStream.from_times(
        torch.where(inputs < frames, inputs, torch.inf), n // frames, 1e-4, frames=frames,
        off_grid="floor",
    )  # fmt: skip
    z = stream.to_tensor().double().numpy()
    runs = [execute(graph, z[:, i], 0.5 * frames / n, frames) for i in range(4)]
    ran, counts = (np.stack(part) for part in zip(*runs, strict=True))
    assert counts.max() == 1  # they spike once, as they do in the network
    inside = exact < frames - 0.1
    assert inside.sum() >= 6
    assert np.abs(ran - exact)[inside].max() < 4 * frames / n
    assert np.isinf(ran[np.isinf(exact)]).all()


@pytest.mark.filterwarnings("ignore:nirtorch.load is being deprecated:DeprecationWarning")
def test_norse_finds_the_first_spikes_of_a_layer():
    """An outside program on our graph. norse ignores `v_reset`: only first spikes compare."""
    import norse

    g = torch.Generator().manual_seed(0)
    net = alpha_psp((12, 4), generator=g, n_pulses=0, weight_mean=1.0).double()
    times, per_frame, frame_s = torch.rand(3, 12, generator=g).double(), 2000, 0.5
    exact = net.spike_times(times)[-1].detach()
    model = norse.torch.from_nir(
        nir_models.graph(net, frame_s=frame_s, dt_s=frame_s / per_frame), dt=frame_s / per_frame
    )
    stream = SpikeStream.from_times(times, per_frame, 1e-4, frames=3, off_grid="floor")
    state, out = None, []
    with torch.no_grad():
        for x in stream.to_tensor():
            z, state = model(x, state)
            out.append(z)
    first = torch.stack(out).argmax(dim=0).double() / per_frame
    assert torch.isfinite(exact).all()
    assert float((first - exact).abs().max()) < 6 / per_frame


def test_weights_for_unit_currents_are_divided_by_the_step():
    net = rel_psp((4, 3, 2), generator=torch.Generator().manual_seed(0))
    dirac, unit = nir_models.graph(net), nir_models.graph(net, dt_s=1e-3)
    for name in ("weight_0", "weight_1"):
        np.testing.assert_allclose(unit.nodes[name].weight, dirac.nodes[name].weight / 1e-3)


def test_pulses_come_in_after_the_inputs():
    net = alpha_psp((4, 3, 2), generator=torch.Generator().manual_seed(0), n_pulses=2)
    graph = nir_models.graph(net)
    assert graph.nodes["input"].input_type["input"].tolist() == [8]
    assert ("input", "pulses_1") in graph.edges
    assert (graph.nodes["pulses_1"].weight[:, :6] == 0).all()
    assert (graph.nodes["weight_0"].weight[:, 6:] == 0).all()
    times = nir_models.input_times(net, torch.zeros(1, 4))
    pulses = torch.cat([layer.pulses for layer in net.layers]).detach()
    torch.testing.assert_close(times[0, 4:], pulses.double())


def test_an_lstm_is_refused_with_the_reason_and_the_remedy():
    with pytest.raises(BridgeError, match=r"sigmoid nor tanh.*read_out.*hidden_states"):
        nir_models.graph(RCLSTM(3, 4, 2))


def test_a_convolution_is_refused_with_the_reason():
    net = conv_rel_psp((2, 2), (4,), generator=torch.Generator().manual_seed(0))
    with pytest.raises(BridgeError, match="pools by the earliest spike"):
        nir_models.graph(net)


# ---- the read-out ------------------------------------------------------------------------------


def fires(graph, data):
    """Return the Threshold node's output `[time, sample, class]`, as NIR defines it."""
    affine, threshold = graph.nodes["log_p"], graph.nodes["decision"]
    y = np.asarray(data.data) @ affine.weight.T + affine.bias
    return torch.from_numpy(y > threshold.threshold).transpose(0, 1).double()


@pytest.mark.parametrize("name", ["rc-lstm-340-fast", "rc-lstm-340-slow"])
def test_the_first_spike_of_the_graph_is_the_decision(name, tmp_path):
    net = load(name)
    images = embedded_digits().test.images[:80]
    inputs = net.sequences(encode(images, **net.encoder))
    decision = decide(net.model, inputs, net.theta)
    nir.write(tmp_path / "read_out.nir", nir_models.read_out(net.model, net.theta))
    data = nir_models.hidden_states(net.model, inputs, dt_s=1e-3)
    z = fires(nir.read(tmp_path / "read_out.nir"), data)
    first = first_spike(z, 0.5)
    assert torch.equal(first.fired, decision.fired)
    assert torch.equal(first.step, decision.step)
    label = z[first.step, torch.arange(len(images))].argmax(dim=1)
    assert torch.equal(label[first.fired], decision.label[first.fired])


def test_a_sigmoid_read_out_has_both_classes():
    g = torch.Generator().manual_seed(0)
    model = RCLSTM(5, 6, 2, read_out="sigmoid", generator=g)
    with torch.no_grad():
        model.output.weight.mul_(30.0)
    inputs = DenseSequences(torch.rand(7, 50, 5, generator=g))
    decision = decide(model, inputs, 0.8)
    assert 0 < int(decision.fired.sum())
    z = fires(nir_models.read_out(model, 0.8), nir_models.hidden_states(model, inputs, 1e-3))
    first = first_spike(z, 0.5)
    assert torch.equal(first.fired, decision.fired)
    assert torch.equal(first.step, decision.step)


def test_a_probability_of_exactly_theta_fires_as_in_algorithm_1():
    """The network fires with >=, NIR's Threshold with >."""
    graph = nir_models.read_out(RCLSTM(3, 4, 2), theta=0.5)
    below = graph.nodes["decision"].threshold
    assert (math.log(0.5) > below).all()
    assert (np.nextafter(below, 0.0) == math.log(0.5)).all()


# ---- NIR's own reference: the LIF neuron of its paper ------------------------------------------

GAPS = (6, 15, 4, 3, 0, 2, 1, 2, 0, 1, *[0] * 10, 13, *[0] * 11, 5, 0)
"""Zeros before each one of the input of paper/01_lif; each of its values is followed by nine 0."""
REFERENCE = [460, 510, 710, 760]
"""Steps of 0.1 ms at which the exact solution spikes, paper/01_lif/lif_exact.csv."""


def reference_graph():
    """The neuron of paper/01_lif/lif_norse.nir."""
    one = np.ones(1, np.float32)
    nodes = {
        "input": nir.Input({"input": np.array([1])}),
        "0": nir.Affine(np.ones((1, 1), np.float32), np.zeros(1, np.float32)),
        "1": nir.LIF(tau=0.0025 * one, r=one, v_leak=0 * one, v_threshold=0.1 * one),
        "output": nir.Output({"output": np.array([1])}),
    }
    return nir.NIRGraph(nodes, [("input", "0"), ("0", "1"), ("1", "output")])


@pytest.fixture
def reference_input() -> SpikeStream:
    at = 10 * (np.cumsum(np.array(GAPS) + 1) - 1)
    at = at[at < 1000]
    return SpikeStream.silent(1, 1, 1000, 1e-4).with_spikes(0 * at, at, 0 * at)


@pytest.mark.filterwarnings("ignore:nirtorch.load is being deprecated:DeprecationWarning")
def test_norse_runs_the_reference_on_our_stream(reference_input, tmp_path):
    import norse

    nir.write(tmp_path / "lif.nir", reference_graph())
    model = norse.torch.from_nir(nir.read(tmp_path / "lif.nir"), dt=1e-4)
    state, out = None, []
    with torch.no_grad():
        for x in reference_input.to_tensor():
            z, state = model(x, state)
            out.append(z)
    assert SpikeStream.from_tensor(torch.stack(out), 1e-4).ticks.tolist() == REFERENCE


def test_snntorch_runs_the_reference_on_our_stream(reference_input):
    import snntorch

    lif = reference_graph().nodes["1"]
    share = 1e-4 / float(lif.tau[0])
    leaky = snntorch.Leaky(
        beta=1.0 - share, threshold=float(lif.v_threshold[0]), reset_mechanism="zero"
    )
    mem, out = torch.zeros(1, 1), []
    with torch.no_grad():
        for x in reference_input.to_tensor():
            z, mem = leaky(share * x, mem)
            out.append(z)
    assert SpikeStream.from_tensor(torch.stack(out), 1e-4).ticks.tolist() == REFERENCE


def test_brian2_runs_the_reference_on_our_stream(reference_input):
    b2 = pytest.importorskip("brian2", reason="Brian2 is not installed", exc_type=ImportError)
    from bridges.targets import brian2

    source = brian2.spike_generator(reference_input)
    neuron = b2.NeuronGroup(
        1,
        "dv/dt = (current - v) / (2.5*ms) : 1\ncurrent : 1",
        threshold="v > 0.1",
        reset="v = 0",
        method="exact",
        dt=0.1 * b2.ms,
    )
    # A spike is a current of 1 for one step. Brian2 delivers it after the step's state update, so
    # that it flows in the next one: every spike comes one step later.
    neuron.run_regularly("current = 0", when="after_groups")
    synapse = b2.Synapses(source, neuron, on_pre="current_post = 1")
    synapse.connect()
    monitor = b2.SpikeMonitor(neuron)
    with brian2.interpreted():
        b2.Network(source, neuron, synapse, monitor).run(100 * b2.ms, namespace={})
    ticks = brian2.from_monitor(monitor, reference_input).ticks
    assert (ticks - 1).tolist() == REFERENCE
