"""Rank coding: recurrent networks that answer at the first threshold crossing."""

from typing import TYPE_CHECKING

from rc_snn.commands.lazy import lazily
from rc_snn.fast.cache_folder import give_numba_a_folder

if TYPE_CHECKING:
    from rc_snn.models import RCLSTM as RCLSTM
    from rc_snn.models import RCConvLSTM as RCConvLSTM
    from rc_snn.network import Network as Network
    from rc_snn.network import load as load
    from rc_snn.objective import critical_beta as critical_beta
    from rc_snn.objective import rc_loss as rc_loss
    from rc_snn.output_spikes import decisions_from_spikes as decisions_from_spikes
    from rc_snn.regimes import account as account
    from rc_snn.runner import StreamingRunner as StreamingRunner
    from rc_snn.runner import decide as decide
    from rc_snn.runner import run as run
    from rc_snn.sequences import DenseSequences as DenseSequences
    from rc_snn.sequences import Labelled as Labelled
    from rc_snn.sequences import LoadedSequences as LoadedSequences
    from rc_snn.sequences import SparseSequences as SparseSequences
    from rc_snn.sequences import SpikeSequences as SpikeSequences
    from rc_snn.shown.citation import cite as cite
    from rc_snn.spikes import Decision as Decision
    from rc_snn.spikes import decision_spikes as decision_spikes
    from rc_snn.spikes import first_spike as first_spike
    from rc_snn.spikes import spike_frames as spike_frames
    from rc_snn.spikes import spike_steps as spike_steps
    from rc_snn.spikes import steps_from_frames as steps_from_frames
    from rc_snn.step_model import StepCost as StepCost
    from rc_snn.step_model import StepModel as StepModel
    from rc_snn.training import TrainConfig as TrainConfig
    from rc_snn.training import train as train

__version__ = "1.0.0"

give_numba_a_folder()  # before anything here, or that uses it, imports numba

_HOMES = {
    "models": ("RCLSTM", "RCConvLSTM"),
    "network": ("Network", "load"),
    "objective": ("critical_beta", "rc_loss"),
    "output_spikes": ("decisions_from_spikes",),
    "regimes": ("account",),
    "runner": ("StreamingRunner", "decide", "run"),
    "sequences": (
        "DenseSequences",
        "Labelled",
        "LoadedSequences",
        "SparseSequences",
        "SpikeSequences",
    ),
    "shown.citation": ("cite",),
    "spikes": (
        "Decision",
        "decision_spikes",
        "first_spike",
        "spike_frames",
        "spike_steps",
        "steps_from_frames",
    ),
    "step_model": ("StepCost", "StepModel"),
    "training": ("TrainConfig", "train"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)
__getattr__, _ = lazily(__name__, _HOME)


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
