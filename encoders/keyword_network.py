"""The keyword network that ships: half-precision weights with all that its use depends on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from jaxtyping import Float32
from torch import Tensor

from encoders.keyword_features import Normalisation
from encoders.log_mel import LogMel, LogMelStream
from rc_snn.models import RCLSTM
from rc_snn.runner import StreamingRunner
from rc_snn.spikes import Decision, check_theta
from rc_snn.zoo import read_file, write_file

FORMAT = "rc_snn.keywords/1"
FOLDER = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class KeywordNetwork:
    """A trained keyword network: what it hears with, and what its record measured.

    Raises:
        ValueError: if its parts do not fit each other.
    """

    name: str
    model: RCLSTM
    theta: float
    """Threshold θ, reached with >=."""
    normalisation: Normalisation
    """Of the log-mel energies, from the training split."""
    front_end: LogMel
    classes: tuple[str, ...]
    """In the order of the outputs."""
    measured: dict[str, Any]
    """From the record: what it reached with exactly these rounded weights."""
    record: str
    """Name of the record in results/."""

    def __post_init__(self) -> None:
        check_theta(self.theta)
        n_mels = self.front_end.n_mels
        if self.model.n_inputs != self.front_end.n_inputs or len(self.normalisation.mean) != n_mels:
            raise ValueError(
                f"The network reads {self.model.n_inputs} inputs, normalised in "
                f"{len(self.normalisation.mean)} bands, but the front end gives "
                f"{self.front_end.n_inputs} in {n_mels}. Take the one that it was trained with."
            )
        if len(self.classes) != self.model.n_classes:
            raise ValueError(
                f"The network has {self.model.n_classes} outputs, got {len(self.classes)} classes."
            )


class KeywordStream:
    """One clip for a keyword network, as its samples arrive: the same decision as on the whole.

    Example:
        >>> import numpy as np
        >>> ones = torch.ones(20)
        >>> model = RCLSTM(420, 8, 9, n_dense=4)
        >>> names = tuple("abcdefghi")
        >>> parts = (Normalisation(0 * ones, ones), LogMel(), names, {}, "")
        >>> stream = KeywordStream(KeywordNetwork("untrained", model, 0.01, *parts))
        >>> stream.push(np.zeros(3_399, np.float32)) is None
        True
        >>> stream.push(np.zeros(1, np.float32)).step  # 212.5 ms: the first step has its 21 frames
        tensor([0])
    """

    def __init__(self, network: KeywordNetwork, theta: float | None = None) -> None:
        self.network = network
        front_end = network.front_end
        self._frames = LogMelStream(front_end)
        theta = network.theta if theta is None else theta
        self._runner = StreamingRunner(network.model, theta, front_end.n_steps)
        self.reset()

    def reset(self) -> None:
        """Forget the clip, to begin with the next."""
        self._frames.reset()
        self._runner.reset()
        self._window = torch.zeros(0, self.network.front_end.n_mels)

    @property
    def decision(self) -> Decision | None:
        """Return the decision, once there is one."""
        return self._runner.decision

    @property
    def heard_ms(self) -> float | None:
        """Return how much of the clip had been heard at the decision, in milliseconds."""
        if self.decision is None:
            return None
        assert self.decision.step is not None
        return float(self.network.front_end.heard_ms(self.decision.step))

    def push(self, samples: Float32[npt.NDArray[Any], " samples"]) -> Decision | None:
        """Take the next samples; return the decision once there is one.

        What comes after the decision is not analysed any more, nor counted.

        Raises:
            ValueError: if the samples go beyond the clip before there is a decision.
        """
        if self.decision is None:
            self._advance(self._frames.push(samples))
        return self.decision

    def finish(self) -> Decision:
        """End the clip with silence; the last step forces an answer."""
        if self.decision is None:
            self._advance(self._frames.finish())
        assert self.decision is not None  # the last step decides
        return self.decision

    def _advance(self, frames: Float32[npt.NDArray[Any], "frame mel"]) -> None:
        width = self.network.front_end.context + 1
        for frame in self.network.normalisation(torch.from_numpy(frames)):
            self._window = torch.cat([self._window, frame.unsqueeze(0)])[-width:]
            if len(self._window) == width and self._runner.step(self._window.flatten()):
                return


def names() -> list[str]:
    """Return the names of the keyword networks that ship with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def load_network(name: str) -> KeywordNetwork:
    """Load a keyword network by the name under which it ships, or from a .safetensors file.

    Raises:
        ValueError: if there is none of that name, or the file is none.
    """
    if name in names():
        return read(FOLDER / f"{name}.safetensors")
    if name.endswith(".safetensors"):
        return read(Path(name))
    raise ValueError(
        f"There is no keyword network {name!r}; there are {', '.join(names()) or 'none'}. Or name "
        "a .safetensors file."
    )


def write(network: KeywordNetwork, folder: Path) -> Path:
    """Write a network atomically to `folder/name.safetensors`; return the path.

    Round its weights first (`rc_snn.zoo.round_to_half`), or what is read is not what was measured.
    """
    model = network.model
    about = {
        "n_hidden": model.n_hidden,
        "n_dense": None if model.dense is None else model.dense.out_features,
        "front_end": asdict(network.front_end),
        "classes": network.classes,
        "theta": network.theta,
        "measured": network.measured,
        "record": network.record,
    }
    more = {"mean": network.normalisation.mean, "std": network.normalisation.std}
    return write_file(folder / f"{network.name}.safetensors", FORMAT, model, more, about)


def read(path: Path) -> KeywordNetwork:
    """Read a network from a file.

    Raises:
        ValueError: if the file is not a network of this format.
    """
    tensors, about = read_file(path, FORMAT)
    try:
        normalisation = _normalisation(tensors)
        front_end = LogMel(**about.pop("front_end"))
        classes = tuple(about.pop("classes"))
        model = RCLSTM(
            front_end.n_inputs, about.pop("n_hidden"), len(classes), n_dense=about.pop("n_dense")
        )
        model.load_state_dict({key: value.float() for key, value in tensors.items()})
        return KeywordNetwork(
            path.stem, model.eval(), about.pop("theta"), normalisation, front_end, classes, **about
        )
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} lacks or adds something a network has ({error}).") from error


def _normalisation(tensors: dict[str, Tensor]) -> Normalisation:
    return Normalisation(tensors.pop("mean"), tensors.pop("std"))
