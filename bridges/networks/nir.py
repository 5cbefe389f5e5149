"""Models as NIR graphs: the read-out of rank-coded networks, and networks that spike once."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from baselines.continuous import ContinuousNetwork, check_spike_times
from bridges.errors import BridgeError
from bridges.networks.continuous import Layer, layers
from bridges.stream.clock import read_dt
from bridges.target import load
from bridges.targets.nir import TARGET
from rc_snn.borders.checks import Form
from rc_snn.files import replacing
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.network import Network
from rc_snn.sequences import Sequences, check_input_size, input_size
from rc_snn.spikes import log_theta_below
from rc_snn.step_model import State, evaluated

FRAME_S = 0.255
"""Seconds per frame: one millisecond per grey level, as in `encoders.functional`."""
_BELOW = -1e6
"""Potential after the one spike of a neuron, in thresholds: low enough for no second one."""


def graph(model: Any, *, frame_s: float = FRAME_S, dt_s: float | None = None) -> Any:
    r"""Return an α-PSP or ReL-PSP network as a NIR graph, in continuous time.

    α-PSP neurons become `CubaLIF` with equal time constants, whose potential after a spike is the
    α kernel; ReL-PSP neurons an integrator `I` followed by `IF`, whose potential is a ramp:

    .. math:: W = w \tau^2 / T_f, \; \tau_{syn} = \tau_{mem} = \tau = T_f / K
              \qquad\text{and}\qquad W = w / T_f

    with r = 1, w_in = 1 and T_f seconds per frame. NIR neurons may spike again; these are reset to
    minus a million thresholds instead. Synchronisation pulses are further units of the input, after
    the inputs: `input_times` puts both together.

    Args:
        model: a network of dense layers.
        frame_s: seconds per frame, T_f.
        dt_s: None leaves a spike what NIR says it is, a Dirac pulse. A simulator that takes it for
            a current of 1 during one step (norse, snnTorch) needs weights divided by its step.

    Raises:
        BridgeError: if the model is recurrent, or a layer is a convolution.
        ValueError: if `frame_s` or `dt_s` is not positive and finite.

    Example:
        >>> from baselines.alpha_psp import alpha_psp
        >>> net = alpha_psp((4, 3, 2), generator=torch.Generator().manual_seed(0), n_pulses=1)
        >>> sorted(graph(net).nodes)
        ['input', 'neurons_0', 'neurons_1', 'output', 'pulses_1', 'weight_0', 'weight_1']
    """
    if not isinstance(model, ContinuousNetwork):
        raise BridgeError(
            f"{type(model).__name__} cannot be a NIR graph: NIR 1.0 multiplies no two signals and "
            "has neither sigmoid nor tanh, so the gates of an LSTM cannot be expressed. Export "
            "the read-out with `read_out` and the hidden states with `hidden_states`."
        )
    for name, seconds in (("frame_s", frame_s), ("dt_s", 1.0 if dt_s is None else dt_s)):
        if not 0.0 < seconds < math.inf:
            raise ValueError(f"{name} must be positive and finite seconds, got {seconds}.")
    nir = load(TARGET)
    stages = layers(model)
    n_inputs = model.n_inputs
    total = n_inputs + sum(len(layer.pulses) for layer in stages)
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([total])})}
    edges: list[tuple[str, str]] = []
    first, before = n_inputs, "input"
    for i, layer in enumerate(stages):
        scale = _scale(layer, frame_s) / (1.0 if dt_s is None else dt_s)
        pulses = np.zeros((layer.n_neurons, total))
        pulses[:, first : first + len(layer.pulses)] = layer.pulse_weight.T * scale
        first += len(layer.pulses)
        weight = layer.weight.T * scale
        if i == 0:
            pulses[:, :n_inputs] = weight
            weight, pulses = pulses, pulses[:, :0]
        nodes[f"weight_{i}"] = nir.Linear(weight)
        edges.append((before, f"weight_{i}"))
        entry, parts = _neurons(nir, layer, frame_s, i)
        edges.append((f"weight_{i}", entry))
        if i and len(layer.pulses):
            nodes[f"pulses_{i}"] = nir.Linear(pulses)
            edges += [("input", f"pulses_{i}"), (f"pulses_{i}", entry)]
        edges += itertools.pairwise(parts)
        nodes |= parts
        before = list(parts)[-1]
    nodes["output"] = nir.Output({"output": np.array([model.n_classes])})
    edges.append((before, "output"))
    about = {"frame_s": frame_s, "spikes": "Dirac" if dt_s is None else f"1 for {dt_s} s"}
    return nir.NIRGraph(nodes, edges, metadata=about)


def input_times(
    network: ContinuousNetwork, times: Float[Tensor, "batch inputs"]
) -> Float[Tensor, "batch units"]:
    """Return the spike times of the graph's input: the inputs', then each layer's pulses.

    Example:
        >>> from baselines.alpha_psp import alpha_psp
        >>> net = alpha_psp((4, 3, 2), generator=torch.Generator().manual_seed(0), n_pulses=1)
        >>> input_times(net, torch.zeros(5, 4)).shape
        torch.Size([5, 6])
    """
    check_spike_times(times, network.n_inputs)
    pulses = torch.from_numpy(np.concatenate([layer.pulses for layer in layers(network)]))
    return torch.cat([times.double(), pulses.expand(len(times), -1)], dim=1)


def _scale(layer: Layer, frame_s: float) -> float:
    """Return what a weight is multiplied by: see `graph`."""
    if layer.decay == 0.0:
        return 1.0 / frame_s
    return (frame_s / layer.decay) ** 2 / frame_s


def _neurons(nir: Any, layer: Layer, frame_s: float, i: int) -> tuple[str, dict[str, Any]]:
    """Return the name of the node that takes the input, and the nodes of a layer in order."""
    one, theta = np.ones(layer.n_neurons), np.full(layer.n_neurons, layer.theta)
    if layer.decay == 0.0:
        spiking = nir.IF(r=one, v_threshold=theta, v_reset=_BELOW * theta)
        return f"current_{i}", {f"current_{i}": nir.I(r=one), f"neurons_{i}": spiking}
    tau = frame_s / layer.decay * one
    spiking = nir.CubaLIF(
        tau_syn=tau,
        tau_mem=tau,
        r=one,
        v_leak=0.0 * one,
        v_threshold=theta,
        v_reset=_BELOW * theta,
        w_in=one,
    )
    return f"neurons_{i}", {f"neurons_{i}": spiking}


def read_out(model: RCLSTM | RCConvLSTM, theta: float) -> Any:
    r"""Return the read-out of a rank-coded network as a NIR graph: Affine, then Threshold.

    The network answers with class k at the first step with p_k >= θ, and

    .. math:: \log p_k = w_k h + b_k - \log Z, \qquad \log Z = \log \sum_j \exp(w_j h + b_j)

    NIR has no exponential, so log Z comes in as one more channel after h (`hidden_states`
    makes both). Then the graph is exact: the first spike of its output is the decision. NIR's
    Threshold asks for more than its number, which is `rc_snn.spikes.log_theta_below`.

    The nodes are Input, Affine, Threshold, Output. snnTorch and nirtorch refuse Threshold, norse
    1.1 leaves it out without a word: compare what your tool does with the decisions.

    Raises:
        ValueError: if θ is outside (0, 1).

    Example:
        >>> [type(node).__name__ for node in read_out(RCLSTM(3, 4, 5), 0.95).nodes.values()]
        ['Input', 'Affine', 'Threshold', 'Output']
    """
    below = log_theta_below(theta)
    nir = load(TARGET)
    weight, bias = (p.detach().double().cpu() for p in model.output.parameters())
    if model.output.kind == "sigmoid":  # the logits are [0, z]
        weight, bias = torch.cat([0.0 * weight, weight]), torch.cat([0.0 * bias, bias])
    joined = torch.cat([weight, -torch.ones(len(weight), 1)], dim=1).numpy()
    nodes = {
        "input": nir.Input({"input": np.array([joined.shape[1]])}),
        "log_p": nir.Affine(joined, bias.numpy()),
        "decision": nir.Threshold(np.full(len(weight), below)),
        "output": nir.Output({"output": np.array([len(weight)])}),
    }
    names = list(nodes)
    edges = list(itertools.pairwise(names))
    return nir.NIRGraph(nodes, edges, metadata={"theta": theta})


@torch.no_grad()
def hidden_states(model: RCLSTM | RCConvLSTM, inputs: Sequences, dt_s: float) -> Any:
    """Return what the read-out reads, h and then log Z, as `nir.TimeGriddedData`, all T steps.

    Args:
        model: a rank-coded network.
        inputs: sequences to read.
        dt_s: seconds per step.

    Returns:
        NIR's grid, float64 `[sample, time, features + 1]`.

    Example:
        >>> from rc_snn.sequences import DenseSequences
        >>> hidden_states(RCLSTM(3, 4, 5), DenseSequences(torch.zeros(10, 2, 3)), 1e-3).shape
        (2, 10, 5)
    """
    check_input_size(model.n_inputs, input_size(inputs))
    state: State | None = None
    form, rows = Form.of(model), []
    with evaluated(model):
        for step in range(inputs.n_steps):
            features, state = model.step(form.read(inputs.at(step)), state)
            log_z = model.read_out(features).double().logsumexp(dim=1, keepdim=True)
            rows.append(torch.cat([features.double(), log_z], dim=1))
    return load(TARGET).TimeGriddedData(torch.stack(rows, dim=1).cpu().numpy(), read_dt(dt_s))


def export(
    network: Network,
    path: Path,
    hidden: Path,
    times: Float[Tensor, "batch inputs"],
    dt_s: float,
) -> str:
    """Write a network as a NIR graph; return what was written, in a line.

    Of a rank-coded network the graph is its read-out; what that reads goes to a file of its own.

    Args:
        network: in continuous time, or an RCLSTM or RCConvLSTM.
        path: of the graph.
        hidden: where the hidden states of a rank-coded network go.
        times: spike times in frames of the samples whose hidden states are written.
        dt_s: seconds per step.

    Raises:
        BridgeError: if the network is of another kind, or NIR cannot express it.
    """
    nir, model = load(TARGET), network.model
    if isinstance(model, RCLSTM | RCConvLSTM):
        if network.theta is None:
            raise BridgeError(f"{network.name} has no θ, and so no first crossing to export.")
        held = hidden_states(model, network.sequences(times), dt_s)
        data = nir.NIRGraphData({"input": nir.NIRNodeData({"h_and_log_z": held})})
        made = read_out(model, network.theta)
        with replacing(hidden) as partial:
            nir.write_data(partial, data)
        done = (
            f"read-out of {network.name} -> {path}; its input of {len(times)} samples -> {hidden}"
        )
    elif isinstance(model, ContinuousNetwork):
        made, done = graph(model), f"{network.name} -> {path}"
    else:
        raise BridgeError(
            f"{network.name} is a {type(model).__name__}, of neurons that its own library exports: "
            "use that library's way to NIR."
        )
    with replacing(path) as partial:
        nir.write(partial, made)
    return done
