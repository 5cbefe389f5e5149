"""Runs as Ray tasks, on this machine or on a cluster; the records are those of one after another.

A run whose worker dies is started again and goes on from its checkpoint, with `--force` from the
beginning. Every machine needs the package installed and must see the folders of the options.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.run import Options, Outcome
from rc_snn import commands

MAX_RETRIES = 3
"""How often the worker of one run may die before the run is given up."""


class Job(NamedTuple):
    """One run to be made."""

    name: str
    function: Callable[[Any], Outcome]
    """Takes the options, as the worker reads them; what it holds must pickle."""


def run_all(jobs: Sequence[Job], options: Options) -> Iterator[Outcome]:
    """Do all jobs; yield what became of each, in the order they end.

    A run that fails takes no other down. Each has `options.threads` cores (default: one), and, if
    the options have a device and that is cuda, a GPU of its own.

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
        commands.catch_stops()  # Ray has taken SIGTERM
        remote = ray.remote(
            num_cpus=threads,
            num_gpus=int(getattr(options, "device", "cpu") == "cuda"),
            max_retries=MAX_RETRIES,
        )(_work)
        there = _absolute(options)
        running = {
            remote.options(name=job.name).remote(job.function, there, threads): job for job in jobs
        }
        while running:
            ray.wait(list(running), num_returns=1)
            # All that have ended: looking through 50,000 tasks for one took a tenth of a second.
            done, _ = ray.wait(list(running), num_returns=len(running), timeout=0)
            for ended in done:
                job = running.pop(ended)
                try:
                    yield ray.get(ended)
                except RayError as error:
                    cause = getattr(error, "cause", None) or error
                    why = f"{type(cause).__name__}: {commands.one_line(cause)}"
                    yield Outcome(job.name, True, f"skipped: {job.name}: {why}")


def _work(function: Callable[[Options], Outcome], options: Options, threads: int) -> Outcome:
    """Do one job, in a worker."""
    torch.set_num_threads(threads)  # after all imports: some of them set it, too
    return function(options)


def _absolute(options: Options) -> Options:
    """Return the options as any process on any machine reads them: no folder is relative."""
    data = options.data or os.environ.get("RC_SNN_DATA")
    return replace(
        options,
        data=Path(data).expanduser().absolute() if data else None,
        results=options.results.absolute(),
        runs=options.runs.absolute(),
    )
