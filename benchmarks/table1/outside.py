"""Networks of other packages beside ours: `--model package.module:factory`."""

import hashlib
import time
from typing import Any

import torch

from benchmarks import record
from benchmarks.record import Record
from benchmarks.report.numbers import without_infinity
from benchmarks.run import not_trained_here
from benchmarks.table1.options import Table1
from benchmarks.table1.rows import YOURS, made_by
from encoders.functional import encode
from encoders.mnist import Digits
from rc_snn import families
from rc_snn.network import Network
from rc_snn.step_model import StepModel

ENCODER = {"name": "latency", "polarity": "bright_first", "zero_pixels": "last"}
"""What a network that names no encoder is shown: the spikes of the published protocol."""


def network(made: Any, name: str, n_steps: int | None) -> Network:
    """Return what a factory made as a network: a `Network` as it is, a model with the paper's θ.

    Raises:
        TypeError: if no family claims it; the message says what a model must have.
    """
    if isinstance(made, Network):
        return made
    families.family_of(made)
    steps = isinstance(made, StepModel)
    return Network(
        name=name.rsplit(":", 1)[-1],
        model=made,
        theta=0.95 if steps else None,
        n_steps=(n_steps or 10) if steps else None,
    )


def measure(name: str, digits: Digits, options: Table1) -> Record:
    """Account for an outside network on the test spikes that our rows saw; return its record.

    A record that exists is read: it is known by the network's weights and all that decides.
    """
    net = network(made_by(name), name, options.n_steps)
    if net.reads != "times":
        raise ValueError(f"{net.name} reads {net.reads}; Table 1 shows spike times of images.")
    config = _config(net, digits)
    folder = options.results / "table1"
    key = f"{YOURS}_{net.name}_{digits.name}_{record.config_key(config)}"
    path = folder / f"{key}.json"
    known = record.read(path) if path.exists() else None
    if isinstance(known, Record) and not options.force:
        return known
    source, began = record.source(), time.monotonic()
    times = encode(digits.test.images, **config["encoder"])
    metrics = without_infinity(net.account(digits.test.labels, times))
    seconds = time.monotonic() - began
    done = record.new_record("table1", key, config, metrics, not_trained_here(), seconds, source)
    record.save(done, folder)
    return done


def _config(net: Network, digits: Digits) -> dict[str, Any]:
    encoder = dict(net.encoder) or ENCODER
    return {
        "row": net.name,
        "profile": YOURS,
        "protocol": "held-out",
        "recipe": YOURS,
        "data": digits.name,
        "polarity": encoder.get("polarity", "bright_first"),
        "encoder": encoder,
        "n_test": len(digits.test.labels),
        "n_steps": net.n_steps,
        "theta": net.theta,
        "family": net.family,
        "architecture": type(net.model).__name__,
        "model": {"weights": digest(net.model)},
        "train": {},
    }


def digest(model: Any) -> str:
    """Return a short hash of a model's weights and buffers."""
    found = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        flat = value.detach().cpu().contiguous().flatten()
        found.update(f"{key} {value.dtype} {list(value.shape)} ".encode())
        found.update(flat.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
