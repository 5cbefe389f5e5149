"""A grid of runs on many hosts, event by event: hosts fail, runs go on from their checkpoints."""

import heapq
import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DAY_S = 86_400.0


@dataclass(frozen=True)
class Grid:
    """The hosts, and what happens to them."""

    hosts: int
    cores: int
    """Runs at a time on a host."""
    mtbf_s: float
    """Mean time between failures of one host, exponential; inf: none fails."""
    repair_s: float = 0.0
    """Until a failed host is back."""
    startup_s: float = 0.0
    """Until a run that is started trains."""
    slow_share: float = 0.0
    """Share of the hosts that are slow."""
    slow_factor: float = 1.0
    """How many times as long everything takes on these."""
    retries: int | None = None
    """How many deaths of its worker a run survives; None: any number."""


@dataclass
class Outcome:
    """What became of a grid. Core-seconds are those of the hosts' clocks."""

    makespan_s: float = 0.0
    """Until the last run has ended."""
    failures: int = 0
    """Hosts that failed before."""
    deaths: int = 0
    """Runs that died with them."""
    lost_s: float = 0.0
    """Core-seconds of training since the last checkpoint, at each death."""
    startup_s: float = 0.0
    """Core-seconds until runs trained."""
    trained_s: float = 0.0
    """Core-seconds of training that was kept."""
    given_up: int = 0
    """Runs that died too often."""
    ended_s: tuple[float, ...] = ()
    """When each run that ended did."""


@dataclass
class _Run:
    epochs: int
    """Left to be trained."""
    epoch_s: float
    deaths: int = 0


def simulate(
    epochs: npt.NDArray[np.int64],
    epoch_s: npt.NDArray[np.float64],
    grid: Grid,
    generator: np.random.Generator,
    *,
    interval_s: float = 0.0,
) -> Outcome:
    """Start runs in their order on whatever core is free, until all have ended or are given up.

    A run that dies waits at the end of the queue, as a task that Ray starts again does, and loses
    what it has done since its last checkpoint.

    Args:
        epochs: of each run.
        epoch_s: seconds of each run's epoch, on a host that is not slow.
        grid: the hosts.
        generator: when hosts fail, and which are slow.
        interval_s: shortest time from one checkpoint to the next; they are written at the end of an
            epoch.

    Example:
        >>> two_cores = Grid(hosts=1, cores=2, mtbf_s=math.inf)
        >>> simulate(np.full(3, 5), np.full(3, 2.0), two_cores, np.random.default_rng(0)).makespan_s
        20.0
    """
    out, ended = Outcome(), []
    queue = deque(_Run(int(n), float(s)) for n, s in zip(epochs, epoch_s, strict=True))
    left = len(queue)
    slow = generator.random(grid.hosts) < grid.slow_share
    speed = np.where(slow, grid.slow_factor, 1.0).tolist()
    running: list[dict[int, tuple[_Run, float]]] = [{} for _ in range(grid.hosts)]
    lives = [0] * grid.hosts  # even while a host is up: it fails, and comes back
    # Cores without a run: the host, and in which of its lives.
    free = deque((host, 0) for _ in range(grid.cores) for host in range(grid.hosts))
    # When, the host, and the number of the start that ends; -1: the host fails, or is back.
    events = [(generator.exponential(grid.mtbf_s), host, -1) for host in range(grid.hosts)]
    heapq.heapify(events)
    number = 0
    while left:
        while queue and free:
            host, life = free.popleft()
            if life == lives[host]:
                run = queue.popleft()
                running[host][number] = run, out.makespan_s
                seconds = speed[host] * (grid.startup_s + run.epochs * run.epoch_s)
                heapq.heappush(events, (out.makespan_s + seconds, host, number))
                number += 1
        now, host, ending = heapq.heappop(events)
        if ending >= 0 and ending not in running[host]:  # it has died
            continue
        out.makespan_s = now
        if ending >= 0:
            run, began = running[host].pop(ending)
            out.startup_s += speed[host] * grid.startup_s
            out.trained_s += speed[host] * run.epochs * run.epoch_s
            ended.append(now)
            free.append((host, lives[host]))
            left -= 1
            continue
        lives[host] += 1
        if lives[host] % 2 == 0:
            free.extend([(host, lives[host])] * grid.cores)
            heapq.heappush(events, (now + generator.exponential(grid.mtbf_s), host, -1))
            continue
        heapq.heappush(events, (now + grid.repair_s, host, -1))
        out.failures += 1
        for run, began in running[host].values():
            _die(run, (now - began) / speed[host], speed[host], grid, interval_s, out)
            if grid.retries is None or run.deaths <= grid.retries:
                queue.append(run)
            else:
                out.given_up += 1
                left -= 1
        running[host].clear()
    out.ended_s = tuple(ended)
    return out


def between(interval_s: float, epoch_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the epochs from one checkpoint to the next, of runs with epochs so long."""
    epochs: npt.NDArray[np.int64] = np.maximum(np.ceil(interval_s / epoch_s), 1.0).astype(np.int64)
    return epochs


def _die(
    run: _Run, age_s: float, speed: float, grid: Grid, interval_s: float, out: Outcome
) -> None:
    """Set a run back to its last checkpoint; its age is what a host that is not slow would take."""
    trained = max(age_s - grid.startup_s, 0.0)
    each = int(between(interval_s, np.array(run.epoch_s)))
    checkpoints = math.floor(trained / (each * run.epoch_s))
    kept = checkpoints * each * run.epoch_s
    out.startup_s += speed * (age_s - trained)
    out.trained_s += speed * kept
    out.lost_s += speed * (trained - kept)
    run.epochs -= checkpoints * each
    run.deaths += 1
    out.deaths += 1
