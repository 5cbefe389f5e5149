"""The house keeps its shape: imports point one way, versions agree."""

import re
import subprocess
import sys
from pathlib import Path

from importlinter.cli import lint_imports

import rc_snn

PROJECT = Path(__file__).resolve().parents[1]


def test_the_contracts_of_imports_are_kept(monkeypatch):
    monkeypatch.chdir(PROJECT)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == 0


def test_deciding_and_accounting_load_no_compiler():
    """The contract above reads files; this runs them."""
    code = "import sys, rc_snn.regimes, rc_snn.runner, rc_snn.exits; print('numba' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_citation_and_changelog_name_the_packages_version():
    citation = (PROJECT / "CITATION.cff").read_text()
    assert re.search(rf"^version: {re.escape(rc_snn.__version__)}$", citation, re.MULTILINE)
    assert f"## [{rc_snn.__version__}]" in (PROJECT / "CHANGELOG.md").read_text()


def test_no_init_holds_an_example():
    """Brian2, once imported, ends pytest's collecting of the doctests in an `__init__.py`."""
    packages = ("rc_snn", "encoders", "baselines", "bridges", "benchmarks")
    inits = [path for package in packages for path in (PROJECT / package).rglob("__init__.py")]
    assert len(inits) > 10
    assert not [path for path in inits if ">>>" in path.read_text(encoding="utf-8")]


def test_importing_the_package_loads_nothing_of_its_commands():
    code = "import sys, rc_snn; print([m for m in sys.modules if m.startswith('rc_snn.commands.')])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['rc_snn.commands.lazy']\n"
