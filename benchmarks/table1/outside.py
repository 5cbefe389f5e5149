"""Networks of others beside ours: by `--model`, by `--network`, or by their decisions alone.

All leave the same record, of the profile "yours": it says what was measured, and nothing of how the
network was trained. What decides it is in its config as digests, so another network, threshold or
decision is another record.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks import record
from benchmarks.record import Record
from benchmarks.report import tables
from benchmarks.report.numbers import without_infinity
from benchmarks.run import not_trained_here
from benchmarks.table1 import table
from benchmarks.table1.options import Table1
from benchmarks.table1.rows import YOURS
from encoders.functional import Polarity, ZeroPixels, encode
from encoders.mnist import Digits, Split, embedded_digits, load_mnist
from rc_snn.borders.checks import check_decision
from rc_snn.borders.numbers import tensor
from rc_snn.checkpoint import digest
from rc_snn.formats.makers import recipe
from rc_snn.network import Network, load, network_made_by
from rc_snn.regimes import account, check_grid
from rc_snn.spikes import Decision, SpikeTimes, check_labels, check_times, spike_steps
from rc_snn.step_model import StepCost

ENCODER = {"name": "latency", "polarity": "bright_first", "zero_pixels": "last"}
"""What a network that names no encoder is shown: the spikes of the published protocol."""
Counts: TypeAlias = Tensor | tuple[Tensor, Tensor]
"""Accumulates of each sample, and its multiply-accumulates, if any."""
UNNAMED = "unnamed data"
DIGITS = ("MNIST", "MNIST-5k")
"""Data sets that tables of ours are about; nothing else is called so."""


@dataclass(frozen=True, repr=False)
class Scored:
    """A line of Table 1: printed, its cells, each below its column's name."""

    record: Record
    path: Path
    """Where the record is."""

    @property
    def cells(self) -> dict[str, str]:
        """Return what the table shows, by its columns."""
        [(row, group)] = table.groups([self.record])
        return dict(zip(table.HEADER, table.line(row, group), strict=True))

    def __repr__(self) -> str:
        """Return the cells that say something, one a line; and a warning if nothing fired."""
        known = [[name, cell] for name, cell in self.cells.items() if cell != "—"]
        return "\n".join([*tables.text(known), *filter(None, [unfired(self.record)])])


def score(
    name: str,
    decision: Decision,
    labels: Any,
    times: SpikeTimes | None = None,
    *,
    n_steps: int | None = None,
    cost: StepCost | tuple[Tensor, Tensor] | Float[Tensor, " batch"] | None = None,
    data: str | None = None,
    results: Path | str = record.RESULTS,
) -> Scored:
    """Put a network into Table 1 by its decisions on a test set, whatever made them.

    The record goes to `results`/table1, where `python -m benchmarks.table1` finds it. The same
    decisions leave the same record; others under the same name leave another, and both are shown.

    Args:
        name: what to call the network.
        decision: its answers, one per sample.
        labels: the right classes.
        times: the input spikes that it was shown, in frames; None leaves out the share of them that
            was seen, and the accumulates that they cost.
        n_steps: steps per frame, T; None for answers in continuous time.
        cost: multiply-adds of a step (`rc_snn.step_model.StepCost`), or what each sample took until
            its decision: accumulates and multiply-accumulates, as
            `rc_snn.regimes.count_operations` has them, or accumulates alone; None leaves the
            operations out.
        data: name of the data set. Default: "MNIST" if labels and times are those of its test set
            by one of our encoders ("MNIST-5k": the embedded digits), else "unnamed data".
        results: folder of the results.

    Raises:
        ValueError: if they do not fit each other, a time is NaN, or `data` is "MNIST" and the
            labels are not those of its test set.

    Example:
        >>> import tempfile
        >>> label, step = torch.tensor([1, 0, 1]), torch.tensor([0, 4, 9])
        >>> fired = torch.tensor([True, True, False])
        >>> decision = Decision.at_steps(step, 10, fired, torch.eye(2)[label])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     row = score(
        ...         "MyNet", decision, torch.tensor([1, 0, 0]), n_steps=10, data="toys",
        ...         results=folder,
        ...     )
        >>> row.cells["ours %"], row.cells["step clock"], row.cells["fired %"]
        ('66.67', '43.3 % slow', '66.7')
    """
    if not name or not name.isprintable() or set(name) & set("/\\|"):
        raise ValueError(f"A network needs a name without / \\ | and line ends, got {name!r}.")
    check_decision(decision)
    labels = tensor(labels, "labels")
    times = None if times is None else tensor(times, "times")
    _check(decision, labels, times, n_steps)
    labels = check_labels(labels, decision.scores.shape[1], len(decision))
    operations, known = None, None
    if isinstance(cost, StepCost):
        known = _checked_cost(cost, times, n_steps)
    elif cost is not None:
        operations = _checked_operations(cost, len(decision))
    source, began = record.source(), time.monotonic()
    found = account(decision, labels, times, n_steps, known, operations=operations)
    shown, encoder = _data(data, labels, times, n_steps)
    spikes = "no spikes given" if times is None else "own spikes"
    when = decision.time if decision.step is None else decision.step
    parts = {
        "decisions": digest([decision.label.long(), decision.fired.bool(), when.double()]),
        "labels": digest(labels.long()),
        "times": None if times is None else digest(times.double()),
        "cost": _cost_key(known, operations),
    }
    config = {
        **_common(name, shown, encoder, encoder.get("polarity", spikes)),
        "n_test": len(decision),
        "n_steps": n_steps,
        "architecture": "decisions of yours",
        "model": parts,
    }
    return _kept(config, asdict(found), time.monotonic() - began, source, Path(results))


def networks(options: Table1) -> list[Network]:
    """Return the networks of others that the command line names."""
    made = [network_made_by(name, options.n_steps) for name in options.factories]
    return [*made, *(load(path) for path in options.network)]


def measure(net: Network, digits: Digits, results: Path | str) -> Scored:
    """Account for a network of others on the test spikes that our rows saw.

    A network that names its encoder gets that one's spikes; any other the published protocol's. It
    is evaluated each time: a record that says the same is left as it is, and no stale one is read.

    Raises:
        ValueError: if it does not read spike times of these images.
    """
    images, n = digits.test.images, net.model.n_inputs
    pixels = images[0].numel()
    if net.reads != "times" or n != pixels:
        what = f"{n} inputs" if net.reads == "times" else net.reads
        raise ValueError(
            f"{net.name} reads {what}; Table 1 shows spike times of {pixels} pixels. Decide on "
            "your own inputs, and call benchmarks.score(name, decision, labels, …)."
        )
    encoder = dict(net.encoder) or ENCODER
    source, began = record.source(), time.monotonic()
    metrics = net.account(digits.test.labels, encode(images, **encoder))
    try:
        maker, options = recipe(net.model, net.maker, net.options)
    except ValueError:  # it does not say how it was built; what it measures tells it apart
        maker, options = f"{type(net.model).__module__}:{type(net.model).__qualname__}", {}
    config = {
        **_common(net.name, digits.name, encoder, encoder.get("polarity", "bright_first")),
        "n_test": len(digits.test.labels),
        "n_steps": net.n_steps,
        "theta": net.theta,
        "family": net.family,
        "architecture": type(net.model).__name__,
        "model": {
            "maker": maker,
            "options": options,
            "weights": digest(sorted({**net.model.state_dict(), **net.tensors}.items())),
            # What none of these says, such as an attribute or a line of its code, is in here.
            "account": record.config_key(without_infinity(metrics)),
        },
    }
    return _kept(config, metrics, time.monotonic() - began, source, Path(results))


def unfired(done: Record) -> str | None:
    """Say what to change where a threshold was not reached by any sample."""
    steps, theta = done.config["n_steps"] is not None, done.config.get("theta")
    if done.metrics["fired"] or (steps and "theta" in done.config and theta is None):
        return None
    which = "" if theta is None else f" = {theta:g}"
    return (
        f"warning: no sample of {done.config['row']} reached its threshold θ{which}, so every "
        "answer was forced at the end. Lower θ (Network(theta=…), or the neurons' threshold), or "
        "raise the gain: larger input weights or logits."
    )


def _common(name: str, data: str, encoder: Mapping[str, Any], polarity: str) -> dict[str, Any]:
    """Return what every record of a network of others says; how it was trained is not known."""
    about = {"row": name, "profile": YOURS, "protocol": YOURS, "recipe": YOURS, "train": {}}
    return about | {"data": data, "encoder": dict(encoder), "polarity": polarity}


def _kept(
    config: dict[str, Any], metrics: dict[str, Any], seconds: float, source: Any, results: Path
) -> Scored:
    """Write a record, unless there is one that says the same."""
    folder = results / "table1"
    metrics = without_infinity(metrics)
    key = f"{YOURS}_{config['row']}_{config['data']}_{record.config_key(config)}"
    path = folder / f"{key}.json"
    known = record.read(path) if path.exists() else None
    if isinstance(known, Record) and known.metrics == metrics:
        return Scored(known, path)
    done = record.new_record("table1", key, config, metrics, not_trained_here(), seconds, source)
    return Scored(done, record.save(done, folder))


def _check(decision: Decision, labels: Tensor, times: Tensor | None, n_steps: int | None) -> None:
    """Refuse decisions that contradict themselves; `account` refuses what does not fit them."""
    n = len(decision)
    rows = n if times is None else len(times)
    if not n == len(labels) == rows or n == 0:
        raise ValueError(
            f"A network is scored by one label, and one row of times, for each decision; got {n} "
            f"decisions, {len(labels)} labels and {rows} rows of times."
        )
    if labels.dim() != 1 or labels.is_floating_point() or labels.dtype is torch.bool:
        raise ValueError(
            f"labels must be class indices [batch], got {labels.dtype} {list(labels.shape)}. "
            "Of one-hot rows take argmax(dim=1)."
        )
    if times is not None:
        if times.dim() != 2 or not times.is_floating_point():
            raise ValueError(
                f"times must be floats [batch, inputs] in frames, got {times.dtype} "
                f"{list(times.shape)}. Flatten images; silence is inf."
            )
        check_times(times)
    if torch.isnan(decision.time).any() or (decision.time < 0).any():
        raise ValueError("Decision times must be >= 0 frames, or inf for no answer; some are not.")
    if decision.step is None or n_steps is None:
        return
    check_grid(decision, n_steps)


def _checked_cost(cost: StepCost, times: Tensor | None, n_steps: int | None) -> StepCost:
    if n_steps is None:
        raise ValueError(
            "A StepCost is what a step costs, and these answers have none: pass n_steps, or the "
            "accumulates of each sample as a tensor."
        )
    if times is not None and cost.fan_out.shape != times.shape[1:]:
        raise ValueError(
            f"cost.fan_out has {list(cost.fan_out.shape)} inputs, the times have "
            f"{list(times.shape[1:])}. Give one fan-out for each input."
        )
    return cost


def _checked_operations(operations: Counts, n: int) -> Counts:
    if isinstance(operations, tuple):
        operations = tuple(tensor(part, "cost") for part in operations)  # type: ignore[assignment]
    else:
        operations = tensor(operations, "cost")
    for part in (operations,) if isinstance(operations, Tensor) else operations:
        good = part.shape == (n,) and bool((part >= 0).all())
        if not good or not bool(part.isfinite().all()):
            raise ValueError(
                f"cost must be a StepCost, or the accumulates of each of the {n} samples, with or "
                f"without multiply-accumulates, finite and >= 0; got a tensor {list(part.shape)}."
            )
    return operations


def _cost_key(cost: StepCost | None, operations: Counts | None) -> Any:
    if isinstance(operations, Tensor):
        return digest(operations.double())
    if operations is not None:
        return digest([part.double() for part in operations])
    if cost is None:
        return None
    return {k: v for k, v in vars(cost).items() if k != "fan_out"} | {
        "fan_out": digest(cost.fan_out.double())
    }


def _data(
    data: str | None, labels: Tensor, times: Tensor | None, n_steps: int | None
) -> tuple[str, Mapping[str, Any]]:
    """Return the name of the data, and the encoder if the times are those of our digits by one."""
    if data is not None and data not in DIGITS:
        if not data or not data.isprintable() or set(data) & set("/\\|"):
            raise ValueError(f"Data need a name without / \\ | and line ends, got {data!r}.")
        return data, {}
    for name, test in _tests(len(labels)).items():
        if not torch.equal(test.labels, labels.long()):
            continue
        encoder = None if times is None else _encoder(test.images, times, n_steps)
        if data == name or (data is None and encoder is not None):
            return name, encoder or {}
    if data is None:
        return UNNAMED, {}
    raise ValueError(
        f"data={data!r}, but these {len(labels)} labels are not, in order, those of its test set "
        "(encoders.load_mnist().test; or there is no copy of it here). Score the whole test set, "
        "or give your data another name."
    )


@cache
def _tests(n: int) -> dict[str, Split]:
    """Return the test sets of ours that have so many images, by name; nothing is downloaded."""
    found = [load_mnist(download=False)] if n == 10_000 else []
    found += [embedded_digits()] if n == 1_000 else []
    return {digits.name: digits.test for digits in found}


def _encoder(images: Tensor, times: Tensor, n_steps: int | None) -> dict[str, Any] | None:
    """Return by which of our encoders images are these spikes, on the grid; None: by none."""
    if times.shape[1] != images[0].numel():
        return None
    options = [
        {"name": "latency", "polarity": polarity, "zero_pixels": zero}
        for polarity, zero in product(get_args(Polarity), get_args(ZeroPixels))
    ]
    for encoder in [*options, {"name": "alpha_psp"}]:
        ours: Tensor = encode(images, **encoder).to(times)
        if n_steps is None:
            same = torch.equal(ours, times)
        else:
            same = torch.equal(spike_steps(ours, n_steps), spike_steps(times, n_steps))
        if same:
            return encoder
    return None
