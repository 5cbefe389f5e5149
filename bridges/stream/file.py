"""Spike streams in files: HDF5, which every language reads, or npz, which needs numpy only.

Both hold the same, under the same names::

    /ticks    int64 [spikes]       tick of each spike since its sample's start
    /units    int32 [spikes]       unit of each spike
    /offsets  int64 [samples + 1]  spikes of sample i are offsets[i]:offsets[i + 1]
    /samples/<name>  [samples, ...]  arrays with one row per sample, such as labels
    header    text, JSON: format, dt_s, n_units, n_steps, shape, metadata, names, digest

`header` is one string in both; strings have a fixed length, in UTF-8. An array whose name cannot be
one in a file (it holds a slash, say) lies under another, and `names` says which. `digest` is the
BLAKE2b of everything else, so that a damaged file is refused and never read as other spikes.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bridges.reading import TEXT, held_by, reading
from bridges.stream.stream import Array, SpikeStream
from rc_snn.borders.numbers import json_value
from rc_snn.files import load_npz, parse_json, replacing

FORMAT = "rc_snn.spikes/1"
_CORE = {"ticks": np.int64, "units": np.int32, "offsets": np.int64}
_KINDS = "biufcSU"
"""Kinds of arrays that both formats hold."""
_PLAIN = re.compile(r"(?!.*\.npy$)[^/\\.\0-\x1f\ud800-\udfff][^/\\\0-\x1f\ud800-\udfff]{,99}")
"""Names that an array may have in both."""
_HELD: Mapping[str, tuple[type, ...]] = {
    "dt_s": (float, int),
    "n_units": (int,),
    "n_steps": (int,),
    "shape": (list,),
    "metadata": (dict,),
}
"""Fields of a stream that the header holds, and what they are in JSON."""


def save(stream: SpikeStream, path: Path | str) -> Path:
    """Write a stream atomically; the suffix chooses the format: .h5, .hdf5 or .npz.

    What was written is read before it takes the path's place: what is saved can be loaded.

    Raises:
        ValueError: if the suffix is another, metadata is more than JSON holds, or an array of
            `stream.samples` is nothing that both formats hold.

    Example:
        >>> import tempfile
        >>> stream = SpikeStream.silent(2, n_units=3, n_steps=10, dt_s=1e-3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     load(save(stream, Path(folder) / "spikes.h5")).n_steps
        10
    """
    path = Path(path)
    write, read = _format(path)
    held = _stored(stream.samples)
    arrays = {name: getattr(stream, name) for name in _CORE}
    arrays |= {f"samples/{place}": array for place, (_, array) in held.items()}
    about = _about(stream)
    if names := {place: name for place, (name, _) in held.items() if place != name}:
        about["names"] = names
    header = json.dumps(about | {"digest": _digest(about, arrays)})
    size = _size(arrays | {"header": np.array(header)})
    with replacing(path) as partial:
        write(partial, header, arrays, True)
        if size > held_by(partial.stat().st_size):  # so well packed that it would be refused
            write(partial, header, arrays, False)
        if size > held_by(partial.stat().st_size):
            raise ValueError("samples holds more text than is read back. Save numbers instead.")
        _check(*read(partial))
    return path


def _about(stream: SpikeStream) -> dict[str, Any]:
    """Return what the header says, but for names and digest, as JSON gives it back."""
    about = {"format": FORMAT, "dt_s": stream.dt_s, "n_units": stream.n_units}
    about |= {"n_steps": stream.n_steps, "shape": stream.shape, "metadata": dict(stream.metadata)}
    try:
        text = json.dumps(json_value(about, "stream"), allow_nan=False)
        parsed: dict[str, Any] = parse_json(text, "the header")
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"metadata must be what JSON can hold ({error}).") from error
    return parsed


def _size(arrays: Mapping[str, Array]) -> int:
    """Return the bytes that arrays take, counted as a first look counts them."""
    return sum(a.nbytes + TEXT * a.size * (a.dtype.kind in "US") for a in arrays.values())


def _stored(samples: Mapping[str, Array]) -> dict[str, tuple[str, Array]]:
    """Return name and array by the name in the file, the arrays in little-endian order."""
    held: dict[str, tuple[str, Array]] = {}
    for i, (name, given) in enumerate(samples.items()):
        array = np.asarray(given)
        if not isinstance(name, str) or array.dtype.kind not in _KINDS or array.ndim == 0:
            raise ValueError(
                f"samples[{name!r}] of {array.dtype} {array.shape} cannot be saved: a file holds "
                "arrays of numbers, booleans, bytes or text, a row for each sample. Convert it: "
                "times to integers, objects to numbers or text."
            )
        plain = bool(_PLAIN.fullmatch(name)) and not name.startswith("array_")
        held[name if plain else f"array_{i}"] = (
            name,
            array.astype(_little(array.dtype), copy=False),
        )
    return held


def _little(dtype: Any) -> Any:
    return dtype.newbyteorder("<")


def load(path: Path | str) -> SpikeStream:
    """Read a stream that `save` wrote, whoever packed it again since.

    Raises:
        ValueError: if the file is damaged, of another format, or missing; the message says which.
    """
    path = Path(path)
    _, read = _format(path)
    if not path.exists():
        raise ValueError(f"There is no file {path}.")
    with reading(path, "a spike stream", "" if path.suffix == ".npz" else "hdf5"):
        about, arrays = _check(*read(path))
        names = about.get("names", {})
        places = [name for name in arrays if name not in _CORE]
        plain = {place: place.removeprefix("samples/") for place in places}
        fields: dict[str, Any] = {name: arrays[name] for name in _CORE}
        fields |= {name: about[name] for name in _HELD} | {"shape": tuple(about["shape"])}
        samples = {names.get(name, name): arrays[place] for place, name in plain.items()}
        return SpikeStream(**fields, samples=samples)


def _check(header: str, arrays: Mapping[str, Array]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return what a header says, and the arrays as `save` wrote them, if they are those.

    Raises:
        ValueError: if they are not.
    """
    about = parse_json(header, "its header")
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    digest = about.pop("digest", None)
    held = dict(arrays)
    if digest != _digest(about, held):  # another program may have packed them again
        held = {
            name: array.astype(_little(array.dtype), copy=False) for name, array in arrays.items()
        }
        for name, dtype in _CORE.items():
            if held[name].dtype.kind in "iu":
                held[name] = held[name].astype(dtype, copy=False)
        if digest != _digest(about, held):
            raise ValueError("it is damaged: its content has not the digest that its header states")
    names = about.get("names", {})
    if (
        any(type(about.get(name)) not in known for name, known in _HELD.items())
        or any(type(side) is not int for side in about["shape"])
        or not (isinstance(names, dict) and all(isinstance(n, str) for n in names.values()))
    ):
        raise ValueError("its header lacks a field, or says something else than a number in it")
    return about, held


def _format(path: Path) -> Any:
    """Return what writes and what reads a file of this name."""
    if path.suffix == ".npz":
        return _write_npz, _read_npz
    if path.suffix in (".h5", ".hdf5"):
        return _write_hdf5, _read_hdf5
    raise ValueError(f"A spike stream is a .h5, .hdf5 or .npz file, got {path.name!r}.")


def _digest(about: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    digest = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        text = array.dtype.kind == "U"  # whose width in memory says nothing
        digest.update(f"{name} {'U' if text else array.dtype.str} {array.shape}".encode())
        digest.update(json.dumps(array.tolist()).encode() if text else _bytes(array))
    return digest.hexdigest()


def _bytes(array: Array) -> Any:
    """Return the bytes of an array, without a copy."""
    return array.reshape(-1).view(np.uint8) if array.nbytes else b""


def _write_npz(path: Path, header: str, arrays: Mapping[str, Array], packed: bool) -> None:
    write = np.savez_compressed if packed else np.savez
    with path.open("wb") as file:
        write(file, allow_pickle=False, header=np.array(header), **arrays)


def _read_npz(path: Path) -> tuple[str, dict[str, Array]]:
    limit = held_by(path.stat().st_size)
    arrays = load_npz(path, "a spike stream", limit)
    _require(arrays)
    if _size(arrays) > limit:
        raise ValueError("it unpacks to more text than a file of its size may")
    return str(arrays.pop("header")), arrays


def _require(held: Any) -> None:
    for name in ("header", *_CORE):
        if name not in held:
            raise ValueError(f"it is no spike stream: it has no {name!r}")


def _write_hdf5(path: Path, header: str, arrays: Mapping[str, Array], packed: bool) -> None:
    import h5py

    # Strings of any length would lie in a heap, in which libhdf5 loses its way at one flipped bit.
    with h5py.File(path, "w") as file:
        file["header"] = _fixed(np.array(header))  # no attribute, which may have 64 kB only
        for name, array in arrays.items():
            options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
            kept = options if packed and array.size else {}
            file.create_dataset(name, data=_fixed(array), **kept)


def _fixed(array: Array) -> Array:
    """Return text as bytes of fixed length, said to be UTF-8; other arrays as they are."""
    import h5py

    if array.dtype.kind != "U":
        return array
    held = np.char.encode(array, "utf-8")
    return held.astype(h5py.string_dtype("utf-8", max(1, held.dtype.itemsize)))


def _read_hdf5(path: Path) -> tuple[str, dict[str, Array]]:
    import h5py

    def array(held: Any) -> Array:
        text = h5py.check_string_dtype(held.dtype)
        if text is None or (text.length is not None and text.encoding == "ascii"):
            return np.asarray(held[()])  # numbers, or bytes
        return np.asarray(held.asstr()[()]).astype(str)

    with h5py.File(path, "r") as file:
        _require(file)
        names = [*_CORE, *(f"samples/{name}" for name in file.get("samples", {}))]
        return str(array(file["header"])), {name: array(file[name]) for name in names}
