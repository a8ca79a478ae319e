"""NumPy arrays as NPY files, without pickle (NumPy Enhancement Proposal 1)."""

from __future__ import annotations

import io
import sys
from typing import Any

NAMES = ("npy",)


def encode(value: Any) -> tuple[str, bytes] | None:
    """The bytes of an array of numbers, texts or records; None for anything else, arrays of objects included."""
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray or value.dtype.hasobject:
        return None
    into = io.BytesIO()
    try:
        numpy.lib.format.write_array(into, value, allow_pickle=False)
    except (ValueError, TypeError):  # types of plugins that NPY cannot name
        return None
    return "npy", into.getvalue()


def decode(name: str, data: bytes) -> Any:  # noqa: ARG001  there is one
    """The array."""
    import numpy as np

    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
