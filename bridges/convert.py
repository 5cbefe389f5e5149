"""From a trained network or a stream file to a target, on the command line.

Examples:
    python -m bridges.convert rc-lstm-340-fast --to brian2 -o answers.py
    python -m bridges.convert my.safetensors --to brian2
    python -m bridges.convert --model my_package.my_module:my_network --to nest
    python -m bridges.convert rel-psp-340-slow --to sonata -o inputs.h5 --spikes inputs
    python -m bridges.convert rc-lstm-340-fast --to nir -o read_out.nir --spikes model
    python -m bridges.convert answers.npz --to nwb -o answers.nwb
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import torch
import tyro
from torch import Tensor

from bridges import support
from bridges.errors import BridgeError
from bridges.networks import nir as nir_models
from bridges.stream import file as stream_file
from bridges.stream.stream import SpikeStream
from encoders.functional import encode, steps_to_times
from encoders.mnist import Split, load_mnist
from rc_snn import commands
from rc_snn.files import check_room
from rc_snn.network import Network, load, names, network_made_by
from rc_snn.progress import progress
from rc_snn.spikes import Decision, spike_steps

Spikes: TypeAlias = Literal["answers", "inputs", "model"]
To: TypeAlias = Literal[support.NAMES]  # type: ignore[valid-type]
BATCH = 250
STREAMS = (".h5", ".hdf5", ".npz")
_DT = 1e-3


@dataclass(frozen=True)
class Convert:
    """Write spikes, or a model, as a file or a runnable script of a target."""

    input: tyro.conf.Positional[str | None] = None
    """A stream file (.h5, .hdf5, .npz), a network's, or a network that ships."""
    to: To = tyro.MISSING
    """The target."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """What to write: a script (.py) for simulators and libraries, else a file of the target.
    Default: the input's name and the target's, here."""
    spikes: Spikes = "answers"
    """Of a network: spikes of its decisions or of its input, or the network itself (NIR only)."""
    dt: float | None = None
    """Seconds per tick; default: 0.001, or what the stream file says. Ticks keep their numbers."""
    samples: int | None = None
    """So many samples, from the first; default: all of a file, 20 test images of a network."""
    steps: int = 1000
    """Ticks per frame for networks in continuous time, whose spikes move to the tick before."""
    data: Path | None = None
    """Folder with MNIST, whose test images a network answers; default: as for benchmarks.table1."""
    model: str | None = None
    """package.module:factory, instead of an input: the network or model that it returns."""
    force: bool = False
    """Replace what is at the output already."""


def main(config: Convert) -> str:
    """Convert, and return what was done in one line.

    Raises:
        ValueError: if the input is neither, or the output is taken.
        BridgeError: if the target cannot carry the spikes exactly.
        OSError: if nothing can be written there.
    """
    if (config.input is None) == (config.model is None):
        raise ValueError("Name what to convert: a file or network that ships, or --model; one.")
    if config.samples is not None and config.samples < 1:
        raise ValueError(f"samples must be at least 1, got {config.samples}.")
    module = support.bridge(config.to)
    output = config.output or _named(config, module.TARGET.suffix)
    _check_free(config, output)
    check_room(output.parent)
    if config.input is not None and Path(config.input).suffix in STREAMS:
        stream = _from_file(config.input, config)
    elif config.spikes == "model":
        return _model(config, output)
    else:
        stream = _from_network(config)
    path = module.export(stream, output)
    done = f"{stream.n_spikes} spikes of {len(stream)} samples -> {path}"
    if path.suffix == ".py":
        done += f"; where {module.TARGET.title} is installed: python {path}"
    return done


def _named(config: Convert, suffix: str) -> Path:
    """Return what is written where no output is named."""
    source = (config.model or "").rsplit(":", 1)[-1] or Path(config.input or "").stem
    return Path(f"{source}_{config.to}{'.nir' if config.spikes == 'model' else suffix}")


def _hidden(output: Path) -> Path:
    return output.with_name(f"{output.stem}_hidden.h5")


def _check_free(config: Convert, output: Path) -> None:
    """Refuse to replace files, and, whatever was asked, to write over the input."""
    written = [output]
    if output.suffix == ".py":
        written.append(output.with_suffix(".npz"))  # the spikes of a script
    if config.spikes == "model":
        written.append(_hidden(output))
    for path in written:
        if path.exists() and path.resolve() == Path(config.input or "").resolve():
            raise ValueError(f"{path} is the input, and would be written. Choose another output.")
        if path.exists() and not config.force:
            raise ValueError(f"{path} exists. Choose another output, or pass --force.")


def _from_file(path: str, config: Convert) -> SpikeStream:
    if config.spikes != "answers":
        raise ValueError(
            f"A stream file holds spikes only; --spikes {config.spikes} needs a network."
        )
    stream = stream_file.load(path)
    if config.dt is not None:
        stream = replace(stream, dt_s=config.dt)
    return stream.take(slice(0, config.samples))


def _from_network(config: Convert) -> SpikeStream:
    """Return answers or inputs of a network, on test images."""
    net, images = _network(config), _images(config)
    _check_reads(net, images)
    n_steps = config.steps if net.n_steps is None else net.n_steps
    dt_s = _DT if config.dt is None else config.dt
    times = torch.cat([encode(part, **net.encoder) for part in _parts(images.images, "encode")])
    if config.spikes == "inputs":
        on_grid = steps_to_times(spike_steps(times, n_steps), n_steps)
        stream = replace(
            SpikeStream.from_times(on_grid, n_steps, dt_s), shape=(1, *images.images.shape[1:])
        )
    else:
        decision = Decision.cat([net.decide(part) for part in _parts(times, "decide")])
        if decision.step is None:
            stream = _first_spikes(decision, n_steps, dt_s)
        else:
            stream = SpikeStream.from_decision(decision, n_steps, len(net.classes), dt_s)
    about = {"network": net.name, "spikes": config.spikes, "encoder": dict(net.encoder)}
    return replace(
        stream,
        metadata=about | {"steps_per_frame": n_steps},
        samples=dict(stream.samples) | {"label": images.labels.numpy()},
    )


def _first_spikes(decision: Decision, steps_per_frame: int, dt_s: float) -> SpikeStream:
    """Return one spike per decision in continuous time, on the tick before; or silence."""
    times = torch.full_like(decision.scores, torch.inf, dtype=torch.float64)
    times[torch.arange(len(decision)), decision.label] = decision.time.double()
    times[~decision.fired] = torch.inf
    last = float(times[torch.isfinite(times)].max()) if decision.fired.any() else 1.0
    frames = max(1, math.ceil(last))
    return SpikeStream.from_times(times, steps_per_frame, dt_s, frames=frames, off_grid="floor")


def _model(config: Convert, output: Path) -> str:
    """Write a network as a NIR graph, and what its read-out reads beside it."""
    if config.to != "nir":
        raise BridgeError(
            f"A network itself goes to NIR only, not to {config.to}. Brian2 and NEST run it by "
            "bridges.networks.brian2 and bridges.networks.nest."
        )
    net, images = _network(config), _images(config)
    _check_reads(net, images)
    times = encode(images.images, **net.encoder)
    dt_s = _DT if config.dt is None else config.dt
    return nir_models.export(net, output, _hidden(output), times, dt_s)


def _network(config: Convert) -> Network:
    """Return a network that ships, that is in a file, or that a factory makes."""
    if config.model is not None:
        return network_made_by(config.model)
    name = str(config.input)
    if name not in names() and not Path(name).is_file():
        raise ValueError(
            f"{name!r} is neither a stream file (.h5, .hdf5, .npz) nor a network's, nor one that "
            f"ships: {', '.join(names())}."
        )
    return load(name)


def _check_reads(net: Network, images: Split) -> None:
    """Refuse a network that does not read spike times of these images."""
    pixels = images.images[0].numel()
    if net.reads == "times" and net.model.n_inputs == pixels:
        return
    what = f"spike times of {net.model.n_inputs} inputs"
    if net.reads != "times":
        what = str(net.encoder.get("name", "sequences"))
    raise BridgeError(
        f"{net.name} reads {what}; here are only test images of {pixels} pixels. Decide on its own "
        "inputs, and convert the answers: bridges.stream.file.save(SpikeStream.from_decision("
        "decision, n_steps, n_classes, dt_s), 'answers.npz'), then python -m bridges.convert "
        "answers.npz."
    )


def _images(config: Convert) -> Split:
    test = load_mnist(config.data).test
    n = 20 if config.samples is None else config.samples
    return Split(test.images[:n], test.labels[:n])


def _parts(tensor: Tensor, what: str) -> Iterator[Tensor]:
    """Return a tensor in batches, with a progress bar."""
    return progress(tensor.split(BATCH), what, unit="batches")


if __name__ == "__main__":
    commands.run(lambda config: print(main(config)), Convert)
