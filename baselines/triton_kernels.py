"""Triton kernels of the spiking baselines: first spikes and their gradients, on a GPU.

Beside `baselines.kernels` (numba), whose walk they take over: one program follows a block of the
neurons of one row through the sorted inputs, and stops when all of the block have fired. Both
models are α kernels s exp(-K s), ReL-PSP with K = 0, so one kernel serves both (`Alpha`).

The gradients need no order: an input is in the causal set of a neuron if and only if it came no
later than the last input of that set. Each sum is made by one program, in one order, without
atomics: results do not depend on how programs are scheduled.

With TRITON_INTERPRET=1 in the environment before Triton is first imported, Triton's interpreter
runs all this on the CPU, slowly; so the tests do where there is no GPU. Triton turns what it can
not see as a tensor into float32, so numbers of a neuron come as a tensor of the weights' type.

Shapes: B samples, R rows per sample, N inputs of a row, J neurons of a row.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from baselines.tensor_path import Alpha, Causes, Crossing, Sorted

NEURONS = 128
"""Neurons that one program of the forward pass advances, in one warp: no barrier at each input."""
ASK = 8
"""After so many inputs a program asks whether all of its neurons have fired."""
TILE = 32
"""Side of the tiles, inputs by neurons, of the backward pass."""
PROGRAMS = 4096
"""Programs over which a weight's gradient is divided, if there are so many samples and rows."""


@triton.jit
@no_type_check
def _forward(
    times,
    order,
    count,
    weight,
    numbers,
    out,
    causal,
    slope,
    n_inputs,
    n_out,
    DECAYS: tl.constexpr,
    NEAR: tl.constexpr,
    ASK: tl.constexpr,
    NEURONS: tl.constexpr,
):
    """First spikes: from input to input V = q and the sum of the PSPs' slopes, p.

    Between inputs V(t + s) = exp(-K s) (q + p s). What is known of a crossing is noted, and solved
    at the end. Of inputs at one time all but the last are followed by an interval of length 0, in
    which nobody who has not fired reaches θ.
    """
    row = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * NEURONS + tl.arange(0, NEURONS)
    here = j < n_out
    dtype: tl.constexpr = out.dtype.element_ty
    theta, decay = tl.load(numbers), tl.load(numbers + 1)
    n = tl.load(count + row)
    times += row * n_inputs
    order += row * n_inputs
    p, q = tl.zeros((NEURONS,), dtype), tl.zeros((NEURONS,), dtype)
    p_at, q_at = tl.full((NEURONS,), 1, dtype), tl.zeros((NEURONS,), dtype)
    t_at, dt_at = tl.zeros((NEURONS,), dtype), tl.zeros((NEURONS,), dtype)
    n_at = tl.zeros((NEURONS,), tl.int32)
    e, left = 0, tl.sum(here.to(tl.int32))
    while (e < n) & (left > 0):
        t, last = tl.load(times + e), e + 1 == n
        dt = tl.where(last, t - t, tl.load(times + e + 1, mask=e + 1 < n, other=0) - t)
        p += tl.load(weight + tl.load(order + e) * n_out + j, mask=here, other=0)
        now = q + p * dt
        if DECAYS:
            fade, rise, up = tl.exp(-decay * dt), p - decay * q, tl.where(p > 0, p, 1)
            now *= fade
            high = tl.log(up / (decay * theta)) + decay * (q / up) >= 1
            until, level = tl.where(last, 1e18, decay * dt), tl.where(last, float("inf"), theta)
            peak = high & (p > 0) & (rise >= 0) & (rise < p * until)
            reached = peak | (now >= level)
        else:
            reached = tl.where(last, p > 0, now >= theta)
        fires = reached & here & (n_at == 0)
        p_at, q_at = tl.where(fires, p, p_at), tl.where(fires, q, q_at)
        t_at = tl.where(fires, t, t_at)
        dt_at = tl.where(fires, tl.where(last, float("inf"), dt), dt_at)
        n_at = tl.where(fires, e + 1, n_at)
        q = now
        if DECAYS:
            p *= fade
        e += 1
        if e % ASK == 0:
            left = tl.sum((here & (n_at == 0)).to(tl.int32))
    fired = n_at > 0
    if DECAYS:  # u + exp(-u) = 1 + z: Newton from a series, as `tensor_path.crossing`
        z = tl.log(p_at / (decay * theta)) + decay * (q_at / p_at) - 1
        z = tl.where(fired & (z > 0), z, 0)
        root = tl.sqrt(2 * z)
        u = tl.where(z < 1, root + z / 3 + z * root / 18, 1 + z)
        for k in tl.static_range(5):
            # 1 - exp(-u), near 0 by a series of its own: the difference would be all rounding.
            series = 1 - u / 4 * (1 - u / 5 * (1 - u / 6))
            series = u * (1 - u / 2 * (1 - u / 3 * series))
            grade = tl.where(u < NEAR, series, 1 - tl.exp(-u))
            if k < 4:
                u -= tl.where(grade > 0, (u - grade - z) / tl.where(grade > 0, grade, 1), 0)
                u = tl.where(u > 0, u, 0)
        lag, steep = tl.exp(-u) / decay - q_at / p_at, theta * decay * grade * tl.exp(u)
    else:
        lag, steep = (theta - q_at) / p_at, p_at
    lag = tl.minimum(lag, dt_at)
    at = row * n_out + j
    tl.store(out + at, tl.where(fired, t_at + tl.where(lag > 0, lag, 0), float("inf")), mask=here)
    tl.store(causal + at, n_at, mask=here)
    tl.store(slope + at, tl.where(fired, steep, 1), mask=here)


@triton.jit
@no_type_check
def _weight_gradient(
    times,
    index,
    upstream,
    out,
    last,
    slope,
    numbers,
    parts,
    n_pairs,
    n_rows,
    n_all,
    n_inputs,
    n_out,
    n_chunks,
    TILE: tl.constexpr,
):
    """Add -ε(t_j - t_i) / V'(t_j) over the samples and rows of a chunk; parts [chunks, N, J]."""
    i = tl.program_id(0) * TILE + tl.arange(0, TILE)
    j = tl.program_id(1) * TILE + tl.arange(0, TILE)
    chunk = tl.program_id(2).to(tl.int64)
    here_i, here_j = i < n_inputs, j < n_out
    decay, clip, least = tl.load(numbers + 1), tl.load(numbers + 2), tl.load(numbers + 3)
    total = tl.zeros((TILE, TILE), parts.dtype.element_ty)
    pair = chunk
    while pair < n_pairs:
        source = tl.load(index + pair % n_rows * n_inputs + i, mask=here_i, other=0)
        t = tl.load(times + pair // n_rows * n_all + source, mask=here_i, other=float("inf"))
        at = pair * n_out + j
        until = tl.load(last + at, mask=here_j, other=-1)
        steep = tl.maximum(tl.load(slope + at, mask=here_j, other=1), least)
        inside = t[:, None] <= until[None, :]
        lag = tl.load(out + at, mask=here_j, other=0)[None, :] - t[:, None]
        lag = tl.where(inside, lag, 0)
        slew = lag * (tl.exp(-decay * lag) / steep[None, :])
        total -= tl.minimum(slew, clip) * tl.load(upstream + at, mask=here_j, other=0)[None, :]
        pair += n_chunks
    at = (chunk * n_inputs + i)[:, None] * n_out + j[None, :]
    tl.store(parts + at, total, mask=here_i[:, None] & here_j[None, :])


@triton.jit
@no_type_check
def _time_gradient(
    times,
    seen_at,
    starts,
    weight,
    upstream,
    out,
    last,
    slope,
    numbers,
    found,
    n_rows,
    n_all,
    n_inputs,
    n_out,
    since,
    TILE: tl.constexpr,
):
    """Add w ε'(t_j - t_i) / V'(t_j) over all neurons that see an input; found [B, from since on].

    `seen_at` says where in [R, N] an input is seen, those of input i from `starts[i]` on.
    """
    b = tl.program_id(0).to(tl.int64)
    i = since + tl.program_id(1) * TILE + tl.arange(0, TILE)
    here = i < n_all
    decay, clip, least = tl.load(numbers + 1), tl.load(numbers + 2), tl.load(numbers + 3)
    t = tl.load(times + b * n_all + i, mask=here, other=float("inf"))[:, None]
    first = tl.load(starts + i, mask=here, other=0)
    count = tl.load(starts + i + 1, mask=here, other=0) - first
    total = tl.zeros((TILE,), found.dtype.element_ty)
    k, most = 0, tl.max(count)
    while k < most:
        seen = k < count
        place = tl.load(seen_at + first + k, mask=seen, other=0)
        row = (b * n_rows + place // n_inputs)[:, None] * n_out
        low = 0
        while low < n_out:
            j = low + tl.arange(0, TILE)[None, :]
            each = seen[:, None] & (j < n_out)
            until = tl.load(last + row + j, mask=each, other=-1)
            steep = tl.maximum(tl.load(slope + row + j, mask=each, other=1), least)
            inside = t <= until
            lag = tl.where(inside, tl.load(out + row + j, mask=each, other=0) - t, 0)
            w = tl.load(weight + (place % n_inputs)[:, None] * n_out + j, mask=each, other=0)
            slew = w * (1 - decay * lag) * (tl.exp(-decay * lag) / steep)
            slew = tl.minimum(tl.maximum(slew, -clip), clip)
            slew *= tl.load(upstream + row + j, mask=each, other=0)
            total += tl.sum(tl.where(inside, slew, 0), axis=1)
            low += TILE
        k += 1
    tl.store(found + b * (n_all - since) + i - since, total, mask=here)


def cross(neuron: Alpha, spikes: Sorted, weight: Tensor) -> Crossing:
    """Find the first crossings.

    Raises:
        ValueError: if the tensors are neither on a CUDA device nor interpreted.
    """
    _check(weight)
    (batch, rows, n_inputs), n_out = spikes.times.shape, weight.shape[1]
    out = Crossing(
        *(weight.new_empty((batch, rows, n_out), dtype=d) for d in (None, torch.int32, None))
    )
    block = min(NEURONS, triton.next_power_of_2(n_out))
    grid = (batch * rows, triton.cdiv(n_out, block))
    tensors = (*spikes, weight.contiguous(), _numbers(neuron, weight), *out)
    if out.time.numel():
        with torch.cuda.device_of(weight):
            _forward[grid](
                *tensors,
                n_inputs,
                n_out,
                DECAYS=neuron.decay > 0,
                NEAR=_near(weight),
                ASK=ASK,
                NEURONS=block,
                num_warps=1,
            )
    return out


def back(
    neuron: Alpha, run: Causes, upstream: Tensor, n_all: int, since: int
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the weight and of the input times from `since` on."""
    (n_rows, n_inputs), n_out = run.index.shape, run.weight.shape[1]
    pairs, tiles = len(upstream) * n_rows, (triton.cdiv(n_inputs, TILE), triton.cdiv(n_out, TILE))
    chunks = min(pairs, triton.cdiv(PROGRAMS, tiles[0] * tiles[1]))
    parts = run.weight.new_empty(chunks, n_inputs, n_out)
    found = run.weight.new_empty(len(upstream), n_all - since)
    numbers, index = _numbers(neuron, run.weight), run.index.contiguous()
    seen = (upstream, run.time, run.last, run.slope, numbers)
    with torch.cuda.device_of(upstream):
        if pairs:
            sizes = (pairs, n_rows, n_all, n_inputs, n_out, chunks)
            _weight_gradient[(*tiles, chunks)](run.times, index, *seen, parts, *sizes, TILE=TILE)
        if found.numel():
            inputs, seen_at = index.flatten().sort(stable=True)
            every = torch.arange(n_all + 1, dtype=inputs.dtype, device=inputs.device)
            _time_gradient[(len(upstream), triton.cdiv(n_all - since, TILE))](
                run.times,
                seen_at,
                torch.searchsorted(inputs, every),
                run.weight.contiguous(),
                *seen,
                found,
                n_rows,
                n_all,
                n_inputs,
                n_out,
                since,
                TILE=TILE,
                num_warps=8,
            )
    return parts.sum(dim=0), found


def _near(weight: Tensor) -> float:
    """Return where the series of `_grade` begins: eps ** (1/8), as in `baselines.kernels`."""
    return 0.01 if weight.dtype is torch.float64 else 0.14


def _numbers(neuron: Alpha, weight: Tensor) -> Tensor:
    return torch.tensor(neuron, dtype=weight.dtype, device=weight.device)


def _check(weight: Tensor) -> None:
    if weight.device.type != "cuda" and not triton.knobs.runtime.interpret:
        raise ValueError(
            f"Triton's kernels run on CUDA, these tensors are on {weight.device}. Move them there, "
            "or set TRITON_INTERPRET=1 before Triton is imported to have them interpreted."
        )
    if weight.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"Triton's kernels take float32 and float64, got {weight.dtype}.")
