"""`python -m rc_snn` gets our packages, whatever else bears their names, or says what hinders."""

import base64
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rc_snn import commands
from rc_snn.commands.packages import PACKAGES

ROOT = Path(__file__).resolve().parents[3]


def rc_snn(*words: str, folder: Path, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run it in a folder, as the copy of the package in `path`."""
    code = f"import sys; sys.path.insert(1, {str(path)!r}); import runpy; sys.argv[1:] = {words!r}"
    run = "runpy.run_module('rc_snn', run_name='__main__', alter_sys=True)"
    command = [sys.executable, "-c", f"{code}; {run}"]  # the folder itself stands before the path
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """Return a folder whose own packages bear the names of ours, and cannot be imported."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('theirs')\n")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["table1", *(pytest.param(x, marks=pytest.mark.slow) for x in ("convert", "speed.exchange"))],
)
def test_a_command_runs_where_others_packages_bear_the_names_of_ours(name, crowded):
    done = rc_snn(name, "--help", folder=crowded)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m rc_snn {name} ")


def test_a_command_imports_what_lies_in_the_users_folder(tmp_path):
    (tmp_path / "mine.py").write_text("def rows():\n    raise ValueError('mine was called')\n")
    done = rc_snn("table1", "--model", "mine:rows", folder=tmp_path)
    assert "mine was called" in done.stderr


def test_each_command_has_one_short_name(crowded):
    long = [name for package in ("benchmarks", "bridges") for name in commands.found(package)]
    done = rc_snn(folder=crowded)
    listed = [line.split()[3] for line in done.stdout.splitlines()]
    assert sorted(listed) == sorted(name.partition(".")[2] for name in long)
    assert len(set(listed)) == len(listed) > 20


def test_a_command_that_does_not_exist_is_named_with_the_one_that_is_like_it(tmp_path):
    done = rc_snn("tabel1", folder=tmp_path)
    said = (
        "error: There is no command 'tabel1'. Did you mean table1? python -m rc_snn lists them.\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def record_line(path: Path, site: Path) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
    return f"{path.relative_to(site)},sha256={digest.rstrip('=')},{path.stat().st_size}\n"


def installed(site: Path, name: str, version: str, *packages: str) -> None:
    """Write what pip writes of a distribution that lies in a folder."""
    about = site / f"{name}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    files = [path for package in packages for path in sorted((site / package).rglob("*.py"))]
    (about / "RECORD").write_text("".join(record_line(path, site) for path in files))


@pytest.mark.slow
def test_a_distribution_that_has_written_over_ours_is_named_with_what_to_do(tmp_path):
    site, folder = tmp_path / "site", tmp_path / "empty"
    folder.mkdir()
    for package in ("rc_snn", *PACKAGES):
        left_out = shutil.ignore_patterns("*.safetensors", "__pycache__", "*.npz")
        shutil.copytree(ROOT / package, site / package, ignore=left_out)
    installed(site, "rc_snn", "9.9", "rc_snn", *PACKAGES)
    assert rc_snn("table1", "--help", folder=folder, path=site).returncode == 0
    (site / "encoders" / "__init__.py").write_text("'''Label encoders.'''\n")
    installed(site, "encoders", "0.1", "encoders")
    done = rc_snn("table1", "--help", folder=folder, path=site)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: The distribution encoders 0.1 has put its own files in the place of rc_snn's "
        f"package encoders, in {site / 'encoders'}. Install the two in environments of their own; "
        "or uninstall the other, then: pip install --force-reinstall --no-deps rc_snn.\n"
    )
