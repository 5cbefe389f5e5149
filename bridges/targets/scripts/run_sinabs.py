"""Play spikes into sinabs and compare what a layer puts out. Needs sinabs and numpy."""

import numpy as np
import sinabs.layers
import torch


def play(spikes):
    """Return sample, tick and unit of every spike that a layer of sinabs put out."""
    counts = np.zeros((spikes.n_samples, spikes.n_steps, spikes.n_units), np.float32)
    np.add.at(counts, (spikes.samples, spikes.ticks, spikes.units), 1.0)  # batch, time, channel
    # Integrate and fire as often as the threshold of 1 is reached: as many spikes as came in.
    with torch.no_grad():
        out = sinabs.layers.IAF()(torch.from_numpy(counts)).numpy()
    where = np.nonzero(out)
    sample, tick, unit = (np.repeat(column, out[where].astype(int)) for column in where)
    return sample, tick, unit
