"""Model cards, held to files and records that are read a second time, by hand."""

import json
import re
from pathlib import Path

import pytest
from safetensors import safe_open

from benchmarks import cards, record
from rc_snn import network

CARDS = dict(
    re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", cards.markdown(record.RESULTS), re.DOTALL | re.M)
)


def test_every_network_that_ships_has_a_card():
    assert sorted(CARDS) == sorted(network.names())


@pytest.mark.parametrize("name", sorted(CARDS))
def test_a_card_says_what_file_and_record_say(name):
    with safe_open(network.SHELF / f"{name}.safetensors", "numpy") as file:
        about = json.loads(file.metadata()["about"])
    [path] = Path(record.RESULTS).glob(f"*/{about['record']}.json")
    made, card = json.loads(path.read_text()), CARDS[name]
    measured = about["measured"]
    n, correct, fired = (measured[key] for key in ("n", "correct", "fired"))
    assert f"{100 * correct / n:.2f} % of {n:,} test samples" in card
    assert f"of which {n - fired:,} had no answer" in card
    assert f"seed {made['config']['train']['seed']};" in card
    epoch, of = made["training"]["best_epoch"] + 1, len(made["training"]["history"])
    assert f"epoch {epoch} of {of} was kept" in card
    assert made["commit"][:10] in card
    assert ("not committed" in card) == made["dirty"]
    assert f"](../{path.relative_to(record.RESULTS.parent).as_posix()})" in card
    if made["metrics"]["correct"] == correct:
        assert f"{made['metrics']['strict_clock']['mean']:.3f} frames" in card
    else:
        assert f"{measured['mean_heard_ms']:.0f} ms heard" in card
    if theta := about.get("theta"):
        assert f"θ = {theta:.3g}" in card
    else:
        assert "θ" not in card


def test_a_network_whose_record_is_elsewhere_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"^alpha-psp-1000-fast names the record .* --results\.$"):
        cards.markdown(tmp_path)
