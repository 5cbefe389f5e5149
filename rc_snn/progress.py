"""Progress on stderr: a bar in a terminal; elsewhere two lines for each stage that takes long."""

import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, TypeVar

from tqdm import tqdm

LONG_S = 2.0
"""A stage that takes longer is spoken of where there is no terminal."""
T = TypeVar("T")


class Bar:
    """A stage of a known length behind tqdm's bar, which goes when the stage is over.

    Where stderr is no terminal there is a line once the stage is known to take long, with how long
    it has to go, and one at its end; a stage that is cut short has none.

    Args:
        what: is being done.
        total: how much of it there is; None is not known.
        unit: of `total`, in a word.
        done: of an earlier process.
        scale: write large numbers short, as of bytes.
        silent: say nothing anywhere.

    Example:
        >>> with Bar("train", 100, unit="samples") as bar:
        ...     bar.update(100)
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        *,
        unit: str = "",
        done: int = 0,
        scale: bool = False,
        silent: bool = False,
    ) -> None:
        self.what, self.total, self.unit, self.first, self.done = what, total, unit, done, done
        self.began, self.spoken = monotonic(), False
        self.bar: Any = tqdm(
            total=total,
            initial=done,
            desc=what,
            unit=f" {unit}",
            unit_scale=scale,
            leave=False,
            disable=True if silent else None,
        )
        self.speaks = self.bar.disable and not silent

    def update(self, n: int = 1) -> None:
        """Count what is done."""
        self.bar.update(n)
        self.done += n
        spent = monotonic() - self.began
        if self.speaks and not self.spoken and spent >= LONG_S and self.done != self.total:
            self.spoken, left = True, ""
            if self.total and self.done > self.first:
                to_go = spent * (self.total - self.done) / (self.done - self.first)
                left = f", about {duration(to_go)} to go"
            say(f"{self} after {duration(spent)}{left}")

    def note(self, **numbers: object) -> None:
        """Show numbers behind the bar, if there is one."""
        if not self.bar.disable:
            self.bar.set_postfix(numbers)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
        spent = monotonic() - self.began
        if self.speaks and error[0] is None and spent >= LONG_S:
            say(f"{self} in {duration(spent)}")

    def __str__(self) -> str:
        """Return what is done."""
        of = f" of {self.total:,}" if self.total else ""
        return f"{self.what}: {self.done:,}{of} {self.unit}".rstrip()


def progress(
    things: Iterable[T], what: str, *, unit: str = "", total: int | None = None
) -> Iterator[T]:
    """Go through things behind a `Bar`.

    Args:
        things: of which one is done when the next is asked for.
        what: is being done.
        unit: of the things, in a word.
        total: how many there are; default: their length, if they have one.

    Example:
        >>> list(progress([1, 2], "count", unit="numbers"))
        [1, 2]
    """
    length = getattr(things, "__len__", lambda: None)()
    with Bar(what, length if total is None else total, unit=unit) as bar:
        for thing in things:
            yield thing
            bar.update()


def say(text: str, *, error: bool = True) -> None:
    """Print a line above the bars, on stderr or stdout."""
    tqdm.write(text, file=sys.stderr if error else sys.stdout)


def duration(seconds: float) -> str:
    """Return a time as one reads it.

    Example:
        >>> duration(18.2), duration(400.0), duration(9000.0)
        ('18 s', '7 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
