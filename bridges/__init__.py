"""Bridges: spikes and models leave for other simulators, one file per target."""

from typing import TYPE_CHECKING

from rc_snn.commands import refuse
from rc_snn.commands.lazy import lazily

if TYPE_CHECKING:
    from bridges.networks.step_models import NorseModel as NorseModel
    from bridges.networks.step_models import SNNTorchModel as SNNTorchModel
    from bridges.networks.step_models import StepModule as StepModule

__all__ = ["NorseModel", "SNNTorchModel", "StepModule"]

refuse(__name__)
__getattr__, __dir__ = lazily(__name__, dict.fromkeys(__all__, "networks.step_models"))
