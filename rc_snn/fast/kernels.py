"""Compiled kernels of the fast path: event-driven products and fused gates, on numpy arrays.

Everything here is numba; shapes and meaning are those of the callers, `rc_snn.fast.event_products`
and `rc_snn.fast.fused`. Compiled code cannot take the shape checks of the tests: `@no_type_check`.
"""

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any, no_type_check

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import event, types
from numba.core.config import NUMBA_NUM_THREADS
from numba.extending import intrinsic, overload

from rc_snn.progress import say

_SAMPLES = 16
"""Samples whose kernel gradients are summed by one thread; fixed, so results do not depend on
the number of threads."""


class _Notice(event.Listener):  # type: ignore[misc]
    """Says, once and before it happens, that kernels are compiled: the first call waits for it."""

    def on_start(self, about: Any) -> None:
        """Speak of ours; libraries compile, too."""
        kernel = about.data["dispatcher"]
        if kernel.py_func.__module__.split(".")[0] in ("rc_snn", "baselines"):
            event.unregister("numba:compile", self)
            kept = kernel.stats.cache_path  # None: there is no place that can be written
            once = f"once; cached in {kept}" if kept else "in each process: there is no cache"
            say(f"compiling kernels, a few seconds each and about 20 s in all, {once}")

    def on_end(self, about: Any) -> None:
        """Say no more."""


NOTICE = _Notice()
event.register("numba:compile", NOTICE)


@numba.njit(inline="always")
@no_type_check
def _add(target, source):
    for j in range(len(target)):  # from 0: an index that may be negative is not vectorised
        target[j] += source[j]


@numba.njit(inline="always")
@no_type_check
def _subtract(target, source):
    for j in range(len(target)):
        target[j] -= source[j]


def compiled(function: Callable[..., Any], *, reorder: bool = False) -> Callable[..., Any]:
    """Compile a kernel: vectorised, cached on disk, on as many threads as torch uses.

    With one thread it is the serial program: numba's idle workers would wait on a busy core.
    `reorder` lets sums run in any order, which vectorises them; the order is that of the machine's
    registers, not of its threads.
    """
    fastmath = {"contract", "nsz", "arcp"} | ({"reassoc"} if reorder else set())
    options: Any = {"cache": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        serial = numba.njit(**options)(function)
    except RuntimeError:  # no place for a cache: see `rc_snn.fast.cache_folder`
        options["cache"] = False
        serial = numba.njit(**options)(function)
    parallel = numba.njit(parallel=True, **options)(_twin(function))

    def call(*args: Any) -> Any:
        threads = min(torch.get_num_threads(), NUMBA_NUM_THREADS)
        if threads == 1:
            return serial(*args)
        numba.set_num_threads(threads)
        return parallel(*args)

    return call


def _twin(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same function under another name.

    numba's cache knows a program by name, place and types, not by its options. Under one name a
    process would load as serial what another has compiled as parallel, and with it numba's pool,
    which sets the number of threads of the whole process.
    """
    twin = FunctionType(function.__code__, function.__globals__, function.__name__)
    twin.__qualname__ = f"{function.__qualname__}_parallel"
    return twin


# -- W @ x_t ------------------------------------------------------------------------------------


@numba.njit(inline="always")
@no_type_check
def _add_columns(target, columns, inputs, part, sign):
    """Add sign times the columns of these inputs, eight at a time: target is read once for all."""
    n = len(inputs)
    whole = n - n % 8
    for e in range(0, whole, 8):
        w0, w1 = columns[inputs[e], part], columns[inputs[e + 1], part]
        w2, w3 = columns[inputs[e + 2], part], columns[inputs[e + 3], part]
        w4, w5 = columns[inputs[e + 4], part], columns[inputs[e + 5], part]
        w6, w7 = columns[inputs[e + 6], part], columns[inputs[e + 7], part]
        for j in range(len(target)):
            first = (w0[j] + w1[j]) + (w2[j] + w3[j])
            target[j] += sign * (first + ((w4[j] + w5[j]) + (w6[j] + w7[j])))
    for e in range(whole, n):
        w0 = columns[inputs[e], part]
        for j in range(len(target)):
            target[j] += sign * w0[j]


@compiled
@no_type_check
def linear_add(order, starts, index, step, columns, total, fresh, out, width):
    """Add `W @ x_t` to out, or write it where out is fresh; see `LinearEvents.add`."""
    n_inputs, n_out = columns.shape
    one = columns.dtype.type(1)
    for block in numba.prange((n_out + width - 1) // width):
        part = slice(block * width, min(n_out, (block + 1) * width))
        for b in range(len(index)):
            row, target = index[b], out[b, part]
            first, last = starts[row, step], starts[row, step + 1]
            if fresh:
                target[:] = 0
            if 2 * (last - first) > n_inputs:
                _add(target, total[part])
                _add_columns(target, columns, order[row, :first], part, -one)
                _add_columns(target, columns, order[row, last:], part, -one)
            else:
                _add_columns(target, columns, order[row, first:last], part, one)


@compiled
@no_type_check
def linear_gradient(order, starts, index, step, grad, columns, common, fresh, n_parts):
    """Add `x_t^T grad` to columns, or write it where they are fresh; see `LinearGradient`.

    What complements share goes to common. A thread owns whole rows of columns, so that their sums
    have one order, and clears them itself: the same part of the first half of the inputs and of
    the second, because those in the middle of an image have the most events.
    """
    n_inputs, n_out = columns.shape
    half = (n_inputs + 1) // 2
    for k in numba.prange(n_parts):
        low, high = half * k // n_parts, half * (k + 1) // n_parts
        part = slice(n_out * k // n_parts, n_out * (k + 1) // n_parts)
        if fresh:
            columns[low:high] = 0
            columns[half + low : half + high] = 0
        for b in range(len(index)):
            row, source = index[b], grad[b]
            first, last = starts[row, step], starts[row, step + 1]
            complement = 2 * (last - first) > n_inputs
            if complement:
                _add(common[part], source[part])
            for e in range(0 if complement else first, n_inputs if complement else last):
                i = np.int64(order[row, e])
                if not low <= (i - half if i >= half else i) < high:
                    continue
                if not complement:
                    _add(columns[i], source)
                elif not first <= e < last:
                    _subtract(columns[i], source)


# -- conv2d(x_t, W) -----------------------------------------------------------------------------


@numba.njit(inline="always")
@no_type_check
def _overlap(input_, half, height, width):
    """Return where the patch around an input lies on the grid, and which part of it does."""
    y, x = divmod(np.int64(input_), width)
    top, left = max(0, half - y), max(0, half - x)
    bottom, right = min(2 * half + 1, height - y + half), min(2 * half + 1, width - x + half)
    return y - half, x - half + left, top, bottom, left, right


@compiled
@no_type_check
def conv_add(order, starts, index, step, patch, total, fresh, out):
    """Add the convolution of x_t to out, or write it where out is fresh; see `ConvEvents.add`."""
    n, height, width, channels = out.shape
    n_inputs, half = height * width, patch.shape[0] // 2
    kernel = patch.reshape(2 * half + 1, -1)
    for b in numba.prange(n):
        row, lines = index[b], out[b].reshape(height, width * channels)
        first, last = starts[row, step], starts[row, step + 1]
        complement = 2 * (last - first) > n_inputs
        if fresh:
            out[b].reshape(-1)[:] = 0
        if complement:
            _add(out[b].reshape(-1), total.reshape(-1))
        for e in range(0 if complement else first, n_inputs if complement else last):
            if complement and first <= e < last:
                continue
            y, x, top, bottom, left, right = _overlap(order[row, e], half, height, width)
            part = slice(left * channels, right * channels)
            place = slice(x * channels, (x + right - left) * channels)
            for dy in range(top, bottom):
                if complement:
                    _subtract(lines[y + dy, place], kernel[dy, part])
                else:
                    _add(lines[y + dy, place], kernel[dy, part])


@compiled
@no_type_check
def conv_gradient(order, starts, index, step, grad, k):
    """Return the kernel's gradient in parts, complements' share left out; see `ConvGradient`."""
    n, height, width, channels = grad.shape
    n_inputs, half = height * width, k // 2
    n_parts = (n + _SAMPLES - 1) // _SAMPLES
    parts = np.zeros((n_parts, k, k * channels), grad.dtype)
    for i in numba.prange(n_parts):
        for b in range(i * _SAMPLES, min(n, (i + 1) * _SAMPLES)):
            row, lines = index[b], grad[b].reshape(height, width * channels)
            first, last = starts[row, step], starts[row, step + 1]
            complement = 2 * (last - first) > n_inputs
            for e in range(0 if complement else first, n_inputs if complement else last):
                if complement and first <= e < last:
                    continue
                y, x, top, bottom, left, right = _overlap(order[row, e], half, height, width)
                part = slice(left * channels, right * channels)
                place = slice(x * channels, (x + right - left) * channels)
                for dy in range(top, bottom):
                    if complement:
                        _subtract(parts[i, dy, part], lines[y + dy, place])
                    else:
                        _add(parts[i, dy, part], lines[y + dy, place])
    return parts


# -- Gates --------------------------------------------------------------------------------------


@intrinsic
@no_type_check
def _float_of_bits(context, bits):
    @no_type_check
    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


def exp(x: float) -> float:
    """Return e^x: a vectorised polynomial in float32 (2 ulp), the C library's in float64."""
    return math.exp(x)


@overload(exp, inline="always")
@no_type_check
def _exp_in_numba(x):
    if x != types.float32:
        return lambda x: math.exp(x)
    f32 = np.float32
    low, high, log2e, half = f32(-87.0), f32(88.0), f32(1.44269504), f32(0.5)
    ln2_high, ln2_low = f32(0.693359375), f32(-2.12194440e-4)
    # Minimax coefficients of (exp(r) - 1 - r) / r² on |r| <= ln(2) / 2: Moshier's Cephes, expf.
    p5, p4, p3 = f32(1.9875691500e-4), f32(1.3981999507e-3), f32(8.3334519073e-3)
    p2, p1, p0 = f32(4.1665795894e-2), f32(1.6666665459e-1), f32(5.0000001201e-1)
    one, bias, shift = f32(1.0), np.int32(127), np.int32(23)

    @no_type_check
    def polynomial(x):
        x = min(max(x, low), high)
        n = np.floor(x * log2e + half)
        r = (x - n * ln2_high) - n * ln2_low
        p = ((((p5 * r + p4) * r + p3) * r + p2) * r + p1) * r + p0
        return (p * r * r + r + one) * _float_of_bits((np.int32(n) + bias) << shift)

    return polynomial


@compiled
@no_type_check
def gates_forward(gates, bias, scale, c, new_c, tanh_c, h):
    """Turn the gates' products into activations in place; write c', tanh(c') and h'.

    Shapes: gates `[blocks, rows, 4, size]`, bias `[any divisor of blocks, rows, 4, size]`, scale
    `[rows, 4, size]`, the rest `[blocks, rows, size]`. tanh(x) = 2 σ(2x) - 1, so one loop serves
    all gates: `scale` is 2 for the cell gate, else 1. What takes an exponential goes through a
    whole block at once, because a loop over a few channels is too short for vectors.
    """
    n_blocks, n_rows, _, size = gates.shape
    one, two = gates.dtype.type(1), gates.dtype.type(2)
    factor = scale.reshape(-1)
    for block in numba.prange(n_blocks):
        drive, own = gates[block].reshape(-1), bias[block % len(bias)].reshape(-1)
        for k in range(len(drive)):
            x = drive[k] + own[k]
            drive[k] = factor[k] / (one + exp(-factor[k] * x)) - (factor[k] - one)
        acts = gates[block]
        new, squashed, out = new_c[block], tanh_c[block], h[block]
        for r in range(n_rows):
            if c is not None:
                before = c[block]
                for k in range(size):
                    new[r, k] = acts[r, 0, k] * acts[r, 2, k] + acts[r, 1, k] * before[r, k]
            else:
                for k in range(size):
                    new[r, k] = acts[r, 0, k] * acts[r, 2, k]
        flat, target = new.reshape(-1), squashed.reshape(-1)
        for k in range(len(flat)):
            target[k] = two / (one + exp(-two * flat[k])) - one
        for r in range(n_rows):
            for k in range(size):
                out[r, k] = acts[r, 3, k] * squashed[r, k]


@compiled
@no_type_check
def gates_backward(acts, c, tanh_c, dh, dc, dgates, dc_before, bias):
    """Write the gradients of the gates' products and of c, and add each block's rows to its bias.

    Shapes: those of `gates_forward`; bias `[blocks, 4 * size]`, zeroed, or None.
    """
    n_blocks, n_rows, _, size = acts.shape
    one = acts.dtype.type(1)
    for block in numba.prange(n_blocks):
        a, t, up, out = acts[block], tanh_c[block], dh[block], dgates[block]
        for r in range(n_rows):
            for k in range(size):
                i, f, g, o = a[r, 0, k], a[r, 1, k], a[r, 2, k], a[r, 3, k]
                to_c = up[r, k] * o * (one - t[r, k] * t[r, k])
                if dc is not None:
                    to_c += dc[block, r, k]
                out[r, 0, k] = to_c * g * i * (one - i)
                out[r, 2, k] = to_c * i * (one - g * g)
                out[r, 3, k] = up[r, k] * t[r, k] * o * (one - o)
                if c is not None:
                    out[r, 1, k] = to_c * c[block, r, k] * f * (one - f)
                    dc_before[block, r, k] = to_c * f
                else:
                    out[r, 1, k] = 0
            if bias is not None:
                _add(bias[block], out[r].reshape(-1))
