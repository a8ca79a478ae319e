"""Values as files that a person can look at: tables, figures, images, sound, confusion matrices."""

from __future__ import annotations

import io
import json
import wave
import zlib
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Any

from tidemill.core.errors import BadInput


def named(name: str, suffix: str) -> str:
    """The name, with the suffix where it has none."""
    return name if PurePosixPath(name).suffix else name + suffix


def table(rows: Any) -> bytes:  # Any: a Polars or Arrow table, a mapping of columns, a sequence of rows
    """A table as Parquet. Raises BadInput for what is none."""
    import polars as pl

    try:
        frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise BadInput(f"a {type(rows).__name__} cannot be kept as a table: {error}") from error
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def figure(given: Any) -> tuple[str, bytes]:  # Any: a figure of Matplotlib or Plotly, neither of which we need
    """A figure's suffix and bytes. Raises BadInput for what is none."""
    if hasattr(given, "savefig"):
        out = io.BytesIO()
        given.savefig(out, format="png", bbox_inches="tight")
        return ".png", out.getvalue()
    if hasattr(given, "to_plotly_json"):
        return ".plotly.json", str(given.to_json()).encode()
    raise BadInput(f"a {type(given).__name__} is no figure; give one of Matplotlib or Plotly, or an image as an array")


def image(pixels: Any) -> bytes:  # Any: what numpy.asarray takes
    """An image as PNG: shape (height, width) or (height, width, 1, 3 or 4); bytes 0..255, or floats 0..1, clipped.

    Format: W3C, Portable Network Graphics, third edition, 2025.
    """
    import numpy as np

    array = np.asarray(pixels)
    if array.dtype.kind == "f":
        array = np.clip(np.nan_to_num(array) * 255.0 + 0.5, 0, 255).astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    kinds = {2: {0: 0}, 3: {3: 2, 4: 6}}  # channels to PNG's colour types
    channels = array.shape[2] if array.ndim == 3 else 0
    if array.dtype not in (np.uint8, np.bool_) or channels not in kinds.get(array.ndim, {}) or 0 in array.shape:
        raise BadInput(
            f"an array of {array.dtype} with shape {array.shape} is no image; give (height, width) or "
            "(height, width, 3 or 4), as uint8 or floats from 0 to 1"
        )
    array = array.astype(np.uint8) * (255 if array.dtype == np.bool_ else 1)
    lines = np.ascontiguousarray(array).reshape(array.shape[0], -1)
    raw = np.hstack([np.zeros((len(lines), 1), np.uint8), lines]).tobytes()  # filter 0 before each line
    header = array.shape[1].to_bytes(4, "big") + array.shape[0].to_bytes(4, "big")
    header += bytes([8, kinds[array.ndim][channels], 0, 0, 0])
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(raw, 6)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def audio(samples: Any, rate: int) -> bytes:  # Any: what numpy.asarray takes
    """Sound as WAV, 16 bits: shape (n,) or (n, channels); int16, or floats from -1 to 1, clipped. rate: a second."""
    import numpy as np

    array = np.asarray(samples)
    if array.dtype.kind == "f":
        array = np.round(np.clip(np.nan_to_num(array), -1.0, 1.0) * 32767).astype(np.int16)
    if array.dtype != np.int16 or array.ndim not in (1, 2) or rate < 1:
        raise BadInput(
            f"an array of {array.dtype} with shape {array.shape} at {rate} Hz is no sound; give (n,) or (n, channels) "
            "of int16, or floats from -1 to 1"
        )
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1 if array.ndim == 1 else array.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.ascontiguousarray(array).astype("<i2").tobytes())
    return out.getvalue()


def confusion(truth: Collection[Any], predicted: Collection[Any]) -> Mapping[str, Any]:
    """{"labels", "counts"}: counts[i][j] rows of truth labels[i] were predicted as labels[j]."""
    if len(truth) != len(predicted):
        raise BadInput(f"{len(truth)} labels and {len(predicted)} predictions; give one prediction a label")
    pairs = Counter(zip(map(_plain, truth), map(_plain, predicted), strict=True))
    labels = sorted({label for pair in pairs for label in pair}, key=lambda label: (str(type(label)), label))
    return {"labels": labels, "counts": [[pairs[row, column] for column in labels] for row in labels]}


def _plain(label: Any) -> Any:  # Any: a label, as Python or NumPy has it
    made = label.item() if hasattr(label, "item") else label
    json.dumps(made)  # a label is text, a number or a truth value
    return made


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
