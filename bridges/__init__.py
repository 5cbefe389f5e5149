"""Bridges: spikes and models leave for other simulators, one file per target."""
