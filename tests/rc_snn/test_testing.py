"""check_network finds what is wrong with a network, and says it."""

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rc_snn import Decision, families
from rc_snn.models import RCLSTM
from rc_snn.network import Network
from rc_snn.sequences import DenseSequences
from rc_snn.testing import check_network

N_INPUTS, N_CLASSES, T = 6, 3, 5


class Answers(nn.Module):
    """Answers by a sum over inputs, at the step of its first one; with one fault, or none."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.n_inputs, self.n_classes, self.fault, self.calls = N_INPUTS, N_CLASSES, fault, 0
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(N_INPUTS, N_CLASSES, generator=generator))

    def decide(self, times: Tensor) -> Decision:
        fault = self.fault
        x = (1.0 - times).clamp(min=0.0)
        if fault == "batch":
            x = x - x.mean(dim=0)
        scores = x @ self.weight.detach()
        first = times.amin(dim=1)
        fired = first.isfinite()
        step = (first.clamp(max=0.99) * T).long()
        step[~fired] = T - 1
        if fault == "again":
            self.calls += 1
            scores = scores + self.calls
        if fault == "mode" and self.training:
            scores = -scores
        if fault == "generator":
            torch.rand(1)
        if fault == "input":
            times.zero_()
        if fault == "scores":
            scores[0, 0] = torch.nan
        if fault == "graph":
            scores = scores.requires_grad_()
        if fault == "silence" and not fired.all():
            scores[~fired] = torch.inf
        label, when = scores.argmax(dim=1), (step + 1).double() / T
        if fault == "labels":
            label = label + N_CLASSES
        if fault == "one column":
            scores = scores[:, :1]
        if fault == "late":
            step, when = step + 1, (step + 2).double() / T
        if fault == "grid":
            when = step.double() / T
        if fault == "forced":
            fired = torch.zeros_like(fired)
        if fault == "NaN time":
            when[0] = torch.nan
        if fault.startswith("continuous"):
            when, step = first, None
            if fault == "continuous, fired never":
                fired = torch.ones_like(fired)
                when = torch.full_like(when, torch.inf)
            if fault == "continuous, forced early":
                fired = torch.zeros_like(fired)
        decision = Decision(label, when, step, fired, scores)
        if fault == "label dtype":  # of a decision that is not made by our class
            vars(decision)["label"] = label.int()
        return decision


def answering(fault: str, **about: Any) -> Network:
    return Network(**({"name": "mine", "model": Answers(fault), "n_steps": T} | about))


@pytest.mark.parametrize("fault", ["", "continuous", "mode"])  # decide() evaluates: no mode matters
def test_a_network_without_fault_passes(fault):
    check_network(answering(fault))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("batch", "alone and not in a batch, (label|scores) differs in"),
        ("again", "asked again, scores differs in 16 samples"),
        ("generator", "draws from torch's global generator"),
        ("input", "writes into its input"),
        ("scores", "on the samples, scores are not all finite"),
        ("graph", "scores carry a graph"),
        ("silence", "on inputs of inf only, scores are not all finite"),
        ("labels", r"labels are not all in 0\.\.2"),
        ("label dtype", r"label of the decision must be torch\.int64 \[16\], got torch\.int32"),
        ("one column", r"scores of the decision must be floats \[16, 3\], got .* \[16, 1\]"),
        ("late", r"on inputs of inf only, steps are not all in 0\.\.4: \[5, 5\]"),
        ("grid", r"times are not \(step \+ 1\) / 5 frames"),
        ("forced", "an answer that did not fire is not at the last step"),
        ("NaN time", "times are negative or NaN"),
        ("continuous, fired never", "something fired at no time"),
        ("continuous, forced early", "an answer that did not fire must have the time inf, or 1"),
    ],
)
def test_a_fault_of_a_model_is_found(fault, message):
    with pytest.raises(AssertionError, match=f"mine: .*{message}"):
        check_network(answering(fault))


def test_steps_without_a_grid_are_found():
    with pytest.raises(AssertionError, match="have steps, but the network does not say n_steps"):
        check_network(answering("", n_steps=None))


# -- Cost ---------------------------------------------------------------------------------------


class Cheap(RCLSTM):
    """Says that it costs less, or reaches otherwise, than it does."""

    def __init__(self, field: str = "input", share: float = 1.0, **options: Any) -> None:
        super().__init__(N_INPUTS, 4, N_CLASSES, **options)
        self.field, self.share = field, share

    @property
    def options(self) -> dict[str, Any]:
        return {"field": self.field, "share": self.share}

    def cost(self) -> Any:
        cost = super().cost()
        value = getattr(cost, self.field) * self.share
        return replace(cost, **{self.field: value if self.field == "fan_out" else int(value)})


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("input", r"cost\(\) says 124 multiply-adds, torch counts 172"),
        ("recurrent", r"cost\(\) says 140 multiply-adds"),
        ("read_out", r"cost\(\) says 166 multiply-adds"),
    ],
)
def test_a_cost_that_torch_does_not_count_is_found(field, message):
    check_network(Network(name="mine", model=Cheap(), theta=0.4, n_steps=T))
    with pytest.raises(AssertionError, match=message):
        check_network(Network(name="mine", model=Cheap(field, 0.5), theta=0.4, n_steps=T))


def test_synapses_beyond_the_product_with_the_input_are_found():
    with pytest.raises(AssertionError, match=r"fan_out must be the synapses of each of 6 inputs"):
        check_network(Network(name="mine", model=Cheap("fan_out", 2.0), theta=0.4, n_steps=T))


# -- Families -----------------------------------------------------------------------------------


class Careless(families.RankCoded):
    """A family that forgets something."""

    def __init__(self, fault: str) -> None:
        self.name, self.fault = "careless", fault

    def decide(self, network: Any, inputs: Any) -> Decision:
        if self.fault == "size" and isinstance(inputs, Tensor):
            inputs = inputs[:, :N_INPUTS]
        if self.fault == "NaN" and isinstance(inputs, Tensor):
            inputs = inputs.nan_to_num(0.5, posinf=torch.inf)
        if self.fault == "torch's error" and inputs.shape[1] != N_INPUTS:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return super().decide(network, inputs)

    def account(self, network: Any, labels: Any, times: Any) -> dict[str, Any]:
        found = super().account(network, labels, times)
        return found | ({"fired": found["n"]} if self.fault == "account" else {})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("size", "inputs of another size are not refused"),
        ("NaN", "spike times that are NaN are not refused"),
        ("torch's error", "inputs of another size end in RuntimeError"),
        ("account", r"account\(\) must count n, fired and forced as decide\(\) does"),
    ],
)
def test_a_fault_of_a_family_is_found(fault, message, monkeypatch):
    careless = Careless(fault)
    known = families.family
    monkeypatch.setattr(families, "family", lambda n: careless if n == "careless" else known(n))
    model = RCLSTM(N_INPUTS, 4, N_CLASSES)
    with pytest.raises(AssertionError, match=message):
        check_network(Network("mine", model, theta=0.9, n_steps=T, family="careless"))


# -- Files --------------------------------------------------------------------------------------


def test_a_network_that_has_no_file_is_found():
    class Local(Answers):
        pass

    with pytest.raises(AssertionError, match=r"mine has no file: .*cannot be found again"):
        check_network(answering("", model=Local()))


def test_what_a_file_loses_is_found(monkeypatch):
    module = sys.modules["rc_snn.testing"]
    whole = module.load
    for change, message in (
        ({"theta": 0.5}, r"theta was 0\.9, and is 0\.5 in its file"),
        ({"record": "other"}, "record was '', and is 'other'"),
        ({"encoder": {"name": "x"}}, "encoder was {}, and is"),
        ({"tensors": {"x": torch.zeros(1)}}, "its file has other tensors than the network"),
        ({"model": RCLSTM(N_INPUTS, 4, N_CLASSES, generator=torch.Generator())}, "is another in"),
    ):
        monkeypatch.setattr(
            module, "load", lambda path, change=change: replace(whole(path), **change)
        )
        with pytest.raises(AssertionError, match=message):
            check_network(Network("mine", RCLSTM(N_INPUTS, 4, N_CLASSES), theta=0.9, n_steps=T))


def test_samples_of_ones_own_are_decided_on():
    net = Network("mine", RCLSTM(N_INPUTS, 4, N_CLASSES), theta=0.4, reads="sequences")
    check_network(net, inputs=DenseSequences(torch.randn(7, 3, N_INPUTS)))
    with pytest.raises(AssertionError, match="at least two samples"):
        check_network(net, inputs=DenseSequences(torch.randn(7, 1, N_INPUTS)))
