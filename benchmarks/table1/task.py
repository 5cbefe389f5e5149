"""Table 1 of the paper: the rank-coded rows, measured here, beside the claims.

`python -m benchmarks.table1` evaluates the trained networks that ship with the package on MNIST's
test set and prints the table of records. `--train` trains: every run leaves one JSON record, and
the table is made from records only. Where there is no MNIST it trains on the embedded digits.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from baselines import zoo as baselines_zoo
from baselines.lif import LIFNetwork
from baselines.lif_training import TTFSConfig, train_ttfs
from benchmarks import record, tables
from benchmarks.table1 import continuous_run
from benchmarks.table1.continuous_rows import (
    TIMING_RECIPES,
    TimingRecipe,
    TimingRun,
    as_timing_config,
)
from benchmarks.table1.rows import (
    RECIPES,
    Profile,
    Protocol,
    Recipe,
    RecipeName,
    RowName,
    RunConfig,
    as_config,
)
from benchmarks.table1.shipped import evaluate_shipped
from encoders.functional import Encoding, Polarity, ZeroPixels, encode_latency, random_affine
from encoders.mnist import MNIST_TITLE, Digits, Split, load_mnist
from encoders.temporal_mnist import hold_out, latency_sequences, take
from rc_snn import zoo
from rc_snn.fast.fused import Precision
from rc_snn.regimes import account
from rc_snn.sequences import Labelled, SpikeSequences
from rc_snn.training import TrainConfig, evaluate, train

Run: TypeAlias = RunConfig | TimingRun
"""A run of a rank-coded row, or of one whose neurons spike once."""


@dataclass(frozen=True)
class Table1:
    """Reproduce Table 1: evaluate what ships, or train with --train."""

    train: bool = False
    """Train rows and write their records, instead of evaluating the shipped networks."""
    rows: tuple[RowName, ...] = get_args(RowName)
    """Rows to train."""
    recipe: tuple[RecipeName, ...] = ("tuned",)
    """published: as the authors describe. tuned: ours. augmented: ours, on moved images. weights:
    the authors' own networks, measured here."""
    profile: Profile = "quick"
    """quick: minutes, on part of the training images. paper: all of them, hours."""
    seeds: tuple[int, ...] = (0,)
    """One full run each; the table shows mean ± std."""
    polarity: tuple[Polarity, ...] | None = None
    """Which pixels spike first; each polarity is a run of its own. Default: the recipe's."""
    zero_pixels: ZeroPixels | None = None
    """Whether pixels without drive spike at the frame's end, or never. Default: the recipe's."""
    n_steps: int | None = None
    """Steps per frame, T. Default: the recipe's."""
    protocol: tuple[Protocol, ...] = ("held-out",)
    """held-out: choose on held-out training images. paper: choose the epoch by test accuracy."""
    precision: Precision | None = None
    """Precision of products in training: float32, or bf16 for speed. Default: the recipe's."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train. The two are not bit-identical."""
    threads: int | None = None
    """CPU threads; default: torch's."""
    data: Path | None = None
    """Folder with MNIST; default: RC_SNN_DATA, ../shared/data, cache, download, embedded digits."""
    results: Path = record.RESULTS
    """Where records and tables go."""
    runs: Path = record.PROJECT / "runs"
    """Where checkpoints, logs and weights go; a stopped run resumes from here."""
    force: bool = False
    """Run again what has a record already."""
    ship: bool = False
    """Also write the weights of seed 0 into the package, for `rc_snn.zoo`."""
    ray: bool = False
    """Train the runs as tasks of a local Ray (extra "cluster")."""
    ray_address: str | None = None
    """Train the runs as tasks of this Ray cluster; it must see the folders runs and results."""
    tensorboard: bool = False
    """Also write TensorBoard events beside the checkpoints."""


def configs(options: Table1, digits: Digits) -> Iterator[Run]:
    """Yield one configuration per run; rows without the asked recipe are left out."""
    yield from rank_coded(options, digits)
    yield from timing(options, digits)


def asked(
    options: Table1, recipes: Mapping[Profile, Mapping[RecipeName, Mapping[RowName, Any]]]
) -> Iterator[tuple[RecipeName, RowName, Protocol, int, Any]]:
    """Yield recipe's name, row, protocol, seed and recipe of what is asked for and exists."""
    for name, row, protocol, seed in product(
        options.recipe, options.rows, options.protocol, options.seeds
    ):
        recipe = recipes[options.profile].get(name, {}).get(row)
        if recipe is not None:
            yield name, row, protocol, seed, recipe


def sizes(recipe: Recipe | TimingRecipe, protocol: Protocol, digits: Digits) -> dict[str, int]:
    """Return how many images are trained on, held out, and tested on."""
    n_train = len(digits.train.labels)
    n_validation = min(recipe.n_validation, n_train // 8) if protocol == "held-out" else 0
    return {
        "n_train": min(recipe.n_train, n_train - n_validation),
        "n_validation": n_validation,
        "n_test": min(recipe.n_test, len(digits.test.labels)),
    }


def timing(options: Table1, digits: Digits) -> Iterator[TimingRun]:
    """Yield the runs of rows whose neurons spike once."""
    for name, row, protocol, seed, recipe in asked(options, TIMING_RECIPES):
        if recipe.model.file is not None and (protocol, seed) != _ONCE:
            continue
        polarities = options.polarity if recipe.encoder == "latency" else None
        for polarity in polarities or (recipe.polarity,):
            yield TimingRun(
                row=row,
                profile=options.profile,
                protocol=protocol,
                data=digits.name,
                polarity=polarity,
                zero_pixels=options.zero_pixels or recipe.zero_pixels,
                encoder=recipe.encoder,
                **sizes(recipe, protocol, digits),
                model=recipe.model,
                train=replace(recipe.train, seed=seed),
                device=options.device,
                recipe=name,
                augment=recipe.augment,
            )


_ONCE = ("held-out", 0)
"""Networks that are not trained here have no protocol and no seed: they are measured once."""


def rank_coded(options: Table1, digits: Digits) -> Iterator[RunConfig]:
    """Yield the runs of rank-coded rows."""
    for name, row, protocol, seed, recipe in asked(options, RECIPES):
        for polarity in options.polarity or (recipe.polarity,):
            yield RunConfig(
                row=row,
                profile=options.profile,
                protocol=protocol,
                data=digits.name,
                polarity=polarity,
                zero_pixels=options.zero_pixels or recipe.zero_pixels,
                n_steps=options.n_steps or recipe.n_steps,
                **sizes(recipe, protocol, digits),
                model=recipe.model,
                train=_seeded(recipe.train, seed, options),
                device=options.device,
                recipe=name,
                centred=recipe.centred,
                augment=recipe.augment,
            )


def _seeded(train: TrainConfig | TTFSConfig, seed: int, options: Table1) -> Any:
    if isinstance(train, TTFSConfig):
        return replace(train, seed=seed)
    return replace(train, seed=seed, precision=options.precision or train.precision)


def run_name(config: Run) -> str:
    """Return the name of a run's record and folder; it ends in the hash of the configuration."""
    if isinstance(config, TimingRun):
        key, grid = record.config_key(as_timing_config(config)), "continuous"
    else:
        key, grid = record.config_key(as_config(config)), f"T{config.n_steps}"
    recipe = "" if config.recipe == "published" else f"_{config.recipe}"
    return (
        f"{config.profile}_{config.row}{recipe}_{config.data}_{config.polarity}_{grid}"
        f"_{config.protocol}_seed{config.seed}_{key}"
    )


def zoo_name(config: Run) -> str:
    """Return the name under which a run's network ships, for example "rc-lstm-340-fast"."""
    row: str = config.row
    if isinstance(config, RunConfig):
        row = row.replace("rc-lstm", f"rc-lstm-{config.model.width}")
    return row if config.recipe == "tuned" else f"{row}-{config.recipe}"


def splits(config: Run, digits: Digits) -> tuple[Split, Split, Split]:
    """Return training, validation and test images of a run."""
    if config.protocol == "paper":
        training, validation = digits.train, digits.test
    else:
        training, validation = hold_out(digits.train, config.n_validation or 1)
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


def execute(config: RunConfig, digits: Digits, options: Table1, command: str) -> record.Record:
    """Train one run, or go on with it, and account for it on the test set, once.

    What is evaluated is the network as it ships: weights rounded to float16, float32 products.
    """
    name, source = run_name(config), record.source()
    encoding = Encoding(polarity=config.polarity, zero_pixels=config.zero_pixels)
    training, validation, test = splits(config, digits)
    model: Any = config.model.build(config.seed).to(config.device)
    mean: Tensor | None = None

    def encode(split: Split) -> Labelled:
        data = latency_sequences(split, config.n_steps, **encoding, mean=mean)
        return data.to(config.device)

    def moved(generator: torch.Generator) -> Labelled:
        return encode(Split(random_affine(training.images, generator), training.labels))

    data = encode(training)
    if config.centred:
        assert isinstance(data.inputs, SpikeSequences)
        mean = data.inputs.mean_input()
        data = encode(training)
    common: dict[str, Any] = {
        "tensorboard": options.tensorboard,
        "description": f"{config.row} {config.polarity} seed {config.seed}",
    }
    run_dir, held_out = options.runs / name, encode(validation)
    if isinstance(config.train, TTFSConfig):
        result = train_ttfs(model, data, held_out, config.train, run_dir, **common)
    else:
        fresh = moved if config.augment else None
        result = train(model, data, held_out, config.train, run_dir, fresh=fresh, **common)
    zoo.round_to_half(model)
    if isinstance(config.train, TTFSConfig):
        decision = model.decide(encode(test).inputs)
    else:
        model.precision = "float32"
        decision, _ = evaluate(model, encode(test), config.train.theta)
    metrics = account(
        decision.to("cpu"),
        test.labels,
        encode_latency(test.images, **encoding),
        config.n_steps,
        model.cost(),
    )
    done = record.new_record(
        "table1",
        name,
        as_config(config),
        asdict(metrics),
        {
            "best_epoch": result.best_epoch,
            "regime_reached": result.regime_reached,
            "history": result.history,
        },
        sum(row["seconds"] for row in result.history),
        source,
        command,
    )
    _write_weights(config, model.to("cpu"), mean, done, options)
    return done


def _write_weights(
    config: RunConfig,
    model: Any,
    mean: Tensor | None,
    done: record.Record,
    options: Table1,
) -> None:
    """Write the network beside its checkpoint, and into the package where that is asked for."""
    if isinstance(model, LIFNetwork):
        _ship(continuous_run.trained_lif(config, model, zoo_name(config), done), options)
        return
    assert isinstance(config.train, TrainConfig)
    measured = ("n", "correct", "accuracy", "time_to_insight", "fired")
    network = zoo.Trained(
        name=zoo_name(config),
        model=model,
        architecture=zoo.Architecture(
            config.model.kind,  # type: ignore[arg-type]
            (config.model.width, *config.model.deeper),
            config.model.kernel_size,
            config.model.pool,
        ),
        theta=config.train.theta,
        n_steps=config.n_steps,
        encoder={"polarity": config.polarity, "zero_pixels": config.zero_pixels},
        mean=mean,
        measured={k: done.metrics[k] for k in measured},
        record=done.name,
    )
    zoo.write(network, options.runs / done.name)
    if options.ship and config.seed == 0:
        zoo.write(network, zoo.FOLDER)


def execute_timing(
    config: TimingRun, digits: Digits, options: Table1, command: str
) -> record.Record:
    """Make the record and the weights of a row whose neurons spike once."""
    name = run_name(config)
    done, model = continuous_run.execute(
        config,
        splits(config, digits),
        name,
        options.runs / name,
        Path(digits.origin),
        command=command,
        tensorboard=options.tensorboard,
    )
    if config.model.file is None:
        _ship(continuous_run.trained(config, model, zoo_name(config), done), options)
    return done


def _ship(network: baselines_zoo.Trained, options: Table1) -> None:
    baselines_zoo.write(network, options.runs / network.record)
    if options.ship and "_seed0_" in network.record:
        baselines_zoo.write(network, baselines_zoo.FOLDER)


def run_one(config: Run, digits: Digits, options: Table1, command: str) -> str:
    """Make the record of one run unless it exists; return what happened, in a line."""
    folder = options.results / "table1"
    path = folder / f"{run_name(config)}.json"
    known = record.read(path) if path.exists() else None
    if isinstance(known, str):
        return f"skipped: {path} {known}; move it away to run this row"
    if known is not None and not options.force:
        return f"known: {path}"
    if options.force:
        (options.runs / run_name(config) / "checkpoint.pt").unlink(missing_ok=True)
    if isinstance(config, TimingRun):
        done = execute_timing(config, digits, options, command)
    else:
        done = execute(config, digits, options, command)
    return _summary(done, record.save(done, folder))


def main(options: Table1) -> int:
    """Evaluate or train, then print the table; return the exit status."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds none. Use --device cpu.")
    digits = load_mnist(options.data)
    shipped = digits.title == MNIST_TITLE and not options.train and bool(zoo.names())
    status = evaluate_shipped(digits) if shipped else run_all(options, digits)
    records = [
        r for r in record.read_all(options.results / "table1") if r.config["data"] == digits.name
    ]
    if shipped:
        records = [r for r in records if r.config["profile"] == "paper"]
    print(tables.table1(records, digits.title, "text"))
    if not shipped:
        print(tables.write(records, options.results, digits.title), file=sys.stderr)
    return status


def run_all(options: Table1, digits: Digits) -> int:
    """Make every record that does not exist yet, in turn or on Ray; return the exit status."""
    tasks, command = list(configs(options, digits)), record.command_line("table1")
    if options.ray or options.ray_address is not None:
        from benchmarks import cluster

        lines = cluster.run_all(tasks, options, command)
    else:
        lines = (run_one(config, digits, options, command) for config in tasks)
    failed = False
    for line in lines:
        print(line, file=sys.stderr)
        failed |= line.startswith("skipped")
    return 1 if failed else 0


def _summary(done: record.Record, path: Path) -> str:
    m = done.metrics
    steps, mean = m["time_to_insight"], m["strict_clock"]["mean"]
    when = f"mean spike time {mean} frames" if steps is None else f"{steps:.2f} steps"
    return (
        f"{done.config['row']} {done.config['polarity']} seed {done.config['train']['seed']}: "
        f"accuracy {100 * m['accuracy']:.2f} %, time to insight: {when}, "
        f"fired {100 * m['fired'] / m['n']:.1f} %, {done.seconds:.0f} s -> {path}"
    )
