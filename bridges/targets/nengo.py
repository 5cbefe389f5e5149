"""Nengo: spikes as the output of a `Node`, and back from the data of any `Probe` on spikes."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from bridges.errors import BridgeError
from bridges.stream import script
from bridges.stream.stream import SpikeStream
from bridges.target import Target, load
from rc_snn.borders.numbers import plain

TARGET = Target(
    name="nengo",
    title="Nengo",
    row=120,
    kind="simulator",
    needs=("nengo",),
    versions="nengo 4.1.0",
    unit="s",
    repeats=True,
    per_tick=None,
    samples="side by side: unit + sample × n_units",
)


def node(stream: SpikeStream) -> Any:
    """Create a `Node` in the current network that spikes at the stream's ticks.

    Dimension `sample * n_units + unit` is that unit of that sample, so that all samples run at
    once. A spike is `1 / dt_s` for one tick, as Nengo's own neurons have it, so that its integral
    is 1 (two in one tick are `2 / dt_s`). Nengo's first step ends at `dt_s`: that is tick 0. Unlike
    a `PresentInput`, the node is silent after the stream's end. Run it with the stream's clock,
    `nengo.Simulator(network, dt=stream.dt_s)`, or one whose steps divide the tick; another, by
    which spikes would be lost or doubled, raises BridgeError at its first step.

    Raises:
        ImportError: if Nengo is not installed.
        RuntimeError: if there is no current network (Nengo's own).

    Example:
        >>> stream = SpikeStream.silent(2, n_units=3, n_steps=10, dt_s=0.1)
        >>> with load(TARGET).Network():
        ...     spikes = node(stream.with_spikes([1], [0], [2]))
        >>> spikes.output.run_steps(2, dt=0.1).tolist()
        [[0.0, 0.0, 0.0, 0.0, 0.0, 10.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    """
    size = len(stream) * stream.n_units
    dimension = stream.neurons
    order = np.argsort(stream.ticks, kind="stable")
    ticks, dimension = stream.ticks[order], dimension[order]

    def spikes_at(time_s: float) -> Float[np.ndarray, " dimensions"]:
        tick = math.ceil(time_s / stream.dt_s - 1e-6) - 1  # of the step that ends now
        part = slice(*np.searchsorted(ticks, [tick, tick + 1]))
        return np.bincount(dimension[part], minlength=size) / stream.dt_s

    nengo = load(TARGET)

    class SpikesAt(nengo.Process):  # type: ignore[misc, name-defined]  # imported only when used
        """The node's output: a process, and no function, because it is told the simulator's dt."""

        def __init__(self) -> None:
            super().__init__(default_size_in=0, default_size_out=size)

        def make_step(self, shape_in: Any, shape_out: Any, dt: float, rng: Any, state: Any) -> Any:
            finer = stream.dt_s / dt

            def refuse(time_s: float) -> Any:  # not here: a simulator half built is never closed
                raise BridgeError(
                    f"The simulator's step of {dt} s does not divide the stream's tick of "
                    f"{stream.dt_s} s: spikes would be lost or doubled. Run "
                    f"nengo.Simulator(network, dt={stream.dt_s})."
                )

            divides = round(finer) >= 1 and abs(finer - round(finer)) <= 1e-9 * finer
            return spikes_at if divides else refuse

    return nengo.Node(SpikesAt(), label="spikes")


def from_probe(
    data: Float[np.ndarray, "steps dimensions"],
    like: SpikeStream,
    n_units: int | None = None,
    *,
    amplitude: float | None = None,
) -> SpikeStream:
    """Return the spikes in what a `Probe` recorded, numbered as above.

    A spike is `amplitude / dt_s`. Where every value is a multiple of 2, or more, of `1 / dt_s`, the
    neurons have another amplitude or the simulator had another dt, and nothing is read unless you
    say the amplitude: of 1, if units do spike twice in every tick in which they spike.

    Args:
        data: `simulator.data[probe]`, of `samples * n_units` dimensions and one row per step.
        like: the stream whose grid and samples these spikes have.
        n_units: units per sample, if not those of `like`.
        amplitude: of the neurons' spikes; default: 1.

    Raises:
        BridgeError: if it has another number of rows than the stream has steps, or a value is no
            whole multiple of `amplitude / dt_s`, as in filtered data, or at another dt.
        ValueError: if the amplitude is not positive and finite.
    """
    n_units = like.n_units if n_units is None else n_units
    one = 1.0 if amplitude is None else amplitude
    if not 0.0 < one < math.inf:
        raise ValueError(f"amplitude must be positive and finite, got {amplitude}.")
    data = plain(data, "Data of a probe")
    if data.ndim != 2 or data.dtype.kind not in "iuf":
        raise BridgeError(
            f"Data of a probe are numbers [step, dimension], got {data.dtype} {list(data.shape)}."
        )
    if data.shape != (like.n_steps, len(like) * n_units):
        raise BridgeError(
            f"The probe has {data.shape[0]} rows of {data.shape[1]}, the stream {like.n_steps} "
            f"steps of {len(like) * n_units} units in all samples. Run nengo.Simulator(network, "
            f"dt={like.dt_s}).run_steps({like.n_steps}) with a probe that has no sample_every."
        )
    tick, dimension = np.nonzero(data)
    exact = np.asarray(data[tick, dimension], np.float64) * like.dt_s / one
    count = np.rint(exact)
    if not (np.abs(exact - count) <= 1e-6 * count).all():  # NaN and what is negative, too
        raise BridgeError(
            f"The probe holds values that are no spikes, which are multiples of "
            f"{one / like.dt_s:g}. Probe the spikes themselves: synapse=None, of neurons or a node."
        )
    repeats = count.astype(np.int64)
    if amplitude is None and (common := np.gcd.reduce(repeats)) > 1:
        raise BridgeError(
            f"Every value is a multiple of {common} spikes of {1 / like.dt_s:g}: neurons of that "
            f"amplitude, or a simulator with another dt than {like.dt_s} s. Pass amplitude=, and 1 "
            "if units spike so often in a tick."
        )
    tick, dimension = np.repeat(tick, repeats), np.repeat(dimension, repeats)
    return like.with_neurons(dimension, tick, n_units)


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Run the spikes through Nengo's own clock, and return what a probe recorded.

    A probe is dense: 8 bytes per sample, unit and step. Send batches (`stream.take`) of much data.
    """
    nengo = load(TARGET)
    with nengo.Network() as network:
        probe = nengo.Probe(node(stream))
    with nengo.Simulator(network, dt=stream.dt_s, progress_bar=False) as simulator:
        simulator.run_steps(stream.n_steps, progress_bar=False)
        return from_probe(simulator.data[probe], stream, amplitude=1.0)


export = script.exporter(TARGET)
