"""Traces whose answers are worth waiting for, and decisions made one by one."""

import torch
from torch import Tensor

from rc_snn.exits import confidence, right_answers

T, B, K = 8, 50, 4
CLOCK = torch.tensor([212.5, 222.5, 232.5, 250.0, 300.0, 300.0, 310.0, 312.5])
BUDGETS = torch.arange(T).double()


def data(seed: int, n: int = B, n_steps: int = T) -> tuple[Tensor, Tensor]:
    """Return logits that grow towards the right class, and the classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(K, (n,), generator=generator)
    drift = 0.6 * torch.nn.functional.one_hot(labels, K)
    z = (torch.randn(n_steps, n, K, generator=generator) + drift).cumsum(dim=0)
    return z, labels


def tables(seed: int, n: int = B, n_steps: int = T) -> tuple[Tensor, Tensor]:
    z, labels = data(seed, n, n_steps)
    return confidence(z), right_answers(z, labels)


def slow(
    score: Tensor, right: Tensor, limits: Tensor | float, clock: Tensor
) -> tuple[float, float]:
    """Mean time and accuracy, sample by sample."""
    limits = torch.as_tensor(limits).expand(len(score)).tolist()
    time = accuracy = 0.0
    for b in range(score.shape[1]):
        steps = [t for t in range(len(score)) if score[t, b].item() >= limits[t]]
        step = steps[0] if steps else len(score) - 1
        time += clock[step].item() / score.shape[1]
        accuracy += right[step, b].item() / score.shape[1]
    return time, accuracy


def objective(score: Tensor, right: Tensor, limits: Tensor, price: float) -> float:
    time, accuracy = slow(score, right, limits, torch.arange(len(score)))
    return 1 - accuracy + price * time / (len(score) - 1)
