"""Encoders: images and signals become spikes, as pure functions and as tonic-style transforms."""

from encoders.functional import encode_latency, events_to_spikes, spikes_to_events
from encoders.idx import load_idx
from encoders.mnist import embedded_digits, load_mnist
from encoders.poisson import Poisson, poisson_sequences
from encoders.presets import NMNIST, SHD, SSC, DVSGesture
from encoders.snntorch_latency import from_snntorch_latency
from encoders.temporal_mnist import TemporalMNIST, latency_sequences

__all__ = [
    "NMNIST",
    "SHD",
    "SSC",
    "DVSGesture",
    "Poisson",
    "TemporalMNIST",
    "embedded_digits",
    "encode_latency",
    "events_to_spikes",
    "from_snntorch_latency",
    "latency_sequences",
    "load_idx",
    "load_mnist",
    "poisson_sequences",
    "spikes_to_events",
]
