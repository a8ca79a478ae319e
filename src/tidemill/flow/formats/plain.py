"""Values as JSON that says their types where JSON has none: {"~": "tuple", "v": [1, 2]}.

Equal bytes mean equal values of equal types: True is not 1, (1,) is not [1], a dict keeps its order. Instances of
dataclasses, named tuples and enums carry the digest of their class's code: a step that gets one may call its
methods, so it is run again when they change.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import pathlib
import struct
import sys
import uuid
from collections.abc import Callable
from importlib import import_module
from typing import Any

from tidemill.core.errors import Corrupt, Refused
from tidemill.flow.caching import modules, origins
from tidemill.flow.caching.keys import reached

MARK = "~"
LONG_INT_BITS = 10_000  # Python itself refuses to read longer ones as text
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_ASCII = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False)
_SAME = frozenset({bool, str, type(None)})
_HELD = frozenset({list, tuple, dict, set, frozenset, int, float, bytes, complex, range, *_SAME})


class NotPlain(Exception):
    """A part of the value has no form here."""


def maybe(value: Any) -> bool:
    """Whether it, or what it holds, may have this form; False for arrays, tables, models."""
    kind = type(value)
    if kind in _HELD or kind in _TEXTS or kind in (datetime.datetime, datetime.time, datetime.timedelta, bytearray):
        return True
    if dataclasses.is_dataclass(kind) or isinstance(value, enum.Enum) or _is_named(kind):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def dumps(tree: Any) -> bytes:
    """The bytes of a tagged tree."""
    try:
        return _ENCODER.encode(tree).encode()
    except UnicodeEncodeError:
        return _ASCII.encode(tree).encode()


def loads(data: bytes, part: Callable[[Any], Any]) -> Any:
    """The value of the bytes. part: the part at a place. Raises Refused for a class that is not the user's.

    Marks are resolved from the inside out as the JSON is read, so a list of numbers is read as fast as JSON is.
    """

    def of_object(tree: dict[str, Any]) -> Any:
        return _marked(tree, part) if MARK in tree else tree

    return json.loads(data, object_hook=of_object)


def tagged(value: Any, other: Callable[[Any], Any]) -> Any:
    """The value as JSON. other: the place of a part that has no such form, or raises NotPlain."""
    kind = type(value)
    if kind in _SAME:
        return value
    if kind is int:
        return value if value.bit_length() < LONG_INT_BITS else _mark("int", hex(value))
    if kind is float:
        return value if math.isfinite(value) else _mark("float", struct.pack("<d", value).hex())
    if kind is list:
        return [tagged(each, other) for each in value]
    if kind is dict:
        if MARK not in value and all(type(name) is str for name in value):
            return {name: tagged(each, other) for name, each in value.items()}
        return _mark("dict", [[tagged(name, other), tagged(each, other)] for name, each in value.items()])
    if kind is tuple:
        return _mark("tuple", [tagged(each, other) for each in value])
    if kind in (set, frozenset):
        inside = [tagged(each, other) for each in value]
        return _mark(kind.__name__, sorted(inside, key=lambda each: dumps(each)))
    if kind in (bytes, bytearray):
        return _mark(kind.__name__, base64.b64encode(value).decode())
    if kind in _TEXTS:
        return _mark(_TEXTS[kind][0], _TEXTS[kind][1](value))
    return _time(value, kind) or _instance(value, kind, other) or _mark("part", other(value))


def _marked(tree: dict[str, Any], part: Callable[[Any], Any]) -> Any:
    """The value of an object with a mark, whose inside is values already."""
    mark, held = tree[MARK], tree["v"]
    if mark == "part":
        return part(held)
    if mark == "dict":
        return dict(held)
    if mark in _MANY:
        return _MANY[mark](held)
    if mark in _READ:
        return _READ[mark](held)
    if mark in ("datetime", "time"):
        return _time_of(tree)
    if mark == "numpy":
        import numpy as np

        return np.frombuffer(base64.b64decode(held), dtype=_dtype(tree["dtype"]))[0]
    return _instance_of(tree)


def joined(skeleton: bytes, parts: list[tuple[str, bytes]]) -> bytes:
    """A tree and the parts that it points to, as one: the length of a JSON head, the head, then the parts."""
    head = dumps([len(skeleton), [[name, len(data)] for name, data in parts]])
    return b"".join([struct.pack("<Q", len(head)), head, skeleton, *(data for _, data in parts)])


def unjoined(data: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The tree and its parts."""
    (length,) = struct.unpack_from("<Q", data)
    size, lengths = json.loads(data[8 : 8 + length])
    at = 8 + length + size
    parts: list[tuple[str, bytes]] = []
    for name, each in lengths:
        parts.append((name, data[at : at + each]))
        at += each
    if at != len(data):
        raise Corrupt(f"a value of {len(lengths)} parts has {len(data)} bytes, its head says {at}; run the step again")
    return data[8 + length : 8 + length + size], parts


# ------------------------------------------------------------------------------------------------ types as texts

_TEXTS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    datetime.date: ("date", str),
    datetime.timedelta: ("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    decimal.Decimal: ("decimal", str),
    fractions.Fraction: ("fraction", str),
    uuid.UUID: ("uuid", str),
    complex: ("complex", lambda value: struct.pack("<dd", value.real, value.imag).hex()),
    range: ("range", lambda value: [value.start, value.stop, value.step]),
}
_READ: dict[str, Callable[[Any], Any]] = {
    "date": datetime.date.fromisoformat,
    "timedelta": lambda held: datetime.timedelta(*held),
    "decimal": decimal.Decimal,
    "fraction": fractions.Fraction,
    "uuid": uuid.UUID,
    "complex": lambda held: complex(*struct.unpack("<dd", bytes.fromhex(held))),
    "range": lambda held: range(*held),
    "int": lambda held: int(held, 16),
    "float": lambda held: struct.unpack("<d", bytes.fromhex(held))[0],
    "bytes": base64.b64decode,
    "bytearray": lambda held: bytearray(base64.b64decode(held)),
    "path": pathlib.Path,
}
_MANY: dict[str, Callable[[Any], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def _mark(mark: str, value: Any, **more: Any) -> dict[str, Any]:
    return {MARK: mark, "v": value, **more}


def _time(value: Any, kind: type) -> dict[str, Any] | None:
    if kind not in (datetime.datetime, datetime.time):
        return None
    zone = value.tzinfo
    if zone is None:
        return _mark(kind.__name__, value.isoformat(), fold=value.fold)
    if type(zone) is datetime.timezone and zone == datetime.UTC:
        return _mark(kind.__name__, value.replace(tzinfo=None).isoformat(), zone="UTC", fold=value.fold)
    if type(zone) is datetime.timezone:
        return _mark(kind.__name__, value.isoformat(), fold=value.fold)
    if type(zone).__module__.startswith("zoneinfo") and getattr(zone, "key", None):
        plain = value.replace(tzinfo=None).isoformat()
        return _mark(kind.__name__, plain, place=zone.key, fold=value.fold)
    return None


def _time_of(tree: dict[str, Any]) -> Any:
    kind = datetime.datetime if tree[MARK] == "datetime" else datetime.time
    value = kind.fromisoformat(tree["v"]).replace(fold=tree["fold"])
    if "zone" in tree:
        return value.replace(tzinfo=datetime.UTC)
    if "place" in tree:
        from zoneinfo import ZoneInfo

        return value.replace(tzinfo=ZoneInfo(tree["place"]))
    return value


# ------------------------------------------------------------------------------------------------ instances of classes


def _instance(value: Any, kind: type, other: Callable[[Any], Any]) -> dict[str, Any] | None:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        if value.dtype.hasobject:
            return None
        return _mark("numpy", base64.b64encode(value.tobytes()).decode(), dtype=_dtype_name(value.dtype))
    if isinstance(value, enum.Enum):
        if isinstance(value, enum.Flag) and value.name not in type.__getattribute__(kind, "__members__"):
            return _of_class("flag", kind, value.value)
        return _of_class("enum", kind, value.name)
    if _is_named(kind):
        return _of_class("named", kind, [tagged(each, other) for each in value])
    if not dataclasses.is_dataclass(kind):
        return None
    names = [each.name for each in dataclasses.fields(kind)]
    if set(getattr(value, "__dict__", ())) - set(names):
        return None  # it holds more than its fields
    return _of_class(
        "data", kind, {name: tagged(getattr(value, name), other) for name in names if hasattr(value, name)}
    )


def _instance_of(tree: dict[str, Any]) -> Any:
    kind = _class_named(tree["class"])
    held = tree["v"]
    if tree[MARK] == "enum":
        return kind[held]
    if tree[MARK] == "flag":
        return kind(held)
    if tree[MARK] == "named":
        return tuple.__new__(kind, held)
    if tree[MARK] != "data":
        raise Corrupt(f"a value is marked {tree[MARK]!r}, which no format of this version writes; upgrade tidemill")
    made: Any = object.__new__(kind)
    for name, each in held.items():
        object.__setattr__(made, name, each)
    return made


def _of_class(mark: str, kind: type, value: Any) -> dict[str, Any] | None:
    """None for a class that could not be found again, or whose methods cannot be followed."""
    origin = origins.of_object(kind)
    if modules.found(kind) is not kind or (origin is not None and origin is not origins.TIDEMILL):
        return None
    if origin is not None:
        return _mark(mark, value, **{"class": f"{kind.__module__}:{kind.__qualname__}"})
    code = reached(kind)
    if code.reason is not None:
        return None
    module = sys.modules[kind.__module__]
    return _mark(mark, value, **{"class": f"{modules.name_of(module)}:{kind.__qualname__}"}, code=code.digest)


def _class_named(name: str) -> Any:
    module_name, _, qualname = name.partition(":")
    main = sys.modules.get("__main__")
    if main is not None and modules.name_of(main) == module_name:
        module = main
    else:
        origin = origins.of_named(module_name)
        if origin is not None and origin is not origins.TIDEMILL:
            raise Refused(
                f"a value is of class {name}, which is of {origin.name}; only your own classes are made again"
            )
        module = import_module(module_name)
    found: Any = module
    for each in qualname.split("."):
        found = getattr(found, each)
    if not isinstance(found, type) or not (
        dataclasses.is_dataclass(found) or issubclass(found, enum.Enum) or _is_named(found)
    ):
        raise Refused(
            f"a value is of {name}, which is no dataclass, named tuple or enum (any more); run its step again"
        )
    return found


def _is_named(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields") and hasattr(kind, "_make")


def _dtype_name(dtype: Any) -> Any:
    return dtype.descr if dtype.names else dtype.str


def _dtype(name: Any) -> Any:
    import numpy as np

    return np.dtype([tuple(each) for each in name] if isinstance(name, list) else name)
