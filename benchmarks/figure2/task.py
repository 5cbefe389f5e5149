"""Figure 2 of the paper, the two-sequence problem: `python -m benchmarks.figure2`.

An LSTM reads 40 noisy steps and says whether their mean is positive. One is trained by rank coding
(RC), one from the end of the sequence (EOS), as appendix A.2 says. The figure shows inputs, when
first spikes come over training, and accuracy against mean time: of both networks over θ, of the
published points, and of the limit, the best stopping rule with the exact posterior. It is drawn
from the records in results/figure2; `--train` makes those first, and resumes where it was stopped.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.figure2 import bayes_stopping, plot, table
from benchmarks.figure2.bayes_stopping import Limit
from benchmarks.record import Record
from benchmarks.report.numbers import seeds
from benchmarks.run import Data, Options, TaskModel, TaskRun, find, recorded, run_folder, trained
from benchmarks.task import Task
from encoders.two_sequence import PAPER, two_sequence
from rc_snn import checkpoint, exits
from rc_snn.regimes import account
from rc_snn.runner import trace
from rc_snn.sequences import Labelled
from rc_snn.spikes import first_spike
from rc_snn.training import Method, TrainConfig

THETA = 0.95
THETAS = (0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
"""Thresholds of the sweep."""
METHODS: tuple[Method, ...] = ("rc", "eos")
BATCHES = 50
"""Batches between two validations, an "epoch" of the log (appendix A.2)."""


def trainings(options: Options) -> list[TaskRun]:
    """Return the trainings behind the figure: both methods, each with every seed.

    The quick profile learns within a minute by a higher rate and a forget bias that the paper does
    not have.
    """
    quick = options.profile == "quick"
    return [
        TaskRun(
            task="figure2",
            profile=options.profile,
            data={
                **asdict(PAPER),
                "n_epoch": BATCHES * 128,
                "n_validation": 2_000,
                "n_test": 20_000 if quick else bayes_stopping.N_TEST,
                "validation_seed": 1_000_003,
                "test_seed": bayes_stopping.TEST_SEED,
            },
            model=TaskModel(1, 125, 2, read_out="sigmoid", forget_bias=1.0 if quick else 0.0),
            train=TrainConfig(
                epochs=8 if quick else 313,  # 2,003,200 sequences; the paper has 2,000,000
                method=method,
                batch_size=128,
                lr=2e-3 if quick else 3e-4,
                theta=THETA,
                beta=0.0,
                seed=seed,
                judge="spike",
            ),
        )
        for seed in options.seeds
        for method in METHODS
    ]


def data(run: TaskRun) -> Data:
    """Draw validation and test set; their seeds do not depend on the run."""
    d = run.data
    held_out = torch.Generator().manual_seed(d["validation_seed"])
    return Data(
        validation=two_sequence(d["n_validation"], held_out),
        training=two_sequence(d["n_epoch"], held_out),  # its size counts: epochs are drawn anew
        test=two_sequence(d["n_test"], torch.Generator().manual_seed(d["test_seed"])),
        fresh=lambda generator: two_sequence(d["n_epoch"], generator),
    )


def measure(model: Any, test: Labelled, last: Path) -> dict[str, Any]:
    """Account for two networks of a training: the epoch that validation chose, and the last one.

    The protocol keeps the epoch with the highest spiking accuracy. Under rank coding, accuracy
    falls while spikes move forward: that choice stops early on the way to fast answers, and the
    last epoch shows where the way leads. No choice is made on the test set.

    Args:
        model: the network with the weights that validation chose.
        test: the test set.
        last: checkpoint of the training, which holds the weights of its last epoch.
    """
    chosen = _measured(model, test)
    model.load_state_dict(checkpoint.read(last)["model"])
    return {"chosen": chosen, "last": _measured(model, test)}


@torch.no_grad()
def _measured(model: Any, test: Labelled) -> dict[str, Any]:
    """Account for a network on the test set: at θ, at every fixed step, over θ."""
    logits = trace(model, test.inputs, batch_size=1_000)
    decision = exits.exit_at(exits.confidence(logits), logits, THETA)
    p = torch.softmax(logits, dim=2)
    return {
        "account": asdict(account(decision, test.labels, n_steps=len(p), cost=model.cost())),
        "cut": (p.argmax(dim=2) == test.labels).double().mean(dim=1).tolist(),
        "sweep": [swept(p, test.labels, theta) for theta in THETAS],
    }


def swept(
    p: Float[Tensor, "time batch classes"], labels: Int[Tensor, " batch"], theta: float
) -> dict[str, float]:
    """Return accuracy and mean step of first spikes at one θ; silence answers at the last step."""
    step, fired = first_spike(p, theta)
    answer = p[step, torch.arange(len(step))].argmax(dim=1)
    return {
        "theta": theta,
        "accuracy": float((answer == labels).double().mean()),
        "mean_step": float(step.double().mean()),
        "fired": float(fired.double().mean()),
    }


def make(run: Limit | TaskRun, options: Options, command: str) -> Record:
    """Compute the limit, or train one network, or go on with it, and measure it once."""
    if isinstance(run, Limit):
        return bayes_stopping.make(run, command)
    sets = data(run)
    done, last = trained(run, sets, options), run_folder(run, options) / "checkpoint.pt"
    return recorded(run, done, measure(done.model, sets.test, last), command)


@dataclass(frozen=True)
class Figure2Options(Options):
    """The options of every task, for three seeds."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """One network of each kind for each seed."""


class Figure2(Task):
    """The two-sequence problem: draw Figure 2 and write its table, from records."""

    name, options = "figure2", Figure2Options
    make = staticmethod(make)

    def runs(self, options: Options) -> list[Limit | TaskRun]:
        """Return the limit, and the trainings."""
        return [Limit(options.profile), *trainings(options)]

    def find(self, options: Options) -> list[Record]:
        """Return the limit, and the records of the trainings that exist."""
        folder = options.results / self.name
        return find([Limit(options.profile)], folder) + find(trainings(options), folder)

    def text(self, records: Sequence[Record]) -> str:
        """Return the table."""
        limit, *networks = records
        return table.text(networks, limit)

    def draw(self, records: Sequence[Record], options: Options, path: Path) -> None:
        """Draw inputs, spikes over training, and accuracy against time beside the limit."""
        limit, *networks = records
        plot.draw(networks, limit, path)

    def readme(self, results: Path) -> list[str]:
        """Return our networks beside the published ones, and how far they are from the limit."""
        options = Figure2Options(results=results)
        limit, *networks = self.find(options)
        return [
            f"**Two-sequence problem** (Figure 2; {seeds(options.seeds)}; below the limit: points "
            "that the best stopping rule has more at the same mean step)",
            "",
            *table.markdown(networks, limit),
        ]


TASK = Figure2()
