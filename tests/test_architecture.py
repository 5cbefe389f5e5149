"""The house keeps its shape: imports point one way, versions agree."""

import re
from pathlib import Path

from importlinter.cli import lint_imports

import rc_snn

PROJECT = Path(__file__).resolve().parents[1]


def test_imports_point_one_way(monkeypatch):
    monkeypatch.chdir(PROJECT)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == 0


def test_citation_and_changelog_name_the_packages_version():
    citation = (PROJECT / "CITATION.cff").read_text()
    assert re.search(rf"^version: {re.escape(rc_snn.__version__)}$", citation, re.MULTILINE)
    assert f"## [{rc_snn.__version__}]" in (PROJECT / "CHANGELOG.md").read_text()
