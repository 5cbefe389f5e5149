"""UCR and UEA sets: those that aeon's wheel ships, for real, and files that the tests write."""

import builtins

import numpy as np
import pytest
import torch

from encoders.fetch import DataError
from encoders.ucr import _held_out, load_ucr


@pytest.fixture
def aeon_datasets():
    return pytest.importorskip("aeon.datasets")


SETS = {  # steps, channels, classes, official training and test series
    "GunPoint": (150, 1, 2, 50, 150),
    "ItalyPowerDemand": (24, 1, 2, 67, 1029),
    "BasicMotions": (100, 6, 4, 40, 40),
    "JapaneseVowels": (29, 12, 9, 270, 370),
    "ArrowHead": (251, 1, 3, 36, 175),
    "PickupGestureWiimoteZ": (361, 1, 10, 50, 50),
}


@pytest.mark.parametrize("name", SETS)
def test_every_series_is_the_archive_s_but_for_its_channels_scale(name, aeon_datasets):
    n_steps, n_channels, n_classes, n_known, n_test = SETS[name]
    found = load_ucr(name, seed=3)
    assert len(found.train) + len(found.validation) == n_known
    assert len(found.test) == n_test
    assert found.test.inputs.frames.shape == (n_steps, n_test, n_channels)
    assert len(found.classes) == n_classes
    x, y = aeon_datasets.load_classification(name, split="test")
    assert [found.classes[k] for k in found.test.labels.tolist()] == y.tolist()
    scale = [
        np.polyfit(
            np.concatenate([one[c] for one in x]),
            np.concatenate(
                [found.test.inputs.frames[: one.shape[1], i, c] for i, one in enumerate(x)]
            ),
            1,
        )
        for c in range(n_channels)
    ]
    for i, one in enumerate(x):
        assert found.test.length[i] == one.shape[1]
        ours = found.test.inputs.frames[:, i]
        assert ours[one.shape[1] :].eq(0).all(), "padding is the mean"
        for c, (slope, shift) in enumerate(scale):
            assert slope > 0
            wanted = torch.from_numpy(slope * one[c] + shift).float()
            torch.testing.assert_close(ours[: one.shape[1], c], wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["GunPoint", "JapaneseVowels"])
def test_the_training_series_alone_are_normalised_to_mean_0_and_deviation_1(name, aeon_datasets):
    train = load_ucr(name).train
    values = torch.cat(
        [train.inputs.frames[:n, i] for i, n in enumerate(train.length.tolist())]
    ).double()
    torch.testing.assert_close(values.mean(0), torch.zeros_like(values[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(0, correction=0), torch.ones_like(values[0]))


def test_validation_is_drawn_from_the_training_series_by_the_seed_and_by_nothing_else(
    aeon_datasets,
):
    one, same, other = (load_ucr("BasicMotions", seed=s) for s in (0, 0, 1))
    assert torch.equal(one.validation.inputs.frames, same.validation.inputs.frames)
    assert not torch.equal(one.validation.inputs.frames, other.validation.inputs.frames)
    assert one.validation.labels.bincount().tolist() == [3, 3, 3, 3]  # 0.3 of 10 of each class
    x, _ = aeon_datasets.load_classification("BasicMotions", split="train")
    known = {round(float(one[0].std() / one[1].std()), 5) for one in x}
    mean_free = one.train.inputs.frames.std(dim=0, correction=0)
    held = one.validation.inputs.frames.std(dim=0, correction=0)
    ratio = torch.cat([mean_free, held])[:, 0] / torch.cat([mean_free, held])[:, 1]
    factor = min(known) / ratio.min().item()
    assert sorted(round(r, 3) for r in (factor * ratio).tolist()) == pytest.approx(
        sorted(known), abs=2e-3, rel=2e-3
    ), "each of the official training series once, in one part or the other"


def test_the_share_holds_for_each_class_and_none_is_left_empty():
    labels = torch.tensor([0] * 10 + [1] * 2 + [2])
    for seed in range(20):
        out = _held_out(labels, 0.3, torch.Generator().manual_seed(seed))
        assert out[:10].sum() == 3
        assert out[10:12].sum() == 1
        assert not out[12], "a lone series is there to learn from"
        assert _held_out(labels, 0.99, torch.Generator().manual_seed(seed))[:10].sum() == 9


def written(folder, name: str, lines: list[str]) -> None:
    place = folder / name
    place.mkdir()
    about = ("timeStamps false", "univariate true", "equalLength false", "classLabel true a b")
    head = "".join(f"@{line}\n" for line in (f"problemName {name}", *about, "data"))
    for split in ("TRAIN", "TEST"):
        (place / f"{name}_{split}.ts").write_text(head + "\n".join(lines) + "\n")


def test_a_set_in_a_folder_of_ones_own_with_series_of_other_lengths(tmp_path, aeon_datasets):
    written(tmp_path, "Mine", ["1,2,3:a", "4,5:b", "1,2:a", "7,8,9,10:b"])
    found = load_ucr("Mine", validation=0.5, folder=tmp_path)
    assert found.classes == ("a", "b")
    assert found.n_steps == 4
    assert found.test.length.tolist() == [3, 2, 2, 4]
    assert found.test.labels.tolist() == [0, 1, 0, 1]
    assert found.test.inputs.frames[2:, 1].eq(0).all()
    assert len(found.train) == len(found.validation) == 2


def test_missing_values_and_senseless_shares_are_refused(tmp_path, aeon_datasets):
    written(tmp_path, "Holes", ["1,?,3:a", "4,5,6:b", "1,2,3:a", "7,8,9:b"])
    with pytest.raises(DataError, match="1 of 4 train series of Holes have missing values"):
        load_ucr("Holes", folder=tmp_path)
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"validation must be a share in \(0, 1\)"):
            load_ucr("GunPoint", validation=share)


@pytest.mark.parametrize(
    "lines",
    [["1,2,3:a", "4,5:c"], ["1,2,3", "4,5:b"], ["1,x,3:a", "4,5,6:b"], ["1,inf,3:a", "4,5:b"], []],
)
def test_a_file_of_series_that_is_damaged_is_named_with_the_reason(lines, tmp_path, aeon_datasets):
    written(tmp_path, "Mine", [*lines, *(lines and ["1,2:a", "3,4:b"])])
    with pytest.raises(DataError, match=r"train series of Mine .*(cannot be read|missing values)"):
        load_ucr("Mine", folder=tmp_path)


def test_without_aeon_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def none(name, *rest, **more):
        if name.startswith("aeon"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", none)
    with pytest.raises(ImportError, match=r'pip install "rc_snn\[aeon\]"'):
        load_ucr("GunPoint")
