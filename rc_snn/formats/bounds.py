"""Building a model takes no more memory than its weights in the file do, within a factor."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_FLOOR_BYTES, _TIMES = 1 << 27, 16
_FLOOR_CALLS, _CALLS = 2_000, 50


class Bounded(TorchDispatchMode):
    """While it is entered, torch makes no more than a model with these weights takes.

    A file of a kilobyte may say that its model has 10⁹ hidden units. What its maker asks of torch
    is counted, and refused before it is filled.

    Raises:
        ValueError: from within, if more is asked for.

    Example:
        >>> import torch
        >>> with Bounded({"bias": torch.zeros(3)}):
        ...     torch.zeros(9_000, 36_000)
        Traceback (most recent call last):
        ...
        ValueError: its options ask for more than the 12 bytes of weights that it holds...
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = sum(value.nbytes for value in weights.values())
        self.bytes = _FLOOR_BYTES + _TIMES * self.held
        self.calls = _FLOOR_CALLS + _CALLS * len(weights)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch's compiler is imported here: 2 s, and nothing is compiled

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the function, if what it asks for is left."""
        given = [*args, *(kwargs or {}).values()]
        inputs = [x for x in given if isinstance(x, Tensor)]
        sizes = [math.prod(map(abs, x)) for x in given if _is_size(x)]
        if not inputs and not sizes:  # torch.arange, say: as many as the largest number
            sizes = [abs(x) for x in given if isinstance(x, int | float)]
        self.calls -= 1
        self._check(max(sizes, default=0))
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and not any(made is x for x in inputs):
            self._check(made.nbytes)
            self.bytes -= made.nbytes
        return made

    def _check(self, n: int | float) -> None:
        if n > self.bytes or self.calls < 0:
            raise ValueError(
                f"its options ask for more than the {self.held} bytes of weights that it holds. "
                "It is damaged, or not what it says"
            )


def _is_size(x: Any) -> bool:
    return isinstance(x, list | tuple) and all(isinstance(side, int) for side in x)
