"""Two data sets in the forms of the field: spoken digits as events, gestures as frames."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset


class Spoken(Dataset):
    """Like SHD: 70 channels, classes by name, recordings of different lengths, sparse counts."""

    classes = ("zero", "one", "two")

    def __init__(self, n: int, seed: int = 0) -> None:
        self.n, self.seed = n, seed

    def __len__(self) -> int:
        """Return the number of recordings."""
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, str]:
        """Return counts `[T, 1, channels]`, as tonic's ToFrame gives them, and the word."""
        if not 0 <= index < self.n:
            raise IndexError(index)
        draw = np.random.default_rng((self.seed, index))
        label = index % 3
        frames = draw.poisson(0.03, size=(int(draw.integers(15, 26)), 1, 70))
        frames[2:8, 0, 20 * label : 20 * label + 15] += draw.poisson(0.5, size=(6, 15))
        return frames.astype(np.int16), self.classes[label]


class Gestures(Dataset):
    """Like DVS-Gesture: frames `[T, 2, 16, 16]` of counts in int8, a bar that moves either way."""

    def __init__(self, n: int, seed: int = 0) -> None:
        self.n, self.seed = n, seed

    def __len__(self) -> int:
        """Return the number of recordings."""
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return frames and class."""
        if not 0 <= index < self.n:
            raise IndexError(index)
        draw = np.random.default_rng((self.seed, index))
        label = index % 2
        frames = draw.random((12, 2, 16, 16)) < 0.02
        for t in range(12):
            place = t if label else 11 - t
            frames[t, label, :, place] = True
        return torch.from_numpy(frames.astype(np.int8)), label
