"""Model cards: each network that ships, from what its file and its record say.

The cards in docs/MODELS.md are written by `python -m benchmarks.tables --readme`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.record import Record
from benchmarks.report.numbers import spread
from benchmarks.table1.all_rows import ROWS
from rc_snn import network
from rc_snn.network import Network
from rc_snn.progress import duration, progress

FOLDERS = ("table1", "keywords")
"""Of results/: where the records of networks that ship are."""
RECIPES = {
    "published": "as its authors describe it",
    "tuned": "a recipe of ours, from random weights",
    "augmented": "a recipe of ours, on images that are moved at random before each epoch",
    "mapped": "as a ReLU network, and then mapped: nothing is trained by spikes",
}
DRAWN = "by rank coding with drawn thresholds and the loss of the prefix ([anytime](anytime.md))"
"""How the keyword network is trained."""


def markdown(results: Path) -> str:
    """Return the cards of all networks that ship.

    Raises:
        ValueError: if the record that a network names is not there.
    """
    known = {r.name: r for folder in FOLDERS for r in record.read_all(results / folder)}
    parts = []
    for name in progress(network.names(), "model cards", unit="networks"):
        net = network.load(name)
        if net.record not in known:
            raise ValueError(
                f"{name} names the record {net.record}, which is not in {results}. Name the "
                "folder that holds it with --results."
            )
        parts.append(card(net, known[net.record], list(known.values())))
    return "\n".join(parts)


def card(net: Network, done: Record, every: Sequence[Record]) -> str:
    """Return the card of one network, made by one of these records."""
    lines = [f"- **{about}:** {text}." for about, text in _facts(net, done, every)]
    return "\n".join([f"## {net.name}", "", f'`rc_snn.load("{net.name}")`', "", *lines, ""])


def _facts(net: Network, done: Record, every: Sequence[Record]) -> Iterator[tuple[str, str]]:
    c, m = done.config, net.measured
    row = next((row for row in ROWS if row.name == c.get("row")), None)
    what = f"{row.model} {row.architecture}" if row else f"RC-LSTM of {c['task']}"
    yield "model", f"{what}, family {net.family}, {_size(net)}"
    yield "reads", _reads(net)
    yield "data", _data(c)
    yield "trained", _training(done)
    accuracy = f"{100 * m['correct'] / m['n']:.2f} % of {m['n']:,} test samples"
    yield "accuracy", f"{accuracy}, of which {m['n'] - m['fired']:,} had no answer before the end"
    if len(alike := [r for r in every if _kind(r) == _kind(done)]) > 1 and row:
        shown = spread([100 * r.metrics["accuracy"] for r in alike])
        yield "other seeds", f"{shown} % over {len(alike)} seeds, of which this is seed {_seed(c)}"
    yield from _time_and_cost(net, done)
    yield "record", f"[{done.name}](../results/{done.benchmark}/{done.name}.json)"


def _size(net: Network) -> str:
    n = sum(p.numel() for p in net.model.parameters())
    size = (network.SHELF / f"{net.name}.safetensors").stat().st_size
    return f"{n:,} parameters in {size / 1e6:.1f} MB"


def _reads(net: Network) -> str:
    e, at = net.encoder, "" if net.theta is None else f"; it answers at θ = {net.theta:.3g}"
    if net.reads != "times":
        return (
            f"{e['n_mels']} log-mel energies of {e['sample_rate'] / 1000:g} kHz audio each "
            f"{e['hop_ms']:g} ms, with {e['context']} frames of context{at}"
        )
    steps = "in continuous time" if net.n_steps is None else f"in T = {net.n_steps} steps"
    polarity, zeros = e["polarity"].replace("_", " "), e["zero_pixels"]
    undriven = "are silent" if zeros == "silent" else f"spike {zeros}"
    return f"one spike a pixel {steps}, {polarity}; pixels without drive {undriven}{at}"


def _data(c: dict[str, Any]) -> str:
    if "row" not in c:
        sizes = c["data"]["sizes"]
        names = f"a part of Speech Commands: {', '.join(c['data']['classes'])}"
    else:
        sizes, names = [c[f"n_{part}"] for part in ("train", "validation", "test")], c["data"]
    counts = "{:,} samples to train, {:,} to choose by, {:,} to test".format(*sizes)
    return f"{names}; {counts}. Licence: [DATA](DATA.md)"


def _seed(c: dict[str, Any]) -> Any:
    return c["train"]["seed"]


def _kind(done: Record) -> tuple[Any, ...]:
    """Return what records of one line of the table share: all but the seed."""
    c = done.config
    keys = ("row", "recipe", "polarity", "protocol", "profile", "data", "n_steps", "zero_pixels")
    return tuple(c.get(key) for key in keys)


def _training(done: Record) -> str:
    c, n = done.config, len(done.training["history"])
    how = RECIPES[c.get("recipe", "published")] if "row" in c else DRAWN
    dirty = ", with changes that were not committed" if done.dirty else ""
    threads = done.machine["threads"]
    where = done.machine["gpu"] or f"{done.machine['cpu']}, {threads} thread{'s' * (threads > 1)}"
    return (
        f"{how}; seed {_seed(c)}; epoch {done.training['best_epoch'] + 1} of {n} was kept; "
        f"{duration(float(done.seconds))} on {where}; commit {done.commit[:10]}{dirty}"
    )


def _time_and_cost(net: Network, done: Record) -> Iterator[tuple[str, str]]:
    m = done.metrics
    if m["correct"] != net.measured["correct"]:  # the record is of another θ
        yield "mean time", f"{net.measured['mean_heard_ms']:.0f} ms heard at the answer"
        yield "cost", "not recorded at this θ"
        return
    strict, seen = m["strict_clock"], m["input_seen"]
    yield (
        "mean time",
        f"{strict['mean']:.3f} frames until the answer is out ({strict['regime']} on the strict "
        f"clock, {m['step_clock']['regime']} on the step clock), {100 * seen['mean']:.0f} % of the "
        "input spikes seen",
    )
    dense = "" if m["macs"] is None else f"; dense, {m['macs'] / 1e6:.2f} million MACs"
    yield (
        "cost",
        f"{m['synops_ac'] / 1e6:.3f} million accumulates and {m['synops_mac'] / 1e6:.3f} million "
        f"multiply-accumulates a sample{dense}",
    )
