"""Readers of rc_snn, encoders, baselines and benchmarks."""

import gzip
import shutil
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import soundfile
import torch
from safetensors.torch import save_file
from torch import nn

import rc_snn
from baselines.alpha_psp import alpha_psp, load_network
from baselines.network_file import read_parameters
from benchmarks import record
from benchmarks.record import Record
from encoders import idx, keyword_features, nmnist, presets, speech_commands
from encoders.audio import Audio, read_audio, stream_audio
from encoders.log_mel import LogMel
from encoders.recording_files import FORMATS
from encoders.ucr import UCRSet, load_ucr
from rc_snn import checkpoint
from rc_snn.files.tensors import read_tensors, write_tensors
from rc_snn.models import RCLSTM
from rc_snn.network import Network
from rc_snn.sequences import Labelled, SpikeSequences
from rc_snn.training import TrainConfig, train
from tests.fuzz.engine import Reader
from tests.fuzz.mutations import header_of_safetensors, inside_gzip, inside_zip

ROOT = Path(__file__).resolve().parents[2]


def copied(*sources: Path):
    """Return a function that copies these files into a folder."""

    def seeds(folder: Path) -> list[Path]:
        return [Path(shutil.copyfile(source, folder / source.name)) for source in sources]

    return seeds


def placed(path: Path, *parts: str) -> Path:
    """Copy a file to where a data set has it; return the folder of data sets."""
    root = path.parent / "placed"
    place = root.joinpath(*parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, place)
    return root


# -- Networks, checkpoints, traces, records -------------------------------------------------------


def _networks(folder: Path) -> list[Path]:
    names = ("rc-convlstm-10-fast", "lif-norse", "alpha-psp-340-fast-published")
    return [rc_snn.load(name).save(folder / f"{name}.safetensors", half=True) for name in names]


def _old_networks(folder: Path) -> list[Path]:
    about: dict[str, Any] = {"theta": 0.4, "n_steps": 6, "measured": {"n": 9}, "record": "r"}
    lif = rc_snn.load("lif-norse").model
    zoo = {"kind": "lstm", "sizes": [11], "kernel_size": None, "pool": 1, "encoder": {}}
    theirs = {"kind": "ttfs-lif", "library": "norse", "sizes": [784, len(lif.bias_h), 10]}
    heard = {"front_end": asdict(LogMel()), "n_hidden": 5, "n_dense": None, "classes": ["a", "b"]}
    bands = {"mean": torch.zeros(20), "std": torch.ones(20)}
    made: list[tuple[str, nn.Module, dict[str, Any], dict[str, torch.Tensor]]] = [
        ("zoo", RCLSTM(784, 11), about | zoo, {"input_mean": torch.zeros(6, 784)}),
        ("baselines", lif, {"measured": {}, "record": "r", "encoder": {}} | theirs, {}),
        (
            "keywords",
            RCLSTM(420, 5, 2),
            {"theta": 0.9, "measured": {}, "record": "r"} | heard,
            bands,
        ),
    ]
    for name, model, said, more in made:
        texts = {"format": f"rc_snn.{name}/1", "about": record.json.dumps(said)}
        weights = {key: value.half().contiguous() for key, value in model.state_dict().items()}
        save_file(weights | more, folder / f"{name}.safetensors", texts)
    return sorted(folder.glob("*.safetensors"))


def _told(network: Network) -> str:
    about = {f: getattr(network, f) for f in ("name", "theta", "n_steps", "encoder", "classes")}
    return checkpoint.digest([about, dict(network.tensors), network.model.state_dict()])


def _finite(network: Network) -> None:
    assert all(torch.isfinite(w).all() for w in network.model.parameters())
    assert isinstance(network.name, str)
    assert len(network.classes) == network.model.n_classes


def _checkpoint(folder: Path) -> list[Path]:
    steps = torch.arange(120, dtype=torch.int16).view(20, 6) % 5
    data = Labelled(SpikeSequences(steps, 5), torch.arange(20) % 3)
    train(RCLSTM(6, 8, 3), data, data, TrainConfig(epochs=2, batch_size=8), folder / "run")
    return [folder / "run" / "checkpoint.pt"]


def _traces(folder: Path) -> list[Path]:
    path = folder / "traces.safetensors"
    write_tensors(path, {"test": torch.arange(60.0).view(5, 4, 3)}, {})
    return [path]


def _read_record(path: Path) -> Record:
    found = record.read(path)
    if isinstance(found, str):
        raise ValueError(f"{path} {found}")
    return found


def _alpha_psp(folder: Path) -> list[Path]:
    net = alpha_psp((6, 4, 3), generator=torch.Generator().manual_seed(0), n_pulses=2)
    weights = [layer.weight.detach().t().numpy() for layer in net.layers]
    pulses = np.full((3, 2), 0.5)
    arrays = {f"w{i}": w.astype(np.float32) for i, w in enumerate(weights)}
    about: dict[str, Any] = {"theta": 1.2, "decay": 0.18, "sizes": [6, 4, 3], "pulses": pulses}
    np.savez_compressed(folder / "net.npz", **about, **arrays)
    words = ["pulses_per_layer", "1.2", "3", "6", "4", "3", "2"]
    for part in (pulses, *weights):
        words += [f"{x:.6g}" for x in part.ravel().tolist()]
    (folder / "net.txt").write_text(" ".join(words))
    published = ROOT.parent / "shared" / "data" / "alpha_psp" / "alpha_tiny.npz"
    tiny = [Path(shutil.copyfile(published, folder / "tiny.npz"))] if published.exists() else []
    return [folder / "net.npz", folder / "net.txt", *tiny]


def _loaded(path: Path) -> Any:
    read_parameters(path)
    return load_network(path)


# -- Recordings, images, events, series -----------------------------------------------------------


def _clip() -> np.ndarray:
    """Return a word that somebody said, where the data set is; else noise."""
    try:
        found = speech_commands.find_recordings("test", download=False)
        return np.asarray(found.read(found.names[0]))
    except ValueError:
        return np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)


def _recordings(folder: Path) -> list[Path]:
    made = []
    for form in sorted(FORMATS):
        for kind in soundfile.available_subtypes(form):
            path = folder / f"{kind}.{form.lower()}"
            try:
                soundfile.write(path, _clip(), 16_000, format=form, subtype=kind)
                read_audio(path)
            except (soundfile.SoundFileError, ValueError):
                continue  # read only, or not read here
            made.append(path)
    return made


def _heard(path: Path) -> Audio:
    whole = read_audio(path)
    pieces = np.concatenate(list(stream_audio(path)[1]))
    assert np.allclose(whole.samples, pieces, atol=1e-5), "whole and in pieces"
    return whole


def _sound(audio: Audio) -> None:
    assert audio.samples.dtype == np.float32
    assert np.isfinite(audio.samples).all()
    assert len(audio.samples) >= 400


def _zip_of_recordings(folder: Path) -> list[Path]:
    import zipfile

    path, clip = folder / "test.zip", folder / "clip.wav"
    soundfile.write(clip, _clip(), 16_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for word in ("yes", "no"):
            archive.write(clip, f"{word}/a_nohash_0.wav")
    return [path]


def _read_zip(path: Path) -> list[bytes]:
    found = speech_commands.find_recordings("test", path.parent, download=False)
    return [found.read(name).tobytes() for name in found.names]


def _cache_of_features() -> tuple[Any, Any, Any]:
    front_end = LogMel()
    frames = torch.rand(3, front_end.n_frames, front_end.n_mels)
    names, labels = ("no/a_nohash_0.wav", "up/b_nohash_1.wav", "yes/c_nohash_0.wav"), [1, 2, 0]
    made = keyword_features.Features(frames, torch.tensor(labels), names, 1)

    class Source:
        targets = labels
        recordings = speech_commands.Recordings(Path(), "test", names)

        def __len__(self) -> int:
            return 3

    return made, Source(), front_end


def _features(folder: Path) -> list[Path]:
    keyword_features._write(folder / "test_0.npz", _cache_of_features()[0])
    return [folder / "test_0.npz"]


def _read_features(path: Path) -> Any:
    _, source, front_end = _cache_of_features()
    found = keyword_features._read(path, source, front_end)
    if found is None:
        raise ValueError(f"{path} would be made anew")
    return found


def _images(folder: Path) -> list[Path]:
    raw = b"\0\0\x08\3" + struct.pack(">3I", 5, 6, 7) + bytes(range(210))
    (folder / "images").write_bytes(raw)
    (folder / "images.gz").write_bytes(gzip.compress(raw))
    return [folder / "images", folder / "images.gz"]


def _inside(content: bytes, rng: Any, damage: Any) -> bytes:
    """Damage what a gzip stream or a zip archive holds; of what is neither, the bytes."""
    for magic, layer in ((b"\x1f\x8b", inside_gzip), (b"PK", inside_zip)):
        if content.startswith(magic):
            return layer(content, rng, damage)
    return damage(content, rng)


def _saccade(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    events = rng.integers(0, 34, (300, 5)).astype(np.uint8)
    events[::50, 1] = 240
    (folder / "00001.bin").write_bytes(events.tobytes())
    return [folder / "00001.bin"]


def _shd(folder: Path) -> list[Path]:
    rng, path = np.random.default_rng(0), folder / "shd_train.h5"
    counts = rng.integers(5, 40, 6)
    with h5py.File(path, "w") as file:
        for name, dtype in (("times", np.float16), ("units", np.uint16)):
            lists = file.create_dataset(f"spikes/{name}", 6, h5py.vlen_dtype(dtype))
            for i, n in enumerate(counts):
                drawn = rng.uniform(0, 1, n) if name == "times" else rng.integers(0, 700, n)
                lists[i] = np.sort(drawn).astype(dtype)
        file["labels"] = rng.integers(0, 20, 6).astype(np.uint16)
        file["extra/keys"] = [f"word {i}".encode() for i in range(20)]
        file["extra/speaker"] = np.zeros(6, np.uint16)
    return [path]


def _gestures(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    columns = rng.integers(0, 128, 80), rng.integers(0, 128, 80), rng.integers(0, 2, 80)
    np.save(folder / "3.npy", np.stack([*columns, np.arange(80) * 20], axis=1).astype(float))
    return [folder / "3.npy"]


def _gesture(path: Path) -> Any:
    root = placed(path, "DVSGesture", "ibmGestureTrain", "user01_led", "3.npy")
    return presets.DVSGesture.train(root)


def _series(folder: Path) -> list[Path]:
    import aeon.datasets

    shelf = Path(aeon.datasets.__file__).parent / "data"
    names = ("ItalyPowerDemand", "JapaneseVowels", "BasicMotions")
    return copied(*(shelf / name / f"{name}_TRAIN.ts" for name in names))(folder)


def _ucr(path: Path) -> UCRSet:
    name = path.stem.removesuffix("_TRAIN")
    root = placed(path, name, path.name)
    shutil.copyfile(path.parent / "seeds" / path.name, root / name / f"{name}_TEST.ts")
    return load_ucr(name, folder=root)


def _numbers(found: UCRSet) -> None:
    assert torch.isfinite(found.train.inputs.frames).all()
    assert found.train.labels.max() < len(found.classes)


READERS = (
    Reader(
        "network",
        _networks,
        rc_snn.load,
        _told,
        layers=(header_of_safetensors,),
        about="a trained network, safetensors",
    ),
    Reader(
        "network-old",
        _old_networks,
        rc_snn.load,
        check=_finite,
        layers=(header_of_safetensors,),
        about="networks of the three formats before, which have no digest",
    ),
    Reader(
        "checkpoint",
        _checkpoint,
        checkpoint.read,
        checkpoint.digest,
        layers=(header_of_safetensors,),
        about="a stopped training, safetensors",
    ),
    Reader("traces", _traces, read_tensors, checkpoint.digest, layers=(header_of_safetensors,)),
    Reader(
        "record",
        copied(*sorted((ROOT / "results" / "table1").glob("paper_rc-lstm-fast_tuned*"))[:2]),
        _read_record,
        about="a record of results/, JSON",
    ),
    Reader("alpha-psp", _alpha_psp, _loaded, layers=(_inside,), about="α-PSP's authors' files"),
    Reader("recording", _recordings, _heard, check=_sound, about="audio in twelve formats"),
    Reader("speech-commands", _zip_of_recordings, _read_zip, layers=(inside_zip,)),
    Reader(
        "features",
        _features,
        _read_features,
        lambda found: checkpoint.digest([found.frames, found.labels, found.names, found.n_short]),
        layers=(inside_zip,),
        about="the cache of keyword features",
    ),
    Reader(
        "idx",
        _images,
        lambda path: idx._parse(path, idx.unpacked(path, "images"), 3),
        layers=(_inside,),
    ),
    Reader("nmnist", _saccade, nmnist._read_recording),
    Reader(
        "shd",
        _shd,
        lambda path: presets.SHD.train(placed(path, "SHD", "shd_train.h5")),
        about="Heidelberg digits, HDF5",
    ),
    Reader("dvs-gesture", _gestures, _gesture),
    Reader("ucr", _series, _ucr, check=_numbers, about="UCR and UEA sets, .ts"),
)
