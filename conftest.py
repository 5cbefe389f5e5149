"""How the tests run, those in documents and docstrings, too."""

import os
from collections import Counter

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; numba follows torch


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Test in as many processes as there are cores, 4 at most; named files in this one."""
    if any(".py" in str(argument) for argument in config.invocation_params.args):
        return 0
    return min(4, os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what takes minutes out of the coverage: to be counted would make it longer."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker("no_cover")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not tested and why, each reason once."""
    skipped = [report.longrepr[2] for report in terminalreporter.getreports("skipped")]
    for reason, n in Counter(skipped).most_common():
        terminalreporter.write_line(f"{n} skipped: {reason.removeprefix('Skipped: ')}")
    if terminalreporter.config.option.markexpr == "not slow":
        terminalreporter.write_line("left out: what takes minutes (python -m pytest -m slow)")
