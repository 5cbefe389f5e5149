"""snnTorch: spikes as its `[time, batch, channel]` tensors, and back from any `spk_rec`."""

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from bridges.stream import script
from bridges.stream.stream import SpikeStream
from bridges.target import Target, load

TARGET = Target(
    name="snntorch",
    title="snnTorch",
    row=10,
    kind="library",
    needs=("snntorch",),
    versions="snntorch 1.0.0",
    unit="steps",
    repeats=True,
    per_tick=1,
    samples="axis 1 of [T, B, C]",
)


def spk_rec(stream: SpikeStream) -> Float[Tensor, "time batch *channels"]:
    """Return the spike tensor that snnTorch's layers, losses and plots take: float32, time first.

    Know what its losses and `accuracy_temporal` make of silence: a spike at the last step, so that
    a sample without an earlier spike is of class 0. Decisions therefore travel with one step more
    than the model has, `SpikeStream.from_decision(decision, T + 1, ..., forced="spike")`. Give
    `mse_temporal_loss` times, `target_is_time=True`: of labels it makes step 0 for every class
    (snntorch#361).

    Raises:
        BridgeError: if a unit spikes twice in one tick.

    Example:
        >>> spk_rec(SpikeStream.silent(2, n_units=3, n_steps=10, dt_s=1e-3)).shape
        torch.Size([10, 2, 3])
    """
    TARGET.admit(stream)
    return stream.to_tensor()


def from_spk_rec(spk_rec: Shaped[Tensor, "time batch *channels"], dt_s: float) -> SpikeStream:
    """Return the spikes of a recording, such as `torch.stack(spk_rec)` of a loop over steps.

    Args:
        spk_rec: zeros and ones.
        dt_s: seconds per step; snnTorch has none.

    Raises:
        ValueError: if a value is neither 0 nor 1, as with `graded_spikes_factor`.

    Example:
        >>> from_spk_rec(torch.eye(3).unsqueeze(1), dt_s=1e-3).ticks.tolist()
        [0, 1, 2]
    """
    return SpikeStream.from_tensor(spk_rec, dt_s)


def relay() -> Any:
    r"""Return a layer that spikes whenever its input does: its output equals its input.

    .. math:: u_t = 0 \cdot u_{t-1} + z_t, \quad [u_t > 0.5] = z_t

    A `Leaky` whose decay of the potential (which snnTorch calls beta) is 0, without a reset. The
    defaults would not do: an input of 1 does not exceed the threshold 1, and the delayed reset by
    subtraction swallows the second of two spikes in a row.

    Example:
        >>> relay()(torch.tensor([[1.0, 0.0]]))[0]
        tensor([[1., 0.]])
    """
    return load(TARGET).Leaky(beta=0.0, threshold=0.5, reset_mechanism="none")


@torch.no_grad()
def round_trip(stream: SpikeStream) -> SpikeStream:
    """Run the spikes through a `relay`, step by step, and return its output spikes."""
    leaky, mem, recorded = relay(), None, []
    for x in spk_rec(stream):
        spk, mem = leaky(x, mem)
        recorded.append(spk)
    return from_spk_rec(torch.stack(recorded), stream.dt_s)


export = script.exporter(TARGET)
