"""What a command was asked for: options, read from its command line; in one line what are none."""

import io
import math
import os
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")
REFUSED = 2
"""Status of a command that cannot do what it was asked: a wrong option, file, value or package."""


class Called:
    """How the command of this process was called, if not by `python -m` and its module."""

    by: str | None = None


def read(options: type[T]) -> T:
    """Read options from the command line.

    Raises:
        ValueError: if they are none: what tyro says in a box of several lines, in one.
        SystemExit: after `--help`.
    """
    import tyro

    spec = sys.modules["__main__"].__spec__  # of what follows `-m`
    prog = Called.by or (f"python -m {spec.name.removesuffix('.__main__')}" if spec else None)
    about = f"{(options.__doc__ or '').rstrip()} --traceback shows where an error came from."
    if {"-h", "--help"} & set(sys.argv):
        return tyro.cli(options, prog=prog, description=about)
    columns, out, err = os.environ.get("COLUMNS"), io.StringIO(), io.StringIO()
    os.environ["COLUMNS"] = "9999"  # a box as wide as its text breaks no word
    try:
        with redirect_stdout(out), redirect_stderr(err):  # no terminals: a box of ASCII, colourless
            return tyro.cli(options, prog=prog, description=about)
    except SystemExit as ended:
        if ended.code != REFUSED:
            raise
        said, err = err.getvalue(), io.StringIO()
        raise ValueError(f"{_unboxed(said)} See {prog or sys.argv[0]} --help.") from None
    finally:
        sys.stdout.write(out.getvalue())
        sys.stderr.write(err.getvalue())
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns


def _unboxed(text: str) -> str:
    r"""Return in one line what tyro lays out between rules: what is wrong, and what was meant.

    Example:
        >>> _unboxed("No\n----\n --sed \n----\n Perhaps you meant:\n --seed INT\n----\n See")
        '--sed. Perhaps you meant: --seed INT.'
    """
    parts = [" ".join(part.split()) for part in re.split(r"^ *-+ *$", text, flags=re.MULTILINE)]
    said = [part for part in parts[1:] if part is parts[1] or part.startswith("Perhaps")]
    said = [re.sub(r"^Error parsing \w+: ", "", part) for part in said]  # the options' class
    return " ".join(part if part.endswith((".", "?")) else f"{part}." for part in said)


MOST_THREADS = 1024
"""More than any machine has; OpenMP ends the process that asks for what it cannot have."""


def check_numbers(options: Any) -> None:
    """Refuse numbers that no option can mean: counts below 1, seeds below 0, NaN and infinity.

    Args:
        options: a dataclass; each field that holds an integer is a count, but for seeds. Defaults
            may be anything.

    Raises:
        ValueError: naming the option.

    Example:
        >>> from dataclasses import make_dataclass
        >>> check_numbers(make_dataclass("Options", ["threads"])(0))
        Traceback (most recent call last):
        ...
        ValueError: --threads must be at least 1, got 0.
    """
    held = fields(options) if is_dataclass(options) else ()
    given = {f.name: x for f in held if (x := getattr(options, f.name)) != f.default}
    for name, value in given.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            flag = f"--{name.replace('_', '-')}"
            least = 0 if name in ("seed", "seeds") else 1
            if isinstance(number, int) and number < least:
                raise ValueError(f"{flag} must be at least {least}, got {number}.")
            if not math.isfinite(number):
                raise ValueError(f"{flag} must be finite, got {number}.")
            if name == "threads" and number > MOST_THREADS:
                raise ValueError(f"{flag} must be at most {MOST_THREADS}, got {number}.")
