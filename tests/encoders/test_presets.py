"""SHD, SSC, DVS-Gesture and N-MNIST from files in their own formats, which the tests write."""

import io
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tonic
import torch
from torch import Tensor

import encoders
from encoders import NMNIST, SHD, SSC, DVSGesture
from encoders.fetch import DataError
from encoders.presets import CountFrames
from rc_snn import RCLSTM, TrainConfig, decide, train

WORDS = ["zero", "one", "two", "null", "eins"]


@pytest.fixture(autouse=True)
def no_place_is_named(monkeypatch):
    monkeypatch.delenv("RC_SNN_DATA", raising=False)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refused(*args, **options):
        raise AssertionError("nobody asked for a download")

    monkeypatch.setattr(tonic.dataset, "download_and_extract_archive", refused)


def write_h5(path: Path, n: int, seed: int = 0, late: bool = False) -> list[tuple]:
    """Write spikes as zenkelab's files hold them; return (seconds, units, label) of each sample.

    Word k has a burst in channels around 100 k, and some spikes anywhere.
    """
    random = np.random.default_rng(seed)
    drawn = []
    for i in range(n):
        label = i % len(WORDS)
        centre = 50 + 120 * label
        times = np.concatenate([random.uniform(0.1, 0.6, 150), random.uniform(0.1, 1.3, 50)])
        units = np.concatenate([random.integers(centre, centre + 10, 150),
                                random.integers(0, 700, 50)])  # fmt: skip
        order = np.argsort(times)
        drawn.append((times[order].astype(np.float16), units[order].astype(np.uint16), label))
    if late:
        drawn[-1][0][-1] = 1.5
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        group = file.create_group("spikes")
        for name, dtype, column in [("times", np.float16, 0), ("units", np.uint16, 1)]:
            rows = group.create_dataset(name, (n,), dtype=h5py.vlen_dtype(np.dtype(dtype)))
            for i, sample in enumerate(drawn):
                rows[i] = sample[column]
        file.create_dataset("labels", data=np.array([x[2] for x in drawn], np.uint16))
        extra = file.create_group("extra")
        extra.create_dataset("keys", data=WORDS)
        extra.create_dataset("speaker", data=np.zeros(n, np.uint16))
    return drawn


def write_gestures(folder: Path, n_users: int, seed: int = 0) -> dict[tuple[str, int], np.ndarray]:
    """Write recordings as tonic's archive holds them: `[events, (x, y, p, t in ms)]` per class."""
    random = np.random.default_rng(seed)
    written = {}
    for user in range(n_users):
        place = folder / f"user{user:02}_fluorescent"
        place.mkdir(parents=True)
        for label in range(3):
            n, length_ms = 2000, int(random.integers(3000, 9000))
            events = np.zeros((n, 4), np.int64)
            events[:, 0] = random.integers(40 * label, 40 * label + 10, n)  # the gesture's place
            events[:, 1] = random.integers(60, 70, n)
            events[:, 2] = random.integers(0, 2, n)
            events[:, 3] = np.sort(random.integers(0, length_ms, n))
            np.save(place / f"{label}.npy", events)
            written[place.name, label] = events
    return written


def all_steps(inputs) -> Tensor:
    return torch.stack([inputs.at(t) for t in range(inputs.n_steps)])


def test_shd_is_read_from_its_own_file_every_spike_in_its_step(tmp_path):
    drawn = write_h5(tmp_path / "SHD" / "shd_train.h5", 12)
    data = SHD.train(tmp_path)
    assert data.labels.tolist() == [label for *_, label in drawn]
    expected = np.zeros((100, 12, 1, 700))
    for i, (times, units, _) in enumerate(drawn):
        microseconds = (times.astype(np.float64) * 1e6).astype(int)
        np.add.at(expected, (microseconds // 14_000, i, 0, units), 1)
    assert torch.equal(all_steps(data.inputs).double(), torch.from_numpy(expected))
    assert data.inputs.n_inputs == SHD.n_inputs == 700
    opened = SHD.open(tmp_path)
    assert [name.decode() for name in opened.classes] == WORDS


def test_spikes_after_the_last_step_are_refused_until_more_steps_are_asked_for(tmp_path):
    write_h5(tmp_path / "SHD" / "shd_test.h5", 3, late=True)
    with pytest.raises(ValueError, match="Sample 2 has 108 steps, more than n_steps=100"):
        SHD.test(tmp_path)
    assert replace(SHD, n_steps=108).test(tmp_path).inputs.n_steps == 108
    assert replace(SHD, step_us=20_000).test(tmp_path).inputs.at(75)[2].sum() == 1  # 1.5 s


def test_ssc_has_three_parts(tmp_path):
    for n, part in enumerate(SSC.parts, start=1):
        write_h5(tmp_path / "SSC" / f"ssc_{part}.h5", n, seed=n)
    assert [len(SSC.read(part, tmp_path)) for part in SSC.parts] == [1, 2, 3]
    assert (len(SSC.train(tmp_path)), len(SSC.test(tmp_path))) == (1, 3)
    with pytest.raises(ValueError, match="has the parts"):
        SSC.read("validation", tmp_path)


def test_labels_beyond_the_classes_are_refused(tmp_path):
    write_h5(tmp_path / "SHD" / "shd_train.h5", 5)
    with pytest.raises(ValueError, match="label 2; there are 2 classes"):
        replace(SHD, classes=2).train(tmp_path)


def test_dvs_gesture_shows_the_first_six_seconds_of_every_recording(tmp_path):
    written = write_gestures(tmp_path / "DVSGesture" / "ibmGestureTrain", 2)
    data = DVSGesture.train(tmp_path)
    assert len(DVSGesture.classes) == 11
    opened = DVSGesture.open(tmp_path)
    assert opened.targets == [0, 1, 2] * 2
    for i, events in enumerate(written.values()):
        x, y, p, t = events[events[:, 3] < 6000].T
        expected = np.zeros((100, 2, 128, 128))
        np.add.at(expected, (t // 60, p, y, x), 1)
        one = all_steps(data.inputs.rows(torch.tensor([i])))[:, 0].double()
        assert torch.equal(one, torch.from_numpy(expected))


def test_n_mnist_keeps_every_event(monkeypatch):
    try:
        data = NMNIST.test()
    except DataError:
        pytest.skip("N-MNIST is not at hand")
    opened = encoders.nmnist.NeuromorphicMNIST(train=False)
    counts = all_steps(data.inputs).flatten(2).sum(dim=(0, 2))
    assert counts.tolist() == [len(opened.events(i)) for i in range(len(opened))]


@pytest.mark.parametrize(
    ("preset", "place"),
    [
        (SHD, "SHD/shd_train.h5"),
        (SSC, "SSC/ssc_train.h5"),
        (DVSGesture, "DVSGesture/ibmGestureTrain"),
        (NMNIST, "NMNIST/Train"),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_what_is_not_there_is_said_and_not_downloaded_unasked(preset, place, tmp_path):
    with pytest.raises(DataError, match=f"{place}"):
        preset.train(tmp_path)
    with pytest.raises(AssertionError, match="nobody asked"):  # tonic would begin
        preset.train(tmp_path, download=True)


def test_an_empty_archive_of_gestures_is_refused(tmp_path):
    (tmp_path / "DVSGesture" / "ibmGestureTest").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no recording"):
        DVSGesture.test(tmp_path)


@pytest.mark.parametrize("sensor", [(6, 1, 1), (6, 1, 2), (6, 4, 2)])
def test_count_frames_are_tonics_with_no_event_lost(sensor):
    random = np.random.default_rng(0)
    fields = [("x", int), ("t", int), ("p", int)] + ([("y", int)] if sensor[1] > 1 else [])
    events = np.zeros(300, fields)
    events["t"] = np.sort(random.integers(0, 1000, 300))
    events["t"][-1] = 1000  # on the edge of a window: tonic by itself would lose it
    events["x"] = random.integers(0, 6, 300)
    events["p"] = random.integers(0, sensor[2], 300)
    if sensor[1] > 1:
        events["y"] = random.integers(0, 4, 300)
    ours = CountFrames(sensor, 50)(events)
    to_frame = tonic.transforms.ToFrame(sensor, time_window=50, start_time=0, end_time=1050)
    np.testing.assert_array_equal(ours, to_frame(events.copy()))
    assert ours.sum() == 300


def test_events_of_another_sensor_are_refused(as_user):
    events = np.array([(7, 0, 1)], [("x", int), ("t", int), ("p", int)])
    for wrong in ({"x": 8}, {"t": -1}, {"p": 2}):
        bad = events.copy()
        for name, value in wrong.items():
            bad[name] = value
        with pytest.raises(ValueError, match="outside of the sensor"):
            CountFrames((8, 1, 2), 10)(bad)
    with pytest.raises(ValueError, match="whole number of microseconds"):
        CountFrames((8, 1, 2), 0.5)


@pytest.mark.slow
def test_an_shd_like_set_trains_and_decides_early(tmp_path):
    write_h5(tmp_path / "SHD" / "shd_train.h5", 150, seed=1)
    write_h5(tmp_path / "SHD" / "shd_test.h5", 50, seed=2)
    shd = replace(SHD, classes=5, n_steps=50, step_us=28_000)
    data, test = shd.train(tmp_path), shd.test(tmp_path)
    model = RCLSTM(700, 24, 5)
    config = TrainConfig(epochs=25, batch_size=16, lr=1e-2, theta=0.8, beta=0.02)
    train(model, data, test, config, tmp_path / "run")
    decision = decide(model, test.inputs, config.theta)
    assert (decision.label == test.labels).float().mean() > 0.9
    assert decision.fired.float().mean() > 0.5
    assert decision.step.float().mean() < 40


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [False, True])
def test_a_dvs_like_set_trains_and_decides(lazy, tmp_path):
    write_gestures(tmp_path / "DVSGesture" / "ibmGestureTrain", 6, seed=1)
    write_gestures(tmp_path / "DVSGesture" / "ibmGestureTest", 3, seed=2)
    dvs = replace(DVSGesture, n_steps=10)  # 0.6 s
    data, test = dvs.train(tmp_path, lazy=lazy), dvs.test(tmp_path, lazy=lazy)
    model = RCLSTM(dvs.n_inputs, 16, 3)
    train(model, data, test, TrainConfig(epochs=12, batch_size=6, lr=1e-2), tmp_path / "run")
    decision = decide(model, test.inputs, 0.95)
    assert (decision.label == test.labels).float().mean() > 0.8


def changed(path: Path, change) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def without(name: str):
    return lambda file: file.__delitem__(name)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("labels"), "found the shapes"),
        (without("spikes"), "found the shapes"),
        (without("extra"), "lacks"),
        (lambda f: f.__setitem__("spikes/x", h5py.ExternalLink("a.h5", "/x")), "link to another"),
        (lambda f: f.create_dataset("extra/far", (2**40,), "f8"), "more than a file of its size"),
        (lambda f: f["spikes/units"].__setitem__(2, [1, 2]), "recording 2 .*200 times .* 2 chan"),
        (lambda f: f["spikes/units"].__setitem__(2, [700] * 200), "recording 2 .*in 0..699"),
        (lambda f: f["spikes/times"].__setitem__(2, [np.nan] * 200), "recording 2 .*finite"),
        (lambda f: f["spikes/times"].__setitem__(2, [-1.0] * 200), "recording 2 .*at least|in 0"),
    ],
)
def test_a_file_of_spikes_that_lacks_or_means_something_else_is_refused(tmp_path, change, reason):
    path = tmp_path / "SHD" / "shd_train.h5"
    write_h5(path, 5)
    changed(path, change)
    with pytest.raises(ValueError, match=rf"shd_train\.h5.*({reason})"):
        SHD.train(tmp_path)


def test_a_damaged_file_of_spikes_is_refused_or_read(tmp_path):
    path = tmp_path / "SHD" / "shd_train.h5"
    write_h5(path, 5)
    whole, refused = path.read_bytes(), 0
    for at in range(0, 4_000, 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        try:
            SHD.train(tmp_path)
        except (ValueError, OSError) as error:
            refused += "shd_train.h5" in str(error)
    assert refused > 5


def npy(events: np.ndarray, header: str = "") -> bytes:
    file = io.BytesIO()
    np.save(file, events)
    return file.getvalue().replace(b"(9, 4)", header.encode() or b"(9, 4)")


EVENTS = np.ones((9, 4))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npy(EVENTS, "(9e9,)"), "shape is not valid"),
        (npy(EVENTS, "(9999999999, 4)")[:200], "header|size of its bytes"),
        (npy(np.full((9, 4), np.nan)), "finite"),
        (npy(EVENTS * 128), "in 0..127"),
        (npy(EVENTS * 0.5), "must be whole numbers"),
        (npy(-EVENTS), "in 0"),
        (npy(EVENTS[:, :3]), "not .events, 4."),
        (npy(np.array([[{}] * 4])), "Python objects"),
        (b"", "magic string"),
    ],
)
def test_a_gesture_that_no_camera_has_seen_is_refused(tmp_path, content, reason):
    write_gestures(tmp_path / "DVSGesture" / "ibmGestureTrain", 1)
    path = tmp_path / "DVSGesture" / "ibmGestureTrain" / "user00_fluorescent" / "1.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"1\.npy cannot be read .*({reason})"):
        DVSGesture.train(tmp_path)


def test_an_event_after_years_makes_no_frames_until_then():
    events = np.array([(0, 1, 0, 0), (2, 1, 1, 10**15)], [(c, int) for c in "xpyt"])
    with pytest.raises(ValueError, match=r"is in step 100000000000000, .* too many steps"):
        CountFrames((128, 128, 2), step_us=10)(events)


@pytest.mark.parametrize("p", [(-1, 1), (0, 1), (False, True)])
def test_counts_have_the_polarity_of_any_convention(p):
    dtype = [("x", np.uint16), ("y", np.uint16), ("t", np.uint32), ("p", type(p[0]))]
    events = np.array([(0, 0, 5, p[0]), (2, 1, 12, p[1]), (2, 1, 3, p[1])], dtype)
    counts = CountFrames((3, 2, 2), step_us=10)(events)
    assert np.argwhere(counts).tolist() == [[0, 0, 0, 0], [0, 1, 1, 2], [1, 1, 1, 2]]
    assert counts.sum() == 3


def test_counts_of_fractions_are_refused():
    events = np.array([(0.5, 0, 1)], [("x", float), ("t", int), ("p", int)])
    with pytest.raises(ValueError, match=r"x of events must be whole numbers, got 0\.5"):
        CountFrames((3, 1, 2), step_us=10)(events)
