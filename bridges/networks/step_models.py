"""Networks of snnTorch, norse or anyone as step models: our runner and RC training for them all.

A network that takes `(x, state)` and returns `(output, state)` needs two things more to be rank
coded: which of its values are read out, and a state that `rc_snn.runner.run` can drop samples from.
`StepModule` adds both; `SNNTorchModel` and `NorseModel` know their library's states.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridges.errors import BridgeError
from bridges.networks.rnn import RNNSteps
from bridges.networks.step_cost import Product, fan_out, inflows, products
from bridges.networks.step_layers import check_neuron, flat_layers, forget, refuse_layers
from bridges.networks.step_state import Tree, fill, map_tensors, tensors_of
from bridges.target import load
from bridges.targets import norse
from rc_snn.borders.numbers import count
from rc_snn.operations import unwatched
from rc_snn.step_model import Inflow, State, StepCost, evaluated

Features: TypeAlias = Literal["potential", "output", "count"]
"""What is read out of the last neurons: potential, spikes of this step, or spikes so far."""


class StepModule(nn.Module):
    """A network with an explicit state as a step model: see `rc_snn.step_model.StepModel`.

    Building it runs the network on two samples, to learn the form of its state and to refuse what
    the runner would get wrong in silence.

    Args:
        module: `module(x, state)` returns `(output, state)`; x is `[batch, n_inputs]`, the first
            state is None, and every tensor of a state has the batch as its first axis.
        n_inputs: input size per step; an image is flattened.
        n_classes: classes; at least two.
        read_out: turns features into logits; None: the features are the logits, times `gain`.
        gain: logits per unit of a feature, such as a potential of which a threshold has one.

    Raises:
        BridgeError: if the network keeps something from call to call, if its state has no batch
            axis, or if it holds layers that take whole sequences or batch statistics.
        ValueError: if the network does not take inputs of this size, or returns others than
            `n_classes` logits.

    Example:
        >>> from rc_snn.runner import run
        >>> from rc_snn.sequences import DenseSequences
        >>> model = StepModule(nn.GRUCell(3, 2), n_inputs=3, n_classes=2)
        Traceback (most recent call last):
        ...
        ValueError: The module does not return (output, state) for inputs [2, 3] and state None ...
        >>> cell = nn.GRUCell(3, 2)
        >>> model = StepModule(lambda x, h: (cell(x, h),) * 2, n_inputs=3, n_classes=2)
        >>> run(model, DenseSequences(torch.zeros(5, 4, 3)), theta=0.999).decision.step
        tensor([4, 4, 4, 4])
    """

    module: Any

    def __init__(
        self,
        module: Callable[..., Any],
        n_inputs: int,
        n_classes: int,
        *,
        read_out: nn.Linear | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        n_inputs, n_classes = count(n_inputs, "n_inputs"), count(n_classes, "n_classes")
        if not math.isfinite(gain):
            raise ValueError(f"gain must be finite, got {gain}.")
        if n_inputs < 1 or n_classes < 2:
            raise ValueError(
                "A step model needs inputs and at least two classes, got "
                f"n_inputs={n_inputs}, n_classes={n_classes}."
            )
        self.module, self.n_inputs, self.n_classes = module, n_inputs, n_classes
        self.linear, self.gain = read_out, gain
        self._form: Tree = None
        refuse_layers(self)
        self._learn_form()

    @staticmethod
    def from_rnn(
        rnn: nn.LSTM | nn.GRU | nn.RNN, *, read_out: nn.Linear | None = None, gain: float = 1.0
    ) -> "StepModule":
        """Make a step model of a recurrent module of torch, with the weights that it has.

        They are shared: training trains the module. Its logits are those of the module's whole
        sequences, and their read-out; see `bridges.networks.rnn.RNNSteps`.

        Args:
            rnn: of any number of layers, in one direction.
            read_out: turns the last layer's h into logits; None: h is the logits, times `gain`.
            gain: logits per unit of a feature.

        Raises:
            BridgeError: if it is bidirectional, has `proj_size`, or is a subclass, pruned,
                parametrized or with hooks.
            TypeError: if it is no such module, or read_out no `nn.Linear`.

        Example:
            >>> model = StepModule.from_rnn(nn.GRU(3, 8), read_out=nn.Linear(8, 2))
            >>> model.cost().input, model.cost().recurrent, model.cost().read_out
            (72, 192, 16)
        """
        if read_out is not None and not isinstance(read_out, nn.Linear):
            raise TypeError(f"read_out must be an nn.Linear, got {type(read_out).__name__}.")
        steps = RNNSteps(rnn)
        n_classes = rnn.hidden_size if read_out is None else read_out.out_features
        model = StepModule(steps, rnn.input_size, n_classes, read_out=read_out, gain=gain)
        return model.train(rnn.training)

    def advance(self, x: Tensor, state: Tree | None) -> tuple[Tensor, Tree]:
        """Advance by one step; return the features, and the state as the network has it."""
        output, state = self.module(x, state)
        return output, state

    def step(
        self, x: Float[Tensor, "batch *inputs"], state: State | None
    ) -> tuple[Float[Tensor, "batch features"], State]:
        """Advance by one step; return the features for the read-out, and the new state."""
        flat = x.reshape(len(x), self.n_inputs)
        features, tree = self.advance(flat, None if state is None else fill(self._form, state))
        return features, tensors_of(tree)

    def read_out(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of the features."""
        return self.gain * (features if self.linear is None else self.linear(features))

    @torch.no_grad()
    def cost(self) -> StepCost:
        """Return the multiply-adds of one sample in one step, as the network computes them.

        Products of linear layers, convolutions, torch's RNN cells and norse's recurrent cells, all
        dense; `rc_snn.regimes.count_operations` counts spikes between layers. A layer that is
        called twice counts twice.

        Raises:
            BridgeError: if the network has other weights, or reads its input otherwise.
        """
        x = self._example()
        with evaluated(self):
            _, tree = self.advance(x, None)
            with products(self, but=self.linear) as found:
                self.advance(x, tree)
        self._check_first(found)
        feed = [p.feed for p in found if not p.loop]
        return StepCost(
            input=feed[0],
            inner=sum(feed[1:]),
            recurrent=sum(p.back + (p.feed if p.loop else 0) for p in found),
            read_out=0 if self.linear is None else self.linear.weight.numel(),
            fan_out=fan_out(found[0]),
        )

    @torch.no_grad()
    def watch(self, x: Tensor, state: State | None) -> tuple[State, list[Inflow]]:
        """Advance by one step, and tell what came into every product but the first.

        A network with a `cost()` of its own is not watched: all but its input counts as dense.
        """
        first = state is None
        if type(self).cost is not StepModule.cost:
            return self.step(x, state)[1], unwatched(self.cost(), len(x), first=first)
        with products(self, but=None) as found:
            features, state = self.step(x, state)
            self.read_out(features)
        self._check_first(found)
        return state, inflows(found, first=first)

    def _check_first(self, found: Sequence[Product]) -> None:
        if not found or found[0].shape.numel() != self.n_inputs:
            raise BridgeError(
                "cost() counts the synapses of each input at the first layer with weights, which "
                f"must read all {self.n_inputs} inputs. Override cost() for this network."
            )

    def _example(self) -> Tensor:
        """Return two samples in which every input spikes."""
        like = next(self.parameters(), torch.zeros(1))
        return torch.ones(2, self.n_inputs, dtype=like.dtype, device=like.device)

    @torch.no_grad()
    def _learn_form(self) -> None:
        """Learn the form of the state, and check what comes out."""
        x = self._example()
        try:
            with evaluated(self):
                features, tree = self.advance(x, None)
                again, _ = self.advance(x, None)
                logits = self.read_out(features)
        except (RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, BridgeError):
                raise
            raise ValueError(
                f"The module does not return (output, state) for inputs {list(x.shape)} and state "
                f"None ({error}). Give it inputs [batch, {self.n_inputs}]: an image needs "
                "nn.Unflatten first."
            ) from error
        if not torch.equal(features, again):
            raise BridgeError(
                "The module answers the same input differently when it is called again: it keeps "
                "its state, or draws random numbers. Let it take and return its state."
            )
        if logits.shape != (2, self.n_classes):
            raise ValueError(
                f"The module must give {self.n_classes} logits per sample, got logits "
                f"{list(logits.shape)} for two samples. Pass read_out=nn.Linear(features, classes)."
            )
        for tensor in tensors_of(tree):
            if tensor.shape[:1] != (2,):
                raise BridgeError(
                    f"The state holds a tensor {list(tensor.shape)} for two samples: its first "
                    "axis must be the batch, or decided samples could not leave."
                )
        self._form = map_tensors(tree, lambda tensor: tensor.new_zeros(0))


class _Spiking(StepModule):
    """A network of a spiking library, of which a potential, spikes or their counts are read out."""

    features: Features

    def _advance(self, x: Tensor, state: Tree | None) -> tuple[Tensor, Tensor, Tree]:
        """Advance by one step; return what comes out, the last potential, and the new state."""
        raise NotImplementedError

    def advance(self, x: Tensor, state: Tree | None) -> tuple[Tensor, Tree]:
        """Advance by one step; see `StepModule.advance`. The state holds the counts, if any."""
        if self.features != "count":
            output, potential, new = self._advance(x, state)
            return (potential if self.features == "potential" else output), new
        own, before = (None, 0) if state is None else state
        output, _, new = self._advance(x, own)
        count = before + output
        return count, (new, count)

    def _learn_form(self) -> None:
        super()._learn_form()
        if self.features != "count":
            return
        with torch.no_grad(), evaluated(self):
            output, _, _ = self._advance(self._example(), None)
        if not ((output == 0) | (output == 1)).all():
            raise BridgeError(
                'features="count" counts the spikes of the last neurons, but what comes out is not '
                '0 or 1. End with neurons that spike, or take features="potential".'
            )


class SNNTorchModel(_Spiking):
    """Layers of snnTorch as a step model, with their state outside.

    The features are the potential of the last neurons, or what the last layer puts out where that
    is not a neuron. snnTorch's potential shows a crossing of the threshold, as its reset comes one
    step later; give the last neurons `reset_mechanism="none"` to read out without resets.

    Args:
        layers: a list, or `nn.Sequential`, of snnTorch's neurons and layers without state.
        n_inputs: see `StepModule`, as the other arguments.
        n_classes: classes.
        read_out: turns features into logits.
        gain: logits per unit of a feature.
        features: "potential"; "output", the spikes of the last neurons; or "count", their number
            so far. A rate code is read by "count": at the end (θ None) with the accuracy that
            `snntorch.functional.accuracy_rate` gives, and earlier where the softmax of
            gain x counts reaches a θ.

    Raises:
        BridgeError: if a neuron keeps its state (`init_hidden=True`), takes whole sequences, or
            would forget it (`SLSTM` of snnTorch 1.0 with other inputs than neurons); or if there
            are no spikes to count.
        ValueError: as `StepModule`.

    Example:
        >>> import snntorch as snn
        >>> layers = [nn.Linear(6, 4), snn.Leaky(0.9), nn.Linear(4, 3), snn.Leaky(0.9)]
        >>> model = SNNTorchModel(layers, n_inputs=6, n_classes=3, gain=3.0)
        >>> features, state = model.step(torch.ones(2, 6), None)
        >>> [tuple(tensor.shape) for tensor in state]
        [(2, 4), (2, 3)]
        >>> model.cost().input, model.cost().inner
        (24, 12)
    """

    def __init__(
        self,
        layers: Sequence[nn.Module] | nn.Sequential,
        n_inputs: int,
        n_classes: int,
        *,
        read_out: nn.Linear | None = None,
        gain: float = 1.0,
        features: Features = "potential",
    ) -> None:
        flat = list(flat_layers(layers))
        self.features = _check_features(features)
        self._kept = [check_neuron(layer) for layer in flat]
        super().__init__(nn.ModuleList(flat), n_inputs, n_classes, read_out=read_out, gain=gain)

    def _advance(self, x: Tensor, state: Tree | None) -> tuple[Tensor, Tensor, Tree]:
        potential, new = x, list[State]()
        held: list[State] = [()] * len(self._kept) if state is None else state
        for layer, names, own in zip(self.module, self._kept, held, strict=True):
            if not names:
                potential = x = layer(x)
                new.append(())
                continue
            forget(layer)  # else a first step would go on from another run
            out: State = layer(x, *own)  # spikes, and the state, whose last is the potential
            forget(layer)  # else it would keep this step's graph
            x, rest = out[0], out[-len(names) :]
            new.append(rest)
            potential = rest[-1]
        return x, potential, new


class NorseModel(_Spiking):
    """A step module of norse as a step model, with its state in the runner's form.

    The features are the potential of the last neurons, or what the last layer puts out where that
    is not a neuron. norse's potential is that after the reset: end with an `LICell`, which has
    none.

    Args:
        module: a cell, or `SequentialState` of cells and layers without state.
        n_inputs: see `StepModule`, as the other arguments.
        n_classes: classes.
        read_out: turns features into logits.
        gain: logits per unit of a feature.
        features: "potential"; "output", what the last layer puts out; or "count", how many spikes
            it has put out so far: see `SNNTorchModel`.

    Raises:
        BridgeError: if a layer takes whole sequences (`LIF`, `Lift`), there are no spikes to count,
            or as `StepModule`.
        ValueError: as `StepModule`.

    Example:
        >>> snn = load(norse.TARGET)
        >>> net = snn.SequentialState(nn.Linear(6, 4), snn.LIFCell(), nn.Linear(4, 3), snn.LICell())
        >>> model = NorseModel(net, n_inputs=6, n_classes=3)
        >>> [tuple(tensor.shape) for tensor in model.step(torch.ones(2, 6), None)[1]]
        [(2, 4), (2, 4), (2, 3), (2, 3)]
    """

    def __init__(
        self,
        module: nn.Module,
        n_inputs: int,
        n_classes: int,
        *,
        read_out: nn.Linear | None = None,
        gain: float = 1.0,
        features: Features = "potential",
    ) -> None:
        self.features = _check_features(features)
        snn = load(norse.TARGET, "norse.torch.module.snn")
        lift = load(norse.TARGET, "norse.torch.module.lift")
        self._nested = load(norse.TARGET, "norse.torch.module.sequential").SequentialState
        for part in module.modules():
            if isinstance(part, snn.SNN | snn.SNNRecurrent | lift.Lift):
                raise BridgeError(
                    f"norse's {type(part).__name__} takes whole sequences, and would read the "
                    "batch as time. Use the cell, such as LIFCell for LIF, and no Lift."
                )
        super().__init__(module, n_inputs, n_classes, read_out=read_out, gain=gain)

    def _advance(self, x: Tensor, state: Tree | None) -> tuple[Tensor, Tensor, Tree]:
        output, new = self.module(x, state)
        last, own = self.module, new
        while isinstance(last, self._nested):
            last, own = last[-1], own[-1]
        own = getattr(own, "lif", own)  # where LIFRefracCell has its potential
        return output, getattr(own, "v", output), new


def _check_features(features: Features) -> Features:
    if features not in get_args(Features):
        raise ValueError(f'features must be "potential", "output" or "count", got {features!r}.')
    return features
