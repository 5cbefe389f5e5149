"""What must not change while rooms move: names, decisions, generated texts, fields of checkpoints.

`python tests/golden/golden_values.py` writes what the code says now over what was kept. Do it only
for a change that is meant, and say in the commit which value moved and why.

Decisions are computed in double precision, so that they do not depend on the processor; those of
LIF networks are not, as their libraries' spikes are float32.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from baselines.alpha_psp import alpha_psp
from baselines.continuous_training import ContinuousConfig, Timed, train_continuous
from baselines.lif import TTFSLIF, SnnTorchLIF
from baselines.lif_training import TTFSConfig, train_ttfs
from benchmarks import figure3, record, tables
from benchmarks.figure1 import task as figure1
from benchmarks.figure2 import task as figure2
from benchmarks.keywords import task as keywords
from benchmarks.keywords.task import KeywordOptions
from benchmarks.nmnist.event_digits import runs as nmnist_runs
from benchmarks.nmnist.task import EventDigits
from benchmarks.run import Options
from benchmarks.table1 import tradeoff
from benchmarks.table1.all_rows import ROWS
from benchmarks.table1.options import Table1
from benchmarks.table1.runs import planned
from encoders.functional import encode
from encoders.mnist import Digits, Split, embedded_digits
from rc_snn import checkpoint, network
from rc_snn.models import RCLSTM
from rc_snn.sequences import ContextSequences, Labelled, SpikeSequences
from rc_snn.spikes import Decision
from rc_snn.training import TrainConfig, train

HERE = Path(__file__).parent
PROFILES = ("quick", "paper")
SEEDS = (0, 1, 2)
OURS = tuple(row.name for row in ROWS)


def _digits(name: str, n_train: int, n_test: int) -> Digits:
    """Digits of these sizes: a name depends on nothing else of them."""
    train, test = (
        Split(torch.zeros(n, 1, 1, dtype=torch.uint8), torch.zeros(n, dtype=torch.long))
        for n in (n_train, n_test)
    )
    return Digits(train, test, name, name, "nowhere")


def names() -> dict[str, list[str]]:
    """Names of all runs: every recipe, protocol, polarity and seed of Table 1, and every task's."""
    mnist, few = _digits("MNIST", 60_000, 10_000), _digits("MNIST-5k", 4_000, 1_000)
    found: dict[str, list[str]] = {}
    for profile in PROFILES:
        for recipe in ("weights", "published", "tuned", "augmented"):
            for polarity in (None, ("bright_first", "dark_first")):
                asked = Table1(
                    profile=profile,
                    rows=OURS,
                    recipe=(recipe,),
                    seeds=SEEDS,
                    protocol=("held-out", "paper"),
                    polarity=polarity,
                )
                key = f"table1 {profile} {recipe} {polarity}"
                found[key] = [c.name for d in (mnist, few) for c in planned(asked, d)]
        asked = Table1(
            profile=profile, rows=OURS, n_steps=20, zero_pixels="silent", precision="bf16"
        )
        found[f"table1 {profile} options"] = [c.name for c in planned(asked, mnist)]
        found[f"figure3 {profile}"] = [
            figure3.run_of(figure3.Figure3(profile=profile), d, seed).name
            for d in (mnist, few)
            for seed in SEEDS
        ]
        options = Options(profile=profile, seeds=SEEDS)
        asked = figure1.Figure1Options(profile=profile, seeds=SEEDS)
        found[f"figure1 {profile}"] = [r.name for r in figure1.TASK.runs(asked)]
        found[f"figure2 {profile}"] = [r.name for r in figure2.trainings(options)]
        found[f"nmnist {profile}"] = [
            r.name for r in nmnist_runs(EventDigits(profile=profile, seeds=SEEDS))
        ]
        data = keywords.records(KeywordOptions())[0].config["data"]
        asked = KeywordOptions(profile=profile, seeds=SEEDS)
        found[f"keywords {profile}"] = [r.name for r in keywords.trainings(asked, data)]
    found["tradeoff"] = [run.name for run in tradeoff.temperature_runs(tradeoff.Tradeoff(), mnist)]
    return found


def decisions() -> Iterator[tuple[str, Decision]]:
    """Decisions of every network that ships: on the embedded test digits, or on drawn features."""
    images = embedded_digits().test.images
    frames = 2.0 * torch.from_numpy(np.random.default_rng(0).standard_normal((500, 101, 20)))
    for name in network.names():
        net = network.load(name)
        inputs: Any = ContextSequences(frames)
        if net.reads == "times":
            inputs = encode(images, **net.encoder).double()
        if "lif" not in name:  # their libraries' spikes are float32
            net.model.double()
        yield name, net.decide(inputs)


def as_arrays(decision: Decision) -> dict[str, Any]:
    """What is kept of decisions: times only of those in continuous time."""
    kept = {"label": decision.label.to(torch.uint8), "fired": decision.fired}
    if decision.step is None:
        kept["time"] = decision.time.double()
    else:
        kept["step"] = decision.step.to(torch.uint8)
    return {key: value.numpy() for key, value in kept.items()}


def texts() -> dict[str, str]:
    """Digests of what is generated from records: files in results/, blocks of README and docs."""
    found = {f"block: {name}": text for name, text in tables.blocks(record.RESULTS).items()}
    for path in sorted(record.RESULTS.glob("**/*.md")):
        found[path.relative_to(record.RESULTS).as_posix()] = path.read_text()
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in found.items()}


def fields() -> dict[str, dict[str, list[str]]]:
    """Names of what checkpoints hold: one training of each kind, of one epoch on eight samples."""
    g = torch.Generator().manual_seed(0)
    steps, labels = torch.randint(5, (8, 6), generator=g), torch.arange(8) % 2
    data = Labelled(SpikeSequences(steps, 4), labels)
    times = Timed(torch.rand(8, 6, generator=g, dtype=torch.float64), labels)
    once = {"epochs": 1, "batch_size": 4}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for method in ("rc", "eos"):
            config = TrainConfig(**once, method=method, judge="spike")
            train(RCLSTM(6, 3, 2), data, data, config, Path(folder, method))
        train_ttfs(
            TTFSLIF(SnnTorchLIF(), 6, 3, 2), data, data, TTFSConfig(**once), Path(folder, "ttfs")
        )
        network = alpha_psp((6, 3, 2), generator=g).double()
        train_continuous(
            network, times, times, ContinuousConfig(**once), Path(folder, "continuous")
        )
        for path in sorted(Path(folder).iterdir()):
            state = checkpoint.read(path / "checkpoint.pt")
            found[path.name] = {
                "checkpoint": sorted(state),
                "run": sorted(state["run"]),
                "random": sorted(state["random"]),
                "best": sorted(state["best"]),
                "history": list(state["history"][0]),
                "files": sorted(f.name for f in path.iterdir()),
            }
    return found


def write() -> None:
    """Keep what the code says now."""
    for name, value in (("names", names()), ("texts", texts()), ("fields", fields())):
        (HERE / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")
    kept = {f"{n}/{k}": v for n, d in decisions() for k, v in as_arrays(d).items()}
    np.savez_compressed(HERE / "decisions.npz", **kept)


if __name__ == "__main__":
    write()
