"""Make Neo's spike trains of the spikes and read them back. Needs neo and numpy."""

import neo
import numpy as np
import quantities as pq


def to_block(spikes):
    """Return a Block: one Segment per sample, one SpikeTrain per unit, also where it is silent."""
    block = neo.Block(dt_s=spikes.dt_s, n_steps=spikes.n_steps)
    stop = spikes.n_steps * spikes.dt_s * pq.s
    times = spikes.ticks * spikes.dt_s
    for i in range(spikes.n_samples):
        segment = neo.Segment(name=f"sample {i}", index=i)
        chosen = spikes.samples == i
        order = np.argsort(spikes.units[chosen], kind="stable")
        bounds = np.searchsorted(spikes.units[chosen][order], np.arange(1, spikes.n_units))
        segment.spiketrains = [
            neo.SpikeTrain(train, units="s", t_start=0 * pq.s, t_stop=stop, channel_id=unit)
            for unit, train in enumerate(np.split(times[chosen][order], bounds))
        ]
        block.segments.append(segment)
    return block


def play(spikes):
    """Return sample, tick and unit of every spike in Neo's trains; save the Block to keep it."""
    samples, ticks, units = [], [], []
    block = to_block(spikes)
    for i, segment in enumerate(block.segments):
        for train in segment.spiketrains:
            samples += [i] * len(train)
            units += [train.annotations["channel_id"]] * len(train)
            # A time is a float, and floor(t / dt) is often one tick less than it was.
            ticks += np.rint(train.rescale("s").magnitude / spikes.dt_s).astype(int).tolist()
    rates = [len(train) for segment in block.segments for train in segment.spiketrains]
    print(f"{len(rates)} trains, at most {max(rates, default=0)} spikes in one")
    return samples, ticks, units
