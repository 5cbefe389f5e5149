"""Files that hold a trained α-PSP network: the authors' text format, and npz."""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float64
from torch import Tensor

from rc_snn.borders.numbers import finite, whole
from rc_snn.files import load_npz, read_bytes

MAX_WEIGHTS = 50_000_000
"""A file that announces more weights is refused before anything of that size is made."""


@dataclass(frozen=True)
class Parameters:
    """What a file says of a network, in float64.

    Args:
        theta: threshold θ.
        decay: decay rate K; None where the file does not say.
        weights: of each layer, one row per neuron; its pulses come last.
        pulses: pulse times of each layer, in frames; that of the output layer is never used.
    """

    theta: float
    decay: float | None
    weights: list[Float64[Tensor, "_ _"]]
    pulses: Float64[Tensor, "layers pulses"]


def read_parameters(path: Path | str) -> Parameters:
    """Read a network file, text or npz.

    Raises:
        ValueError: if it is neither, or something in it is missing, too much, or not a number.
    """
    path = Path(path)
    try:
        content = read_bytes(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error}).") from error
    if content[:2] == b"PK":
        return _read_npz(path)
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is neither a text file of numbers nor an npz file ({error})."
        ) from error
    return _read_text(path, text.split())


class _Tokens:
    """Numbers, taken one after the other."""

    def __init__(self, path: Path, tokens: list[str]) -> None:
        self.path, self.tokens, self.at = path, tokens, 0

    def take(self, n: int, what: str) -> list[float]:
        part = self.tokens[self.at : self.at + n]
        if len(part) < n:
            raise ValueError(
                f"{self.path} ends too early: {n} numbers for {what} are due at token "
                f"{self.at + 1}, and {len(part)} are left. Is the file complete?"
            )
        try:
            values = [float(token.replace("_", "?")) for token in part]  # 1_0 is Python's only
        except ValueError:
            bad = next(i for i, token in enumerate(part) if not _is_number(token))
            raise ValueError(
                f"{self.path}: token {self.at + bad + 1}, {part[bad][:40]!r}, should be a number "
                f"({what})."
            ) from None
        if not all(map(math.isfinite, values)):
            bad = next(i for i, value in enumerate(values) if not math.isfinite(value))
            raise ValueError(f"{self.path}: token {self.at + bad + 1} is {part[bad]} ({what}).")
        self.at += n
        return values

    def take_count(self, what: str, most: int) -> int:
        (value,) = self.take(1, what)
        if value != int(value) or not 0 <= value <= most:
            raise ValueError(
                f"{self.path}: token {self.at}, {what}, must be a whole number in 0..{most}, got "
                f"{self.tokens[self.at - 1][:40]}."
            )
        return int(value)


def _is_number(token: str) -> bool:
    try:
        float(token.replace("_", "?"))
    except ValueError:
        return False
    return True


def _read_text(path: Path, words: list[str]) -> Parameters:
    """Read the format of google/ihmehimmeli: one line of numbers, tag first in the newer one."""
    if not words:
        raise ValueError(f"{path} is empty. A network file holds one line of numbers.")
    tagged = not _is_number(words[0])
    if tagged and words[0] != "pulses_per_layer":
        raise ValueError(
            f"{path} begins with {words[0][:40]!r}; a network file begins with "
            "'pulses_per_layer', or, in the older format, with the threshold."
        )
    tokens = _Tokens(path, words[1:] if tagged else words)
    (theta,) = tokens.take(1, "the threshold")
    n_layers = tokens.take_count("the number of layers", 100)
    sizes = [tokens.take_count("the size of a layer", MAX_WEIGHTS) for _ in range(n_layers)]
    n_pulses = tokens.take_count("the number of pulses", MAX_WEIGHTS)
    check_sizes(path, sizes, n_pulses)
    if tagged:
        pulses = [tokens.take(n_pulses, f"pulses of layer {i}") for i in range(n_layers)]
    else:
        pulses = [tokens.take(n_pulses, "pulses")] * n_layers
    weights = []
    for n_in, n_out in pairwise(sizes):
        values = tokens.take(n_out * (n_in + n_pulses), f"weights {n_in} -> {n_out}")
        weights.append(torch.tensor(values, dtype=torch.float64).view(n_out, n_in + n_pulses))
    left = len(tokens.tokens) - tokens.at
    if left:
        raise ValueError(
            f"{path} holds {left} tokens more than a network of sizes {sizes} with {n_pulses} "
            "pulses per layer has. Is it another network's file?"
        )
    return _checked(path, theta, None, weights, torch.tensor(pulses, dtype=torch.float64), sizes)


def _read_npz(path: Path) -> Parameters:
    """Read `theta`, `decay`, `sizes`, `pulses` and `w0`, `w1`, ..., as the published nets have."""
    held: dict[str, Any] = load_npz(path, "npz")
    try:
        if held["sizes"].ndim != 1:
            raise ValueError(f"its sizes are no list but {held['sizes'].shape}")
        sizes = whole(held["sizes"], "Sizes", 0, MAX_WEIGHTS).tolist()
        theta, decay = _number(held["theta"]), None
        if "decay" in held:
            decay = _number(held["decay"])
        pulses = torch.from_numpy(finite(held["pulses"], "Pulses"))
        raw = [held[f"w{i}"] for i in range(len(sizes) - 1)]
        raw = [w if w.dtype == np.float32 else finite(w, "Weights") for w in raw]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} lacks something that a network has ({error}).") from error
    n_pulses = pulses.shape[-1] if pulses.dim() == 2 else -1
    check_sizes(path, sizes, n_pulses)
    weights = [torch.from_numpy(decimal(w)) for w in raw]
    return _checked(path, theta, decay, weights, pulses, sizes)


def _number(x: Any) -> float:
    found = finite(x, "Threshold and decay")
    if found.size != 1:
        raise ValueError(f"threshold and decay are one number each, got {found.size}")
    return float(found.item())


def decimal(weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return weights in float64; those stored as float32 get back the six digits they were.

    Near tangency the rounding to float32 alone would move spike times by up to 2e-4.

    Example:
        >>> decimal(np.array([0.1], dtype=np.float32)).tolist()
        [0.1]
    """
    if weight.dtype != np.float32:
        return weight.astype(np.float64)
    six = [float(f"{value:.6g}") for value in weight.ravel().tolist()]
    return np.array(six, dtype=np.float64).reshape(weight.shape)


def check_sizes(path: Path | str, sizes: list[int], n_pulses: int) -> None:
    """Refuse sizes that no network has, before memory is asked for."""
    if len(sizes) < 2 or min(sizes) < 1 or n_pulses < 0:
        raise ValueError(
            f"{path} names the sizes {sizes} and {n_pulses} pulses; a network has at least two "
            "layers, and each at least one neuron."
        )
    total = sum(n_out * (n + n_pulses) for n, n_out in pairwise(sizes))
    if total > MAX_WEIGHTS:
        raise ValueError(
            f"{path} announces {total:,} weights for the sizes {sizes}; more than {MAX_WEIGHTS:,} "
            "are taken for a damaged file."
        )


def _checked(
    path: Path,
    theta: float,
    decay: float | None,
    weights: list[Tensor],
    pulses: Tensor,
    sizes: list[int],
) -> Parameters:
    n_pulses = pulses.shape[-1]
    wanted = [(n, m + n_pulses) for m, n in pairwise(sizes)]
    if [tuple(w.shape) for w in weights] != wanted or pulses.shape[0] != len(sizes):
        raise ValueError(
            f"{path}: weights {[tuple(w.shape) for w in weights]} and pulses "
            f"{tuple(pulses.shape)} do not belong to the sizes {sizes}."
        )
    if not (math.isfinite(theta) and theta > 0.0) or not (
        decay is None or (math.isfinite(decay) and decay > 0.0)
    ):
        raise ValueError(f"{path}: threshold {theta} and decay {decay} must be positive.")
    if not all(torch.isfinite(w).all() for w in weights):
        raise ValueError(f"{path} holds weights that are not finite.")
    if not (torch.isfinite(pulses) & (pulses >= 0)).all():
        raise ValueError(f"{path} holds pulse times that are negative or not finite.")
    return Parameters(theta, decay, weights, pulses)
