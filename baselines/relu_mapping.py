r"""A trained ReLU network becomes an exact first-spike network: nothing is trained by spikes.

On its clock a layer reads inputs at t_i in [0, 1], whose activations are a_i = ε(1 - t_i), with ε
the neuron's potential of one spike (ε(s) = s for ReL-PSP). Pulses come to all its neurons: at 0 one
that says the bias, and at 1 the reference, so strong that the potential rises from then on:

.. math:: V(1 + s) = z + s\,(R + S) = 1 \quad\Rightarrow\quad s = \frac{1 - z}{R + S}, \qquad
          z = \sum_i w_i a_i + b, \quad S = \sum_{i\,spiked} w_i

with the threshold 1. Where R + S is k, the first spike at 1 + (1 - z) / k is a linear function of
z, and 1 + 1 / k says that z = 0: there the next layer's clock says 1. S depends on which inputs
have spiked by then; so two ways:

- **gated**: at 1 + 1 / k a third pulse makes all fire that have not (z < 0 is then 0). So all
  inputs of the next layer have spiked by its 1, S is the sum of all weights, a constant, and is
  taken from the reference of each neuron. That is exact for any k; pixels, which may be silent or
  late, are gated by a relay neuron each, in a layer before the first.
- **open**: R = k q, with q the 99 % quantile of \|S\|, or 1 if that is larger. S then makes an
  error of about 1 / k; z < 0 spikes after the next layer's reference, nearly in vain.

α-PSP has the same up to terms in K / k. The largest logit spikes first.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from baselines.alpha_psp import DECAY, AlphaPSP
from baselines.continuous import ContinuousNetwork, Conv, Dense
from baselines.rel_psp import ReLPSP
from baselines.relu_bounds import Bounds, Interval, Sampled
from baselines.relu_chain import Stage, read_chain
from rc_snn.borders.numbers import count, number
from rc_snn.shown.citation import used
from rc_snn.spikes import check_times

NeuronName: TypeAlias = Literal["rel_psp", "alpha_psp"]
MARGIN = 1.05
"""θ over the largest weighted sum of all samples."""
GATE = 2.0**15
"""Weight of the pulse that ends a layer's time. Float16 holds it; a gated neuron is then a leaky
ReLU of the slope k / (k + GATE), which is 0.0002 for k = 8."""


def from_relu(
    net: nn.Module,
    deadline: float | int = 1.0,
    k: float | int = 8,
    *,
    neuron: NeuronName = "rel_psp",
    decay: float = DECAY,
    gate: bool = True,
    samples: Float[Tensor, "batch *shape"] | None = None,
    input_size: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
) -> ContinuousNetwork:
    """Map a trained ReLU network onto an exact first-spike network that answers as it does.

    Each layer answers within 1 / k of the time that the layer before took: with the gate by the
    deadline times 1 + 1 / k + 1 / k² + ... The network that results is one of ordinary neurons and
    pulses; it can be trained further, saved, and run inside simulators.

    Read times as the network was trained: on `relu_inputs` of the same deadline and neuron. The
    inputs of a network that begins with a convolution are its images row by row, channels last; of
    any other, as the network flattens them.

    Args:
        net: `nn.Module` of Linear, Conv2d, ReLU, MaxPool2d, flattening, dropout (idle); the last
            layer is linear, and gives logits. Neither it nor its mode is changed.
        deadline: when the reference of the first layer comes, in frames: pixels later than that are
            zero to the ReLU network.
        k: how much less time each layer takes than the one before, rounded up to 8 significant
            bits. The larger, the sooner the answer, and the closer together the spikes. Without the
            gate, and of α-PSP, errors fall as 1 / k, too.
        neuron: ReL-PSP, or α-PSP.
        decay: α-PSP's decay rate K, per frame.
        gate: whether a pulse ends each layer's time. True: exact (ReL-PSP), but all neurons spike.
            False: neurons without activation spike late, mostly after the answer, which saves
            operations, and the network has one layer less.
        samples: activations as the ReLU network reads them, in [0, 1], such as some hundreds of
            training images: they say how large its sums become. A neuron that exceeds them by more
            than 5 % fires too early, and the next layer reads more than it should. None: bounds
            that hold for all inputs, so that nothing can be early; spikes lie closer together, and
            without the gate the answers are much less exact.
        input_size: of one input, (channels, height, width); samples say it, too, and a network that
            begins with a linear layer needs none.
        dtype: of weights, clocks and times.

    Raises:
        ValueError: if the network is no such chain, with what is none and what to do instead; or a
            number is out of its range.

    Source: Stanojevic et al. 2022 (arXiv 2212.12522) map ReLU networks exactly, with a window of
    its own for every layer. Pulses instead of a changed neuron, bounds and clocks are ours.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, 3))
        >>> times = torch.rand(100, 16)
        >>> images = relu_inputs(times)
        >>> spiking = from_relu(net, samples=images)
        >>> bool((spiking.decide(times).label == net(images).argmax(dim=1)).all())
        True
    """
    deadline, k = number(deadline, "deadline"), number(k, "k")
    if not (0.0 < deadline < math.inf and 1.0 <= k < math.inf):
        raise ValueError(
            f"deadline must be positive and k >= 1, both finite, got deadline={deadline}, k={k}."
        )
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}.")
    _neuron(neuron, decay, deadline)
    stages = read_chain(net, _input_shape(samples, input_size))
    bounds: Bounds = Interval() if samples is None else Sampled(_checked(samples))
    if gate:
        stages = [_relay(math.prod(stages[0].shape)), *stages]
    specs = [_spec(stage, gate, last=stage is stages[-1]) for stage in stages]
    model = mapped_network(specs, neuron=neuron, decay=decay).to(dtype)
    start, rate, unit, scale = 0.0, 1.0 / deadline, deadline, 1.0
    clocks = []
    for i, (stage, layer) in enumerate(zip(stages, model.layers, strict=True)):
        clocks.append([start, rate])
        relay = gate and i == 0
        theta, spread = (1.0, 0.0) if relay else bounds.of(stage, scale, MARGIN)
        rate = _few_bits(k if gate else k * max(spread * scale / theta, 1.0))
        _write(layer, stage, layer.neuron.in_units(unit), scale, theta, rate, gate)
        if not relay:
            bounds.advance(stage, theta, scale, math.inf if gate else rate)
        start, unit, scale = 1.0, unit / rate, theta
    clocks.append([1.0 + 1.0 / rate, rate * scale])  # where -t are the logits
    assert model.clocks is not None
    model.clocks.copy_(torch.tensor(clocks, dtype=torch.float64))
    return model


def _write(
    layer: Any,
    stage: Stage,
    neuron: ReLPSP | AlphaPSP,
    scale: float,
    theta: float,
    rate: float,
    gate: bool,
) -> None:
    """Write weights and pulses of a layer, in units of its clock.

    Args:
        layer: where to.
        stage: of the ReLU network.
        neuron: on the layer's clock.
        scale: the activation that this clock calls 1.
        theta: the one that the next clock calls 1.
        rate: of the next clock.
        gate: whether all inputs will have spiked by the reference.
    """
    rows, bias = _rows(stage) * scale / theta, stage.bias / theta
    # What rises without it is taken from the reference: the bias pulse, and all inputs if gated.
    rising = bias + rows.sum(dim=0) if gate else bias
    whole, part = neuron.psp(torch.tensor([1.0, 1.0 / rate], dtype=torch.float64))
    pulses = [bias / whole, 1.0 / part - rising]
    if len(layer.pulses) > 2:
        pulses.append(torch.full_like(bias, GATE))
    with torch.no_grad():
        layer.weight.copy_(torch.cat([rows, torch.stack(pulses)]))
        layer.pulses[2:] = 1.0 + 1.0 / rate


def relu_inputs(
    times: Float[Tensor, "*shape"],
    deadline: float | int = 1.0,
    *,
    neuron: NeuronName = "rel_psp",
    decay: float = DECAY,
) -> Float[Tensor, "*shape"]:
    r"""Return the activations that spikes say by the deadline T: what to train a ReLU network on.

    .. math:: a = \max(0, 1 - t / T) \text{ (ReL-PSP)}, \qquad
              a = x\, e^{-K T x}, \; x = \max(0, 1 - t / T) \text{ (α-PSP)}

    Args:
        times: spike times in frames, >= 0; `inf` is silence. Any shape.
        deadline: T, in frames.
        neuron: ReL-PSP, or α-PSP.
        decay: α-PSP's decay rate K, per frame.

    Raises:
        ValueError: if a time is NaN or negative, or an option out of its range.

    Example:
        >>> relu_inputs(torch.tensor([0.0, 0.01, 0.04, 1.0, torch.inf]), deadline=0.04)
        tensor([1.0000, 0.7500, 0.0000, 0.0000, 0.0000])
    """
    check_times(times, latest=math.inf)
    deadline = number(deadline, "deadline")
    if not 0.0 < deadline < math.inf:
        raise ValueError(f"deadline must be positive and finite, got {deadline}.")
    return _neuron(neuron, decay, deadline).psp((1.0 - times / deadline).clamp_min(0.0))


def mapped_network(
    layers: Sequence[Mapping[str, Any]],
    *,
    neuron: NeuronName = "rel_psp",
    decay: float = DECAY,
    clocks: bool = True,
) -> ContinuousNetwork:
    """Make a network of the form that `from_relu` gives, without weights: what its file is read by.

    Args:
        layers: {"inputs", "neurons", "pulses"} of a dense one; {"size", "kernel_size", "neurons",
            "pool", "padding", "stride", "edge", "pulses"} of a convolution.
        neuron: ReL-PSP, or α-PSP.
        decay: α-PSP's decay rate K, per frame.
        clocks: whether each layer has a clock of its own, as `ContinuousNetwork.in_frames` has not.

    Example:
        >>> mapped_network([{"inputs": 4, "neurons": 3, "pulses": 2}]).state_dict().keys()
        odict_keys(['clocks', 'layers.0.weight', 'layers.0.pulses'])
    """
    made = [_layer(_neuron(neuron, decay, None), dict(spec)) for spec in layers]
    own = torch.tensor([[0.0, 1.0]] * (len(made) + 1)) if clocks else None
    options = {
        "layers": [dict(spec) for spec in layers],
        "neuron": neuron,
        "decay": decay,
        "clocks": clocks,
    }
    used("stanojevic2023")
    return ContinuousNetwork(made, mapped_network, options, own)


def _layer(neuron: ReLPSP | AlphaPSP, spec: dict[str, Any]) -> Dense | Conv:
    pulses = torch.arange(count(spec.pop("pulses"), "pulses", low=2, high=3)).float()
    neurons = count(spec.pop("neurons"), "neurons", low=1)
    if "inputs" in spec:
        inputs = count(spec.pop("inputs"), "inputs", low=1)
        return Dense(neuron, torch.zeros(inputs + len(pulses), neurons), pulses, **spec)
    size = tuple(count(side, "A side of size", low=1) for side in spec.pop("size"))
    rows = count(spec["kernel_size"], "kernel_size", low=1) ** 2 * size[2] + len(pulses)
    return Conv(neuron, torch.zeros(rows, neurons), size, pulses=pulses, **spec)  # type: ignore[arg-type]


def _relay(n_inputs: int) -> Stage:
    """Return one neuron for each input, as a convolution of a single place."""
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    return Stage(one, torch.zeros(1, dtype=torch.float64), (1, n_inputs, 1))


def _spec(stage: Stage, gate: bool, last: bool) -> dict[str, Any]:
    pulses = 3 if gate and not last else 2
    if not stage.conv:
        return {"inputs": stage.weight.shape[1], "neurons": len(stage.weight), "pulses": pulses}
    channels, height, width = stage.shape
    return {
        "size": [height, width, channels],
        "kernel_size": stage.weight.shape[-1],
        "neurons": len(stage.weight),
        "pool": stage.pool,
        "padding": stage.padding,
        "stride": stage.stride,
        "edge": 1 if gate else None,  # with the reference, as all that is zero
        "pulses": pulses,
    }


def _rows(stage: Stage) -> Tensor:
    """Return the weights as `[inputs, neurons]`; grids have their channels last."""
    weight = stage.weight
    if stage.grid:
        weight = weight.view(len(weight), *stage.grid)
    if weight.dim() == 4:
        weight = weight.permute(0, 2, 3, 1)
    return weight.flatten(1).t()


def _neuron(name: str, decay: float, deadline: float | None) -> ReLPSP | AlphaPSP:
    """Return the neuron with the threshold 1, in units of the deadline, or of the frame."""
    if name == "rel_psp":
        return ReLPSP(1.0)
    if name != "alpha_psp":
        raise ValueError(f'neuron must be "rel_psp" or "alpha_psp", got {name!r}.')
    neuron = AlphaPSP(1.0, decay)
    if deadline is None:
        return neuron
    if decay * deadline > 1.0:
        raise ValueError(
            "α-PSP rises for 1 / decay frames only, so that decay * deadline must be <= 1, got "
            f"decay={decay}, deadline={deadline}."
        )
    return neuron.in_units(deadline)


def _few_bits(rate: float) -> float:
    """Return the next number of 8 significant bits, which float16 holds exactly, too."""
    mantissa, exponent = math.frexp(rate)
    return math.ldexp(math.ceil(mantissa * 256.0) / 256.0, exponent)


def _input_shape(
    samples: Tensor | None, input_size: Sequence[int] | None
) -> tuple[int, ...] | None:
    size = None if input_size is None else tuple(count(x, "input_size", low=1) for x in input_size)
    if samples is None:
        return size
    shape = tuple(samples.shape[1:])
    if size not in (None, shape):
        raise ValueError(f"samples are of {list(shape)} each, input_size says {list(size or ())}.")
    return shape


def _checked(samples: Tensor) -> Tensor:
    if len(samples) == 0:
        raise ValueError("samples are empty; pass some hundreds, or None for bounds without any.")
    samples = samples.detach().double().cpu()
    if not (samples.amin() >= 0.0 and samples.amax() <= 1.0 + 1e-6):
        raise ValueError(
            "samples must be activations in [0, 1], as relu_inputs gives them, got "
            f"{float(samples.amin()):.4g} to {float(samples.amax()):.4g}. Spikes say nothing else: "
            "train the network on relu_inputs."
        )
    return samples
