"""Bytes and arrays as text that a page can hold."""

import base64
from typing import Any

import numpy as np


def base64_of(content: bytes) -> str:
    """Return bytes in base64.

    Example:
        >>> base64_of(b"rank")
        'cmFuaw=='
    """
    return base64.b64encode(content).decode()


def packed(array: Any, dtype: str) -> str:
    """Return an array in base64, row by row, little-endian; the script knows its shape.

    Raises:
        ValueError: if the dtype cannot hold its numbers exactly.

    Example:
        >>> packed([[0.0, 1.0]], "<f2")
        'AAAAPA=='
    """
    given = np.asarray(array)
    made = np.ascontiguousarray(given.astype(dtype))
    if not np.array_equal(made.astype(given.dtype), given):
        raise ValueError(
            f"The page holds numbers as {dtype}, and these are finer. Round the network first: "
            "rc_snn.formats.half.round_to_half."
        )
    return base64_of(made.tobytes())
