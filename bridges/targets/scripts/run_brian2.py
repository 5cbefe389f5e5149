"""Play spikes into Brian2 and compare what its monitor records. Needs brian2 and numpy."""

import brian2 as b2
import numpy as np


def play(spikes):
    """Return sample, tick and unit of every spike that Brian2 recorded."""
    b2.prefs.codegen.target = "numpy"  # compiling takes longer than running
    dt = spikes.dt_s * b2.second
    group = b2.SpikeGeneratorGroup(
        spikes.n_samples * spikes.n_units,  # all samples side by side
        spikes.samples * spikes.n_units + spikes.units,
        spikes.ticks * dt,  # Brian2 rounds to the nearest step
        dt=dt,
    )
    monitor = b2.SpikeMonitor(group)
    b2.Network(group, monitor).run(spikes.n_steps * dt)
    neuron = np.asarray(monitor.i)
    ticks = np.rint(np.asarray(monitor.t / dt)).astype(int)
    return neuron // spikes.n_units, ticks, neuron % spikes.n_units
