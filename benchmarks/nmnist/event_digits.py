"""Event-camera digits: what is trained on N-MNIST, and what a trained network is measured by."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.record import Record
from benchmarks.report.numbers import count_interval
from benchmarks.run import Data, Options, TaskModel, TaskRun, recorded, trained
from encoders.event_frames import Disturb, EventFrames, event_sequences, share_arrived
from encoders.nmnist import SUBSET, SUBSET_NAME, NeuromorphicMNIST
from encoders.temporal_mnist import deal
from rc_snn.exits import Curve, confidence, exit_at, fastest_as_good
from rc_snn.regimes import account
from rc_snn.runner import trace
from rc_snn.sequences import Labelled
from rc_snn.spikes import Decision
from rc_snn.training import Method, TrainConfig

THETA = 0.95
THETAS = (
    *(0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9),
    *(0.925, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.998, 0.999),
)
"""Thresholds of the sweep; at 0.1 all answer at once, because one of ten classes has a tenth."""
METHODS: tuple[Method, ...] = ("rc", "eos")
SACCADES_MS = (0.0, 100.0, 200.0)
"""When the saccades begin, nominally (Orchard et al. 2015); tonic cuts the first at 100 ms, too."""


def runs(options: Options) -> list[TaskRun]:
    """Return the runs behind the figure: both methods, each with every seed.

    They differ in the method alone. Both keep the epoch whose first spikes on validation are the
    earliest (`select="fast"`: 5 % of a recording is 16 ms, which none reaches). By accuracy 100
    recordings cannot tell one epoch from the next, and would keep one before decisions are early.
    """
    quick = options.profile == "quick"
    frames = EventFrames(step_us=20_000, n_steps=16, factor=2, value="root")
    return [
        TaskRun(
            task="nmnist",
            profile=options.profile,
            data={
                "name": SUBSET_NAME,
                "sha256": [SUBSET[True].sha256, SUBSET[False].sha256],
                "n_validation": 100,
                "split_seed": 0,
                "frames": asdict(frames),
                "disturb": asdict(
                    Disturb(shift_px=1.0, turn_deg=6.0, stretch=0.08, shift_us=10_000, drop=0.2)
                ),
            },
            model=TaskModel(frames.n_inputs, 50 if quick else 100, 10, forget_bias=1.0),
            train=TrainConfig(
                epochs=20 if quick else 60,
                method=method,
                batch_size=32,
                lr=6e-3,
                schedule="one_cycle",
                theta=THETA,
                beta=0.0,
                seed=seed,
                select="fast",
                judge="spike",
            ),
        )
        for seed in options.seeds
        for method in METHODS
    ]


def of(records: Sequence[Record], method: str) -> list[Record]:
    """Return the records of one method, by seed."""
    chosen = [r for r in records if r.config["train"]["method"] == method]
    return sorted(chosen, key=lambda r: int(r.config["train"]["seed"]))


def frames_of(config: dict[str, Any]) -> EventFrames:
    """Return how a run's events became steps."""
    return EventFrames(**config["data"]["frames"])


def data(run: TaskRun, train: NeuromorphicMNIST, test: NeuromorphicMNIST) -> Data:
    """Turn the recordings into sequences; training recordings are disturbed anew each epoch."""
    d, frames = run.data, frames_of(run.config)
    training, validation = deal(len(train), d["n_validation"], seed=d["split_seed"])
    return Data(
        training=event_sequences(train, frames, training),
        validation=event_sequences(train, frames, validation),
        test=event_sequences(test, frames),
        fresh=lambda generator: event_sequences(
            train, frames, training, disturb=Disturb(**d["disturb"]), generator=generator
        ),
    )


# ---- what a network is measured by ---------------------------------------------------------------


@torch.no_grad()
def measure(
    model: Any,
    test: Labelled,
    *,
    validation: Labelled,
    arrived: Float[Tensor, "batch time"],
    frames: EventFrames,
) -> dict[str, Any]:
    """Account for a trained network: θ is chosen on validation, the test set is read once."""
    seen, shown = trace(model, validation.inputs), trace(model, test.inputs)
    swept = [
        _point(exit_at(confidence(seen), seen, theta), validation.labels, frames)
        for theta in THETAS
    ]
    known = [[point[key] for point in swept] for key in ("mean_ms", "accuracy")]
    curve = Curve(*(torch.tensor(values, dtype=torch.float64) for values in known))
    best = fastest_as_good(curve, len(validation))
    tell = partial(
        _tell, trace=shown, labels=test.labels, model=model, arrived=arrived, frames=frames
    )
    decisions = [exit_at(confidence(shown), shown, theta) for theta in THETAS]
    p = torch.softmax(shown[:, 0], dim=1)
    return {
        "validation": [{"theta": t, **point} for t, point in zip(THETAS, swept, strict=True)],
        "test": [
            {
                "theta": theta,
                **_point(decision, test.labels, frames),
                "right": "".join(str(int(r)) for r in decision.label == test.labels),
            }
            for theta, decision in zip(THETAS, decisions, strict=True)
        ],
        "fixed": tell(theta=THETA),
        "chosen": tell(theta=THETAS[best]),
        "end": tell(theta=float("inf")),
        "example": {
            "p": [round(float(x), 4) for x in p.amax(dim=1)],
            "label": p.argmax(dim=1).tolist(),
            "digit": int(test.labels[0]),
        },
    }


def _point(
    decision: Decision, labels: Int[Tensor, " batch"], frames: EventFrames
) -> dict[str, float]:
    assert decision.step is not None
    return {
        "accuracy": float((decision.label == labels).double().mean()),
        "mean_ms": float(frames.seen_ms(decision.step).mean()),
        "fired": float(decision.fired.double().mean()),
    }


def _tell(
    *,
    theta: float,
    trace: Float[Tensor, "time batch classes"],
    labels: Int[Tensor, " batch"],
    model: Any,
    arrived: Float[Tensor, "batch time"],
    frames: EventFrames,
) -> dict[str, Any]:
    """Account for the decisions at one θ: regimes and costs, milliseconds, saccades."""
    decision = exit_at(confidence(trace), trace, theta)
    assert decision.step is not None
    share = arrived.gather(1, decision.step.unsqueeze(1)).squeeze(1)
    told = account(decision, labels, n_steps=len(trace), cost=model.cost(), seen=share)
    ms, right = frames.seen_ms(decision.step), decision.label == labels
    saccade = torch.bucketize(ms, torch.tensor(SACCADES_MS, dtype=torch.float64)) - 1
    return {
        "theta": theta if theta < 1.0 else None,
        "interval": count_interval(told.correct, told.n),
        "mean_ms": float(ms.mean()),
        "median_ms": float(ms.quantile(0.5)),
        "decided_in_saccade": torch.bincount(saccade, minlength=3).tolist(),
        "correct_in_saccade": torch.bincount(saccade[right], minlength=3).tolist(),
        "account": asdict(told),
    }


@cache
def recordings(folder: Path | None) -> tuple[NeuromorphicMNIST, NeuromorphicMNIST]:
    """Return training and test recordings, read once per process.

    Raises:
        ValueError: if the folder holds others than those of the recipe.
    """
    train, test = (NeuromorphicMNIST(folder, train=part) for part in (True, False))
    for part in (train, test):
        if part.name != SUBSET_NAME:
            raise ValueError(
                f"The recipe and its records are for {SUBSET_NAME}, got {part.name} in "
                f"{part.origin}. Name the folder of the subset with --data."
            )
    return train, test


def make(run: TaskRun, options: Options, command: str) -> Record:
    """Train one run, or go on with it, and measure it once."""
    train, test = recordings(options.data)
    known, frames = data(run, train, test), frames_of(run.config)
    done, held_out = trained(run, known, options), cast(Labelled, known.validation)
    arrived = share_arrived(test, frames)
    metrics = measure(done.model, known.test, validation=held_out, arrived=arrived, frames=frames)
    return recorded(run, done, metrics, command)
