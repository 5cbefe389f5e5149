"""Long stages are spoken of: a bar in a terminal, two lines elsewhere; kernels before they come."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from tqdm import tqdm

from rc_snn import commands, progress
from rc_snn.progress import Bar

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved."""
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def test_a_short_stage_says_nothing_where_there_is_no_terminal(clock, capsys):
    for _ in progress.progress(range(3), "count"):
        clock[0] += 0.6
    assert capsys.readouterr() == ("", "")


def test_a_long_stage_says_when_it_will_end_and_that_it_has(clock, capsys):
    """5 of 20 in 10 s: the other 15 take 30 s."""
    for _ in progress.progress(range(5, 25), "count", unit="numbers"):
        clock[0] += 10.0 if _ == 9 else 0.0
    begun, ended = capsys.readouterr().err.splitlines()
    assert begun == "count: 5 of 20 numbers after 10 s, about 30 s to go"
    assert ended == "count: 20 of 20 numbers in 10 s"


def test_what_an_earlier_process_did_is_no_measure_of_speed(clock, capsys):
    with Bar("train", 100, unit="samples", done=80) as bar:
        clock[0] += 3.0
        bar.update(10)
        assert capsys.readouterr().err == "train: 90 of 100 samples after 3 s, about 3 s to go\n"
        bar.update(10)
    assert capsys.readouterr().err == "train: 100 of 100 samples in 3 s\n"


def test_a_stage_that_is_cut_short_does_not_say_that_it_has_ended(clock, capsys):
    with suppress(KeyboardInterrupt), Bar("train", 2):
        clock[0] += 60.0
        raise KeyboardInterrupt
    going = progress.progress([1, 2, 3], "count")
    next(going)
    clock[0] += 60.0
    going.close()
    assert capsys.readouterr().err == ""


def test_silent_is_silent(clock, capsys):
    with Bar("train", 3, silent=True) as bar:
        clock[0] += 60.0
        bar.update()
    assert capsys.readouterr().err == ""


STOPPED = "stopped by SIGINT. The same command goes on from what is written."
COMMAND = """
import time
from dataclasses import dataclass
from rc_snn import commands
from rc_snn.progress import progress

@dataclass(frozen=True)
class Options:
    '''Wait.'''

def main(options):
    for _ in progress(range(1000), "wait", unit="turns"):
        time.sleep(0.02)

commands.run(main, Options)
"""


def test_a_bar_that_is_interrupted_is_cleared_before_the_one_line(tmp_path):
    """In a terminal: what stands in its last line is ours alone."""
    (tmp_path / "wait.py").write_text(COMMAND)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, tmp_path / "wait.py"], stderr=theirs, env=env)
    os.close(theirs)
    shown = b""
    while b"wait" not in shown:
        more = read(ours)
        assert more, "the command has ended"
        shown += more
    child.send_signal(signal.SIGINT)
    while more := read(ours):
        shown += more
    assert child.wait(60) == 130
    assert b"Traceback" not in shown
    assert re.search(rb"wait: +\d+%.*/1000", shown)
    last = shown.decode().replace("\r\n", "\n").splitlines()[-1].split("\r")[-1]
    assert last.removeprefix("\x1b[K") == STOPPED


@pytest.mark.parametrize("interrupted", ["status_printer", "refresh"])
def test_a_bar_that_is_interrupted_while_it_is_first_drawn_is_cleared_too(interrupted, monkeypatch):
    """tqdm closes such a bar without a word: its constructor has not come to its end."""
    whole = getattr(tqdm, interrupted)

    def cut_short(*args, **kwargs):
        whole(*args, **kwargs)
        raise KeyboardInterrupt

    static = interrupted == "status_printer"
    monkeypatch.setattr(tqdm, interrupted, staticmethod(cut_short) if static else cut_short)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(SystemExit) as ended:
        commands.end(lambda: Bar("wait", 1000, unit="turns").done)
    assert ended.value.code == 130
    shown = terminal.getvalue()
    assert ("0/1000" in shown) == (interrupted == "refresh")
    assert shown.rstrip("\n").split("\r")[-1].removeprefix("\x1b[K") == STOPPED
    assert ("\x1b[K" in shown) == (interrupted == "refresh")


def read(terminal: int) -> bytes:
    """Return what a terminal shows next; nothing once nobody writes to it any more."""
    assert select.select([terminal], [], [], 120)[0], "it hangs"
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


KERNEL = """
import torch
from rc_snn.fast import kernels
import numpy as np

@kernels.compiled
def twice(x):
    for i in range(len(x)):
        x[i] *= 2

twice(np.ones(2))
twice(np.ones(2, dtype=np.float32))
"""


@pytest.mark.slow
def test_compiling_is_said_before_it_happens_and_only_then(tmp_path):
    folder = tmp_path / "code"
    (folder / "baselines").mkdir(parents=True)
    (folder / "baselines" / "__init__.py").write_text(KERNEL)
    env = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
    }
    run = [sys.executable, "-c", "import baselines"]
    first, second = (
        subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    [line] = first.stderr.splitlines()
    assert line.startswith("compiling kernels, a few seconds each and about 20 s in all, once; ")
    kept = Path(line.split("cached in ")[1])
    assert kept.is_relative_to(tmp_path / "cache")
    assert list(kept.glob("*.nbi"))
    assert (second.stdout, second.stderr) == ("", "")
