"""Spikes as events: `SpikeStream`, its files, clock and timelines."""
