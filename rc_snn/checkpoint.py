"""Checkpoints: replaced atomically, refused with the reason; randomness is part of them."""

import hashlib
import json
import math
import random
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rc_snn.files import parse_json
from rc_snn.files.tensors import read_tensors, write_tensors

FORMAT = "rc_snn.checkpoint/4"
PROBED = 8
"""Samples that stand for lazily read sequences which have no `digest()`."""


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Replace a checkpoint atomically; it says a digest of all that it holds.

    Args:
        path: of the file.
        state: tensors, numbers, texts, truth values and None, in mappings, lists and tuples.

    Raises:
        TypeError: if it holds anything else.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "checkpoint.pt")
        ...     write(path, {"epoch": 3, "weights": {0: torch.ones(2)}})
        ...     read(path)["weights"]
        {0: tensor([1., 1.])}
    """
    tensors: dict[str, Tensor] = {}
    said = json.dumps(_packed(state, tensors))
    write_tensors(path, tensors, {"format": FORMAT, "state": said})


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        ValueError: if the file is damaged, or not a checkpoint of this format.
    """
    found, state = "", None
    try:
        if path.is_file():  # to open a pipe would be to wait for ever
            with path.open("rb") as file:
                if file.read(4) == b"PK\x03\x04":  # torch.save wrote them so until version 3
                    found = "rc_snn.checkpoint/3, or an older one"
        if not found:
            tensors, texts = read_tensors(path)
            found = texts.get("format", "")
        if found == FORMAT:
            state = _unpacked(parse_json(texts["state"], "its state"), tensors)
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({error}). Move it away to start this run anew."
        ) from error
    if found.startswith("rc_snn.checkpoint/") and found != FORMAT:
        raise ValueError(
            f"{path} has the format {found}, this version resumes {FORMAT}: the other does not "
            "say what it was trained on, or cannot tell that it is damaged. Finish the run with "
            "the version that began it, or move the checkpoint away to start anew."
        )
    if found != FORMAT or not isinstance(state, dict):
        raise ValueError(
            f"{path} is not an rc_snn checkpoint. Move it away, or choose another run_dir."
        )
    return {"format": FORMAT} | state


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON, its tensors by their names; an object says what it stands for."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, Tensor):
        # Weights may lie by columns, and their moments with them: the axes as memory has them.
        order = sorted(range(value.dim()), key=[-n for n in value.stride()].__getitem__)
        tensors[name := f"{len(tensors)}"] = value.permute(order)
        return {"tensor": [name, *order]}
    if isinstance(value, Mapping):
        return {"mapping": [[_packed(k, tensors), _packed(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [_packed(x, tensors) for x in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    raise TypeError(f"A checkpoint holds numbers, texts and tensors, not {type(value).__name__}.")


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what `_packed` was given."""
    if isinstance(value, list):
        return [_unpacked(x, tensors) for x in value]
    if not isinstance(value, dict):
        return value
    [(kind, held)] = value.items()
    if kind == "mapping":
        return {_unpacked(k, tensors): _unpacked(v, tensors) for k, v in held}
    if kind == "tuple":
        return tuple(_unpacked(held, tensors))
    if kind == "float":
        return float(held)
    name, *order = held
    return tensors[name].permute([order.index(axis) for axis in range(len(order))])


def digest(value: Any) -> str:
    """Return a SHA-256, its first 16 digits, of what a value holds: which data or weights it is.

    Tensors and arrays count with type, shape and every byte; mappings, lists and dataclasses with
    what they hold; whatever has a method `digest()` with the value that it returns, as lazily read
    data should. Other sequences (`rc_snn.sequences.Sequences`) that hold what cannot be looked
    into, such as an open file, count with a few samples. Of anything else only the class is known.

    Example:
        >>> digest({"a": torch.zeros(2)}) == digest({"a": torch.zeros(2)})
        True
        >>> digest(torch.zeros(2)) == digest(torch.zeros(1, 2))
        False
    """
    sha = hashlib.sha256()
    _feed(sha, value)
    return sha.hexdigest()[:16]


def _feed(sha: Any, value: Any) -> bool:
    """Add a value to a digest; return whether it could be looked into."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if callable(own := getattr(value, "digest", None)):
        sha.update(kind.encode())
        return _feed(sha, own())
    if isinstance(value, torch.Tensor):
        plain = value.detach().to_dense().cpu().contiguous().flatten()
        sha.update(f"{value.dtype} {list(value.shape)}".encode())
        sha.update(plain.view(torch.uint8).numpy() if plain.numel() else b"")
        return True
    if isinstance(value, np.ndarray):
        sha.update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
        return not value.dtype.hasobject
    if isinstance(value, str | bytes | int | float | torch.dtype | torch.device | Path | None):
        sha.update(f"{kind} {value!r}".encode())
        return True
    sha.update(kind.encode())
    parts: Any = None
    if isinstance(value, Mapping):
        parts = [x for item in value.items() for x in item]
    elif isinstance(value, list | tuple):
        parts = value
    elif is_dataclass(value):
        parts = [getattr(value, field.name) for field in fields(value)]
    looked_into = [_feed(sha, part) for part in parts or ()]  # all of them: `all` would stop early
    known = parts is not None and all(looked_into)
    if not known and hasattr(value, "rows") and hasattr(value, "at"):
        few = value.rows(torch.linspace(0, len(value) - 1, min(PROBED, len(value))).long())
        for step in range(value.n_steps):
            _feed(sha, few.at(step))
        sha.update(f"{len(value)}".encode())
        return True
    return known


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
