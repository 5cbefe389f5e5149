"""One training over several processes, on this machine or several: torchrun and torch's DDP.

A program that trains in one process trains over several where torchrun starts it:

    torchrun --nproc-per-node 2 my_training.py

Each process (a rank) goes through a part of every batch; DDP averages their gradients, by NCCL
where the model is on GPUs, else by gloo. Samples stop at different steps on each rank, so that one
has a gradient of the recurrent weights and another has none: DDP finds the parameters that a rank
did not use, and none waits for it. A model is advanced step by step, not called; so DDP is handed
the loss, from which it sees the whole graph. docs/SCALE.md: what is sent, what a failure costs.
"""

import atexit
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Bool, Shaped
from torch import Tensor, nn

from rc_snn.commands import one_line

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)
"""How long a rank waits for another that is silent; one that dies is noticed at once."""


class RankLost(ConnectionError):
    """Another rank has stopped. The message says which is left, why, and what to do."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a training, as one of them sees them; alone, nothing is sent."""

    rank: int = 0
    """Which this is; the first alone reads and writes files, and evaluates."""
    size: int = 1
    """How many there are."""

    @property
    def first(self) -> bool:
        """Return whether this rank reads, writes and evaluates for all."""
        return self.rank == 0

    def part(self, rows: Shaped[Tensor, " batch"]) -> Shaped[Tensor, " part"]:
        """Return this rank's part of what there is for each sample of a batch.

        Example:
            >>> Ranks(1, 2).part(torch.arange(5))
            tensor([3, 4])
        """
        return rows.tensor_split(self.size)[self.rank]

    def weight(self, n: int) -> float:
        """Return what makes a mean over ranks, of means over parts, the mean over n samples.

        Example:
            >>> Ranks(0, 2).weight(5), Ranks(1, 2).weight(5)  # of 3 and 2 samples
            (1.2, 0.8)
        """
        return self.size * len(self.part(torch.empty(n))) / n

    def backward(self, model: nn.Module) -> Callable[[Tensor, int], None]:
        """Return what back-propagates a rank's mean loss on its part of a batch of n samples.

        It leaves the gradient of the whole batch's mean loss on every rank. A parameter that no
        rank used has none, as in one process: Adam tells none from zeros.
        """
        if self.size == 1:
            return lambda loss, n: loss.backward()
        with self._together():
            shared = nn.parallel.DistributedDataParallel(
                _Whole(model), find_unused_parameters=True, forward_sync_buffers=False
            )

        def backward(loss: Tensor, n: int) -> None:
            with self._together():
                shared(loss * self.weight(n)).backward()

        return backward

    def from_first(self, make: Callable[[], T]) -> T:
        """Return what the first rank makes; the others wait for it.

        Raises:
            RankLost: on the others, if it could not be made, with the reason.
        """
        if self.size == 1:
            return make()
        told: list[Any] = [None]
        failure: Exception | None = None
        if self.first:
            try:
                told = [(make(), "")]
            except Exception as error:
                failure, told = error, [(None, f"{type(error).__name__}: {one_line(error)}")]
        with self._together():
            dist.broadcast_object_list(told)
        if failure is not None:
            raise failure
        value: T
        value, reason = told[0]
        if reason:
            raise RankLost(f"Rank 0 of {self.size} has stopped: {reason}")
        return value

    def total(self, row: Mapping[str, float]) -> dict[str, float]:
        """Return the sums over all ranks."""
        rows = self._all(dict(row))
        return {name: sum(one[name] for one in rows) for name in row}

    def every(self, flags: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """Return which flags are set on every rank."""
        if self.size == 1:
            return flags
        counts = flags.int()
        with self._together():
            dist.all_reduce(counts, dist.ReduceOp.MIN)
        return counts.bool()

    def check_alike(self, held: Mapping[str, Any]) -> None:
        """Refuse, on all ranks, to go on if one of them holds something else."""
        theirs = self._all(dict(held))
        for rank, other in enumerate(theirs):
            differ = [k for k in held if other.get(k) != theirs[0].get(k)]
            if differ:
                said = "; ".join(f"{k} is {other.get(k)}, {theirs[0].get(k)} there" for k in differ)
                raise ValueError(
                    f"Rank {rank} would train something else than rank 0: {said}. Ranks share one "
                    "training: start all with the same command, data and seed, and draw new "
                    "samples from the generator that `fresh` is given, and from no other."
                )

    def check_batches(self, n: int, batch_size: int) -> None:
        """Refuse batches of n samples of which the smallest leaves a rank without a sample."""
        if (last := n % batch_size or batch_size) < self.size:
            raise ValueError(
                f"The last batch has {last} of {n} samples, fewer than the {self.size} ranks. "
                f"Choose another batch_size than {batch_size}, or fewer ranks."
            )

    def check_devices(self, model: nn.Module) -> None:
        """Refuse two ranks on one GPU where NCCL sends, which cannot."""
        device = next(model.parameters()).device
        if self.size == 1 or device.type != "cuda" or dist.get_backend() == "gloo":
            return
        where = self._all((os.uname().nodename, str(torch.cuda.get_device_properties(device).uuid)))
        if len(set(where)) < self.size:
            raise ValueError(
                f"Of {self.size} ranks {self.size - len(set(where))} share a GPU with another, got "
                f"the model on {device} in rank {self.rank}. Put it on the GPU of its rank: "
                'model.cuda(int(os.environ["LOCAL_RANK"])).'
            )

    def seed(self, generator: torch.Generator, seed: int, epoch: int) -> None:
        """Seed this rank's own noise, which the ranks need not share, anew for an epoch.

        Drawn from what the ranks share, it would part them: their parts differ in size, and their
        samples leave at different steps. So the generator, and the global ones, which data sets may
        draw from, begin each epoch with what (seed, epoch, rank) says: nothing has to be kept.
        """
        if self.size == 1:
            return
        [own] = np.random.SeedSequence([seed, epoch, self.rank]).generate_state(1).tolist()
        generator.manual_seed(own)
        torch.manual_seed(own)
        random.seed(own)
        np.random.seed(own)  # noqa: NPY002 (tonic draws from it)

    def _all(self, value: T) -> list[T]:
        """Return what each rank gives."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._together():
            dist.all_gather_object(values, value)
        return values

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Say that another rank is gone where torch says that a connection is."""
        try:
            yield
        except RuntimeError as error:
            said = one_line(error)
            if not isinstance(error, dist.DistError) and "gloo" not in said:
                raise
            raise RankLost(
                f"Rank {self.rank} of {self.size} has lost another, which was killed, or silent "
                f"for {PATIENCE}: see what that one said. Start the same command again: it goes on "
                f"from the last checkpoint. ({said})"
            ) from error


class _Whole(nn.Module):
    """A model for DDP, which reads from the loss which parameters it was made of."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, loss: Tensor) -> Tensor:
        return loss


def launched() -> bool:
    """Return whether torchrun has started this process beside others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def join(model: nn.Module) -> Ranks:
    """Return the ranks of a training; under torchrun, wait for the others first.

    A process group that is there already is used as it is.
    """
    if not dist.is_available():
        return Ranks()
    if not dist.is_initialized():
        if not launched():
            return Ranks()
        cuda = next(model.parameters()).is_cuda
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    return Ranks(dist.get_rank(), dist.get_world_size())
