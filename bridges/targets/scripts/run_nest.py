"""Play spikes into NEST and compare what its recorder holds. Needs nest-simulator and numpy."""

import nest
import numpy as np


def play(spikes):
    """Return sample, tick and unit of every spike that NEST recorded."""
    nest.verbosity = nest.VerbosityLevel.ERROR
    nest.ResetKernel()
    dt_ms = nest.resolution = round(spikes.dt_s * 1e6) / 1e3  # NEST counts whole microseconds
    neuron = spikes.samples * spikes.n_units + spikes.units  # all samples side by side
    order = np.argsort(neuron, kind="stable")
    bounds = np.searchsorted(neuron[order], np.arange(1, spikes.n_samples * spikes.n_units))
    times = (spikes.ticks[order] + 1) * dt_ms  # NEST knows no spike at time 0: one tick later
    params = [{"spike_times": train} for train in np.split(times, bounds)]
    nodes = nest.Create("spike_generator", len(params), params)
    recorder = nest.Create("spike_recorder")
    nest.Connect(nodes, recorder)
    nest.Simulate(spikes.n_steps * dt_ms)
    back = np.asarray(recorder.events["senders"], dtype=int) - nodes.tolist()[0]
    ticks = np.rint(recorder.events["times"] / dt_ms).astype(int) - 1
    return back // spikes.n_units, ticks, back % spikes.n_units
