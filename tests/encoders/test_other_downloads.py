"""What other packages download is there whole or not at all, and fetched by one process."""

import shutil
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tonic.dataset
import torch

from encoders import event_datasets, keyword_features, ucr
from encoders.event_datasets import SHD
from encoders.fetch import DataError, filling
from encoders.keyword_features import Features
from encoders.ucr import load_ucr


def fill(file: h5py.File) -> None:
    """Write three recordings without a spike, as the data set has them."""
    file["extra/keys"], file["extra/speaker"] = np.arange(20), np.arange(3)
    file["labels"] = np.arange(3)
    for name, dtype in (("times", np.float32), ("units", np.int64)):
        ragged = file.create_dataset(f"spikes/{name}", 3, h5py.vlen_dtype(dtype))
        for i in range(3):
            ragged[i] = np.zeros(0, dtype)


@pytest.fixture
def fetched(monkeypatch) -> list[str]:
    """What was asked of a server that answers at once; the third answer breaks off half-way."""
    asked = []

    def archive(url: str, folder: str, **_: Any) -> None:
        asked.append(url.rsplit("/", 1)[-1])
        path = Path(folder, "shd_train.h5")
        path.parent.mkdir(parents=True)  # as tonic does
        if len(asked) == 1:
            path.write_bytes(b"half of it")
            raise RuntimeError("File not found or corrupted.")
        with h5py.File(path, "w") as file:
            fill(file)

    monkeypatch.setattr(tonic.dataset, "download_and_extract_archive", archive)
    return asked


def test_a_set_of_tonic_appears_when_all_of_it_is_there(fetched, tmp_path):
    with pytest.raises(DataError, match=r"File not found or corrupted.*Try again"):
        SHD(tmp_path, download=True)
    assert [p.name for p in (tmp_path / "SHD").iterdir()] == [".shd_train.h5.lock"]
    found = SHD(tmp_path, download=True)
    assert found.location_on_system == str(tmp_path / "SHD")
    assert {p.name for p in (tmp_path / "SHD").glob("[!.]*")} == {"shd_train.h5"}
    SHD(tmp_path)
    assert fetched == ["shd_train.h5.zip"] * 2


def meanwhile(folder: Path, entry: str, do: Any, waiting: Any) -> Any:
    """Do something while a thread, which waits for it, wants the same; return the thread's."""
    found = []
    with filling(folder, entry):
        thread = threading.Thread(target=lambda: found.append(waiting()))
        thread.start()
        thread.join(0.2)
        assert not found, "it did not wait"
        do()
    thread.join(60)
    return found[0]


def test_a_set_of_tonic_that_another_process_has_fetched_meanwhile_is_not_fetched(
    fetched, tmp_path, capsys
):
    def put() -> None:
        with h5py.File(tmp_path / "SHD" / "shd_train.h5", "w") as file:
            fill(file)

    found = meanwhile(tmp_path / "SHD", "shd_train.h5", put, lambda: SHD(tmp_path, download=True))
    assert isinstance(found, event_datasets.SHD)
    assert fetched == []


def test_a_set_of_aeon_appears_when_all_of_it_is_there(tmp_path, monkeypatch):
    datasets = pytest.importorskip("aeon.datasets")
    real, asked = datasets.load_classification, []

    def load(name: str, split: str | None = None, extract_path: str | None = None, **options: Any):
        if split is None:  # the way in which it is fetched here
            asked.append(name)
            folder = Path(str(extract_path), name)
            folder.mkdir(parents=True)
            shipped = Path(datasets.__file__).parent / "data" / name
            shutil.copy(shipped / f"{name}_TRAIN.ts", folder)
            if len(asked) == 1:
                raise ValueError("Could not download files")
            shutil.copy(shipped / f"{name}_TEST.ts", folder)
        return real(name, split=split, extract_path=extract_path, **options)

    monkeypatch.setattr(datasets, "load_classification", load)
    with pytest.raises(ValueError, match="Could not download"):
        load_ucr("ItalyPowerDemand", folder=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".ItalyPowerDemand.lock"]
    assert len(load_ucr("ItalyPowerDemand", folder=tmp_path).test) == 1029
    load_ucr("ItalyPowerDemand", folder=tmp_path)
    assert asked == ["ItalyPowerDemand"] * 2
    assert ucr._place("ItalyPowerDemand", None) is None, "which aeon ships"


def test_features_that_another_process_has_made_meanwhile_are_read(tmp_path, monkeypatch):
    made, key = [], "0123456789abcdef"
    features = Features(torch.zeros(1, 2, 3), torch.zeros(1, dtype=torch.long), ("a",), 0)
    monkeypatch.setattr(keyword_features, "SpeechCommands", lambda *_, **__: [])
    monkeypatch.setattr(keyword_features, "cache_key", lambda *_: key)
    monkeypatch.setattr(keyword_features, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(keyword_features, "_read", lambda *_: made[0] if made else None)
    found = meanwhile(
        tmp_path / "keyword_features",
        f"test_{key}.npz",
        lambda: made.append(features),
        lambda: keyword_features.load_features("test"),
    )
    assert found is features
