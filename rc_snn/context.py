"""Sequences whose step shows a window of frames: speech with its context, without copying it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class ContextSequences:
    """Dense frames, of which each step shows `context + 1` in a row, flattened.

    Step t reads the frames t..t+context, so that of F frames there are F - context steps. With ±10
    frames around its centre (section 3.4) a step has `context=20`. Frames that overlap are stored
    once: of 81 steps with 21 frames each, a twentieth of the memory.

    Args:
        frames: all frames, in memory order such that the frames of a sample lie together.
        context: further frames in a window.
        index: which samples, and in which order; None is all of them. Rows are looked up only when
            a step is read, so that samples that leave a run cost no copy of those that stay.

    Raises:
        ValueError: if there are fewer frames than one window has.

    Example:
        >>> x = ContextSequences(torch.arange(8.0).view(1, 4, 2), context=1)
        >>> x.n_steps, x.at(2).tolist()  # the frames 2 and 3
        (3, [[4.0, 5.0, 6.0, 7.0]])
    """

    frames: Float[Tensor, "samples frame channel"]
    context: int = 20
    index: Int[Tensor, " batch"] | None = None

    def __post_init__(self) -> None:
        if self.context < 0 or self.n_steps < 1:
            raise ValueError(
                f"A window of context + 1 = {self.context + 1} frames needs at least as many, got "
                f"{self.frames.shape[1]}. Pad the sequences, or take a smaller context (>= 0)."
            )

    @property
    def n_steps(self) -> int:
        """Return the number of steps, T."""
        return self.frames.shape[1] - self.context

    @property
    def n_inputs(self) -> int:
        """Return the number of values per step."""
        return (self.context + 1) * self.frames.shape[2]

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.frames) if self.index is None else len(self.index)

    def at(self, step: int) -> Float[Tensor, "batch inputs"]:
        """Return the window of one step."""
        n_channels = self.frames.shape[2]
        begin, width = step * n_channels, (self.context + 1) * n_channels
        window = self.frames.flatten(1)[:, begin : begin + width]
        return window if self.index is None else window.index_select(0, self.index)

    def rows(self, index: Int[Tensor, " rows"]) -> "ContextSequences":
        """Return the sequences at these positions."""
        chosen = index if self.index is None else self.index[index]
        return ContextSequences(self.frames, self.context, chosen)

    def to(self, device: torch.device | str) -> "ContextSequences":
        """Return the sequences on another device."""
        index = None if self.index is None else self.index.to(device)
        return ContextSequences(self.frames.to(device), self.context, index)
