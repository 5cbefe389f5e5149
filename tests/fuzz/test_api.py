"""Public functions, given what somebody may pass: right, or an error of ours that says why."""

import warnings
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import encoders
import rc_snn
from bridges.stream import SpikeStream
from rc_snn import exits
from rc_snn.sequences import Sequences
from rc_snn.step_model import StepModel
from tests.fuzz.signatures import arguments, asked_for

MODEL = rc_snn.RCLSTM(6, 4, 4, generator=torch.Generator().manual_seed(0))
STEPS = torch.tensor(
    [[0, 1, 2, 3, 4, 5], [5, 5, 5, 5, 5, 5], [4, 3, 2, 1, 0, 0]], dtype=torch.int16
)
SPIKES = rc_snn.SpikeSequences(STEPS, 5)
DECISION = rc_snn.decide(MODEL, SPIKES, 0.3)
CURVE = exits.Curve(torch.tensor([0.1, 0.5, 1.0]).double(), torch.tensor([0.2, 0.6, 0.9]).double())
KNOWN = {
    StepModel: (MODEL,),
    Sequences: (SPIKES, rc_snn.DenseSequences(torch.rand(5, 3, 6))),
    rc_snn.Decision: (DECISION,),
    rc_snn.StepCost: (MODEL.cost(),),
    rc_snn.TrainConfig: (rc_snn.TrainConfig(epochs=1),),
    rc_snn.Labelled: (rc_snn.Labelled(SPIKES, torch.tensor([0, 1, 3])),),
    exits.Curve: (CURVE,),
}
LEFT_OUT = ("load", "train", "StepModel", "Network")  # files, trainings; no constructor; a model
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"rc_snn.{n}": getattr(rc_snn, n) for n in rc_snn.__all__ if n not in LEFT_OUT},
    **{f"exits.{n}": getattr(exits, n) for n in exits.__all__},
    **{
        f"encoders.{n}": getattr(encoders, n)
        for n in ("encode_latency", "events_to_spikes", "from_snntorch_latency", "spikes_to_events")
    },
    **{
        f"SpikeStream.{n}": getattr(SpikeStream, n)
        for n in ("from_tensor", "from_times", "from_decision", "silent")
    },
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_function_is_right_or_refuses(name, data):
    chosen = data.draw(arguments(FUNCTIONS[name], KNOWN))
    refusal = called(FUNCTIONS[name], chosen)
    if refusal is None:
        assert asked_for(FUNCTIONS[name], chosen), "accepted, and not what the signature asks for"
    else:
        assert len(refusal) > 15, "a refusal says what, got and do"


def called(function: Callable[..., Any], chosen: dict[str, Any]) -> str | None:
    """Call a function as users do; return how it refuses."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(**chosen)
    except (ValueError, TypeError) as error:
        return str(error)
    except MemoryError as error:
        return f"more memory than there is: {error}"
    except RuntimeError as error:  # torch has no MemoryError
        if "alloc" not in str(error) and "Storage size" not in str(error):
            raise
        return str(error)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    return None
