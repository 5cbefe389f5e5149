"""Stopped, out of space, not allowed to write, or not listened to: one line, and how to go on."""

import errno
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import children
import pytest
import tiny

from benchmarks.run import Options
from rc_snn import commands, files
from rc_snn.commands import options

ROOT = Path(__file__).resolve().parents[2]


def lines(said: Path) -> list[str]:
    text = said.read_text()
    assert "Traceback" not in text, text
    return text.splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_training_in_one_line_and_the_same_command_goes_on(
    number, tmp_path, monkeypatch
):
    monkeypatch.setenv("FRESH", "wait")
    said = tmp_path / "said"
    child = children.start(tiny.command, tmp_path, "--train", said=said)
    children.wait_for(lambda: any(tmp_path.rglob("checkpoint.pt")))
    os.kill(child.pid, number)
    assert children.end(child) == 128 + number
    [line] = lines(said)
    assert line == f"stopped by {number.name}. The same command goes on from what is written."
    assert not list(tmp_path.rglob("*.partial*"))
    [run_dir] = (tmp_path / "runs" / "tiny").iterdir()
    kept, logged = tiny.epochs_of(run_dir)
    assert (kept, logged) == ([0], [0])
    monkeypatch.delenv("FRESH")
    assert children.run(tiny.command, tmp_path, "--train", said=said) == 0
    resumed, made = lines(said)
    assert resumed.startswith("resumed: epoch ")
    assert " -> " in made
    assert tiny.epochs_of(run_dir) == ([0, 1, 2], [0, 1, 2])


@pytest.mark.slow
def test_a_signal_ends_a_grid_on_ray_in_one_line(tmp_path):
    """Ray takes SIGTERM, and its workers die with the driver; the runs stay whole."""
    pytest.importorskip("ray")
    here = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {here!r}); import tiny; from pathlib import Path; "
    code += f"tiny.command(Path({str(tmp_path)!r}), '--train', '--ray')"
    paths = os.pathsep.join([here, str(ROOT)])
    env = os.environ | {"FRESH": "wait", "PYTHONPATH": paths, "RAY_worker_niceness": "0"}
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=env, stderr=subprocess.PIPE
    )
    children.wait_for(lambda: any(tmp_path.rglob("checkpoint.pt")))
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=120)
    assert err.decode() == "stopped by SIGTERM. The same command goes on from what is written.\n"
    assert child.returncode == 143
    [run_dir] = (tmp_path / "runs" / "tiny").iterdir()
    assert tiny.epochs_of(run_dir) == ([0], [0])
    with files.locked(run_dir, "an example", wait=True):
        assert tiny.names(tmp_path) == {"checkpoint.pt", "log.csv"}


@pytest.mark.parametrize("module", ["benchmarks.table1", "bridges"])
def test_a_signal_while_modules_are_imported_is_one_line(module):
    """Importing takes seconds, and torch most of them."""
    child = subprocess.Popen(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "libtorch" not in Path(f"/proc/{child.pid}/maps").read_text():
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)
    assert (child.returncode, out) == (130, "")
    assert err == "stopped by SIGINT. The same command goes on from what is written.\n"


def interrupted_twice(later: float) -> None:
    """Take long to put things away, while the signal comes again."""

    def main() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            time.sleep(later)
            os.kill(os.getpid(), signal.SIGTERM)

    commands.end(main)


@pytest.mark.parametrize(("later", "status"), [(0.0, 143), (1.2, -signal.SIGTERM)])
def test_a_signal_that_a_wrapper_sends_again_is_one_and_a_later_one_ends_at_once(
    later, status, tmp_path
):
    assert children.run(interrupted_twice, later, said=tmp_path / "said") == status


def on_a_full_disk(folder: Path) -> None:
    children.mount(folder, n_bytes=400_000)
    (folder / "filler").write_bytes(bytes(360_000))
    os.environ["EPOCHS"] = "3"
    try:
        tiny.command(folder, "--train")
    finally:
        assert tiny.names(folder) == {"filler"}, "nothing was begun"


def filled_meanwhile(folder: Path) -> None:
    """Fill the disk in the second epoch; then make room, and go on."""
    children.mount(folder, n_bytes=1_000_000)
    os.environ |= {"EPOCHS": "3", "FRESH": "fill"}
    with suppress(SystemExit):
        tiny.command(folder, "--train")
    [run_dir] = (folder / "runs" / "tiny").iterdir()
    assert tiny.epochs_of(run_dir)[0] == [0]
    assert not list(folder.rglob("*.partial*"))
    (folder / "runs" / "filler").unlink()
    del os.environ["FRESH"]
    tiny.command(folder, "--train")


def with_a_limit(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    tiny.command(folder, "--train")


def read_only(folder: Path) -> None:
    children.mount(folder, read_only=True)
    tiny.command(folder, "--train")


def status_or_skip(status: int) -> int:
    if status == children.NO_MOUNT:
        pytest.skip("this process may not mount anything")
    return status


def test_a_full_disk_is_noticed_before_anything_is_trained(tmp_path):
    said, disk = tmp_path / "said", tmp_path / "disk"
    disk.mkdir()
    assert status_or_skip(children.run(on_a_full_disk, disk, said=said)) == 2
    [line] = lines(said)
    assert line.startswith("error: [Errno 28] No space left on device: nothing can be written")


def test_a_disk_that_fills_meanwhile_costs_one_epoch(tmp_path):
    said, disk = tmp_path / "said", tmp_path / "disk"
    disk.mkdir()
    assert status_or_skip(children.run(filled_meanwhile, disk, said=said)) == 0
    full, resumed, made = lines(said)
    assert full.startswith("error: [Errno 28] No space left on device: make room, and run the same")
    assert str(disk / "runs") in full
    assert resumed.startswith("resumed: epoch 1 of 3")
    assert " -> " in made


def test_a_limit_on_files_is_noticed_before_anything_is_trained(tmp_path):
    said = tmp_path / "said"
    assert children.run(with_a_limit, tmp_path / "all", said=said) == 2
    [line] = lines(said)
    assert line.startswith(f"error: [Errno {errno.EFBIG}] File too large: nothing can be written")
    assert not tiny.names(tmp_path / "all")


def test_a_read_only_place_is_noticed_before_anything_is_trained(tmp_path):
    said, disk = tmp_path / "said", tmp_path / "disk"
    (disk / "runs").mkdir(parents=True)
    assert status_or_skip(children.run(read_only, disk, said=said)) == 2
    [line] = lines(said)
    assert line.startswith(f"error: [Errno {errno.EROFS}] Read-only file system: nothing can be")
    assert str(disk) in line


def test_what_stands_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "runs").write_text("a file")
    said = tmp_path / "said"
    assert children.run(tiny.command, tmp_path, "--train", said=said) == 2
    [line] = lines(said)
    assert line.startswith("error: [Errno 20] Not a directory: nothing can be written there")
    assert str(tmp_path / "runs") in line
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("code", files.atomic._FULL)
def test_whatever_says_that_a_disk_is_full_names_the_file(code, tmp_path):
    """HDF5 says it as a RuntimeError when it closes a file, and torch so when it opens one."""
    for error in (
        OSError(code, os.strerror(code)),
        RuntimeError(f"file write failed: errno = {code}, error message = '{os.strerror(code)}'"),
    ):
        with (
            pytest.raises(OSError, match="make room, and run the same again") as found,
            files.replacing(tmp_path / "a.h5"),
        ):
            raise error
        assert (found.value.errno, found.value.filename) == (code, str(tmp_path / "a.h5"))
    with pytest.raises(RuntimeError, match="another"), files.replacing(tmp_path / "a.h5"):
        raise RuntimeError("another")
    assert not list(tmp_path.iterdir())


def to_nobody(said: str) -> None:
    """Print more than a pipe holds, which nobody reads; or to a disk that is full; or nowhere."""
    if said == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
    elif said == "closed":
        os.close(1)
        sys.stdout = None
    else:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    if sys.stdout is not None:
        sys.stdout = open(1, "w", closefd=False)
    commands.end(lambda: print("spikes\n" * 100_000))


@pytest.mark.parametrize(
    ("said", "status", "line"),
    [
        ("pipe", 128 + signal.SIGPIPE, []),
        ("full", 2, ["error: [Errno 28] No space left on device"]),
        ("closed", 0, []),
    ],
)
def test_output_that_nobody_takes_is_no_traceback(said, status, line, tmp_path):
    assert children.run(to_nobody, said, said=tmp_path / "said") == status
    assert lines(tmp_path / "said") == line


def test_a_connection_that_breaks_is_an_error_though_it_is_called_a_broken_pipe(
    capsys,
):
    def fail() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(SystemExit) as stop:
        commands.end(fail)
    assert stop.value.code == commands.REFUSED
    assert capsys.readouterr().err == "error: [Errno 32] Broken pipe\n"


def test_more_threads_than_any_machine_has_are_refused():
    """OpenMP would end the process."""
    with pytest.raises(ValueError, match="--threads must be at most 1024, got 1000000000"):
        options.check_numbers(Options(threads=10**9))


@pytest.mark.parametrize(
    "asked",
    [
        ("benchmarks.table1", "--train", "--n-steps", "0"),
        ("benchmarks.speed", "--batch-size", "-1"),
        ("benchmarks.listen", "a.wav", "--seconds", "0"),
        ("bridges.convert", "rc-lstm-340-fast", "--to", "nir", "--steps", "0"),
    ],
)
def test_every_command_refuses_a_count_of_nothing(asked, tmp_path):
    assert children.run(by_name, *asked, said=tmp_path / "said") == 2
    [said] = lines(tmp_path / "said")
    name = asked[-2].lstrip("-")
    assert f"{name} must be at least 1, got " in said.replace("_", "-")


def by_name(module: str, *arguments: str) -> None:
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=False)
