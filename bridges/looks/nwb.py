"""A first look at NWB: at its HDF5, then by pynwb, at the tables that are read."""

import runpy
import sys
import warnings
from pathlib import Path

import pynwb

_HDF5 = runpy.run_path(str(Path(__file__).with_name("hdf5.py")))


def look(path: str, limit: str) -> None:
    """Read spikes and trials of a file, or raise; what is read may hold so many bytes."""
    _HDF5["look"](path, limit, "/units", "/intervals", "/specifications")
    sys.setrecursionlimit(1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pynwb.NWBHDF5IO(path, "r") as io:
            nwb = io.read()
            for table in (nwb.units, nwb.trials):
                for name in table.colnames if table is not None else ():
                    table[name].data[:]
