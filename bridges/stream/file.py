"""Spike streams in files: HDF5, which every language reads, or npz, which needs numpy only.

Both hold the same, under the same names:

    /ticks    int64 [spikes]       tick of each spike since its sample's start
    /units    int32 [spikes]       unit of each spike
    /offsets  int64 [samples + 1]  spikes of sample i are offsets[i]:offsets[i + 1]
    /samples/<name>  [samples, ...]  arrays with one row per sample, such as labels
    header    text, JSON: format, dt_s, n_units, n_steps, shape, metadata, digest

`header` is one string in both. `digest` is the BLAKE2b of everything else, so that a damaged file
is refused and never read as other spikes.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bridges.stream.stream import Array, SpikeStream
from rc_snn.files import replacing
from rc_snn.numbers import json_value

FORMAT = "rc_snn.spikes/1"
_CORE = ("ticks", "units", "offsets")
_FIELDS = ("dt_s", "n_units", "n_steps", "shape", "metadata")


def save(stream: SpikeStream, path: Path | str) -> Path:
    """Write a stream atomically; the suffix chooses the format: .h5, .hdf5 or .npz.

    Raises:
        ValueError: if the suffix is another, or metadata is more than JSON holds.

    Example:
        >>> import tempfile
        >>> stream = SpikeStream.silent(2, n_units=3, n_steps=10, dt_s=1e-3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     load(save(stream, Path(folder) / "spikes.h5")).n_steps
        10
    """
    path = Path(path)
    write = _writer(path)
    arrays = {name: getattr(stream, name) for name in _CORE}
    arrays |= {f"samples/{name}": np.asarray(a) for name, a in stream.samples.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ValueError(f"{name} holds Python objects; give it a numeric or string dtype.")
    about = {"format": FORMAT} | {name: getattr(stream, name) for name in _FIELDS}
    try:
        about |= json_value({"shape": stream.shape, "metadata": dict(stream.metadata)}, "stream")
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata must be what JSON can hold ({error}).") from error
    about["digest"] = _digest(about, arrays)
    with replacing(path) as partial:
        write(partial, json.dumps(about), arrays)
    return path


def load(path: Path | str) -> SpikeStream:
    """Read a stream that `save` wrote.

    Raises:
        ValueError: if the file is damaged, of another format, or missing; the message says which.
    """
    path = Path(path)
    read = _read_npz if path.suffix == ".npz" else _read_hdf5
    _writer(path)  # refuses other suffixes
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    try:
        header, arrays = read(path)
        about = json.loads(header)
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
    except KeyError as error:
        raise ValueError(f"{path} is no spike stream: it has no {error}.") from error
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as a spike stream ({error}).") from error
    digest = about.pop("digest", None)
    if digest != _digest(about, arrays):
        raise ValueError(
            f"{path} is damaged: its content has not the digest that its header states. Copy it "
            "again, or make it again."
        )
    core: dict[str, Any] = {name: arrays.pop(name) for name in _CORE}
    samples = {name.removeprefix("samples/"): array for name, array in arrays.items()}
    fields = {name: about[name] for name in _FIELDS} | {"shape": tuple(about["shape"])}
    return SpikeStream(**core, **fields, samples=samples)


def _writer(path: Path) -> Any:
    if path.suffix == ".npz":
        return _write_npz
    if path.suffix in (".h5", ".hdf5"):
        return _write_hdf5
    raise ValueError(f"A spike stream is a .h5, .hdf5 or .npz file, got {path.name!r}.")


def _digest(about: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    digest = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        text = array.dtype.kind == "U"  # whose width in memory says nothing
        digest.update(f"{name} {'U' if text else array.dtype.str} {array.shape}".encode())
        digest.update(json.dumps(array.tolist()).encode() if text else array.tobytes())
    return digest.hexdigest()


def _write_npz(path: Path, header: str, arrays: Mapping[str, Array]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, header=np.array(header), **arrays)


def _read_npz(path: Path) -> tuple[str, dict[str, Array]]:
    with path.open("rb") as raw:
        file = np.load(raw, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it is one array, not an npz archive")
        arrays = {name: file[name] for name in file.files}
    header = str(arrays.pop("header"))
    missing = [name for name in _CORE if name not in arrays]
    if missing:
        raise KeyError(missing[0])
    return header, arrays


def _write_hdf5(path: Path, header: str, arrays: Mapping[str, Array]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["header"] = header  # no attribute, which may have 64 kB only
        for name, array in arrays.items():
            text = array.dtype.kind == "U"
            held = array.astype(h5py.string_dtype()) if text else array
            packed = array.size > 0 and not text
            options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
            file.create_dataset(name, data=held, **(options if packed else {}))


def _read_hdf5(path: Path) -> tuple[str, dict[str, Array]]:
    import h5py

    with h5py.File(path, "r") as file:
        header = file["header"].asstr()[()] if "header" in file else None
        if not isinstance(header, str):
            raise KeyError("header")
        names = [*_CORE, *(f"samples/{name}" for name in file.get("samples", {}))]
        held = {name: file[name] for name in names}
        arrays = {
            name: d.asstr()[:].astype(str) if h5py.check_string_dtype(d.dtype) else d[()]
            for name, d in held.items()
        }
        return header, arrays
