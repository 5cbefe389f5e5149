"""Keyword networks: what figures 4 and 5 and the comparison with peers train and measure.

An LSTM hears a second of speech, 81 steps of log-mel frames with context, and answers one of eight
keywords or "unknown" (section 3.4). All networks are trained on the same features, by two recipes.
"learning": 30 epochs at a constant rate, rank coding with several β and EOS, as figure 4 shows them
learn (and peers). "compared": 100 epochs of one cycle, every method alike, the kept epoch that with
the largest validation area. The test set is heard once per network: its logits at every step, the
trace, hold the answers of every threshold and exit rule.

`python -m benchmarks.keywords --train` makes the records in results/keywords that do not exist yet,
and says what they hold.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from benchmarks import record
from benchmarks.methods import ANYTIME, MethodName, method_name, variant
from benchmarks.record import Record
from benchmarks.run import Data, Options, Profile, TaskModel, TaskRun, recorded, run_folder, trained
from benchmarks.task import Task
from encoders.keyword_features import Features, KeywordData, load_keywords
from encoders.keyword_network import keyword_network
from encoders.speech_commands import SPLITS, find_recordings
from rc_snn import exits, network
from rc_snn.exits import Curve, right_answers, sweep
from rc_snn.files.tensors import read_tensors, write_tensors
from rc_snn.formats.half import round_to_half
from rc_snn.models import RCLSTM
from rc_snn.regimes import account
from rc_snn.runner import trace
from rc_snn.sequences import Labelled
from rc_snn.training import TrainConfig

NAME = "keywords"
THETA = 0.95
REPEATED_BETAS = (0.0, 0.1, 0.2)
"""Entropy rewards of rank-coded learning, below the critical one: for every seed."""
BETAS = (*REPEATED_BETAS, 0.3, 0.4)
"""Those of Figure 4, for the first seed."""
LEARNING_SEEDS = (0, 1, 2)
"""Seeds of the networks that are shown as they learn."""
RecipeName: TypeAlias = Literal["learning", "compared"]
MAX_SHIFT = 10
"""Frames by which a clip is moved at random before each epoch, at most: 100 ms."""
THETAS = torch.special.expit(torch.linspace(-2.2, 9.2, 115, dtype=torch.float64))
"""Thresholds of a recorded curve: from 0.1, which every output reaches, to 0.9999."""
SHIPPED, SHIPPED_AS = ("random_theta_prefix", 0.0, 0), "rc-lstm-keywords"
"""Method, β and seed of the network that ships, and its name: of the first seed, that with the
largest validation area among those that compute nothing after the spike in training."""


@dataclass(frozen=True)
class KeywordOptions(Options):
    """The options of every task, and which networks to train on which recordings."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One network of each kind for each seed; by the recipe "learning" for the first three only."""
    methods: tuple[MethodName, ...] = get_args(MethodName)
    """Ways to train; the default is all that a recipe has."""
    recipes: tuple[RecipeName, ...] = ("learning", "compared")
    """30 epochs at a constant rate, or 100 of one cycle."""
    download: bool = False
    """Fetch the full data set (2.4 GB) if no recordings are at hand."""
    ship: bool = False
    """Also write the network that ships into the package."""


class Spoken(NamedTuple):
    """The recordings of a profile, and what decides them, for the records."""

    keywords: KeywordData
    validation: Labelled
    test: Labelled
    config: dict[str, Any]

    def data(self) -> Data:
        """Return the samples of a training, which are moved anew before each epoch."""
        return Data(
            self.keywords.sequences("train"),
            self.validation,
            self.test,
            fresh=lambda generator: self.keywords.augmented(generator, MAX_SHIFT),
        )


def spoken(options: KeywordOptions) -> Spoken:
    """Load the features, once per process; the profile quick takes the same part of each split."""
    return _spoken(options.profile, options.data, options.download)


@cache
def _spoken(profile: Profile, folder: Path | None, download: bool) -> Spoken:
    whole = load_keywords(folder, download=download)
    if profile == "quick":
        sizes = {"train": 1_200, "validation": 300, "test": 600}
        parts = {name: _part(getattr(whole, name), size) for name, size in sizes.items()}
        whole = KeywordData(
            **parts,
            normalisation=whole.normalisation,
            front_end=whole.front_end,
            classes=whole.classes,
        )
    config = {
        "classes": list(whole.classes),
        "front_end": asdict(whole.front_end),
        "recordings": {
            name: find_recordings(name, folder, download=False).digest()[:16] for name in SPLITS
        },
        "sizes": [len(getattr(whole, name)) for name in SPLITS],
        "max_shift": MAX_SHIFT,
    }
    return Spoken(whole, whole.sequences("validation"), whole.sequences("test"), config)


def _part(features: Features, n: int) -> Features:
    """Return n clips at most, drawn at random but always the same: they come sorted by word."""
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(1))[:n]
    return Features(
        features.frames[order],
        features.labels[order],
        tuple(features.names[i] for i in order.tolist()),
        features.n_short,
    )


def trainings(options: KeywordOptions, config: dict[str, Any]) -> list[TaskRun]:
    """Return the trainings of both recipes, seed by seed."""
    found = []
    if "learning" in options.recipes:
        found += learning(options, config)
    if "compared" in options.recipes:
        found += [run for seed in options.seeds for run in repeated(options, config, seed)]
    return [run for run in found if method_name(run.train) in options.methods]


def learning(options: KeywordOptions, config: dict[str, Any]) -> list[TaskRun]:
    """Return the trainings at a constant rate; those of the first seed alone are at the end."""
    kinds: list[tuple[MethodName, float]] = [("eos", 0.0), ("max_pool", 0.0), ("every_step", 0.0)]
    kinds += [("rc", beta) for beta in REPEATED_BETAS]
    mine = [seed for seed in options.seeds if seed in LEARNING_SEEDS]
    wanted = [(name, beta, seed) for seed in mine for name, beta in kinds]
    once = [beta for beta in BETAS if beta not in REPEATED_BETAS]
    wanted += [("rc", beta, seed) for seed in sorted(mine)[:1] for beta in once]
    base = TrainConfig(epochs=8 if options.profile == "quick" else 30, judge="spike", **_ALIKE)
    return [_run(options, config, variant(base, name, beta), seed) for name, beta, seed in wanted]


def repeated(options: KeywordOptions, config: dict[str, Any], seed: int) -> list[TaskRun]:
    """Return the trainings that are compared, of one seed."""
    epochs = 8 if options.profile == "quick" else 100
    base = TrainConfig(epochs=epochs, schedule="one_cycle", judge="area", **_ALIKE)
    methods = [name for name in ANYTIME if name in options.methods]
    return [_run(options, config, variant(base, name), seed) for name in methods]


_ALIKE: Any = {
    "lr": 2e-3,
    "theta": THETA,
    "beta": 0.0,
    "max_norm": 0.25,
    "precision": "bf16",
}


def of_recipe(done: Sequence[Record], recipe: RecipeName) -> list[Record]:
    """Return the records of one recipe."""
    schedule = {"learning": "constant", "compared": "one_cycle"}[recipe]
    return [r for r in done if r.config["train"]["schedule"] == schedule]


def _run(options: KeywordOptions, config: dict[str, Any], train: TrainConfig, seed: int) -> TaskRun:
    return TaskRun(
        task=NAME,
        profile=options.profile,
        data=config,
        model=TaskModel(420, 128, len(config["classes"]), n_dense=32, forget_bias=1.0),
        train=replace(train, seed=seed),
    )


def make(run: TaskRun, options: KeywordOptions, command: str) -> Record:
    """Train one run, or go on with it, and keep the network's traces beside its checkpoint."""
    heard = spoken(options)
    done, held_out, test = trained(run, heard.data(), options), heard.validation, heard.test
    round_to_half(done.model)  # what is measured is what may ship
    with torch.no_grad():
        traces = {
            "validation": trace(done.model, held_out.inputs, batch_size=250),
            "test": trace(done.model, test.inputs, batch_size=250),
        }
    labels = {"validation": held_out.labels, "test": test.labels}
    _save_traces(traces, run_folder(run, options))
    metrics = _metrics(done.model, traces, labels, heard)
    _write_network(
        run, done.model, heard, chosen_theta(metrics, len(held_out)), traces["test"], options
    )
    return recorded(run, done, metrics, command)


def _metrics(
    model: RCLSTM, traces: dict[str, Tensor], labels: dict[str, Tensor], spoken: Spoken
) -> dict[str, Any]:
    """Account for first spikes at θ on the test set, and give both splits' curves over θ."""
    front_end = spoken.keywords.front_end
    heard_ms = front_end.heard_ms(torch.arange(len(traces["test"])))
    metrics = _account(model, THETA, traces["test"], spoken) | {
        "heard_ms": heard_ms.tolist(),
        "curves": {"theta": THETAS.tolist()},
    }
    for split, logits in traces.items():
        right = right_answers(logits, labels[split])
        metrics["curves"][split] = _curve(logits, right, heard_ms)
        metrics[f"{split}_accuracy_at_end"] = float(right[-1].double().mean())
    return metrics


def _account(model: RCLSTM, theta: float, test: Tensor, spoken: Spoken) -> dict[str, Any]:
    """Account for first spikes at a threshold on the test set."""
    front_end = spoken.keywords.front_end
    decision = exits.exit_at(exits.confidence(test), test, theta)
    assert decision.step is not None
    found = account(
        decision,
        spoken.test.labels,
        n_steps=len(test),
        cost=model.cost(),
        seen=front_end.seen(decision.step),
    )
    return asdict(found) | {"mean_heard_ms": float(front_end.heard_ms(decision.step).mean())}


def _curve(logits: Tensor, right: Tensor, heard_ms: Tensor) -> dict[str, list[float]]:
    """Return mean time, in steps and in milliseconds heard, and accuracy at each threshold."""
    score, limits = exits.log_odds(logits.double()), torch.special.logit(THETAS)
    steps, ms = sweep(score, right, limits), sweep(score, right, limits, heard_ms)
    return {
        "mean_step": steps.time.tolist(),
        "mean_ms": ms.time.tolist(),
        "accuracy": steps.accuracy.tolist(),
    }


def _save_traces(traces: dict[str, Tensor], folder: Path) -> None:
    write_tensors(folder / "traces.safetensors", traces, {})


def traces_of(run: TaskRun, options: KeywordOptions) -> dict[str, Tensor]:
    """Return the logits at every step, `[time, batch, classes]`, of validation and test split.

    Raises:
        ValueError: if the run has not been made here: traces are not checked in.
    """
    path = run_folder(run, options) / "traces.safetensors"
    if not path.exists():
        raise ValueError(
            f"{path} is not there: records are checked in, traces are not. Move the record "
            f"{run.name}.json away and run python -m benchmarks.keywords --train."
        )
    traces, _ = read_tensors(path)
    if wrong := [k for k, v in traces.items() if v.dim() != 3 or not torch.isfinite(v).all()]:
        raise ValueError(
            f"{path} holds no logits of {', '.join(wrong)}. Move it away; train again."
        )
    return traces


def chosen_theta(metrics: dict[str, Any], n: int) -> float:
    """Return the θ to use a network with: the fastest as good as the best, on n held-out clips."""
    curve, theta = metrics["curves"]["validation"], metrics["curves"]["theta"]
    known = [torch.tensor(curve[key], dtype=torch.float64) for key in ("mean_ms", "accuracy")]
    return float(theta[exits.fastest_as_good(Curve(*known), n)])


def _write_network(
    run: TaskRun, model: RCLSTM, heard: Spoken, theta: float, test: Tensor, options: KeywordOptions
) -> None:
    """Write the network beside its checkpoint, and into the package where that is asked for."""
    found = _account(model, theta, test, heard)
    measured = {key: found[key] for key in ("n", "correct", "accuracy", "time_to_insight", "fired")}
    net = keyword_network(
        name=SHIPPED_AS,
        model=model,
        theta=theta,
        normalisation=heard.keywords.normalisation,
        front_end=heard.keywords.front_end,
        classes=heard.keywords.classes,
        measured=measured | {"mean_heard_ms": found["mean_heard_ms"]},
        record=run.name,
    )
    file = f"{net.name}.safetensors"
    net.save(run_folder(run, options) / file, half=True)
    t = run.train
    if options.ship and (method_name(t), t.beta, t.seed) == SHIPPED and run.profile == "paper":
        net.save(network.SHELF / file, half=True)


def records(options: Options) -> list[Record]:
    """Return the records of the profile and the seeds; reading them needs no recordings.

    Raises:
        ValueError: if there are none, or they are of different data.
    """
    folder = options.results / NAME
    found = [
        r
        for r in record.read_all(folder)
        if r.config["profile"] == options.profile and r.config["train"]["seed"] in options.seeds
    ]
    if not found:
        raise ValueError(
            f"{folder} has no record of the profile {options.profile} for the seeds "
            f"{options.seeds}. Make them: python -m benchmarks.keywords --train."
        )
    if any(r.config["data"] != found[0].config["data"] for r in found):
        raise ValueError(f"The records in {folder} are of different data. Move the old ones away.")
    return found


def summary(done: Record) -> str:
    """Say in a line what a network does at θ."""
    t, m = done.config["train"], done.metrics
    recipe = f"{t['epochs']} epochs, {t['schedule'].replace('_', ' ')}"
    return (
        f"{method_name(t):<19} β={t['beta']:<4g} {recipe}, seed {t['seed']}: test accuracy at "
        f"θ={t['theta']:g} "
        f"{100 * m['accuracy']:.2f} %, {m['mean_heard_ms']:.0f} ms heard, step "
        f"{m['time_to_insight']:.1f}, fired {100 * m['fired'] / m['n']:.1f} %; at the end "
        f"{100 * m['test_accuracy_at_end']:.2f} %"
    )


class Keywords(Task):
    """Keyword networks: train them, and say what their records hold."""

    name, options = NAME, KeywordOptions
    make = staticmethod(make)
    find = staticmethod(records)
    summary = staticmethod(summary)

    def runs(self, options: KeywordOptions) -> list[TaskRun]:
        """Return the trainings on the recordings that are at hand."""
        return trainings(options, spoken(options).config)

    def text(self, records: Sequence[Record]) -> str:
        """Return a line for each network."""
        return "\n".join(["Networks trained on keywords", "", *map(summary, records)])


TASK = Keywords()
