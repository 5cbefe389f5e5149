"""Shared fixtures."""

from collections.abc import Iterator

import jaxtyping
import pytest


@pytest.fixture
def as_user() -> Iterator[None]:
    """Call the package as a user does: without the shape checks that the test session adds.

    Tests of refused input need it, or the added checks would refuse first.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
