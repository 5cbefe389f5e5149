"""Lava: spikes as the data of a `source.RingBuffer`, and back from a `sink.RingBuffer`.

Lava 0.10 runs on Python 3.10 only, so it lives in an environment of its own: the arrays go there
as a file, and `round_trip` runs a script in the interpreter that RC_SNN_LAVA_PYTHON names.
"""

import numpy as np
from jaxtyping import Int32, Shaped

from bridges.errors import BridgeError
from bridges.stream import script
from bridges.stream.stream import SpikeStream
from bridges.target import Target
from rc_snn.borders.numbers import plain

TARGET = Target(
    name="lava",
    title="Lava",
    row=60,
    kind="simulator",
    needs=("lava.magma",),
    versions="lava-nc 0.10.0, Python 3.10",
    unit="steps",
    repeats=True,
    per_tick=1,
    samples="side by side: unit + sample × n_units",
    own_environment="RC_SNN_LAVA_PYTHON",
    install="python3.10 -m venv vlava; vlava/bin/pip install lava-nc==0.10.0",
)


def ring_buffer_data(stream: SpikeStream) -> Int32[np.ndarray, "neurons steps"]:
    """Return the spikes as `lava.proc.io.source.RingBuffer(data=...)` takes them, time last.

    Row `sample * n_units + unit` is that unit of that sample, so that all samples run at once.
    Lava's step k + 1 sends tick k; after the stream's last step it starts again at the first.

    Raises:
        BridgeError: if a unit spikes twice in one tick.

    Example:
        >>> stream = SpikeStream.silent(2, n_units=2, n_steps=3, dt_s=1e-3)
        >>> ring_buffer_data(stream.with_spikes([1, 1], [0, 2], [0, 1])).tolist()
        [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]
    """
    TARGET.admit(stream)
    data = np.zeros((len(stream) * stream.n_units, stream.n_steps), np.int32)
    data[stream.neurons, stream.ticks] = 1
    return data


def from_ring_buffer(
    data: Shaped[np.ndarray, "neurons steps"], like: SpikeStream, n_units: int | None = None
) -> SpikeStream:
    """Return the spikes that a `sink.RingBuffer` recorded (`sink.data.get()`), numbered as above.

    Args:
        data: of `samples * n_units` rows, and one column per step.
        like: the stream whose grid and samples these spikes have.
        n_units: units per sample, if not those of `like`.

    Raises:
        BridgeError: if it has another shape, or holds more than zeros and ones.

    Example:
        >>> stream = SpikeStream.silent(2, n_units=2, n_steps=3, dt_s=1e-3)
        >>> from_ring_buffer(np.eye(4, 3), like=stream).ticks.tolist()
        [0, 1, 2]
    """
    n_units = like.n_units if n_units is None else n_units
    data = plain(data, "Data of a sink")
    if data.shape != (len(like) * n_units, like.n_steps):
        raise BridgeError(
            f"The data has shape {data.shape}, the stream {len(like) * n_units} units in all "
            f"samples and {like.n_steps} steps. Give the sink buffer={like.n_steps}."
        )
    if not np.isin(data, (0, 1)).all():
        raise BridgeError(
            "The data holds other values than 0 and 1, such as graded spikes. Threshold it first."
        )
    neuron, tick = np.nonzero(data)
    return like.with_neurons(neuron, tick, n_units)


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Run the spikes through Lava, and return what came out at the other end.

    Raises:
        BridgeError: if a unit spikes twice in one tick, or the script fails.
        ImportError: if no interpreter has Lava.
    """
    return script.run(TARGET, stream)


export = script.exporter(TARGET)
