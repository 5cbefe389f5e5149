"""Play spikes into norse and compare what a layer puts out. Needs norse and numpy."""

import norse.torch as norse
import numpy as np
import torch


def play(spikes):
    """Return sample, tick and unit of every spike that a layer of norse put out."""
    z = torch.zeros(spikes.n_steps, spikes.n_samples, spikes.n_units)  # time, batch, channel
    z[spikes.ticks, spikes.samples, spikes.units] = 1.0
    # Integrate and fire above 0.5: it spikes whenever its input does.
    iaf = norse.IAF(norse.IAFParameters(v_th=torch.tensor(0.5)))
    with torch.no_grad():
        out, _ = iaf(z)
    tick, sample, unit = np.nonzero(out.numpy())
    return sample, tick, unit
