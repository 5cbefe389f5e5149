"""Why NeuroBench's operations differ from ours: every difference named, and its amount derived.

Our figures are those of `rc_snn.regimes`: dense multiply-adds, accumulates per spike, and
multiply-accumulates. What is derived here from weights, decision steps and input spikes alone must
add up to what NeuroBench 2.3 measures; `Books.expected` is that sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from bridges.neurobench.layers import CellLSTM, Grid, LayeredLIF, Synapses
from bridges.neurobench.models import RankCoded
from rc_snn.borders.numbers import whole
from rc_snn.regimes import decision_macs, synaptic_operations
from rc_snn.spikes import check_steps
from rc_snn.step_model import StepCost

PADDING = "padding"
ZERO_WEIGHTS = "zero weights"
STATE_AS_AC = "products with h booked as ACs"
GATE_PRODUCTS = "products between gates"

REASONS = {
    PADDING: (
        "A convolution pads its grid with zeros. We count the products that torch computes, with "
        "padding; NeuroBench counts those inside the grid, by convolving ones."
    ),
    ZERO_WEIGHTS: (
        "NeuroBench's effective operations leave out weights that are exactly 0; ours count every "
        "synapse. The shipped weights are rounded to float16, where a few became 0."
    ),
    STATE_AS_AC: (
        "Of a call nn.LSTMCell(x, (h, c)) NeuroBench looks at x only. Since x is binary, it books "
        "the products with h, which is analog, as accumulates, too. The same network written as "
        "two nn.Linear is booked as ours is."
    ),
    GATE_PRODUCTS: (
        "NeuroBench also counts a cell's products f·c, i·g and o·tanh(c), as accumulates: three "
        "per unit and step, two in the first, whose c is zero (its dense figure replaces the "
        "input's zeros by ones, but not the state's). We count products of matrices and "
        "convolutions only."
    ),
}
"""In words, why the figures differ."""


class Operations(NamedTuple):
    """Operations per sample: the two effective figures, and the dense one."""

    acs: float = 0.0
    macs: float = 0.0
    dense: float = 0.0

    def plus(self, other: "Operations") -> "Operations":
        """Return the sums."""
        return Operations(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: "Operations") -> "Operations":
        """Return the differences."""
        return Operations(*(a - b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Books:
    """Our figures, and what leads from them to NeuroBench's."""

    ours: Operations
    differences: dict[str, Operations]
    """By reason, a key of `REASONS`; only those that are not zero."""

    @property
    def expected(self) -> Operations:
        """Return what NeuroBench must measure."""
        total = self.ours
        for amount in self.differences.values():
            total = total.plus(amount)
        return total


def books(
    network: RankCoded,
    decided: Int[Tensor, " batch"],
    input_steps: Int[Tensor, "batch inputs"],
) -> Books:
    """Derive NeuroBench's operations from ours.

    Args:
        network: the network; with `early_exit=False` every sample runs to the last step.
        decided: steps of the decisions, of `rc_snn.runner.decide` for example.
        input_steps: the input spikes, `n_steps` for silence.

    Example:
        >>> from rc_snn.models import RCLSTM
        >>> network = RankCoded(RCLSTM(3, 2, 2), theta=0.9, n_steps=4)
        >>> found = books(network, torch.tensor([1]), torch.tensor([[0, 1, 2]]))
        >>> found.ours, found.expected  # 8 synapses per input, 16 products with h, 4 read out
        (Operations(acs=16.0, macs=24.0, dense=72.0), Operations(acs=42.0, macs=8.0, dense=82.0))
    """
    check_steps(input_steps, network.n_steps)
    decided = whole(decided, "Decision steps", 0, network.n_steps - 1)
    step = decided if network.early_exit else torch.full_like(decided, network.n_steps - 1)
    net = network.network
    inside = step_cost(net.synapses(), zeros=True)
    effective = step_cost(net.synapses(), zeros=False)
    spikes = hidden_spikes(net, step, input_steps) if isinstance(net, LayeredLIF) else None

    def count(cost: StepCost, zeros: bool) -> Operations:
        found = _operations(step, input_steps, cost)
        if spikes is None:
            return found
        accumulates = spikes @ _fan_out(net.synapses().inner[0][0], None, zeros)
        return found._replace(acs=found.acs + float(accumulates.mean()), macs=0.0)

    ours, within, counted = count(network.cost, True), count(inside, True), count(effective, False)
    found = {
        PADDING: within.minus(ours),
        ZERO_WEIGHTS: counted.minus(within)._replace(dense=0.0),
    }
    steps, later = float((step + 1).double().mean()), float(step.double().mean())
    if isinstance(net, CellLSTM):
        units, moved = net.cell.hidden_size, later * effective.recurrent
        found[STATE_AS_AC] = Operations(moved, -moved)
        gates = units * (3 * steps - 1)
        found[GATE_PRODUCTS] = Operations(gates, 0.0, gates)
    return Books(ours, {key: amount for key, amount in found.items() if any(amount)})


def _operations(step: Tensor, input_steps: Tensor, cost: StepCost) -> Operations:
    acs, macs = synaptic_operations(step, input_steps, cost)
    dense = decision_macs(step, cost).double()
    return Operations(*(float(part.mean()) for part in (acs, macs, dense)))


def step_cost(synapses: Synapses, *, zeros: bool) -> StepCost:
    """Return what a step costs where padding costs nothing.

    Args:
        synapses: the weights.
        zeros: whether weights that are exactly 0 count.
    """

    def products(weights: Sequence[tuple[Tensor, Grid]]) -> int:
        return int(sum(_fan_out(weight, grid, zeros).sum() for weight, grid in weights))

    return StepCost(
        input=products([synapses.input]),
        inner=products(synapses.inner),
        recurrent=products(synapses.recurrent),
        read_out=products(synapses.read_out),
        fan_out=_fan_out(*synapses.input, zeros),
    )


def _fan_out(weight: Tensor, grid: Grid, zeros: bool) -> Float[Tensor, " inputs"]:
    """Return the synapses of each input of a layer."""
    mask = (torch.ones_like(weight) if zeros else weight != 0).double()
    if grid is None:
        return mask.sum(0)
    targets = torch.ones(1, weight.shape[0], *grid, dtype=torch.float64)
    return F.conv_transpose2d(targets, mask, padding=weight.shape[-1] // 2).flatten()


@torch.no_grad()
def hidden_spikes(
    net: LayeredLIF, step: Int[Tensor, " batch"], input_steps: Int[Tensor, "batch inputs"]
) -> Float[Tensor, "batch neurons"]:
    """Return how often each hidden neuron spikes until its sample's decision."""
    total = torch.zeros(len(step), len(net.feed.weight), dtype=torch.float64)
    state = None
    for t in range(int(step.max()) + 1):
        x = (input_steps == t).to(net.feed.weight)
        current = F.linear(x, net.feed.weight, net.feed.bias)  # not the layer: hooks would count it
        z, _, state = net.neurons.step(current, state, spiking=True)
        total += z.double() * (step >= t).unsqueeze(1)
    return total
