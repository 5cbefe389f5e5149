"""Networks of ours as NeuroBench runs them: a batch goes in, the answers come out.

`RankCoded` steps torch layers and stops at the answers, as `rc_snn.runner` does; `ContinuousModel`
is for networks in continuous time, which have no layers to call.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import skip_init

from baselines.continuous import ContinuousNetwork
from baselines.lif import RCLIF, TTFSLIF
from bridges.errors import BridgeError
from bridges.networks.step_models import StepModule
from bridges.neurobench.layers import Gates, Mean, as_layers
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.network import Network
from rc_snn.spikes import Decision, check_n_steps, check_theta
from rc_snn.step_model import evaluated


class RankCoded(nn.Module):
    """A network that answers NeuroBench's batches, and computes nothing after an answer.

    A sample leaves the batch at its decision, so that operations count up to there, whatever the
    batch size. Labels and steps are those of `rc_snn.runner.decide` and `TTFSLIF.decide`, up to
    rounding. A mean that centres the input is folded into a bias of each step: frames stay binary,
    which NeuroBench needs to tell accumulates from multiply-accumulates, and the products with it
    are a table that Footprint counts.

    Args:
        network: a `rc_snn.Network`; or an RCLSTM, RCConvLSTM, RCLIF or TTFSLIF; or a `StepModule`
            with a network of snnTorch, norse or anybody.
        theta: threshold θ in (0, 1); default: that of the `Network`. A StepModule without one
            answers at the end.
        n_steps: steps per frame, T; default likewise.
        mean: subtracted from the input of each step; default likewise.
        early_exit: False computes the whole sequence for every sample; the answers are the same.
        gates: an RCLSTM as "cell", `nn.LSTMCell`, of which NeuroBench books every product as an
            accumulate because the input is binary; or as "linear", two `nn.Linear`, where products
            with h are booked as the multiply-accumulates they are. ConvLSTMs are always the latter.

    Raises:
        BridgeError: if the network is of another kind, or its products are in bfloat16.
        ValueError: if θ or T are missing or out of range, or the mean has another shape.

    Example:
        >>> from rc_snn.network import load
        >>> network = RankCoded(load("rc-lstm-340-fast"))
        >>> network(torch.zeros(2, 10, 784)).shape  # batch, time, inputs
        torch.Size([2])
    """

    def __init__(
        self,
        network: Any,
        theta: float | None = None,
        n_steps: int | None = None,
        *,
        mean: Mean = None,
        early_exit: bool = True,
        gates: Gates = "cell",
    ) -> None:
        super().__init__()
        model = network
        own: tuple[float | None, int | None] = (None, None)
        if isinstance(network, Network):
            model, own = network.model, (network.theta, network.n_steps)
            mean = network.mean if mean is None else mean
        theta = own[0] if theta is None else theta
        n_steps = own[1] if n_steps is None else n_steps
        if type(model) not in (RCLSTM, RCConvLSTM, RCLIF, TTFSLIF) and not isinstance(
            model, StepModule
        ):
            raise BridgeError(
                "RankCoded steps RCLSTM, RCConvLSTM, RCLIF, TTFSLIF and StepModule, got "
                f"{type(model).__name__}. Wrap networks in continuous time in ContinuousModel, "
                "those of other libraries in bridges' StepModule, SNNTorchModel or NorseModel."
            )
        if n_steps is None:
            raise ValueError("n_steps is missing. Pass it, or a rc_snn.Network that knows its own.")
        if theta is not None:
            check_theta(theta)
        check_n_steps(n_steps)
        self.n_steps, self.early_exit, self.cost = n_steps, early_exit, model.cost()
        if mean is not None and mean.shape != (n_steps, model.n_inputs):
            raise ValueError(f"mean must be [{n_steps}, {model.n_inputs}], got {list(mean.shape)}.")
        self.network = as_layers(model, theta, mean, gates).requires_grad_(False).eval()

    def forward(self, frames: Float[Tensor, "batch time *inputs"]) -> Int[Tensor, " batch"]:
        """Return the class answered for each sample, which is what NeuroBench compares."""
        return self.decide(frames).label

    @torch.no_grad()
    def decide(self, frames: Float[Tensor, "batch time *inputs"]) -> Decision:
        """Return the decisions on binary frames, batch first as NeuroBench has them.

        Raises:
            ValueError: if the batch is empty, has another T, or a score is not finite.
        """
        if len(frames) == 0 or frames.shape[1] != self.n_steps:
            raise ValueError(
                f"Frames must be [batch, {self.n_steps}, ...] with at least one sample, got "
                f"{list(frames.shape)}. Encode with the network's n_steps."
            )
        frames = frames.flatten(2).to(next(self.parameters(), torch.zeros(0)).dtype)
        with evaluated(self):
            return self._decide(frames)

    def _decide(self, frames: Tensor) -> Decision:
        n, last = len(frames), self.n_steps - 1
        rows, state = torch.arange(n, device=frames.device), None
        step_of, fired, found = torch.full_like(rows, -1), torch.zeros_like(rows).bool(), []
        for step in range(self.n_steps):
            scores, fires, state = self.network(frames[rows, step], step, state)
            new = (fires | (step == last)) & (step_of[rows] < 0)
            step_of[rows[new]], fired[rows[new]] = step, fires[new]
            found.append((rows[new], scores[new]))
            if self.early_exit:
                rows, state = rows[~new], tuple(part[~new] for part in state)
                if len(rows) == 0:
                    break
        order = torch.cat([at for at, _ in found]).argsort()
        scores = torch.cat([part for _, part in found])[order]
        if not torch.isfinite(scores).all():
            raise ValueError("A score is not finite. Check weights and input for NaN.")
        return Decision.at_steps(step_of, self.n_steps, fired, scores)


class ContinuousModel(nn.Module):
    """A network in continuous time, α-PSP or ReL-PSP, of which NeuroBench sees weights and answers.

    Its neurons solve for their spike times; no layer is ever called, so SynapticOperations is 0,
    which means "not seen". Our own count is `synaptic_operations`. The weights are held by
    `nn.Linear` layers that nothing calls, where ConnectionSparsity finds them (without them it
    divides by zero), and are shared with the network.

    Args:
        network: a `rc_snn.Network`, or a ContinuousNetwork.

    Example:
        >>> from rc_snn.network import load
        >>> network = ContinuousModel(load("rel-psp-340-slow"))
        >>> network(torch.full((1, 784), torch.inf))  # no spike, no answer
        tensor([-1])
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        model = network.model if isinstance(network, Network) else network
        if not isinstance(model, ContinuousNetwork):
            raise BridgeError(
                f"ContinuousModel takes networks in continuous time, got {type(model).__name__}. "
                "Wrap step models in RankCoded."
            )
        self.timing = (model,)  # in a tuple: as a module its weights would count twice
        self.weights, self.pulses = nn.ModuleList(), nn.ParameterList()
        for layer in model.layers:
            shown = skip_init(nn.Linear, *layer.weight.shape, bias=False)
            shown.weight = nn.Parameter(layer.weight.detach().t(), requires_grad=False)
            self.weights.append(shown)
            if getattr(layer, "pulses", None) is not None:
                self.pulses.append(nn.Parameter(layer.pulses.detach(), requires_grad=False))

    def forward(self, times: Float[Tensor, "batch inputs"]) -> Int[Tensor, " batch"]:
        """Return the class answered for spike times in frames; -1 where no output ever spikes."""
        decision = self.timing[0].decide(times)
        return decision.label.masked_fill(~torch.isfinite(decision.time), -1)

    def synaptic_operations(self, times: Float[Tensor, "batch inputs"]) -> Float[Tensor, " batch"]:
        """Return our own count: one accumulate per spike and synapse until the decision."""
        return self.timing[0].synaptic_operations(times)
