"""The state of a training as bytes, without pickle: nested dicts and lists of values, NumPy arrays, PyTorch tensors.

Layout: "TMSTATE1", the header's length (8 bytes, little-endian), the header (JSON: a tree in which every value says its
type), then the arrays' bytes, each at a multiple of 64. Equal states have equal bytes. Reading runs no code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from tidemill.core.errors import BadInput, Corrupt, MissingExtra
from tidemill.core.ids import digest

MAGIC = b"TMSTATE1"
ALIGN = 64


def encode(state: Any) -> bytes:
    """The state as bytes. Raises BadInput naming the place of a value that is none of the above.

    >>> decode(encode({"step": 3, "rates": (0.1, float("inf"))}))
    {'step': 3, 'rates': (0.1, inf)}
    """
    blocks: list[bytes] = []
    at = [0]

    def put(data: bytes) -> int:
        start = at[0]
        blocks.append(data + b"\0" * (-len(data) % ALIGN))
        at[0] += len(blocks[-1])
        return start

    tree = _tree(state, "state", put)
    header = json.dumps(tree, separators=(",", ":"), ensure_ascii=True).encode()
    header += b" " * (-(len(MAGIC) + 8 + len(header)) % ALIGN)
    return b"".join([MAGIC, len(header).to_bytes(8, "little"), header, *blocks])


def decode(data: bytes) -> Any:
    """The state back: floats to the bit, tensors on the CPU. Raises Corrupt for other bytes."""
    if data[: len(MAGIC)] != MAGIC:
        raise Corrupt(
            f"these bytes begin with {data[:8]!r}, not {MAGIC!r}: no training state, or one of a newer format"
        )
    start = len(MAGIC) + 8
    length = int.from_bytes(data[len(MAGIC) : start], "little")
    try:
        tree = json.loads(data[start : start + length])
        return _value(tree, memoryview(data)[start + length :])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise Corrupt(f"a training state cannot be read: {error}; go back to an older checkpoint") from error


def digest_of(state: Any) -> str:
    """SHA-256 of its bytes: equal states, equal digests."""
    return digest(encode(state))


def pytorch(why: str) -> Any:  # Any: an extra, whose types are not always there
    """The module torch. Raises MissingExtra, saying why it is needed."""
    try:
        return import_module("torch")
    except ImportError as error:
        raise MissingExtra(f"{why}: pip install 'tidemill[torch]'") from error


def _tree(value: Any, where: str, put: Any) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return {"f": value.hex()}
    if isinstance(value, Mapping):
        return {
            "d": [[_tree(key, where, put), _tree(each, f"{where}[{key!r}]", put)] for key, each in value.items()],
        }
    if type(value) in (list, tuple):
        tag = "l" if type(value) is list else "t"
        return {tag: [_tree(each, f"{where}[{number}]", put) for number, each in enumerate(value)]}
    if isinstance(value, bytes):
        return {"b": put(value), "n": len(value)}
    if isinstance(value, np.ndarray | np.generic) and not (value.dtype.hasobject or value.dtype.names):
        array = np.asarray(value)
        scalar = isinstance(value, np.generic)
        return {
            "a": put(array.tobytes()),
            "k": array.dtype.str,
            "s": list(array.shape),
            **({"g": True} if scalar else {}),
        }
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.layout is not torch.strided or value.is_quantized:
            raise BadInput(f"{where} is a {value.layout} tensor; a checkpoint holds dense ones: call .to_dense()")
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return {"x": put(flat.numpy().tobytes()), "k": str(value.dtype).removeprefix("torch."), "s": list(value.shape)}
    raise BadInput(
        f"{where} is a {type(value).__qualname__}; a checkpoint holds dicts, lists, tuples, plain values, NumPy arrays "
        "and PyTorch tensors: turn it into those, for example by its state_dict()"
    )


def _value(tree: Any, blocks: memoryview) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "f" in tree:
        return float.fromhex(tree["f"])
    if "d" in tree:
        return {_value(key, blocks): _value(each, blocks) for key, each in tree["d"]}
    if "l" in tree:
        return [_value(each, blocks) for each in tree["l"]]
    if "t" in tree:
        return tuple(_value(each, blocks) for each in tree["t"])
    if "b" in tree:
        return bytes(blocks[tree["b"] : tree["b"] + tree["n"]])
    if "a" in tree:
        kind = np.dtype(tree["k"])
        count = int(np.prod(tree["s"], dtype=np.int64))
        array = np.frombuffer(blocks, kind, count, tree["a"]).reshape(tree["s"]).copy()
        return array[()] if tree.get("g") else array
    return _tensor(tree, blocks)


def _tensor(tree: Mapping[str, Any], blocks: memoryview) -> Any:
    torch = pytorch("this training state holds PyTorch tensors")
    kind = getattr(torch, tree["k"])
    count = int(np.prod(tree["s"], dtype=np.int64))
    if count == 0:
        return torch.empty(tree["s"], dtype=kind)
    held = bytearray(blocks[tree["x"] : tree["x"] + count * kind.itemsize])
    return torch.frombuffer(held, dtype=kind, count=count).reshape(tree["s"])
