"""A first look at NWB: at its HDF5, then by pynwb, at the tables that are read."""

import runpy
import warnings
from pathlib import Path

import pynwb

_READ = ("/units/id", "/units/spike_times", "/intervals/trials", "/specifications")
"""Where the arrays lie that are read; waveforms and raw data do not."""
_FILES = Path(__file__).parents[2] / "rc_snn" / "files"
_HDF5 = runpy.run_path(str(_FILES / "hdf5_look.py"))  # rc_snn itself takes a second to import


def look(path: str, limit: str) -> None:
    """Read spikes and trials of a file, or raise; what is read may hold so many bytes."""
    _HDF5["look"](path, limit, *_READ)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pynwb.NWBHDF5IO(path, "r") as io:
            nwb = io.read()
            if nwb.units is not None and "spike_times" in nwb.units.colnames:
                nwb.units["spike_times"].target.data[:]
            for name in nwb.trials.colnames if nwb.trials is not None else ():
                nwb.trials[name].data[:]
