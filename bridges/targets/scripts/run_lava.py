"""Play spikes into Lava and compare what comes out of it. Needs lava-nc and numpy."""

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.extractor import Extractor
from lava.proc.io.source import RingBuffer


def play(spikes):
    """Return sample, tick and unit of every spike that went through Lava."""
    data = np.zeros((spikes.n_samples * spikes.n_units, spikes.n_steps), dtype=np.int32)
    data[spikes.samples * spikes.n_units + spikes.units, spikes.ticks] = 1  # samples side by side
    source = RingBuffer(data=data)  # time last
    sink = Extractor(shape=data.shape[:1])  # a RingBuffer's data comes back number by number: slow
    source.s_out.connect(sink.in_port)
    source.run(RunSteps(num_steps=spikes.n_steps, blocking=False), Loihi2SimCfg())
    steps = [np.nonzero(sink.receive())[0] for _ in range(spikes.n_steps)]
    source.wait()
    source.stop()
    ticks = np.repeat(np.arange(spikes.n_steps), [len(step) for step in steps])
    neuron = np.concatenate(steps)
    return neuron // spikes.n_units, ticks, neuron % spikes.n_units
