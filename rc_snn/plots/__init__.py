"""Plots of spikes and decisions, each onto axes of yours or its own: `rc_snn.plots.raster(x)`."""

from rc_snn.plots.axes import STYLE
from rc_snn.plots.curves import frontier, trace
from rc_snn.plots.decisions import histogram
from rc_snn.plots.spikes import raster

__all__ = ["STYLE", "frontier", "histogram", "raster", "trace"]
