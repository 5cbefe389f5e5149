"""Trained networks inside Brian2 and NEST, against the closed form they were trained with.

α-PSP and ReL-PSP networks spike at times that are known exactly. Both simulators run the same
networks by their own clocks, on real images; the record says by how much their first spikes differ,
for steps that get smaller, with spikes within the steps ("precise") and with spikes on the grid.

`python -m benchmarks.simulators` draws from the record in results/simulators; `--run` makes it.
"""

import importlib
import sys
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from baselines import zoo
from benchmarks import record
from benchmarks.report import figures
from bridges.networks.continuous import agreement
from encoders.functional import encode
from encoders.mnist import load_mnist
from rc_snn import commands, files

SIMULATORS = {"brian2": "Brian2", "nest": "NEST"}
PACKAGES = ("brian2", "nest-simulator")
STEPS = (1e-2, 5e-3, 2e-3, 1e-3, 5e-4)
TARGET = 0.99
"""Share of neurons that must spike within one dt of the closed form, at dt = 1e-3 frames."""


@dataclass(frozen=True)
class Simulators:
    """Compare clock-driven simulations with the closed form."""

    run: bool = False
    """Simulate, and make the record; else draw what it holds."""
    networks: tuple[str, ...] = ("alpha-psp-340-fast-published", "rel-psp-340-slow")
    """Networks of `baselines.zoo`."""
    simulators: tuple[str, ...] = tuple(SIMULATORS)
    """Which simulators."""
    images: int = 100
    """Test images, from the first."""
    steps: tuple[float, ...] = STEPS
    """Steps of the clock, in frames."""
    frames: float = 3.0
    """Simulated time."""
    threads: int = 1
    """CPU threads."""
    data: Path | None = None
    """Folder with MNIST; default: as for table1."""
    results: Path = record.RESULTS
    """Where the record and the figure go."""


def measure(options: Simulators) -> list[dict[str, Any]]:
    """Return one entry per network, simulator, mode and step, hidden and output neurons apart."""
    images = load_mnist(options.data).test.images[: options.images]
    found = []
    for name in options.networks:
        net = zoo.load(name)
        model = net.model.double()
        times = encode(images, **net.encoder).double()
        with torch.no_grad():
            exact = model.spike_times(times)
        for simulator in options.simulators:
            bridge = importlib.import_module(f"bridges.networks.{simulator}")
            for precise in (True, False):
                for dt in options.steps:
                    begin = time.perf_counter()
                    ran = bridge.spike_times(
                        model, times, dt=dt, frames=options.frames, precise=precise
                    )
                    seconds = time.perf_counter() - begin
                    layers = [
                        asdict(agreement(a, b, dt, options.frames))
                        for a, b in zip(ran, exact, strict=True)
                    ]
                    joined = agreement(
                        torch.cat(ran, dim=1), torch.cat(exact, dim=1), dt, options.frames
                    )
                    about = {"network": name, "simulator": simulator, "precise": precise, "dt": dt}
                    found.append(
                        about | {"all": asdict(joined), "layers": layers, "seconds": seconds}
                    )
                    print(_line(found[-1]), file=sys.stderr)
    return found


def _line(entry: dict[str, Any]) -> str:
    a = entry["all"]
    mode = "precise" if entry["precise"] else "on grid"
    return (
        f"{entry['network']:30} {SIMULATORS[entry['simulator']]:7} {mode:8} {entry['dt']:7g} "
        f"{100 * a['within']:10.3f} {a['fired']:8} {a['only_one']:9} {a['median']:10.1e} "
        f"{a['largest']:10.1e}"
    )


def table(entries: list[dict[str, Any]]) -> str:
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


def verdicts(entries: list[dict[str, Any]]) -> list[str]:
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


def read(results: Path) -> list[dict[str, Any]]:
    """Return the entries of all records."""
    records = record.read_all(results / "simulators")
    return [entry for r in records for entry in r.metrics["entries"]]


def draw(entries: list[dict[str, Any]], path: Path) -> None:
    """Draw the differences over dt: one panel per network."""
    names = sorted({e["network"] for e in entries})
    figure, axes = plt.subplots(
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


def main(options: Simulators) -> int:
    """Simulate where asked to; draw and print what the records hold; return the exit status."""
    folder = options.results / "simulators"
    torch.set_num_threads(options.threads)
    if options.run:
        keys = ("networks", "simulators", "images", "steps", "frames")
        config = {key: getattr(options, key) for key in keys}
        source, begin = record.source(), time.perf_counter()
        entries = measure(options)
        done = record.new_record(
            "simulators",
            f"simulators_{record.config_key(config)}",
            config,
            {"entries": entries, "versions": {p: metadata.version(p) for p in PACKAGES}},
            {},
            time.perf_counter() - begin,
            source,
        )
        print(record.save(done, folder), file=sys.stderr)
    entries = read(options.results)
    if not entries:
        raise ValueError(f"{folder} holds no records. Run python -m benchmarks.simulators --run.")
    draw(entries, folder / "simulators.png")
    text = table(entries)
    files.write_text(folder / "simulators.txt", text + "\n")
    print(text, folder / "simulators.png", sep="\n")
    return 0


if __name__ == "__main__":
    commands.run(main, Simulators)
