"""Bridges: spikes and models leave for other simulators, one file per target."""

import importlib
from typing import TYPE_CHECKING, Any

from rc_snn.commands import refuse

if TYPE_CHECKING:
    from bridges.networks.step_models import NorseModel as NorseModel
    from bridges.networks.step_models import SNNTorchModel as SNNTorchModel
    from bridges.networks.step_models import StepModule as StepModule

__all__ = ["NorseModel", "SNNTorchModel", "StepModule"]

refuse(__name__)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a command needs none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.networks.step_models"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return [*globals(), *__all__]
