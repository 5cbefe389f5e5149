"""Real N-MNIST recordings, read by tonic, through every event file and back: all events equal.

Needs recordings in the data set's own format: `nmnist/bin/*.bin` in the folder that RC_SNN_DATA
names, such as any of https://www.garrickorchard.com/datasets/n-mnist.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from tonic.datasets import NMNIST
from tonic.io import read_mnist_file

from bridges.stream import SpikeStream
from bridges.targets import aedat4, dat, es, tonic

DURATION_US = 350_000  # longer than any recording


def columns(events: np.ndarray) -> np.ndarray:
    """Return t, p, y, x in one order: files keep that of time, not within a microsecond."""
    table = np.stack([events[name].astype(np.int64) for name in "tpyx"])
    return table[:, np.lexsort(table[::-1])]


def in_files(bridge, stream: SpikeStream) -> list[np.ndarray]:
    """Return the events of each sample as an independent reader finds them."""
    with tempfile.TemporaryDirectory() as folder:
        path = bridge.export(stream, Path(folder, f"nmnist{bridge.TARGET.suffix}"))
        return [bridge.read_events(file, NMNIST.sensor_size) for file in sorted(path.iterdir())]


named = os.environ.get("RC_SNN_DATA")
base = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
files = sorted(base.glob("nmnist/bin/*.bin"))
if not files:
    print(f"No N-MNIST recordings in {base / 'nmnist' / 'bin'}: set RC_SNN_DATA to their folder.")
    sys.exit(0)

sent = [read_mnist_file(file, NMNIST.dtype) for file in files]
stream = SpikeStream.from_events(sent, NMNIST.sensor_size, DURATION_US)  # ticks of a microsecond
data = tonic.event_data(stream)
found = {bridge.TARGET.title: in_files(bridge, stream) for bridge in (aedat4, es, dat)}
found["tonic"] = [data[i][0] for i in range(len(data))]
for title, recordings in found.items():
    for before, after in zip(sent, recordings, strict=True):
        np.testing.assert_array_equal(columns(before), columns(after))
    print(f"{title}: {sum(map(len, recordings))} events of {len(recordings)} recordings, all equal")
