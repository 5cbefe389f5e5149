"""Rank coding: recurrent networks that answer at the first threshold crossing."""

from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.objective import critical_beta, rc_loss
from rc_snn.regimes import account
from rc_snn.runner import DenseSequences, StreamingRunner, decide, run
from rc_snn.sequences import SpikeSequences
from rc_snn.spikes import (
    Decision,
    decision_spikes,
    first_spike,
    spike_frames,
    spike_steps,
    steps_from_frames,
)
from rc_snn.training import Labelled, TrainConfig, train

__version__ = "0.1.0"

__all__ = [
    "RCLSTM",
    "Decision",
    "DenseSequences",
    "Labelled",
    "RCConvLSTM",
    "SpikeSequences",
    "StreamingRunner",
    "TrainConfig",
    "account",
    "critical_beta",
    "decide",
    "decision_spikes",
    "first_spike",
    "rc_loss",
    "run",
    "spike_frames",
    "spike_steps",
    "steps_from_frames",
    "train",
]
