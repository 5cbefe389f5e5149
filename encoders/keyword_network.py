"""Keyword networks: a `rc_snn.Network` that hears log-mel energies, and a stream for it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from encoders.keyword_features import Normalisation
from encoders.log_mel import LogMel, LogMelStream
from rc_snn.models import RCLSTM
from rc_snn.network import Network, load
from rc_snn.runner import StreamingRunner
from rc_snn.spikes import Decision


def keyword_network(
    name: str,
    model: RCLSTM,
    theta: float,
    normalisation: Normalisation,
    front_end: LogMel,
    classes: tuple[str, ...],
    measured: Mapping[str, Any] | None = None,
    record: str = "",
) -> Network:
    """Return a trained keyword network, with what it hears by and what its record measured.

    Args:
        name: what it is called.
        model: reads the windows of the front end.
        theta: threshold θ, reached with >=.
        normalisation: of the log-mel energies, from the training split.
        front_end: what makes them.
        classes: in the order of the outputs.
        measured: what it reached, from its record.
        record: name of that record.

    Raises:
        ValueError: if its parts do not fit each other.
    """
    network = Network(
        name=name,
        model=model,
        theta=theta,
        n_steps=front_end.n_steps,
        encoder={"name": "log_mel", **asdict(front_end)},
        classes=classes,
        tensors={"band_mean": normalisation.mean, "band_std": normalisation.std},
        reads="sequences",
        measured=dict(measured or {}),
        record=record,
    )
    normalisation_of(network)
    return network


def front_end_of(network: Network) -> LogMel:
    """Return what makes a network's log-mel energies.

    Raises:
        ValueError: if the network hears otherwise.
    """
    options = dict(network.encoder)
    if options.pop("name", None) != "log_mel":
        raise ValueError(
            f"{network.name} is no keyword network: its encoder is {dict(network.encoder)}, and "
            "those hear by log_mel."
        )
    try:
        return LogMel(**options)
    except TypeError as error:
        raise ValueError(f"{network.name} hears by an unknown front end ({error}).") from error


def normalisation_of(network: Network) -> Normalisation:
    """Return what a network's log-mel energies are normalised by.

    Raises:
        ValueError: if it lacks, or does not fit front end and model.
    """
    front_end, held = front_end_of(network), network.tensors
    if not {"band_mean", "band_std"} <= held.keys():
        raise ValueError(f"{network.name} does not say how its mel bands are normalised.")
    found, n_inputs = Normalisation(held["band_mean"], held["band_std"]), network.model.n_inputs
    if n_inputs != front_end.n_inputs or len(found.mean) != front_end.n_mels:
        raise ValueError(
            f"The network reads {n_inputs} inputs, normalised in {len(found.mean)} bands, but the "
            f"front end gives {front_end.n_inputs} in {front_end.n_mels}. Take the one that it was "
            "trained with."
        )
    return found


def load_network(name: Path | str) -> Network:
    """Load a keyword network by the name under which it ships, or from a .safetensors file.

    Raises:
        ValueError: if there is none of that name, or it is no keyword network.
    """
    network = load(name)
    normalisation_of(network)
    return network


class KeywordStream:
    """One clip for a keyword network, as its samples arrive: the same decision as on the whole.

    Example:
        >>> import numpy as np
        >>> ones = torch.ones(20)
        >>> model = RCLSTM(420, 8, 9, n_dense=4)
        >>> names = tuple("abcdefghi")
        >>> heard = (Normalisation(0 * ones, ones), LogMel(), names)
        >>> stream = KeywordStream(keyword_network("untrained", model, 0.01, *heard))
        >>> stream.push(np.zeros(3_399, np.float32)) is None
        True
        >>> stream.push(np.zeros(1, np.float32)).step  # 212.5 ms: the first step has its 21 frames
        tensor([0])
    """

    def __init__(self, network: Network, theta: float | None = None) -> None:
        self.network, self.front_end = network, front_end_of(network)
        self.normalisation, front_end = normalisation_of(network), self.front_end
        self._frames = LogMelStream(front_end)
        theta = network.theta if theta is None else theta
        if theta is None:
            raise ValueError(f"{network.name} has no threshold θ. Pass theta.")
        self._runner = StreamingRunner(network.model, theta, front_end.n_steps)
        self.reset()

    def reset(self) -> None:
        """Forget the clip, to begin with the next."""
        self._frames.reset()
        self._runner.reset()
        self._window = torch.zeros(0, self.front_end.n_mels)

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
        return float(self.front_end.heard_ms(self.decision.step))

    def push(self, samples: Any) -> Decision | None:
        """Take the next samples, floats or int16; return the decision once there is one.

        What comes after the decision is not analysed any more, nor counted.

        Raises:
            ValueError: if the samples go beyond the clip before there is a decision, are not mono,
                or reach beyond full scale: see `encoders.audio.read_samples`.
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

    def _advance(self, frames: Float32[np.ndarray, "frame mel"]) -> None:
        width = self.front_end.context + 1
        for frame in self.normalisation(torch.from_numpy(frames)):
            self._window = torch.cat([self._window, frame.unsqueeze(0)])[-width:]
            if len(self._window) == width and self._runner.step(self._window.flatten()):
                return
