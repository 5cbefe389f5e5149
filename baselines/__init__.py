"""Spiking baselines that read the very same spikes as the rank-coded networks."""
