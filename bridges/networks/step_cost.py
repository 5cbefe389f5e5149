"""Multiply-adds of any network, counted by watching its layers at work."""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridges.errors import BridgeError
from rc_snn.step_model import Inflow


class Product(NamedTuple):
    """A product that a layer computes in a step."""

    layer: Any
    shape: torch.Size
    """Of the input, without the batch."""
    feed: int
    """Multiply-adds with the input."""
    back: int
    """Multiply-adds with the layer's own previous state."""
    loop: bool
    """Whether the input is itself a previous state, as of snnTorch's `RLeaky.recurrent`."""
    x: Tensor
    """The input."""
    previous: Tensor | None
    """The layer's own previous state, of which the product `back` is; None: there was none."""


@contextmanager
def products(model: nn.Module, but: nn.Module | None) -> Iterator[list[Product]]:
    """Collect the products that a model's layers, but one, compute meanwhile.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> with products(nn.Sequential(layer), but=None) as found:
        ...     _ = layer(torch.ones(5, 3))
        >>> found[0].feed, fan_out(found[0]).tolist()
        (6, [2.0, 2.0, 2.0])

    Raises:
        BridgeError: at a layer with weights whose products are unknown.
    """
    found: list[Product] = []
    loops = [getattr(part, "recurrent", None) for part in model.modules()]

    def count(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        feed, back = _multiply_adds(layer, inputs[0], output)
        if feed + back:
            loop = any(layer is other for other in loops)
            x, previous = inputs[0], _previous(inputs[1:])
            found.append(Product(layer, x.shape[1:], feed, back, loop, x, previous))

    parts = [part for part in model.modules() if part is not but]
    hooks = [part.register_forward_hook(count) for part in parts]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _multiply_adds(layer: Any, x: Tensor, output: Any) -> tuple[int, int]:
    """Return the multiply-adds of one sample: with the input, and with the previous state."""
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return layer.weight[0].numel() * x[0].numel(), 0
    if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
        return layer.weight[0].numel() * output[0].numel(), 0
    if isinstance(layer, nn.RNNCellBase):
        return layer.weight_ih.numel(), layer.weight_hh.numel()
    if hasattr(layer, "input_weights"):  # norse's
        back = getattr(layer, "recurrent_weights", torch.zeros(0))
        return layer.input_weights.numel(), back.numel()
    if any(parameter.dim() > 1 for parameter in layer.parameters(recurse=False)):
        raise BridgeError(
            f"cost() does not know what {type(layer).__name__} computes with its weights. Override "
            "cost() for this network."
        )
    return 0, 0


def _previous(arguments: tuple[Any, ...]) -> Tensor | None:
    """Return what a recurrent layer multiplies of the state it is called with."""
    state = arguments[0] if arguments else None
    if state is None or isinstance(state, Tensor):  # nn.GRUCell, nn.RNNCell
        return state
    while hasattr(state, "lif"):  # norse's refractory cells
        state = state.lif
    h: Tensor = state.z if hasattr(state, "z") else state[0]  # norse's spikes; nn.LSTMCell's h
    return h


def inflows(found: Sequence[Product], *, first: bool) -> list[Inflow]:
    """Return what came into these products of a step, but for that with the network's input.

    In the first step there are no previous states.
    """
    seen: Counter[int] = Counter()
    into = []
    for p in found:
        key = (id(p.layer), seen[id(p.layer)])  # a layer may be called twice
        seen[id(p.layer)] += 1
        if p is not found[0] and p.feed and not (p.loop and first):
            into.append(Inflow.of((*key, "input"), p.x, fan_out(p), p.feed))
        if p.back and p.previous is not None and not first:
            synapses = torch.full((p.previous[0].numel(),), p.back / p.previous[0].numel())
            into.append(Inflow.of((*key, "state"), p.previous, synapses, p.back))
    return into


def fan_out(product: Product) -> Float[Tensor, " inputs"]:
    """Return the synapses of each input of a product's layer."""
    if not isinstance(product.layer, nn.modules.conv._ConvNd):
        n_inputs = product.shape.numel()
        return torch.full((n_inputs,), product.feed / n_inputs)
    # An input near the border reaches fewer targets: with weights of 1, a derivative counts them.
    ones: Any = copy.deepcopy(product.layer)
    with torch.enable_grad():
        nn.init.ones_(ones.weight)
        x = torch.zeros(1, *product.shape, device=ones.weight.device, requires_grad=True)
        (reach,) = torch.autograd.grad(ones(x).sum(), x)
    return reach.flatten()
