"""The table of targets says what is: of the bridges, of the extras, of README."""

import dataclasses
import inspect
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from bridges import support, target
from bridges.stream.stream import SpikeStream

PROJECT = Path(__file__).resolve().parents[2]


def _printed(code: str) -> str:
    """Return what a fresh Python prints."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_file_of_the_folder_is_a_target_and_has_its_row():
    files = {path.stem for path in (PROJECT / "bridges" / "targets").glob("*.py")} - {"__init__"}
    assert files == set(support.NAMES)
    assert [line[0] for line in support.lines()] == [t.title for t in support.targets()]
    rows = [t.row for t in support.targets()]
    assert len(set(rows)) == len(rows) == len(files)
    assert rows == sorted(rows)


def test_the_names_of_targets_are_known_without_importing_one():
    code = (
        "import sys\nfrom bridges import support\nsupport.NAMES\n"
        "print([name for name in sys.modules if name.startswith('bridges.targets.')])"
    )
    assert _printed(code) == "[]"


def test_the_list_of_commands_names_commands_and_targets():
    """Read from the files: nothing is imported to say what it is."""
    said = _printed("import runpy; runpy.run_module('bridges', run_name='__main__')")
    for command in ("bridges.convert", "bridges.support"):
        assert f"python -m {command} " in said
    assert all(name in said for name in support.NAMES)


@pytest.mark.parametrize("name", support.NAMES)
def test_a_bridge_keeps_the_contract(name):
    bridge = support.bridge(name)
    assert bridge.TARGET.name == name
    assert bridge.TARGET.needs
    for function, takes in ((bridge.round_trip, ["stream"]), (bridge.export, ["stream", "path"])):
        assert list(inspect.signature(function).parameters)[: len(takes)] == takes
        assert function.__doc__
    assert (PROJECT / "examples" / f"{name}_spikes.py").exists()
    assert (bridge.TARGET.suffix == ".py") == (
        (PROJECT / "bridges" / "targets" / "scripts" / f"run_{name}.py").exists()
    )


def test_the_way_to_install_that_an_error_names_exists():
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    named = {t.name for t in support.targets() if not t.own_environment}
    assert named <= set(extras["optional-dependencies"])


def test_bridges_import_their_packages_only_on_use():
    """tonic, snnTorch, norse and h5py are dependencies that other parts import anyway."""
    code = (
        "import sys\nfrom bridges import support\n"
        "needs = {need for t in support.targets() for need in t.needs}\n"
        "print(sorted((needs - {'tonic', 'snntorch', 'norse', 'h5py'}) & set(sys.modules)))"
    )
    assert _printed(code) == "[]"


def test_an_absent_package_is_named_with_the_remedy():
    absent = dataclasses.replace(support.bridge("brian2").TARGET, needs=("no_such_package",))
    assert "not installed (no_such_package)" in absent.missing()
    with pytest.raises(ImportError, match=r"pip install 'rc_snn\[brian2\]'"):
        target.load(absent)


def test_an_environment_of_its_own_is_named_or_asked_for(monkeypatch):
    own = dataclasses.replace(support.bridge("lava").TARGET, needs=("no_such.package",))
    monkeypatch.setenv("RC_SNN_LAVA_PYTHON", "/somewhere/python")
    assert own.missing() is None
    assert target.interpreter(own) == "/somewhere/python"
    monkeypatch.delenv("RC_SNN_LAVA_PYTHON")
    assert "names no Python interpreter" in own.missing()
    with pytest.raises(ImportError, match=r"python3\.10 -m venv.*RC_SNN_LAVA_PYTHON"):
        target.interpreter(own)


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match="no bridge 'loihi'"):
        support.bridge("loihi")


def test_the_check_says_what_came_back(capsys):
    assert support.main(support.Support(check=True, only=("nir",))) == 0
    assert "1003 spikes came back on their tick" in capsys.readouterr().out


def test_the_check_sees_a_lost_spike(monkeypatch, capsys):
    def lossy(stream: SpikeStream) -> SpikeStream:
        keep = slice(1, None)
        return stream.with_spikes(stream.sample_ids[keep], stream.ticks[keep], stream.units[keep])

    monkeypatch.setattr(support.bridge("nir"), "round_trip", lossy)
    assert support.main(support.Support(check=True, only=("nir",))) == 1
    assert "LOST" in capsys.readouterr().out


def test_the_sample_stream_has_what_gets_lost():
    stream = support.sample_stream()
    assert {0, stream.n_steps - 1} <= set(stream.ticks.tolist())
    assert stream.of_sample(1)[0].size == 0
    ticks = np.arange(stream.n_steps)
    assert int((np.floor(ticks * stream.dt_s / stream.dt_s) != ticks).sum()) == 68
    assert (stream.repeated(), stream.twice_per_tick()) == (0, 0)


@pytest.mark.skipif("RC_SNN_EVERY_BRIDGE" not in os.environ, reason="not all may be installed")
def test_no_round_trip_is_skipped_where_everything_should_be_installed():
    """Where a package is absent its tests are skipped; in CI none may be."""
    assert [reason for t in support.targets() if (reason := t.missing())] == []
