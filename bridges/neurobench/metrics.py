"""NeuroBench: our networks, measured by its own metrics."""

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bridges.errors import BridgeError
from bridges.neurobench.layers import Activation
from bridges.neurobench.models import ContinuousModel, RankCoded
from bridges.target import Target, load
from encoders.functional import Polarity, ZeroPixels, encode_latency
from encoders.mnist import Split
from rc_snn.borders.numbers import count, whole
from rc_snn.spikes import check_steps, spike_frames, spike_steps

__all__ = [
    "TARGET",
    "ContinuousModel",
    "Measured",
    "RankCoded",
    "SpikeFrames",
    "latency_frames",
    "measure",
    "neurobench_model",
]

TARGET = Target(
    name="neurobench",
    title="NeuroBench",
    kind="library",
    needs=("neurobench",),
    versions="neurobench 2.3.0",
    unit="steps",
    repeats=True,
    per_tick=1,
    samples="first axis: [batch, time, ...]",
    limits="measures networks; spikes go in only",
    suffix="",
)


class SpikeFrames(Dataset[tuple[Tensor, Tensor]]):
    """Spike steps as the samples of NeuroBench's loaders: frames `[time, inputs]` and a label.

    Args:
        steps: spike steps in 0..n_steps, `n_steps` for silence.
        labels: the right classes, whole numbers of any type.
        n_steps: steps per frame, T.

    Raises:
        ValueError: if a step or label is not whole, or out of range, or there are not as many.

    Example:
        >>> data = SpikeFrames(torch.tensor([[1, 0, 2]]), torch.tensor([7]), n_steps=2)
        >>> frames, labels = next(iter(DataLoader(data)))
        >>> frames, labels
        (tensor([[[0., 1., 0.],
                 [1., 0., 0.]]]), tensor([7]))
    """

    def __init__(
        self, steps: Int[Tensor, "batch inputs"], labels: Int[Tensor, " batch"], n_steps: int
    ) -> None:
        n_steps = count(n_steps, "n_steps", low=1)
        if steps.is_floating_point():  # others stay as small as they are
            steps = whole(steps, "Spike steps")
        labels = whole(labels, "Labels", low=0)
        check_steps(steps, n_steps)
        if labels.shape != steps.shape[:1]:
            raise ValueError(
                f"Got {len(steps)} rows of spikes and {labels.numel()} labels, [B] each."
            )
        self.steps, self.labels, self.n_steps = steps, labels, n_steps

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "time inputs"], Int[Tensor, ""]]:
        """Return the frames and the label of one sample."""
        return spike_frames(self.steps[index], self.n_steps), self.labels[index]


def latency_frames(
    split: Split, n_steps: int, *, polarity: Polarity, zero_pixels: ZeroPixels
) -> SpikeFrames:
    """Encode images by `encoders.encode_latency`, for NeuroBench.

    Example:
        >>> from encoders import embedded_digits
        >>> options = {"polarity": "dark_first", "zero_pixels": "last"}
        >>> latency_frames(embedded_digits().test, 10, **options)[0][0].shape
        torch.Size([10, 784])
    """
    times = encode_latency(split.images, polarity=polarity, zero_pixels=zero_pixels)
    return SpikeFrames(spike_steps(times, n_steps), split.labels, n_steps)


def neurobench_model(network: nn.Module) -> Any:
    """Return the NeuroBenchModel of a network; activations are its `Activation`s.

    Of networks of snnTorch they are its neurons, the last ones included, as in NeuroBench's own
    `SNNTorchModel`; cells of norse, which return a pair, cannot be looked at.

    Give it to NeuroBench's `Benchmark`, and take a new one for each: a Benchmark leaves its hooks
    on the model until it is collected, and then takes away those of its successor, too, which
    would measure 0 operations.

    Raises:
        ImportError: if NeuroBench is not installed.

    Example:
        >>> from rc_snn import load
        >>> model = neurobench_model(RankCoded(load("rc-lstm-340-fast")))
        >>> [type(layer).__name__ for layer in model.connection_layers()]
        ['OffsetLSTMCell', 'LinearReadOut']
    """
    model = load(TARGET, "neurobench.models").TorchModel(network)
    model.add_activation_module(Activation)
    model.add_activation_module(load(TARGET, "snntorch").SpikingNeuron)
    return model


@dataclass(frozen=True)
class Measured:
    """What NeuroBench's metrics say of a network."""

    footprint: int
    """Bytes of parameters and buffers."""
    parameter_count: int
    connection_sparsity: float
    """Share of weights that are 0, to 4 decimals; an LSTMCell's biases are among them."""
    accuracy: float
    activation_sparsity: float
    """Share of activations that are 0; the mean over batches. 0 also where none was seen."""
    effective_acs: float
    """Accumulates per sample: products of non-zero weights with non-zero, binary inputs."""
    effective_macs: float
    """Multiply-accumulates per sample: likewise, of inputs that are not binary."""
    dense: float
    """Products per sample, with zeros."""


def measure(
    network: nn.Module, data: Dataset[tuple[Tensor, ...]], *, batch_size: int = 10
) -> Measured:
    """Measure a network by NeuroBench's Footprint, sparsities, accuracy and SynapticOperations.

    Args:
        network: a `RankCoded`, a `ContinuousModel`, or any module that returns labels.
        data: samples and labels.
        batch_size: samples that run together. NeuroBench adds the operations of a call in float32:
            beyond 2²⁴, in larger batches, its sums are rounded (to 7 digits).

    Returns:
        The figures; nothing of NeuroBench's stays attached to the network.

    Raises:
        BridgeError: if a metric fails, which NeuroBench itself prints and turns into 0.
        ImportError: if NeuroBench is not installed.

    Example:
        >>> from rc_snn import load
        >>> data = SpikeFrames(torch.full((2, 784), 10), torch.tensor([0, 1]), n_steps=10)
        >>> measure(RankCoded(load("rc-lstm-340-fast")), data).parameter_count
        1534770
    """
    static, workload = (load(TARGET, f"neurobench.metrics.{kind}") for kind in _METRICS)
    metrics = [[getattr(static, name) for name in _METRICS["static"]]]
    metrics.append([getattr(workload, name) for name in _METRICS["workload"]])
    model, said = neurobench_model(network), io.StringIO()
    benchmark = load(TARGET, "neurobench.benchmarks").Benchmark
    # Not quiet=True: it would swallow, with the chatter, that a metric failed.
    with torch.no_grad(), redirect_stdout(said), redirect_stderr(io.StringIO()):
        try:
            results = benchmark(model, DataLoader(data, batch_size), [], [], metrics).run()
        finally:
            model.cleanup_hooks()
    if failed := [line for line in said.getvalue().splitlines() if line.startswith("Error")]:
        raise BridgeError(
            f"NeuroBench could not measure {type(network).__name__}: {failed[0]}. Its layers must "
            "be nn.Linear, nn.Conv… or cells called with their state; nn.LSTM is not counted."
        )
    operations = results["SynapticOperations"]
    return Measured(
        footprint=results["Footprint"],
        parameter_count=results["ParameterCount"],
        connection_sparsity=results["ConnectionSparsity"],
        accuracy=results["ClassificationAccuracy"],
        activation_sparsity=results["ActivationSparsity"],
        effective_acs=operations["Effective_ACs"],
        effective_macs=operations["Effective_MACs"],
        dense=operations["Dense"],
    )


_METRICS = {
    "static": ("Footprint", "ConnectionSparsity", "ParameterCount"),
    "workload": ("ClassificationAccuracy", "ActivationSparsity", "SynapticOperations"),
}
