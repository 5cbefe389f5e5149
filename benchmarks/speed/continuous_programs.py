"""What `benchmarks.speed` runs of networks that spike once: a training update, and inference."""

from collections.abc import Callable

import torch

from baselines.continuous import ContinuousNetwork
from baselines.continuous_training import AuthorsAdam, Timed
from baselines.first_spike import first_spike_loss, silence_penalty
from benchmarks.table1.continuous_rows import README


def set_path(model: ContinuousNetwork, fast: bool) -> ContinuousNetwork:
    """Let all layers compute by the kernels, or by tensors; return the model."""
    for layer in model.layers:
        layer.fast = fast
    return model


def timing_inference(model: ContinuousNetwork, batch: Timed) -> Callable[[], None]:
    """Return the computation of all spike times of a batch."""

    def run() -> None:
        with torch.no_grad():
            model.spike_times(batch.times)

    return run


def alpha_update(model: ContinuousNetwork, batch: Timed) -> Callable[[], None]:
    """Return one update of α-PSP by its authors' recipe: loss, penalty, clipping, Adam."""
    # The rate is 0, so that the network stays what it is; the work is the same.
    optimizer = AuthorsAdam(model.parameters(), lr=0.0)

    def run() -> None:
        layers = model.spike_times(batch.times)
        loss = first_spike_loss(layers[-1], batch.labels)
        for layer, out in zip(model.layers, layers, strict=True):
            loss = loss + README.silence * silence_penalty(out.detach().unsqueeze(1), layer.weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def rel_update(
    model: ContinuousNetwork, batch: Timed, temperature: float = 0.1
) -> Callable[[], None]:
    """Return one update of ReL-PSP with AdamW and a bound of the gradient's norm."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)

    def run() -> None:
        loss = first_spike_loss(model.spike_times(batch.times)[-1] / temperature, batch.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return run
