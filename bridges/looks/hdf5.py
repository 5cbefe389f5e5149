"""A first look at HDF5: all of it is walked through, and what will be read is read.

libhdf5 may hang, crash or take gigabytes on one damaged bit of a heap, a tree or a header, and so
may what reads object after object. So every object is opened once, with its attributes, and the
bytes of the arrays are summed before any of them is read: a file of 2 kB may claim gigabytes that
were never written, and a compressed one unpacks to a thousand times its size.

A file that points outside itself (external links, external storage, virtual data sets) would make
its reader open what it names, and is refused.
"""

from collections.abc import Callable
from typing import Any

import h5py

_TEXT = 100
"""Bytes that a string takes in Python, beside its characters."""
_DEEPEST = 50
"""Groups inside each other."""


def look(path: str, limit: str, *places: str) -> None:
    """Read a file, or raise.

    Args:
        path: of the file.
        limit: bytes that all arrays together may hold.
        *places: which arrays are read: those whose path begins so; default: all. Soft links
            inside the file, to be followed by who reads these places, are refused only if none
            is named.
    """
    with h5py.File(path, "r") as file:
        Walk(int(limit), lambda name: name.startswith(places) if places else True).group(
            file, soft=bool(places)
        )


class Walk:
    """What has been seen of a file, and how many bytes it may still hold."""

    def __init__(self, limit: int, is_read: Callable[[str], bool]) -> None:
        """Begin."""
        self.left, self.is_read, self.seen = limit, is_read, set[Any]()

    def group(self, group: Any, soft: bool, depth: int = 0) -> None:
        """Go through a group and all below."""
        if depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} groups lie inside each other")
        self.attributes(group)
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.HardLink):
                self.object(group[name], soft, depth)
            elif not (soft and isinstance(link, h5py.SoftLink)):
                raise ValueError(f"{name!r} is a link to another place, {_target(link)}")

    def object(self, found: Any, soft: bool, depth: int) -> None:
        """Go through what a link leads to, which no other link does."""
        about = h5py.h5o.get_info(found.id)
        place = (about.fileno, about.addr)
        if place in self.seen:
            raise ValueError(f"two links lead to {found.name}")
        self.seen.add(place)
        if isinstance(found, h5py.Group):
            self.group(found, soft, depth + 1)
        elif isinstance(found, h5py.Dataset):
            self.attributes(found)
            self.dataset(found)

    def attributes(self, found: Any) -> None:
        """Read all attributes of an object."""
        for name in found.attrs:
            held = found.attrs.get_id(name)
            self.take(held.shape, held.dtype)
            self.text(found.attrs[name])

    def dataset(self, held: Any) -> None:
        """Read a data set, if it is to be read and fits."""
        if held.is_virtual or held.external:
            raise ValueError(f"{held.name} lies in another file")
        if held.shape is not None and (held.shape == () or self.is_read(held.name)):
            self.take(held.shape, held.dtype)
            self.text(held[()])

    def take(self, shape: tuple[int, ...] | None, dtype: Any) -> None:
        """Count an array before it is read."""
        size = dtype.itemsize + (_TEXT if dtype.kind in "OSU" else 0)
        for side in shape or ():
            size *= side
        self.spend(size)

    def text(self, value: Any) -> None:
        """Count the characters of strings, whose length no type says."""
        if isinstance(value, str | bytes):
            self.spend(len(value))
        elif getattr(getattr(value, "dtype", None), "kind", "") == "O":
            for each in value.flat:
                self.spend(len(each) if hasattr(each, "__len__") else 0)

    def spend(self, size: int) -> None:
        """Count bytes."""
        self.left -= size
        if self.left < 0:
            raise ValueError(
                "it unpacks to more than a file of its size may: write it uncompressed"
            )


def _target(link: Any) -> str:
    return f"{getattr(link, 'filename', '')} {getattr(link, 'path', '')}".strip()
