"""Families of networks: how each is fed, trained and asked, and what its answers cost.

Rank-coded networks are one family, neurons that spike once in continuous time another. A family of
another package comes in by an entry point of the group "rc_snn.families"; whatever takes networks
(files, tables, bridges) asks their family and knows no kinds.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rc_snn.loop import Samples, TrainResult
from rc_snn.regimes import account, count_operations
from rc_snn.runner import decide
from rc_snn.sequences import Labelled, SpikeSequences
from rc_snn.spikes import Decision, SpikeTimes, check_times, spike_steps
from rc_snn.step_model import StepModel, WatchedModel
from rc_snn.training import train

GROUP = "rc_snn.families"


@runtime_checkable
class Trained(Protocol):
    """What a family needs to know of a run to make its data."""

    @property
    def n_steps(self) -> int | None:
        """Return the steps per frame, T; None in continuous time."""

    @property
    def centred(self) -> bool:
        """Return whether the mean of the training samples is subtracted from the input."""

    @property
    def device(self) -> str:
        """Return where the samples are read."""

    def encode(self, images: Tensor) -> SpikeTimes:
        """Return the spike times of images."""


@runtime_checkable
class Split(Protocol):
    """Images with their classes."""

    @property
    def images(self) -> Tensor:
        """Return the images, `[batch, height, width]`."""

    @property
    def labels(self) -> Tensor:
        """Return the classes, `[batch]`."""


@runtime_checkable
class Family(Protocol):
    """A family of networks: models that are fed, trained and asked in one way.

    A `network` is a `rc_snn.network.Network`, whose model is of the family.
    """

    name: str

    def claims(self, model: Any) -> bool:
        """Return whether a model is of this family.

        Step models are claimed by the family rank-coded, which is asked first: a network of a step
        model of another family names that (`Network(family=...)`).
        """

    def data(self, run: Trained, split: Split, like: Any = None) -> Any:
        """Return images as the samples that the family trains on; `like` are those of training."""

    def train(
        self,
        model: Any,
        data: Samples,
        validation: Samples,
        config: Any,
        run_dir: Path,
        *,
        fresh: Callable[[torch.Generator], Any] | None = None,
        tensorboard: bool = False,
        description: str = "train",
    ) -> TrainResult:
        """Train a model, or go on with the run that `run_dir` holds; see `rc_snn.training.train`.

        The model is left on the CPU, its products in full precision.
        """

    def decide(self, network: Any, inputs: Any) -> Decision:
        """Return the decisions on spike times in frames, or on sequences."""

    def account(
        self, network: Any, labels: Int[Tensor, " batch"], times: SpikeTimes
    ) -> dict[str, Any]:
        """Account for a network on spike times: `rc_snn.regimes.account`, and what it costs."""


class RankCoded:
    """Step models (`rc_snn.step_model.StepModel`) that answer at the first crossing of θ.

    Anybody's: an LSTM of ours, LIF neurons of snnTorch, a GRU. Without θ they answer at the end.
    """

    name = "rank-coded"

    def claims(self, model: Any) -> bool:
        """Return whether a model has a step, a read-out and a cost."""
        return isinstance(model, StepModel)

    def data(self, run: Trained, split: Split, like: Labelled | None = None) -> Labelled:
        """Return spike sequences; centred by the mean of the training samples where that is on."""
        assert run.n_steps is not None
        steps = [
            spike_steps(run.encode(part), run.n_steps)
            for part in split.images.split(10_000)  # spike times of all 60,000 would take 376 MB
        ]
        inputs: Any = SpikeSequences(torch.cat(steps), run.n_steps)
        if run.centred:
            known: Any = inputs if like is None else like.inputs
            mean = known.mean_input() if known.mean is None else known.mean.cpu()
            inputs = replace(inputs, mean=mean)
        return Labelled(inputs, split.labels).to(run.device)

    def train(self, model: Any, *args: Any, **options: Any) -> TrainResult:
        """Train by rank coding, from the end, or by a peer's loss: `rc_snn.training.train`."""
        return finished(model, train(model, *args, **options))

    def decide(self, network: Any, inputs: Any) -> Decision:
        """Return the decisions at θ."""
        return decide(network.model, network.sequences(inputs), network.theta)

    def account(
        self, network: Any, labels: Int[Tensor, " batch"], times: SpikeTimes
    ) -> dict[str, Any]:
        """Account for the decisions, with the multiply-adds of the model's `cost()`.

        Spikes between layers are counted where the model tells of them (`WatchedModel`).
        """
        decision = network.decide(times)
        model, operations = network.model, None
        if isinstance(model, WatchedModel):
            operations = count_operations(model, network.sequences(times), decision)
        return asdict(
            account(decision, labels, times, network.n_steps, model.cost(), operations=operations)
        )


class Answering:
    """Whatever else answers: a module with `decide(times) -> Decision`; it is not trained here."""

    name = "answering"

    def claims(self, model: Any) -> bool:
        """Return whether a model has `decide`, and says how many inputs and classes it has."""
        return all(hasattr(model, name) for name in ("decide", "n_inputs", "n_classes"))

    def data(self, run: Trained, split: Split, like: Any = None) -> Labelled:
        """Refuse."""
        raise ValueError(
            "A network that only answers cannot be trained here. Give it a step, a read-out and a "
            "cost (rc_snn.step_model.StepModel), or a family of its own."
        )

    def train(self, model: Any, *args: Any, **options: Any) -> TrainResult:
        """Refuse."""
        raise ValueError("A network that only answers cannot be trained here.")

    def decide(self, network: Any, inputs: Any) -> Decision:
        """Return the model's own decisions, on inputs that were checked."""
        if isinstance(inputs, Tensor) and network.reads == "times":
            check_spike_times(inputs, network.model.n_inputs)
        else:
            inputs = network.sequences(inputs)
        found = network.model.decide(inputs)
        if not isinstance(found, Decision):
            raise TypeError(
                f"decide() of {type(network.model).__name__} must return a rc_snn.Decision, got "
                f"{type(found).__name__}."
            )
        return found

    def account(
        self, network: Any, labels: Int[Tensor, " batch"], times: SpikeTimes
    ) -> dict[str, Any]:
        """Account for the decisions; the operations are those of the model's `cost()`, if any."""
        decision = network.decide(times)
        cost = getattr(network.model, "cost", None)
        n_steps = None if decision.step is None else network.n_steps
        known = cost() if cost is not None and n_steps is not None else None
        return asdict(account(decision, labels, times, n_steps, known))


def finished(model: Any, result: TrainResult) -> TrainResult:
    """Leave a trained model on the CPU, with products in float32, whatever training used."""
    model.to("cpu")
    if hasattr(model, "precision"):
        model.precision = "float32"
    return result


RANK_CODED, ANSWERING = RankCoded(), Answering()


def names() -> list[str]:
    """Return the names of all families: ours, and those of packages that are installed."""
    return [RANK_CODED.name, *sorted({e.name for e in _entries()}), ANSWERING.name]


@cache
def family(name: str) -> Family:
    """Return the family of this name.

    Raises:
        ValueError: if there is none, or what its entry point names is no such family.

    Example:
        >>> from rc_snn.models import RCLSTM
        >>> family("rank-coded").claims(RCLSTM(4, 3, 2))
        True
    """
    for own in (RANK_CODED, ANSWERING):
        if name == own.name:
            return own
    found = [entry for entry in _entries() if entry.name == name]
    if not found:
        raise ValueError(
            f"There is no family {name!r} of networks; there are {', '.join(names())}. Install the "
            f'package that has it: it comes in by the entry point group "{GROUP}".'
        )
    loaded = found[0].load()
    if not isinstance(loaded, Family) or loaded.name != name:
        raise ValueError(
            f"The entry point {name!r} of {found[0].value} must be a family of that name with all "
            f"that rc_snn.families.Family has, got {loaded!r}."
        )
    return loaded


def family_of(model: Any) -> Family:
    """Return the family that claims a model.

    Raises:
        TypeError: if none does; the message says what a model must have.

    Example:
        >>> from rc_snn.models import RCLSTM
        >>> family_of(RCLSTM(4, 3, 2)).name
        'rank-coded'
    """
    for name in names():
        if family(name).claims(model):
            return family(name)
    lacks = [
        a for a in ("n_inputs", "n_classes", "step", "read_out", "cost") if not hasattr(model, a)
    ]
    raise TypeError(
        f"{type(model).__name__} is of no family. A step model has n_inputs, n_classes, step(x, "
        f"state), read_out(features) and cost() (rc_snn.step_model.StepModel); this one lacks "
        f"{', '.join(lacks)}. Or give it decide(times) -> rc_snn.Decision."
    )


def _entries() -> Sequence[Any]:
    return tuple(entry_points(group=GROUP))


def check_spike_times(times: Any, n_inputs: int) -> Float[Tensor, "batch inputs"]:
    """Refuse what are not spike times, in frames, of this many inputs.

    Raises:
        TypeError: if it is no tensor.
        ValueError: if it is not `[batch, n_inputs]` of float32 or float64 in [0, 1] or inf.
    """
    if not isinstance(times, Tensor):
        raise TypeError(
            f"Spike times are a tensor [batch, {n_inputs}] in frames, got {type(times).__name__}."
        )
    if times.dim() != 2 or times.shape[1] != n_inputs or not times.is_floating_point():
        raise ValueError(
            f"Spike times must be floats [batch, {n_inputs}] in frames (inf is silence), got "
            f"{times.dtype} {list(times.shape)}. Flatten images; of spike steps make times with "
            "encoders.functional.steps_to_times."
        )
    check_times(times)
    return times


def trusted_packages() -> set[str]:
    """Return the packages whose code a network file may name: ours, and those of the groups."""
    return {"rc_snn", "baselines", "encoders", "bridges", "benchmarks"} | {
        str(entry.value).split(":")[0].split(".")[0]
        for group in (GROUP, "rc_snn.rows")
        for entry in entry_points(group=group)
    }
