"""Spikes of `snntorch.spikegen.latency` as our spike times; docs/LATENCY.md compares the codes."""

import torch
from torch import Tensor

from encoders.functional import steps_to_times
from rc_snn.borders.numbers import whole
from rc_snn.borders.signatures import typed
from rc_snn.spikes import SpikeTimes, check_n_steps, steps_from_frames


@typed
def from_snntorch_latency(spikes_or_times: Tensor, n_steps: int | None = None) -> SpikeTimes:
    """Return what `snntorch.spikegen.latency` or `latency_code` made, as spike times in frames.

    A spike of step s is at s / T, as everywhere here; what never spikes is `inf`. snnTorch lets
    bright pixels spike first: take a network that was trained so. Nothing is undone: its codes put
    some grey levels into other steps than `encode_latency` does (docs/LATENCY.md).

    Args:
        spikes_or_times: spikes `[time, batch, *shape]`, 0 or 1, as `latency` returns them; or, with
            n_steps, times in steps `[batch, *shape]`, the first that `latency_code` returns.
        n_steps: steps, T, of times; they go to the nearest step, as in `latency`, and times beyond
            the last step never spike.

    Returns:
        Spike times in frames, float64, one row per sample.

    Raises:
        ValueError: if spikes are not 0 and 1, a unit has several (rate codes are sequences, not
            times), or a time is NaN or negative.

    Source: snntorch/spikegen.py, snnTorch 1.0.

    Example:
        >>> import torch
        >>> from_snntorch_latency(torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]]))
        tensor([[0.5000, 0.0000]], dtype=torch.float64)
        >>> from_snntorch_latency(torch.tensor([[0.2, 3.6]]), n_steps=4)
        tensor([[0., inf]], dtype=torch.float64)
    """
    if n_steps is None:
        if spikes_or_times.dim() < 3:
            raise ValueError(
                f"Spikes are [time, batch, *shape], got {list(spikes_or_times.shape)}. Of times of "
                "latency_code pass n_steps, too; of one sample add a batch axis."
            )
        frames = spikes_or_times.flatten(2)
        return steps_to_times(steps_from_frames(frames), len(frames))
    n_steps = check_n_steps(n_steps)
    if spikes_or_times.dim() < 2 or spikes_or_times.is_complex():
        raise ValueError(
            "Times in steps are real numbers [batch, *shape], got "
            f"{spikes_or_times.dtype} {list(spikes_or_times.shape)}."
        )
    times = spikes_or_times.flatten(1)
    if not times.is_floating_point():
        times = whole(times, "Times in steps")
    if times.dtype in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"Times in steps must not be of 16 bits, got {times.dtype}, which has no number for "
            "each step. Make them in float32."
        )
    if not bool((times >= 0).all()):
        raise ValueError(
            f"Times in steps must be >= 0, got {times.min().item()}. They are the first of the two "
            "that snntorch.spikegen.latency_code returns."
        )
    steps = times.round().clamp_max(n_steps).long()
    return steps_to_times(steps, n_steps)
