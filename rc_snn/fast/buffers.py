"""Memory that the runs of a cell hand on to each other.

A tensor made anew comes as fresh pages, which the system finds and zeroes one by one at the first
touch. For what a step writes and its backward pass reads once, that took as long as the arithmetic:
of a ConvLSTM's training step that ends at step 0, half.
"""

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor


class Buffers:
    """The free memory of one cell: of each size, as much as runs have held at once.

    It is not part of the model: copies and pickles begin empty.
    """

    def __init__(self) -> None:
        self.free: defaultdict[int, list[Tensor]] = defaultdict(list)

    def __deepcopy__(self, memo: Any) -> "Buffers":
        """Return an empty one."""
        return Buffers()

    def __reduce__(self) -> tuple[type["Buffers"], tuple[()]]:
        """Pickle as an empty one."""
        return Buffers, ()


class Loan:
    """What one run has taken; it goes back when the run, with its graph, is gone.

    So nothing that outlives the run may be made of it: neither h and c nor the gradients.

    Example:
        >>> buffers = Buffers()
        >>> first = Loan(buffers).take((3, 5), torch.float32).data_ptr()  # gone with its Loan
        >>> Loan(buffers).take((2, 7), torch.float32).data_ptr() == first  # both within 64 bytes
        True
    """

    def __init__(self, buffers: Buffers) -> None:
        self.buffers = buffers
        self.taken: list[tuple[int, Tensor]] = []

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor that holds anything; sizes are powers of two, so that one fits many."""
        n_bytes = math.prod(shape) * dtype.itemsize
        size = max(n_bytes - 1, 63).bit_length()
        free = self.buffers.free[size]
        memory = free.pop() if free else torch.empty(2**size, dtype=torch.uint8)
        self.taken.append((size, memory))
        return memory[:n_bytes].view(dtype).view(shape)

    def give_back(self, since: int = 0) -> None:
        """Give back, at once, all but the first `since` that were taken."""
        for size, memory in self.taken[since:]:
            self.buffers.free[size].append(memory)
        del self.taken[since:]

    def __del__(self) -> None:
        """Give back what is left."""
        self.give_back()
