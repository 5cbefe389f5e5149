"""What a user would try first: LIF networks of snnTorch and norse, with surrogate gradients."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property, partial
from typing import Any, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rc_snn.borders.checks import Form, check_inputs, check_weights
from rc_snn.borders.numbers import check_fields, count, counts
from rc_snn.fast.border import fusable, plain
from rc_snn.fast.event_products import event_linear
from rc_snn.fast.fused import step_input
from rc_snn.models import fresh_generator
from rc_snn.output_spikes import first_output_spike
from rc_snn.sequences import Sequences, check_input_size, input_size
from rc_snn.spike_events import StepEvents
from rc_snn.spikes import Decision
from rc_snn.step_model import Advance, Inflow, State, StepCost, evaluated

Input: TypeAlias = Float[Tensor, "batch inputs"] | StepEvents
Current: TypeAlias = Float[Tensor, "batch neurons"]
Outputs: TypeAlias = Float[Tensor, "batch classes"]
Step: TypeAlias = tuple[Current, Current, State]
"""Spikes of a layer, its potentials before the reset, and its new state."""
Course: TypeAlias = Float[Tensor, "time batch classes"]


@cache
def _norse() -> tuple[Any, Any]:
    """Import norse's integrator and LIF functions, when the first step needs them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script`")  # which importing norse 1.1 calls
        try:
            from norse.torch.functional import leaky_integrator, lif
        except ImportError as error:
            raise ImportError(
                f"These neurons are norse's ({error}). Install it beside the torch that is here: "
                f"pip install 'rc_snn[norse]' torch=={torch.__version__.partition('+')[0]}"
            ) from error
    return leaky_integrator, lif


@dataclass(frozen=True)
class SnnTorchLIF:
    r"""snnTorch 1.0's `Leaky`, with its defaults.

    .. math:: u_t = \beta u_{t-1} + I_t - \vartheta z_{t-1}, \quad z_t = [u_t > \vartheta = 1]

    The spike is subtracted one step later, so u shows the crossing. There are no synaptic currents
    and no seconds: β = 0.9 is a membrane time constant of -1 / ln 0.9 = 9.5 steps. The surrogate
    of dz/du is snnTorch's ATan with α = 2: 1 / (1 + (π (u - ϑ))²).
    """

    decay_mem: float = 0.9
    """β: share of the potential that a step leaves."""
    weight_scale: float = 1.0
    """Initial weights and biases are U(-s, s) / sqrt(inputs); torch's rule for Linear is s = 1."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0.0 <= self.decay_mem <= 1.0:
            raise ValueError(f"decay_mem must be in [0, 1], got {self.decay_mem}.")
        check_positive(weight_scale=self.weight_scale)

    @cached_property
    def _layers(self) -> tuple[Any, Any]:
        import snntorch  # here, because a row of LIF neurons is listed without it

        leaky = partial(snntorch.Leaky, beta=self.decay_mem)
        return leaky(reset_mechanism="none"), leaky(reset_mechanism="subtract")

    def step(self, current: Current, state: State | None, spiking: bool) -> Step:
        """Advance a layer; one that does not spike is never reset."""
        leaky = self._layers[spiking]
        z, mem = leaky(current, torch.zeros_like(current) if state is None else state[0])
        leaky.mem = mem.new_zeros(0)  # else it would keep this step's graph
        return z, mem, (mem,)


@dataclass(frozen=True)
class NorseLIF:
    r"""norse 1.1's feed-forward LIF neuron, with its parameters, but not with its surrogate.

    .. math:: i' = i_{t-1} + I_t, \quad v' = v_{t-1} + \tfrac{dt}{\tau_{mem}} (i' - v_{t-1}), \quad
              z_t = [v' > \vartheta = 1]
    .. math:: i_t = (1 - \tfrac{dt}{\tau_{syn}}) i', \quad v_t = (1 - z_t) v'

    τ_mem = 10 ms, τ_syn = 5 ms; rest and reset are 0; gradients pass through the reset. norse's own
    surrogate "super" ignores its α in version 1.1: `1 / (|v' - ϑ| + 1)²` is wide, and networks
    learned badly (93 % of validation images, 95.5 % with "tanh"; 10,000 training images, 5 epochs,
    one seed, no record).
    """

    dt_s: float = 1e-3
    """Seconds per step; norse's default. With 2 ms answers came earlier and were less accurate."""
    surrogate: Literal["super", "tanh"] = "tanh"
    """norse's name of what replaces dz/dv: "tanh" is 1 - tanh²(α (v' - ϑ))."""
    alpha: float = 3.0
    """Sharpness α of the surrogate."""
    weight_scale: float = 5.0
    """As in `SnnTorchLIF`; larger, because a step adds only dt / τ_mem of the current."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(alpha=self.alpha, weight_scale=self.weight_scale)
        if not 0.0 < self.dt_s <= 5e-3:
            raise ValueError(
                f"dt_s must be in (0, 0.005], got {self.dt_s}: in longer steps than tau_syn = 5 ms "
                "the current would change its sign. Give seconds, not milliseconds."
            )

    def step(self, current: Current, state: State | None, spiking: bool) -> Step:
        """Advance a layer; a LIF neuron before its reset is a leaky integrator."""
        v, i = (torch.zeros_like(current),) * 2 if state is None else state
        li, lif = _norse()
        state = li.LIState(v, i)
        before, free = li.li_feed_forward_step(current, state, li.LIParameters(), self.dt_s)
        if not spiking:
            return torch.zeros_like(before), before, tuple(free)
        p = lif.LIFParameters(method=self.surrogate, alpha=self.alpha)
        z, new = lif.lif_feed_forward_step(current, lif.LIFFeedForwardState(v, i), p, self.dt_s)
        return z, before, tuple(new)


Neurons: TypeAlias = SnnTorchLIF | NorseLIF
Library: TypeAlias = Literal["snntorch", "norse"]
LIBRARIES: dict[Library, type[Neurons]] = {"snntorch": SnnTorchLIF, "norse": NorseLIF}
"""Whose LIF neurons, by the name of the library."""


class LIFNetwork(nn.Module):
    """Two layers of LIF neurons, `n_inputs-n_hidden-n_classes`; used as `RCLIF` or `TTFSLIF`.

    Spikes cross both layers within a step, so an output can answer at step 0. A bias is a current
    that flows in every step.

    Args:
        neurons: `SnnTorchLIF()` or `NorseLIF()`, with their parameters.
        n_inputs: input size per step.
        n_hidden: hidden neurons.
        n_classes: output neurons, one for each class.
        generator: source of the initial weights; default: a new one with seed 0.

    Raises:
        ValueError: for sizes below 1, fewer than two classes, or neurons of neither library.
    """

    spiking = True
    """Whether the output neurons spike; else they only integrate."""

    @property
    def maker(self) -> Any:
        """Return what makes such a network from its `options`."""
        return rc_lif if isinstance(self, RCLIF) else ttfs_lif

    def __init__(
        self,
        neurons: Neurons,
        n_inputs: int = 784,
        n_hidden: int = 340,
        n_classes: int = 10,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        n_inputs, n_hidden = counts(n_inputs=n_inputs, n_hidden=n_hidden)
        (n_classes,) = counts(2, n_classes=n_classes)
        if not isinstance(neurons, get_args(Neurons)):
            raise ValueError(f"neurons must be SnnTorchLIF() or NorseLIF(), got {neurons!r}.")
        generator = fresh_generator(generator)
        self.neurons, self.n_inputs, self.n_classes = neurons, n_inputs, n_classes
        self.weight_ih = nn.Parameter(torch.empty(n_inputs, n_hidden).t())  # a spike: one column
        self.weight_ho = nn.Parameter(torch.empty(n_classes, n_hidden))
        self.bias_h = nn.Parameter(torch.empty(n_hidden))
        self.bias_o = nn.Parameter(torch.empty(n_classes))
        with torch.no_grad():
            for weight, bias in ((self.weight_ih, self.bias_h), (self.weight_ho, self.bias_o)):
                bound = neurons.weight_scale / math.sqrt(weight.shape[1])
                for parameter in (weight, bias):
                    parameter.uniform_(-bound, bound, generator=generator)

    @property
    def options(self) -> dict[str, Any]:
        """Return what `rc_lif` or `ttfs_lif` makes another such network of."""
        [library] = [name for name, kind in LIBRARIES.items() if isinstance(self.neurons, kind)]
        sizes = {"n_inputs": self.n_inputs, "n_hidden": len(self.bias_h)}
        own = {"n_classes": self.n_classes, "neurons": asdict(self.neurons)}
        return {"library": library} | sizes | own

    def advance(self, x: Input, state: State | None) -> Step:
        """Advance both layers by one step; the spikes and potentials are the outputs'."""
        _, z, v, state = self._layers(x, state)
        return z, v, state

    def watch(self, x: Input, state: State | None) -> tuple[State, list[Inflow]]:
        """Advance by one step, and tell of the hidden spikes: see `WatchedModel`."""
        hidden, _, _, state = self._layers(x, state)
        fan_out = torch.full((len(self.bias_h),), float(self.n_classes))
        return state, [Inflow.of("hidden spikes", hidden, fan_out, self.weight_ho.numel())]

    def _layers(self, x: Input, state: State | None) -> tuple[Current, Outputs, Outputs, State]:
        """Return hidden spikes, the outputs' spikes and potentials, and the new state."""
        half = 0 if state is None else len(state) // 2
        first, second = (None, None) if state is None else (state[:half], state[half:])
        if isinstance(x, StepEvents):
            current = event_linear(x, self.weight_ih, self.bias_h)
        else:
            current = F.linear(x.flatten(1), self.weight_ih, self.bias_h)
        hidden, _, first = self.neurons.step(current, first, spiking=True)
        current = F.linear(hidden, self.weight_ho, self.bias_o)
        z, v, second = self.neurons.step(current, second, self.spiking)
        return hidden, z, v, (*first, *second)

    def cost(self) -> StepCost:
        """Return the multiply-adds of one sample in one step, dense; `watch` counts spikes."""
        feed, inner = self.weight_ih.numel(), self.weight_ho.numel()
        fan_out = torch.full((self.n_inputs,), float(len(self.bias_h)))
        return StepCost(input=feed, inner=inner, recurrent=0, read_out=0, fan_out=fan_out)


class RCLIF(LIFNetwork):
    """LIF network with rank coding: a step model for `rc_snn.runner` and `rc_snn.training`.

    The outputs do not spike; their potentials times `gain` are the logits.

    Example:
        >>> from rc_snn.runner import decide
        >>> from rc_snn.sequences import SpikeSequences
        >>> x = SpikeSequences(torch.zeros(2, 784, dtype=torch.int16), n_steps=10)
        >>> decide(RCLIF(NorseLIF()), x, theta=0.95).fired
        tensor([False, False])
    """

    spiking = False
    gain = 3.0
    """Logits per unit of potential, of which a threshold ϑ has one; 1 learned more slowly."""

    def step(self, x: Input, state: State | None) -> tuple[Outputs, State]:
        """Advance by one step; the features are the outputs' potentials."""
        _, v, state = self.advance(x, state)
        return v, state

    def fused(self) -> Advance | None:
        """Return the same step on events; None off the CPU, and for a subclass or hooks."""
        if not plain(self, RCLIF, "step", "advance") or not fusable(self.weight_ih, self.bias_h):
            return None
        check_weights(self)  # no logit shows a hidden neuron that is NaN: it never spikes
        return lambda step, inputs, state: self.step(
            step_input(inputs, step, self.weight_ih.dtype), state
        )

    def read_out(self, features: Outputs) -> Outputs:
        """Return the logits of the potentials."""
        return self.gain * features


class TTFSLIF(LIFNetwork):
    """LIF network whose first output spike answers (TTFS); `train_ttfs` trains it."""

    def forward(self, inputs: Sequences) -> tuple[Course, Course]:
        """Return the outputs' spikes, and their potentials before reset, of all steps.

        Raises:
            ValueError: if the sequences are of another size than the network's input, or a weight
                is not finite.
        """
        check_inputs(inputs)
        check_input_size(self.n_inputs, input_size(inputs))
        check_weights(self)
        fast = type(self) is TTFSLIF and fusable(self.weight_ih, self.bias_h)
        dtype, state, course = self.weight_ih.dtype, None, []
        for step in range(inputs.n_steps):
            x = step_input(inputs, step, dtype) if fast else Form(dtype).read(inputs.at(step))
            z, v, state = self.advance(x, state)
            course.append((z, v))
        spikes, potentials = zip(*course, strict=True)
        return torch.stack(spikes), torch.stack(potentials)

    @torch.no_grad()
    def decide(self, inputs: Sequences, *, batch_size: int = 250) -> Decision:
        """Answer with the first output spike: see `first_output_spike`.

        Raises:
            ValueError: if there are no sequences, or a weight is not finite.
        """
        check_inputs(inputs)
        if len(inputs) == 0:
            raise ValueError("There are no sequences to decide on; inputs is empty.")
        parts = torch.arange(len(inputs)).split(count(batch_size, "batch_size", low=1))
        with evaluated(self):
            return Decision.cat([first_output_spike(*self(inputs.rows(part))) for part in parts])


def rc_lif(library: Library, *, neurons: Mapping[str, Any] | None = None, **options: Any) -> RCLIF:
    """Make a rank-coded LIF network, by the name of the library whose neurons it has.

    Args:
        library: "snntorch" or "norse".
        neurons: parameters of `SnnTorchLIF` or `NorseLIF`; default: their own.
        options: sizes and generator, as `LIFNetwork` takes them.
    """
    return RCLIF(_neurons(library, neurons), **options)


def ttfs_lif(
    library: Library, *, neurons: Mapping[str, Any] | None = None, **options: Any
) -> TTFSLIF:
    """Make a LIF network whose first output spike answers; arguments as of `rc_lif`."""
    return TTFSLIF(_neurons(library, neurons), **options)


def _neurons(library: Library, parameters: Mapping[str, Any] | None) -> Neurons:
    if library not in LIBRARIES:
        raise ValueError(f"library must be one of {', '.join(LIBRARIES)}, got {library!r}.")
    return LIBRARIES[library](**(parameters or {}))


def first_spike_time(z: Course) -> Outputs:
    r"""Return the step of each neuron's first spike, T if silent, with a gradient.

    .. math:: t_k = \sum_{t=0}^{T-1} \prod_{s \le t} (1 - z_k(s))

    Exact for spikes of 0 and 1. The derivative by a missing spike says how much earlier it would
    be, and by the first spike how much later the neuron would fire without it (negative).

    Source: ours. In snnTorch's `ce_temporal_loss` silence is a spike at step T-1, and the gradient
    is -1 at the first spike, 0 elsewhere.

    Example:
        >>> first_spike_time(torch.tensor([[[0.0, 1.0, 0.0]], [[1.0, 1.0, 0.0]]]))
        tensor([[1., 0., 2.]])
    """
    return (1.0 - z).cumprod(dim=0).sum(dim=0)


def check_positive(**values: float) -> None:
    """Refuse what is not a positive number."""
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}.")
