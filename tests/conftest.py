"""Shared fixtures and settings."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings
from numba.core import event

from rc_snn.fast import kernels

if not torch.cuda.is_available():
    # Before anything imports Triton: its interpreter runs its kernels on the CPU.
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Whether a kernel is in the cache must not decide what a test finds on stderr.
event.unregister("numba:compile", kernels.NOTICE)

# The same examples in every run, and no limit on their time: a busy machine is not a failure.
settings.register_profile("rc_snn", derandomize=True, deadline=None)
settings.load_profile("rc_snn")


@pytest.fixture
def as_user() -> Iterator[None]:
    """Call the package as a user does: without the shape checks that the test session adds.

    Tests of refused input need it, or the added checks would refuse first.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _folder() -> Path | None:
    named = os.environ.get("RC_SNN_DATA")
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
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


@pytest.fixture(params=[True, False, "triton"], ids=["kernels", "tensors", "triton"])
def fast(request) -> Iterator[Any]:
    """Return which path computes, on the CPU."""
    if request.param != "triton":
        yield request.param
        return
    pytest.importorskip("triton")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("Triton runs on the GPU here, see test_triton_kernels.py")
    with np.errstate(over="ignore"):  # infinite, and no warning, as everywhere else
        yield "triton"


@pytest.fixture(params=[True, False], ids=["kernels", "tensors"])
def quick(request) -> bool:
    """Return which path computes, but for Triton's: its interpreter is slow."""
    return bool(request.param)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
