"""N-MNIST as a tonic data set: the subset, tonic's layout, and files that must be refused."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
import tonic

from encoders import fetch, nmnist
from encoders.fetch import DataError
from encoders.functional import EVENT_DTYPE
from encoders.nmnist import FULL, SUBSET, NeuromorphicMNIST, Subset


def drawn(n: int, seed: int) -> np.ndarray:
    """Return n events, sorted by time; some at the same microsecond."""
    random = np.random.default_rng(seed)
    events = np.zeros(n, EVENT_DTYPE)
    events["x"], events["y"] = random.integers(34, size=(2, n))
    events["t"] = np.sort(random.integers(300_000, size=n) // 50 * 50)
    events["p"] = random.integers(2, size=n)
    return events


def packed(recordings: list[np.ndarray], labels: list[int]) -> bytes:
    """Return the bytes of an npz as the subset has them."""
    events = np.concatenate(recordings)
    file = io.BytesIO()
    np.savez_compressed(
        file,
        x=events["x"].astype(np.uint8),
        y=events["y"].astype(np.uint8),
        p=np.packbits(events["p"]),
        t_us=events["t"].astype(np.uint32),
        offsets=np.cumsum([0, *map(len, recordings)]),
        labels=np.array(labels, np.uint8),
        sample_id=np.arange(len(labels), dtype=np.int32) + 7,
    )
    return file.getvalue()


def five_bytes(events: np.ndarray) -> bytes:
    """Return events in the data set's own format: x, y, then polarity and 23 bits of time."""
    return b"".join(
        bytes([int(e["x"]), int(e["y"])]) + (int(e["p"]) << 23 | int(e["t"])).to_bytes(3, "big")
        for e in events
    )


RECORDINGS = {True: [drawn(n, n) for n in (13, 8, 21)], False: [drawn(5, 1), drawn(9, 2)]}
LABELS = {True: [4, 0, 9], False: [2, 7]}


@pytest.fixture(autouse=True)
def no_place_is_named(monkeypatch):
    monkeypatch.delenv("RC_SNN_DATA", raising=False)


@pytest.fixture
def contents(monkeypatch) -> dict[str, bytes]:
    """Expect three training and two test recordings; return the two files."""
    raw = {SUBSET[t].name: packed(RECORDINGS[t], LABELS[t]) for t in (True, False)}
    small = {t: Subset(s.name, hashlib.sha256(raw[s.name]).hexdigest()) for t, s in SUBSET.items()}
    monkeypatch.setattr(nmnist, "SUBSET", small)
    return raw


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def subset(tmp_path, contents) -> Path:
    return write(tmp_path / "subset", contents)


@pytest.fixture
def whole(tmp_path, monkeypatch) -> Path:
    """Write the recordings in tonic's layout, and expect as many."""
    monkeypatch.setattr(nmnist, "FULL", {t: (FULL[t][0], len(LABELS[t])) for t in FULL})
    for train, recordings in RECORDINGS.items():
        for i, (events, label) in enumerate(zip(recordings, LABELS[train], strict=True)):
            folder = tmp_path / "whole" / "NMNIST" / FULL[train][0] / str(label)
            folder.mkdir(parents=True)
            (folder / f"{i:05}.bin").write_bytes(five_bytes(events))
    return tmp_path / "whole"


def one_file(whole: Path) -> Path:
    return next((whole / "NMNIST" / "Test" / "2").iterdir())


@pytest.mark.parametrize("train", [True, False])
def test_the_subset_holds_its_recordings_in_order(subset, train):
    data = NeuromorphicMNIST(subset, train)
    assert (len(data), data.targets, data.name) == (
        len(LABELS[train]),
        LABELS[train],
        "N-MNIST-600",
    )
    assert data.sample_ids == [7 + i for i in range(len(data))]
    for i, events in enumerate(RECORDINGS[train]):
        np.testing.assert_array_equal(data[i][0], events)
        assert data[i][1] == LABELS[train][i]


@pytest.mark.parametrize("train", [True, False])
def test_the_whole_data_set_is_what_tonic_reads_of_it(whole, train, monkeypatch):
    monkeypatch.setattr(tonic.datasets.NMNIST, "_check_exists", lambda self: True)
    theirs, ours = tonic.datasets.NMNIST(str(whole), train), NeuromorphicMNIST(whole, train)
    assert len(ours) == len(theirs) == len(LABELS[train])
    assert ours.name == "N-MNIST"
    for (mine, digit), (its, target) in zip(ours, theirs, strict=True):
        assert digit == target
        for name in "xytp":
            np.testing.assert_array_equal(mine[name], its[name])
    of_label = dict(zip(LABELS[train], RECORDINGS[train], strict=True))
    for events, digit in ours:
        np.testing.assert_array_equal(events, of_label[digit])
    assert [LABELS[train][i] for i in ours.sample_ids] == ours.targets


def test_it_follows_tonics_conventions(subset):
    data = NeuromorphicMNIST(str(subset), train=False)
    assert isinstance(data, tonic.Dataset)
    assert data.sensor_size == tonic.datasets.NMNIST.sensor_size
    assert data.classes == tuple("0123456789")
    assert data.ordering == data.dtype.names == ("x", "y", "t", "p")
    assert repr(data) == "NeuromorphicMNIST"
    events, target = data[-1]
    assert events.dtype == EVENT_DTYPE
    assert type(target) is int
    with pytest.raises(IndexError):
        data[2]


def test_each_transform_is_called_once_on_its_own_part(subset):
    data = NeuromorphicMNIST(
        subset,
        transform=lambda e: ("transform", len(e)),
        target_transform=lambda t: ("target", t),
        transforms=lambda e, t: (("both", e), ("both", t)),
    )
    assert data[1] == (("both", ("transform", 8)), ("both", ("target", 0)))


@pytest.mark.parametrize("form", ["subset", "whole"])
def test_a_transform_that_writes_into_its_events_spoils_no_later_sample(form, request):
    def erase(events):
        events["t"] = 0
        return events

    data = NeuromorphicMNIST(request.getfixturevalue(form), transform=erase)
    for _ in range(2):
        assert not data[0][0]["t"].any()
        assert data.events(0)["t"].any()


def test_events_out_of_order_are_sorted_and_equal_times_keep_their_order(whole):
    events = drawn(40, 3)
    events["t"] = np.random.default_rng(0).integers(5, size=40)
    one_file(whole).write_bytes(five_bytes(events))
    expected = [e for t in range(5) for e in events.tolist() if e[2] == t]
    assert NeuromorphicMNIST(whole, train=False).events(0).tolist() == expected


# Places


def test_places_are_looked_at_in_order_and_a_named_one_alone(tmp_path, contents, monkeypatch):
    monkeypatch.setattr(fetch, "__file__", str(tmp_path / "project" / "encoders" / "fetch.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"No N-MNIST in .*shared/data or .*rc_snn"):
        NeuromorphicMNIST()
    name = SUBSET[True].name
    cached = write(tmp_path / "cache" / "rc_snn" / "nmnist", contents)
    assert NeuromorphicMNIST().origin == str(cached / name)
    shared = write(tmp_path / "shared" / "data" / "nmnist", contents)
    assert NeuromorphicMNIST().origin == str(shared / name)
    by_environment = write(tmp_path / "environment", contents)
    monkeypatch.setenv("RC_SNN_DATA", str(by_environment))
    assert NeuromorphicMNIST().origin == str(by_environment / name)
    by_argument = write(tmp_path / "argument", contents)
    assert NeuromorphicMNIST(by_argument).origin == str(by_argument / name)
    empty = write(tmp_path / "empty", {})
    for options in ({"save_to": empty}, {}):
        monkeypatch.setenv("RC_SNN_DATA", str(empty))
        with pytest.raises(DataError, match=rf"No N-MNIST in {empty}: looked for {name}"):
            NeuromorphicMNIST(**options)


def test_the_subset_is_preferred_to_the_whole_data_set(whole, contents):
    assert NeuromorphicMNIST(whole).name == "N-MNIST"
    write(whole, contents)
    assert NeuromorphicMNIST(whole).name == "N-MNIST-600"


# Files that must be refused


@pytest.mark.parametrize("damage", ["flip", "cut", "swap"])
def test_a_damaged_or_swapped_subset_is_refused(subset, contents, damage):
    path = subset / SUBSET[True].name
    raw = bytearray(contents[path.name])
    if damage == "flip":
        raw[len(raw) // 2] ^= 1
    elif damage == "cut":
        raw = raw[:-10]
    else:
        raw = bytearray(contents[SUBSET[False].name])
    path.write_bytes(raw)
    found = hashlib.sha256(raw).hexdigest()
    expected = hashlib.sha256(contents[path.name]).hexdigest()
    with pytest.raises(
        DataError, match=f"{path.name}: expected the SHA-256 {expected}, found .*{found}"
    ):
        NeuromorphicMNIST(subset)
    assert len(NeuromorphicMNIST(subset, train=False)) == 2  # the other one is good


@pytest.mark.parametrize("change", ["one less", "one more"])
def test_a_folder_with_another_number_of_recordings_is_refused(whole, change):
    path = one_file(whole)
    if change == "one less":
        path.unlink()
    else:
        path.with_name("00009.bin").write_bytes(path.read_bytes())
    n = 1 if change == "one less" else 3
    with pytest.raises(DataError, match=rf"Test: expected 2 recordings .*, found {n}\."):
        NeuromorphicMNIST(whole, train=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "5 bytes each, found 0"),
        (five_bytes(drawn(3, 0))[:-1], "5 bytes each, found 14"),
        (bytes([3, 34, 0, 0, 1]), r"34x34 pixels, found 1 of 1 outside"),
        (bytes([3, 3, 0, 0, 1, 34, 3, 0, 0, 1]), r"34x34 pixels, found 1 of 2 outside"),
        (bytes([0, 240, 0, 0, 0]), r"34x34 pixels, found 0 of 0 outside"),
    ],
    ids=["empty", "cut", "row", "column", "no event but an overflow"],
)
def test_a_damaged_recording_is_refused_when_it_is_read(whole, content, message):
    path = one_file(whole)
    path.write_bytes(content)
    data = NeuromorphicMNIST(whole, train=False)
    with pytest.raises(DataError, match=f"{path}: expected events (of|within) {message}"):
        data[0]
    assert data[1][1] == 7


# The real recordings


@pytest.fixture(scope="module")
def real() -> Path:
    named = os.environ.get("RC_SNN_DATA")
    base = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not (base / "nmnist" / SUBSET[True].name).exists():
        pytest.skip("the N-MNIST recordings are not at hand")
    return base


@pytest.mark.parametrize("train", [True, False])
def test_the_real_subset_is_read_whole(real, train):
    data = NeuromorphicMNIST(real, train)
    assert len(data) == (500 if train else 100)
    assert set(data.targets) == set(range(10))
    first, last = data.events(0), data.events(len(data) - 1)
    for events in (first, last):
        assert (np.diff(events["t"]) >= 0).all()
        assert (events["x"] < 34).all()
        assert 250_000 < events["t"][-1] < 350_000
        assert 0.3 < events["p"].mean() < 0.7
    assert sum(len(events) for events in data.data) == (2_040_027 if train else 385_596)


def test_the_real_subset_has_the_events_of_the_untouched_files(real):
    data = NeuromorphicMNIST(real, train=False)
    files = sorted((real / "nmnist" / "bin").glob("*.bin"))
    assert len(files) == 10
    for path in files:
        index, label = path.stem.split("_label")
        i = data.sample_ids.index(int(index))
        assert data.targets[i] == int(label)
        np.testing.assert_array_equal(nmnist._read_recording(path), data.events(i))


def test_events_are_those_of_tonic_and_the_clock_s_too(whole):
    random, path = np.random.default_rng(0), one_file(whole)
    raw = random.integers(0, 34, (300, 5)).astype(np.uint8)
    raw[::7, 1] = 240
    path.write_bytes(raw.tobytes())
    theirs = tonic.io.read_mnist_file(path, EVENT_DTYPE)
    ours = NeuromorphicMNIST(whole, False).events(0)
    np.testing.assert_array_equal(ours, theirs[np.argsort(theirs["t"], kind="stable")])
    assert ours["t"].max() > 43 * 2**13


def test_a_file_of_clock_events_takes_the_time_of_any_other(whole):
    raw = np.full((1_600_000, 5), 240, np.uint8)  # tonic goes through the whole file for each
    raw[-1] = 0
    one_file(whole).write_bytes(raw.tobytes())
    assert NeuromorphicMNIST(whole, False).events(0)["t"].tolist() == [1_599_999 << 13]
