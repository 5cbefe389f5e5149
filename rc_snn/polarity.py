"""Which end of the grey scale spikes first, as spikes look, and a warning where it does not fit."""

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rc_snn.sequences import Sequences, SpikeSequences

MOST, FEW = 0.5, 0.35
"""Shares of the units that tell polarities apart. Of an MNIST image dark pixels are 61 to 95 %, and
ink 0.3 to 29 %, whatever the grid; images in which neither prevails tell nothing."""


def polarity_of(inputs: Any) -> str | None:
    """Return which polarity spikes look like, of images of ink on an empty ground; None: neither.

    Most units are ground, and all of it spikes together: first, or last and never. Without any ink
    it could be either.
    """
    if isinstance(inputs, Tensor):
        first, early = inputs < 0.1, inputs < 0.9
    else:
        few = inputs.rows(torch.arange(min(len(inputs), 250)))
        if isinstance(few, SpikeSequences):
            few = replace(few, mean=None)  # what is subtracted is no spike
        first = early = few.at(0) != 0
        for step in range(1, few.n_steps - 1):
            early = early | (few.at(step) != 0)
    at_first, late = float(first.double().mean()), 1.0 - float(early.double().mean())
    if at_first >= MOST and 0.0 < late <= FEW:
        return "dark_first"
    return "bright_first" if 0.0 < at_first <= FEW and late >= MOST else None


def warn_of_other_polarity(name: str, own: str | None, inputs: Any) -> None:
    """Warn of spikes on which the network is at chance: it was trained on the other end first."""
    if own is None or not isinstance(inputs, Tensor | Sequences) or len(inputs) == 0:
        return  # what is no input is refused, with the reason, by what reads it
    if (looks := polarity_of(inputs)) in (None, own):
        return
    warnings.warn(
        f"{name} was trained on {own} spikes, and these look {looks}: most units spike "
        f"{'first' if looks == 'dark_first' else 'last, or never'}. Encode the images with "
        f'polarity="{own}", or load a network of that polarity (rc-lstm-340-fast is dark_first, '
        "rc-lstm-340-fast-bright is bright_first).",
        UserWarning,
        stacklevel=3,
    )
