"""Spiking baselines that read the very same spikes as the rank-coded networks.

Building blocks for other work, too: first spikes with exact gradients, their loss, and ReLU
networks as first-spike networks (docs/first_spikes.md).
"""

from typing import TYPE_CHECKING

from rc_snn.commands.lazy import lazily

if TYPE_CHECKING:
    from baselines.alpha_psp import AlphaPSP as AlphaPSP
    from baselines.continuous import ContinuousNetwork as ContinuousNetwork
    from baselines.continuous_training import first_spike_objective as first_spike_objective
    from baselines.first_spike import first_spike_loss as first_spike_loss
    from baselines.first_spike import first_spikes as first_spikes
    from baselines.rel_psp import ReLPSP as ReLPSP
    from baselines.relu_mapping import from_relu as from_relu
    from baselines.relu_mapping import relu_inputs as relu_inputs

_HOME = {
    "AlphaPSP": "alpha_psp",
    "ContinuousNetwork": "continuous",
    "ReLPSP": "rel_psp",
    "first_spike_loss": "first_spike",
    "first_spike_objective": "continuous_training",
    "first_spikes": "first_spike",
    "from_relu": "relu_mapping",
    "relu_inputs": "relu_mapping",
}
__all__ = sorted(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
