"""SpikingJelly: spikes as multi-step input `[time, batch, channel]`, and back from its layers."""

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from bridges.stream import script
from bridges.stream.stream import SpikeStream
from bridges.target import Target, load

TARGET = Target(
    name="spikingjelly",
    title="SpikingJelly",
    row=30,
    kind="library",
    needs=("spikingjelly",),
    versions="spikingjelly 2.0.0",
    unit="steps",
    repeats=True,
    per_tick=1,
    samples="axis 1 of [T, B, C]",
)


def x_seq(stream: SpikeStream) -> Float[Tensor, "time batch *channels"]:
    """Return the spike tensor that layers with `step_mode="m"` take: float32, time first.

    With the default, `step_mode="s"`, the same tensor is a single step of T samples: pass
    `step_mode="m"`, or loop over the first axis. Layers keep their state from call to call; call
    `spikingjelly.activation_based.functional.reset_net(net)` between batches.

    Raises:
        BridgeError: if a unit spikes twice in one tick.

    Example:
        >>> x_seq(SpikeStream.silent(2, n_units=3, n_steps=10, dt_s=1e-3)).shape
        torch.Size([10, 2, 3])
    """
    TARGET.admit(stream)
    return stream.to_tensor()


def from_s_seq(s_seq: Shaped[Tensor, "time batch *channels"], dt_s: float) -> SpikeStream:
    """Return the spikes that a layer with `step_mode="m"` put out.

    Args:
        s_seq: zeros and ones.
        dt_s: seconds per step; SpikingJelly has none.

    Raises:
        ValueError: if a value is neither 0 nor 1.

    Example:
        >>> from_s_seq(torch.eye(3).unsqueeze(1), dt_s=1e-3).ticks.tolist()
        [0, 1, 2]
    """
    return SpikeStream.from_tensor(s_seq, dt_s)


def relay() -> Any:
    r"""Return a layer that spikes whenever its input does: its output equals its input.

    .. math:: h_t = v_{t-1} + z_t, \quad [h_t \ge 1] = z_t, \quad v_t = (1 - z_t) h_t

    An `IFNode` as it is, over several steps: SpikingJelly fires at its threshold of 1, and resets
    to 0 at once.

    Example:
        >>> relay()(torch.tensor([[[1.0, 0.0]]]))
        tensor([[[1., 0.]]])
    """
    return load(TARGET, "spikingjelly.activation_based.neuron").IFNode(step_mode="m")


@torch.no_grad()
def round_trip(stream: SpikeStream) -> SpikeStream:
    """Run the spikes through a `relay`, and return its output spikes."""
    return from_s_seq(relay()(x_seq(stream)), stream.dt_s)


export = script.exporter(TARGET)
