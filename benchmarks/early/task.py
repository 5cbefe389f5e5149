"""Early classification on UCR and UEA sets: rank coding beside the field's own classifiers.

A small LSTM is trained on each set by rank coding (RC), from the end of the sequence (EOS), and at
every step, and stopped by several exit rules; TEASER and the probability threshold of aeon learn
from the same official training series. All answer the same official test series. Thresholds and
epochs are chosen on validation series, which are held out of the training series.

`python -m benchmarks.early` draws and prints from the records in results/early, without aeon;
`--train` makes those first, with it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks import record
from benchmarks.early import peers, report
from benchmarks.early.peers import Answers
from benchmarks.record import Record
from benchmarks.run import Options, Profile, without_idle
from benchmarks.task import Task
from encoders.ucr import TimeSeries, UCRSet, load_ucr
from rc_snn import exits
from rc_snn.models import RCLSTM
from rc_snn.runner import trace
from rc_snn.training import Method, TrainConfig, train

NAME = "early"
SETS = ("ItalyPowerDemand", "GunPoint", "BasicMotions", "JapaneseVowels")
VALIDATION = 0.3
"""Share of the official training series that is held out."""
N_HIDDEN = 32
NETWORKS: dict[str, Method] = {"EOS": "eos", "every-step loss": "every_step", "RC": "rc"}
THETA, BETA = 0.95, 0.1
EPSILON = 0.1
"""Share of series that the conformal threshold lets be answered early and wrong."""
ALPHA = 0.2
"""Price of a whole series in errors. On two classes whoever guesses at once costs 0.5 + α/T and
whoever reads all and is never wrong α: a price near 0.5 or above would reward guessing."""
CURVE = torch.linspace(-2.2, 9.2, 58, dtype=torch.float64)
"""Log-odds of the thresholds of a recorded curve: from 0.1 to 0.9999."""


@dataclass(frozen=True)
class EarlyOptions(Options):
    """The options of every task, and which sets."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of all networks and peers per set for each seed."""
    sets: tuple[str, ...] = SETS
    """UCR or UEA sets, by name."""


@dataclass(frozen=True)
class EarlyRun:
    """All networks and peers on one set, with one seed."""

    profile: Profile
    of: str
    """Name of the set."""
    train: TrainConfig
    """Of all networks but for the method, and of β where there is no threshold."""

    @property
    def config(self) -> dict[str, Any]:
        """Return the configuration as it is recorded and hashed."""
        return {
            "profile": self.profile,
            "set": self.of,
            "validation": VALIDATION,
            "n_hidden": N_HIDDEN,
            "networks": list(NETWORKS),
            "train": without_idle(asdict(self.train)),
            "epsilon": EPSILON,
            "alpha": ALPHA,
            "peers": {
                "prefixes": peers.PREFIXES,
                "shortest": peers.SHORTEST,
                "base": peers.BASE,
                "probability": peers.PROBABILITY,
            },
        }

    @property
    def name(self) -> str:
        """Return the name of the record."""
        return f"{self.profile}_{self.of}_seed{self.train.seed}_{record.config_key(self.config)}"

    def trainings(self) -> dict[str, TrainConfig]:
        """Return how each network is trained."""
        return {
            name: replace(
                self.train, method=method, beta=self.train.beta if method == "rc" else 0.0
            )
            for name, method in NETWORKS.items()
        }


def runs(options: EarlyOptions) -> list[EarlyRun]:
    """Return one run per set and seed; the profile quick trains for a tenth of the epochs."""
    config = TrainConfig(
        epochs=10 if options.profile == "quick" else 100,
        lr=5e-3,
        batch_size=16,
        theta=THETA,
        beta=BETA,
        max_norm=1.0,
        judge="spike",
    )
    return [
        EarlyRun(options.profile, name, replace(config, seed=seed))
        for name in options.sets
        for seed in options.seeds
    ]


class Heard(NamedTuple):
    """What a network says at every step of some series."""

    logits: Float[Tensor, "time batch classes"]
    labels: Int[Tensor, " batch"]
    length: Int[Tensor, " batch"]

    def answer(self, score: Float[Tensor, "time batch"], threshold: float) -> Answers:
        """Return the answers at a threshold."""
        decision = exits.exit_at(score, self.logits, threshold)
        assert decision.step is not None
        return Answers(decision.label, decision.step)

    def row(self, answers: Answers) -> dict[str, float]:
        """Return what answers amount to."""
        return row(answers, self.labels, self.length, len(self.logits))


def row(
    answers: Answers, labels: Int[Tensor, " batch"], length: Int[Tensor, " batch"], n_steps: int
) -> dict[str, float]:
    """Return the metrics of answers; time is counted in shares of a series' own length."""
    accuracy = float((answers.label == labels).double().mean())
    early = exits.earliness(answers.step, length)
    return {
        "accuracy": accuracy,
        "macro_recall": exits.macro_recall(answers.label, labels),
        "earliness": early,
        "harmonic_mean": exits.harmonic_mean(accuracy, early),
        "average_cost": exits.average_cost(accuracy, early, ALPHA),
        "early_and_wrong": float(
            ((answers.step < n_steps - 1) & (answers.label != labels)).double().mean()
        ),
    }


def stopped(validation: Heard, test: Heard) -> dict[str, dict[str, Any]]:
    """Stop one network by each exit rule: chosen on validation series, measured on test series."""
    z, score, test_score = validation.logits, *map(exits.log_odds, (validation.logits, test.logits))
    fixed = float(torch.tensor(THETA, dtype=z.dtype).logit())
    right = exits.right_answers(z, validation.labels)
    patience = exits.patience(z).double(), exits.patience(test.logits).double()
    limits = {
        "whole series": (test_score, float("inf")),
        f"θ = {THETA:g}": (test_score, fixed),
        "θ by cost": (test_score, best(validation, score, "average_cost")),
        "θ by harmonic mean": (test_score, best(validation, score, "harmonic_mean")),
        "patience by cost": (patience[1], best(validation, patience[0], "average_cost")),
        f"conformal ε = {EPSILON:g}": (
            test_score,
            exits.conformal_threshold(score, right, EPSILON),
        ),
    }
    return {name: test.row(test.answer(*rule)) for name, rule in limits.items()}


def best(validation: Heard, score: Float[Tensor, "time batch"], metric: str) -> float:
    """Return the threshold that is best on validation series; of equally good ones the lowest."""
    every = exits.every_threshold(score).tolist()
    sign = -1.0 if metric == "average_cost" else 1.0
    found = [sign * validation.row(validation.answer(score, limit))[metric] for limit in every]
    return float(every[found.index(max(found))])


def measure(validation: Heard, test: Heard) -> dict[str, Any]:
    """Return the rows of one network, its curve, and the bound that knows the labels."""
    score = exits.log_odds(test.logits)
    cutoff = exits.optimal_cutoff(exits.right_answers(test.logits, test.labels))
    curve = [test.row(test.answer(score, limit)) for limit in CURVE.tolist()]
    return {
        "rows": stopped(validation, test),
        "optimal_cutoff": test.row(Answers(test.logits[-1].argmax(dim=-1), cutoff)),
        "curve": {key: [p[key] for p in curve] for key in ("earliness", "accuracy")},
    }


def make(run: EarlyRun, options: EarlyOptions, command: str) -> Record:
    """Train, stop and measure all networks and peers of a run.

    Raises:
        ValueError: if aeon is not installed.
    """
    source, began = record.source(), perf_counter()
    try:
        data = load_ucr(run.of, validation=VALIDATION, seed=run.train.seed, folder=options.data)
    except ImportError as error:
        raise ValueError(str(error)) from error
    networks, training = {}, {}
    for name, config in run.trainings().items():
        heard, training[name] = _train(data, config, options, run)
        networks[name] = measure(*heard)
    test = data.test
    metrics = {
        "n": [len(data.train), len(data.validation), len(data.test)],
        "n_steps": data.n_steps,
        "n_channels": test.inputs.n_inputs,
        "classes": list(data.classes),
        "test_sha256": sha256(test.inputs.frames.numpy().tobytes()).hexdigest(),
        "aeon": metadata.version("aeon"),
        "networks": networks,
        "peers": {
            name: row(found, test.labels, test.length, data.n_steps)
            for name, found in peers.answers(data, run.train.seed)
        },
    }
    return record.new_record(
        NAME, run.name, run.config, metrics, training, perf_counter() - began, source, command
    )


def _train(
    data: UCRSet, config: TrainConfig, options: EarlyOptions, run: EarlyRun
) -> tuple[tuple[Heard, Heard], dict[str, Any]]:
    """Train one network; return what it says on validation and test series, and its log."""
    model = RCLSTM(
        data.test.inputs.n_inputs,
        N_HIDDEN,
        len(data.classes),
        dense_input=True,
        forget_bias=1.0,
        generator=torch.Generator().manual_seed(config.seed),
    )
    folder = options.runs / NAME / run.name / config.method
    if options.force:
        (folder / "checkpoint.pt").unlink(missing_ok=True)
    result = train(
        model,
        data.train.labelled,
        data.validation.labelled,
        config,
        folder,
        tensorboard=options.tensorboard,
        description=f"{run.of} {config.method} seed {config.seed}",
    )
    return (_hear(model, data.validation), _hear(model, data.test)), {
        "best_epoch": result.best_epoch,
        "epochs": len(result.history),
    }


def _hear(model: RCLSTM, series: TimeSeries) -> Heard:
    with torch.no_grad():
        logits = trace(model, series.inputs, batch_size=250).double()
    return Heard(logits, series.labels, series.length)


def summary(done: Record) -> str:
    """Say in a line how RC, at its θ, and TEASER did."""
    m = done.metrics
    rows = {
        "RC": m["networks"]["RC"]["rows"]["θ by cost"],
        "TEASER": m["peers"]["TEASER"],
    }
    found = ", ".join(
        f"{name} {100 * r['accuracy']:.1f} % after {100 * r['earliness']:.0f} % of a series"
        for name, r in rows.items()
    )
    return f"{done.config['set']} seed {done.config['train']['seed']}: {found}"


class Early(Task):
    """Early classification on UCR and UEA sets: tabulate and draw, from records."""

    name, options = NAME, EarlyOptions
    runs = staticmethod(runs)
    make = staticmethod(make)
    summary = staticmethod(summary)
    text = staticmethod(report.text)

    def draw(self, records: Sequence[Record], options: EarlyOptions, path: Path) -> None:
        """Draw accuracy against earliness, a panel per set."""
        report.draw(records, path)


TASK = Early()
