"""The packages that come with rc_snn, taken from beside it, whatever else bears their names.

`encoders`, `bridges` and `baselines` are distributions on PyPI, too, and a user may well have a
folder `benchmarks/`. A command that is called by `python -m rc_snn` gets ours all the same.
"""

import base64
import hashlib
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

PACKAGES = ("encoders", "baselines", "bridges", "benchmarks")
_ROOT = Path(__file__).resolve().parents[2]


def import_ours() -> None:
    """Import these packages from beside rc_snn, before anything finds others of their names.

    Raises:
        ImportError: if another distribution has written over one; the message says which, and what
            to do.
    """
    for name in PACKAGES:
        spec = PathFinder.find_spec(name, [str(_ROOT)])
        if spec is None or spec.loader is None or _overwritten(name):
            raise ImportError(_in_its_place(name))
        sys.modules[name] = module = module_from_spec(spec)
        spec.loader.exec_module(module)


def _overwritten(name: str) -> bool:
    """Return whether a file of an installed package is not the one that was installed."""
    for file in _files("rc_snn"):
        if file.parts[0] == name and file.suffix == ".py" and file.hash is not None:
            path = Path(str(file.locate()))
            if path.parents[len(file.parts) - 1].resolve() != _ROOT:
                return False  # this is a checkout, and another version is installed
            digest = hashlib.sha256(path.read_bytes()).digest() if path.exists() else b""
            if base64.urlsafe_b64encode(digest).decode().rstrip("=") != file.hash.value:
                return True
    return False


def _files(distribution: str) -> Iterator[metadata.PackagePath]:
    try:
        yield from metadata.files(distribution) or ()
    except metadata.PackageNotFoundError:
        return


def _in_its_place(name: str) -> str:
    others = sorted(
        f"{found.name} {found.version}"
        for found in metadata.distributions()
        if found.name != "rc_snn" and any(file.parts[0] == name for file in found.files or ())
    )
    whose = f"The distribution {' and '.join(others)} has" if others else "Something else has"
    return (
        f"{whose} put its own files in the place of rc_snn's package {name}, in {_ROOT / name}. "
        "Install the two in environments of their own; or uninstall the other, then: "
        "pip install --force-reinstall --no-deps rc_snn."
    )
