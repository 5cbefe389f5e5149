"""NEST: spikes as `spike_generator` nodes, and back from any `spike_recorder`."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float

from bridges.errors import BridgeError
from bridges.stream import script
from bridges.stream.clock import tick_us, to_ticks
from bridges.stream.stream import SpikeStream
from bridges.target import Target, load

TARGET = Target(
    name="nest",
    title="NEST",
    row=100,
    kind="simulator",
    needs=("nest",),
    versions="nest-simulator 3.10.0",
    unit="ms",
    repeats=True,
    per_tick=None,
    end_us=2**53,
    shift=1,
    samples="side by side: unit + sample × n_units",
    limits="a tick of whole microseconds",
)


def kernel() -> Any:
    """Import `nest`, without the page that it prints the first time."""
    with redirect_stdout(io.StringIO()):
        return load(TARGET)


def resolution_ms(dt_s: float) -> float:
    """Return the tick in milliseconds, as `nest.resolution` takes it.

    Raises:
        BridgeError: if it is no whole number of microseconds, in which NEST counts time.

    Example:
        >>> resolution_ms(1e-4)
        0.1
    """
    return tick_us(dt_s, "NEST") / 1_000


def trains(stream: SpikeStream, shift: int = 0) -> list[Float[np.ndarray, " _"]]:
    """Return the spike times of each neuron in ms, so many ticks later than in the stream.

    Neuron `sample * n_units + unit` is that unit of that sample.

    Example:
        >>> stream = SpikeStream.silent(1, n_units=2, n_steps=9, dt_s=1e-3)
        >>> [t.tolist() for t in trains(stream.with_spikes([0, 0], [5, 0], [1, 1]), shift=1)]
        [[], [1.0, 6.0]]
    """
    neuron = stream.neurons
    order = np.argsort(neuron, kind="stable")  # keeps each neuron's ticks sorted
    bounds = np.searchsorted(neuron[order], np.arange(1, len(stream) * stream.n_units))
    return np.split(stream.shifted(shift).times("ms")[order], bounds)


def spike_generators(stream: SpikeStream) -> Any:
    """Create `spike_generator` nodes in NEST's kernel that spike at the stream's ticks.

    Node `sample * n_units + unit` of the collection is that unit of that sample, so that all
    samples run at once. NEST knows no spike at time 0: tick k is its time `(k + 1) * dt`, here and
    in `from_recorder`.

    Raises:
        BridgeError: if the kernel's resolution does not divide the stream's tick, or NEST cannot
            carry the stream.
        ImportError: if NEST is not installed.

    Example:
        >>> nest = kernel()
        >>> nest.ResetKernel()
        >>> nest.resolution = resolution_ms(1e-3)
        >>> stream = SpikeStream.silent(2, n_units=3, n_steps=10, dt_s=1e-3)
        >>> len(spike_generators(stream))
        6
    """
    TARGET.admit(stream)
    nest = kernel()
    tick = Fraction(repr(resolution_ms(stream.dt_s)))
    if tick % (Fraction(nest.tics_per_step) / Fraction(nest.tics_per_ms)):
        raise BridgeError(
            f"NEST runs in steps of {nest.resolution} ms, which do not divide a tick of "
            f"{float(tick)} ms. Set nest.resolution = {float(tick)} before you create any node."
        )
    params = [{"spike_times": times} for times in trains(stream, TARGET.shift)]
    return nest.Create("spike_generator", len(params), params)


def from_recorder(
    recorder: Any, nodes: Any, like: SpikeStream, n_units: int | None = None
) -> SpikeStream:
    """Return the spikes that a `spike_recorder` has in memory, on the stream's clock.

    Args:
        recorder: of these nodes.
        nodes: the collection that was recorded, of `samples * n_units` nodes.
        like: the stream whose grid and samples these spikes have.
        n_units: units per sample, if not those of `like`.

    Raises:
        BridgeError: if a recorded time is on no tick, another node spiked, there are not as many
            nodes, or the recorder counts times in steps.
    """
    TARGET.holds(recorder, "a spike_recorder", "events", "time_in_steps")
    if recorder.time_in_steps:  # of which its offsets have to be taken away
        raise BridgeError(
            "The recorder has times in steps of the kernel, and not in ms. Create it with "
            "time_in_steps=False, NEST's default."
        )
    ids, senders = np.asarray(nodes.tolist()), np.asarray(recorder.events["senders"], np.int64)
    if strangers := np.setdiff1d(senders, ids).tolist():
        raise BridgeError(
            f"The recorder holds spikes of nodes {strangers[:5]}, which are not in the collection. "
            "Give those nodes a recorder of their own."
        )
    neuron = np.searchsorted(ids, senders)
    ticks = to_ticks(recorder.events["times"], like.dt_s, "ms") - TARGET.shift
    return like.with_neurons(neuron, ticks, n_units, of=len(ids))


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Run the spikes through NEST's own clock, and return what its recorder holds.

    NEST has one kernel. It is reset before and after: nodes that you created are gone, and settings
    such as the seed are NEST's defaults again.

    Raises:
        BridgeError: if a tick is no whole number of microseconds.

    Example:
        >>> stream = SpikeStream.silent(1, n_units=3, n_steps=10, dt_s=1e-3)
        >>> round_trip(stream.with_spikes([0, 0], [0, 9], [2, 1])).ticks.tolist()
        [0, 9]
    """
    resolution, nest = resolution_ms(stream.dt_s), kernel()
    with quiet(nest):
        nest.ResetKernel()
        try:
            nest.resolution = resolution
            nodes = spike_generators(stream)
            recorder = nest.Create("spike_recorder")
            nest.Connect(nodes, recorder)
            nest.Simulate(stream.n_steps * resolution)
            return from_recorder(recorder, nodes, stream)
        finally:
            nest.ResetKernel()


export = script.exporter(TARGET)


@contextmanager
def quiet(nest: Any) -> Iterator[None]:
    """Let NEST print errors only."""
    before = nest.verbosity
    nest.verbosity = nest.VerbosityLevel.ERROR
    try:
        yield
    finally:
        nest.verbosity = before
