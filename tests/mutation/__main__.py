"""Small faults written into the core, each of which a test must notice: `python -m tests.mutation`.

A sample of all mutants of `TARGETS`, drawn with `--seed`; for each one the file is written with its
fault into a copy of the project, and the tests named there run until one fails. `--write` keeps
what was found in docs/MUTATION.md. Not mutmut 3: it leaves out every function with a decorator, and
`@typed` stands over what matters most (`rc_loss`, `first_spike`, `decide`, `choose`), as well as
constants of a module. Not mutmut 2 or Cosmic Ray: both start Python anew for each mutant, which
here costs more than the tests do. This forks after torch and pytest are loaded.
"""

import argparse
import collections
import importlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: its threads do not fork

from tests.mutation import report
from tests.mutation.faults import Mutant, mutants

HOME = Path(__file__).resolve().parents[2]
CORE, THETAS = "tests/rc_snn/test_", "tests/rc_snn/test_random_thresholds.py::test_"
EXITS = ["rc_snn/exits", *(f"{CORE}{x}.py" for x in ("exits", "thresholds", "step_thresholds"))]
TARGETS = {
    "rc_snn/spikes.py": [f"{CORE}spikes.py", "rc_snn/spikes.py"],
    "rc_snn/objective.py": [
        "rc_snn/objective.py",
        f"{CORE}objective.py",
        f"{THETAS}the_loss_of_all_steps_is_that_of_every_step",
        f"{THETAS}a_loss_of_samples_without_steps_is_refused",
        f"{THETAS}thresholds_are_uniform_in_log_odds_between_their_bounds",
    ],
    "rc_snn/regimes.py": [f"{CORE}regimes.py", "rc_snn/regimes.py"],
    "rc_snn/runner.py": [
        "rc_snn/runner.py",
        f"{CORE}runner.py",
        f"{THETAS}each_sample_decides_as_it_does_alone_at_its_own_threshold",
        f"{THETAS}the_prefix_is_the_trace_up_to_each_decision_with_its_gradients",
        "tests/rc_snn/runs/test_chunks.py",
    ],
    "rc_snn/exits/choice.py": EXITS,
    "rc_snn/exits/conformal.py": EXITS,
    "rc_snn/exits/curves.py": EXITS,
    "rc_snn/exits/step_thresholds.py": EXITS,
    "baselines/first_spike.py": [
        "baselines/first_spike.py",
        "tests/baselines/test_first_spikes.py",
        "tests/baselines/test_timing.py",
        "tests/baselines/test_alpha_psp.py",
    ],
}
"""The files, and the tests of each: those that must notice, soonest first."""
LOADED = ("torch", "numba", "scipy.stats", "matplotlib", "pytest", "hypothesis", "beartype")
"""Loaded once, before anything of this project."""


def main() -> int:
    """Return 0 if at least 9 of 10 mutants were noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--n", type=int, default=300, help="mutants in the sample; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of a core, each")
    parser.add_argument("--only", help="files whose name holds this")
    parser.add_argument("--write", action="store_true", help="write docs/MUTATION.md")
    options = parser.parse_args()
    sources = {path: (HOME / path).read_text() for path in TARGETS}
    chosen = [path for path in TARGETS if not options.only or options.only in path]
    every = [x for path in chosen for x in mutants(path, sources[path])]
    sample = random.Random(options.seed).sample(every, options.n or len(every))
    ends: dict[Mutant, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        shares = {Path(scratch) / str(i): sample[i :: options.jobs] for i in range(options.jobs)}
        pids = [_forked(_work, home, x, sources, options.limit) for home, x in shares.items()]
        if sum(os.waitpid(pid, 0)[1] for pid in pids):
            return 2
        for home, share in shares.items():
            ends |= zip(share, Path(f"{home}.ends").read_text().split(), strict=True)
    survivors = [x for x in sample if ends[x] == "survived"]
    text = report.text(options.seed, every, sample, survivors, sources)
    print(text, collections.Counter(ends.values()), sep="\n")
    if options.write:
        (HOME / "docs" / "MUTATION.md").write_text(text)
    return int(len(survivors) > len(sample) / 10)


def _forked(work: Callable[..., None], *arguments: object) -> int:
    """Do it in a process of its own, and return its number."""
    if pid := os.fork():
        return pid
    try:
        work(*arguments)
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _work(home: Path, sample: list[Mutant], sources: dict[str, str], limit: float) -> None:
    """Try mutants in a copy of the project, and note how each ended."""
    away = shutil.ignore_patterns(".git", "runs", "shared", "*.egg-info")
    shutil.copytree(HOME, home, ignore=away)
    os.chdir(home)
    sys.path[:] = [str(home), *(p for p in sys.path if Path(p or ".").resolve() != HOME)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    sys.dont_write_bytecode = True
    for name in LOADED:
        importlib.import_module(name)
    for tests in {tuple(TARGETS[mutant.path]) for mutant in sample}:
        if (end := _tried(tests, home, 10 * limit)) != "survived":
            said = Path(f"{home}.log").read_text()[-2000:]
            raise RuntimeError(f"{tests} do not pass without a mutant: {end}\n{said}")
    with open(f"{home}.ends", "w") as ends:
        for mutant in sample:
            source, start = sources[mutant.path], time.time()
            (home / mutant.path).write_text(mutant.written(source))
            end = _tried(TARGETS[mutant.path], home, limit)
            (home / mutant.path).write_text(source)
            print(end, file=ends, flush=True)
            old, new = mutant.shown(source)
            said = f"{end} ({time.time() - start:.0f} s) {mutant.path}:{mutant.line}"
            print(said, *([f"\n  - {old}\n  + {new}"] if end == "survived" else []), flush=True)


def _tried(tests: Sequence[str], home: Path, limit: float) -> str:
    """Return how these tests end: "survived" if all pass."""
    status = os.waitpid(_forked(_test, tests, home, limit), 0)[1]
    if os.WIFSIGNALED(status):
        return "time" if os.WTERMSIG(status) == signal.SIGXCPU else "crash"
    code = os.WEXITSTATUS(status)
    if code not in (0, 10, 20):  # pass, fail, cannot be imported
        raise RuntimeError(f"pytest ended with {code}:\n{Path(f'{home}.log').read_text()[-2000:]}")
    return "noticed" if code else "survived"


def _test(tests: Sequence[str], home: Path, limit: float) -> None:
    import pytest

    output = os.open(f"{home}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 10))
    quiet = ["-x", "-q", "-n0", "-p", "no:cacheprovider", "-m", "not slow and not gpu"]
    quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is loaded already
    os._exit(10 * int(pytest.main([*quiet, *tests])))


if __name__ == "__main__":
    sys.exit(main())
