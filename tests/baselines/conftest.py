"""Where the published α-PSP networks and the spike times of their authors' program lie."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


def _folder() -> Path | None:
    named = os.environ.get("RC_SNN_DATA")
    shared = Path(__file__).resolve().parents[3] / "shared" / "data"
    for base in [Path(named)] if named else [shared]:
        for place in (base / "alpha_psp", base.parent / "alpha_psp"):
            if place.is_dir():
                return place
    return None


@pytest.fixture(scope="session")
def published() -> Path:
    """Return the folder of the published networks."""
    folder = _folder()
    if folder is None:
        pytest.skip("the published α-PSP networks are not at hand")
    return folder


@pytest.fixture(scope="session")
def arrays(published) -> Any:
    """Return a reader of npz files in that folder."""
    return lambda name: np.load(published / f"{name}.npz")


@pytest.fixture(params=[True, False], ids=["kernels", "tensors"])
def fast(request) -> bool:
    """Return which path computes."""
    return bool(request.param)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
