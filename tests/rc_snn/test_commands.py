"""Commands are listed, say what is wrong in a line, and files that are none say so."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rc_snn import commands

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("benchmarks", "bridges")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def slowly_found(package: str) -> set[str]:
    """Every file that git would run: a block at its end, or the name that `python -m` looks for."""
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.name == "__main__.py" and path.parent != ROOT / package:
            found.add(name.removesuffix(".__main__"))
        elif path.name != "__main__.py" and "\nif __name__ ==" in path.read_text():
            found.add(name)
    return {name for name in found if ".scripts." not in name}  # they run without the package


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_lists_each_of_its_commands_with_what_it_does(package):
    done = python("-m", package)
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(re.findall(r"^python -m (\S+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert set(lines) == slowly_found(package)
    assert all(len(line) > 20 for line in lines.values())


def test_listing_imports_nothing():
    code = (
        "import sys, rc_snn.commands as c; c.listing('benchmarks'); print('torch' in sys.modules)"
    )
    assert python("-c", code).stdout == "False\n"


HEAVY = ("norse", "snntorch", "matplotlib", "ray", "librosa", "brian2", "nir", "scipy.stats")


def test_help_of_no_command_imports_what_only_its_work_needs():
    """They took half of the four seconds that `--help` took."""
    code = f"""
import contextlib, io, runpy, sys
from rc_snn.commands import listing
asked = [x.split()[2] for p in {PACKAGES} for x in listing(p).splitlines() if x[:6] == "python"]
for name in asked:
    sys.argv = [name, "--help"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        runpy.run_module(name, run_name="__main__")
    assert "usage" in said.getvalue(), name
    heavy = [m for m in {HEAVY} if m in sys.modules]
    assert not heavy, f"{{name}} --help imports {{heavy}}"
print(len(asked))
"""
    done = python("-W", "ignore", "-c", code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == sum(len(slowly_found(package)) for package in PACKAGES)


@pytest.mark.parametrize(
    ("asked", "how"),
    [
        ("benchmarks.record", ("-m",)),
        ("benchmarks.table1.rows", ("-u", "-m")),
        ("benchmarks.report", ("-m",)),
        ("bridges.targets.nir", ("-um",)),
    ],
)
def test_a_file_that_is_no_command_says_so(asked, how):
    done = python(*how, asked, "-m", "benchmarks.tables")
    package = asked.split(".")[0]
    said = f"{asked} is no command. python -m {package} lists the commands.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_what_does_not_exist_is_left_to_python():
    done = python("-m", "benchmarks.nothing")
    assert done.returncode == 1
    assert "No module named benchmarks.nothing" in done.stderr


def test_an_import_by_another_program_is_not_refused():
    for argv in (["x.py", "-m", "benchmarks.record"], ["-c"], []):
        run = f"import sys; sys.argv = {argv}; import benchmarks.record, bridges.errors; print(1)"
        assert python("-c", run, "-m", "benchmarks.record").stdout == "1\n"


@pytest.mark.parametrize("name", ["benchmarks.table1", "bridges.convert", "benchmarks.listen"])
def test_a_command_explains_its_options(name):
    done = python("-m", name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m {name} ")


@dataclass(frozen=True)
class Options:
    """Answer."""

    status: int = 0
    """What comes back."""


@pytest.mark.parametrize(
    ("main", "status"),
    [(lambda options: options.status, 3), (lambda _: None, None)],
)
def test_the_status_of_a_command_is_that_of_its_process(main, status, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["answer", "--status", "3"])
    with pytest.raises(SystemExit) as exit_:
        commands.run(main, Options)
    assert exit_.value.code == status


@pytest.mark.parametrize("error", [ValueError, ImportError, ConnectionError])
def test_an_error_that_says_what_to_do_is_one_line(error, monkeypatch):
    def main(_):
        raise error("Take another.")

    monkeypatch.setattr(sys, "argv", ["answer"])
    with pytest.raises(SystemExit) as exit_:
        commands.run(main, Options)
    assert exit_.value.code == "error: Take another."
    with pytest.raises(error):
        commands.run(main, Options, errors=(KeyError,))


def test_only_the_one_place_reads_a_command_line():
    rooms = [path for room in PACKAGES for path in (ROOT / room).rglob("*.py")]
    assert len(rooms) > 80
    for path in rooms:
        assert "tyro.cli(" not in path.read_text(), path
        assert 'exit(f"error: {' not in path.read_text(), path
