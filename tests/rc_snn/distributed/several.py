"""What the ranks of a test do: trainings by name, alike in one process and in several.

torchrun --nproc-per-node 2 tests/rc_snn/distributed/several.py FOLDER NAME…
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from baselines.alpha_psp import alpha_psp
from baselines.continuous_training import ContinuousConfig, Timed, train_continuous
from baselines.rel_psp import rel_psp
from rc_snn import loop
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.sequences import DenseSequences, Labelled
from rc_snn.training import TrainConfig, train

T, N, K = 5, 6, 3
N_SAMPLES = 27
"""In batches of 8 the last one has 3, of which a second rank goes through 1."""
BASE = TrainConfig(epochs=2, batch_size=8, lr=0.02, theta=0.9, beta=0.05)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def samples(seed: int, dtype: torch.dtype = torch.float64) -> Labelled:
    """Some that a loud network is sure of at once, some on which it waits."""
    labels = torch.arange(N_SAMPLES) % K
    x = torch.randn(T, N_SAMPLES, N, generator=generator(seed), dtype=torch.float64)
    x *= torch.linspace(0.1, 3.0, N_SAMPLES, dtype=torch.float64)[:, None]
    return Labelled(DenseSequences(x.to(dtype)), labels)


def lstm(**options: Any) -> RCLSTM:
    return loud(RCLSTM(N, 8, K, dense_input=True, generator=generator(), **options))


def loud(model: Any) -> Any:
    """Scale the weights so that samples decide at all steps."""
    model.double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0)
    return model


def rank_coded(folder: Path, model: Any = None, **options: Any) -> Any:
    model = lstm() if model is None else model
    if "RC_SNN_TEST_GPUS" in os.environ:
        model = model.cuda()
    return model, train(model, samples(1), samples(2), replace(BASE, **options), folder)


def spikes(seed: int) -> Timed:
    times = torch.rand(N_SAMPLES, N, generator=generator(seed), dtype=torch.float64)
    return Timed(times, torch.arange(N_SAMPLES) % K)


def continuous(folder: Path, make: Callable[..., Any], **options: Any) -> Any:
    """A network so quiet at first that neurons are to be brought back."""
    model = make((N, 8, K), generator=generator()).double()
    with torch.no_grad():
        for layer in model.layers:
            layer.weight.mul_(0.7)
    config = ContinuousConfig(epochs=2, batch_size=8, **options)
    return model, train_continuous(model, spikes(1), spikes(2), config, folder)


def noisy(folder: Path) -> Any:
    model = lstm(dropout=0.3).float()
    data = samples(1, torch.float32), samples(2, torch.float32)
    return model, train(model, *data, replace(BASE, epochs=3), folder)


CASES: dict[str, Callable[[Path], Any]] = {
    "rc": rank_coded,
    "clipped": lambda folder: rank_coded(folder, max_norm=0.05, schedule="one_cycle"),
    "step 0, then θ": lambda folder: rank_coded(folder, first_step_epochs=1, weight_decay=0.5),
    "two samples and one": lambda folder: rank_coded(folder, batch_size=3, theta=0.55),
    "drawn θ, prefix": lambda folder: rank_coded(
        folder, theta_low=0.4, theta_high=0.97, prefix=0.7, judge="area"
    ),
    "eos": lambda folder: rank_coded(folder, method="eos"),
    "every step": lambda folder: rank_coded(folder, method="every_step", beta=0.0),
    "convolution": lambda folder: rank_coded(
        folder,
        loud(RCConvLSTM((3,), 3, image_shape=(3, 2), n_classes=K, generator=generator())),
    ),
    "α-PSP": lambda folder: continuous(folder, alpha_psp, silence=0.1, max_norm=1.0),
    "ReL-PSP": lambda folder: continuous(folder, rel_psp, drift=0.1, optimizer="adamw", lr=0.01),
}
"""Trainings without noise, which draw the same in any number of processes."""


def refused(folder: Path) -> list[str]:
    """Return what each of some trainings says that cannot go on; the ranks stay together."""
    rank = dist.get_rank()
    one_by_one: list[Callable[[], Any]] = [
        lambda: rank_coded(folder / "a", seed=rank),
        lambda: rank_coded(folder / "b", batch_size=26),
        lambda: train(lstm(), samples(1 + rank), samples(2), BASE, folder / "c"),
        lambda: train(
            *(lstm(), samples(1), samples(2), BASE, folder / "d"),
            fresh=lambda drawn: (torch.rand(1 + rank, generator=drawn), samples(1))[1],
        ),
        lambda: _unwritable(folder),
    ]
    said = []
    for attempt in one_by_one:
        try:
            attempt()
            said.append("nothing")
        except (ValueError, OSError) as error:
            said.append(f"{type(error).__name__}: {error}")
    return said


def _unwritable(folder: Path) -> None:
    (folder / "e").write_text("a file in the way")
    rank_coded(folder / "e")


def kill_at(rank: int, update: int) -> None:
    """Let a rank be killed when it is about to take a step for the n-th time."""
    descend, left = loop.Loop.descend, [update]

    def counted(self: Any, *args: Any, **options: Any) -> None:
        left[0] -= 1
        if left[0] == 0 and self.ranks.rank == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        descend(self, *args, **options)

    loop.Loop.descend = counted  # type: ignore[method-assign]


def main(folder: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    if "RC_SNN_TEST_GPUS" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    if "RC_SNN_TEST_KILL" in os.environ:
        kill_at(*map(int, os.environ["RC_SNN_TEST_KILL"].split(",")))
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # somebody's own launcher
        dist.init_process_group("gloo")
    for name in names:
        if name == "refused":
            made: Any = refused(folder)
        else:
            model, result = (CASES.get(name) or noisy)(folder / name)
            losses = [row["train_loss"] for row in result.history]
            made = model.state_dict(), losses
        torch.save(made, folder / f"{name}.{dist.get_rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
