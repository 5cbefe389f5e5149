"""What an import needs, and what it does not: with other packages out of reach, by their names."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
OURS = {"rc_snn", "encoders", "baselines", "bridges", "benchmarks"}
CORE = ("torch", "numpy", "numba", "jaxtyping", "tqdm", "safetensors")

BLOCK = """
import importlib, sys
reached, core = {reached!r}, {modules!r}
class Reach:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *where):
        top = name.partition(".")[0]
        if top in reached or top.startswith("_sysconfigdata"):  # of the standard library, too
            return self.finder.find_spec(name, *where)
sys.meta_path[:] = map(Reach, sys.meta_path)
for name in core:
    importlib.import_module(name)
print(len(core))
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def brought_by(*names: str) -> set[str]:
    """The distributions that these install: themselves, and what they require, and so on."""
    found, waiting = set(), [*names]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
    return found


def modules_of(distributions: set[str]) -> set[str]:
    return {
        module
        for module, names in metadata.packages_distributions().items()
        if distributions & set(map(canonicalize_name, names))
    }


def modules_in(package: str) -> list[str]:
    paths = [p.relative_to(ROOT).with_suffix("") for p in (ROOT / package).rglob("*.py")]
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


def test_the_core_imports_where_nothing_is_but_what_it_names():
    """filelock is torch's own; what reads HDF5 is a program of its own, run where h5py is."""
    brought = brought_by(*CORE)
    assert "filelock" in brought
    assert not brought & {"tonic", "tyro", "matplotlib", "scipy", "h5py", "librosa", "pandas"}
    packages = ("rc_snn", "baselines", "bridges.stream")
    core = [name for package in packages for name in modules_in(package.replace(".", "/"))]
    core = [*core, "encoders", "encoders.functional", "encoders.idx", "encoders.mnist"]
    core = [name for name in core if name not in ("rc_snn.files.hdf5_look", "rc_snn.files.child")]
    assert len(core) > 90
    reached = modules_of(brought) | OURS | set(sys.stdlib_module_names)
    done = python(BLOCK.format(reached=reached, modules=core))
    assert (done.stdout, done.returncode) == (f"{len(core)}\n", 0), done.stderr


def test_import_rc_snn_imports_nothing_but_itself():
    """Not even torch: a name of it is imported when it is first used."""
    code = "import sys; before = set(sys.modules); import rc_snn; print(*set(sys.modules) - before)"
    imported = {name.partition(".")[0] for name in python(code).stdout.split()}
    assert "rc_snn" in imported
    assert imported - set(sys.stdlib_module_names) == {"rc_snn"}


def test_no_dependency_asks_for_one_torch():
    """norse asks for torchvision, which asks for one torch: pip replaced the one that was there."""
    needed = [Requirement(text) for text in metadata.requires("rc_snn") or ()]
    default = {n.name for n in needed if n.marker is None or n.marker.evaluate({"extra": ""})}
    assert "torch" in default
    brought = brought_by(*default - {"torch"})
    assert not brought & {"torchvision", "torchaudio", "triton", "pandas", "mlxtend"}
