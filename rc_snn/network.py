"""One kind of trained network: with all that its use depends on, in one kind of file.

A `Network` holds a model of ours or anybody's, the threshold and the grid that it answers with, and
what was measured of it. Its file is safetensors: weights, further tensors, and as JSON the name of
what built the model with the options that it was built with. Nothing in a file is run: `load` calls
makers of modules of trusted packages, and nothing else (see `load`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rc_snn import families
from rc_snn.borders.numbers import json_value
from rc_snn.commands import made_by
from rc_snn.files.tensors import write_tensors
from rc_snn.formats.content import FORMAT, check_weights, fill, read_content
from rc_snn.formats.half import as_half
from rc_snn.formats.makers import built, maker_of, recipe
from rc_snn.polarity import warn_of_other_polarity
from rc_snn.sequences import DenseSequences, Sequences, SpikeSequences, check_input_size, input_size
from rc_snn.shown import html
from rc_snn.spikes import Decision, check_n_steps, check_theta, spike_steps
from rc_snn.step_model import StepModel, evaluated

SHELF = Path(__file__).parent / "weights"
"""Where the networks are that ship with the package."""


@dataclass(frozen=True)
class Network:
    """A trained network with all that its use depends on.

    Args:
        name: what it is called; the name of its file.
        model: a step model (`rc_snn.step_model.StepModel`), a network in continuous time, or any
            module that a family claims (`rc_snn.families`).
        theta: threshold θ in (0, 1), reached with >=; None answers at the end of the sequence, or
            as the family does without.
        n_steps: steps per frame, T; None in continuous time.
        encoder: what made its spikes: name and options of `encoders.functional.encode`, or what
            else it says.
        classes: names of the classes, in the order of the outputs; default: "0", "1", ...
        tensors: what else its input depends on, such as "input_mean", subtracted at each step.
        reads: "times", spike times in frames; or "sequences", for inputs that are none.
        measured: what its record says of it.
        record: name of that record.
        family: name of its family; default: the one that claims the model.
        maker: what builds the model from `options`; default: the model's own, or its class.
        options: keyword arguments of the maker, JSON values; default: those that the model says.

    Raises:
        ValueError: if its parts do not fit each other.
        TypeError: if no family claims the model, or it is no `torch.nn.Module`.

    Example:
        >>> from rc_snn.models import RCLSTM
        >>> network = Network(name="mine", model=RCLSTM(6, 4, 3), theta=0.9, n_steps=5)
        >>> network.family, network.decide(torch.full((2, 6), torch.inf)).fired
        ('rank-coded', tensor([False, False]))
    """

    name: str
    model: Any
    theta: float | None = None
    n_steps: int | None = None
    encoder: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    reads: Literal["times", "sequences"] = "times"
    measured: Mapping[str, Any] = field(default_factory=dict)
    record: str = ""
    family: str = ""
    maker: Callable[..., Any] | None = None
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self._check_types()
        own = families.family(self.family) if self.family else families.family_of(self.model)
        if self.family and not own.claims(self.model):
            raise ValueError(
                f"The family {self.family} claims no model like {type(self.model).__name__}. Leave "
                "family out, or name that of the model."
            )
        object.__setattr__(self, "family", own.name)
        if self.theta is not None:
            object.__setattr__(self, "theta", check_theta(self.theta))
        if self.n_steps is not None:
            object.__setattr__(self, "n_steps", check_n_steps(self.n_steps))
        if self.reads not in ("times", "sequences"):
            raise ValueError(f'reads must be "times" or "sequences", got {self.reads!r}.')
        n = self.model.n_classes
        classes = tuple(self.classes) or tuple(str(k) for k in range(n))
        if len(classes) != n:
            raise ValueError(f"The network has {n} outputs, got {len(classes)} classes.")
        object.__setattr__(self, "classes", classes)
        if not isinstance(self.model, nn.Module):
            found = type(self.model).__name__
            raise TypeError(f"The model must be a torch.nn.Module, got {found}.")
        if clash := [key for key in self.tensors if key.startswith("model.")]:
            raise ValueError(f'Names of further tensors may not begin with "model.", got {clash}.')
        if self.mean is not None and self.mean.shape != (self.n_steps, self.model.n_inputs):
            raise ValueError(
                f"input_mean must be [n_steps={self.n_steps}, {self.model.n_inputs}], got "
                f"{list(self.mean.shape)}."
            )

    def _check_types(self) -> None:
        """Refuse parts of other types than their annotations say: a file may hold any."""
        texts = (self.name, self.record, self.family)
        mappings = (self.encoder, self.measured, self.tensors)
        listed = isinstance(self.classes, list | tuple)
        if not (
            all(isinstance(x, str) for x in (*texts, *(self.classes if listed else [None])))
            and all(isinstance(x, Mapping) and all(isinstance(k, str) for k in x) for x in mappings)
            and all(isinstance(x, Tensor) for x in self.tensors.values())
        ):
            raise TypeError(
                "name, record, family and classes of a network are texts, encoder and measured are "
                "mappings of texts, and tensors one of texts to tensors."
            )
        if not 0 < len(self.name.encode(errors="replace")) <= 200 or set(self.name) & set("/\\\0"):
            raise ValueError(
                f"A network needs a name that a file can have, got {self.name[:99]!r}. Take one of "
                "1 to 200 bytes without / and \\."
            )

    def _repr_html_(self) -> str:
        return html.network(self)

    @property
    def mean(self) -> Float[Tensor, "steps inputs"] | None:
        """Return what is subtracted from the input of each step."""
        return self.tensors.get("input_mean")

    def sequences(self, inputs: Any) -> Sequences:
        """Return spike times, or sequences, as the input that the network was trained on.

        Raises:
            TypeError: if it is neither.
            ValueError: if they do not fit the network.
        """
        if isinstance(inputs, Tensor) and self.reads == "sequences":
            made_by = self.encoder.get("name", "its encoder")
            raise TypeError(
                f"{self.name} reads sequences made by {made_by}, not spike times. Pass what that "
                "gives, an object with n_steps, at(step) and rows(index)."
            )
        if not isinstance(inputs, Sequences):
            times = families.check_spike_times(inputs, self.model.n_inputs)
            if self.n_steps is None:
                raise ValueError(
                    f"{self.name} does not say on how many steps it reads spike times. Pass "
                    "n_steps when you make the Network, or give it sequences."
                )
            dtype = place(self.model)[1]
            inputs = SpikeSequences(spike_steps(times, self.n_steps), self.n_steps, dtype)
        check_input_size(self.model.n_inputs, input_size(inputs))
        if self.n_steps is not None and inputs.n_steps != self.n_steps:
            raise ValueError(
                f"{self.name} reads {self.n_steps} steps, got sequences of {inputs.n_steps}."
            )
        if isinstance(inputs, SpikeSequences) and inputs.mean is None and self.mean is not None:
            return replace(inputs, mean=self.mean.to(inputs.steps.device))
        sequences: Sequences = inputs
        return sequences

    def decide(self, inputs: Float[Tensor, "batch inputs"] | Sequences) -> Decision:
        """Return the decisions on spike times in frames, whatever the family; or on sequences.

        A step model reads times on its grid of `n_steps`. The model is evaluated: no dropout.

        Args:
            inputs: spike times, `inf` is silence; a network with `reads="sequences"` takes what its
                encoder gives.

        Warns:
            UserWarning: if its encoder is of one polarity, and the spikes look like the other.

        Raises:
            TypeError: if it is given the other.
            ValueError: if they do not fit the network.

        Example:
            >>> load("rc-lstm-340-fast").decide(torch.full((1, 784), torch.inf)).label.shape
            torch.Size([1])
        """
        warn_of_other_polarity(self.name, self.encoder.get("polarity"), inputs)
        with evaluated(self.model):
            return families.family(self.family).decide(self, inputs)

    def account(self, labels: Tensor, times: Tensor) -> dict[str, Any]:
        """Account for the decisions on spike times: see `rc_snn.regimes.account`."""
        with evaluated(self.model):
            return families.family(self.family).account(self, labels, times)

    def save(self, path: Path | str, *, half: bool = False) -> Path:
        """Write the network to a file, atomically; return the path.

        It is built anew from what the file will say, and must decide alike: a network that `load`
        could not build is refused here.

        Args:
            path: the file; safetensors, whatever its name ends in.
            half: weights in float16, which they must equal (`round_to_half`).

        Raises:
            ValueError: if the model cannot be built from its options.

        Example:
            >>> import tempfile
            >>> from rc_snn.models import RCLSTM
            >>> network = Network(name="mine", model=RCLSTM(6, 4, 3, n_dense=2), n_steps=5)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     back = load(network.save(Path(folder, "mine.safetensors")))
            >>> back.model.dense
            Linear(in_features=4, out_features=2, bias=True)
        """
        path = Path(path)
        kind, options = recipe(self.model, self.maker, self.options)
        _check_rebuilt(self, kind, options)
        weights = {
            f"model.{key}": as_half(value) if half and value.is_floating_point() else value
            for key, value in self.model.state_dict().items()
        }
        about = {
            "name": self.name,
            "family": self.family,
            "kind": kind,
            "options": options,
            "theta": self.theta,
            "n_steps": self.n_steps,
            "encoder": dict(self.encoder),
            "classes": list(self.classes),
            "reads": self.reads,
            "measured": dict(self.measured),
            "record": self.record,
        }
        tensors = weights | dict(self.tensors)
        try:
            header = {"format": FORMAT, "about": json.dumps(json_value(about, ""), sort_keys=True)}
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"What {self.name} says of itself, such as encoder and measured, is not JSON "
                f"({error}). Say it in plain and finite numbers, strings and lists."
            ) from error
        write_tensors(path, tensors, header)
        return path


def network_made_by(factory: str, n_steps: int | None = None) -> Network:
    """Return what a factory makes: a network as it is, a model with the paper's θ if it has steps.

    Args:
        factory: its name, "package.module:function"; see `rc_snn.commands.made_by`.
        n_steps: steps per frame, T, of a network that does not say them; default: 10.

    Raises:
        ValueError: if there is none, what it makes is of no family, or has other steps or none.
    """
    made = made_by(factory)
    if not isinstance(made, Network):
        steps = isinstance(made, StepModel)
        about: Any = {"theta": 0.95, "n_steps": 10 if n_steps is None else n_steps} if steps else {}
        try:
            made = Network(name=factory.rsplit(":", 1)[-1], model=made, **about)
        except TypeError as error:
            raise ValueError(f"{factory} makes no network: {error}") from error
    if n_steps in (None, made.n_steps):
        return made
    if made.n_steps is None and isinstance(made.model, StepModel):
        return replace(made, n_steps=n_steps)
    own = "in continuous time" if made.n_steps is None else f"on {made.n_steps} steps"
    raise ValueError(f"{made.name} decides {own}; n_steps={n_steps} does not fit it.")


def _check_rebuilt(network: Network, kind: str, options: dict[str, Any]) -> None:
    """Refuse a network that could not be loaded again as it is."""
    try:
        check_weights(network.model, network.model.state_dict())
        weights = {key: value.cpu() for key, value in network.model.state_dict().items()}
        model = fill(built(maker_of(kind), options, weights), weights).to(place(network.model)[0])
    except (RuntimeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{network.name} cannot be written, because load could not build it: {error} "
            "Pass maker= and options= to Network: a function at the top of a module that builds "
            "the model, and its arguments."
        ) from error
    again = replace(network, model=model, family=network.family)
    inputs = _drawn(network)
    ours, theirs = network.decide(inputs), again.decide(inputs)
    if not (
        torch.equal(ours.label, theirs.label)
        and torch.equal(ours.time, theirs.time)
        and torch.allclose(ours.scores, theirs.scores, rtol=1e-4, atol=1e-5)
    ):
        raise ValueError(
            f"{network.name} cannot be written: built by {kind} from {options} it decides "
            "otherwise. Some option is missing there; pass options= to Network."
        )


def _drawn(network: Network) -> Any:
    """Return a few inputs of the network's kind, always the same."""
    generator, n = torch.Generator().manual_seed(0), network.model.n_inputs
    device, dtype = place(network.model)
    on_steps = isinstance(families.family(network.family), families.RankCoded)
    if network.reads == "times" and not (on_steps and network.n_steps is None):
        return torch.rand(4, n, generator=generator).to(device)
    shape = (network.n_steps or 5, 4, n)
    return DenseSequences(torch.rand(shape, generator=generator).to(device, dtype))


def place(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return device and dtype of a model's weights."""
    own = (p for p in model.state_dict().values() if p.is_floating_point())
    first = next(own, torch.zeros(0))
    return first.device, first.dtype


# -- Files ------------------------------------------------------------------------------------


def names() -> list[str]:
    """Return the names of all networks that ship with the package."""
    return sorted(path.stem for path in SHELF.glob("*.safetensors"))


def load(name: Path | str, *, maker: Callable[..., Any] | None = None) -> Network:
    """Load a network that ships with the package, by its name, or any network from its file.

    A file names what built the model, and with which options; it holds no code. A maker that it
    names is called if it is a class of `torch.nn.Module`, or a function annotated to return one,
    and its module is ours, is of a package that registers families or rows by an entry point, or
    has been imported already; any other only if you pass it.

    Args:
        name: name of a network that ships, or a file of any of our formats.
        maker: what builds the model from the options in the file, instead of what it names.

    Raises:
        ValueError: if there is none, it is damaged, or its maker is not trusted.

    Example:
        >>> net = load("rc-lstm-340-fast")
        >>> net.encoder["polarity"], net.theta
        ('dark_first', 0.95)
    """
    if isinstance(name, str) and name in names():
        return _read(SHELF / f"{name}.safetensors", maker)
    path = Path(name)
    if path.is_file():
        return _read(path, maker)
    raise ValueError(
        f"There is no network or file {str(name)!r}. Networks that ship are {', '.join(names())}; "
        "others are named by their file."
    )


def _read(path: Path, maker: Callable[..., Any] | None) -> Network:
    tensors, about = read_content(path)
    try:
        weights = {
            key.removeprefix("model."): value.float() if value.dtype is torch.float16 else value
            for key, value in tensors.items()
            if key.startswith("model.")
        }
        kind, options = about.pop("kind"), about.pop("options")
        make = maker or maker_of(kind)
        model = fill(built(make, options, weights), weights)
        more = {key: value for key, value in tensors.items() if not key.startswith("model.")}
        if not hasattr(model, "options"):  # else it says them itself, and as they are by then
            about |= {"maker": make, "options": options}
        classes = about["classes"]
        classes = tuple(classes) if isinstance(classes, list) else classes
        about |= {"classes": classes, "name": about.get("name", path.stem)}
        return Network(model=model.eval(), tensors=more, **about)
    except KeyError as error:
        raise ValueError(f"{path} cannot be read as a network: it lacks {error}.") from error
    except Exception as error:  # a model of others may raise anything on what it does not expect
        raise ValueError(f"{path} cannot be read as a network ({error}).") from error
