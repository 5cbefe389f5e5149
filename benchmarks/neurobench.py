"""Our networks under NeuroBench's metrics, with our own account beside, and why the two differ.

Each network runs twice: until its answers, and to the end of the sequence. `python -m
benchmarks.neurobench` lays out the record in results/neurobench; `--train` measures, and makes it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from benchmarks import record
from benchmarks.record import Record
from benchmarks.report import tables
from benchmarks.run import Measurement, Measures
from benchmarks.task import Task, start
from bridges.neurobench.account import REASONS, Operations, books
from bridges.neurobench.metrics import ContinuousModel, RankCoded, SpikeFrames, measure
from encoders.functional import encode
from encoders.mnist import Split, load_mnist
from encoders.temporal_mnist import take
from rc_snn.network import load
from rc_snn.progress import progress
from rc_snn.spikes import spike_steps

Row = dict[str, Any]


@dataclass(frozen=True)
class NeuroBenchOptions(Measures):
    """The options of every task, and what to measure; --train measures."""

    networks: tuple[str, ...] = (
        "rc-lstm-340-fast",
        "rc-lstm-340-slow",
        "rc-convlstm-20-fast",
        "rc-lif-norse",
        "rc-lif-snntorch",
        "lif-norse",
        "lif-snntorch",
        "alpha-psp-340-fast-published",
        "rel-psp-340-slow",
    )
    """Networks, by the names under which they ship."""
    samples: int = 1000
    """Test images, the first ones."""
    batch_size: int = 10
    """Samples that run together; in large batches NeuroBench's float32 sums are rounded."""


# -- Measuring ----------------------------------------------------------------------------------


def rows(name: str, split: Split, batch_size: int) -> Iterator[Row]:
    """Yield the figures of one shipped network, for each way in which it is written and run.

    Raises:
        ValueError: if there is none of that name.
    """
    net = load(name)
    times = encode(split.images, **net.encoder)
    decision = net.decide(times)
    if net.n_steps is None:
        timing = ContinuousModel(net)
        measured = measure(timing, TensorDataset(times, split.labels), batch_size=batch_size)
        right = (decision.label == split.labels) & torch.isfinite(decision.time)
        yield {
            "network": name,
            "layers": "—",
            "whole": False,
            "neurobench": asdict(measured),
            "accuracy": float(right.double().mean()),
            "centring_bytes": 0,
            "ours": {"acs": float(timing.synaptic_operations(times).mean())},
        }
        return
    data = SpikeFrames(spike_steps(times, net.n_steps), split.labels, net.n_steps)
    known = set()
    for gates in ("cell", "linear"):
        layers = _layers(RankCoded(net, gates=gates))
        if layers in known:  # of other networks than LSTMs there is one form
            continue
        known.add(layers)
        for whole in (False, True):
            network = RankCoded(net, gates=gates, early_exit=not whole)
            measured = measure(network, data, batch_size=batch_size)
            assert decision.step is not None
            found = books(network, decision.step, data.steps)
            seen = Operations(measured.effective_acs, measured.effective_macs, measured.dense)
            yield {
                "network": name,
                "layers": layers,
                "whole": whole,
                "neurobench": asdict(measured),
                "accuracy": float((decision.label == split.labels).double().mean()),
                "centring_bytes": sum(b.numel() * b.element_size() for b in network.buffers()),
                "ours": found.ours._asdict(),
                "differences": {k: amount._asdict() for k, amount in found.differences.items()},
                "unexplained": seen.minus(found.expected)._asdict(),
            }


def _layers(network: nn.Module) -> str:
    """Return the torch layers that hold the recurrent weights."""
    held = list(network.modules())
    kinds: tuple[type[nn.Module], ...] = (nn.LSTMCell, nn.Conv2d, nn.Linear)
    return next(k.__name__ for k in kinds if any(isinstance(module, k) for module in held))


def as_config(options: NeuroBenchOptions) -> dict[str, Any]:
    """Return what decides the figures, but for the images."""
    return {
        "networks": list(options.networks),
        "samples": options.samples,
        "batch_size": options.batch_size,
    }


def make(run: Measurement, options: NeuroBenchOptions, command: str) -> Record:
    """Measure all networks.

    Raises:
        ValueError: if there are not as many images.
    """
    digits, n = load_mnist(options.data), run.config["samples"]
    if not 1 <= n <= len(digits.test.labels):
        raise ValueError(f"samples must be in 1..{len(digits.test.labels)}, got {n}.")
    split = take(digits.test, torch.arange(n))

    def figures() -> dict[str, Any]:
        names = progress(run.config["networks"], "neurobench", unit="networks")
        return {"rows": [r for name in names for r in rows(name, split, run.config["batch_size"])]}

    done = run.record(figures, command)
    return replace(done, versions=done.versions | {"neurobench": metadata.version("neurobench")})


# -- Tables -------------------------------------------------------------------------------------

NOTES = (
    "Operations are per sample. ACs: accumulates, of binary inputs; MACs: multiply-accumulates; "
    "dense: with zeros. Ours: `rc_snn.regimes`, from decision steps, input spikes and the cost of "
    "a step; of α-PSP and ReL-PSP, one accumulate per spike and synapse until the answer.",
    "LSTMCell, Linear, Conv2d: the torch layers that hold the weights, and that NeuroBench counts "
    "(as Linear an LSTM has one bias instead of torch's two). nn.LSTM is none of them: in the "
    "first batch its count fails, which is printed; from the second on it is missing in silence.",
    "Early exit is visible because answered samples leave the batch. NeuroBench counts what passes "
    "a layer: in a batch that waits for its last sample, every sample would cost as much as that.",
    "Centring: the mean that rank-coded LSTMs of the zoo subtract from their input is folded into "
    "a bias of each step, so that the counted input is binary. The footprint has that table.",
    "Activation sparsity is a mean over batches. LSTMs have none, for no h is exactly 0. Of α-PSP "
    "and ReL-PSP, 0 means that NeuroBench sees no activation; it sees no operation either, for "
    "they call no layer: their spike times are solved for.",
    "Neither account has the work inside neurons: nonlinearities, decays, solving for spike times; "
    "but for the products between a cell's gates, in NeuroBench's.",
)


def markdown(done: Record) -> str:
    """Lay out the figures: static and accuracy, operations, early exit, and every difference."""
    found, config, here = done.metrics["rows"], done.config, done.machine
    used = {reason for row in found for reason in row.get("differences", {})}
    unexplained = max(abs(x) for row in found for x in row.get("unexplained", {"": 0.0}).values())
    parts = [
        f"**NeuroBench {done.versions['neurobench']} beside our own account**",
        f"The first {config['samples']:,} test images of {config['data']}, batches of "
        f"{config['batch_size']}; {here['cpu']}, torch {done.versions['torch']}.",
        _table(STATIC, (_static(row) for row in found if not row["whole"])),
        _table(OPERATIONS, (_operations(row) for row in found)),
        _table(EXIT, _early_exit(found)),
        "**From our figures to NeuroBench's**, operations per sample until the answer:",
        _table(DIFFERENCES, (line for row in found if not row["whole"] for line in _bridge(row))),
        f"Not explained, at most, in any run above: {unexplained:.6f} operations per sample.",
        *(f"*{reason}*: {why}" for reason, why in REASONS.items() if reason in used),
        *NOTES,
    ]
    return "\n\n".join(parts) + "\n"


STATIC = (
    "network",
    "layers",
    "accuracy %",
    "ours %",
    "footprint, bytes",
    "of it centring",
    "parameters",
    "connection sparsity",
    "activation sparsity",
)
_OF = ("NeuroBench", "ours", "ratio")
_FIGURES = tuple(f"{kind}, {of}" for kind in ("ACs", "MACs", "dense") for of in _OF)
OPERATIONS = ("network", "layers", "run", *_FIGURES)
EXIT = ("network", "layers", "dense until the answer", "whole", "share", "our share")
DIFFERENCES = ("network", "layers", "", "ACs", "MACs", "dense")
_SEEN = {"acs": "effective_acs", "macs": "effective_macs", "dense": "dense"}


def _static(row: Row) -> list[str]:
    m = row["neurobench"]
    numbers = [f"{100 * m['accuracy']:.2f}", f"{100 * row['accuracy']:.2f}"]
    counts = [f"{x:,}" for x in (m["footprint"], row["centring_bytes"], m["parameter_count"])]
    sparse = [f"{m[f'{of}_sparsity']:.4f}" for of in ("connection", "activation")]
    return [row["network"], row["layers"], *numbers, *counts, *sparse]


def _operations(row: Row) -> list[str]:
    line = [row["network"], row["layers"], "whole" if row["whole"] else "until the answer"]
    for kind, name in _SEEN.items():
        seen, own = row["neurobench"][name], row["ours"].get(kind)
        if row["layers"] == "—":
            line += ["not seen", "—" if own is None else f"{own:,.1f}", "—"]
        else:
            line += [f"{seen:,.1f}", f"{own:,.1f}", f"{seen / own:.4f}" if own else "—"]
    return line


def _early_exit(found: list[Row]) -> Iterator[list[str]]:
    ends = {(row["network"], row["layers"]): row for row in found if row["whole"]}
    for row in found:
        end = ends.get((row["network"], row["layers"]))
        if end is not None and not row["whole"]:
            seen, whole = row["neurobench"]["dense"], end["neurobench"]["dense"]
            share = row["ours"]["dense"] / end["ours"]["dense"]
            line = [row["network"], row["layers"], f"{seen:,.1f}", f"{whole:,.1f}"]
            yield [*line, f"{100 * seen / whole:.2f} %", f"{100 * share:.2f} %"]


def _bridge(row: Row) -> Iterator[list[str]]:
    if "differences" not in row:
        return
    seen = {kind: row["neurobench"][name] for kind, name in _SEEN.items()}
    steps = [("ours", row["ours"], ",")]
    steps += [(reason, amount, "+,") for reason, amount in row["differences"].items()]
    for name, amount, sign in [*steps, ("**NeuroBench**", seen, ",")]:
        numbers = [f"{amount[kind]:{sign}.3f}" if amount[kind] else "0" for kind in _SEEN]
        yield [row["network"], row["layers"], name, *numbers]


def _table(header: Sequence[str], lines: Iterable[list[str]]) -> str:
    return "\n".join(tables.markdown([header, *lines]))


class NeuroBench(Task):
    """Shipped networks by NeuroBench's metrics, and by ours, with what lies between them."""

    name, ending, options = "neurobench", ".md", NeuroBenchOptions
    make = staticmethod(make)

    def runs(self, options: NeuroBenchOptions) -> list[Measurement]:
        """Return the one run."""
        data = load_mnist(options.data).name
        return [Measurement(self.name, as_config(options) | {"data": data})]

    def find(self, options: NeuroBenchOptions) -> list[Record]:
        """Return the records of these networks, whatever the images; that needs none of them.

        Raises:
            ValueError: if there is none.
        """
        folder, asked = options.results / self.name, as_config(options)
        found = [r for r in record.read_all(folder) if r.config == r.config | asked]
        if not found:
            raise ValueError(f"{folder} has no record of {asked}. Add --train to make it.")
        return found

    def text(self, records: Sequence[Record]) -> str:
        """Return the tables."""
        return "\n".join(map(markdown, records))


TASK = NeuroBench()

if __name__ == "__main__":
    start(TASK)
