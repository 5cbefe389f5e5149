"""Play spikes into Nengo and compare what its probe records. Needs nengo and numpy."""

import nengo
import numpy as np


def play(spikes):
    """Return sample, tick and unit of every spike that Nengo recorded."""
    values = np.zeros((spikes.n_steps, spikes.n_samples * spikes.n_units))
    dimension = spikes.samples * spikes.n_units + spikes.units  # all samples side by side
    np.add.at(values, (spikes.ticks, dimension), 1 / spikes.dt_s)  # of integral 1
    with nengo.Network() as network:
        node = nengo.Node(nengo.processes.PresentInput(values, spikes.dt_s))  # from the start again
        probe = nengo.Probe(node)
    with nengo.Simulator(network, dt=spikes.dt_s, progress_bar=False) as simulator:
        simulator.run_steps(spikes.n_steps, progress_bar=False)
        counts = np.rint(simulator.data[probe] * spikes.dt_s).astype(int)
    ticks, dimension = np.nonzero(counts)  # row 0 is the step that ends at dt
    repeats = counts[ticks, dimension]
    ticks, dimension = np.repeat(ticks, repeats), np.repeat(dimension, repeats)
    return dimension // spikes.n_units, ticks, dimension % spikes.n_units
