"""The runs of Table 1 as Ray tasks, on this machine or on a cluster; the records are the same.

A run whose worker dies is started again and goes on from its checkpoint, with `--force` from the
beginning. Every machine needs the package installed and must see the folders of the job.
"""

import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.table1.task import Run, Table1, run_name, run_one
from encoders.mnist import Digits, embedded_digits, load_mnist

MAX_RETRIES = 3
"""How often the worker of one run may die before the run is given up."""


def run_all(tasks: list[Run], options: Table1, command: str) -> Iterator[str]:
    """Make every record that does not exist yet; yield a line per run, in the order they end.

    A run that fails takes no other down: its line starts with "skipped: " and says why. Each run
    has `options.threads` cores (default: one), and with the device cuda a GPU of its own.

    Raises:
        ImportError: without the package ray.
    """
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError as error:
        raise ImportError(
            "Training on Ray needs the package ray: pip install 'rc_snn[cluster]'."
        ) from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    threads = options.threads or 1
    where: dict[str, Any] = {"address": options.ray_address}
    if options.ray_address is None:
        cores = max(os.cpu_count() or 1, threads)
        where = {"address": "local", "num_cpus": cores, "include_dashboard": False}
    with ray.init(**where, log_to_driver=False, logging_level=logging.ERROR):
        remote = ray.remote(
            num_cpus=threads,
            num_gpus=int(options.device == "cuda"),
            max_retries=MAX_RETRIES,
        )(_run)
        there = _absolute(options)
        running = {
            remote.options(name=run_name(config)).remote(config, there, command): config
            for config in tasks
        }
        while running:
            [ended], _ = ray.wait(list(running), num_returns=1)
            config = running.pop(ended)
            try:
                line = ray.get(ended)
            except RayError as error:
                cause = getattr(error, "cause", None) or error
                line = f"skipped: {run_name(config)}: {type(cause).__name__}: {cause}"
            yield line


def _run(config: Run, options: Table1, command: str) -> str:
    """Make the record of one run, in a worker."""
    digits = _digits(config.data, options.data)
    torch.set_num_threads(options.threads or 1)  # after all imports: some of them set it, too
    return run_one(config, digits, options, command)


@functools.cache
def _digits(name: str, data: Path | None) -> Digits:
    """Load the digits of this name, once per worker.

    Raises:
        ValueError: if the worker finds others than the driver.
    """
    digits = embedded_digits() if name == "MNIST-5k" else load_mnist(data)
    if digits.name != name:
        raise ValueError(
            f"The run is on {name}, but its worker found {digits.name} ({digits.origin}). Name a "
            "folder that every worker sees with --data."
        )
    return digits


def _absolute(options: Table1) -> Table1:
    """Return the options as any process on any machine reads them: nothing relative, no __main__.

    Under `python -m`, the driver's own `Table1` is `__main__.Table1`.
    """
    data = options.data or os.environ.get("RC_SNN_DATA")
    folders = {
        "data": Path(data).expanduser().absolute() if data else None,
        "results": options.results.absolute(),
        "runs": options.runs.absolute(),
    }
    return Table1(**vars(options) | folders)
