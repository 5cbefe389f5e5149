"""Brian2: spikes as a `SpikeGeneratorGroup`, and back from any `SpikeMonitor`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from bridges.stream import script
from bridges.stream.clock import to_ticks
from bridges.stream.stream import SpikeStream
from bridges.target import Target, load

TARGET = Target(
    name="brian2",
    title="Brian2",
    row=90,
    kind="simulator",
    needs=("brian2",),
    versions="brian2 2.9.0",
    unit="s",
    repeats=True,
    per_tick=1,
    samples="side by side: unit + sample × n_units",
)


def spike_generator(stream: SpikeStream) -> Any:
    """Return a `SpikeGeneratorGroup` that spikes at the stream's ticks.

    Neuron `sample * n_units + unit` is that unit of that sample, so that all samples run at once.
    The group has the stream's dt as its own clock; give it to what it drives, too, by
    `brian2.defaultclock.dt = stream.dt_s * brian2.second`.

    Raises:
        BridgeError: if a unit spikes twice in one tick.
        ImportError: if Brian2 is not installed.

    Example:
        >>> group = spike_generator(SpikeStream.silent(2, n_units=3, n_steps=10, dt_s=1e-3))
        >>> group.N
        6
    """
    TARGET.admit(stream)
    b2 = load(TARGET)
    return b2.SpikeGeneratorGroup(
        len(stream) * stream.n_units,
        stream.neurons,
        stream.times() * b2.second,
        dt=stream.dt_s * b2.second,
    )


def from_monitor(monitor: Any, like: SpikeStream, n_units: int | None = None) -> SpikeStream:
    """Return the spikes that a `SpikeMonitor` recorded from neurons numbered as above.

    Args:
        monitor: of a group of `samples * n_units` neurons.
        like: the stream whose grid and samples these spikes have.
        n_units: units per sample, if not those of `like`.

    Raises:
        BridgeError: if a recorded time is on no tick, or the group is of another size.
    """
    TARGET.holds(monitor, "a SpikeMonitor that records", "i", "t", "source")
    neuron = np.asarray(monitor.i, np.int64)
    ticks = to_ticks(np.asarray(monitor.t / load(TARGET).second), like.dt_s)
    return like.with_neurons(neuron, ticks, n_units, of=int(monitor.source.N))


def round_trip(stream: SpikeStream) -> SpikeStream:
    """Run the spikes through Brian2's own clock, and return what its monitor recorded."""
    b2 = load(TARGET)
    group = spike_generator(stream)
    monitor = b2.SpikeMonitor(group)
    with interpreted():
        b2.Network(group, monitor).run(stream.duration_s * b2.second)
    return from_monitor(monitor, stream)


@contextmanager
def interpreted() -> Iterator[None]:
    """Let Brian2 run by numpy for a while: compiling takes half a minute, this nothing."""
    b2 = load(TARGET)
    before = b2.prefs.codegen.target
    b2.prefs.codegen.target = "numpy"
    try:
        yield
    finally:
        b2.prefs.codegen.target = before


export = script.exporter(TARGET)
