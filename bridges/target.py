"""What a bridge says of its target, as data, and how it gets hold of the target's package."""

import importlib
import importlib.util
import os
import sys
import warnings
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["simulator", "library", "file"]


@dataclass(frozen=True)
class Target:
    """What a target carries. `bridges.support` prints it, and the tests hold it to the bridge.

    Args:
        name: module in `bridges`, extra of the package, and name on the command line.
        title: name in tables.
        kind: a simulator with a clock of its own, a library that takes tensors, or a file.
        needs: modules that the bridge imports, when it is used.
        versions: what it was tested with.
        unit: of time in the target.
        repeats: a unit may spike several times in a sample.
        twice: a unit may spike twice in one tick.
        shift: ticks by which the bridge moves spikes, and back again, because the target refuses
            the first.
        samples: how several samples travel.
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
    twice: bool
    samples: str
    shift: int = 0
    limits: str = ""
    suffix: str = ".py"
    own_environment: str = ""
    install: str = ""

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
