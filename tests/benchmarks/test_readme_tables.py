"""What README shows of the tasks, computed from the records a second time."""

import re
import zipfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from benchmarks import listen, record
from benchmarks.figure1 import task as figure1
from benchmarks.figure2 import task as figure2
from benchmarks.keywords import peers
from benchmarks.keywords import task as keywords
from benchmarks.keywords.task import KeywordOptions
from benchmarks.listen import Listen
from benchmarks.methods import method_name
from encoders.fetch import DataError
from encoders.speech_commands import find_recordings


def cells(lines: list[str]) -> dict[str, list[str]]:
    """The rows of the table among these lines, by their first cell."""
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    return {name: rest for name, *rest in rows[2:]}


def test_the_two_sequence_table_has_our_networks_the_papers_and_the_distance_to_the_limit():
    limit, *networks = figure2.TASK.find(figure2.Figure2Options())
    by_method = {
        m: [r.metrics for r in networks if r.config["train"]["method"] == m] for m in ("rc", "eos")
    }
    assert len(by_method["rc"]) == len(by_method["eos"]) == 3
    rules = limit.metrics["on_test"].values()
    points = [p for r in rules for p in zip(r["mean_step"], r["counted"], strict=True)]

    def best_at(step: float) -> float:
        """Toss a coin between any two rules, or take one that is faster still."""
        mixed = [
            a + (b - a) * (step - s) / (t - s)
            for (s, a), (t, b) in permutations(points, 2)
            if s <= step <= t and s < t
        ]
        return max(mixed + [a for s, a in points if s <= step])

    shown = cells(figure2.TASK.readme(record.RESULTS))
    published = {"RC, first spike": "95.45 at 14", "EOS, first spike": "96.32 at 23"}
    published |= {"EOS, last step": "96.84 at 40", "EOS, cut after 14 inputs": "89 at 14"}
    for which, when in (("chosen", "epoch kept by validation"), ("last", "last epoch")):
        rc, eos = ([m[which] for m in by_method[method]] for method in ("rc", "eos"))
        spikes = {
            "RC, first spike": [m["account"] for m in rc],
            "EOS, first spike": [m["account"] for m in eos],
        }
        ours = {
            name: [(a["correct"] / a["n"], a["time_to_insight"]) for a in accounts]
            for name, accounts in spikes.items()
        }
        ours["EOS, last step"] = [(m["cut"][39], 39.0) for m in eos]
        ours["EOS, cut after 14 inputs"] = [(m["cut"][13], 13.0) for m in eos]
        for name, points_of in ours.items():
            values = np.array([(100 * a, t, 100 * (best_at(t) - a)) for a, t in points_of])
            mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
            *said, theirs = shown.pop(f"{name}, {when}")
            assert theirs == published[name]
            for cell, *wanted in zip(said, mean, spread, strict=True):
                assert [float(x) for x in cell.split(" ± ")] == pytest.approx(wanted, abs=0.0051)
    assert not shown


def test_the_claims_of_spotting_are_met_or_missed_as_the_counts_say():
    done = figure1.TASK.find(figure1.Figure1Options())
    rc, eos = (
        [r.metrics["spikes"] for r in done if r.config["train"]["method"] == method]
        for method in ("rc", "eos")
    )
    assert len(rc) == len(eos) == 3
    late = [s["positive_only"]["positive_lag"] for s in eos]
    pooled = {lag: sum(x.get(lag, 0) for x in late) for lag in {k for x in late for k in x}}
    shares = {
        "RC accuracy": ([s["first"]["correct"] / s["n"] for s in rc], 0.999),
        "RC positive spikes": (
            [s["first"]["positive_lag"]["0"] / s["n_positive"] for s in rc],
            0.95,
        ),
        "EOS first spikes": ([s["first"]["negative"] / s["first"]["fired"] for s in eos], 0.95),
        "EOS positive spikes": (
            [x.get("1", 0) / s["n_positive"] for x, s in zip(late, eos, strict=True)],
            None,
        ),
    }
    lines = [line for line in figure1.TASK.readme(record.RESULTS) if line.startswith("- ")]
    assert len(lines) == len(shares)
    for line, (claim, (share, least)) in zip(lines, shares.items(), strict=True):
        met = min(share) >= least if least is not None else max(pooled, key=pooled.get) == "1"
        mean, spread = 100 * np.mean(share), 100 * np.std(share, ddof=1)
        assert line.startswith(f"- {claim}"), line
        assert line.endswith(f": {mean:.2f} ± {spread:.2f} %: {'met' if met else 'MISSED'}"), line


def test_peers_are_compared_by_area_with_eos_and_a_threshold():
    done = peers.TASK.find(KeywordOptions())
    areas = {
        name: np.array([100 * r.metrics["rows"][name]["area"] for r in done])
        for name in done[0].metrics["rows"]
    }
    shown = cells(peers.TASK.readme(record.RESULTS))
    assert len(shown) > 5
    for name, (area, gain) in shown.items():
        for values, cell in ((areas[name], area), (areas[name] - areas["EOS + θ"], gain)):
            half = 2.776445 * values.std(ddof=1) / 5**0.5  # t of four degrees of freedom, 97.5 %
            mean, spread = map(float, re.fullmatch(r"([+-]?[\d.]+) ±([\d.]+)", cell).groups())
            assert mean == pytest.approx(values.mean(), abs=0.0051)
            assert spread == pytest.approx(half, abs=0.0051)


def test_the_network_that_ships_is_the_one_of_its_record():
    from encoders.keyword_network import load_network

    net = load_network(keywords.SHIPPED_AS)
    [found] = [r for r in keywords.records(KeywordOptions()) if r.name == net.record]
    train = found.config["train"]
    assert (method_name(train), train["beta"], train["seed"]) == keywords.SHIPPED
    curves = found.metrics["curves"]
    theta = keywords.chosen_theta(found.metrics, found.config["data"]["sizes"][1])
    at = curves["theta"].index(theta)
    assert (net.theta, net.measured["n"]) == (theta, found.metrics["n"])
    assert net.measured["accuracy"] == pytest.approx(curves["test"]["accuracy"][at])
    assert net.measured["mean_heard_ms"] == pytest.approx(curves["test"]["mean_ms"][at])
    assert list(net.classes) == found.config["data"]["classes"]


def test_the_readmes_demonstration_prints_what_it_says(tmp_path, monkeypatch, capsys):
    try:
        recordings = find_recordings("test", download=False)
    except DataError:
        pytest.skip("Speech Commands is not at hand")
    if recordings.path.name != "test.zip":
        pytest.skip("the demonstration is a clip of the subset in three zip files")
    name = "stop/0cb74144_nohash_0.ogg"
    with zipfile.ZipFile(recordings.path) as packed:
        (tmp_path / "stop.ogg").write_bytes(packed.read(name))
    monkeypatch.chdir(tmp_path)
    assert listen.main(Listen(clips=(Path("stop.ogg"),))) == 0
    readme = (record.HOME / "README.md").read_text()
    assert name in readme
    shown = "\n".join(f"    {line}" for line in capsys.readouterr().out.splitlines())
    assert shown in readme
