"""Every example runs, ends well, and says something."""

import runpy
from pathlib import Path

import matplotlib
import pytest

from bridges import support

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.py"))


def _why_not(path: Path) -> str | None:
    name = path.stem.removesuffix("_spikes")
    if name in support.NAMES:
        return support.bridge(name).TARGET.missing()
    return None


def _run(path: Path) -> object:
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        return end.code or 0
    return 0


SLOW = ("networks_in_simulators", "rank_coding_of_any_model", "pynn_spikes")


@pytest.mark.filterwarnings("default")  # as for a user, who sees what packages say of each other
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] * (path.stem in SLOW), id=path.stem)
        for path in EXAMPLES
    ],
)
def test_an_example_runs(path, capsys, tmp_path, monkeypatch):
    if reason := _why_not(path):
        pytest.skip(reason)
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    assert _run(path) == 0
    assert capsys.readouterr().out.strip()
