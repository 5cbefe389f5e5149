"""Trained baselines that ship with the package: half-precision weights, ready to answer."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.alpha_psp import alpha_psp
from baselines.continuous import ContinuousNetwork
from baselines.conv import conv_rel_psp
from baselines.lif import RCLIF, TTFSLIF, LIFNetwork, Neurons, NorseLIF, SnnTorchLIF
from baselines.rel_psp import rel_psp
from rc_snn.runner import decide
from rc_snn.sequences import SpikeSequences
from rc_snn.spikes import Decision, spike_steps
from rc_snn.zoo import read_file, write_file

FORMAT = "rc_snn.baselines/1"
FOLDER = Path(__file__).parent / "weights"


Library: TypeAlias = Literal["snntorch", "norse"]
LIF_NEURONS: dict[Library, type[Neurons]] = {"snntorch": SnnTorchLIF, "norse": NorseLIF}
LIF_MODELS: dict[str, type[LIFNetwork]] = {"rc-lif": RCLIF, "ttfs-lif": TTFSLIF}


@dataclass(frozen=True)
class Architecture:
    """What builds the network."""

    kind: Literal["alpha_psp", "rel_psp", "conv_rel_psp", "rc-lif", "ttfs-lif"]
    sizes: tuple[int, ...]
    """Units per layer, input first; of a ConvReL-PSP the channels, then the hidden units."""
    library: Library | None = None
    """Whose LIF neurons."""
    n_steps: int | None = None
    """Steps per frame, T, of LIF networks; the others know continuous time."""
    theta: float | None = None
    """Threshold θ of rank-coded LIF networks."""

    def build(self) -> ContinuousNetwork | LIFNetwork:
        """Make the network, with weights still to be filled in."""
        generator = torch.Generator().manual_seed(0)
        if self.library is not None:
            return LIF_MODELS[self.kind](LIF_NEURONS[self.library](), *self.sizes)
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
    model: Any
    """A ContinuousNetwork, an RCLIF or a TTFSLIF."""
    architecture: Architecture
    encoder: dict[str, Any]
    """Its name, "latency" or "alpha_psp", and options of `encoders.encode_latency`."""
    measured: dict[str, Any]
    """From the record: n, correct, accuracy, fired."""
    record: str
    """Name of the record in results/table1."""

    def decide(self, times: Float[Tensor, "batch inputs"]) -> Decision:
        """Return the decisions on spike times in frames; LIF networks read them on their grid."""
        if isinstance(self.model, ContinuousNetwork):
            return self.model.decide(times)
        assert self.architecture.n_steps is not None
        n_steps = self.architecture.n_steps
        inputs = SpikeSequences(spike_steps(times, n_steps), n_steps)
        if isinstance(self.model, TTFSLIF):
            return self.model.decide(inputs)
        assert isinstance(self.model, RCLIF)
        return decide(self.model, inputs, self.architecture.theta)


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
        fields = ("library", "n_steps", "theta")
        architecture = Architecture(
            about["kind"], tuple(about["sizes"]), *(about.get(k) for k in fields)
        )
        rest = {k: about[k] for k in ("encoder", "measured", "record")}
        model = architecture.build()
        model.load_state_dict({key: value.float() for key, value in tensors.items()})
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} lacks or adds something a network has ({error}).") from error
    return Trained(name=path.stem, model=model.eval(), architecture=architecture, **rest)
