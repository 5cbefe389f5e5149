"""A ReLU network of torch read as a chain of layers; what is no such chain is refused."""

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from jaxtyping import Float64
from torch import Tensor, fx, nn
from torch.nn.modules.lazy import LazyModuleMixin


@dataclass(frozen=True)
class Stage:
    """A layer of a ReLU network: z = W a + b, of which max pooling may follow, and the ReLU."""

    weight: Float64[Tensor, "..."]
    """As torch has it: [neurons, inputs], or [neurons, channels, k, k]."""
    bias: Float64[Tensor, " neurons"]
    shape: tuple[int, ...]
    """Of the input without the batch: (inputs,), or (channels, height, width)."""
    grid: tuple[int, ...] = ()
    """The shape before its input was flattened, if it was a grid."""
    padding: int = 0
    stride: int = 1
    pool: int = 1

    @property
    def conv(self) -> bool:
        """Return whether it is a convolution."""
        return self.weight.dim() == 4

    def sums(self, a: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted sums of activations, by weights of this shape."""
        if self.conv:
            return F.conv2d(a, weight, stride=self.stride, padding=self.padding)
        return a.flatten(1) @ weight.t()

    def offset(self, of: Tensor) -> Tensor:
        """Return one number of each neuron as sums have them."""
        return of[:, None, None] if self.conv else of

    def pooled(self, a: Tensor) -> Tensor:
        """Return what max pooling leaves of the sums, or of activations."""
        return F.max_pool2d(a, self.pool) if self.pool > 1 else a


def read_chain(net: nn.Module, shape: Sequence[int] | None = None) -> list[Stage]:
    """Return the layers of a ReLU network, from its input to its output.

    Args:
        net: linear layers and convolutions, each but the last followed by a ReLU; max pooling, what
            flattens, and what idles at inference between them. It is traced (`torch.fx`), not run
            or changed.
        shape: of its input, without the batch; None: what its first layer says, if it is linear.

    Raises:
        ValueError: if it is anything else; the message says what, and what to do.
    """
    _refuse_changed(net)
    try:
        graph = fx.symbolic_trace(nn.Sequential(net)).graph
    except Exception as error:  # of torch.fx, of several kinds; a forward may raise anything
        raise ValueError(
            f"{type(net).__name__} cannot be traced by torch.fx ({type(error).__name__}: {error}). "
            "Write its forward as a chain of layers, without conditions on values."
        ) from error
    chain = _Chain(nn.Sequential(net), None if shape is None else tuple(shape))
    for node in graph.nodes:
        chain.read(node)
    return chain.stages


def _refuse_changed(net: nn.Module) -> None:
    """Refuse what a trace of layers does not see: forward hooks, by which weights are pruned."""
    for name, module in net.named_modules():
        at = f"from_relu cannot map {type(module).__name__} (at {name!r})"
        if isinstance(module, LazyModuleMixin):
            raise ValueError(f"{at}: it has no weights yet. Run the network once, on an input.")
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            raise ValueError(
                f"{at} with a forward hook, or a forward of its own: it may change weights or "
                "values. Take it away first: torch.nn.utils.prune.remove, remove_weight_norm or "
                "remove_spectral_norm make a weight an ordinary one, remove() of its handle ends a "
                "hook of yours."
            )


_PARTS: dict[Any, str] = {
    nn.Linear: "linear",
    nn.Conv2d: "conv",
    nn.MaxPool2d: "pool",
    F.max_pool2d: "pool",
    torch.max_pool2d: "pool",
    nn.Flatten: "flatten",
    torch.flatten: "flatten",
    "flatten": "flatten",
    "view": "view",
    "reshape": "view",
    torch.reshape: "view",
}
_PARTS |= dict.fromkeys((nn.ReLU, F.relu, torch.relu, torch.relu_, "relu", "relu_"), "relu")
_PARTS |= dict.fromkeys(
    (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, F.dropout, F.dropout1d, F.dropout2d),
    "idle",
)
_PARTS |= dict.fromkeys((nn.AlphaDropout, F.alpha_dropout, "contiguous"), "idle")
_PARTS |= dict.fromkeys(("size", getattr, operator.getitem), "size")

_REMEDIES: tuple[tuple[str, str], ...] = (
    (
        "batchnorm batch_norm",
        "Fuse it into the layer before it first: torch.nn.utils.fusion.fuse_conv_bn_eval or "
        "fuse_linear_bn_eval.",
    ),
    (
        "avgpool avg_pool mean",
        "No single spike is a mean. Take max pooling or a strided convolution, and train again.",
    ),
    (
        "layernorm layer_norm groupnorm group_norm instancenorm instance_norm rmsnorm rms_norm",
        "It divides by what each sample has, which no weight does. Train with batch norm, and fuse "
        "that.",
    ),
    (
        "softmax",
        "Leave it out: the first output spike is that of the largest logit, and `decide` gives the "
        "softmax as scores.",
    ),
    (
        "leaky prelu rrelu relu6 elu selu celu gelu silu swish mish sigmoid tanh softplus softsign "
        "hardtanh hardswish glu clamp",
        "Only ReLU is what a first spike computes. Replace it with ReLU, and train again.",
    ),
    (
        "add sub mul div matmul cat stack concat",
        "A first-spike network is a chain: no residual sums, branches or products. Train without "
        "them.",
    ),
    ("adaptive", "Take MaxPool2d of a kernel that divides the grid."),
    ("unflatten unsqueeze", "Give the network images [batch, channels, height, width]."),
    (
        "parametrized",
        "Make its weight an ordinary one: torch.nn.utils.parametrize.remove_parametrizations.",
    ),
    ("linear conv2d", "Take the module: nn.Linear or nn.Conv2d."),
    ("conv lstm gru rnn attention transformer embedding", "Take nn.Linear and nn.Conv2d only."),
)


class _Chain:
    """What has been read so far; `read` goes on with the next node."""

    def __init__(self, net: nn.Module, shape: tuple[int, ...] | None) -> None:
        self.net, self.shape = net, shape
        self.stages: list[Stage] = []
        self.last: fx.Node | None = None
        self.grid: tuple[int, ...] = ()
        self.rectified = True  # inputs are activations, too

    def read(self, node: fx.Node) -> None:
        """Take the next node of the graph."""
        if node.op == "placeholder":
            if self.last is None:
                self.last = node
            elif node.users:
                self._refuse(node, "a second input", "Give it a default, or leave it out.")
            return
        what, module = self._named(node)
        if node.op == "output":
            self._end(node)
            return
        part = _PARTS.get(type(module) if module is not None else node.target)
        if part == "size":  # as in x.view(x.size(0), -1)
            return
        if part is None:
            low = what.lower()
            for words, remedy in _REMEDIES:
                if any(word in low for word in words.split()):
                    self._refuse(node, what, remedy)
            self._refuse(node, what, "It maps Linear, Conv2d, ReLU, MaxPool2d and what flattens.")
        others = [x for x in node.all_input_nodes if x is not self.last]
        if node.args[:1] != (self.last,) or (others and part not in ("view", "idle")):
            self._refuse(
                node,
                f"a branch at {what}",
                "Each layer must read the one before it, and nothing else. Train without branches.",
            )
        self.last = node
        if part != "idle":
            getattr(self, f"_{part}")(node, what, module)

    def _named(self, node: fx.Node) -> tuple[str, nn.Module | None]:
        if node.op == "call_module":
            module = self.net.get_submodule(str(node.target))
            return type(module).__name__, module
        return getattr(node.target, "__name__", str(node.target)), None

    def _refuse(self, node: fx.Node, what: str, do: str) -> NoReturn:
        name = str(node.target).removeprefix("0.") if node.op == "call_module" else node.name
        raise ValueError(f"from_relu cannot map {what} (at {name!r}). {do}")

    def _linear(self, node: fx.Node, what: str, module: Any) -> None:
        if self.shape is None:
            self.shape = (module.in_features,)
        if self.shape != (module.in_features,):
            self._refuse(
                node,
                f"a linear layer of {module.in_features} inputs on {list(self.shape)}",
                "Flatten what it reads, and give samples or input_size as the network reads them.",
            )
        self._stage(node, what, Stage(_own(module.weight), _bias(module), self.shape, self.grid))
        self.shape, self.grid = (module.out_features,), ()

    def _conv(self, node: fx.Node, what: str, module: Any) -> None:
        if self.shape is None or len(self.shape) != 3 or self.shape[0] != module.in_channels:
            got = "an unknown size" if self.shape is None else list(self.shape)
            self._refuse(
                node,
                f"a convolution of {module.in_channels} channels on {got}",
                "Pass samples [batch, channels, height, width], or input_size=(channels, height, "
                "width).",
            )
        k, step, edge = module.kernel_size, module.stride, module.padding
        if edge in ("valid", "same"):
            edge = (0, 0) if edge == "valid" else tuple((side - 1) / 2 for side in k)
        square = all(len(set(x)) == 1 and x[0] == int(x[0]) for x in (k, step, edge))
        plain = set(module.dilation) == {1} and module.groups == 1
        if not (square and plain and (module.padding_mode == "zeros" or set(edge) == {0})):
            self._refuse(
                node,
                f"{module}",
                "Take a square kernel with one stride and one padding of zeros, without dilation "
                "or groups.",
            )
        stage = Stage(_own(module.weight), _bias(module), self.shape)
        stage = replace(stage, padding=int(edge[0]), stride=step[0])
        sides = [(side + 2 * stage.padding - k[0]) // step[0] + 1 for side in self.shape[1:]]
        if min(sides) < 1:
            self._refuse(node, f"{module} on {list(self.shape)}", "Take a smaller kernel.")
        self._stage(node, what, stage)
        self.shape = (module.out_channels, *sides)

    def _stage(self, node: fx.Node, what: str, stage: Stage) -> None:
        if not self.rectified:
            self._refuse(
                node,
                f"two layers without a ReLU between, the second a {what}",
                "Put a ReLU there, or multiply the two into one.",
            )
        if not (torch.isfinite(stage.weight).all() and torch.isfinite(stage.bias).all()):
            self._refuse(node, f"a {what} whose weights are not all finite", "Train it again.")
        self.stages.append(stage)
        self.rectified = False

    def _relu(self, node: fx.Node, what: str, module: Any) -> None:
        self.rectified = True

    def _pool(self, node: fx.Node, what: str, module: Any) -> None:
        given = module if module is not None else _bound(_max_pool, node)
        k, step = _pair(given.kernel_size), _pair(given.stride)
        if step not in (k, (None, None)) or len(set(k)) > 1 or _pair(given.padding) != (0, 0):
            self._refuse(
                node,
                f"max pooling of kernel {k}, stride {step} and padding {_pair(given.padding)}",
                "Take squares that neither overlap nor leave the grid: stride = kernel, padding 0.",
            )
        if _pair(given.dilation) != (1, 1) or given.ceil_mode or given.return_indices:
            self._refuse(
                node,
                "max pooling with dilation, ceil_mode or return_indices",
                "Leave these out.",
            )
        if not self.stages or self.shape is None or len(self.shape) != 3:
            self._refuse(
                node, f"{what} of no convolution", "Pool after a convolution, before flattening."
            )
        sides = [side // k[0] for side in self.shape[1:]]
        if min(sides) < 1:
            self._refuse(node, f"{what} of {k[0]} on {list(self.shape)}", "Take a smaller one.")
        # Squares of squares are squares: floor(floor(n / a) / b) = floor(n / (a b)).
        self.stages[-1] = replace(self.stages[-1], pool=self.stages[-1].pool * k[0])
        self.shape = (self.shape[0], *sides)

    def _flatten(self, node: fx.Node, what: str, module: Any) -> None:
        given = module if module is not None else _bound(_flatten, node)
        last = -1 if self.shape is None else len(self.shape)
        if given.start_dim != 1 or given.end_dim not in (-1, last):
            self._refuse(node, f"{what} of some axes", "Flatten all but the batch: flatten(1).")
        self._flat()

    def _view(self, node: fx.Node, what: str, module: Any) -> None:
        asked = node.args[1:]
        to = tuple(asked[0]) if len(asked) == 1 and isinstance(asked[0], tuple | list) else asked
        n = None if self.shape is None else math.prod(self.shape)
        rows, width = (*to, None, None)[:2]
        whole = len(to) == 2 and (
            (isinstance(rows, fx.Node) and (width == -1 or n in (None, width)))
            or (rows == -1 and isinstance(width, int) and width > 0 and n in (None, width))
        )
        if not whole:
            self._refuse(node, f"{what}{to}", "Flatten all but the batch: x.flatten(1).")
        if self.shape is None and width != -1:
            self.shape = (int(str(width)),)
        self._flat()

    def _flat(self) -> None:
        if self.shape is not None:
            self.grid = self.shape if len(self.shape) == 3 and self.stages else self.grid
            self.shape = (math.prod(self.shape),)

    def _end(self, node: fx.Node) -> None:
        if node.args != (self.last,):
            self._refuse(node, "several outputs", "Return the logits, and nothing else.")
        if not self.stages or self.stages[-1].conv:
            self._refuse(node, "a network whose last layer is not linear", "End with nn.Linear.")
        if self.rectified:
            self._refuse(
                node,
                "a ReLU after the last layer",
                "Leave it out: logits below 0 are told apart by later spikes.",
            )


def _max_pool(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: Any = False,
    return_indices: Any = False,
) -> None:
    """Name the arguments of max pooling, as torch's functions have them."""


def _flatten(input: Any, start_dim: Any = 0, end_dim: Any = -1) -> None:
    """Name the arguments of flatten."""


def _bound(function: Callable[..., None], node: fx.Node) -> SimpleNamespace:
    """Return the arguments of a call as attributes, as a module has them."""
    bound = inspect.signature(function).bind(*node.args, **node.kwargs)
    bound.apply_defaults()
    return SimpleNamespace(**bound.arguments)


def _pair(x: Any) -> tuple[Any, Any]:
    if isinstance(x, tuple | list):
        return (x[0], x[-1]) if x else (None, None)
    return x, x


def _own(x: Tensor) -> Tensor:
    return x.detach().double().cpu().clone()


def _bias(module: Any) -> Tensor:
    n = len(module.weight)
    return torch.zeros(n, dtype=torch.float64) if module.bias is None else _own(module.bias)
