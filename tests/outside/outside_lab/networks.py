"""Networks of three libraries, as their users write them."""

from typing import Any

import snntorch as snn
import torch
from norse import torch as norse
from torch import Tensor, nn

import bridges
import rc_snn


def seeded(seed: int = 0) -> None:
    """Seed torch's own generator, from which its layers draw."""
    torch.manual_seed(seed)


def leaky_layers(n_inputs: int = 784, n_hidden: int = 60, n_classes: int = 10) -> list[nn.Module]:
    """Return a two-layer network of snnTorch's Leaky neurons."""
    return [
        nn.Linear(n_inputs, n_hidden),
        snn.Leaky(beta=0.9),
        nn.Linear(n_hidden, n_classes),
        snn.Leaky(beta=0.9, reset_mechanism="none"),
    ]


def leaky(n_inputs: int = 784, n_hidden: int = 60, n_classes: int = 10) -> nn.Module:
    """Return the same as a step model, read out by its last potentials."""
    layers = leaky_layers(n_inputs, n_hidden, n_classes)
    return bridges.SNNTorchModel(layers, n_inputs, n_classes, gain=3.0)


def lif(n_inputs: int = 784, n_hidden: int = 60, n_classes: int = 10) -> nn.Module:
    """Return a network of norse's LIF cells as a step model."""
    first, last = nn.Linear(n_inputs, n_hidden), nn.Linear(n_hidden, n_classes)
    cells = norse.SequentialState(first, norse.LIFCell(), last, norse.LICell())
    return bridges.NorseModel(cells, n_inputs, n_classes, gain=3.0)


def recurrent(n_inputs: int = 784, n_hidden: int = 40, n_classes: int = 10) -> nn.Module:
    """Return torch's own GRU of two layers, with a read-out, as a step model."""
    gru = nn.GRU(n_inputs, n_hidden, num_layers=2)
    return bridges.StepModule.from_rnn(gru, read_out=nn.Linear(n_hidden, n_classes))


class Diagonal(nn.Module):
    """A state-space layer with a step, h' = a h + B x: a step model as it is."""

    def __init__(self, n_inputs: int = 784, n_states: int = 32, n_classes: int = 10) -> None:
        super().__init__()
        self.n_inputs, self.n_states, self.n_classes = n_inputs, n_states, n_classes
        self.a = nn.Parameter(torch.linspace(0.1, 0.95, n_states))
        self.b = nn.Linear(n_inputs, n_states, bias=False)
        self.c = nn.Linear(n_states, n_classes)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Advance by one step."""
        h = self.b(x) if state is None else self.a * state[0] + self.b(x)
        return h, (h,)

    def read_out(self, features: Tensor) -> Tensor:
        """Return the logits."""
        return self.c(features)

    def cost(self) -> "rc_snn.StepCost":
        """Return the multiply-adds of a step; those with the diagonal are no matrix product."""
        fan_out = torch.full((self.n_inputs,), float(self.n_states))
        return rc_snn.StepCost(
            input=self.b.weight.numel(),
            inner=0,
            recurrent=0,
            read_out=self.c.weight.numel(),
            fan_out=fan_out,
        )


def network() -> rc_snn.Network:
    """Return a network for `--model outside_lab.networks:network`."""
    seeded()
    return rc_snn.Network(name="diagonal", model=Diagonal(), theta=0.12, n_steps=10)
