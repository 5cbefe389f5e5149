"""A GRU of torch and a state-space layer answer early: both are step models."""

import torch
from torch import Tensor, nn

from bridges import StepModule
from rc_snn import DenseSequences, decide
from rc_snn.step_model import StepCost

N_STEPS, N_INPUTS, N_CLASSES = 20, 4, 3


class StateSpace(nn.Module):
    """h = λ h + B x with complex poles λ: it has a step, so nothing else is needed to run it."""

    n_inputs, n_classes = N_INPUTS, N_CLASSES

    def __init__(self, n_state: int = 16) -> None:
        super().__init__()
        self.log_decay = nn.Parameter(torch.rand(n_state))
        self.frequency = nn.Parameter(torch.rand(n_state))
        self.b = nn.Linear(N_INPUTS, n_state, bias=False)
        self.c = nn.Linear(2 * n_state, N_CLASSES)

    def step(
        self, x: Tensor, state: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Advance by one step; the state may be complex, its first axis is the batch."""
        h = self.b(x).to(torch.complex64)
        if state is not None:
            h = h + torch.exp(torch.complex(-self.log_decay, self.frequency)) * state[0]
        return torch.cat([h.real, h.imag], dim=1), (h,)

    def read_out(self, features: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.c(features)
        return logits

    def cost(self) -> StepCost:
        """Return the multiply-adds of a step: a complex pole times a state is four."""
        n_state = len(self.frequency)
        fan_out = torch.full((N_INPUTS,), float(n_state))
        products = (self.b.weight.numel(), 0, 4 * n_state, self.c.weight.numel())
        return StepCost(*products, fan_out)


torch.manual_seed(0)
gru = nn.GRU(N_INPUTS, 32, num_layers=2)
read_out = nn.Linear(32, N_CLASSES)
nn.init.normal_(read_out.weight)
x = torch.randn(N_STEPS, 8, N_INPUTS)  # time first: [T, B, inputs]

model = StepModule.from_rnn(gru, read_out=read_out)
whole = read_out(gru(x)[0])[-1].softmax(dim=1)  # as torch answers, after the last step
at_the_end = decide(model, DenseSequences(x), theta=None).scores
print("a GRU's answers at the end differ by", f"{(whole - at_the_end).abs().max().item():.0e}")
for name, one in [("GRU", model), ("state-space layer", StateSpace())]:
    decision = decide(one, DenseSequences(x), theta=0.6)
    print(f"{name}: answers at the steps {decision.step.tolist()}")
