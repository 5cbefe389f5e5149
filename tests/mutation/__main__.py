"""Small faults written into the core, each of which a test must notice: `python -m tests.mutation`.

A sample of the mutants of `TARGETS`, drawn with `--seed`. The tests of a file are collected and run
once; then a fork for each mutant puts its functions in the place of those that are loaded, and the
tests run again until one fails. `--write` keeps what was found in docs/MUTATION.md.

Not mutmut 3: it leaves out constants and every function with a decorator, and `@typed` stands over
what matters most (`rc_loss`, `first_spike`, `decide`, `choose`). Not mutmut 2 or Cosmic Ray: both
begin anew for each mutant, and to import torch takes longer than the tests do.
"""

import argparse
import inspect
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from tests.mutation import report
from tests.mutation.faults import Mutant, mutants

HOME = Path(__file__).resolve().parents[2]
CORE, THETAS = "tests/rc_snn/test_", "tests/rc_snn/test_random_thresholds.py::test_"
EXITS = [
    "rc_snn/exits",
    *(
        f"tests/rc_snn/exits/test_{x}.py"
        for x in ("exits", "thresholds", "step_thresholds", "early_metrics")
    ),
]
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
    "rc_snn/exits/choice.py": EXITS,
    "rc_snn/exits/conformal.py": EXITS,
    "rc_snn/exits/curves.py": EXITS,
    "rc_snn/exits/step_thresholds.py": EXITS,
    "rc_snn/runner.py": [
        "rc_snn/runner.py",
        f"{CORE}runner.py",
        f"{THETAS}each_sample_decides_as_it_does_alone_at_its_own_threshold",
        f"{THETAS}the_prefix_is_the_trace_up_to_each_decision_with_its_gradients",
        "tests/rc_snn/runs/test_chunks.py",
    ],
    "baselines/first_spike.py": [
        "baselines/first_spike.py",
        "tests/baselines/test_first_spikes.py",
        "tests/baselines/test_timing.py",
        "tests/baselines/test_alpha_psp.py",
        "tests/baselines/test_triton_kernels.py",
    ],
}
"""The files, and the tests that must notice their mutants, soonest first."""


def main() -> int:
    """Return 0 if at least 9 of 10 mutants were noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--n", type=int, default=300, help="mutants in the sample; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=60, help="seconds of a core, for each")
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the names of files")
    parser.add_argument("--write", action="store_true", help="write docs/MUTATION.md")
    options = parser.parse_args()
    sources = {
        path: (HOME / path).read_text() for path in TARGETS if any(x in path for x in options.only)
    }
    every = [mutant for path, source in sources.items() for mutant in mutants(path, source)]
    sample = random.Random(options.seed).sample(every, options.n or len(every))
    survivors = []
    for tests in dict.fromkeys(tuple(TARGETS[path]) for path in sources):
        if own := [mutant for mutant in sample if tuple(TARGETS[mutant.path]) == tests]:
            survivors += _survivors(own, sources, options.limit)
    among, command = Counter(x.path for x in every), " ".join(sys.argv[1:])
    text = report.text(command, among, sample, survivors, sources)
    print(text)
    if options.write:
        (HOME / "docs" / "MUTATION.md").write_text(text)
    return int(10 * len(survivors) > len(sample))


def _survivors(own: list[Mutant], sources: dict[str, str], limit: int) -> list[Mutant]:
    """Try mutants that have the same tests, and return those that no test notices."""
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        quiet = ["-q", "-n0", "-p", "no:cacheprovider", "-m", "not slow and not gpu"]
        trial = Trial(own, sources, limit, writing)
        os._exit(pytest.main([*quiet, *TARGETS[own[0].path]], plugins=[trial]))
    os.close(writing)
    with os.fdopen(reading) as ends:
        left = [mutant for mutant, end in zip(own, ends, strict=True) if end == "survived\n"]
    os.waitpid(pid, 0)
    return left


class Trial:
    """A plugin of pytest: the tests once as they are, then once for each mutant."""

    def __init__(self, own: list[Mutant], sources: dict[str, str], limit: int, ends: int) -> None:
        self.own, self.sources, self.limit, self.ends = own, sources, limit, ends

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the loop of all tests again and again."""
        # What is compiled and drawn is there then. Doctests run once in a process.
        plain = [item for item in session.items if not isinstance(item, pytest.DoctestItem)]
        assert _all_pass(session, plain), "the tests must pass on the file as it is"
        assert not self._noticed(session, None), "they must pass again, and the doctests, too"
        for mutant in self.own:
            start = time.time()
            end = "noticed" if self._noticed(session, mutant) else "survived"
            os.write(self.ends, f"{end}\n".encode())
            said = f"{end} in {time.time() - start:.0f} s: {mutant.path}:{mutant.line}"
            print(
                said,
                *mutant.shown(self.sources[mutant.path]),
                sep="\n  ",
                file=sys.__stderr__,
                flush=True,
            )
        return True

    def _noticed(self, session: pytest.Session, mutant: Mutant | None) -> bool:
        """Run the tests with a mutant in a process of their own."""
        if pid := os.fork():
            return os.waitpid(pid, 0)[1] != 0
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (self.limit, self.limit))  # for ever is noticed
        try:
            if mutant is not None:
                _put_in_place(mutant, self.sources[mutant.path])
            os._exit(not _all_pass(session, session.items))
        except BaseException:  # it cannot even be imported
            os._exit(1)


def _all_pass(session: pytest.Session, items: list[pytest.Item]) -> bool:
    """Run tests up to the first that fails."""
    for item, after in zip_longest(items, items[1:]):
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        if session.testsfailed:
            return False
    return True


def _put_in_place(mutant: Mutant, source: str) -> None:
    """Give the functions and constants of a loaded module what they are in its mutant."""
    name = mutant.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    old, new = import_module(name), ModuleType(name)
    sys.modules[name] = new  # dataclasses look here
    exec(compile(mutant.written(source), HOME / mutant.path, "exec"), vars(new))
    sys.modules[name] = old
    for key, value in vars(new).items():
        if isinstance(value, int | float | str) and not key.startswith("__"):
            setattr(old, key, value)
    mutated = {function.__qualname__: function for function in _functions(new)}
    for function in _functions(old):
        other = mutated[function.__qualname__]
        function.__code__ = other.__code__
        function.__defaults__, function.__kwdefaults__ = other.__defaults__, other.__kwdefaults__


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """Yield the functions and methods that a module defines, without what decorates them."""
    for value in list(vars(module).values()):
        if getattr(value, "__module__", None) == module.__name__:
            parts: list[Any] = list(vars(value).values()) if isinstance(value, type) else [value]
            for part in parts:
                found = inspect.unwrap(getattr(part, "__func__", part))
                if isinstance(found, FunctionType) and found.__module__ == module.__name__:
                    yield found


if __name__ == "__main__":
    os.chdir(HOME)
    sys.exit(main())
