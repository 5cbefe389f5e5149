"""Layers that a step model can hold: with a state that lies outside, and of each sample alone."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from bridges.errors import BridgeError
from bridges.target import load
from bridges.targets import snntorch


def refuse_layers(module: nn.Module) -> None:
    """Refuse layers that a step model cannot hold."""
    for part in module.modules():
        name = type(part).__name__
        if isinstance(part, nn.RNNBase):
            raise BridgeError(
                f"{name} takes whole sequences. Use StepModule.from_rnn for a module by itself, "
                f"or torch's cell, {name}Cell, inside another."
            )
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise BridgeError(
                f"{name} normalises over the batch, which decided samples leave, and keeps running "
                "statistics. Use LayerNorm or GroupNorm."
            )


def flat_layers(layers: Sequence[nn.Module] | nn.Sequential) -> Iterator[nn.Module]:
    """Yield layers in their order, those of nested `nn.Sequential`s in place."""
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            yield from flat_layers(layer)
        else:
            yield layer


_STEP_NEURONS = (
    "Leaky",
    "Lapicque",
    "Synaptic",
    "Alpha",
    "RLeaky",
    "RSynaptic",
    "SLSTM",
    "SConv2dLSTM",
)


def check_neuron(layer: nn.Module) -> tuple[str, ...]:
    """Return the names of a neuron's state variables; none for a layer without state."""
    snn = load(snntorch.TARGET)
    name = type(layer).__name__
    known = [getattr(snn, kind).forward for kind in _STEP_NEURONS]
    if type(layer).forward not in known:
        if isinstance(layer, snn.SpikingNeuron | snn.LeakyParallel):
            raise BridgeError(
                f"snnTorch's {name} is no neuron that takes one step and a state. Use one of "
                f"{', '.join(_STEP_NEURONS)}."
            )
        return ()
    neuron: Any = layer
    if neuron.init_hidden:
        raise BridgeError(
            f"This {name} keeps its state (init_hidden=True), from which decided samples cannot "
            "leave. Build it with init_hidden=False."
        )
    if name == "SLSTM" and neuron.input_size != neuron.hidden_size:
        raise BridgeError(
            f"snnTorch 1.0's SLSTM forgets its state at every step unless it has as many inputs as "
            f"neurons; this one has {neuron.input_size} and {neuron.hidden_size}. Put "
            f"nn.Linear({neuron.input_size}, {neuron.hidden_size}) before it."
        )
    return tuple(inspect.signature(neuron.forward).parameters)[1:]


def forget(layer: Any) -> None:
    """Empty what a neuron of snnTorch keeps of its last step, its state included."""
    for name in ("spk", "syn", "syn_exc", "syn_inh", "mem", "reset"):
        held = getattr(layer, name, None)
        if isinstance(held, Tensor):
            setattr(layer, name, held.new_zeros(0))
