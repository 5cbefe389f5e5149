"""Trained rank-coded networks that ship with the package: half-precision weights, ready to answer.

One safetensors file per network holds its weights in float16, the mean its input is centred by,
and, as text, everything needed to use it and to check it: architecture, encoder, threshold, and
what its record measured with exactly these rounded weights.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from rc_snn import files
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.runner import decide
from rc_snn.sequences import SpikeSequences
from rc_snn.spikes import Decision

FORMAT = "rc_snn.zoo/1"
FOLDER = Path(__file__).parent / "weights"
_MEAN = "input_mean"


@dataclass(frozen=True)
class Architecture:
    """What builds the network."""

    kind: Literal["lstm", "convlstm"]
    sizes: tuple[int, ...]
    """LSTM units, or channels of each ConvLSTM layer."""
    kernel_size: int | None = None
    pool: int = 1

    def build(self) -> RCLSTM | RCConvLSTM:
        """Make the network, with weights still to be filled in."""
        if self.kind == "lstm":
            return RCLSTM(784, self.sizes[0], 10)
        return RCConvLSTM(self.sizes, self.kernel_size or 5, pool=self.pool)


@dataclass(frozen=True)
class Trained:
    """A trained network with all that its use depends on.

    Example:
        >>> net = load("rc-lstm-340-fast")
        >>> silent = torch.full((1, 784), net.n_steps)  # no input ever spikes
        >>> net.decide(silent).label.shape
        torch.Size([1])
    """

    name: str
    model: RCLSTM | RCConvLSTM
    architecture: Architecture
    theta: float
    """Threshold θ."""
    n_steps: int
    """Steps per frame, T."""
    encoder: dict[str, Any]
    """Options of `encoders.encode_latency`: polarity and zero_pixels."""
    mean: Float[Tensor, "steps inputs"] | None
    """Subtracted from the input of each step."""
    measured: dict[str, Any]
    """From the record: n, correct, accuracy, time_to_insight, fired."""
    record: str
    """Name of the record in results/table1."""

    def sequences(self, steps: Int[Tensor, "batch inputs"]) -> SpikeSequences:
        """Return spike steps as the input that the network was trained on."""
        return SpikeSequences(steps, self.n_steps, mean=self.mean)

    def decide(self, steps: Int[Tensor, "batch inputs"]) -> Decision:
        """Return the decisions on spike steps."""
        return decide(self.model, self.sequences(steps), self.theta)


def names() -> list[str]:
    """Return the names of all networks that ship with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def load(name: str) -> Trained:
    """Load a network that ships with the package, by its name.

    Raises:
        ValueError: if there is none of that name.

    Example:
        >>> net = load("rc-lstm-340-fast")
        >>> net.encoder["polarity"], net.theta
        ('dark_first', 0.95)
    """
    if name not in names():
        raise ValueError(f"There is no network {name!r}; there are {', '.join(names()) or 'none'}.")
    return read(FOLDER / f"{name}.safetensors")


def round_to_half(model: nn.Module) -> None:
    """Round the weights to float16 in place: what is measured is then what is shipped."""
    with torch.no_grad():
        rounded = [_half(parameter) for parameter in model.parameters()]
        for parameter, half in zip(model.parameters(), rounded, strict=True):
            parameter.copy_(half)


def _half(weight: Tensor) -> Tensor:
    half = weight.half().contiguous()
    if not torch.isfinite(half).all():
        raise ValueError("A weight is too large for float16; the network cannot ship.")
    return half


def write(trained: Trained, folder: Path) -> Path:
    """Write a network atomically to `folder/name.safetensors`; return the path."""
    more = {} if trained.mean is None else {_MEAN: trained.mean.float().contiguous()}
    about = asdict(trained.architecture) | {
        k: getattr(trained, k) for k in ("theta", "n_steps", "encoder", "measured", "record")
    }
    return write_file(folder / f"{trained.name}.safetensors", FORMAT, trained.model, more, about)


def write_file(
    path: Path, format_: str, model: nn.Module, more: dict[str, Tensor], about: dict[str, Any]
) -> Path:
    """Write weights in float16, further tensors as they are, and text, atomically."""
    tensors = {k: _half(v) for k, v in model.state_dict().items()} | more
    header = {"format": format_, "about": json.dumps(about, sort_keys=True)}
    files.write_bytes(path, save(tensors, header))
    return path


def read_file(path: Path, format_: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the text of a file of this format.

    Raises:
        ValueError: if it is not one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read as safetensors ({error}).") from error
    if header.get("format") != format_:
        raise ValueError(f"{path} is not a network of the format {format_}; got {header}.")
    try:
        about: dict[str, Any] = dict(json.loads(header["about"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not say what it is ({error}).") from error
    return tensors, about


def read(path: Path) -> Trained:
    """Read a network from a file.

    Raises:
        ValueError: if the file is not a network of this format.
    """
    tensors, about = read_file(path, FORMAT)
    mean = tensors.pop(_MEAN, None)
    try:
        architecture = Architecture(
            about["kind"], tuple(about["sizes"]), about["kernel_size"], about["pool"]
        )
        rest = {k: about[k] for k in ("theta", "n_steps", "encoder", "measured", "record")}
        model = architecture.build()
        model.load_state_dict({key: value.float() for key, value in tensors.items()})
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} lacks or adds something a network has ({error}).") from error
    return Trained(name=path.stem, model=model.eval(), architecture=architecture, mean=mean, **rest)
