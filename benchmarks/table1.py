"""Table 1 of the paper: train and evaluate the rank-coded rows, then print them beside the claims.

`python -m benchmarks.table1` needs no argument; `--help` lists them. Every run leaves one JSON
record, and the table is made from records only.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal, get_args

import torch
import tyro

from benchmarks import record, tables
from benchmarks.rows import RECIPES, Profile, Protocol, RowName, RunConfig
from encoders.functional import Encoding, Polarity, ZeroPixels, encode_latency
from encoders.sources import Digits, Split, load_mnist
from encoders.temporal_mnist import hold_out, latency_sequences, take
from rc_snn.regimes import account
from rc_snn.training import evaluate, train


@dataclass(frozen=True)
class Table1:
    """Reproduce the rank-coded rows of Table 1: one JSON record per run, then the table."""

    rows: tuple[RowName, ...] = get_args(RowName)
    """Rows to train and evaluate."""
    profile: Profile = "quick"
    """quick: minutes, on part of the training images. paper: all of them, hours."""
    seeds: tuple[int, ...] = (0,)
    """One full run each; the table shows mean ± std."""
    polarity: tuple[Polarity, ...] = ("bright_first",)
    """Which pixels spike first; each polarity is a run of its own."""
    zero_pixels: ZeroPixels = "last"
    """Whether pixels without drive spike at the end of the frame, or never."""
    n_steps: int = 10
    """Steps per frame, T."""
    protocol: tuple[Protocol, ...] = ("held-out",)
    """held-out: choose on held-out training images. paper: choose the epoch by test accuracy."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train. The two are not bit-identical."""
    threads: int | None = None
    """CPU threads; default: torch's."""
    data: Path | None = None
    """Folder with MNIST; default: RC_SNN_DATA, ../shared/data, cache, download, embedded digits."""
    results: Path = record.RESULTS
    """Where records and tables go."""
    runs: Path = record.PROJECT / "runs"
    """Where checkpoints and logs go; a stopped run resumes from here."""
    force: bool = False
    """Run again what has a record already."""
    tensorboard: bool = False
    """Also write TensorBoard events beside the checkpoints."""


def configs(options: Table1, digits: Digits) -> Iterator[RunConfig]:
    """Yield one configuration per run."""
    n_train, n_test = len(digits.train.labels), len(digits.test.labels)
    for row, polarity, protocol, seed in product(
        options.rows, options.polarity, options.protocol, options.seeds
    ):
        recipe = RECIPES[options.profile][row]
        n_validation = min(recipe.n_validation, n_train // 8)
        available = n_train if protocol == "paper" else n_train - n_validation
        yield RunConfig(
            row=row,
            profile=options.profile,
            protocol=protocol,
            data=digits.name,
            polarity=polarity,
            zero_pixels=options.zero_pixels,
            n_steps=options.n_steps,
            n_train=min(recipe.n_train, available),
            n_validation=0 if protocol == "paper" else n_validation,
            n_test=min(recipe.n_test, n_test),
            model=recipe.model,
            train=replace(recipe.by_polarity.get(polarity, recipe.train), seed=seed),
            device=options.device,
        )


def run_name(config: RunConfig) -> str:
    """Return the name of a run's record and folder; it ends in the hash of the configuration."""
    key = record.config_key(asdict(config))
    return (
        f"{config.profile}_{config.row}_{config.data}_{config.polarity}_T{config.n_steps}"
        f"_{config.protocol}_seed{config.seed}_{key}"
    )


def splits(config: RunConfig, digits: Digits) -> tuple[Split, Split, Split]:
    """Return training, validation and test images of a run."""
    if config.protocol == "paper":
        training, validation = digits.train, digits.test
    else:
        training, validation = hold_out(digits.train, config.n_validation)
    # The embedded digits come sorted by class: a part of them must be drawn, always the same.
    part = torch.randperm(len(training.labels), generator=torch.Generator().manual_seed(1))
    test = torch.randperm(len(digits.test.labels), generator=torch.Generator().manual_seed(2))
    if config.n_test == len(test):
        test = torch.arange(len(test))
    return (
        take(training, part[: config.n_train]),
        validation if config.protocol == "held-out" else take(validation, test[: config.n_test]),
        take(digits.test, test[: config.n_test]),
    )


def execute(config: RunConfig, digits: Digits, options: Table1) -> record.Record:
    """Train one run, or go on with it, and account for it on the test set, once."""
    name, source = run_name(config), record.source()
    encoding = Encoding(polarity=config.polarity, zero_pixels=config.zero_pixels)
    training, validation, test = splits(config, digits)
    model = config.model.build(config.seed).to(config.device)
    data, held_out, unseen = (
        latency_sequences(s, config.n_steps, **encoding).to(config.device)
        for s in (training, validation, test)
    )
    result = train(
        model,
        data,
        held_out,
        config.train,
        options.runs / name,
        tensorboard=options.tensorboard,
        description=f"{config.row} {config.polarity} seed {config.seed}",
    )
    decision, _ = evaluate(model, unseen, config.train.theta)
    metrics = account(
        decision.to("cpu"),
        test.labels,
        encode_latency(test.images, **encoding),
        config.n_steps,
        model.cost(),
    )
    return record.new_record(
        "table1",
        name,
        asdict(config),
        asdict(metrics),
        {
            "best_epoch": result.best_epoch,
            "regime_reached": result.regime_reached,
            "history": result.history,
        },
        sum(row["seconds"] for row in result.history),
        source,
    )


def main(options: Table1) -> int:
    """Run what has no record yet, then print and write the table; return the exit status."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds none. Use --device cpu.")
    digits = load_mnist(options.data)
    folder = options.results / "table1"
    left_out = 0
    for config in configs(options, digits):
        path = folder / f"{run_name(config)}.json"
        known = record.read(path) if path.exists() else None
        if isinstance(known, str):
            print(f"skipped: {path} {known}; move it away to run this row", file=sys.stderr)
            left_out += 1
        elif known is None or options.force:
            if options.force:
                (options.runs / run_name(config) / "checkpoint.pt").unlink(missing_ok=True)
            done = execute(config, digits, options)
            saved = record.save(done, folder)
            print(_summary(done, saved), file=sys.stderr)
    records = [r for r in record.read_all(folder) if r.config["data"] == digits.name]
    print(tables.table1(records, digits.title, "text"))
    print(tables.write(records, options.results, digits.title), file=sys.stderr)
    return 1 if left_out else 0


def _summary(done: record.Record, path: Path) -> str:
    m = done.metrics
    return (
        f"{done.config['row']} {done.config['polarity']} seed {done.config['train']['seed']}: "
        f"accuracy {100 * m['accuracy']:.2f} %, time to insight {m['time_to_insight']:.2f} steps, "
        f"fired {100 * m['fired'] / m['n']:.1f} %, {done.seconds:.0f} s -> {path}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Table1)))
    except ValueError as error:  # bad input or data, or a run that diverged: said in words
        sys.exit(f"error: {error}")
