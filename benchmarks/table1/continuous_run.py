"""Train and account for one row of Table 1 whose neurons spike once, in continuous time."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from baselines import zoo
from baselines.continuous import ContinuousNetwork
from baselines.continuous_training import Timed, train_continuous
from baselines.lif import LIFNetwork
from benchmarks import record
from benchmarks.table1.continuous_rows import TimingRun, as_timing_config
from benchmarks.table1.rows import RunConfig
from encoders.functional import random_affine
from encoders.mnist import Split
from rc_snn.regimes import account
from rc_snn.training import TrainConfig
from rc_snn.zoo import round_to_half

PUBLISHED: dict[str, Any] = {"best_epoch": None, "regime_reached": True, "history": []}
"""What a record says of a training that was not ours."""


def execute(
    config: TimingRun,
    parts: tuple[Split, Split, Split],
    name: str,
    run_dir: Path,
    data: Path | None,
    *,
    command: str,
    tensorboard: bool,
) -> tuple[record.Record, ContinuousNetwork]:
    """Train one run, or go on with it, and account for it on the test set, once.

    What is evaluated is the network as it ships, with weights rounded to float16; the authors' own
    networks are evaluated in float64, as they are.
    """
    source = record.source()
    training, validation, test = parts
    model = config.model.build(config.seed, data).to(config.device)
    about: dict[str, Any] = dict(PUBLISHED)
    if config.model.file is None:
        result = train_continuous(
            model,
            _encode(config, training),
            _encode(config, validation),
            config.train,
            run_dir,
            fresh=_moved(config, training) if config.augment else None,
            tensorboard=tensorboard,
            description=f"{config.row} {config.polarity} seed {config.seed}",
        )
        about = asdict(result)
        round_to_half(model)
    done = record.new_record(
        "table1",
        name,
        as_timing_config(config),
        measure(config, model.to("cpu"), test),
        about,
        sum(row["seconds"] for row in about["history"]),
        source,
        command,
    )
    return done, model


def _encode(config: TimingRun, split: Split) -> Timed:
    return Timed(config.encode(split.images).float(), split.labels)


def _moved(config: TimingRun, split: Split) -> Callable[[torch.Generator], Timed]:
    return lambda generator: _encode(
        config, Split(random_affine(split.images, generator), split.labels)
    )


def measure(config: TimingRun, model: ContinuousNetwork, test: Split) -> dict[str, Any]:
    """Account for the first spikes, and for the same network read out at the frame's end.

    A time that never comes, `inf`, is None.
    """
    times = config.encode(test.images)
    decision = model.decide(times, temperature=config.train.temperature)
    metrics = asdict(
        account(decision, test.labels, times, operations=model.synaptic_operations(times))
    )
    forced = model.decide(times, temperature=config.train.temperature, fallback=True)
    metrics["at_frame_end"] = asdict(account(forced, test.labels, times))
    metrics["times"] = {
        f"{100 * q:g} %": float(decision.time.double().quantile(q, interpolation="nearest"))
        for q in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    }
    return without_infinity(metrics)  # type: ignore[no-any-return]


def without_infinity(value: Any) -> Any:
    """Return the same with None for every infinite number, which JSON cannot hold.

    Example:
        >>> without_infinity({"mean": math.inf, "of": [1.0]})
        {'mean': None, 'of': [1.0]}
    """
    if isinstance(value, dict):
        return {k: without_infinity(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_infinity(v) for v in value]
    return None if isinstance(value, float) and math.isinf(value) else value


def trained_lif(
    config: RunConfig, model: LIFNetwork, name: str, done: record.Record
) -> zoo.Trained:
    """Return a LIF network as `baselines.zoo` writes it."""
    assert config.model.library is not None
    return zoo.Trained(
        name=name,
        model=model,
        architecture=zoo.Architecture(
            config.model.kind,  # type: ignore[arg-type]
            (model.n_inputs, config.model.width, model.n_classes),
            config.model.library,
            config.n_steps,
            config.train.theta if isinstance(config.train, TrainConfig) else None,
        ),
        encoder={
            "name": "latency",
            "polarity": config.polarity,
            "zero_pixels": config.zero_pixels,
        },
        measured={k: done.metrics[k] for k in ("n", "correct", "accuracy", "fired")},
        record=done.name,
    )


def trained(
    config: TimingRun, model: ContinuousNetwork, name: str, done: record.Record
) -> zoo.Trained:
    """Return a network as `baselines.zoo` writes it."""
    return zoo.Trained(
        name=name,
        model=model,
        architecture=zoo.Architecture(config.model.kind, config.model.sizes),
        encoder={
            "name": config.encoder,
            "polarity": config.polarity,
            "zero_pixels": config.zero_pixels,
        },
        measured={k: done.metrics[k] for k in ("n", "correct", "accuracy", "fired")},
        record=done.name,
    )
