"""What each target can carry: `python -m bridges.support` prints the table, `--check` proves it."""

import importlib
import pkgutil
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from bridges import targets as bridge_modules
from bridges.errors import BridgeError
from bridges.stream.stream import SpikeStream
from bridges.target import Target
from rc_snn import commands
from rc_snn.progress import progress, say

NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(bridge_modules.__path__)))
"""Every target: a module of `bridges.targets` with `TARGET`, `round_trip(stream)` and `export`."""


def bridge(name: str) -> ModuleType:
    """Return the module of a target.

    Raises:
        ValueError: if there is none of that name.

    Example:
        >>> bridge("brian2").TARGET.unit
        's'
    """
    if name not in NAMES:
        raise ValueError(f"There is no bridge {name!r}; there are {', '.join(NAMES)}.")
    return importlib.import_module(f"bridges.targets.{name}")


def targets() -> list[Target]:
    """Return what every target carries, in the order of the table."""
    return sorted((bridge(name).TARGET for name in NAMES), key=lambda t: (t.row, t.name))


HEADER = (
    "target",
    "kind",
    "unit of time",
    "several spikes per unit",
    "twice in a tick",
    "first step",
    "several samples",
    "limits",
    "tested with",
)


def lines() -> list[list[str]]:
    """Return one line of the table per target."""
    word = {True: "yes", False: "refused"}
    return [
        [
            t.title,
            t.kind,
            t.unit,
            word[t.repeats],
            word[t.per_tick != 1],
            f"{t.shift} tick{'s' * (t.shift > 1)} later, undone" if t.shift else "as it is",
            t.samples,
            t.limits or "—",
            t.versions + (" (own environment)" if t.own_environment else ""),
        ]
        for t in targets()
    ]


def markdown() -> str:
    """Return the table as README shows it."""
    rows = [list(HEADER), ["---"] * len(HEADER), *lines()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def sample_stream() -> SpikeStream:
    """Return a rank code with everything that gets lost: first and last step, ties, silence.

    1,000 ticks of 0.1 ms, on which `floor(tick * dt / dt)` loses 68 ticks; three samples, of which
    the second is empty.
    """
    n_units, n_steps = 1200, 1000
    units = np.arange(1000)
    first = SpikeStream.silent(3, n_units, n_steps, dt_s=1e-4)
    sample = np.concatenate([np.zeros(1000, int), np.full(3, 2)])
    ticks = np.concatenate([units, [0, 0, n_steps - 1]])
    return first.with_spikes(sample, ticks, np.concatenate([units, [0, 7, n_units - 1]]))


@dataclass(frozen=True)
class Support:
    """Print what each target carries; with --check, carry spikes through all that are installed."""

    check: bool = False
    """Send a rank code through every target that is installed here, and compare."""
    only: tuple[str, ...] = ()
    """These targets only."""


def main(config: Support) -> int:
    """Print the table, or what became of each round trip; return how many failed."""
    if not config.check:
        print(markdown())
        return 0
    failed = 0
    for name in progress(config.only or [t.name for t in targets()], "round trips", unit="targets"):
        verdict = _check(name)
        failed += verdict.startswith("LOST")
        say(f"{bridge(name).TARGET.title:14} {verdict}", error=False)
    return failed


def _check(name: str) -> str:
    module = bridge(name)
    if reason := module.TARGET.missing():
        return f"skipped: {reason}"
    sent = sample_stream()
    try:
        back = module.round_trip(sent)
    except BridgeError as error:
        return f"refused: {error}"
    if sent.same_spikes(back):
        return f"all {sent.n_spikes} spikes came back on their tick"
    return f"LOST: {sent.n_spikes} spikes went, {back.n_spikes} came back, not the same"


if __name__ == "__main__":
    commands.run(main, Support)
