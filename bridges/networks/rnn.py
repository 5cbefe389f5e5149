"""torch's recurrent modules, which take whole sequences, one step at a time."""

from typing import Any

import torch
from torch import Tensor, nn

from bridges.errors import BridgeError
from rc_snn.fast.border import plain
from rc_snn.models import Dropout
from rc_snn.step_model import State

CELLS: dict[type[nn.RNNBase], type[nn.RNNCellBase]] = {
    nn.LSTM: nn.LSTMCell,
    nn.GRU: nn.GRUCell,
    nn.RNN: nn.RNNCell,
}


class RNNSteps(nn.Module):
    """The steps of an `nn.LSTM`, `nn.GRU` or `nn.RNN`: torch's cells, which share its parameters.

    Trained is the module itself: it holds the same parameters. `batch_first` only says how it lays
    out whole sequences, and a step has none. Dropout between layers is the module's, too, with
    masks from a generator of its own, which training replaces by the run's.

    Args:
        rnn: the module.

    Raises:
        TypeError: if it is another module.
        BridgeError: if it reads the sequence from its end as well, projects its state, or does
            other than its class says.

    Example:
        >>> lstm = nn.LSTM(3, 4, num_layers=2)
        >>> steps, x = RNNSteps(lstm), torch.rand(5, 2, 3)
        >>> state = None
        >>> for frame in x:
        ...     output, state = steps(frame, state)
        >>> torch.allclose(output, lstm(x)[0][-1], atol=1e-6)
        True
    """

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        base = next((base for base in CELLS if isinstance(rnn, base)), None)
        if base is None:
            raise TypeError(
                f"from_rnn takes an nn.LSTM, nn.GRU or nn.RNN, got {type(rnn).__name__}. A module "
                "that takes one step, (x, state), goes to StepModule(module, n_inputs, n_classes)."
            )
        if not plain(rnn, base):
            raise BridgeError(
                f"from_rnn takes an nn.{base.__name__} as torch has it; this {type(rnn).__name__} "
                "is pruned, parametrized, a subclass or has hooks: a step would not do that. "
                "Make its weights ordinary ones (torch.nn.utils.prune.remove, "
                "parametrize.remove_parametrizations), or write the step and pass it to "
                "StepModule(module, n_inputs, n_classes)."
            )
        if rnn.bidirectional:
            raise BridgeError(
                "A bidirectional network begins at the end of the sequence, which has not come "
                "when an early answer is due. Train one with bidirectional=False."
            )
        if rnn.proj_size:
            raise BridgeError(
                f"torch has no cell with proj_size={rnn.proj_size}. Use proj_size=0, or write the "
                "step and pass it to StepModule(module, n_inputs, n_classes)."
            )
        options: dict[str, Any] = {"bias": rnn.bias, "device": "meta"}
        if isinstance(rnn, nn.RNN):
            options["nonlinearity"] = rnn.nonlinearity
        self.layers = nn.ModuleList()
        for n, weights in enumerate(rnn.all_weights):
            cell = CELLS[base](
                rnn.input_size if n == 0 else rnn.hidden_size, rnn.hidden_size, **options
            )
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            for name, weight in zip(names, weights, strict=False):  # without biases there are two
                setattr(cell, name, weight)
            self.layers.append(cell)
        self.dropout = Dropout(rnn.dropout, torch.Generator().manual_seed(0))
        self.train(rnn.training)

    def forward(self, x: Tensor, state: list[State] | None) -> tuple[Tensor, list[State]]:
        """Advance all layers by one step; return the last one's h, and each one's state."""
        new = []
        for n, cell in enumerate(self.layers):
            own = None if state is None else state[n]
            if isinstance(cell, nn.LSTMCell):
                held: State = cell(x, own)
            else:
                held = (cell(x, None if own is None else own[0]),)
            new.append(held)
            x = held[0] if n == len(self.layers) - 1 else self.dropout(held[0])
        return x, new
