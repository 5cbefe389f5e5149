"""Play spikes through tonic's frames and compare what is in them. Needs tonic and numpy."""

import numpy as np
import tonic


def play(spikes):
    """Return sample, tick and unit of every spike that tonic's frames hold."""
    tick_us = round(spikes.dt_s * 1e6)
    width = min(spikes.n_units, 2**15)  # tonic's coordinates are int16
    size = (width, -(-spikes.n_units // width), 1)
    events = np.zeros(len(spikes.ticks), [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")])
    events["x"], events["y"] = spikes.units % width, spikes.units // width
    events["t"], events["p"] = spikes.ticks * tick_us, True
    # Without start_time and end_time the clock starts at the first event, not at 0.
    to_frame = tonic.transforms.ToFrame(
        size, time_window=tick_us, start_time=0, end_time=spikes.n_steps * tick_us
    )
    found = []
    for sample in range(spikes.n_samples):
        recording = events[spikes.samples == sample]
        if not len(recording):  # whose frames tonic shapes otherwise
            continue
        frames = to_frame(recording).reshape(spikes.n_steps, -1)
        tick, unit = frames.nonzero()
        again = np.repeat(np.arange(len(tick)), frames[tick, unit])  # a count of 2 is two spikes
        found.append([np.full(len(again), sample), tick[again], unit[again]])
    return np.concatenate([np.zeros((3, 0), int), *found], axis=1)
