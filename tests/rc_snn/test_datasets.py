"""Anybody's data set as sequences: held to the samples themselves, padded with zeros by hand."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tonic.collation
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from encoders.poisson import PoissonSequences
from rc_snn import DenseSequences, Labelled, LoadedSequences, SparseSequences, SpikeSequences
from rc_snn.data.packed import pack
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.runner import decide, trace
from rc_snn.sequences import ContextSequences, in_turn
from rc_snn.training import TrainConfig, train

N, T, F = 12, 9, 5


def counts(n: int = N, *, shape: tuple[int, ...] = (F,), seed: int = 0, most: int = 4):
    """Samples of different lengths with few counts in them, and labels."""
    random = np.random.default_rng(seed)
    lengths = [T, *random.integers(2, T + 1, n - 1)]
    samples = [random.poisson(0.1, (length, *shape)).clip(0, most) for length in lengths]
    return [(x, i % 3) for i, x in enumerate(samples)]


def by_hand(samples, n_steps: int) -> Tensor:
    """All samples `[T, B, …]`, silent behind their ends."""
    first = np.asarray(samples[0][0])
    out = np.zeros((n_steps, len(samples), *first.shape[1:]))
    for i, (x, _) in enumerate(samples):
        x = np.asarray(x)[:n_steps]
        out[: len(x), i] = x
    return torch.from_numpy(out)


def all_steps(inputs) -> Tensor:
    return torch.stack([inputs.at(t) for t in range(inputs.n_steps)]).double()


class Stream(IterableDataset):
    def __init__(self, samples):
        self.samples = samples

    def __iter__(self):
        return iter(self.samples)


class Doubling(list):
    """A data set in memory, by number."""


DTYPES = [bool, np.uint8, np.int8, np.int16, np.uint16, np.int64, np.float16, np.float32, float]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("as_tensor", [True, False])
def test_numbers_of_every_type_are_read_exactly(dtype, as_tensor):
    samples = [(x.astype(dtype), y) for x, y in counts(shape=(2, F))]
    if as_tensor:
        samples = [(torch.from_numpy(x), torch.tensor(y)) for x, y in samples]
    data = Labelled.from_dataset(samples)
    assert torch.equal(all_steps(data.inputs), by_hand(samples, T))
    assert data.inputs.at(0).is_floating_point()
    assert data.labels.tolist() == [i % 3 for i in range(N)]


def test_what_no_byte_holds_keeps_its_type_and_is_never_rounded():
    for value, dtype in [(300, np.int16), (-1, np.int8), (0.1, np.float64), (1e-9, np.float32)]:
        samples = [(np.zeros((T, 40), dtype), 0) for _ in range(3)]
        samples[1][0][4, 7] = value
        inputs = Labelled.from_dataset(samples).inputs
        assert isinstance(inputs, SparseSequences)
        assert inputs.values.numpy().dtype == dtype
        assert inputs.values.tolist() == [samples[1][0][4, 7].item()]
        assert torch.equal(all_steps(inputs), by_hand(samples, T))
    dense = [(np.random.default_rng(0).normal(size=(T, F)), 0) for _ in range(3)]
    inputs = Labelled.from_dataset(dense).inputs
    assert inputs.frames.dtype == torch.float64
    assert torch.equal(all_steps(inputs), by_hand(dense, T))


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.05, 0.3, 0.9, 3.0])
def test_the_smaller_form_is_chosen_and_both_are_exact(rate):
    random = np.random.default_rng(1)
    samples = [random.poisson(rate, (T, 50)) for _ in range(20)]
    pieces, expected = pack(samples), by_hand([(x, 0) for x in samples], T)
    forms = [pieces.sparse(), pieces.dense()]
    for form in forms:
        assert torch.equal(all_steps(form), expected)
        assert torch.equal(all_steps(form.rows(torch.tensor([4, 0, 4]))), expected[:, [4, 0, 4]])
    assert forms[1].nbytes == T * 20 * 50
    assert pieces.packed().nbytes == min(form.nbytes for form in forms)
    entries, total = int((expected > 0).sum()), int(expected.sum())
    assert forms[0].nbytes == min(3 * entries, 2 * total) + 4 * (20 * T + 1)


def test_rows_of_rows_share_the_stored_entries():
    inputs = Labelled.from_dataset(counts(shape=(40,))).inputs
    part = inputs.rows(torch.tensor([5, 2, 7])).rows(torch.tensor([2, 0]))
    assert part.units.data_ptr() == inputs.units.data_ptr()
    assert torch.equal(all_steps(part), all_steps(inputs)[:, [7, 5]])
    assert torch.equal(all_steps(part.to("cpu")), all_steps(part))
    assert len(inputs.rows(torch.zeros(0, dtype=torch.long)).at(0)) == 0


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("lazy", [False, True])
def test_workers_and_laziness_change_nothing(workers, lazy):
    samples = counts(70, shape=(1, F))
    data = Labelled.from_dataset(samples, workers=workers, lazy=lazy)
    expected = by_hand(samples, T)
    assert isinstance(data.inputs, LoadedSequences) == lazy
    parts = torch.randperm(70, generator=torch.Generator().manual_seed(0)).split(16)
    for part, batch in zip(parts, in_turn(data, parts), strict=True):
        assert torch.equal(all_steps(batch.inputs), expected[:, part])
        assert torch.equal(batch.labels, data.labels[part])
    half = data.rows(torch.arange(35))
    assert torch.equal(all_steps(half.rows(torch.tensor([30, 3])).inputs), expected[:, [30, 3]])
    model = RCLSTM(F, 4, 3)
    plain = DenseSequences(expected.float())
    ours, theirs = (decide(model, x, 0.35, batch_size=16) for x in (data.inputs, plain))
    assert torch.equal(ours.step, theirs.step)
    assert torch.equal(ours.scores, theirs.scores)
    ours, theirs = (trace(model, x, batch_size=16) for x in (data.inputs, plain))
    assert torch.equal(ours, theirs)


def test_a_lazy_data_set_is_read_once_for_its_form_and_then_when_asked():
    class Counted(Doubling):
        def __init__(self, samples):
            super().__init__(samples)
            self.asked = []

        def __getitem__(self, i):
            self.asked.append(i)
            return super().__getitem__(i)

    samples = Counted(counts())
    data = Labelled.from_dataset(samples, lazy=True, workers=0)
    assert sorted(set(samples.asked)) == list(range(N))
    samples.asked.clear()
    part = data.rows(torch.tensor([8, 3]))
    assert samples.asked == []
    part.inputs.at(0)
    part.inputs.rows(torch.tensor([1])).at(4)  # what is read stays read
    assert samples.asked == [8, 3]


def test_augmentation_of_a_lazy_data_set_is_drawn_anew_in_every_epoch(tmp_path):
    class Noisy(Doubling):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x + np.random.default_rng().random(x.shape), y

    data = Labelled.from_dataset(Noisy(counts()), lazy=True)
    one, other = (next(iter(in_turn(data, [torch.arange(4)]))) for _ in range(2))
    assert not torch.equal(one.inputs.at(0), other.inputs.at(0))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_training_on_augmented_data_goes_on_with_the_same_draws(workers, tmp_path):
    class Noisy(Doubling):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return torch.from_numpy(x) + torch.rand(x.shape), y

    def trained(folder, *epochs):
        torch.manual_seed(0)
        data = Labelled.from_dataset(Noisy(counts()), lazy=True, workers=workers)
        for n in epochs:
            model = RCLSTM(F, 4, 3)
            train(model, data, data, TrainConfig(epochs=n, batch_size=5), tmp_path / folder)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(trained("at once", 4), trained("stopped", 2, 4))


def loaders(samples):
    """Loaders that all hold these samples in this order, of which some shuffle or pad."""
    equal = [(x if len(x) == T else np.pad(x, [(0, T - len(x)), (0, 0)]), y) for x, y in samples]
    x = torch.from_numpy(np.stack([x for x, _ in equal]))
    y = torch.tensor([y for _, y in equal])

    def time_first(batch):
        return torch.stack([torch.from_numpy(x) for x, _ in batch], 1), [y for _, y in batch]

    return {
        "data set": samples,
        "subset": Subset(samples, range(N)),
        "tensors": TensorDataset(x, y),
        "stream": Stream(samples),
        "plain": DataLoader(samples, batch_size=4),  # torch itself could not batch these
        "shuffled": DataLoader(samples, batch_size=5, shuffle=True),
        "drops none": DataLoader(samples, batch_size=4, drop_last=True),
        "pads": DataLoader(samples, batch_size=4, collate_fn=tonic.collation.PadTensors()),
        "pads, time first": DataLoader(
            samples, batch_size=4, collate_fn=tonic.collation.PadTensors(batch_first=False)
        ),
        "own, time first": DataLoader(equal, batch_size=5, collate_fn=time_first),
        "streamed batches": DataLoader(Stream(equal), batch_size=5),
        "streamed samples": DataLoader(Stream(equal), batch_size=None),
        "workers": DataLoader(samples, batch_size=4, num_workers=2),
    }


@pytest.mark.parametrize("name", loaders(counts()))
def test_every_kind_of_loader_gives_the_same_sequences(name):
    samples = counts()
    data = Labelled.from_dataset(loaders(samples)[name], T)
    assert torch.equal(all_steps(data.inputs), by_hand(samples, T))
    assert data.labels.tolist() == [y for _, y in samples]


def test_a_loader_of_some_samples_gives_those():
    samples = counts()
    chosen = DataLoader(samples, sampler=SubsetRandomSampler([7, 2, 9]))
    assert sorted(Labelled.from_dataset(chosen).labels.tolist()) == [0, 1, 2]
    drawn = DataLoader(samples, sampler=RandomSampler(samples, replacement=True, num_samples=50))
    assert len(Labelled.from_dataset(drawn)) == 50
    with pytest.raises(ValueError, match="drop_last=True and would leave out 2 of 12"):
        Labelled.from_dataset(DataLoader(samples, batch_size=5, drop_last=True))


def test_the_layout_of_own_batches_is_told_by_sizes_or_by_the_user():
    square = [(torch.rand(4, 4, F), [0, 1, 2, 0])]
    own = DataLoader(square, batch_size=None)
    with pytest.raises(ValueError, match=r"\[4, 4, 5\]. Pass batch_first=True"):
        Labelled.from_dataset(own)
    x = square[0][0]
    for first in (True, False):
        got = Labelled.from_dataset(own, batch_first=first).inputs
        assert torch.equal(all_steps(got), (x.transpose(0, 1) if first else x).double())
    later = DataLoader([*square, (torch.rand(7, 4, F), [0] * 4)], batch_size=None)
    got = Labelled.from_dataset(later).inputs  # the second batch tells of both
    assert torch.equal(got.at(1)[:4], x[1])
    with pytest.raises(ValueError, match="neither"):
        Labelled.from_dataset(DataLoader([(torch.rand(5, 6, F), [0] * 4)], batch_size=None))
    with pytest.raises(ValueError, match=r"is \[T, B, …\], unlike batch_first=True"):
        Labelled.from_dataset(later, batch_first=True)


def test_lengths_are_padded_and_cut_only_when_asked():
    samples = counts()
    assert Labelled.from_dataset(samples).inputs.n_steps == T
    assert torch.equal(all_steps(Labelled.from_dataset(samples, 14).inputs), by_hand(samples, 14))
    for lazy in (False, True):
        with pytest.raises(ValueError, match=r"Sample 0 has 9 steps, more than n_steps=4.*cut"):
            Labelled.from_dataset(samples, 4, lazy=lazy)
        cut = Labelled.from_dataset(samples, 4, cut=True, lazy=lazy)
        assert torch.equal(all_steps(cut.inputs), by_hand(samples, 4))
    dense = [(x + 1.5, y) for x, y in samples]
    cut = Labelled.from_dataset(dense, 4, cut=True)
    assert torch.equal(all_steps(cut.inputs), by_hand(dense, 4))


def test_silent_recordings_are_silence_however_they_come():
    events = np.zeros(0, [("t", int), ("x", int), ("p", int)])  # tonic's Compose hands this on
    transposed = np.zeros((1, 1, F, 1))  # what tonic's ToFrame makes of no events
    x = np.ones((3, 1, F))
    for lazy in (False, True):
        data = Labelled.from_dataset([(events, 0), (transposed, 1), (x, 1)], lazy=lazy)
        expected = torch.zeros(3, 3, 1, F)
        expected[:, 2] = 1
        assert torch.equal(all_steps(data.inputs), expected.double())


def test_one_value_per_step_is_a_sequence_of_one_input():
    data = Labelled.from_dataset([(np.arange(4.0), 0), (np.arange(3.0), 1)])
    assert data.inputs.at(2).tolist() == [[2.0], [2.0]]
    bare = DenseSequences(torch.rand(4, 2))
    assert decide(RCLSTM(1, 3, 2), bare, 0.9).step.tolist() == [3, 3]


def test_names_of_classes_become_their_indices():
    x = np.ones((2, F))
    named = [(x, "yes"), (x, "no"), (x, "yes")]
    assert Labelled.from_dataset(named, classes=["no", "yes"]).labels.tolist() == [1, 0, 1]
    assert Labelled.from_dataset(named, classes={"no": 4, "yes": 2}).labels.tolist() == [2, 4, 2]
    assert Labelled.from_dataset([(x, 3), (x, 1)], classes=[1, 3]).labels.tolist() == [1, 0]

    class Knows(Doubling):
        classes = np.array([b"no", b"yes"])

    assert Labelled.from_dataset(Knows(named)).labels.tolist() == [1, 0, 1]
    loader = DataLoader(Subset(Knows(named), [0, 1]))
    assert Labelled.from_dataset(loader).labels.tolist() == [1, 0]
    assert Labelled.from_dataset(Knows([(x, np.int64(1)), (x, 0.0)])).labels.tolist() == [1, 0]
    for data, classes, message in [
        (named, None, r"label 'yes'. Pass classes"),
        (named, ["no"], r"label 'yes', not among classes=\['no'\]"),
        ([(x, 2)], ["no", "yes"], r"label 2; there are 2 classes"),
        ([(x, np.eye(2)[0])], None, "must have one label"),
        ([(x, -1)], None, "must have one label"),
        ([(x, 0.5)], None, "must have one label"),
    ]:
        with pytest.raises(ValueError, match=message):
            Labelled.from_dataset(data, classes=classes)


def test_what_cannot_be_read_is_refused_with_the_call_to_use(as_user):
    events = np.zeros(3, [("t", int), ("x", int), ("p", int)])
    x = torch.rand(T, N, F)
    for data, error, message in [
        ([(events, 0)], TypeError, r"array of events .*ToFrame"),
        ([(x, 0, 1)], TypeError, r"must be \(sample, target\), got tuple of 3"),
        ([(x[0, 0, 0], 0)], TypeError, r"numbers of shape \[T, …\]"),
        ([(np.array(["a"]), 0)], TypeError, r"numbers of shape \[T, …\]"),
        ([(x[0], 0), (x[:, 0, :3], 0)], ValueError, r"shape \[3\], the first \[5\]"),
        ([], ValueError, "empty"),
        (x, TypeError, r"Labelled\(DenseSequences\(x\), labels\)"),
        ((x, x[0]), TypeError, r"Labelled\(DenseSequences\(x\), labels\)"),
        (RCLSTM(3, 3, 2), TypeError, "got RCLSTM"),
        (7, TypeError, "DataLoader, got int"),
    ]:
        with pytest.raises(error, match=message):
            Labelled.from_dataset(data)
    with pytest.raises(ValueError, match="n_steps"):
        Labelled.from_dataset(counts(), 0)
    with pytest.raises(TypeError, match="lazy=True reads samples when"):
        Labelled.from_dataset(Stream(counts()), lazy=True)


def test_frames_of_bytes_and_of_doubles_train_any_model(tmp_path):
    samples = counts(60, shape=(1, F))
    expected = by_hand(samples, T)
    labels = torch.tensor([y for _, y in samples])
    ends = []
    for k, frames in enumerate([expected.float(), expected.to(torch.uint8), expected]):
        data = Labelled(DenseSequences(frames), labels)
        model = RCLSTM(F, 4, 3)
        train(model, data, data, TrainConfig(epochs=2, batch_size=16), tmp_path / str(k))
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


SHD_SAMPLES, SHD_T, SHD_F, SPIKES = 8156, 100, 700, 8000
"""SHD's training set; spikes of a sample are above what its recordings have on average."""


def test_shd_takes_at_most_a_tenth_of_its_dense_size():
    """Measured on a slice; entries grow with the samples, and nothing else is held."""
    random = np.random.default_rng(0)
    # Words: most spikes in the middle of the recording and in some bands, so that cells repeat.
    rate = np.outer(
        np.exp(-((np.arange(SHD_T) - 35) ** 2) / 800), 1 + np.sin(np.arange(SHD_F) / 40)
    )
    rate *= SPIKES / rate.sum()
    n = 200
    samples = [(random.poisson(rate).astype(np.int16), i % 20) for i in range(n)]
    inputs = Labelled.from_dataset(samples, workers=0).inputs
    held = sum(x.nbytes for x in (inputs.units, inputs.starts, inputs.values) if x is not None)
    assert inputs.nbytes == held
    dense = 4 * SHD_SAMPLES * SHD_T * SHD_F
    assert dense == 2_283_680_000
    assert held / n * SHD_SAMPLES < dense / 10
    some = torch.tensor([3, 190])
    assert torch.equal(all_steps(inputs.rows(some)), by_hand([samples[3], samples[190]], SHD_T))


DVS = """
import tempfile
from pathlib import Path
import numpy as np, torch
from rc_snn import Labelled, TrainConfig, RCLSTM, train

class Gestures:  # 1,077 recordings in the real set
    def __len__(self):
        return 48
    def __getitem__(self, i):
        random = np.random.default_rng(i)
        x = np.zeros((100, 2, 128, 128), np.int16)
        at = random.integers(0, 100 * 2 * 128 * 128, 350_000)  # events of a recording
        np.add.at(x.reshape(-1), at, 1)
        return x, i % 11

data = Labelled.from_dataset(Gestures(), workers=0)
with tempfile.TemporaryDirectory() as folder:
    train(RCLSTM(2 * 128 * 128, 32, 11), data, data.rows(torch.arange(4)),
          TrainConfig(epochs=1, batch_size=32, theta=0.99), Path(folder))
# Of this program alone: what getrusage says begins with the peak of the process that started it.
[peak] = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
print(data.inputs.nbytes, int(peak.split()[1]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's peak memory")
def test_dvs_gesture_trains_within_4_gigabytes():
    """A slice is trained; what the other recordings would add is what they take in memory."""
    done = subprocess.run([sys.executable, "-c", DVS], capture_output=True, text=True, check=True)
    held, peak = map(int, done.stdout.split())
    assert held / 48 < 1.1e6
    assert peak + held / 48 * (1077 - 48) < 4e9


@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32, torch.uint32, torch.int64])
def test_whole_numbers_that_float32_would_round_are_refused(dtype, as_user):
    """2^24 + 1 is 2^24 in float32."""
    held = DenseSequences(torch.full((2, 1, 3), 60_000).to(dtype))
    assert held.rows(torch.tensor([0, 0])).at(1).tolist() == [[60_000.0] * 3] * 2
    if dtype != torch.uint16:
        with pytest.raises(ValueError, match="must be within ±2"):
            DenseSequences(torch.full((2, 1, 3), 2**24 + 1).to(dtype))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.tensor([[0], [1]]), r"Pass x\.squeeze\(1\)"),
        (torch.eye(2).long(), "one-hot"),
        (torch.tensor([0, -100]), "got -100 at position 1"),
    ],
)
def test_labels_that_are_no_class_of_each_sample_are_refused(labels, said, as_user):
    with pytest.raises(ValueError, match=said):
        Labelled(DenseSequences(torch.zeros(5, 2, 3)), labels)


def test_labels_of_any_integers_are_held_as_int64(as_user):
    for dtype in (torch.uint8, torch.int16, torch.bool):
        data = Labelled(DenseSequences(torch.zeros(5, 2, 3)), torch.tensor([1, 0]).to(dtype))
        assert (data.labels.dtype, data.labels.tolist()) == (torch.int64, [1, 0])


@pytest.mark.parametrize("label", [float("nan"), float("inf"), 1.9, [0, 1]])
def test_a_sample_whose_label_is_no_index_is_refused(label, as_user):
    with pytest.raises(ValueError, match="Sample 0 must have one label"):
        Labelled.from_dataset([(np.zeros((T, F)), label)])


def test_samples_in_the_other_byte_order_are_the_same_numbers():
    x = np.arange(T * F, dtype=">i4").reshape(T, F) * 300
    read = all_steps(Labelled.from_dataset([(x, 0)]).inputs)
    assert read[:, 0].tolist() == x.tolist()


def _kinds():
    frames = torch.arange(12.0).view(3, 2, 2)
    steps = torch.tensor([[0, 1], [2, 3]])
    images = torch.zeros(2, 1, 2, dtype=torch.uint8)
    return {
        "dense": DenseSequences(frames),
        "sparse": pack([np.eye(3), np.eye(3)]).sparse(),
        "spikes": SpikeSequences(steps, 3),
        "windows": ContextSequences(torch.zeros(2, 4, 1), context=1),
        "poisson": PoissonSequences(images, torch.tensor([0, 1]), 3, 0.5),
    }


@pytest.mark.parametrize("kind", ["dense", "sparse", "spikes", "windows", "poisson"])
def test_there_is_no_step_before_the_first_or_after_the_last(kind, as_user):
    data = _kinds()[kind]
    assert torch.equal(data.at(np.int64(2)), data.at(2))
    for step in (-1, 3, 1.0):
        with pytest.raises(ValueError, match="step must be"):
            data.at(step)


def test_entries_of_another_sample_are_refused(as_user):
    units, starts = torch.tensor([1, 0]), torch.tensor([0, 1, 2])
    right = (units, None, starts, 1, (2,), torch.arange(2))
    assert SparseSequences(*right).at(0).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    for at, wrong in (
        (0, torch.tensor([2, 0])),
        (0, torch.tensor([-1, 0])),
        (1, torch.tensor([1.0, math.nan])),
        (1, torch.ones(3)),
        (2, torch.tensor([0, 2, 1])),
        (2, torch.tensor([0, 1, 3])),
        (3, 3),
        (5, torch.tensor([0, 2])),
    ):
        parts = [*right]
        parts[at] = wrong
        with pytest.raises(ValueError, match=r"units|value|starts|index"):
            SparseSequences(*parts)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_inputs_that_are_no_numbers_are_refused_where_they_come_in(value, as_user):
    frames = torch.zeros(3, 2, 2)
    frames[1, 1, 1] = value
    for make in (
        lambda: DenseSequences(frames),
        lambda: DenseSequences(frames.half()),
        lambda: ContextSequences(frames, context=1),
    ):
        with pytest.raises(ValueError, match="1 of 12 values of frames are NaN or infinite"):
            make()
    full = torch.full((3, 2, 2), 60_000.0).half()  # whose sum is beyond float16
    assert torch.equal(DenseSequences(full).frames, full)


def test_an_image_is_not_cut_into_another_with_as_many_pixels(as_user):
    model = RCConvLSTM((2,), 3, image_shape=(2, 6))
    with pytest.raises(ValueError, match=r"reads images \[2, 6\], got sequences of \[6, 2\]"):
        decide(model, DenseSequences(torch.rand(3, 1, 6, 2)), 0.9)
    x = torch.rand(3, 1, 2, 6)
    answers = [decide(model, DenseSequences(y), 0.9) for y in (x, x.flatten(2), x.unsqueeze(2))]
    for other in answers[1:]:
        assert torch.equal(other.scores, answers[0].scores)
