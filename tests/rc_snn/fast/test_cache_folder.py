"""numba's cache where neither the code's folder nor home can be written."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rc_snn.fast import cache_folder
from rc_snn.fast.cache_folder import give_numba_a_folder, own_folder, writable

NOWHERE = Path("/dev/null/nowhere")
ROOT = Path(__file__).resolve().parents[3]
posix = pytest.mark.skipif(os.name == "nt", reason="numba's folder at home is another there")


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A process that can write to its temporary folder only; numba has not been imported yet."""
    monkeypatch.setattr(cache_folder, "HERE", NOWHERE)
    monkeypatch.setattr(cache_folder.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(NOWHERE))
    monkeypatch.setenv("HOME", str(NOWHERE))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    numba = sys.modules.pop("numba", None)
    yield tmp_path
    os.environ.pop("NUMBA_CACHE_DIR", None)
    if numba is not None:
        sys.modules["numba"] = numba


def chosen() -> str | None:
    give_numba_a_folder()
    return os.environ.get("NUMBA_CACHE_DIR")


@posix
def test_a_folder_of_the_users_own_is_taken_where_nothing_else_can_be_written(elsewhere):
    folder = elsewhere / f"rc_snn-numba-{os.getuid()}"
    assert chosen() == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0
    (folder / "kept").write_text("by another process")
    os.environ["NUMBA_CACHE_DIR"] = str(NOWHERE)
    assert chosen() == str(folder), "what is named, but cannot be written, is none"
    assert (folder / "kept").exists()


@posix
@pytest.mark.parametrize("where", ["code", "home", "named"])
def test_a_place_that_can_be_written_is_left_to_numba(elsewhere, where, monkeypatch):
    if where == "code":
        monkeypatch.setattr(cache_folder, "HERE", elsewhere / "__pycache__")
    elif where == "home":
        monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere / "cache"))
    else:
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(elsewhere / "mine"))
    assert chosen() == (str(elsewhere / "mine") if where == "named" else None)
    assert list(elsewhere.iterdir()) == []


@posix
def test_a_folder_that_others_can_write_to_or_have_made_is_not_used(tmp_path):
    folder = own_folder(tmp_path)
    assert folder is not None
    folder.chmod(0o777)
    assert own_folder(tmp_path) is None
    folder.rmdir()
    (tmp_path / "theirs").mkdir()
    folder.symlink_to(tmp_path / "theirs")
    assert own_folder(tmp_path) is None
    folder.unlink()
    folder.write_text("a file")
    assert own_folder(tmp_path) is None
    assert own_folder(NOWHERE) is None


@posix
def test_a_home_that_nobody_knows_is_no_place():
    assert not writable(Path("~/.cache/numba"))
    assert not writable(NOWHERE)


@pytest.mark.slow
def test_everything_imports_and_computes_where_code_and_home_are_read_only(tmp_path):
    """In a mount of its own, which needs root or user namespaces."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("there is no unshare here")
    alone = next(
        (
            command
            for command in ([unshare, "-m"], [unshare, "-rm"])
            if subprocess.run(
                [*command, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True
            ).returncode
            == 0
        ),
        None,
    )
    if alone is None:
        pytest.skip("mounting needs root or user namespaces")
    code, home, temporary = (tmp_path / name for name in ("code", "home", "tmp"))
    for folder in (code, home, temporary):
        folder.mkdir()
    script = f"""
        set -e
        mount --bind {ROOT} {code}
        mount -o remount,ro,bind {code}
        mount -t tmpfs -o ro tmpfs {home}
        cd {code}
        ! touch {code}/rc_snn/fast/__pycache__/written 2>/dev/null
        ! touch {home}/written 2>/dev/null
        export HOME={home} TMPDIR={temporary}
        exec env -u XDG_CACHE_HOME -u NUMBA_CACHE_DIR PYTHONPATH={code} OMP_NUM_THREADS=1 \\
            {sys.executable} -c '
import os, torch
import encoders, baselines, bridges, benchmarks.table1, librosa.feature
from baselines import kernels
from rc_snn.sequences import Events
from rc_snn.fast.event_products import event_linear
x = Events.encode(torch.tensor([[1, 0, 2]]), n_steps=2).at(1)
print(event_linear(x, torch.tensor([[3.0, 5.0, 7.0]])).item())
print(os.environ["NUMBA_CACHE_DIR"])
'"""
    done = subprocess.run([*alone, "bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    value, folder = done.stdout.split()
    assert value == "3.0"
    assert folder.startswith(str(temporary))
    assert list(Path(folder).rglob("*.nbi")), "what was compiled is kept for the next process"
