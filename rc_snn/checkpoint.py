"""Checkpoints: replaced atomically, refused with the reason; randomness is part of them."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rc_snn.files import replacing

FORMAT = "rc_snn.checkpoint/2"


def write(path: Path, state: dict[str, Any]) -> None:
    """Replace a checkpoint atomically."""
    with replacing(path) as partial:
        torch.save({"format": FORMAT} | state, partial)


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        ValueError: if the file is not a checkpoint of this format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({error}). Move it away to start this run anew."
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not an rc_snn checkpoint. Move it away, or choose another run_dir."
        )
    return state


def random_states(generator: torch.Generator) -> dict[str, Any]:
    """Return the states of all random generators that a training may draw from."""
    numpy_name, numpy_keys, *numpy_rest = np.random.get_state(legacy=True)  # noqa: NPY002 (tonic draws from it)
    return {
        "generator": generator.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": [numpy_name, np.asarray(numpy_keys).tolist(), *numpy_rest],
    }


def restore_random_states(states: dict[str, Any], generator: torch.Generator) -> None:
    """Bring the states back."""
    generator.set_state(states["generator"])
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), *rest))  # noqa: NPY002
