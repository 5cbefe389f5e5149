"""What `benchmarks.speed` compares: our programs, and the dense full-length ones they replace."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.objective import prefix_loss, rc_loss
from rc_snn.optimizer import Adam
from rc_snn.runner import Threshold, decide, run, run_with_prefix
from rc_snn.runs.chunks import chooser
from rc_snn.sequences import Labelled, SpikeSequences
from rc_snn.spikes import first_spike, spike_frames
from rc_snn.step_model import StepModel

NEVER = 1.0 - 1e-6
"""A threshold that a network at its initial weights never reaches: every sample runs to the end."""


def training_step(
    model: RCLSTM | RCConvLSTM,
    batch: Labelled,
    theta: Threshold,
    *,
    fused: bool = True,
    prefix: float = 0.0,
) -> Callable[[], None]:
    """Return one RC training step with Adam, as `rc_snn.training` takes it."""
    # The rate is 0, so that the network stays where it fires, or does not; the work is the same.
    optimizer = Adam(model, lr=0.0)
    chunks = chooser(model, batch.inputs.n_steps, training=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        if prefix:
            found = run_with_prefix(model, batch.inputs, theta, fused=fused, chunks=chunks)
            before = prefix * prefix_loss(found.prefix, found.sample, batch.labels)
            (rc_loss(found.logits, batch.labels, 0.1) + before).backward()
        else:
            logits = run(model, batch.inputs, theta, fused=fused, chunks=chunks).logits
            rc_loss(logits, batch.labels, 0.1).backward()
        optimizer.step()

    return step


class AuthorsRecipe(nn.Module):
    """Dense input, nn.LSTM over all steps, gather at the first spike, as in the notebooks."""

    def __init__(self, n_hidden: int = 340) -> None:
        super().__init__()
        self.recurrent, self.output = nn.LSTM(784, n_hidden), nn.Linear(n_hidden, 10)

    def forward(self, frames: Tensor, theta: float) -> Tensor:
        """Return the logits at each sample's first spike."""
        logits: Tensor = self.output(self.recurrent(frames)[0])
        step, _ = first_spike(F.softmax(logits.detach(), dim=-1), theta)
        return logits[step, torch.arange(frames.shape[1])]


class DenseConvLSTM(nn.Module):
    """The same recipe for a ConvLSTM as commonly written: torch's layout, every step computed."""

    def __init__(self, channels: int, kernel_size: int = 5) -> None:
        super().__init__()
        self.gates = nn.Conv2d(1, 4 * channels, kernel_size, padding="same")
        self.recurrent = nn.Conv2d(channels, 4 * channels, kernel_size, padding="same", bias=False)
        self.output = nn.Linear(channels * 784, 10)

    def forward(self, frames: Tensor, theta: float) -> Tensor:
        """Return the logits at each sample's first spike."""
        all_logits, h, c = [], None, None
        for x in frames.view(*frames.shape[:2], 1, 28, 28):
            gates = self.gates(x)
            if h is not None:
                gates = gates + self.recurrent(h)
            i, f, g, o = gates.chunk(4, dim=1)
            new = torch.sigmoid(i) * torch.tanh(g)
            c = new if c is None else new + torch.sigmoid(f) * c
            h = torch.sigmoid(o) * torch.tanh(c)
            all_logits.append(self.output(h.flatten(1)))
        logits = torch.stack(all_logits)
        step, _ = first_spike(F.softmax(logits.detach(), dim=-1), theta)
        return logits[step, torch.arange(frames.shape[1])]


def dense_step(
    model: AuthorsRecipe | DenseConvLSTM, batch: Labelled, theta: float
) -> Callable[[], None]:
    """Return one training step of a dense full-length network."""
    assert isinstance(batch.inputs, SpikeSequences)
    steps, n_steps = batch.inputs.steps, batch.inputs.n_steps
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        frames = spike_frames(steps, n_steps)  # the notebook expands every batch, too
        rc_loss(model(frames, theta), batch.labels, 0.1).backward()
        optimizer.step()

    return step


def dense_inference(
    model: AuthorsRecipe | DenseConvLSTM, batch: Labelled, theta: float
) -> Callable[[], None]:
    """Return inference by a dense full-length network."""
    assert isinstance(batch.inputs, SpikeSequences)
    steps, n_steps = batch.inputs.steps, batch.inputs.n_steps

    @torch.no_grad()
    def infer() -> None:
        model(spike_frames(steps, n_steps), theta).argmax(dim=1)

    return infer


def inference(model: StepModel, batch: Labelled, theta: float) -> Callable[[], None]:
    """Return rank-coded inference."""

    def infer() -> None:
        decide(model, batch.inputs, theta)

    return infer
