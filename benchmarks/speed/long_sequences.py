"""What rank coding saves on long sequences: an epoch until the spike against one of full length.

The keyword network that ships (T = 81, 420 inputs) is trained for some batches, at thresholds that
let it answer early or late, and, in turns, torch's own fused LSTM of the same sizes on the whole
sequences. If a step cost the same everywhere, rank coding at a mean spike time t would take t/T of
the full length. The overhead is what it takes beyond that:

    overhead = (time until the spike / time of torch's full length) / (t / T)

Steps are counted until their end, t = mean of t_sp + 1. The target is an overhead of 1.5.
`python -m benchmarks.speed.long_sequences` says what the record in results/long_sequences holds;
`--train` measures, and makes it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.keywords.task import SHIPPED_AS
from benchmarks.record import Record
from benchmarks.report import tables
from benchmarks.run import Measurement, Measures
from benchmarks.task import Task, start
from encoders.keyword_features import load_keywords
from encoders.keyword_network import front_end_of, load_network
from rc_snn.fast.fused import Precision
from rc_snn.models import RCLSTM
from rc_snn.network import Network
from rc_snn.objective import rc_loss
from rc_snn.optimizer import Adam
from rc_snn.progress import progress
from rc_snn.runner import run
from rc_snn.sequences import Labelled

THETAS = (0.2, 0.35, 0.5, 0.7, 0.85, 0.95, 0.99)
TARGET = 1.5
BATCH_SIZE = 128
MAX_NORM = 0.25


@dataclass(frozen=True)
class LongSequencesOptions(Measures):
    """The options of every task, and how much to measure; --train measures."""

    batches: int = 8
    """Batches of 128 clips in a turn; an epoch has 60."""
    repeats: int = 7
    """Turns; what is reported is the median of their ratios, with the range."""
    threads: int | None = 1
    """CPU threads of both programs."""


class TorchLSTM(nn.Module):
    """The same network of torch's own modules, read out at the last step."""

    def __init__(self, model: RCLSTM) -> None:
        super().__init__()
        assert model.dense is not None
        self.lstm = nn.LSTM(model.n_inputs, model.n_hidden)
        self.dense = nn.Linear(model.n_hidden, model.dense.out_features)
        self.output = nn.Linear(model.dense.out_features, model.n_classes)
        with torch.no_grad():
            for name, parameter in model.cell.named_parameters():
                getattr(self.lstm, f"{name}_l0").copy_(parameter)
        self.dense.load_state_dict(model.dense.state_dict())
        self.output.load_state_dict(model.output.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits at the last step."""
        features: Tensor = self.lstm(x)[0][-1]
        logits: Tensor = self.output(torch.relu(self.dense(features)))
        return logits


def ours(
    net: Network, batches: list[Labelled], theta: float | None, precision: Precision
) -> Callable[[], float]:
    """Return a program that trains on the batches, and returns the mean of t_sp + 1."""
    model = RCLSTM(
        net.model.n_inputs,
        net.model.n_hidden,
        net.model.n_classes,
        n_dense=net.model.dense.out_features if net.model.dense is not None else None,
        dense_input=True,
        precision=precision,
    )
    model.load_state_dict(net.model.state_dict())
    optimizer = Adam(model, 0.0, 0.0)  # all the work of Adam, and the same spike times each turn

    def program() -> float:
        ends = 0
        for batch in batches:
            decision, logits = run(model, batch.inputs, theta)
            _descend(rc_loss(logits, batch.labels), model, optimizer)
            assert decision.step is not None
            ends += int((decision.step + 1).sum())
        return ends / sum(map(len, batches))

    return program


def torchs(net: Network, batches: list[Labelled]) -> Callable[[], float]:
    """Return the same of torch's LSTM; its windows are laid out before, at no cost."""
    model = TorchLSTM(net.model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, fused=True)
    n_steps = batches[0].inputs.n_steps
    dense = [torch.stack([b.inputs.at(t) for t in range(n_steps)]) for b in batches]

    def program() -> float:
        for x, batch in zip(dense, batches, strict=True):
            _descend(F.cross_entropy(model(x), batch.labels), model, optimizer)
        return float(n_steps)

    return program


def _descend(loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
    optimizer.step()


class Cost(NamedTuple):
    """One way to train, against torch's full length."""

    name: str
    share: float
    """t/T, steps counted until their end."""
    ratios: list[float]
    """Time over that of torch in the same turn."""

    @property
    def overheads(self) -> list[float]:
        """Return the ratios over the share."""
        return [ratio / self.share for ratio in self.ratios]


def measure(net: Network, batches: list[Labelled], repeats: int) -> list[Cost]:
    """Time all programs in turns, each next to torch's."""
    reference = torchs(net, batches)
    programs = {f"RC, θ = {theta:g}": ours(net, batches, theta, "float32") for theta in THETAS}
    programs["EOS"] = ours(net, batches, None, "float32")
    programs["EOS, bf16 products"] = ours(net, batches, None, "bf16")
    ratios: dict[str, list[float]] = {name: [] for name in programs}
    shares = {name: program() / reference() for name, program in programs.items()}  # warms up, too
    for _ in progress(range(repeats), "epochs in turns", unit="turns"):
        for name, program in programs.items():
            ratios[name].append(_seconds(program) / _seconds(reference))
    return [Cost(name, shares[name], ratios[name]) for name in programs]


def _seconds(program: Callable[[], float]) -> float:
    began = time.perf_counter()
    program()
    return time.perf_counter() - began


def report(done: Record) -> str:
    """Lay out what was measured, and say whether the target is met."""
    m, about = done.machine, done.metrics
    found = [Cost(**one) for one in about["measured"]]
    lines = [
        "An epoch until the spike against the full length in torch's own LSTM: keywords, T = 81, "
        "420-128-32-9,",
        f"batches of {BATCH_SIZE}, {about['batches']} batches a turn, {about['repeats']} turns "
        f"(median, range); {m['threads']} threads, load {m['load'][0]:g}, {m['cpu']}, torch "
        f"{done.versions['torch']}",
        "",
    ]
    rows = [("training", "t/T", "time / torch", "overhead")]
    rows += [
        (one.name, f"{one.share:.3f}", _spread(one.ratios), _spread(one.overheads)) for one in found
    ]
    lines += tables.text(rows, "<>", widths=(20, 6, 22, 20))
    worst = max((x for x in found if x.name.startswith("RC")), key=lambda x: median(x.overheads))
    word = "met" if median(worst.overheads) <= TARGET else "MISSED"
    lines += [
        "",
        f"target, overhead <= {TARGET:g} at any mean spike time: {word}; the largest is "
        f"{median(worst.overheads):.2f} at t/T = {worst.share:.3f}",
        "overhead = (time / torch's) / (t/T), t = mean of t_sp + 1. float32 in both, but for the "
        "last line.",
    ]
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{median(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def make(run: Measurement, options: LongSequencesOptions, command: str) -> Record:
    """Train on some batches at each threshold, beside torch's LSTM."""
    net = load_network(SHIPPED_AS)
    training = load_keywords(options.data, front_end=front_end_of(net)).sequences("train")
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(0))
    batches = [training.rows(part) for part in order.split(BATCH_SIZE)[: options.batches]]

    def costs() -> dict[str, Any]:
        found = measure(net, batches, options.repeats)
        about = {"batches": len(batches), "repeats": options.repeats}
        return about | {"measured": [one._asdict() for one in found]}

    return run.record(costs, command)


class LongSequences(Task):
    """What rank coding saves on long sequences, against torch's LSTM of full length."""

    name, options = "long_sequences", LongSequencesOptions
    make = staticmethod(make)

    def runs(self, options: LongSequencesOptions) -> list[Measurement]:
        """Return the one run."""
        config = {
            "network": load_network(SHIPPED_AS).record,
            "thetas": list(THETAS),
            "batch_size": BATCH_SIZE,
            "threads": options.threads or 1,
        }
        return [Measurement(self.name, config)]

    def text(self, records: Sequence[Record]) -> str:
        """Return the overheads, and whether the target is met."""
        return "\n".join(map(report, records))


TASK = LongSequences()

if __name__ == "__main__":
    start(TASK)
