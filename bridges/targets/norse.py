"""norse: spikes as its `[time, batch, channel]` tensors, and back from any layer's output."""

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from bridges.stream import script
from bridges.stream.stream import SpikeStream
from bridges.target import Target, load

TARGET = Target(
    name="norse",
    title="norse",
    row=20,
    kind="library",
    needs=("norse.torch",),
    versions="norse 1.1.0",
    unit="steps",
    repeats=True,
    per_tick=1,
    samples="axis 1 of [T, B, C]",
)


def spikes(stream: SpikeStream) -> Float[Tensor, "time batch *channels"]:
    """Return the spike tensor that norse's layers with time take: float32, time first.

    Give the layers the stream's grid, too: `LIF(dt=stream.dt_s)`; norse's own is 1 ms. The
    gradient of norse 1.1's `SpikesToTimesDecoder` fails as soon as one channel is silent.

    Raises:
        BridgeError: if a unit spikes twice in one tick.

    Example:
        >>> spikes(SpikeStream.silent(2, n_units=3, n_steps=10, dt_s=1e-3)).shape
        torch.Size([10, 2, 3])
    """
    TARGET.admit(stream)
    return stream.to_tensor()


def from_spikes(z: Shaped[Tensor, "time batch *channels"], dt_s: float) -> SpikeStream:
    """Return the spikes that a layer with time put out.

    Args:
        z: zeros and ones.
        dt_s: seconds per step; the layer's dt.

    Raises:
        ValueError: if a value is neither 0 nor 1, as the potentials of `LI` are.

    Example:
        >>> from_spikes(torch.eye(3).unsqueeze(1), dt_s=1e-3).ticks.tolist()
        [0, 1, 2]
    """
    return SpikeStream.from_tensor(z, dt_s)


def relay() -> Any:
    r"""Return a layer that spikes whenever its input does: its output equals its input.

    .. math:: v' = v_{t-1} + z_t, \quad [v' > 0.5] = z_t, \quad v_t = (1 - z_t) v'

    An `IAF` layer with threshold 0.5: its potential is 0 after every step. At norse's threshold of
    1 a spike of weight 1 fires nothing, and a `LIF` layer adds only dt / τ_mem of its input.

    Example:
        >>> relay()(torch.tensor([[[1.0, 0.0]]]))[0].detach()
        tensor([[[1., 0.]]])
    """
    norse = load(TARGET)
    # Own tensors: IAF asks for a gradient of its reset potential, by default one for all layers.
    return norse.IAF(norse.IAFParameters(v_th=torch.tensor(0.5), v_reset=torch.tensor(0.0)))


@torch.no_grad()
def round_trip(stream: SpikeStream) -> SpikeStream:
    """Run the spikes through a `relay`, and return its output spikes."""
    z, _ = relay()(spikes(stream))
    return from_spikes(z, stream.dt_s)


export = script.exporter(TARGET)
