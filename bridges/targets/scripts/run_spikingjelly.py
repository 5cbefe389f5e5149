"""Play spikes into SpikingJelly and compare what a layer puts out. Needs spikingjelly, numpy."""

import numpy as np
import torch
from spikingjelly.activation_based import neuron


def play(spikes):
    """Return sample, tick and unit of every spike that a layer of SpikingJelly put out."""
    z = torch.zeros(spikes.n_steps, spikes.n_samples, spikes.n_units)  # time, batch, channel
    z[spikes.ticks, spikes.samples, spikes.units] = 1.0
    # Integrate and fire at 1, over several steps: it spikes whenever its input does.
    with torch.no_grad():
        out = neuron.IFNode(step_mode="m")(z)
    tick, sample, unit = np.nonzero(out.numpy())
    return sample, tick, unit
