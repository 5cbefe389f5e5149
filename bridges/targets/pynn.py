"""PyNN: spikes as a `SpikeSourceArray`, and back from what a population recorded.

Two of its back ends are held to the tick here: Brian2, and NEST, over which spikes travel later,
because PyNN loses the first ones there. (`pyNN.mock` records spikes that nobody sent.)
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import numpy as np

from bridges.errors import BridgeError
from bridges.stream import script
from bridges.stream.clock import seconds, to_ticks
from bridges.stream.stream import SpikeStream
from bridges.target import Target, load
from bridges.targets import brian2, nest

Simulator: TypeAlias = Literal["brian2", "nest"]

TARGET = Target(
    name="pynn",
    title="PyNN",
    row=110,
    kind="simulator",
    needs=("pyNN", "brian2"),
    versions="pynn 0.13.0 over brian2 2.9.0 and nest-simulator 3.10.0",
    unit="ms",
    repeats=True,
    per_tick=1,
    samples="side by side: unit + sample × n_units",
    limits="over NEST: 2 ticks later, undone, and a tick of whole microseconds",
)


def setup(dt_s: float, simulator: Simulator = "brian2") -> Any:
    """Start an empty network whose time step is the stream's tick; return the back end.

    This calls the back end's own `setup`, and adds what that forgets: over Brian2, spike sources
    run on `brian2.defaultclock`, whatever the time step. The network that the back end had is gone;
    over NEST, so is all that NEST's kernel held.

    Args:
        dt_s: seconds per tick.
        simulator: the back end.

    Raises:
        BridgeError: if the simulator has no such time step.
        ImportError: if it is not installed.
        ValueError: if it is another one.

    Example:
        >>> setup(5e-5).get_time_step()
        0.05
    """
    if simulator not in ("brian2", "nest"):
        raise ValueError(f'simulator must be "brian2" or "nest", got {simulator!r}.')
    dt_ms = _ms(1, dt_s)
    if simulator == "nest":
        dt_ms, kernel = nest.resolution_ms(dt_s), nest.kernel()  # prints nothing, unlike PyNN's
    backend = load(TARGET, f"pyNN.{simulator}")
    if simulator == "nest":  # which makes 0.7 ms 0.7000000000000001, and 0.7 too short a delay
        kernel.ResetKernel()
        kernel.resolution = dt_ms
        dt_ms = kernel.resolution
    with _quiet():
        backend.setup(timestep=dt_ms, min_delay=dt_ms)
    if simulator == "brian2":
        b2 = load(TARGET, "brian2")
        b2.defaultclock.dt = dt_ms * b2.ms
    return backend


def spike_source_array(stream: SpikeStream, backend: Any) -> Any:
    """Return the `SpikeSourceArray` for a population of `samples * n_units` cells.

    Cell `sample * n_units + unit` is that unit of that sample, so that all samples run at once.
    Tick k is the back end's time `(k + later(stream, backend)) * dt`.

    Args:
        stream: spikes to send.
        backend: what `setup` returned, or `pyNN.brian2` or `pyNN.nest` after a setup of your own.

    Raises:
        BridgeError: if a unit spikes twice in one tick, or the time step does not divide the tick.

    Example:
        >>> stream = SpikeStream.silent(2, n_units=3, n_steps=10, dt_s=1e-3)
        >>> sim = setup(stream.dt_s)
        >>> sim.Population(6, spike_source_array(stream, sim)).size
        6
    """
    TARGET.admit(stream)
    return backend.SpikeSourceArray(spike_times=nest.trains(stream, later(stream, backend)))


def later(stream: SpikeStream, backend: Any) -> int:
    """Return by how many ticks spikes travel later than in the stream: 0 over Brian2.

    Over NEST, PyNN's sources fire a minimal delay ahead of their time, to a relay that needs as
    long, and cannot fire at 0. After `setup`, whose minimal delay is one tick, the first that
    arrives is tick 2.

    Raises:
        BridgeError: if a time step does not divide the tick, or the back end is another one.
    """
    tick_ms, simulator = _ms(1, stream.dt_s), backend.__name__.removeprefix("pyNN.")
    if simulator not in ("brian2", "nest"):
        raise BridgeError(
            f"{backend.__name__} has not been held to the tick. Use pyNN.brian2 or pyNN.nest."
        )
    steps = {"setup(timestep=...)": backend.get_time_step()}
    if simulator == "brian2":
        b2 = load(TARGET, "brian2")
        steps["brian2.defaultclock.dt, on which PyNN's sources run,"] = b2.defaultclock.dt / b2.ms
    for what, step_ms in steps.items():
        ratio = tick_ms / float(step_ms)
        if abs(ratio - round(ratio)) > 1e-9 * ratio:
            raise BridgeError(
                f"{what} is {step_ms:g} ms, which does not divide a tick of {tick_ms:g} ms. Start "
                f"the network by bridges.targets.pynn.setup({stream.dt_s}, {simulator!r})."
            )
    if simulator == "brian2":
        return 0
    return int(np.ceil(backend.get_min_delay() / tick_ms - 1e-9)) + 1


def from_population(
    population: Any, like: SpikeStream, backend: Any, n_units: int | None = None
) -> SpikeStream:
    """Return the spikes that a population numbered as above has recorded in its last run.

    Args:
        population: of `samples * n_units` cells, recorded by `population.record("spikes")`.
        like: the stream whose grid and samples these spikes have.
        backend: the back end it lives in.
        n_units: units per sample, if not those of `like`.

    Raises:
        BridgeError: if a recorded time is on no tick, or the population is of another size.
    """
    TARGET.holds(population, "a Population", "get_data", "size")
    with _quiet():
        recorded = population.get_data("spikes").segments[-1].spiketrains
    cells = np.asarray([train.annotations["source_index"] for train in recorded], np.int64)
    cell = np.repeat(cells, [len(train) for train in recorded])
    if units := {train.dimensionality.string for train in recorded} - {"ms"}:
        raise BridgeError(f"PyNN records in ms, but these trains are in {units}. Rescale them.")
    times = np.concatenate([np.zeros(0), *(train.magnitude for train in recorded)])
    ticks = to_ticks(times, like.dt_s, "ms") - later(like, backend)
    return like.with_neurons(cell, ticks, n_units, of=population.size)


def round_trip(stream: SpikeStream, simulator: Simulator = "brian2") -> SpikeStream:
    """Run the spikes through PyNN over a simulator, and return what a population recorded.

    The network that the back end had is gone: see `setup`.
    """
    TARGET.admit(stream)
    with _network(stream.dt_s, simulator) as backend:
        cells = spike_source_array(stream, backend)
        population = backend.Population(len(stream) * stream.n_units, cells)
        population.record("spikes")
        backend.run(_ms(stream.n_steps + later(stream, backend), stream.dt_s))
        return from_population(population, stream, backend)


export = script.exporter(TARGET)


@contextmanager
def _network(dt_s: float, simulator: Simulator) -> Iterator[Any]:
    """Start an empty network, and leave the simulator under PyNN as it was, or empty."""
    b2 = load(TARGET, "brian2")
    before = b2.defaultclock.dt
    backend = setup(dt_s, simulator)
    try:
        with _quiet(), brian2.interpreted():
            yield backend
    finally:
        backend.end()
        b2.defaultclock.dt = before
        if simulator == "nest":
            nest.kernel().ResetKernel()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what NEST 3.10 says of calls in PyNN 0.13, which no user of it can change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*(Get|Set)Status\(\) is deprecated", UserWarning)
        yield


def _ms(ticks: int, dt_s: float) -> float:
    return float(seconds(np.array([ticks]), dt_s, "ms")[0])
