"""Shared fixtures and settings."""

from collections.abc import Iterator

import jaxtyping
import pytest
from hypothesis import settings

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
