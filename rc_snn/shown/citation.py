"""Whom to cite: the paper, this software, and what a process has used besides."""

import re
import sys
from pathlib import Path

_ENTRIES = Path(__file__).with_name("citations.bib")
_ALWAYS = ("jeffares2022", "rc_snn")
LIBRARIES = {
    "snntorch": "eshraghian2023",
    "norse": "norse2021",
    "tonic": "tonic2021",
    "spikingjelly": "fang2023",
    "nir": "pedersen2024",
    "brian2": "stimberg2019",
    "nest": "gewaltig2007",
    "pyNN": "davison2009",
    "nengo": "bekolay2014",
    "neo": "garcia2014",
    "libsonata": "dai2020",
    "pynwb": "rubel2022",
    "neurobench": "yik2025",
}
"""Packages, and what their authors ask to be cited."""
_used: set[str] = set()


def used(key: str) -> None:
    """Note that a method or a data set of this entry has been used."""
    _used.add(key)


def cite() -> None:
    """Print BibTeX of what this process has used so far; a script calls it last.

    The paper and this software always; a method (α-PSP, ReL-PSP, the mapping of ReLU networks) once
    a neuron or network of it was made or loaded; a data set once it was read here; a library once
    it is imported, whoever did it. What you did with them decides: leave out what your work does
    not rest on, and add what it does (a simulator that ran in another process is not seen).

    Example:
        >>> cite()
        @inproceedings{jeffares2022,
          title     = {Spike-inspired rank coding for fast and accurate recurrent neural networks},
        ...
    """
    imported = {key for name, key in LIBRARIES.items() if name in sys.modules}
    wanted = {*_ALWAYS, *_used, *imported}
    version = sys.modules["rc_snn"].__version__
    shown = [text for key, text in entries().items() if key in wanted]
    print("\n\n".join(shown).replace("VERSION", version))


def entries() -> dict[str, str]:
    """Return all entries, by key, in the order in which they are printed."""
    texts = _ENTRIES.read_text(encoding="utf-8").strip().split("\n\n")
    return {re.split(r"[{,]", text, maxsplit=2)[1]: text for text in texts}
