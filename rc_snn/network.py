"""One kind of trained network: with all that its use depends on, in one kind of file.

A `Network` holds a model of ours or anybody's, the threshold and the grid that it answers with, and
what was measured of it. Its file is safetensors: weights, further tensors, and as JSON the name of
what built the model with the options that it was built with. Nothing in a file is run: `load` calls
constructors of packages that are trusted because they are installed and named (see `load`).
"""

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from rc_snn import families
from rc_snn.files import replacing
from rc_snn.sequences import DenseSequences, Sequences, SpikeSequences
from rc_snn.spikes import Decision, check_n_steps, check_theta, spike_steps

FORMAT = "rc_snn.network/1"
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
        TypeError: if no family claims the model.

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
        if not self.name or any(c in self.name for c in "/\\\0"):
            raise ValueError(f"A network needs a name that a file can have, got {self.name!r}.")
        own = families.family(self.family) if self.family else families.family_of(self.model)
        object.__setattr__(self, "family", own.name)
        if self.theta is not None:
            check_theta(self.theta)
        if self.n_steps is not None:
            check_n_steps(self.n_steps)
        if self.reads not in ("times", "sequences"):
            raise ValueError(f'reads must be "times" or "sequences", got {self.reads!r}.')
        n = self.model.n_classes
        classes = self.classes or tuple(str(k) for k in range(n))
        if len(classes) != n:
            raise ValueError(f"The network has {n} outputs, got {len(classes)} classes.")
        object.__setattr__(self, "classes", tuple(classes))
        if self.mean is not None and self.mean.shape != (self.n_steps, self.model.n_inputs):
            raise ValueError(
                f"input_mean must be [n_steps={self.n_steps}, {self.model.n_inputs}], got "
                f"{list(self.mean.shape)}."
            )

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
            dtype = times.dtype if times.dtype == weight_dtype(self.model) else torch.float32
            inputs = SpikeSequences(spike_steps(times, self.n_steps), self.n_steps, dtype)
        if self.n_steps is not None and inputs.n_steps != self.n_steps:
            raise ValueError(
                f"{self.name} reads {self.n_steps} steps, got sequences of {inputs.n_steps}."
            )
        if isinstance(inputs, SpikeSequences) and inputs.mean is None and self.mean is not None:
            return replace(inputs, mean=self.mean)
        sequences: Sequences = inputs
        return sequences

    def decide(self, inputs: Float[Tensor, "batch inputs"] | Sequences) -> Decision:
        """Return the decisions on spike times in frames, whatever the family; or on sequences.

        A step model reads times on its grid of `n_steps`. The model is evaluated: no dropout.

        Args:
            inputs: spike times, `inf` is silence; a network with `reads="sequences"` takes what its
                encoder gives.

        Raises:
            TypeError: if it is given the other.
            ValueError: if they do not fit the network.

        Example:
            >>> load("rc-lstm-340-fast").decide(torch.full((1, 784), torch.inf)).label.shape
            torch.Size([1])
        """
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
            path: the file; it ends in .safetensors.
            half: weights in float16, which they must equal (`round_to_half`).

        Raises:
            ValueError: if the model cannot be built from its options, or the path ends otherwise.

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
        if path.suffix != ".safetensors":
            raise ValueError(f"A network's file ends in .safetensors, got {path.name!r}.")
        kind, options = self._recipe()
        _check_rebuilt(self, kind, options)
        weights = {
            f"model.{key}": as_half(value) if half and value.is_floating_point() else value
            for key, value in self.model.state_dict().items()
        }
        about = {
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
        header = {"format": FORMAT, "about": json.dumps(about, sort_keys=True, allow_nan=False)}
        content = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, header)
        with replacing(path) as partial:
            partial.write_bytes(content)
        return path

    def _recipe(self) -> tuple[str, dict[str, Any]]:
        """Return the name of what builds the model, and its options."""
        maker = self.maker or getattr(self.model, "maker", None) or type(self.model)
        name = f"{maker.__module__}:{maker.__qualname__}"
        options = self.options
        if options is None:
            options = getattr(self.model, "options", None)
        if not isinstance(options, Mapping):
            options = _options_of(self.model, maker)
        try:
            plain = json.loads(json.dumps(dict(options), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The options of {name} are not JSON values ({error}). Pass maker= and options= to "
                "Network: a function that builds the model, and its plain arguments."
            ) from error
        return name, plain


def _options_of(model: Any, maker: Callable[..., Any]) -> dict[str, Any]:
    """Return the maker's arguments as a model that does not say them has them: as attributes."""
    options = {}
    for name, parameter in inspect.signature(maker).parameters.items():
        value = getattr(model, name, parameter)
        if isinstance(value, bool | int | float | str | list | tuple | dict | None):
            options[name] = value
        elif parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise ValueError(
                f"{maker.__qualname__} takes {name!r}, and the model does not say with which value "
                "it was built. Keep it as a plain attribute of that name, keep all of them as "
                "`self.options`, or pass options= to Network."
            )
    return options


def build(kind: str, options: Mapping[str, Any], maker: Callable[..., Any] | None = None) -> Any:
    """Build a model from the name of its maker and the maker's options; its weights are fresh.

    Raises:
        ValueError: if there is no such maker, or it may not be called.
    """
    make = maker or _maker(kind)
    try:
        return make(**options)
    except TypeError as error:
        raise ValueError(f"{kind} cannot be built from its options: {error}.") from error


def _maker(name: str) -> Callable[..., Any]:
    module_name, _, path = name.partition(":")
    if "<" in path or not path:
        raise ValueError(
            f"{name!r} cannot be found again by its name: define it at the top of a module."
        )
    if module_name not in sys.modules:
        if module_name.split(".")[0] not in families.trusted_packages():
            raise ValueError(
                f"The network was built by {name}. Import {module_name} first, pass "
                f"maker={path} to load, or let its package register a family or rows by an entry "
                "point: a file alone is not trusted to import code."
            )
        importlib.import_module(module_name)
    found: Any = sys.modules[module_name]
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ValueError(f"{module_name} has no {path} (any more) that builds a network.")
    return found  # type: ignore[no-any-return]


def _check_rebuilt(network: Network, kind: str, options: dict[str, Any]) -> None:
    """Refuse a network that could not be loaded again as it is."""
    try:
        model = build(kind, options)
        model.load_state_dict(network.model.state_dict())
    except (RuntimeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{network.name} cannot be written, because load could not build it: {error} "
            "Pass maker= and options= to Network: a function at the top of a module that builds "
            "the model, and its arguments."
        ) from error
    model.to(weight_dtype(network.model))
    again = replace(network, model=model, family=network.family)
    inputs = _drawn(network)
    ours, theirs = network.decide(inputs), again.decide(inputs)
    if not (
        torch.equal(ours.label.cpu(), theirs.label)
        and torch.equal(ours.time.cpu(), theirs.time)
        and torch.allclose(ours.scores.cpu(), theirs.scores, rtol=1e-4, atol=1e-5)
    ):
        raise ValueError(
            f"{network.name} cannot be written: built by {kind} from {options} it decides "
            "otherwise. Some option is missing there; pass options= to Network."
        )


def _drawn(network: Network) -> Any:
    """Return a few inputs of the network's kind, always the same."""
    generator, n = torch.Generator().manual_seed(0), network.model.n_inputs
    device = next((p.device for p in network.model.parameters()), torch.device("cpu"))
    if network.reads == "times" and (network.n_steps is not None or network.family != "rank-coded"):
        return torch.rand(4, n, generator=generator).to(device)
    shape = (network.n_steps or 5, 4, n)
    return DenseSequences(torch.rand(shape, generator=generator).to(device))


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """Evaluate a module for a while, and leave every part of it in the mode that it was in."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def weight_dtype(model: nn.Module) -> torch.dtype:
    """Return the dtype of a model's weights, float32 without any."""
    return next((p.dtype for p in model.parameters()), torch.float32)


def round_to_half(model: nn.Module) -> None:
    """Round the weights to float16 in place: what is measured is then what is shipped.

    Raises:
        ValueError: if a weight is too large.
    """
    with torch.no_grad():
        rounded = [_half(parameter) for parameter in model.parameters()]
        for parameter, half in zip(model.parameters(), rounded, strict=True):
            parameter.copy_(half)


def _half(weight: Tensor) -> Tensor:
    half = weight.half().contiguous()
    if not torch.isfinite(half).all():
        raise ValueError("A weight is too large for float16; keep the network in full precision.")
    return half


def as_half(weight: Tensor) -> Tensor:
    """Return weights in float16, which they must equal.

    Raises:
        ValueError: if they do not.
    """
    half = _half(weight)
    if not torch.equal(half.to(weight.dtype), weight):
        raise ValueError(
            "These weights are not those of float16. Call round_to_half(model) before the network "
            "is measured, or save it with half=False."
        )
    return half


# -- Files ------------------------------------------------------------------------------------


def names() -> list[str]:
    """Return the names of all networks that ship with the package."""
    return sorted(path.stem for path in SHELF.glob("*.safetensors"))


def load(name: Path | str, *, maker: Callable[..., Any] | None = None) -> Network:
    """Load a network that ships with the package, by its name, or any network from its file.

    A file names what built the model, and with which options; it holds no code. Of makers, ours are
    called, those of packages that register families or rows by an entry point, and those whose
    module has been imported already; others only if you pass them.

    Args:
        name: name of a network that ships, or a .safetensors file, of any of our formats.
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
    if path.suffix == ".safetensors" and path.exists():
        return _read(path, maker)
    what = "There is no file" if path.suffix == ".safetensors" else "There is no network"
    raise ValueError(
        f"{what} {str(name)!r}. Networks that ship are {', '.join(names())}; others are named by "
        "their .safetensors file."
    )


def _read(path: Path, maker: Callable[..., Any] | None) -> Network:
    tensors, about = _content(path)
    try:
        weights = {
            key.removeprefix("model."): value.float() if value.dtype is torch.float16 else value
            for key, value in tensors.items()
            if key.startswith("model.")
        }
        model = build(about.pop("kind"), about["options"], maker)
        model.to(next((v.dtype for v in weights.values() if v.is_floating_point()), torch.float32))
        model.load_state_dict(weights)
        more = {key: value for key, value in tensors.items() if not key.startswith("model.")}
        classes = tuple(about.pop("classes"))
        return Network(
            name=path.stem, model=model.eval(), classes=classes, tensors=more, maker=maker, **about
        )
    except (KeyError, TypeError, RuntimeError, ValueError, ImportError) as error:
        raise ValueError(f"{path} cannot be read as a network ({error}).") from error


def _content(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the text of a file, in the newest format whatever its own."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read as safetensors ({error}).") from error
    newer: dict[str, Callable[..., _Content]] = {FORMAT: lambda *as_it_is: as_it_is, **_OLD}
    format_ = header.get("format", "")
    if format_ not in newer:
        raise ValueError(
            f"{path} is not a network of a format that is known here: {', '.join(newer)}; got "
            f"{format_ or 'a file that names none'}."
        )
    try:
        about: dict[str, Any] = dict(json.loads(header["about"]))
        return newer[format_](tensors, about)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not say what it is ({error}).") from error


# -- Files of the formats before ----------------------------------------------------------------

_Content = tuple[dict[str, Tensor], dict[str, Any]]


def _renamed(tensors: dict[str, Tensor], kept: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the tensors under their names of today; those not kept are the model's."""
    return {kept.get(key, f"model.{key}"): value for key, value in tensors.items()}


def _from_zoo(tensors: dict[str, Tensor], about: dict[str, Any]) -> _Content:
    """Rank-coded networks on temporal MNIST: "rc_snn.zoo/1"."""
    sizes = about.pop("sizes")
    kernel_size, pool = about.pop("kernel_size"), about.pop("pool")
    kind, options = "RCLSTM", {"n_inputs": 784, "n_hidden": sizes[0], "n_classes": 10}
    if about["kind"] == "convlstm":
        kind = "RCConvLSTM"
        options = {"channels": sizes, "kernel_size": kernel_size or 5, "pool": pool}
    more = {"family": "rank-coded", "kind": f"rc_snn.models:{kind}", "options": options}
    return _renamed(tensors, {"input_mean": "input_mean"}), about | more | {"classes": ()}


def _from_baselines(tensors: dict[str, Tensor], about: dict[str, Any]) -> _Content:
    """Networks in continuous time, and of LIF neurons: "rc_snn.baselines/1"."""
    kind, sizes = about["kind"], about.pop("sizes")
    library = about.pop("library", None)
    family, options = "continuous", {"sizes": sizes}
    if library is not None:
        family = "rank-coded" if kind == "rc-lif" else "ttfs"
        named = zip(("n_inputs", "n_hidden", "n_classes"), sizes, strict=True)
        options = {"library": library, **dict(named)}
    elif kind == "conv_rel_psp":
        options = {"channels": sizes[:2], "hidden": sizes[2:]}
    more = {"family": family, "kind": _BASELINES[kind], "options": options, "classes": ()}
    return _renamed(tensors, {}), about | more


_BASELINES = {
    "alpha_psp": "baselines.alpha_psp:alpha_psp",
    "rel_psp": "baselines.rel_psp:rel_psp",
    "conv_rel_psp": "baselines.conv:conv_rel_psp",
    "rc-lif": "baselines.lif:rc_lif",
    "ttfs-lif": "baselines.lif:ttfs_lif",
}


def _from_keywords(tensors: dict[str, Tensor], about: dict[str, Any]) -> _Content:
    """Keyword networks: "rc_snn.keywords/1"."""
    front = about.pop("front_end")
    options = {
        "n_inputs": front["n_mels"] * (front["context"] + 1),
        "n_hidden": about.pop("n_hidden"),
        "n_classes": len(about["classes"]),
        "n_dense": about.pop("n_dense"),
    }
    more = {
        "family": "rank-coded",
        "kind": "rc_snn.models:RCLSTM",
        "options": options,
        "n_steps": round(front["clip_ms"] / front["hop_ms"]) + 1 - front["context"],
        "encoder": {"name": "log_mel", **front},
        "reads": "sequences",
    }
    return _renamed(tensors, {"mean": "band_mean", "std": "band_std"}), about | more


_OLD: dict[str, Callable[..., _Content]] = {
    "rc_snn.zoo/1": _from_zoo,
    "rc_snn.baselines/1": _from_baselines,
    "rc_snn.keywords/1": _from_keywords,
}
