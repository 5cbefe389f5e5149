"""Every command by its short name, from any folder: `python -m rc_snn table1`."""

import difflib
import runpy
import sys

from rc_snn import commands
from rc_snn.commands import packages


def main(words: list[str]) -> None:
    """Run the command that the first word names, with the others; without one, list them.

    Raises:
        ImportError: if another distribution sits in the place of a package of ours.
        ValueError: if there is no such command.
    """
    packages.import_ours()
    found = {
        name.partition(".")[2]: (name, about)
        for package in ("benchmarks", "bridges")
        for name, about in commands.found(package).items()
    }
    if not words or words[0] in ("-h", "--help"):
        about = {name: line for name, (_, line) in found.items()}
        print(commands.lines({f"python -m rc_snn {name}": line for name, line in about.items()}))
        return
    name, *rest = words
    if name not in found:
        like = difflib.get_close_matches(name, found, n=1)
        meant = f" Did you mean {like[0]}?" if like else ""
        raise ValueError(f"There is no command {name!r}.{meant} python -m rc_snn lists them.")
    commands.Called.by = f"python -m rc_snn {name}"
    sys.argv[1:] = rest
    runpy.run_module(found[name][0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    commands.catch_early_stops()
    try:
        main(sys.argv[1:])
    except (ImportError, ValueError) as error:
        print(f"error: {commands.one_line(error)}", file=sys.stderr)
        raise SystemExit(commands.REFUSED) from None
