"""Formats of values: how what a step gave becomes bytes, and a value again, equal to what it was.

json: what JSON has, and tuples, dicts with any keys, dates, decimals, bytes, sets, enums, dataclasses, NumPy scalars.
text, bytes. arrow, series, lazy: Polars. npy: arrays. file: a path stands for the content there.
sklearn, lightgbm, xgboost, onnx: models. parts: lists, tuples, dicts and dataclasses that hold any of these.

Nothing is pickled. A library is looked for only where it is loaded already: a value of its types exists only then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tidemill.core import extend
from tidemill.flow import arrow
from tidemill.flow.formats import arrays, files, models, plain

LONG_TEXT = 4096  # letters; longer texts are no JSON


class Format(Protocol):
    """An extension point ("value_format"): values of some types to bytes, and back.

    Contract
        Round trip: `decode(encode(value))` equals `value` and is of the same type.
        Determinism: equal values give equal bytes, in every process: what follows a step is run again only when the
        bytes of its result changed.
        Safety: `decode` runs no code out of the bytes (no pickle).
        Lightness: `fits` imports nothing; it is asked of every value that no format of ours takes.
    """

    name: str

    def fits(self, value: Any) -> bool:  # Any: whatever a step returned
        """Whether it takes this value."""
        ...

    def encode(self, value: Any) -> bytes:
        """The bytes."""
        ...

    def decode(self, data: bytes) -> Any:
        """The value."""
        ...


def encode(value: Any) -> tuple[str, bytes] | None:  # Any: whatever a step returned
    """The name of the format and the bytes; None where no format takes the value: it is not stored then."""
    if type(value) is bytes:
        return "bytes", value
    if type(value) is str and len(value) > LONG_TEXT:
        try:
            return "text", value.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape
            pass
    if plain.maybe(value):
        try:
            return "json", plain.dumps(plain.tagged(value, _refuse))
        except plain.NotPlain:
            return _parts(value)
    return _whole(value)


def decode(name: str, data: bytes) -> Any:
    """The value. Raises BadInput for a format that is not installed, MissingExtra for a library that is not."""
    if name == "json":
        return plain.loads(data, _refuse)
    if name == "bytes":
        return data
    if name == "text":
        return data.decode()
    if name == "parts":
        skeleton, parts = plain.unjoined(data)
        return plain.loads(skeleton, lambda place: decode(*parts[place]))
    for known in (arrow, arrays, files, models):
        if name in known.NAMES:
            return known.decode(name, data)
    return extend.load("value_format", name)().decode(data)


def _parts(value: Any) -> tuple[str, bytes] | None:
    parts: list[tuple[str, bytes]] = []

    def put(leaf: Any) -> int:
        found = _whole(leaf)
        if found is None:
            raise plain.NotPlain(leaf)
        parts.append(found)
        return len(parts) - 1

    try:
        skeleton = plain.dumps(plain.tagged(value, put))
    except plain.NotPlain:
        return None
    return "parts", plain.joined(skeleton, parts)


def _whole(value: Any) -> tuple[str, bytes] | None:
    encoders: tuple[Callable[[Any], tuple[str, bytes] | None], ...] = (
        arrow.encode,
        arrays.encode,
        files.encode,
        models.encode,
        _by_plugin,
    )
    for each in encoders:
        found = each(value)
        if found is not None:
            return found
    return None


def _by_plugin(value: Any) -> tuple[str, bytes] | None:
    for name in extend.names("value_format"):
        form: Format = extend.load("value_format", name)()
        if form.fits(value):
            return name, form.encode(value)
    return None


def _refuse(leaf: Any) -> Any:
    raise plain.NotPlain(leaf)


__all__ = ["Format", "decode", "encode"]
