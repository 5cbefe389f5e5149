"""Compiled event kernels of the spiking baselines: sort, first spikes, gradients, on numpy arrays.

Everything here is numba; what it computes is defined in `baselines.alpha_psp` and
`baselines.rel_psp`, whose tensor paths the tests hold it to. Compiled code cannot take the
shape checks of the tests: `@no_type_check`.

A row is one neuron population's view of one sample: a dense layer has one row per sample, a
convolution one per place. All neurons of a row see the same inputs, sorted once; each input costs
one pass over a block of neurons, until all of the block have fired. So the cost follows the spikes
that arrive before the output spike.

Shapes: B samples, L rows per sample, N inputs of a row, J neurons of a row.
"""

import math
from typing import no_type_check

import numba
import numpy as np

from rc_snn.fast.kernels import compiled, exp

BLOCK = 64
"""Neurons that one task advances together: their state stays in registers and L1 cache."""


@numba.njit(inline="always")
@no_type_check
def _gather(source, index, times, order):
    """Collect the inputs of a row that spike; return how many, or -1 if a time is none."""
    n = 0
    for i in range(len(index)):
        t = source[index[i]]
        if not t >= 0:
            return -1
        if t < np.inf:
            times[n] = t
            order[n] = i
            n += 1
    return n


@no_type_check
def _sort(spikes, index, times, order, count):
    """Sort the inputs of every row: spikes [B, all], index [L, N] -> times, order [B, L, N].

    A row with a time that is NaN or negative, which has no bucket, is left with the count -1.

    Buckets first, then insertion. Buckets divide t / (1 + t), which spreads a frame and whatever
    comes long after it; equal times keep the order of the inputs.
    """
    n_rows, n_inputs = index.shape
    for b in numba.prange(len(spikes)):
        raw, place = np.empty(n_inputs, spikes.dtype), np.empty(n_inputs, np.int32)
        bucket, start = np.empty(n_inputs, np.int32), np.empty(2 * n_inputs + 2, np.int32)
        for r in range(n_rows):
            n = _gather(spikes[b], index[r], raw, place)
            count[b, r] = n
            start[: 2 * n + 2] = 0
            for i in range(n):
                bucket[i] = min(2 * n, int(2 * n * (raw[i] / (raw[i] + 1))))
                start[bucket[i] + 1] += 1
            for k in range(2 * n + 1):
                start[k + 1] += start[k]
            t, o = times[b, r], order[b, r]
            for i in range(n):
                at = start[bucket[i]]
                start[bucket[i]] += 1
                t[at], o[at] = raw[i], place[i]
            for i in range(1, n):
                x, y, at = t[i], o[i], i
                while at > 0 and t[at - 1] > x:
                    t[at], o[at] = t[at - 1], o[at - 1]
                    at -= 1
                t[at], o[at] = x, y


sort_rows = compiled(_sort)


@compiled
@no_type_check
def beyond(order, count):
    """Say of which samples a row has more inputs that spike than inputs, or one that is none."""
    n_rows, n_inputs = order.shape[1:]
    found = np.zeros(len(order), np.int8)
    for b in numba.prange(len(order)):
        for r in range(n_rows):
            bad = np.int8(count[b, r] < 0 or count[b, r] > n_inputs)
            o = order[b, r]
            for e in range(min(count[b, r], n_inputs)):  # what is behind them nobody has written
                bad |= np.int8((o[e] < 0) | (o[e] >= n_inputs))
            found[b] |= bad
    return found


@numba.njit(inline="always")
@no_type_check
def _add_group(slope, weight, part, order, times, first, n):
    """Add the weights of all inputs that spike at the time of the first; return the next one."""
    end = first
    while end < n and times[end] == times[first]:
        w = weight[order[end], part]
        for j in range(len(w)):
            slope[j] += w[j]
        end += 1
    return end


# -- ReL-PSP: K(s) = s --------------------------------------------------------------------------


@no_type_check
def _rel_forward(times, order, count, weight, theta, out, causal, slope):
    """First spikes of ramps: potential and slope are advanced from input to input."""
    n_rows, n_out = times.shape[1], weight.shape[1]
    n_blocks = (n_out + BLOCK - 1) // BLOCK
    zero, one, never = weight.dtype.type(0), weight.dtype.type(1), weight.dtype.type(np.inf)
    for b in numba.prange(len(times)):
        v, s = np.empty(BLOCK, weight.dtype), np.empty(BLOCK, weight.dtype)
        level = np.empty(BLOCK, weight.dtype)
        for task in range(n_rows * n_blocks):
            r, low = task // n_blocks, task % n_blocks * BLOCK
            width = min(BLOCK, n_out - low)
            part = slice(low, low + width)
            t, o, n = times[b, r], order[b, r], count[b, r]
            at, grade, cause = out[b, r, part], slope[b, r, part], causal[b, r, part]
            at[:], grade[:], cause[:] = never, one, 0
            v[:], s[:], level[:] = zero, zero, theta
            first, left = 0, width
            while first < n and left > 0:
                end = _add_group(s, weight, part, o, t, first, n)
                if end == n:  # nothing comes any more: whoever rises gets there
                    for j in range(width):
                        if s[j] > zero and level[j] == theta:
                            at[j], grade[j], cause[j] = t[first] + (theta - v[j]) / s[j], s[j], n
                    break
                dt, hits = t[end] - t[first], zero
                for j in range(width):
                    v[j] += s[j] * dt
                    hits += one if v[j] >= level[j] else zero
                if hits > zero:
                    for j in range(width):
                        if v[j] >= level[j]:
                            at[j] = max(t[first], t[end] - (v[j] - theta) / s[j])
                            grade[j], cause[j], level[j] = s[j], end, never
                            left -= 1
                first = end


@no_type_check
def _rel_backward(times, order, index, weight, out, causal, factor, since, d_weight, d_times):
    """Gradients; `factor` is the upstream one over the slope.

    d_weight [chunks of samples, N, J] and d_times [blocks of neurons, B, inputs from `since` on]
    hold parts, which are to be summed: which task adds where does not depend on the threads.
    """
    n_rows, n_out = times.shape[1], weight.shape[1]
    n_blocks, n_chunks = len(d_times), len(d_weight)
    zero = weight.dtype.type(0)
    for task in numba.prange(n_chunks * n_blocks):
        chunk, block = task // n_blocks, task % n_blocks
        low = block * BLOCK
        width = min(BLOCK, n_out - low)
        part = slice(low, low + width)
        c, at = np.empty(width, weight.dtype), np.empty(width, weight.dtype)
        for b in range(chunk, len(times), n_chunks):
            for r in range(n_rows):
                most = 0
                for j in range(width):
                    c[j] = factor[b, r, low + j]
                    at[j] = out[b, r, low + j] if c[j] != 0 else zero
                    if c[j] != 0:
                        most = max(most, causal[b, r, low + j])
                n = causal[b, r, part]
                for e in range(most):
                    i, t, total = order[b, r, e], times[b, r, e], zero
                    row, grad, place = weight[i, part], d_weight[chunk, i, part], np.int32(e)
                    for j in range(width):
                        x = c[j] if place < n[j] else zero
                        grad[j] += x * (t - at[j])
                        total += x * row[j]
                    if index[r, i] >= since:
                        d_times[block, b, index[r, i] - since] += total


# -- α-PSP: ε(s) = s exp(-K s) -------------------------------------------------------------------


@numba.njit(inline="always")
@no_type_check
def _excess(p, q, theta, decay):
    """Return ln(peak / θ) of exp(-K s) (q + p s), for p > 0."""
    return math.log(p / (decay * theta)) + decay * q / p - 1


@numba.njit(inline="always")
@no_type_check
def _solve(z, dtype):
    """Replace each z >= 0 by the u >= 0 with u + exp(-u) = 1 + z: Newton from a series.

    1 - exp(-u) is a series of its own near 0, where the difference would be all rounding.
    """
    one, half, third, quarter = dtype(1), dtype(0.5), dtype(1 / 3), dtype(0.25)
    fifth, sixth, tiny = dtype(0.2), dtype(1 / 6), dtype(1e-30)
    near = dtype(0.01) if z.itemsize == 8 else dtype(0.14)  # both: eps ** (1/8)
    for j in range(BLOCK):
        root = math.sqrt(z[j] + z[j])
        u = root + z[j] * third + z[j] * root * sixth * third if z[j] < one else one + z[j]
        for _ in range(3):
            series = one - quarter * u * (one - fifth * u * (one - sixth * u))
            series = u * (one - half * u * (one - third * u * series))
            grade = series if u < near else one - exp(-u)
            u -= (u - grade - z[j]) / max(grade, tiny)
        z[j] = max(u, one - one)


@no_type_check
def _alpha_forward(times, order, count, weight, theta, decay, out, causal, slope):
    """First spikes of α-PSPs: from input to input V = q and the sum of the PSPs' slopes, p.

    Between inputs V(t + s) = exp(-K s) (q + p s). A crossing is at the end of an interval, or at a
    peak inside, of which a bound that needs no exponential says whether it is worth a look. What is
    known of a crossing is noted, and solved for the whole block at its end. All loops run over the
    whole block, which lets them be vectors; what it has too many never fires.
    """
    n_rows, n_out = times.shape[1], weight.shape[1]
    n_blocks = (n_out + BLOCK - 1) // BLOCK
    dtype = weight.dtype.type
    zero, one, never, long = dtype(0), dtype(1), dtype(np.inf), dtype(1e18)
    for b in numba.prange(len(times)):
        work = np.empty((9, BLOCK), weight.dtype)
        p, q, after, level, p_at, q_at, t_at, dt_at, n_at = work
        for task in range(n_rows * n_blocks):
            r, low = task // n_blocks, task % n_blocks * BLOCK
            width = min(BLOCK, n_out - low)
            part = slice(low, low + width)
            t, o, n = times[b, r], order[b, r], count[b, r]
            p[:], q[:], n_at[:] = zero, zero, zero
            level[:width], level[width:] = theta, never
            first, left = 0, one
            while first < n and left > zero:
                end = _add_group(p, weight, part, o, t, first, n)
                dt = t[end] - t[first] if end < n else long
                fade = math.exp(-decay * dt)
                reach, left, peaks, cause = decay * dt, zero, zero, dtype(end)
                for j in range(BLOCK):
                    now, rise = fade * (q[j] + p[j] * dt), p[j] - decay * q[j]
                    up = now >= level[j]
                    p_at[j] = p[j] if up else p_at[j]
                    q_at[j] = q[j] if up else q_at[j]
                    n_at[j] = cause if up else n_at[j]
                    t_at[j] = t[first] if up else t_at[j]
                    dt_at[j] = dt if up else dt_at[j]
                    level[j] = never if up else level[j]
                    bound = rise * rise - (level[j] - q[j]) * p[j] * decay
                    inside = (rise >= zero) & (p[j] > zero) & (rise < p[j] * reach)
                    peaks += one if inside & (bound >= zero) else zero
                    left += one if level[j] == theta else zero
                    after[j] = now
                if peaks > zero:
                    for j in range(width):
                        rise = p[j] - decay * q[j]
                        if level[j] == theta and p[j] > zero and zero <= rise < p[j] * reach:
                            if _excess(p[j], q[j], theta, decay) >= 0:
                                p_at[j], q_at[j], n_at[j] = p[j], q[j], cause
                                t_at[j], dt_at[j], level[j] = t[first], dt, never
                                left -= one
                for j in range(BLOCK):
                    q[j] = after[j]
                    p[j] *= fade
                first = end
            for j in range(BLOCK):
                q[j] = max(zero, dtype(_excess(p_at[j], q_at[j], theta, decay))) if n_at[j] else one
            _solve(q, dtype)
            for j in range(width):
                causal[b, r, low + j] = int(n_at[j])
                if n_at[j]:
                    u = q[j]
                    s = math.exp(-u) / decay - q_at[j] / p_at[j]
                    out[b, r, low + j] = t_at[j] + max(zero, min(s, dt_at[j]))
                    slope[b, r, low + j] = theta * decay * math.expm1(u)
                else:
                    out[b, r, low + j], slope[b, r, low + j] = never, one


@numba.njit(inline="always")
@no_type_check
def _fades(faded, out, t, t0, ends, decay):
    """Write exp(-K (t_out - t)) of all neurons: a product, unless its factors would overflow."""
    if ends[0] > 0:
        early = math.exp(decay * (t - t0))
        for j in range(len(faded)):
            faded[j] = early * ends[j]
    else:
        for j in range(len(faded)):
            faded[j] = math.exp(-decay * (out[j] - t))


@no_type_check
def _alpha_backward(
    times, order, index, weight, out, causal, slope, upstream, decay, clip, since, d_weight, d_times
):
    """Gradients; both derivatives are clipped before the upstream gradient multiplies them.

    d_weight and d_times hold parts, as in `_rel_backward`.
    """
    n_rows, n_out = times.shape[1], weight.shape[1]
    n_blocks, n_chunks = len(d_times), len(d_weight)
    zero, one, tiny = weight.dtype.type(0), weight.dtype.type(1), weight.dtype.type(1e-30)
    for task in numba.prange(n_chunks * n_blocks):
        chunk, block = task // n_blocks, task % n_blocks
        low = block * BLOCK
        width = min(BLOCK, n_out - low)
        part = slice(low, low + width)
        at, ends = np.empty(width, weight.dtype), np.empty(width, weight.dtype)
        up, steep = np.empty(width, weight.dtype), np.empty(width, weight.dtype)
        faded = np.empty(width, weight.dtype)
        for b in range(chunk, len(times), n_chunks):
            for r in range(n_rows):
                most, far, t0, n = 0, zero, times[b, r, 0], causal[b, r, part]
                for j in range(width):
                    fired = n[j] > 0
                    up[j] = upstream[b, r, low + j] if fired else zero
                    at[j] = out[b, r, low + j] if fired else t0
                    steep[j] = one / max(slope[b, r, low + j], tiny)
                    ends[j] = math.exp(-decay * (at[j] - t0))
                    far = max(far, at[j] - t0)
                    most = max(most, n[j])
                if decay * far > 80:
                    ends[:] = zero
                for e in range(most):
                    i, t, place = order[b, r, e], times[b, r, e], np.int32(e)
                    _fades(faded, at, t, t0, ends, decay)
                    grad = d_weight[chunk, i, part]
                    for j in range(width):
                        slew = (t - at[j]) * faded[j] * steep[j]
                        slew = -clip if slew < -clip else slew
                        grad[j] += slew * up[j] if place < n[j] else zero
                    if index[r, i] >= since:
                        row, total = weight[i, part], zero
                        for j in range(width):
                            slew = row[j] * (one - decay * (at[j] - t)) * faded[j] * steep[j]
                            slew = -clip if slew < -clip else slew
                            slew = clip if slew > clip else slew
                            total += slew * up[j] if place < n[j] else zero
                        d_times[block, b, index[r, i] - since] += total


rel_forward = compiled(_rel_forward, reorder=True)
rel_backward = compiled(_rel_backward, reorder=True)
alpha_forward = compiled(_alpha_forward, reorder=True)
alpha_backward = compiled(_alpha_backward, reorder=True)
