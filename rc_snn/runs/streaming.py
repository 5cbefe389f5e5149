"""A sample that comes step by step, as a sensor delivers it."""

import torch
from jaxtyping import Shaped
from torch import Tensor

from rc_snn.borders.checks import Form, check_model, check_numbers, check_weights, named
from rc_snn.runs.look import assemble, look
from rc_snn.sequences import check_input_size
from rc_snn.spikes import Decision, check_n_steps, check_theta
from rc_snn.step_model import State, StepModel, evaluated


class StreamingRunner:
    """One sample, one step at a time, as a sensor delivers it; the same decision as `decide`.

    Each step evaluates the model, without dropout, and leaves it in the mode that it was in.

    Example:
        >>> from rc_snn.models import RCLSTM
        >>> stream = StreamingRunner(RCLSTM(), theta=0.95, n_steps=2)
        >>> stream.step(torch.zeros(784)) is None  # nothing fired yet
        True
        >>> stream.step(torch.zeros(784)).fired  # the last step forces an answer
        tensor([False])
    """

    def __init__(self, model: StepModel, theta: float, n_steps: int) -> None:
        check_model(model)
        self.theta, self.n_steps = check_theta(theta), check_n_steps(n_steps)
        self.model = model
        self.reset()

    def reset(self, theta: float | None = None) -> None:
        """Forget the sample, to begin with the next; at this threshold from now on, if any."""
        self.theta = self.theta if theta is None else check_theta(theta)
        self._state: State | None = None
        self._step = 0
        self.decision: Decision | None = None

    @torch.no_grad()
    def step(self, x: Shaped[Tensor, "*inputs"]) -> Decision | None:
        """Read one step's input, without a batch axis; return the decision once there is one.

        Raises:
            RuntimeError: if the sample has been decided already.
            TypeError: if x is no tensor.
            ValueError: if x has another size than the model's input, or it, a weight or a logit is
                not finite; the sample may go on with another x.
        """
        if not isinstance(x, Tensor):
            raise TypeError(f"A step's input is a tensor, got {named(x)}: torch.as_tensor(x).")
        check_input_size(self.model.n_inputs, x.numel())
        if self.decision is not None:
            raise RuntimeError(
                f"This sample was decided at step {self._step - 1}; call reset() for the next."
            )
        check_numbers(x, "x")
        if self._step == 0:
            check_weights(self.model)
        read = Form.of(self.model).read(x.unsqueeze(0))
        with evaluated(self.model):
            features, state = self.model.step(read, self._state)
            seen = look(self.model, features, self._step, 1, self.theta)
        self._state = state
        self._step += 1
        if seen.undecided == [0] or self._step == self.n_steps:
            row = torch.zeros(1, dtype=torch.long, device=features.device)
            leaving = seen.leave(row, features, self._step - 1)
            self.decision = assemble(self.model, [leaving], self.n_steps).decision
        return self.decision
