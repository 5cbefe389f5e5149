"""Play spikes into Rockpool and compare what a layer puts out. Needs rockpool and numpy."""

import numpy as np
from rockpool.nn.modules import LIF, TimedModuleWrapper
from rockpool.timeseries import TSEvent


def play(spikes):
    """Return sample, tick and unit of every spike that a layer of Rockpool put out."""
    dt, back = spikes.dt_s, [np.zeros((3, 0), np.int64)]
    for sample in range(spikes.n_samples):
        own = spikes.samples == sample
        series = TSEvent(
            (spikes.ticks[own] + 0.5) * dt,  # in the middle of their tick: Rockpool floors
            spikes.units[own],
            t_start=0.0,
            t_stop=spikes.n_steps * dt,
            num_channels=spikes.n_units,
        )
        # Time constants of dt / 20 leave e^-20 of a spike, just above the threshold, and no memory.
        threshold = np.exp(-20.0) * (1.0 - 2.0**-10)
        constants = {"tau_mem": dt / 20, "tau_syn": dt / 20, "threshold": threshold, "dt": dt}
        lif = TimedModuleWrapper(LIF(spikes.n_units, **constants, spiking_input=True))
        out, _, _ = lif(series, num_timesteps=spikes.n_steps)
        ticks = np.floor(out.times / dt).astype(int)
        back.append(np.stack([np.full(len(ticks), sample), ticks, out.channels]))
    return tuple(np.concatenate(back, axis=1))
