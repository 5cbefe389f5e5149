"""Encoders: images and signals become spikes, as pure functions and as tonic-style transforms."""

from typing import TYPE_CHECKING

from rc_snn.commands.lazy import lazily

if TYPE_CHECKING:
    from encoders.functional import encode_latency as encode_latency
    from encoders.functional import events_to_spikes as events_to_spikes
    from encoders.functional import spikes_to_events as spikes_to_events
    from encoders.idx import load_idx as load_idx
    from encoders.mnist import embedded_digits as embedded_digits
    from encoders.mnist import load_mnist as load_mnist
    from encoders.poisson import Poisson as Poisson
    from encoders.poisson import poisson_sequences as poisson_sequences
    from encoders.presets import NMNIST as NMNIST
    from encoders.presets import SHD as SHD
    from encoders.presets import SSC as SSC
    from encoders.presets import DVSGesture as DVSGesture
    from encoders.snntorch_latency import from_snntorch_latency as from_snntorch_latency
    from encoders.temporal_mnist import TemporalMNIST as TemporalMNIST
    from encoders.temporal_mnist import latency_sequences as latency_sequences

_HOME = {
    "DVSGesture": "presets",
    "NMNIST": "presets",
    "Poisson": "poisson",
    "SHD": "presets",
    "SSC": "presets",
    "TemporalMNIST": "temporal_mnist",
    "embedded_digits": "mnist",
    "encode_latency": "functional",
    "events_to_spikes": "functional",
    "from_snntorch_latency": "snntorch_latency",
    "latency_sequences": "temporal_mnist",
    "load_idx": "idx",
    "load_mnist": "mnist",
    "poisson_sequences": "poisson",
    "spikes_to_events": "functional",
}
__all__ = sorted(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
