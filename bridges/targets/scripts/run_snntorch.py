"""Play spikes into snnTorch and compare what a layer puts out. Needs snntorch and numpy."""

import numpy as np
import snntorch
import torch


def play(spikes):
    """Return sample, tick and unit of every spike that a layer of snnTorch put out."""
    z = torch.zeros(spikes.n_steps, spikes.n_samples, spikes.n_units)  # time, batch, channel
    z[spikes.ticks, spikes.samples, spikes.units] = 1.0
    # No memory and no reset: it spikes whenever its input does.
    leaky, mem, spk_rec = snntorch.Leaky(0.0, threshold=0.5, reset_mechanism="none"), None, []
    for step in range(spikes.n_steps):
        spk, mem = leaky(z[step], mem)
        spk_rec.append(spk)
    tick, sample, unit = np.nonzero(torch.stack(spk_rec).detach().numpy())
    return sample, tick, unit
