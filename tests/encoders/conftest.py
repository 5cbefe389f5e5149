"""Small files that stand in for MNIST, so that a test of a file costs no 47 MB."""

import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from encoders import mnist
from encoders.mnist import MnistFile

Write = Callable[..., Path]


def idx_bytes(magic: int, sizes: tuple[int, ...], payload: np.ndarray) -> bytes:
    """The idx format: magic number and sizes as big-endian 32-bit integers, then the bytes."""
    return struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + payload.astype(np.uint8).tobytes()


@pytest.fixture
def small_mnist(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make `encoders.mnist` expect 30 train and 20 test digits; return the four raw files."""
    random = np.random.default_rng(0)
    raw = {}
    for part, n in (("train", 30), ("t10k", 20)):
        images, labels = random.integers(256, size=n * 784), random.integers(10, size=n)
        raw[f"{part}-images-idx3-ubyte"] = idx_bytes(0x803, (n, 28, 28), images)
        raw[f"{part}-labels-idx1-ubyte"] = idx_bytes(0x801, (n,), labels)
    files = tuple(
        MnistFile(name, hashlib.md5(content).hexdigest(), len(content))
        for name, content in raw.items()
    )
    assert [f.name for f in files] == [f.name for f in mnist.MNIST_FILES]
    monkeypatch.setattr(mnist, "MNIST_FILES", files)
    monkeypatch.delenv("RC_SNN_DATA", raising=False)
    return raw


@pytest.fixture
def write() -> Write:
    """Write raw files into a folder, as they are or as .gz."""

    def write_files(folder: Path, raw: dict[str, bytes], *, packed: bool = True) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in raw.items():
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
            else:
                (folder / name).write_bytes(content)
        return folder

    return write_files
