"""Spikes as events: `SpikeStream`, its files, clock and timelines."""

from bridges.stream.stream import SpikeStream as SpikeStream
