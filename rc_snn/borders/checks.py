"""What a caller may pass where: the one check at the border, which says which call to use."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rc_snn.borders.numbers import count, indices, number, tensor, whole

MAX_STEPS = torch.iinfo(torch.int16).max
"""Largest `n_steps`: steps are stored as int16 (MNIST: 94 MB instead of 376 MB as int64)."""


def check_model(model: Any) -> None:
    """Refuse what is no step model, and say how to make one of it.

    Raises:
        TypeError: if it has no `step` and `read_out`.
    """
    if all(callable(getattr(model, name, None)) for name in ("step", "read_out")):
        return
    kind = type(model).__name__
    if isinstance(model, nn.RNNBase):
        remedy = f"bridges.StepModule.from_rnn({kind.lower()}, read_out=nn.Linear(…)) makes one"
    elif isinstance(model, nn.Module):
        remedy = (
            "bridges.StepModule(module, n_inputs, n_classes) makes one of a module that takes and "
            "returns its state, SNNTorchModel and NorseModel of bridges.networks.step_models of "
            "theirs"
        )
    elif hasattr(model, "model") and hasattr(model, "decide"):
        remedy = "pass network.model, or call network.decide(inputs)"
    else:
        remedy = "the model comes first, then what it reads"
    raise TypeError(
        f"A step model, with step(x, state) and read_out(features), is needed; got {named(model)}: "
        f"{remedy}."
    )


def check_finite(weights: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        ValueError: if one is; the message names the tensor.

    Example:
        >>> check_finite([("weight", torch.tensor([0.0, -torch.inf]))])
        Traceback (most recent call last):
        ...
        ValueError: 1 of 2 values of weight are not finite. Lower the learning rate, clip the ...
    """
    named = [(name, w.detach()) for name, w in weights if w.is_floating_point()]
    sums = [w.sum() for _, w in named]
    # One number for all, so that a device is waited for once. The exact question is for the rare
    # case, a sum that overflows among them.
    if not sums or math.isfinite(sum(s.to(sums[0].device) for s in sums)):
        return
    for name, weight in named:
        broken = int((~torch.isfinite(weight)).sum())
        if broken:
            raise ValueError(
                f"{broken} of {weight.numel()} values of {name} are not finite. Lower the learning "
                "rate, clip the gradient, or load the weights again."
            )


_FOUND_FINITE: "WeakKeyDictionary[nn.Module, list[tuple[int, int]]]" = WeakKeyDictionary()


def check_weights(model: Any) -> None:
    """Refuse a module with weights that are NaN or infinite; look again when they have changed.

    Logits do not always show it: a potential of NaN never fires, a silent input meets no weight.

    Raises:
        ValueError: as `check_finite`.
    """
    if not isinstance(model, nn.Module):
        return
    named = list(model.named_parameters())
    now = [(weight.data_ptr(), version(weight)) for _, weight in named]
    if _FOUND_FINITE.get(model) != now:
        check_finite(named)
        _FOUND_FINITE[model] = now


def version(tensor: Tensor) -> int:
    """Return how often a tensor, or one that shares its memory, was changed in place.

    Tensors that inference mode made do not count it, and have no gradient that could be wrong.

    Example:
        >>> x = torch.zeros(2)
        >>> before = version(x)
        >>> _ = x[:1].add_(1.0)
        >>> version(x) - before
        1
    """
    return 0 if tensor.is_inference() else tensor._version


def check_inputs(inputs: Any) -> None:
    """Refuse what are no sequences, and say how to make them.

    Raises:
        TypeError: if it has no `at`, `rows` and `n_steps`.
    """
    if all(hasattr(inputs, name) for name in ("at", "rows", "n_steps")):
        return
    if hasattr(inputs, "inputs") and hasattr(inputs, "labels"):
        remedy = "pass its .inputs"
    elif _is_array(inputs):
        remedy = "DenseSequences(tensor) reads a tensor [T, B, …], time first"
    elif isinstance(inputs, nn.Module):
        remedy = "the model comes first, then what it reads"
    elif _is_data_set(inputs):
        remedy = "Labelled.from_dataset(data) reads it; pass its .inputs"
    else:
        remedy = "see DenseSequences, SpikeSequences and Labelled.from_dataset"
    raise TypeError(f"Sequences are needed, got {named(inputs)}: {remedy}.")


def check_labelled(data: Any) -> None:
    """Refuse what are no labelled samples, and say how to make them.

    Raises:
        TypeError: if it has no `labels` and `rows`.
    """
    if hasattr(data, "labels") and hasattr(data, "rows"):
        return
    if hasattr(data, "at"):
        remedy = "Labelled(inputs, labels) pairs sequences with their classes"
    elif isinstance(data, nn.Module):
        remedy = "the model comes first, then the data"
    elif _is_array(data) or (isinstance(data, tuple) and all(map(_is_array, data))):
        remedy = "Labelled(DenseSequences(x), labels) takes x as [T, B, …], time first"
    elif _is_data_set(data):
        remedy = "Labelled.from_dataset(data) reads it"
    else:
        remedy = "see Labelled and Labelled.from_dataset"
    raise TypeError(f"Labelled samples are needed, got {named(data)}: {remedy}.")


def check_decision(decision: Any) -> None:
    """Refuse what is no decision, and say what makes one.

    Raises:
        TypeError: if it has no `label`, `time` and `fired`.
    """
    if all(hasattr(decision, name) for name in ("label", "time", "fired")):
        return
    raise TypeError(
        f"A Decision is needed, got {named(decision)}: decide(model, inputs, theta) returns one."
    )


def check_theta(theta: float) -> float:
    """Return a threshold; refuse one that no probability can cross from below."""
    found = number(theta, "theta")
    if not 0.0 < found < 1.0:
        raise ValueError(f"theta must be in (0, 1), got {theta}. The paper uses 0.95.")
    return found


def check_thetas(theta: Any, n: int) -> float | Float[Tensor, " batch"] | None:
    """Return a threshold, or one for each of n samples, or None; refuse any outside (0, 1)."""
    if theta is None or not isinstance(theta, Tensor) or theta.dim() == 0:
        return None if theta is None else check_theta(theta)
    if theta.shape != (n,) or not theta.is_floating_point():
        raise ValueError(
            f"theta must be one number, or a float tensor [{n}] with one for each sample, got "
            f"{theta.dtype} {list(theta.shape)}."
        )
    if not ((theta > 0.0) & (theta < 1.0)).all():  # NaN is in neither
        raise ValueError(
            f"Each theta must be in (0, 1), got {float(theta.min()):g}..{float(theta.max()):g}."
        )
    return theta


def check_n_steps(n_steps: int) -> int:
    """Return a number of steps; refuse none, or more than int16 can number."""
    found = count(n_steps, "n_steps")
    if not 1 <= found <= MAX_STEPS:
        raise ValueError(f"n_steps must be in 1..{MAX_STEPS}, got {n_steps}. The paper uses 10.")
    return found


def check_times(
    times: Any, what: str = "Spike times", latest: float = 1.0
) -> Float[Tensor, "*shape"]:
    """Return spike times; refuse those that are NaN, negative or later than the frame.

    Half precision is refused: it cannot tell the steps of a frame apart, nor microseconds.

    Args:
        times: in frames, or `inf`; a tensor or an array, float32 or float64.
        what: they are, for the message.
        latest: the end of the frame; `inf` where spikes may come later.

    Raises:
        TypeError: if they are no numbers.
        ValueError: if their type or one of them is refused.
    """
    found: Tensor = tensor(times, what)
    if found.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{what} must be floats of 32 or 64 bits, got {found.dtype}. Of spike steps make times "
            "with encoders.functional.steps_to_times; make floats of 16 bits anew in float32, which"
            " a conversion does not mend: 0.1 is 0.09998 there, and a step earlier."
        )
    outside = ~((found >= 0.0) & (found <= latest)) & ~torch.isposinf(found)
    if outside.any():
        within = ">= 0 frames or inf" if latest == math.inf else f"in [0, {latest:g}] frames or inf"
        raise ValueError(
            f"{what} must be {within}, got {found[outside][0].item()} and "
            f"{int(outside.sum()) - 1} more. Divide by the frame's duration; silence is inf."
        )
    return found


def check_step(step: Any, n_steps: int) -> None:
    """Refuse a step that sequences do not have; a negative one is none from their end."""
    if not isinstance(step, int) or not 0 <= step < n_steps:
        check = count(step, "step")  # numpy's and torch's integers are whole numbers, too
        if not 0 <= check < n_steps:
            raise ValueError(f"A step must be in 0..{n_steps - 1}, got {check}.")


def check_numbers(x: Tensor, what: str) -> None:
    """Refuse inputs that are NaN or infinite: a spiking neuron takes a NaN for silence.

    Raises:
        ValueError: if one is.
    """
    # One pass, as of weights: the exact question is for the rare case, a sum that overflows.
    if not x.is_floating_point() or math.isfinite(x.detach().sum()):
        return
    broken = int((~torch.isfinite(x)).sum())
    if broken:
        raise ValueError(
            f"{broken} of {x.numel()} values of {what} are NaN or infinite. Repair or leave out "
            "the samples that hold them."
        )


def check_steps(steps: Any, n_steps: int) -> Int[Tensor, "*shape"]:
    """Return spike steps in 0..n_steps, in a type that holds n_steps; refuse others.

    Integers of any type, tensors or arrays; those of 8 bits become int16.
    """
    check_n_steps(n_steps)
    found: Tensor = tensor(steps, "Spike steps")
    if found.dtype not in (torch.int16, torch.int32, torch.int64):
        small = found.dtype in (torch.uint8, torch.int8)
        found = found.short() if small else whole(found, "Spike steps")
    if found.numel():
        low, high = map(int, torch.aminmax(found))
        if not 0 <= low <= high <= n_steps:
            raise ValueError(
                f"Spike steps must be in 0..{n_steps} ({n_steps} is silence), got {low}..{high}. "
                "Were they made with another n_steps?"
            )
    return found


def check_decision_steps(step: Any, n_steps: int | None = None) -> Int[Tensor, " batch"]:
    """Return decision steps as int64; refuse those outside 0..n_steps-1."""
    do = "Pass the n_steps that the model ran with, or more."
    return indices(step, "Decision steps", n_steps, do=do)


def check_labels(labels: Any, n_classes: int, n: int | None = None) -> Int[Tensor, " batch"]:
    """Return class indices `[B]` as int64, of n samples; refuse those outside 0..n_classes-1.

    (torch's loss would skip -100 in silence, and take 1.9 for 1.)
    """
    do = "Check the labels, or the model's n_classes."
    return indices(labels, "Class indices", n_classes, n, do)


def check_samples(labels: Tensor, samples: int, n_steps: int) -> None:
    """Refuse labels that are no integer tensor, and frames that are batch first.

    Raises:
        TypeError: if the labels are no integer tensor.
        ValueError: if there are as many labels as steps, not as sequences.
    """
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        got = labels.dtype if isinstance(labels, Tensor) else named(labels)
        raise TypeError(
            f"Labels must be an integer tensor [B], got {got}: torch.as_tensor(labels)."
        )
    if labels.dim() == 0:
        raise ValueError("Labels must be [B], got a single number without an axis.")
    if len(labels) == n_steps != samples:
        raise ValueError(
            f"The sequences are read time first, as {n_steps} steps of {samples} samples, but "
            f"there are {len(labels)} labels: they look batch first. Pass x.transpose(0, 1)."
        )


class Form(NamedTuple):
    """How a model reads the dense input of a step."""

    dtype: torch.dtype | None
    """Of its real weights; None: it has none, and whole numbers become float32."""
    shape: tuple[int, ...] = (-1,)
    """Of one sample: flat, or the `input_shape` that the model names."""
    device: torch.device | None = None
    """Where its weights are; None: it has none, or they are where the inputs are."""

    @classmethod
    def of(cls, model: Any) -> "Form":
        """Return how a step model reads its input."""
        weights = model.parameters() if isinstance(model, nn.Module) else ()
        own = next((w for w in weights if w.is_floating_point()), None)
        shape = tuple(getattr(model, "input_shape", (-1,)))
        return cls(None, shape) if own is None else cls(own.dtype, shape, own.device)

    def read(self, x: Tensor) -> Tensor:
        """Return a step's dense input, of numbers of any type `[batch, …]`, as the model reads it.

        Raises:
            ValueError: if it is on another device than the weights.

        Example:
            >>> Form(torch.float64).read(torch.tensor([[[3, 0]]], dtype=torch.uint8))
            tensor([[3., 0.]], dtype=torch.float64)
        """
        if self.device is not None and x.device != self.device:
            raise ValueError(
                f"The model's weights are on {self.device}, its inputs on {x.device}. Move them: "
                f'inputs.to("{self.device}").'
            )
        dtype = self.dtype
        if dtype is None and not x.is_floating_point():
            dtype = torch.float32
        x = x if dtype is None else x.to(dtype)
        if self.shape == (-1,):
            return x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)
        return x.reshape(len(x), *self.shape)


def named(thing: Any) -> str:
    """Return what a thing is, for a message."""
    if isinstance(thing, type):
        return f"the class {thing.__name__} itself"
    shape = getattr(thing, "shape", None)
    of = f" {list(shape)}" if isinstance(shape, tuple) else ""
    return f"{type(thing).__name__}{of}"


def _is_array(thing: Any) -> bool:
    return isinstance(thing, Tensor) or hasattr(thing, "__array_interface__")


def _is_data_set(thing: Any) -> bool:
    kinds = (torch.utils.data.DataLoader, torch.utils.data.Dataset)
    return isinstance(thing, kinds) or hasattr(thing, "__getitem__")
