"""Drawn thresholds beside rank coding and its peers, on every data set: `benchmarks.anytime`.

On each data set the same network is trained by rank coding (RC) with one threshold, with one drawn
for each sample, with the loss of the steps before the spike besides, by a loss at every step, and
from the end of the sequence (EOS): same data order, epochs and choice of the epoch. Each is then
stopped by each exit rule of the field, and by θ measured at every mean time. Keyword networks are
those of `benchmarks.keywords`.

`python -m benchmarks.anytime` writes the table and the figure from the records in results/anytime;
`--train` makes those first, and resumes where it was stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import torch

from benchmarks import record
from benchmarks.anytime import report
from benchmarks.anytime.measure import effort, measure
from benchmarks.anytime.settings import SETTINGS, UCR
from benchmarks.keywords import task as keywords
from benchmarks.keywords.peers import AT_MS
from benchmarks.keywords.task import KeywordOptions
from benchmarks.methods import ANYTIME, MethodName, method_name, variant
from benchmarks.record import Record
from benchmarks.run import Options, Profile, TaskRun, find, recorded, trained
from benchmarks.task import Task
from rc_snn.runner import trace
from rc_snn.sequences import Labelled

NAME, KEYWORDS = "anytime", "keywords"
_OF = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class AnytimeOptions(Options):
    """The options of every task, and which data sets and methods."""

    sets: tuple[str, ...] = ()
    """Data sets, by name. The default shows all that have records, and trains on keywords and the
    UCR and UEA sets; the others take hours."""
    methods: tuple[MethodName, ...] = ANYTIME
    """Ways to train; the default is all."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One network of each kind for each seed."""

    def __post_init__(self) -> None:
        """Refuse unknown data sets."""
        super().__post_init__()
        if unknown := set(self.sets) - {KEYWORDS, *_OF}:
            raise ValueError(
                f"sets must be of {', '.join((KEYWORDS, *_OF))}; got {', '.join(sorted(unknown))}."
            )


@dataclass(frozen=True)
class Heard:
    """A keyword network, trained by its own task: only measured here."""

    of: TaskRun
    profile: Profile

    @property
    def config(self) -> dict[str, Any]:
        """Return the configuration as it is recorded and hashed."""
        about = {"setting": KEYWORDS, "record": self.of.name}
        return {"profile": self.profile, "data": about, "train": self.of.config["train"]}

    @property
    def name(self) -> str:
        """Return the name of the record."""
        return _name(self.config)


@dataclass(frozen=True)
class AnytimeRun(TaskRun):
    """A network of one data set, method and seed."""

    @property
    def name(self) -> str:
        """Return the name of record and run folder."""
        return _name(self.config)

    @property
    def title(self) -> str:
        """Return what a progress bar shows."""
        return f"{self.data['setting']} {method_name(self.train)} seed {self.train.seed}"


def _name(config: dict[str, Any]) -> str:
    train, setting = config["train"], config["data"]["setting"]
    about = f"{config['profile']}_{setting}_{method_name(train)}_seed{train['seed']}"
    return f"{about}_{record.config_key(config)}"


def runs(options: AnytimeOptions) -> list[AnytimeRun | Heard]:
    """Return a run for each data set, seed and method."""
    found: list[AnytimeRun | Heard] = []
    for name in options.sets or (KEYWORDS, *UCR):
        if name == KEYWORDS:
            found += _heard(options)
            continue
        setting = _OF[name]
        base = setting.plan(options)
        found += [
            AnytimeRun(
                base.task,
                base.profile,
                base.data,
                base.model,
                variant(replace(base.train, seed=seed), method, low=setting.low, high=setting.high),
            )
            for seed in options.seeds
            if seed in setting.seeds
            for method in options.methods
        ]
    return found


def _spoken(options: AnytimeOptions) -> KeywordOptions:
    names = ("profile", "data", "runs", "results", "methods")
    return KeywordOptions(**{name: getattr(options, name) for name in names})


def _heard(options: AnytimeOptions) -> list[Heard]:
    config = keywords.spoken(_spoken(options)).config
    return [
        Heard(run, options.profile)
        for seed in options.seeds
        for run in keywords.repeated(_spoken(options), config, seed)
    ]


def make(run: AnytimeRun | Heard, options: AnytimeOptions, command: str) -> Record:
    """Train one network, or go on with it, and measure it once."""
    if isinstance(run, Heard):
        return _measure_heard(run, options, command)
    setting = _OF[run.data["setting"]]
    sets = setting.data(run, options)
    done = trained(run, sets, options)
    hear = partial(trace, done.model, batch_size=500)
    held_out = cast(Labelled, sets.validation)
    with torch.no_grad():
        validation, test = hear(held_out.inputs), hear(sets.test.inputs)
    clock = setting.clock(run, len(test))
    labels = held_out.labels, sets.test.labels
    metrics = measure(validation, labels[0], test, labels[1], clock, setting.at)
    metrics["effort"] = effort(done.result.history, len(sets.training))
    return recorded(run, done, metrics, command)


def _measure_heard(run: Heard, options: AnytimeOptions, command: str) -> Record:
    """Measure a keyword network by the traces that its own task has kept.

    Raises:
        ValueError: if it has not been trained here.
    """
    source, began = record.source(), perf_counter()
    spoken = keywords.spoken(_spoken(options))
    traces = keywords.traces_of(run.of, _spoken(options))
    (known,) = find([run.of], options.results / KEYWORDS)
    clock = torch.tensor(known.metrics["heard_ms"], dtype=torch.float64)
    labels = spoken.validation.labels, spoken.test.labels
    metrics = measure(traces["validation"], labels[0], traces["test"], labels[1], clock, AT_MS)
    metrics["effort"] = effort(known.training["history"], len(spoken.keywords.train))
    about = NAME, run.name, run.config
    return record.new_record(*about, metrics, {}, perf_counter() - began, source, command)


def summary(done: Record) -> str:
    """Say in a line what a network reached."""
    row = done.metrics["rows"]["θ"]
    return (
        f"{done.config['data']['setting']} {method_name(done.config['train'])} seed "
        f"{done.config['train']['seed']}: area {100 * row['area']:.2f} %, steps computed in "
        f"training {done.metrics['effort']['steps'] / 1e6:.2f} M"
    )


class Anytime(Task):
    """Drawn thresholds beside rank coding and its peers: tabulate and draw, from records."""

    name, options = NAME, AnytimeOptions
    runs = staticmethod(runs)
    make = staticmethod(make)
    summary = staticmethod(summary)

    def find(self, options: AnytimeOptions) -> list[Record]:
        """Return the records of the data sets, methods and seeds; reading them needs no data.

        Raises:
            ValueError: if there are none.
        """
        folder = options.results / NAME
        found = [
            r
            for r in record.read_all(folder)
            if r.config["profile"] == options.profile
            and r.config["data"]["setting"] in (options.sets or (KEYWORDS, *_OF))
            and method_name(r.config["train"]) in options.methods
            and r.config["train"]["seed"] in options.seeds
        ]
        if not found:
            raise ValueError(
                f"{folder} has no record of what was asked for. Make some: "
                "python -m benchmarks.anytime --train."
            )
        return found

    def text(self, records: Sequence[Record]) -> str:
        """Return a table for each data set, the exit rules, and what became of the claims."""
        return report.text(records)

    def draw(self, records: Sequence[Record], options: AnytimeOptions, path: Path) -> None:
        """Draw accuracy within each mean time, a panel for each data set."""
        report.draw(records, path)

    def readme(self, results: Path) -> list[str]:
        """Return the areas of all methods on all data sets."""
        return report.markdown(self.find(AnytimeOptions(results=results)))


TASK = Anytime()
