"""Wheel and sdist hold what they should, and run where there is nothing of ours but them."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from encoders.mnist import MNIST_TITLE, load_mnist

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def tracked(*patterns: str) -> list[str]:
    """Return the names of the files of this checkout that git knows."""
    names = run("git", "ls-files", *patterns, cwd=ROOT).splitlines()
    return [name for name in names if (ROOT / name).is_file()]


def run(*command: str, cwd: Path) -> str:
    """Return what a command prints, if it ends well."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the sdist of this checkout, and the wheel that is built of it, not of the checkout."""
    folder = tmp_path_factory.mktemp("built")
    for name in tracked():
        to = folder / "source" / name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, to)
    build = "import sys, setuptools.build_meta as b; b.build_{}(sys.argv[1])"
    run(sys.executable, "-c", build.format("sdist"), str(folder), cwd=folder / "source")
    [sdist] = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    [source] = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", build.format("wheel"), str(folder), cwd=source)
    [wheel] = folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def site(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds what the wheel installs, and nothing else."""
    to = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target")
    run(*pip, str(to), str(built[1]), cwd=to)
    return to


def test_the_sdist_holds_what_whoever_packages_or_tests_it_needs(built):
    with tarfile.open(built[0]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "setup.py")
    assert held >= {*wanted, "docs/ARCHITECTURE.md", "tests/conftest.py", "tests/golden/names.json"}
    assert held >= set(tracked("tests/*.py", "examples/*.py", "results/*.json", "docs/*"))
    assert not [name for name in held if "__pycache__" in name]


def test_the_wheel_holds_our_packages_and_every_record_of_a_table_or_figure(built):
    with zipfile.ZipFile(built[1]) as archive:
        held = set(archive.namelist())
    tops = {name.partition("/")[0] for name in held if ".dist-info/" not in name}
    assert tops == {"rc_snn", "encoders", "baselines", "bridges", "benchmarks"}
    records = {
        f"benchmarks/records/{path.parent.name}/{path.name}"
        for path in (ROOT / "results").glob("*/*.json")
        if path.parent.name != "fuzz" and not path.name.startswith(("quick_", "yours_"))
    }
    assert len(records) > 100
    assert {name for name in held if name.startswith("benchmarks/records/")} == records
    assert {f"{top}/py.typed" for top in tops} <= held
    assert "encoders/digits/mnist_5k.npz" in held


def of_wheel(site: Path, *words: str, cwd: Path) -> str:
    """Return what `python -m rc_snn` of the wheel prints; this checkout is out of its reach."""
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(site)!r}); sys.argv[1:] = {words!r}; "
        "runpy.run_module('rc_snn', run_name='__main__', alter_sys=True)"
    )
    return run(sys.executable, "-I", "-c", code, cwd=cwd)


@pytest.mark.parametrize(
    ("command", "text"), [("tables", "table1.md"), ("figure2", "figure2/figure2.txt")]
)
def test_tables_and_figures_are_whole_in_an_empty_folder(command, text, site, tmp_path):
    before = {path for path in site.rglob("*") if path.suffix == ".json"}
    of_wheel(site, command, cwd=tmp_path)
    written = (tmp_path / "results" / text).read_text()
    assert written == (ROOT / "results" / text).read_text()
    assert {path for path in site.rglob("*") if path.suffix == ".json"} == before
    assert not list(tmp_path.rglob("*.json")), "records are read where they are"


def test_table_1_measures_what_ships_in_an_empty_folder(site, tmp_path):
    digits = load_mnist(download=False)
    if digits.title != MNIST_TITLE:
        pytest.skip("MNIST is not at hand")
    words = ("table1", "--rows", "rc-lstm-fast", "--data", digits.origin)
    measured, table = of_wheel(site, *words, cwd=tmp_path).split("Table 1 on MNIST")
    assert re.search(r"rc-lstm-340-fast +98\.17 +98\.17", measured)
    ours = re.findall(r"^fast +RC-LSTM +784-340-10 +98\.14 +9\d\.\d\d", table, re.MULTILINE)
    assert len(ours) >= 5


def test_an_editable_install_is_a_line_in_a_file_that_mypy_reads(built):
    """The hook that setuptools writes otherwise shows a type checker nothing."""
    folder = built[0].parent
    [source] = (folder / "unpacked").iterdir()
    build = "import sys, setuptools.build_meta as b; b.build_editable(sys.argv[1])"
    (folder / "editable").mkdir()
    run(sys.executable, "-c", build, str(folder / "editable"), cwd=source)
    [wheel] = (folder / "editable").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
        [pth] = files
        assert Path(archive.read(pth).decode().strip()).samefile(source)
