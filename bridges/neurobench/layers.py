"""Step networks of ours taken apart into torch layers, which NeuroBench's hooks can see.

NeuroBench counts calls of `nn.Linear`, `nn.Conv…` and `nn.LSTMCell`. The cells of `rc_snn` are none
of these, and `nn.LSTM` is not counted either, in silence. So each network becomes such layers, with
copies of its weights; a step of them is a step of `rc_snn.models` or `baselines.lif`. Networks of
other libraries (`StepModule`) have layers of their own, and are copied as they are.
"""

import copy
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils import skip_init

from baselines.lif import RCLIF, TTFSLIF, LIFNetwork
from bridges.errors import BridgeError
from bridges.networks.step_models import StepModule
from rc_snn.cells import lstm_gates
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.spikes import crossed
from rc_snn.step_model import State

Gates: TypeAlias = Literal["cell", "linear"]
Mean: TypeAlias = Float[Tensor, "steps inputs"] | None
Grid: TypeAlias = tuple[int, int] | None
Step: TypeAlias = tuple[Float[Tensor, "batch classes"], Bool[Tensor, " batch"], State]
"""Scores, which samples answer now, and the new state."""


class Synapses(NamedTuple):
    """Weights of a network, each with the grid it is moved over, by when they are used."""

    input: tuple[Tensor, Grid]
    inner: Sequence[tuple[Tensor, Grid]]
    recurrent: Sequence[tuple[Tensor, Grid]]
    read_out: Sequence[tuple[Tensor, Grid]]


class Activation(nn.Identity):
    """What passes here is an activation to NeuroBench's ActivationSparsity."""


class OffsetLSTMCell(nn.LSTMCell):
    """`nn.LSTMCell` that takes a further bias by keyword, where NeuroBench does not look."""

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the new `(h, c)`; the offset is subtracted from the gates."""
        if offset is None or hx is None:
            return super().forward(input, hx)
        bias = self.bias_ih - offset
        new: tuple[Tensor, Tensor] = torch.lstm_cell(
            input, hx, self.weight_ih, self.weight_hh, bias, self.bias_hh
        )
        return new


class CellLSTM(nn.Module):
    """An RCLSTM around `nn.LSTMCell`."""

    offset: Tensor | None

    def __init__(self, model: RCLSTM, theta: float, mean: Mean) -> None:
        super().__init__()
        weight, self.theta = model.cell.weight_ih.cpu(), theta
        self.cell = skip_init(OffsetLSTMCell, model.n_inputs, model.n_hidden, dtype=weight.dtype)
        self.cell.load_state_dict(model.cell.state_dict())
        self.hidden, self.output = Activation(), copy.deepcopy(model.output).cpu()
        self.register_buffer("offset", None if mean is None else mean.to(weight) @ weight.t())

    def forward(self, x: Float[Tensor, "batch inputs"], step: int, state: State | None) -> Step:
        """Advance by one step; without an explicit state NeuroBench cannot count the cell."""
        zero = x.new_zeros(len(x), self.cell.hidden_size)
        h, c = (zero, zero) if state is None else state
        h, c = self.cell(x, (h, c), offset=None if self.offset is None else self.offset[step])
        return *_look(self.output(self.hidden(h)), self.theta), (h, c)

    def synapses(self) -> Synapses:
        """Return the weights by when they are used."""
        recurrent = [(self.cell.weight_hh, None)]
        return Synapses((self.cell.weight_ih, None), [], recurrent, [(self.output.weight, None)])


class LayeredLSTM(nn.Module):
    """An RCLSTM or RCConvLSTM, each product of which is a layer: with the input, and with h."""

    offset: Tensor | None

    def __init__(self, model: RCLSTM | RCConvLSTM, theta: float, mean: Mean) -> None:
        super().__init__()
        self.theta, self.pool = theta, 1
        self.grids: Sequence[Grid] = [None]
        self.image: tuple[int, ...] = (model.n_inputs,)
        parts: list[tuple[Tensor, Tensor, Tensor]]
        if isinstance(model, RCConvLSTM):
            self.pool, self.grids, self.image = model.pool, model.grids, (1, *model.image_shape)
            parts = [(cell.weight_ih, cell.bias, cell.weight_hh) for cell in model.layers]
        else:
            cell = model.cell
            parts = [(cell.weight_ih, cell.bias_ih + cell.bias_hh, cell.weight_hh)]
        self.feed: Any = nn.ModuleList(_layer(weight, bias) for weight, bias, _ in parts)
        self.back: Any = nn.ModuleList(_layer(weight, None) for _, _, weight in parts)
        self.hidden, self.output = Activation(), copy.deepcopy(model.output).cpu()
        offset = None
        if mean is not None:
            feed = _layer(parts[0][0], None)
            offset = feed(mean.to(feed.weight).view(-1, *self.image))
        self.register_buffer("offset", offset)

    def forward(self, x: Float[Tensor, "batch inputs"], step: int, state: State | None) -> Step:
        """Advance by one step; the first has no product with h."""
        x = x.view(-1, *self.image)
        new: State = ()
        for i, (feed, back) in enumerate(zip(self.feed, self.back, strict=True)):
            gates = feed(x)
            if i == 0 and self.offset is not None:
                gates = gates - self.offset[step]
            c = None
            if state is not None:
                h, c = state[2 * i : 2 * i + 2]
                gates, c = gates + back(h), c.movedim(1, -1)
            h, c = (part.movedim(-1, 1) for part in lstm_gates(gates.movedim(1, -1), c))
            new, x = (*new, h, c), self.hidden(h)
            if self.pool > 1:
                x = F.max_pool2d(x, self.pool)
        return *_look(self.output(x.movedim(1, -1).flatten(1)), self.theta), new

    def synapses(self) -> Synapses:
        """Return the weights by when they are used."""
        feed = [(layer.weight, grid) for layer, grid in zip(self.feed, self.grids, strict=True)]
        back = [(layer.weight, grid) for layer, grid in zip(self.back, self.grids, strict=True)]
        return Synapses(feed[0], feed[1:], back, [(self.output.weight, None)])


class LayeredLIF(nn.Module):
    """An RCLIF (with a threshold θ) or TTFSLIF around two `nn.Linear`."""

    def __init__(self, model: LIFNetwork, theta: float | None) -> None:
        super().__init__()
        self.theta, self.neurons, self.spiking = theta, model.neurons, model.spiking
        self.gain = model.gain if isinstance(model, RCLIF) else 1.0
        self.feed = _layer(model.weight_ih, model.bias_h)
        self.output = _layer(model.weight_ho, model.bias_o)
        self.hidden, self.spikes = Activation(), Activation()

    def forward(self, x: Float[Tensor, "batch inputs"], step: int, state: State | None) -> Step:
        """Advance both layers by one step."""
        half = 0 if state is None else len(state) // 2
        first, second = (None, None) if state is None else (state[:half], state[half:])
        z, _, first = self.neurons.step(self.feed(x), first, spiking=True)
        z, v, second = self.neurons.step(self.output(self.hidden(z)), second, self.spiking)
        state = (*first, *second)
        if self.theta is None:
            return v, self.spikes(z).amax(dim=1) > 0, state
        return *_look(self.gain * v, self.theta), state

    def synapses(self) -> Synapses:
        """Return the weights by when they are used."""
        return Synapses((self.feed.weight, None), [(self.output.weight, None)], [], [])


class Stepped(nn.Module):
    """A StepModule as it is: its layers are those of torch or of its library."""

    def __init__(self, model: StepModule, theta: float | None) -> None:
        super().__init__()
        self.theta, self.model = theta, copy.deepcopy(model).cpu()

    def forward(self, x: Float[Tensor, "batch inputs"], step: int, state: State | None) -> Step:
        """Advance by one step, and read out."""
        features, state = self.model.step(x, state)
        return *_look(self.model.read_out(features), self.theta), state

    def synapses(self) -> Synapses:
        """Refuse: what NeuroBench counts otherwise than we is derived for our own networks."""
        raise BridgeError(
            f"The differences to NeuroBench are derived for networks of ours, got a "
            f"{type(self.model).__name__}. rc_snn.regimes.count_operations counts its operations."
        )


def _layer(weight: Tensor, bias: Tensor | None) -> Any:
    """Return a torch layer with a copy of these weights."""
    options: dict[str, Any] = {"bias": bias is not None, "dtype": weight.dtype}
    kind: type[nn.Module] = nn.Linear
    if weight.dim() == 4:
        kind, options = nn.Conv2d, options | {"kernel_size": weight.shape[2:], "padding": "same"}
    layer = skip_init(kind, weight.shape[1], weight.shape[0], **options)
    tensors = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    layer.load_state_dict({key: value.detach() for key, value in tensors.items()})
    return layer.requires_grad_(False)


def _look(logits: Float[Tensor, "batch classes"], theta: float | None) -> tuple[Tensor, Tensor]:
    p = torch.softmax(logits, dim=1)
    if theta is None:
        return p, torch.zeros(len(p), dtype=torch.bool, device=p.device)
    return p, crossed(p.amax(dim=1), theta)


Layers: TypeAlias = CellLSTM | LayeredLSTM | LayeredLIF | Stepped


@torch.no_grad()
def as_layers(model: Any, theta: float | None, mean: Mean, gates: Gates) -> Layers:
    """Return a copy of a network as layers on the CPU; `forward(x, step, state)` is one step.

    Raises:
        BridgeError: if the layers would not compute what the model does.
        ValueError: if θ is missing or out of range, or gates is unknown.
    """
    name = type(model).__name__
    if gates not in get_args(Gates):
        raise ValueError(f"gates must be one of {get_args(Gates)}, got {gates!r}.")
    if (theta is None) != isinstance(model, TTFSLIF) and not isinstance(model, StepModule):
        raise ValueError(
            f"{name} got theta={theta}. RCLSTM, RCConvLSTM and RCLIF need one, of the Network or "
            "as an argument; TTFSLIF answers with its first spike and has none."
        )
    if getattr(model, "precision", "float32") != "float32":
        raise BridgeError(
            f"The products are in {model.precision}, which torch's layers would not repeat. "
            'Set model.precision = "float32".'
        )
    if isinstance(model, LIFNetwork | StepModule):
        if mean is not None:
            raise BridgeError(f"{name} reads spikes as they are, got a mean. Leave it out.")
        return LayeredLIF(model, theta) if isinstance(model, LIFNetwork) else Stepped(model, theta)
    assert theta is not None
    if isinstance(model, RCLSTM) and gates == "cell":
        return CellLSTM(model, theta, mean)
    return LayeredLSTM(model, theta, mean)
