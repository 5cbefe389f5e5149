"""Training of networks that are mapped: a ReLU network first; then by first spikes, if at all."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.continuous import ContinuousNetwork, check_spike_times
from baselines.continuous_training import ContinuousConfig, Timed, train_continuous
from baselines.relu_mapping import NeuronName, from_relu, relu_inputs
from rc_snn.borders.numbers import check_fields
from rc_snn.loop import Loop, Row, TrainResult
from rc_snn.models import Dropout
from rc_snn.spikes import check_labels


@dataclass(frozen=True)
class MappedConfig:
    """How a mapped network comes about: everything that, with the data, decides the result."""

    deadline: float = 1.0
    """When the reference of the first layer comes, in frames: see `from_relu`."""
    k: float = 8.0
    """How much less time each layer takes than the one before."""
    gate: bool = True
    """Whether a pulse ends each layer's time."""
    samples: int = 1_000
    """Training samples, the first ones, that say how large the sums become."""
    epochs: int = 30
    """Passes of the ReLU network over the training set."""
    batch_size: int = 128
    """Samples per update."""
    lr: float = 1e-3
    """Highest learning rate of AdamW, on a one-cycle schedule."""
    weight_decay: float = 0.02
    """Decoupled weight decay, per unit of the learning rate."""
    dropout: float = 0.0
    """Share of what dense layers read, but for the inputs, that is zeroed in training."""
    dropout_input: float = 0.0
    """Share of the inputs that is zeroed in training."""
    first_spikes: ContinuousConfig | None = None
    """A training by first spikes that follows, with the seed of this one; times and temperature in
    the outputs' clock. None: the network is mapped, and nothing else."""
    seed: int = 0
    """Of initial weights, batch order and dropout."""
    offset: float = 0.0
    """Subtracted from every input before the first layer, whose bias then takes it in, exactly. 1
    where most pixels spike at once, as dark first: ink is what is told then, and what is zeroed."""

    schedule = "one_cycle"

    def __post_init__(self) -> None:
        check_fields(self, samples=1, epochs=1, batch_size=1, seed=0)
        if not (0.0 < self.lr < math.inf and 0.0 <= self.weight_decay < math.inf):
            raise ValueError(
                "lr must be positive and weight_decay >= 0, both finite, got "
                f"lr={self.lr}, weight_decay={self.weight_decay}."
            )
        if not math.isfinite(self.offset):
            raise ValueError(f"offset must be finite, got {self.offset}.")
        # What the mapping would refuse is refused before the training, not after it.
        if not (0.0 < self.deadline < math.inf and 1.0 <= self.k < math.inf):
            raise ValueError(
                "deadline must be positive and k >= 1, both finite, got "
                f"deadline={self.deadline}, k={self.k}."
            )


def train_mapped(
    model: ContinuousNetwork,
    data: Timed,
    validation: Timed,
    config: MappedConfig,
    run_dir: Path | str,
    *,
    fresh: Callable[[torch.Generator], Timed] | None = None,
    tensorboard: bool = False,
    description: str = "train",
) -> TrainResult:
    """Train a ReLU network on what the spikes say by the deadline, and map it onto the model.

    Then, where the config says so, the mapped network is trained further by its first spikes.

    Args:
        model: of the form that `from_relu` gives; its weights are replaced.
        data: training samples.
        validation: held-out samples: for the log, and the choice of the epoch of either training.
        config: how.
        run_dir: folder of this run, as of `rc_snn.loop.Loop`, whose subfolder `first_spikes` is
            that of the second training.
        fresh: draws the training samples of an epoch anew, as many as `data` has.
        tensorboard: also write TensorBoard events.
        description: what the progress bar shows.

    Returns:
        The result of the last training; the history of the ReLU network comes before it.

    Raises:
        ValueError: for data that do not fit the model, a model that is none of a mapping, a
            checkpoint of another config, or a loss that is not finite.

    Example:
        >>> from tempfile import mkdtemp
        >>> generator = torch.Generator().manual_seed(0)
        >>> labels = torch.arange(60) % 2
        >>> times = torch.rand(60, 4, generator=generator) * 0.5 + 0.5 * labels[:, None]
        >>> data = Timed(times, labels)
        >>> model = mapped_form([{"inputs": 4, "neurons": 8}, {"inputs": 8, "neurons": 2}])
        >>> config = MappedConfig(epochs=20, batch_size=10, lr=0.02, samples=60)
        >>> result = train_mapped(model, data, data, config, mkdtemp())
        >>> bool((model.decide(times).label == labels).float().mean() > 0.9)
        True
    """
    for part in (data, validation):
        check_spike_times(part.times, model.n_inputs)
        check_labels(part.labels, model.n_classes)
    layers = _layers(model, config)
    if config.offset and layers[0].get("padding"):
        raise ValueError(
            f"With padding {layers[0]['padding']} the first layer reads zeros beyond the edge, and "
            f"no offset is subtracted from those; got offset={config.offset}. Make one of them 0."
        )
    reads = _Reads(config, (model.options or {})["neuron"], layers[0].get("size"))
    net = relu_network(layers, config)
    run = _ReLUTraining(net, data, validation, config, Path(run_dir), reads, fresh, tensorboard)
    result = run.fit(f"{description}, ReLU")
    idle = nn.Sequential(*(part for part in net if not isinstance(part, Dropout)))
    with torch.no_grad():  # W (x - offset) + b = W x + (b - offset W 1)
        first: Any = idle[0]
        first.bias -= (config.offset * first.weight.double().flatten(1).sum(dim=1)).float()
    mapped = from_relu(
        idle,
        config.deadline,
        config.k,
        neuron=reads.neuron,
        gate=config.gate,
        samples=reads(data.times[: config.samples]),
        dtype=model.layers[0].weight.dtype,
    )
    model.load_state_dict(mapped.state_dict())
    model.eval()
    if config.first_spikes is None:
        return result
    tuned = train_continuous(
        model,
        data,
        validation,
        replace(config.first_spikes, seed=config.seed),
        Path(run_dir) / "first_spikes",
        fresh=fresh,
        tensorboard=tensorboard,
        description=f"{description}, first spikes",
    )
    return replace(tuned, history=result.history + tuned.history)


@dataclass(frozen=True)
class _Reads:
    """What the ReLU network reads of spike times: activations, as vectors or images."""

    config: MappedConfig
    neuron: Any
    size: Sequence[int] | None
    """Height, width and channels, where the first layer is a convolution."""

    def __call__(self, times: Tensor) -> Tensor:
        """Return the activations that spikes say by the deadline."""
        a = relu_inputs(times.float(), self.config.deadline, neuron=self.neuron)
        if self.size is None:
            return a
        return a.view(-1, *self.size).permute(0, 3, 1, 2)  # channels last in memory, as convs like


def _layers(model: ContinuousNetwork, config: MappedConfig) -> list[Mapping[str, Any]]:
    """Return the layers that the ReLU network has, too: all but the relays of a gate."""
    specs = (model.options or {}).get("layers")
    if not isinstance(specs, Sequence) or model.clocks is None:
        raise ValueError(
            "Only a network of the form that from_relu gives can be trained this way. Make one: "
            "baselines.relu_training.mapped_form."
        )
    gated = specs[0]["pulses"] == 3  # a relay for each input comes first
    if gated != config.gate:
        raise ValueError(
            f"The network is {'gated' if gated else 'open'}, got gate={config.gate} in the config. "
            "Make both alike."
        )
    return list(specs)[1 if gated else 0 :]


def mapped_form(
    layers: Sequence[Mapping[str, Any]], *, neuron: NeuronName = "rel_psp", gate: bool = True
) -> ContinuousNetwork:
    """Return a network of the form that `from_relu` gives, for `train_mapped` to fill.

    Args:
        layers: of the ReLU network: {"inputs", "neurons"} of a linear one; {"size": height, width
            and channels, "kernel_size", "neurons"} of a convolution, and "pool", "padding" and
            "stride" where they are not 1, 0 and 1.
        neuron: ReL-PSP, or α-PSP.
        gate: as `MappedConfig` will say.

    Example:
        >>> form = mapped_form([{"inputs": 4, "neurons": 8}, {"inputs": 8, "neurons": 2}])
        >>> form.n_inputs, form.n_classes
        (4, 2)
    """
    size = layers[0].get("size")
    shape = None if size is None else (size[2], size[0], size[1])
    net = relu_network(layers, MappedConfig())
    return from_relu(net, neuron=neuron, gate=gate, input_size=shape)


def relu_network(layers: Sequence[Mapping[str, Any]], config: MappedConfig) -> nn.Sequential:
    """Return a ReLU network with weights of torch's own, drawn by the seed of the config.

    Args:
        layers: as of `mapped_form`.
        config: says the dropout, too.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return _relu_network(layers, config)


def _relu_network(layers: Sequence[Mapping[str, Any]], config: MappedConfig) -> nn.Sequential:
    parts: list[nn.Module] = []
    generator = torch.Generator()  # the training's own takes its place

    def drop(share: float) -> None:
        if share > 0.0:
            parts.append(Dropout(share, generator))

    drop(config.dropout_input)
    for i, layer in enumerate(layers):
        if "size" in layer:
            channels, side, n = layer["size"][2], layer["kernel_size"], layer["neurons"]
            geometry = layer.get("stride", 1), layer.get("padding", 0)
            parts += [nn.Conv2d(channels, n, side, *geometry), nn.ReLU()]
            if (pool := layer.get("pool", 1)) > 1:
                parts.append(nn.MaxPool2d(pool))
            continue
        if i and "size" in layers[i - 1]:
            parts.append(nn.Flatten())
        if i:
            drop(config.dropout)
        parts.append(nn.Linear(layer["inputs"], layer["neurons"]))
        if i + 1 < len(layers):
            parts.append(nn.ReLU())
    return nn.Sequential(*parts)


class _ReLUTraining(Loop):
    """One training of a ReLU network."""

    def __init__(
        self,
        net: nn.Module,
        data: Timed,
        validation: Timed,
        config: MappedConfig,
        run_dir: Path,
        reads: _Reads,
        fresh: Callable[[torch.Generator], Timed] | None,
        tensorboard: bool,
    ) -> None:
        super().__init__(
            net.to(memory_format=torch.channels_last),
            data,
            validation,
            config,
            run_dir,
            fresh=fresh,
            tensorboard=tensorboard,
        )
        self.reads = reads
        for module in net.modules():
            if isinstance(module, Dropout):  # one stream of randomness, kept in the checkpoint
                module.generator = self.noise
        self.optimizer = torch.optim.AdamW(
            net.parameters(), config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.scheduler = self.one_cycle_or_constant()

    def _logits(self, times: Tensor) -> Tensor:
        """Return what the network says of spike times; its bias does not have the offset yet."""
        logits: Tensor = self.model(self.reads(times) - self.config.offset)
        return logits

    def update(self, batch: Timed, epoch: int) -> Row:
        """Train on one batch; return its sums of loss and right answers."""
        logits = self._logits(batch.times)
        loss = F.cross_entropy(logits, batch.labels)
        self.descend(loss)
        return {
            "loss": float(loss.detach()) * len(batch),
            "accuracy": float((logits.detach().argmax(dim=1) == batch.labels).sum()),
        }

    @torch.no_grad()
    def validate(self, epoch: int) -> tuple[Row, tuple[float, float]]:
        """Return the accuracy of the largest logit, by which the epoch is chosen."""
        held_out = self.validation
        parts = [self._logits(times) for times in held_out.times.split(1_000)]
        right = torch.cat(parts).argmax(dim=1) == held_out.labels
        accuracy = float(right.double().mean())
        return {"accuracy": accuracy}, (1.0, accuracy)
