"""Encoders: images and signals become spikes, as pure functions and as tonic-style transforms."""
