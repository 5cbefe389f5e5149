"""Folders of idx files: any size, raw or packed, and files that must be refused."""

import gzip
import hashlib
import struct

import numpy as np
import pytest
import torch

from encoders import load_idx
from encoders.fetch import DataError

HEIGHT, WIDTH = 5, 7


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def contents() -> dict[str, bytes]:
    random = np.random.default_rng(0)
    files = {}
    for part, n in (("train", 6), ("t10k", 3)):
        images = random.integers(0, 256, (n, HEIGHT, WIDTH)).astype(np.uint8)
        labels = random.integers(0, 10, n).astype(np.uint8)
        files[f"{part}-images-idx3-ubyte"] = idx(images)
        files[f"{part}-labels-idx1-ubyte"] = idx(labels)
    return files


def write(folder, contents, packed: bool = False):
    for name, raw in contents.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(raw) if packed else raw)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_images_of_any_size_are_read(tmp_path, contents, packed):
    data = load_idx(write(tmp_path, contents, packed), name="Fashion")
    for split, part, n in ((data.train, "train", 6), (data.test, "t10k", 3)):
        images = np.frombuffer(contents[f"{part}-images-idx3-ubyte"], np.uint8, offset=16)
        labels = np.frombuffer(contents[f"{part}-labels-idx1-ubyte"], np.uint8, offset=8)
        assert torch.equal(split.images, torch.from_numpy(images.copy()).view(n, HEIGHT, WIDTH))
        assert split.labels.tolist() == labels.tolist()
        assert split.labels.dtype == torch.int64
    assert (data.name, data.title) == ("Fashion", "Fashion (6 train / 3 test)")


def test_other_names_of_the_parts(tmp_path, contents):
    renamed = {name.replace("t10k", "emnist-test"): raw for name, raw in contents.items()}
    data = load_idx(write(tmp_path, renamed), parts=("train", "emnist-test"))
    assert (data.name, len(data.test.labels)) == (tmp_path.name, 3)


TRAIN, LABELS, TEST = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
)


@pytest.mark.parametrize("missing", [TRAIN, LABELS, TEST, "t10k-labels-idx1-ubyte"])
def test_a_missing_file_is_named(tmp_path, contents, missing):
    del contents[missing]
    with pytest.raises(DataError, match=rf"holds no {missing}\[.gz\]"):
        load_idx(write(tmp_path, contents))


def test_what_is_wrong_with_a_file_is_said(tmp_path, contents):
    images, labels = contents[TRAIN], contents[LABELS]
    small = idx(np.zeros((3, 4, 4), np.uint8))
    for changed, message in [
        ({TRAIN: images[:-1]}, "expected 210 bytes behind the header, for 6x5x7, found 209"),
        ({TRAIN: images + b"0"}, "found 211"),
        ({TRAIN: images[:9]}, "found a header of 9 bytes"),
        ({TRAIN: labels}, "found 1 axes: the file holds labels"),
        ({LABELS: images}, "found 3 axes: the file holds images"),
        ({TRAIN: b"\x1f\x8b\x08\x00" + images}, "no idx header but 1f 8b 08 00"),
        ({TRAIN: b""}, "no idx header"),
        ({TRAIN: contents[TEST]}, "train has 3 images and 6 labels"),
        ({TEST: small}, "images of train are 5x7, those of t10k 4x4"),
        ({LABELS: idx(np.zeros(0, np.uint8))}, "expected 0 bytes"),
    ]:
        with pytest.raises(DataError, match=message):
            load_idx(write(tmp_path, contents | changed))


def test_a_truncated_packed_file_is_named(tmp_path, contents):
    write(tmp_path, contents, packed=True)
    path = tmp_path / f"{TEST}.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=rf"{TEST}\.gz: expected an idx file of images, .*broken"):
        load_idx(tmp_path)


def test_contents_are_compared_where_their_digest_is_known(tmp_path, contents):
    write(tmp_path, contents)
    md5 = {name: hashlib.md5(raw).hexdigest() for name, raw in contents.items()}
    load_idx(tmp_path, md5=md5)
    with pytest.raises(DataError, match=rf"{TEST}: expected raw bytes with MD5 0+, found 121"):
        load_idx(tmp_path, md5=md5 | {TEST: "0" * 32})
