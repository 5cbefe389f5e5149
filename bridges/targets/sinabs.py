"""sinabs: spikes as its `[batch, time, channel]` rasters, and back from any layer's output."""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from bridges.stream import script
from bridges.stream.columns import of_counts
from bridges.stream.stream import SpikeStream
from bridges.target import Target

TARGET = Target(
    name="sinabs",
    title="sinabs",
    row=40,
    kind="library",
    needs=("sinabs",),
    versions="sinabs 3.1.3",
    unit="steps",
    repeats=True,
    per_tick=None,
    samples="axis 0 of [B, T, C]",
    own_environment="RC_SNN_SINABS_PYTHON",  # it wants nir <= 1.0.4, this package a newer one
    install="python -m venv vsinabs; vsinabs/bin/pip install sinabs==3.1.3",
)


def raster(stream: SpikeStream) -> Float[Tensor, "batch time *channels"]:
    """Return the spike counts that sinabs's layers take: float32, batch first.

    A unit that spikes twice in one tick is a 2, which an `IAF` with `MultiSpike`, the default,
    answers with two spikes. The tensor needs torch only; save it for the environment of sinabs.
    Layers keep their state from call to call, and where the batch size differs, draw it from that
    of other samples: call `reset_states()` between batches.

    Example:
        >>> stream = SpikeStream.silent(1, 2, 3, 1e-3).with_spikes([0, 0, 0], [0, 2, 2], [0, 1, 1])
        >>> raster(stream)
        tensor([[[1., 0.],
                 [0., 0.],
                 [0., 2.]]])
    """
    shape = (len(stream), stream.n_steps, stream.n_units)
    cells = np.ravel_multi_index((stream.sample_ids, stream.ticks, stream.units), shape)
    counts = torch.bincount(torch.from_numpy(cells), minlength=int(np.prod(shape)))
    return counts.float().view(*shape[:2], *stream.shape)


def from_raster(counts: Shaped[Tensor, "batch time *channels"], dt_s: float) -> SpikeStream:
    """Return the spikes that a layer put out.

    Args:
        counts: spikes per sample, step and unit.
        dt_s: seconds per step; sinabs has none.

    Raises:
        ValueError: if a value is no count.

    Example:
        >>> from_raster(torch.tensor([[[1.0], [0.0], [2.0]]]), dt_s=1e-3).ticks.tolist()
        [0, 2, 2]
    """
    what = "Values of a raster, counts of spikes unless the layer's spike_fn is None,"
    spikes, (n, n_steps, *shape) = of_counts(counts, what)
    empty = SpikeStream.silent(n, math.prod(shape), n_steps, dt_s)
    return replace(empty, shape=tuple(shape)).with_spikes(*spikes)


def round_trip(stream: SpikeStream) -> SpikeStream:
    r"""Run the spikes through an `IAF` layer of sinabs, and return its output spikes.

    .. math:: v' = v_{t-1} + n_t, \quad \lfloor v' / 1 \rfloor = n_t, \quad v_t = v' - n_t = 0

    An `IAF` as it is has the output of its input, counts included: see `scripts/run_sinabs.py`,
    which runs in the environment of sinabs.

    Raises:
        BridgeError: if the interpreter that the environment variable names has no sinabs.
        ImportError: if there is no interpreter.
    """
    return script.run(TARGET, stream)


export = script.exporter(TARGET)
