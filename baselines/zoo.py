"""Trained baselines that ship with the package: half-precision weights, ready to answer."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.alpha_psp import alpha_psp
from baselines.conv import conv_rel_psp
from baselines.rel_psp import rel_psp
from baselines.timing import TimingNetwork
from rc_snn.spikes import Decision
from rc_snn.zoo import read_file, write_file

FORMAT = "rc_snn.baselines/1"
FOLDER = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Architecture:
    """What builds the network."""

    kind: Literal["alpha_psp", "rel_psp", "conv_rel_psp"]
    sizes: tuple[int, ...]
    """Units per layer, input first; of a ConvReL-PSP the channels, then the hidden units."""

    def build(self) -> TimingNetwork:
        """Make the network, with weights still to be filled in."""
        generator = torch.Generator().manual_seed(0)
        if self.kind == "alpha_psp":
            return alpha_psp(self.sizes, generator=generator)
        if self.kind == "rel_psp":
            return rel_psp(self.sizes, generator=generator)
        return conv_rel_psp(self.sizes[:2], self.sizes[2:], generator=generator)


@dataclass(frozen=True)
class Trained:
    """A trained network with all that its use depends on.

    Example:
        >>> [name for name in names() if name.startswith("rel-psp-340")]
        ['rel-psp-340-slow']
        >>> load("rel-psp-340-slow").decide(torch.full((1, 784), torch.inf)).fired
        tensor([False])
    """

    name: str
    model: TimingNetwork
    architecture: Architecture
    encoder: dict[str, Any]
    """Its name, "latency" or "alpha_psp", and options of `encoders.encode_latency`."""
    measured: dict[str, Any]
    """From the record: n, correct, accuracy, fired."""
    record: str
    """Name of the record in results/table1."""

    def decide(self, times: Float[Tensor, "batch inputs"]) -> Decision:
        """Return the decisions on spike times in frames."""
        return self.model.decide(times)


def names() -> list[str]:
    """Return the names of all baselines that ship with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def load(name: str) -> Trained:
    """Load a baseline that ships with the package, by its name.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in names():
        raise ValueError(f"There is no baseline {name!r}; there are {', '.join(names())}.")
    return read(FOLDER / f"{name}.safetensors")


def write(trained: Trained, folder: Path) -> Path:
    """Write a network atomically to `folder/name.safetensors`; return the path."""
    about = asdict(trained.architecture) | {
        k: getattr(trained, k) for k in ("encoder", "measured", "record")
    }
    return write_file(folder / f"{trained.name}.safetensors", FORMAT, trained.model, {}, about)


def read(path: Path) -> Trained:
    """Read a network from a file.

    Raises:
        ValueError: if the file is not a network of this format.
    """
    tensors, about = read_file(path, FORMAT)
    try:
        architecture = Architecture(about["kind"], tuple(about["sizes"]))
        rest = {k: about[k] for k in ("encoder", "measured", "record")}
        model = architecture.build()
        model.load_state_dict({key: value.float() for key, value in tensors.items()})
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} lacks or adds something a network has ({error}).") from error
    return Trained(name=path.stem, model=model.eval(), architecture=architecture, **rest)
