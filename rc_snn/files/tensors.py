"""Tensors with texts beside them, in safetensors: networks, checkpoints, traces.

A safetensors file holds nothing that could be run, and no more than its bytes. A file that is
written here also says a digest of all of them, so that one damaged bit is noticed.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from rc_snn.files.atomic import write_bytes
from rc_snn.files.limits import parse_json, read_bytes

MOST_TENSORS = 10_000
"""Tensors that one file may hold: each costs time, however small it is."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Write tensors and texts to a file, atomically, with a digest of all its bytes.

    Args:
        path: of the file.
        tensors: of any shape and dtype; those that share memory are written once each.
        texts: what else the file says; "digest" is added.

    Raises:
        ValueError: if safetensors cannot hold one: sparse, or of a reserved name.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.safetensors")
        ...     write_tensors(path, {"mean": torch.zeros(2)}, {"of": "spikes"})
        ...     read_tensors(path)
        ({'mean': tensor([0., 0.])}, {'of': 'spikes'})
    """
    if "__metadata__" in tensors or len(tensors) > MOST_TENSORS:
        raise ValueError(
            f"{path} cannot be written: a file holds at most {MOST_TENSORS} tensors, and none that "
            f'is called "__metadata__"; got {len(tensors)}.'
        )
    try:
        plain = {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for key, value in tensors.items()
        }
        _, digest = _header(save(plain, dict(texts)))
        content = save(plain, {**texts, "digest": digest})
    except Exception as error:  # of safetensors and torch, of several kinds
        raise ValueError(f"{path} cannot be written as safetensors ({error}).") from error
    write_bytes(path, content)


def read_tensors(
    path: Path, without_digest: bool = False
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file, and its texts but for the digest, which is compared.

    Args:
        path: of the file.
        without_digest: whether a file that says none, of an older version, is read, too.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is no safetensors file, is damaged, or holds too many tensors.
    """
    content = read_bytes(path)
    try:
        said, digest = _header(content)
        texts = said.get("__metadata__", {})
        if texts.pop("digest", digest if without_digest else None) != digest:
            raise ValueError("its bytes are not those of its digest: it is damaged")
        return load(content), texts
    except Exception as error:  # whatever safetensors and torch raise on such bytes
        raise ValueError(
            f"{path} cannot be read as safetensors ({error}). Copy it again, or make it again."
        ) from error


def _header(content: bytes) -> tuple[dict[str, Any], str]:
    """Return what a file says in its header, and the digest of this, itself left out, and its data.

    The order of a header's entries is none of its content: safetensors writes it by chance.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    said = parse_json(content[8:end], "its header")
    if not isinstance(said, dict) or len(said) > MOST_TENSORS + 1:
        raise ValueError(f"its header names no tensors, or more than {MOST_TENSORS}")
    texts = {k: v for k, v in said.get("__metadata__", {}).items() if k != "digest"}
    plain = json.dumps(said | {"__metadata__": texts}, sort_keys=True)
    sha = hashlib.sha256(plain.encode())
    sha.update(memoryview(content)[end:])
    return said, sha.hexdigest()
