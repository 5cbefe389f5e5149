"""Adam for weights whose columns lie together in memory."""

from typing import Any

import torch
from torch import Tensor, nn


class Adam(torch.optim.AdamW):
    """AdamW in one pass over memory; Adam, where the decay is 0.

    torch's fused kernel first copies the gradient of a weight whose columns lie together. Adam does
    not care about the order of elements, so such a weight is handed over as its transpose, which is
    contiguous in the same memory.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float = 0.0) -> None:
        self.pairs = [(p, nn.Parameter(p.detach().t())) for p in model.parameters() if _columns(p)]
        twins = dict(self.pairs)
        leaves = [twins.get(p, p) for p in model.parameters()]
        super().__init__(leaves, lr=lr, weight_decay=weight_decay, fused=True)

    def step(self, closure: Any = None) -> Any:
        """Take one step."""
        for weight, twin in self.pairs:
            twin.grad = None if weight.grad is None else weight.grad.t()
        loss = super().step(closure)
        for _, twin in self.pairs:  # else a gradient outlives the model's own zero_grad
            twin.grad = None
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        super().zero_grad(set_to_none)
        for weight, _ in self.pairs:
            weight.grad = None


def _columns(weight: Tensor) -> bool:
    return weight.dim() == 2 and not weight.is_contiguous() and weight.t().is_contiguous()
