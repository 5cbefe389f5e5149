"""Trained networks inside Brian2 and NEST, against the closed form they were trained with.

α-PSP and ReL-PSP networks spike at times that are known exactly. Both simulators run the same
networks by their own clocks, on real images; the record says by how much their first spikes differ,
for steps that get smaller, with spikes within the steps ("precise") and with spikes on the grid.

`python -m benchmarks.simulators` draws from the record in results/simulators; `--train` simulates,
and makes it.
"""

import importlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import torch

from benchmarks.record import Record
from benchmarks.report import figures
from benchmarks.run import Measurement, Measures, Options
from benchmarks.task import Task, start
from bridges.networks.continuous import agreement
from encoders.functional import encode
from encoders.mnist import load_mnist
from rc_snn.borders.numbers import number
from rc_snn.network import Network, load
from rc_snn.progress import progress, say
from rc_snn.spikes import SpikeTimes

Entry: TypeAlias = dict[str, Any]
"""What one simulation of a network says."""
SIMULATORS = {"brian2": "Brian2", "nest": "NEST"}
PACKAGES = ("brian2", "nest-simulator")
STEPS = (1e-2, 5e-3, 2e-3, 1e-3, 5e-4)
TARGET = 0.99
"""Share of neurons that must spike within one dt of the closed form, at dt = 1e-3 frames."""


@dataclass(frozen=True)
class SimulatorOptions(Measures):
    """The options of every task, and what to simulate; --train simulates."""

    networks: tuple[str, ...] = ("alpha-psp-340-fast-published", "rel-psp-340-slow")
    """Networks in continuous time, by the names under which they ship."""
    simulators: tuple[str, ...] = tuple(SIMULATORS)
    """Which simulators."""
    images: int = 100
    """Test images, from the first."""
    steps: tuple[float, ...] = STEPS
    """Steps of the clock, in frames."""
    frames: float = 3.0
    """Simulated time."""
    threads: int | None = 1
    """CPU threads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_clock(self.steps, self.frames)


def check_clock(steps: Iterable[float], frames: float) -> None:
    """Refuse a time or a step of the clock that nothing can be simulated with.

    Raises:
        ValueError: if one is not positive and finite, or a step is longer than the time.
    """
    if not 0.0 < frames < math.inf or not all(0.0 < dt <= frames for dt in steps):
        raise ValueError(
            f"frames must be positive and finite, and steps in (0, frames]; got frames={frames:g} "
            f"and steps={tuple(steps)}."
        )


def measure(
    network: Network,
    simulator: str,
    times: SpikeTimes,
    steps: Iterable[float],
    frames: float,
) -> Iterator[Entry]:
    """Yield one entry for each mode and step, hidden and output neurons apart.

    Args:
        network: a network in continuous time.
        simulator: "brian2" or "nest".
        times: its input.
        steps: of the simulator's clock, in frames.
        frames: simulated time.

    Raises:
        ValueError: if frames or a step is not positive, or a step is longer than frames.
    """
    steps = [number(dt, "steps") for dt in steps]
    frames = number(frames, "frames")
    check_clock(steps, frames)
    bridge = importlib.import_module(f"bridges.networks.{simulator}")
    model = network.model.double()
    with torch.no_grad():
        exact = model.spike_times(times.double())
    every = list(product((True, False), steps))
    for precise, dt in progress(every, f"{network.name} in {simulator}", unit="simulations"):
        begin = time.perf_counter()
        ran = bridge.spike_times(model, times.double(), dt=dt, frames=frames, precise=precise)
        seconds = time.perf_counter() - begin
        layers = [agreement(a, b, dt, frames) for a, b in zip(ran, exact, strict=True)]
        joined = agreement(torch.cat(ran, dim=1), torch.cat(exact, dim=1), dt, frames)
        yield {
            "network": network.name,
            "simulator": simulator,
            "precise": precise,
            "dt": dt,
            "all": asdict(joined),
            "layers": [asdict(layer) for layer in layers],
            "seconds": seconds,
        }


def _line(entry: Entry) -> str:
    a = entry["all"]
    mode = "precise" if entry["precise"] else "on grid"
    return (
        f"{entry['network']:30} {SIMULATORS[entry['simulator']]:7} {mode:8} {entry['dt']:7g} "
        f"{100 * a['within']:10.3f} {a['fired']:8} {a['only_one']:9} {a['median']:10.1e} "
        f"{a['largest']:10.1e}"
    )


def table(entries: list[Entry]) -> str:
    """Lay the entries out, and say whether the target is met."""
    head = (
        f"{'network':30} {'in':7} {'spikes':8} {'dt':>7} {'within dt %':>10} {'fired':>7} "
        f"{'only one':>9} {'median':>10} {'largest':>10}"
    )
    notes = (
        "dt, median and largest difference in frames. fired: neurons that spike in either; only "
        "one: in one of both, which counts as a miss."
    )
    return "\n".join([head, *map(_line, entries), "", notes, "", *verdicts(entries)])


def verdicts(entries: list[Entry]) -> list[str]:
    """Say for each network and simulator whether the target is met at dt = 1e-3 frames."""
    said = []
    for e in entries:
        if e["dt"] == 1e-3:
            met = "met" if e["all"]["within"] >= TARGET else "missed"
            said.append(
                f"{e['network']} in {SIMULATORS[e['simulator']]}, "
                f"{'precise' if e['precise'] else 'on the grid'}: {100 * e['all']['within']:.2f} % "
                f"of {e['all']['fired']:,} first spikes within one dt of 1e-3 frames "
                f"(asked: {100 * TARGET:g} %, {met})"
            )
    return said


def draw(entries: list[Entry], path: Path) -> None:
    """Draw the differences over dt: one panel per network."""
    names = sorted({e["network"] for e in entries})
    figure, axes = figures.subplots(
        1, len(names), figsize=(5.0 * len(names), 4.2), squeeze=False, sharey=True,
        layout="constrained",
    )  # fmt: skip
    for axis, name in zip(axes[0], names, strict=True):
        for i, simulator in enumerate(SIMULATORS):
            for precise in (True, False):
                own = sorted(
                    (e["dt"], e["all"]["largest"])
                    for e in entries
                    if (e["network"], e["simulator"], e["precise"]) == (name, simulator, precise)
                )
                if own:
                    label = SIMULATORS[simulator] + (", precise" if precise else ", on the grid")
                    style = {"marker": "os"[i], "ls": "-" if precise else "--", "color": f"C{i}"}
                    axis.plot(*zip(*own, strict=True), label=label, ms=4, **style)
        steps = sorted({e["dt"] for e in entries})
        axis.plot(steps, steps, color="0.5", lw=1, ls=":", label="one dt")
        axis.set(xscale="log", yscale="log", title=name, xlabel="dt (frames)")
    axes[0][0].set_ylabel("largest difference of a first spike\nfrom the closed form (frames)")
    axes[0][0].legend()
    figures.save(figure, path)


def make(run: Measurement, options: SimulatorOptions, command: str) -> Record:
    """Simulate all networks, and say how far they are from the closed form."""
    c = run.config

    def simulate() -> dict[str, Any]:
        images, entries = load_mnist(options.data).test.images[: c["images"]], []
        for name, simulator in product(c["networks"], c["simulators"]):
            net = load(name)
            times = encode(images, **net.encoder)
            for entry in measure(net, simulator, times, c["steps"], c["frames"]):
                say(_line(entry))
                entries.append(entry)
        return {"entries": entries, "versions": {p: metadata.version(p) for p in PACKAGES}}

    return run.record(simulate, command)


class Simulators(Task):
    """Trained networks in Brian2 and NEST: how far their spikes are from the closed form."""

    name, options = "simulators", SimulatorOptions
    make = staticmethod(make)

    def runs(self, options: SimulatorOptions) -> list[Measurement]:
        """Return the one run."""
        keys = ("networks", "simulators", "images", "steps", "frames")
        return [Measurement(self.name, {key: getattr(options, key) for key in keys})]

    def text(self, records: Sequence[Record]) -> str:
        """Return all differences, and whether the target is met."""
        return table(records[0].metrics["entries"])

    def draw(self, records: Sequence[Record], options: Options, path: Path) -> None:
        """Draw the differences over dt."""
        draw(records[0].metrics["entries"], path)

    def readme(self, results: Path) -> list[str]:
        """Return whether the target is met."""
        [done] = self.find(SimulatorOptions(results=results))
        return [f"- {line}" for line in verdicts(done.metrics["entries"])]


TASK = Simulators()

if __name__ == "__main__":
    start(TASK)
