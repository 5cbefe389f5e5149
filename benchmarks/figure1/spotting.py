"""Networks that spot sequences: how they are trained, and what their spikes are counted for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from benchmarks.record import Record
from benchmarks.run import Data, Options, TaskModel, TaskRun, recorded, trained
from encoders.sequence_spotting import N_STEPS, RUN, Limit, Spotting, draw, optimal_rule
from rc_snn import exits
from rc_snn.regimes import account
from rc_snn.runner import trace
from rc_snn.sequences import Labelled
from rc_snn.spikes import first_spike
from rc_snn.training import Method, TrainConfig

THETA = 0.95
METHODS: tuple[Method, ...] = ("rc", "eos")
N_EXAMPLES = 30
BATCHES = 50
"""Batches between two validations, an "epoch" of the log (appendix A.1)."""
Judge: TypeAlias = Literal["method", "spike"]
"""What EOS's kept epoch is best at: answers at the end, or first spikes."""


def runs(options: Options, judge: Judge = "method") -> list[TaskRun]:
    """Return the runs behind the figure: both methods, each with every seed.

    Appendix A.1 does not say which epoch is kept; A.2, with the same optimiser and sizes, says the
    one with the highest spiking accuracy on validation. Of rank coding that is what it is trained
    for. Of EOS it is an epoch before the network can tell the sequences apart at their end, which
    the paper says it can; so by default ("method") EOS keeps the best epoch at the end, and "spike"
    is appendix A.2 to the letter.

    The quick profile learns within a minute by a higher rate and a forget bias that the paper does
    not have.
    """
    quick = options.profile == "quick"
    return [
        TaskRun(
            task="figure1",
            profile=options.profile,
            data={
                "n_steps": N_STEPS,
                "run": RUN,
                "n_epoch": BATCHES * 128,
                "n_validation": 2_000,
                "n_test": 20_000 if quick else 100_000,
                "validation_seed": 1_000_003,
                "test_seed": 2_000_003,
            },
            model=TaskModel(1, 125, 2, read_out="sigmoid", forget_bias=1.0 if quick else 0.0),
            train=TrainConfig(
                epochs=20 if quick else 234,  # of the paper's 1.5 million sequences 1,497,600
                method=method,
                batch_size=128,
                lr=1e-3 if quick else 3e-4,
                theta=THETA,
                beta=0.0,
                seed=seed,
                judge="spike" if method == "rc" else judge,
            ),
        )
        for seed in options.seeds
        for method in METHODS
    ]


def data(run: TaskRun) -> tuple[Data, Spotting]:
    """Draw validation and test set; return the sets, and what is known of the test set.

    Their seeds do not depend on the run: all are tested on the same sequences.
    """
    d = run.data

    def drawn(n: int, generator: torch.Generator) -> Spotting:
        return draw(n, generator, n_steps=d["n_steps"], run=d["run"])

    test = drawn(d["n_test"], torch.Generator().manual_seed(d["test_seed"]))
    held_out = torch.Generator().manual_seed(d["validation_seed"])
    return Data(
        validation=drawn(d["n_validation"], held_out).data,
        training=drawn(d["n_epoch"], held_out).data,  # its size counts: every epoch is drawn anew
        test=test.data,
        fresh=lambda generator: drawn(d["n_epoch"], generator).data,
    ), test


def lags(
    step: Int[Tensor, " batch"], first: Int[Tensor, " batch"], which: Bool[Tensor, " batch"]
) -> dict[str, int]:
    """Count by how many steps a spike comes after the first step possible, where `which` holds."""
    counts = Counter((step - first)[which].tolist())
    return {str(lag): counts[lag] for lag in sorted(counts)}


def spiking(
    p: Float[Tensor, "time batch classes"],
    labels: Int[Tensor, " batch"],
    certain: Int[Tensor, " batch"],
    theta: float,
) -> dict[str, Any]:
    """Count what the spikes of both classes tell, and when.

    `first` takes the first spike of either class; a silent sequence answers the likelier class at
    the last step. `positive_only` ignores negative spikes: a sequence is positive if and only if a
    positive spike occurs. Without one its answer is out at the last step.

    Args:
        p: probabilities of the negative and the positive class at each step.
        labels: 1 is positive.
        certain: first step at which the label can be known.
        theta: threshold θ, reached with `>=`.
    """
    positive = labels == 1
    step, fired = first_spike(p, theta)
    at_spike = p[step, torch.arange(len(step))]
    answer = at_spike.argmax(dim=1)
    up = first_spike(p[:, :, 1:], theta)
    return {
        "n": len(labels),
        "n_positive": int(positive.sum()),
        "end_correct": int((p[-1].argmax(dim=1) == labels).sum()),
        "first": {
            "correct": int((answer == labels).sum()),
            "fired": int(fired.sum()),
            "negative": int((fired & (answer == 0)).sum()),
            "fired_of_positives": int((fired & positive).sum()),
            "negative_of_positives": int((fired & positive & (answer == 0)).sum()),
            "silent_negatives": int((~fired & ~positive).sum()),
            "mean_step": float(step.double().mean()),
            "step": torch.bincount(step, minlength=len(p)).tolist(),
            "positive_lag": lags(step, certain, positive & fired & (answer == 1)),
            "negative_lag": lags(step, certain, ~positive & fired & (answer == 0)),
        },
        "positive_only": {
            "correct": int((up.fired == positive).sum()),
            "false": int((up.fired & ~positive).sum()),
            "missed": int((~up.fired & positive).sum()),
            "mean_step": float(up.step.double().mean()),
            "step": torch.bincount(up.step, minlength=len(p)).tolist(),
            "positive_lag": lags(up.step, certain, positive & up.fired),
        },
    }


def examples(
    test: Labelled, certain: Int[Tensor, " batch"], p: Float[Tensor, "time batch classes"]
) -> list[dict[str, Any]]:
    """Return the first test sequences of each class, with activations, by class and step."""
    half = N_EXAMPLES // 2
    chosen = [i for k in (0, 1) for i in (test.labels == k).nonzero().flatten()[:half].tolist()]
    chosen.sort(key=lambda i: (int(test.labels[i]), int(certain[i]), i))
    frames = torch.stack([test.inputs.at(t)[:, 0] for t in range(test.inputs.n_steps)])
    return [
        {
            "bits": "".join(str(int(x)) for x in frames[:, i]),
            "label": int(test.labels[i]),
            "certain": int(certain[i]),
            "positive": [round(x, 6) for x in p[:, i, 1].tolist()],
        }
        for i in chosen
    ]


@torch.no_grad()
def measure(model: Any, test: Labelled, certain: Int[Tensor, " batch"]) -> dict[str, Any]:
    """Account for a trained network on the test set: decisions, spikes of each kind, examples."""
    logits = trace(model, test.inputs, batch_size=1_000)
    decision = exits.exit_at(exits.confidence(logits), logits, THETA)
    p = torch.softmax(logits, dim=2)
    return {
        "account": asdict(account(decision, test.labels, n_steps=len(p), cost=model.cost())),
        "spikes": spiking(p, test.labels, certain, THETA),
        "examples": examples(test, certain, p),
    }


def make(run: TaskRun, options: Options, command: str) -> Record:
    """Train one run, or go on with it, and measure it once."""
    sets, test = data(run)
    done = trained(run, sets, options)
    return recorded(run, done, measure(done.model, sets.test, test.certain), command)


@dataclass(frozen=True)
class Point:
    """A way to answer, one value per seed."""

    name: str
    accuracy: list[float]
    mean_step: list[float]


def of(records: Sequence[Record], method: str) -> list[dict[str, Any]]:
    """Return what the spikes of the networks trained by this method told."""
    return [r.metrics["spikes"] for r in records if r.config["train"]["method"] == method]


def points(records: Sequence[Record]) -> list[Point]:
    """Return the ways to answer that the records hold."""
    kinds = [
        ("RC, first spike", "rc", "first"),
        ("EOS, first spike", "eos", "first"),
        ("EOS, negative spikes ignored", "eos", "positive_only"),
    ]
    found = [
        Point(
            name,
            [s[kind]["correct"] / s["n"] for s in of(records, method)],
            [s[kind]["mean_step"] for s in of(records, method)],
        )
        for name, method, kind in kinds
    ]
    ends = [s["end_correct"] / s["n"] for s in of(records, "eos")]
    found.append(Point("EOS, at the last step", ends, [float(N_STEPS - 1)] * len(ends)))
    return [point for point in found if point.accuracy]


def pooled(spikes: list[dict[str, Any]], kind: str, which: str) -> Counter[int]:
    """Return a lag histogram over all seeds."""
    counts: Counter[int] = Counter()
    for s in spikes:
        counts.update({int(lag): n for lag, n in s[kind][which].items()})
    return counts


@cache
def frontier() -> tuple[Limit, ...]:
    """Return the best rules there are, from an answer at once to certainty."""
    costs = [0.0, *np.geomspace(1e-4, 0.2, 300)]
    return tuple(sorted(map(optimal_rule, costs), key=lambda rule: rule.mean_step))


def least_step(accuracy: float) -> float:
    """Return the least mean step with this accuracy; mixtures of two rules lie between them."""
    rules = frontier()
    at = np.interp(accuracy, [r.accuracy for r in rules], [r.mean_step for r in rules])
    return float(at)
