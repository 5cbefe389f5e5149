"""What a bridge says of its target, as data; what follows from it; how to get hold of it."""

import importlib
import importlib.util
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from bridges.errors import BridgeError
from bridges.stream.clock import LONGEST, tick_us
from bridges.stream.pixels import as_image
from bridges.stream.stream import SpikeStream
from rc_snn.borders.checks import named

Kind: TypeAlias = Literal["simulator", "library", "file"]


@dataclass(frozen=True)
class Target:
    """What a target carries: `admit` refuses the rest, `bridges.support` prints it.

    Args:
        name: module in `bridges.targets`, extra of the package, and name on the command line.
        title: name in tables and messages.
        kind: a simulator with a clock of its own, a library that takes tensors, or a file.
        needs: modules that the bridge imports, when it is used.
        versions: what it was tested with.
        unit: of time in the target.
        repeats: a unit may spike several times in a sample.
        per_tick: so often a unit may spike in one tick; None is any number of times.
        samples: how several samples travel.
        row: place in tables, in steps of ten; default: last.
        end_us: the target counts whole microseconds, and ends before this one; None: it does not.
        side: units are pixels of a sensor, whose sides are at most this long; None: they are not.
        float_times: float64 times count from the start of each "sample", or on one "timeline" for
            all, and must keep ticks apart; "": the target holds no such times, or finds its ticks.
        shift: ticks by which the bridge moves spikes, and back again, because the target refuses
            the first.
        limits: what else it does not carry, in a few words; "" is nothing.
        suffix: of what `export` writes: ".py" is a script that runs where the target is installed.
        own_environment: cannot be installed beside the others; the bridge runs a script in the
            interpreter that the environment variable of this name gives.
        install: how to make that environment.
    """

    name: str
    title: str
    kind: Kind
    needs: tuple[str, ...]
    versions: str
    unit: str
    repeats: bool
    per_tick: int | None
    samples: str
    row: int = 1_000
    end_us: int | None = None
    side: int | None = None
    float_times: Literal["", "sample", "timeline"] = ""
    shift: int = 0
    limits: str = ""
    suffix: str = ".py"
    own_environment: str = ""
    install: str = ""

    def admit(self, stream: SpikeStream) -> None:
        """Refuse a stream that the target cannot carry, as far as its fields say.

        Raises:
            BridgeError: if a unit spikes too often, a tick is no whole number of microseconds, a
                spike comes too late, the units are no such sensor, or there are too many ticks for
                float64 times.

        Example:
            >>> from bridges.targets.brian2 import TARGET
            >>> twice = SpikeStream.silent(1, 3, 10, 1e-3).with_spikes([0, 0], [4, 4], [1, 1])
            >>> TARGET.admit(twice)  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            bridges.errors.BridgeError: Brian2 holds one spike per unit and tick; 1 spikes ...
        """
        if not self.repeats and (repeated := stream.repeated()):
            raise BridgeError(
                f"{self.title} holds one spike per unit and sample; {repeated} spikes are not the "
                "first. Drop them yourself."
            )
        if self.per_tick is not None:
            stream.refuse_twice(self.title, self.per_tick)
        if self.end_us is not None:
            last_us = int(stream.ticks.max(initial=0)) * tick_us(stream.dt_s, self.title)
            if last_us >= self.end_us:
                raise BridgeError(
                    f"The last spike is at {last_us} µs; {self.title} goes up to "
                    f"{self.end_us - 1} µs. Take shorter samples, or a target that goes further."
                )
        if self.side is not None:
            as_image(stream, self.side)
        n_ticks = stream.n_steps * (len(stream) if self.float_times == "timeline" else 1)
        if self.float_times and n_ticks > LONGEST:
            raise BridgeError(
                f"{self.title}: times are float64, which keep {LONGEST} ticks apart; this "
                f"{self.float_times} has {n_ticks}. Choose a larger dt_s, or send less at a time."
            )

    def holds(self, thing: Any, kind: str, *attributes: str) -> None:
        """Refuse what is not an object of the target: one that lacks what is read of it.

        Args:
            thing: what a bridge was given.
            kind: of object that it reads: "a Block".
            attributes: that it has.

        Raises:
            TypeError: if it lacks one.
        """
        if lacking := [name for name in attributes if not hasattr(thing, name)]:
            raise TypeError(
                f"{self.title}: {kind} is needed, got {named(thing)}, which has no {lacking[0]!r}."
            )

    def named(self, path: Path | str) -> Path:
        """Return the path of a file to write.

        Raises:
            ValueError: if it has another suffix.
        """
        path = Path(path)
        if path.suffix != self.suffix:
            raise ValueError(f"{self.title} takes a file named *{self.suffix}, got {path.name!r}.")
        return path

    def missing(self) -> str | None:
        """Return why the bridge cannot be used here; None if it can."""
        lacking = [name for name in self.needs if not _found(name)]
        if not lacking or os.environ.get(self.own_environment):
            return None
        reason = f"{self.title} is not installed ({', '.join(lacking)})"
        if self.own_environment:
            return f"{reason}, and {self.own_environment} names no Python interpreter that has it"
        return f"{reason}: pip install 'rc_snn[{self.name}]'"


def _found(module: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # looking for a submodule imports its parent
            return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a parent
        return False


def interpreter(target: Target) -> str:
    """Return the Python that has a target of its own environment: the one named, or this one.

    Raises:
        ImportError: if there is none; the message says how to make one.
    """
    if named := os.environ.get(target.own_environment):
        return named
    if target.missing() is None:
        return sys.executable
    raise ImportError(
        f"{target.title} needs an environment of its own. Make one ({target.install}), and set "
        f"{target.own_environment} to its Python."
    )


def load(target: Target, module: str | None = None) -> Any:
    """Import a target's module (default: the first it needs), quietly.

    Importing these packages warns of things that only their authors can mend.

    Raises:
        ImportError: if the target is not installed; the message says how to install it.
    """
    name = module or target.needs[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"The bridge to {target.title} needs {name} ({error}). Install it: "
            f"pip install 'rc_snn[{target.name}]'"
        ) from error
