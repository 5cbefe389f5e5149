"""Peers in early inference: rows, choices and table from traces whose answer is known."""

import copy
import json
import math
import re
from dataclasses import replace

import pytest
import torch
from matplotlib.axes import Axes
from torch import Tensor

from benchmarks import record
from benchmarks.keywords import peers, peers_report
from benchmarks.keywords.peers import PeersRun, Splits, Training, measure
from benchmarks.keywords.task import KeywordOptions
from benchmarks.task import command
from rc_snn import exits
from rc_snn.exits import exit_at

T, K = 20, 4
HEARD = torch.arange(T).double() * 40 + 200
HEARD[-1] = HEARD[-2]  # the clip's end cuts the last step
NETWORKS = (
    Training("eos"),
    Training("max_pool"),
    Training("every_step"),
    Training("rc", 0.0),
    Training("rc", 0.2),
    Training("random_theta"),
    Training("random_theta_prefix"),
)


def labels(n: int, seed: int) -> Tensor:
    return torch.randint(K, (n,), generator=torch.Generator().manual_seed(seed))


def logits(y: Tensor, onset: float, seed: int) -> Tensor:
    """Return logits that begin to know the class at about a step."""
    generator = torch.Generator().manual_seed(seed)
    at = onset + 4 * torch.rand(len(y), generator=generator)
    known = (torch.arange(T).unsqueeze(1) - at).clamp(0, 4).unsqueeze(2)
    noise = torch.randn(T, len(y), K, generator=generator)
    return known * torch.nn.functional.one_hot(y, K) + noise


def splits(seed: int = 0, networks=NETWORKS) -> Splits:
    """Return traces in which each network is two steps earlier than the one before."""
    held_out, test = labels(120, 1000 + seed), labels(200, 2000 + seed)
    onset = {n: 10.0 - 2 * i for i, n in enumerate(networks)}
    return Splits(
        {n: logits(held_out, onset[n], 10 * i + seed) for i, n in enumerate(networks)},
        held_out,
        {n: logits(test, onset[n], 10 * i + seed + 5) for i, n in enumerate(networks)},
        test,
        HEARD,
    )


def measured(s: Splits) -> dict:
    return measure(s.validation, s.validation_labels, s.test, s.test_labels, s.heard_ms)


@pytest.fixture(scope="module", autouse=True)
def _few_choices():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers, "PRICES", (1.0, 0.1))
        patch.setattr(peers, "BLOCKS", (4,))
        yield


@pytest.fixture(scope="module")
def metrics():
    return measured(splits())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers.Peers, "runs", lambda _, options: planned(options))
        patch.setattr(peers, "splits_of", lambda seed, _: splits(seed))
        options = KeywordOptions(train=True, profile="quick", seeds=(0, 1, 2), results=place)
        assert command(peers.TASK, options) == 0
        before = {p: p.stat().st_mtime_ns for p in place.glob("peers/*.json")}
        patch.setattr(peers, "measure", lambda *_: pytest.fail("the record was not used"))
        assert command(peers.TASK, options) == 0
        assert {p: p.stat().st_mtime_ns for p in place.glob("peers/*.json")} == before
    return place / "peers"


def planned(options: KeywordOptions) -> list[PeersRun]:
    return [PeersRun("quick", seed, NETWORKS, {"of": f"seed {seed}"}) for seed in options.seeds]


def test_each_training_and_rule_has_its_rows(metrics):
    rules = list(peers.RULES.values())
    wanted = {f"EOS + {r}" for r in rules}
    wanted |= {f"RC random θ + prefix + {r}" for r in rules}
    trained = ("max-pooling loss", "every-step loss", "RC random θ")
    wanted |= {f"{name} + {r}" for name in trained for r in rules[:2]}
    wanted |= {"RC β=0 + θ", "RC β=0.2 + θ"}
    wanted |= {f"RC {b} β + {r}" for b in ("best", "all") for r in rules}
    assert set(metrics["rows"]) == wanted
    json.dumps(metrics, allow_nan=False)


def test_the_area_is_the_mean_of_the_curve_and_lies_below_the_optimistic_one(metrics):
    for name, row in metrics["rows"].items():
        assert row["area"] == pytest.approx(sum(row["accuracy"]) / T), name
        assert row["area"] <= row["optimistic_area"], name
        assert len(row["accuracy"]) == len(metrics["heard_ms"]) == T


def test_who_knows_earlier_has_the_larger_area(metrics):
    names = ("EOS", "max-pooling loss", "every-step loss", "RC β=0", "RC β=0.2")
    areas = [metrics["rows"][f"{name} + θ"]["area"] for name in names]
    assert areas == sorted(areas)
    assert metrics["rows"]["RC best β + θ"]["beta"] == 0.2
    assert metrics["rows"]["RC best β + θ"]["area"] == areas[-1]


def test_theta_is_swept_as_rank_coded_inference_on_both_splits():
    s = splits()
    network = Training("eos")
    z, y = s.test[network].double(), s.test_labels
    score = exits.log_odds(s.validation[network].double())
    right = s.validation[network].argmax(dim=2) == s.validation_labels
    best: list[tuple[float, float]] = []  # validation accuracy, test accuracy, within 500 ms
    for odds in score.cummax(dim=0).values.unique().tolist():
        theta = torch.sigmoid(torch.tensor(odds)).item()
        assert 0.0 < theta < 1.0
        decision = exit_at(exits.log_odds(z), z, odds)
        if HEARD[decision.step].mean() <= 500.0:
            held_out = exit_at(score, s.validation[network], odds)
            accuracy = right[held_out.step, torch.arange(120)].double().mean().item()
            best.append((accuracy, (decision.label == y).double().mean().item()))
    found = measured(s)["rows"]["EOS + θ"]["at_ms"]["500"]
    highest = max(accuracy for accuracy, _ in best)
    assert found in [test for accuracy, test in best if accuracy == highest]


def test_the_test_labels_choose_nothing():
    s = splits()
    one = measured(s)
    other = measured(replace(s, test_labels=s.test_labels.roll(1)))
    for name, row in one["rows"].items():
        assert row["beta"] == other["rows"][name]["beta"]
        assert row["block"] == other["rows"][name]["block"]
    swapped = {n: z[:, :, [1, 2, 3, 0]] for n, z in s.test.items()}
    third = measured(replace(s, test=swapped, test_labels=(s.test_labels - 1) % K))
    for name, row in one["rows"].items():
        assert row["at_ms"] == pytest.approx(third["rows"][name]["at_ms"]), "names of classes"


def test_the_clock_cuts_the_last_step_and_early_budgets_are_left_out():
    s = splits(networks=NETWORKS[:1])
    late = replace(s, heard_ms=HEARD + 250)
    assert set(measured(late)["rows"]["EOS + θ"]["at_ms"]) == {"500", "600", "800"}
    one, other = measured(s), measured(late)
    assert one["rows"]["EOS + θ"]["accuracy"] == other["rows"]["EOS + θ"]["accuracy"]


def test_a_network_that_always_answers_the_same_has_its_accuracy_as_area():
    s = splits(networks=NETWORKS[:1])
    constant = {
        split: {n: z[-1:].expand(T, -1, -1).contiguous() for n, z in getattr(s, split).items()}
        for split in ("validation", "test")
    }
    row = measured(replace(s, **constant))["rows"]["EOS + gap".replace("gap", "top-2 gap")]
    wanted = (
        (constant["test"][Training("eos")][0].argmax(1) == s.test_labels).double().mean().item()
    )
    assert row["area"] == pytest.approx(wanted)


def test_one_beta_needs_no_composite():
    rows = measured(splits(networks=(Training("eos"), Training("rc", 0.2))))["rows"]
    assert {n for n in rows if n.startswith("RC")} == {f"RC + {r}" for r in peers.RULES.values()}


def test_a_record_per_seed_is_made_once_and_found_again(folder):
    done = peers.find(folder, "quick", (0, 1, 2))
    assert [r.config["seed"] for r in done] == [0, 1, 2]
    assert len(list(folder.glob("*.json"))) == 3
    assert [r.name for r in done] == [run.name for run in planned(KeywordOptions(seeds=(0, 1, 2)))]
    with pytest.raises(ValueError, match=r"0 records of the profile paper.*--train"):
        peers.find(folder, "paper", (0,))
    with pytest.raises(ValueError, match="0 records of the profile quick with seed 7"):
        command(peers.TASK, KeywordOptions(profile="quick", seeds=(7,), results=folder.parent))


def test_the_table_says_what_the_records_hold(folder):
    done = peers.find(folder, "quick", (0, 1, 2))
    text = (folder / "peers.quick.txt").read_text()
    assert text == peers_report.report(done) + "\n"
    values, differences = text.split("minus EOS + θ")
    for name in done[0].metrics["rows"]:
        areas = [100 * r.metrics["rows"][name]["area"] for r in done]
        base = [100 * r.metrics["rows"]["EOS + θ"]["area"] for r in done]
        for part, numbers in (
            (values, areas),
            (differences, [a - b for a, b in zip(areas, base, strict=True)]),
        ):
            mean = sum(numbers) / 3
            half = 4.302653 * math.sqrt(sum((x - mean) ** 2 for x in numbers) / 2 / 3)
            [line] = re.findall(rf"^{re.escape(name)}  .*$", part, re.MULTILINE)
            cell = re.findall(r"([+-]?\d+\.\d+) ±(\d+\.\d+)(\*?)", line)[0]
            assert float(cell[0]) == pytest.approx(mean, abs=0.0051)
            assert float(cell[1]) == pytest.approx(half, abs=0.0051)
            if part is differences:
                assert (cell[2] == "*") == (abs(mean) > half)
                assert cell[0][0] in "+-"
    assert values.count("*") == 0


def test_the_figure_draws_every_row_of_its_panels(folder, tmp_path, monkeypatch):
    done = peers.find(folder, "quick", (0, 1, 2))
    drawn = {}
    plot = Axes.plot
    monkeypatch.setattr(
        Axes,
        "plot",
        lambda *a, **k: drawn.update({k["label"]: a[2]}) or plot(*a, **k),
    )
    peers_report.draw(done, tmp_path / "figure.png")
    wanted = {name for names in peers_report.PANELS.values() for name in names}
    assert set(drawn) == wanted
    for name, line in drawn.items():
        mean = torch.tensor([r.metrics["rows"][name]["accuracy"] for r in done]).mean(dim=0)
        torch.testing.assert_close(torch.as_tensor(line).float(), 100 * mean)
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_a_single_seed_has_no_interval(folder, tmp_path):
    text = peers_report.report(peers.find(folder, "quick", (0,)))
    assert "±" not in text.replace(peers_report.NOTES, "")
    peers_report.draw(peers.find(folder, "quick", (0,)), tmp_path / "figure.png")


def test_records_of_other_rows_or_twice_are_refused(folder, tmp_path):
    done = peers.find(folder, "quick", (0, 1))
    for i, r in enumerate(done):
        other = copy.deepcopy(r)
        if i:
            del other.metrics["rows"]["EOS + entropy"]
        record.save(other, tmp_path)
    with pytest.raises(ValueError, match="same networks and rules"):
        peers.find(tmp_path, "quick", (0, 1))
    changed = done[0].config | {"about": {}}
    name = f"quick_seed0_{record.config_key(changed)}"
    record.save(replace(done[0], config=changed, name=name), tmp_path)
    with pytest.raises(ValueError, match="holds 2 records"):
        peers.find(tmp_path, "quick", (0,))


def test_traces_that_do_not_belong_together_are_refused():
    s = splits(networks=NETWORKS[:2])
    with pytest.raises(ValueError, match="same networks"):
        measured(replace(s, test={Training("eos"): s.test[Training("eos")]}))
    with pytest.raises(ValueError, match="20 steps, heard_ms 19"):
        measured(replace(s, heard_ms=HEARD[:-1]))
    rows = measured(splits(networks=(Training("rc", 0.1),)))["rows"]
    alone = record.new_record("peers", "x", {}, {"rows": rows}, {}, 0.0, record.Source("", None))
    with pytest.raises(ValueError, match=r"Differences are to EOS"):
        peers_report.report([alone])
