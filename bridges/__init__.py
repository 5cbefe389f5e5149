"""Bridges: spikes and models leave for other simulators, one file per target."""

from rc_snn.commands import refuse

refuse(__name__)
