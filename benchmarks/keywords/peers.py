"""Peers in early inference: who is accurate how early, with the same networks and one account.

Networks differ in training: from the first spike (RC, several β), from the end of the sequence
(EOS), by a loss at the best step (max pooling, Sun et al. 2016) or at every step (early labels, as
in EMI-RNN, Dennis et al. 2018). Rules differ in when they stop (`rc_snn.exits.scores`), some with a
threshold for each step (`rc_snn.exits.step_thresholds`). All choices are made on validation data.
One record per seed holds the accuracy of each on the test set, within each mean time heard.

`python -m benchmarks.keywords.peers` draws and prints from the records in results/peers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks import record
from benchmarks.keywords import peers_report
from benchmarks.keywords import task as keywords
from benchmarks.keywords.task import KeywordOptions
from benchmarks.methods import TITLES, method_name
from benchmarks.record import Record
from benchmarks.report.numbers import seeds
from benchmarks.run import Profile, TaskRun
from benchmarks.task import Task, start
from rc_snn import exits
from rc_snn.exits import (
    Curve,
    accuracy_within,
    area,
    area_as_chosen,
    choose_block,
    every_threshold,
    fit_rules,
    optimistic_area,
    right_answers,
    sweep,
)
from rc_snn.progress import progress

AT_MS = (300.0, 400.0, 500.0, 600.0, 800.0)
"""Mean times heard at which the table compares."""
PRICES = tuple(3.0 * 3000.0 ** (-i / 19) for i in range(20))
"""Of the whole sequence's time, in units of accuracy, 3 to 0.001: shapes of step thresholds."""
BLOCKS = (1, 3, 9, 27)
"""Steps that may share a threshold; one constant threshold is a candidate, too."""

FULLY_RULED = ("eos", "rc", "random_theta_prefix")
"""Trainings that are stopped by every rule; the others by θ, constant or per step."""
Rule: TypeAlias = Literal[
    "theta", "steps", "calibrated", "calibrated_steps", "entropy", "gap", "patience"
]
RULES: dict[Rule, str] = {
    "theta": "θ",
    "steps": "per-step θ",
    "calibrated": "calibrated confidence",
    "calibrated_steps": "confidence calibrated per step",
    "entropy": "entropy",
    "gap": "top-2 gap",
    "patience": "patience",
}


class Training(NamedTuple):
    """How a network was trained."""

    method: str
    """By its name in `benchmarks.methods`."""
    beta: float = 0.0


Traces: TypeAlias = Mapping[Training, Tensor]
"""Logits at every step, `[time, batch, classes]`."""


@dataclass(frozen=True)
class Splits:
    """What one seed's networks say on the two splits."""

    validation: Traces
    validation_labels: Int[Tensor, " held_out"]
    test: Traces
    test_labels: Int[Tensor, " batch"]
    heard_ms: Float[Tensor, " time"]
    """What had been heard at each step."""


class Sweeps(NamedTuple):
    """The same rules on both splits, point by point; times in milliseconds heard."""

    validation: Curve
    test: Curve
    block: int | None = None


def scores(
    rule: Rule, validation: Tensor, labels: Tensor, test: Tensor
) -> tuple[Float[Tensor, "time held_out"], Float[Tensor, "time batch"]]:
    """Return a rule's score on both splits; what it must fit, it fits on validation data.

    θ is swept on the scale of log-odds: the same decisions as of `rc_snn.runner.decide` with the
    probability, and a scale on which step thresholds can be raised together.
    """
    if rule in ("calibrated", "calibrated_steps"):
        tau = exits.fit_temperature(validation, labels, per_step=rule == "calibrated_steps")
        return exits.calibrated_confidence(validation, tau), exits.calibrated_confidence(test, tau)
    score = {
        "theta": exits.log_odds,
        "steps": exits.log_odds,
        "entropy": exits.certainty,
        "gap": exits.top2_gap,
        "patience": exits.patience,
    }[rule]
    return score(validation), score(test)


def sweeps(
    rule: Rule,
    validation: Float[Tensor, "time held_out classes"],
    validation_labels: Int[Tensor, " held_out"],
    test: Float[Tensor, "time batch classes"],
    test_labels: Int[Tensor, " batch"],
    clock: Float[Tensor, " time"],
) -> Sweeps:
    """Return mean time and accuracy of every threshold of a rule, on both splits."""
    validation, test = validation.double(), test.double()
    score, test_score = scores(rule, validation, validation_labels, test)
    right, test_right = (
        right_answers(validation, validation_labels),
        right_answers(test, test_labels),
    )
    every = every_threshold(score)
    constant = Sweeps(
        sweep(score, right, every, clock), sweep(test_score, test_right, every, clock)
    )
    if rule != "steps":
        return constant
    n_steps = len(score)
    blocks = [*(b for b in BLOCKS if b < n_steps), n_steps]
    block = choose_block(score, right, PRICES, blocks, clock=clock)
    if block == n_steps:
        return constant._replace(block=block)
    rules = fit_rules(score, right, PRICES, block=block, clock=clock)
    return Sweeps(
        Curve.cat([constant.validation, rules.curve(score, right, clock)]),
        Curve.cat([constant.test, rules.curve(test_score, test_right, clock)]),
        block,
    )


def measure(
    validation: Traces,
    validation_labels: Int[Tensor, " held_out"],
    test: Traces,
    test_labels: Int[Tensor, " batch"],
    heard_ms: Float[Tensor, " time"],
) -> dict[str, Any]:
    """Choose on validation traces, measure on test traces: one row per training and rule.

    Some trainings get every rule (`FULLY_RULED`), the others θ, constant or per step. Where there
    are several β, θ has a row for each, and every rule has two more: with the one β whose area on
    validation data is largest, and with all of them, the composite, where each budget chooses β and
    threshold.

    Args:
        validation: logits at every step, by network.
        validation_labels: classes of these samples.
        test: logits of the same networks on the test set.
        test_labels: classes of these samples.
        heard_ms: time heard at each step: the clock of means, budgets and areas.

    Raises:
        ValueError: if the splits have different networks, or traces another length than the clock.
    """
    if set(validation) != set(test) or not validation:
        raise ValueError(
            "Both splits must have the same networks, at least one; got "
            f"{sorted(validation)} and {sorted(test)}."
        )
    for network, trace in (*validation.items(), *test.items()):
        if len(trace) != len(heard_ms):
            raise ValueError(
                f"The trace of {tuple(network)} has {len(trace)} steps, heard_ms {len(heard_ms)}. "
                "Pass the time heard at each step."
            )
    clock = heard_ms.double()
    rows: dict[str, Any] = {}
    for method, title in progress(TITLES.items(), "rules", unit="methods"):
        networks = sorted(n for n in validation if n.method == method)
        rules: tuple[Rule, ...] = ("theta", "steps")
        if method in FULLY_RULED:
            rules = tuple(RULES)
        for rule in rules:
            found = {
                n.beta: sweeps(rule, validation[n], validation_labels, test[n], test_labels, clock)
                for n in networks
            }
            rows |= dict(_rows(title, rule, found, clock))
    return {
        "n_validation": len(validation_labels),
        "n_test": len(test_labels),
        "heard_ms": clock.tolist(),
        "rows": rows,
    }


def _rows(
    title: str, rule: Rule, found: dict[float, Sweeps], clock: Tensor
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and measure the rows of one training and one rule."""
    name = RULES[rule]
    if len(found) == 1:
        ((beta, only),) = found.items()
        yield f"{title} + {name}", _row(only, clock, beta)
    elif found:
        if rule == "theta":
            for beta, one in found.items():
                yield f"{title} β={beta:g} + {name}", _row(one, clock, beta)
        best = max(found, key=lambda beta: optimistic_area(found[beta].validation, clock))
        yield f"{title} best β + {name}", _row(found[best], clock, best)
        whole = Sweeps(
            Curve.cat([f.validation for f in found.values()]),
            Curve.cat([f.test for f in found.values()]),
        )
        yield f"{title} all β + {name}", _row(whole, clock, None)


def _row(rules: Sweeps, clock: Tensor, beta: float | None) -> dict[str, Any]:
    """Measure sweeps on the test set."""
    budgets = torch.tensor([ms for ms in AT_MS if ms >= clock[0]], dtype=clock.dtype)
    within = accuracy_within(rules.validation, rules.test, budgets)
    pairs = zip(budgets.tolist(), within.tolist(), strict=True)
    return {
        "beta": beta,
        "block": rules.block,
        "area": area(rules.validation, rules.test, clock),
        "area_as_chosen": area_as_chosen(rules.validation, rules.test, clock),
        "optimistic_area": optimistic_area(rules.test, clock),
        "at_ms": {f"{ms:g}": accuracy for ms, accuracy in pairs},
        "accuracy": accuracy_within(rules.validation, rules.test, clock).tolist(),
    }


@dataclass(frozen=True)
class PeersRun:
    """What decides one seed's comparison."""

    profile: Profile
    seed: int
    networks: tuple[Training, ...]
    about: dict[str, Any]
    """What decides the traces: names of the networks' records."""

    @property
    def config(self) -> dict[str, Any]:
        """Return the configuration as it is recorded and hashed."""
        return {
            "profile": self.profile,
            "seed": self.seed,
            "networks": [list(n) for n in sorted(self.networks)],
            "prices": list(PRICES),
            "blocks": list(BLOCKS),
            "about": self.about,
        }

    @property
    def name(self) -> str:
        """Return the name of the record."""
        return f"{self.profile}_seed{self.seed}_{record.config_key(self.config)}"


def trainings(seed: int, options: KeywordOptions) -> dict[Training, TaskRun]:
    """Return the keyword networks of a seed, those that every seed has."""
    return {
        Training(method_name(run.train), run.train.beta): run
        for run in keywords.repeated(options, keywords.spoken(options).config, seed)
    }


def runs(options: KeywordOptions) -> list[PeersRun]:
    """Return one comparison for each seed."""
    of_seed = {seed: trainings(seed, options) for seed in options.seeds}
    return [
        PeersRun(
            options.profile,
            seed,
            tuple(networks),
            {"records": sorted(run.name for run in networks.values())},
        )
        for seed, networks in of_seed.items()
    ]


def splits_of(seed: int, options: KeywordOptions) -> Splits:
    """Return what the keyword networks of a seed say.

    Raises:
        ValueError: if a network has not been trained here.
    """
    heard = keywords.spoken(options)
    traces = {
        network: keywords.traces_of(run, options)
        for network, run in trainings(seed, options).items()
    }
    return Splits(
        validation={network: found["validation"] for network, found in traces.items()},
        validation_labels=heard.validation.labels,
        test={network: found["test"] for network, found in traces.items()},
        test_labels=heard.test.labels,
        heard_ms=heard.keywords.front_end.heard_ms(torch.arange(heard.test.inputs.n_steps)),
    )


def make(run: PeersRun, options: KeywordOptions, command: str) -> Record:
    """Measure one seed's networks."""
    source, began = record.source(), perf_counter()
    s = splits_of(run.seed, options)
    metrics = measure(s.validation, s.validation_labels, s.test, s.test_labels, s.heard_ms)
    return record.new_record(
        "peers", run.name, run.config, metrics, {}, perf_counter() - began, source, command
    )


def find(folder: Path, profile: Profile, of_seeds: Sequence[int]) -> list[Record]:
    """Read the records of these seeds.

    Raises:
        ValueError: if one is missing, there are two of a seed, or they are not of the same rows.
    """
    known = [r for r in record.read_all(folder) if r.config["profile"] == profile]
    found = []
    for seed in of_seeds:
        mine = [r for r in known if r.config["seed"] == seed]
        if len(mine) != 1:
            raise ValueError(
                f"{folder} holds {len(mine)} records of the profile {profile} with seed {seed}; "
                "the table needs one. Add --train to make it, or move outdated ones away."
            )
        found += mine
    if len({tuple(r.metrics["rows"]) for r in found}) > 1:
        raise ValueError(f"The records in {folder} are not of the same networks and rules.")
    return found


class Peers(Task):
    """Peers in early inference: compare how keyword networks are trained and stopped."""

    name, options = "peers", KeywordOptions
    runs = staticmethod(runs)
    make = staticmethod(make)
    text = staticmethod(peers_report.report)

    def find(self, options: KeywordOptions) -> list[Record]:
        """Return one record for each seed."""
        return find(options.results / self.name, options.profile, options.seeds)

    def draw(self, records: Sequence[Record], options: KeywordOptions, path: Path) -> None:
        """Draw accuracy against mean time heard."""
        peers_report.draw(records, path)

    def readme(self, results: Path) -> list[str]:
        """Return the rows with one network per seed."""
        options = KeywordOptions(results=results)
        return [
            "**Peers in early inference** (the same keyword networks; area under the accuracy-time "
            f"curve in %, ± 95 % over {seeds(options.seeds)})",
            "",
            *peers_report.markdown(self.find(options)),
        ]


TASK = Peers()

if __name__ == "__main__":
    start(TASK)
