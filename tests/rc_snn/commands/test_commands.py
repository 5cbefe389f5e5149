"""Commands are listed, say what is wrong in a line, and files that are none say so."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rc_snn import commands

ROOT = Path(__file__).resolve().parents[3]
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
    said = f"error: {asked} is no command. python -m {package} lists the commands.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_what_does_not_exist_is_left_to_python():
    done = python("-m", "benchmarks.nothing")
    assert done.returncode == 1
    assert "No module named benchmarks.nothing" in done.stderr


@pytest.mark.slow
def test_an_import_by_another_program_is_not_refused():
    for argv in (["x.py", "-m", "benchmarks.record"], ["-c"], []):
        run = f"import sys; sys.argv = {argv}; import benchmarks.record, bridges.errors; print(1)"
        assert python("-c", run, "-m", "benchmarks.record").stdout == "1\n"


@pytest.mark.parametrize(
    "name",
    [
        "benchmarks.table1",
        *(
            pytest.param(x, marks=pytest.mark.slow)
            for x in ("bridges.convert", "benchmarks.listen")
        ),
    ],
)
def test_a_command_explains_its_options(name):
    done = python("-m", name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m {name} ")


@dataclass(frozen=True)
class Options:
    """Answer."""

    status: int = 0
    """What comes back."""

    def __post_init__(self):
        if self.status == 7:
            raise ValueError("status must not be 7, got 7. Take 8.")


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
def test_an_error_that_says_what_to_do_is_one_line(error, monkeypatch, capsys):
    def main(_):
        raise error("Take another.")

    monkeypatch.setattr(sys, "argv", ["answer"])
    assert refused(main, capsys) == "error: Take another.\n"
    monkeypatch.setattr(sys, "argv", ["answer", "--traceback"])
    first, *_, raised, last = refused(main, capsys).splitlines()
    assert (first, last) == ("Traceback (most recent call last):", "error: Take another.")
    assert raised == f"{error.__name__}: Take another."
    with pytest.raises(error):
        commands.run(main, Options, errors=(KeyError,))


def refused(main, capsys) -> str:
    with pytest.raises(SystemExit) as exit_:
        commands.run(main, Options)
    assert exit_.value.code == commands.REFUSED == 2
    out, err = capsys.readouterr()
    assert not out
    return err


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (("--statsu", "3"), "--statsu"),
        (("--status", "many"), "many"),
        (("--status", "7"), "status must not be 7, got 7. Take 8."),
        (("--status",), "--status"),
        (("more",), "more"),
    ],
)
@pytest.mark.parametrize("columns", ["40", "200"])
def test_a_wrong_command_line_is_one_line_that_names_it(asked, named, columns, monkeypatch, capsys):
    """Whatever the width of the terminal, which stays what it was."""
    monkeypatch.setattr(sys, "argv", ["answer", *asked])
    monkeypatch.setenv("COLUMNS", columns)
    [line] = refused(lambda options: options.status, capsys).splitlines()
    assert line.startswith("error: ")
    assert named in line
    assert line.endswith(" --help.")
    assert os.environ["COLUMNS"] == columns


def test_errors_of_python_itself_say_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["answer"])
    missing = tmp_path / "missing"
    said = refused(lambda _: missing.read_bytes(), capsys)
    assert said == f"error: [Errno 2] No such file or directory: '{missing}'. Check the path.\n"
    for name, package in (("pynwb", "'rc_snn[nwb]'"), ("numba", "numba")):

        def main(_, name=name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        want = f"error: No module named {name!r}. Install it: pip install {package}\n"
        assert refused(main, capsys) == want


def test_a_fault_of_ours_is_a_traceback_at_once(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["answer"])
    with pytest.raises(KeyError):
        commands.run(lambda _: {}["lost"], Options)


def test_commands_refuse_in_one_line_and_show_more_on_request():
    done = python("-m", "benchmarks.tables", "--results", "/nowhere")
    said = "error: There is no record in /nowhere/table1 to make a table of.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    done = python("-m", "benchmarks.tables", "--results", "/nowhere", "--traceback")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Traceback (most")
    assert done.stderr.endswith(said)


def test_only_the_one_place_reads_a_command_line():
    rooms = [path for room in PACKAGES for path in (ROOT / room).rglob("*.py")]
    assert len(rooms) > 80
    for path in rooms:
        assert "tyro.cli(" not in path.read_text(), path
        assert 'exit(f"error: {' not in path.read_text(), path
