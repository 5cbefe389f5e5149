"""Play spikes into PyNN and compare what it records. Needs pynn, brian2 and numpy."""

import brian2 as b2
import numpy as np
import pyNN.brian2 as sim


def play(spikes):
    """Return sample, tick and unit of every spike that PyNN recorded."""
    b2.prefs.codegen.target = "numpy"  # compiling takes longer than running
    dt_ms = spikes.dt_s * 1e3
    sim.setup(timestep=dt_ms, min_delay=dt_ms)
    b2.defaultclock.dt = dt_ms * b2.ms  # which PyNN's sources follow, not the time step
    size = spikes.n_samples * spikes.n_units  # all samples side by side
    neuron = spikes.samples * spikes.n_units + spikes.units
    order = np.argsort(neuron, kind="stable")
    times = np.split(spikes.ticks[order] * dt_ms, np.searchsorted(neuron[order], range(1, size)))
    population = sim.Population(size, sim.SpikeSourceArray(spike_times=times))
    population.record("spikes")
    sim.run(spikes.n_steps * dt_ms)
    recorded = population.get_data("spikes").segments[0].spiketrains
    back = np.repeat(np.arange(size), [len(train) for train in recorded])
    times = np.concatenate([train.magnitude for train in recorded])  # ms
    sim.end()
    return back // spikes.n_units, np.rint(times / dt_ms).astype(int), back % spikes.n_units
