"""The digest of a value that code finds around it: a global, a default, what a closure holds.

Equal content has an equal digest. Functions and classes inside it stand for themselves by a label, which the caller
gives them. What has no stable content (an open file, a lock, a generator, an object of a C library) raises NoContent:
whatever it would be keyed by might stay the same while it changes.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import logging
import marshal
import operator
import pathlib
import re
import struct
import sys
import types
import typing
import uuid
import weakref
from collections.abc import Callable
from typing import Any

from tidemill.flow import arrow

_BY_REPR: tuple[type, ...] = (
    int,
    complex,
    decimal.Decimal,
    fractions.Fraction,
    datetime.date,
    datetime.time,
    datetime.datetime,
)
_BY_REPR += (
    datetime.timedelta,
    datetime.timezone,
    uuid.UUID,
    range,
    slice,
    type(None),
    bool,
    type(...),
    type(NotImplemented),
)
_SCALARS = frozenset({str, bytes, float, *_BY_REPR})
_LISTS: dict[type, str] = {list: "list", tuple: "tuple", collections.deque: "deque"}
_SETS = (set, frozenset)
_DICTS = (dict, collections.OrderedDict, types.MappingProxyType, collections.Counter)
_REDUCED = (operator.attrgetter, operator.itemgetter, operator.methodcaller)
_CALLABLES = (
    types.FunctionType,
    type,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
)
_SHARED = frozenset({tuple, frozenset, *_CALLABLES})  # whether two equal ones are one is up to the interpreter
_SLOT = (types.MemberDescriptorType, types.GetSetDescriptorType)
_HEAD = 16  # bytes of a bare object

Refer = Callable[[Any], str]


class NoContent(Exception):
    """The value, or a part of it, has no content that stays."""


class Contents:
    """One value's digest. mutable: whether a part of it can change in place. refer: labels functions and classes."""

    def __init__(self, refer: Refer) -> None:
        self.refer = refer
        self.mutable = False
        self._hash = hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []

    def digest(self, value: Any) -> str:
        """The digest of that value's content. Raises NoContent."""
        self._one(value)
        return self._hash.hexdigest()

    def _add(self, kind: str, data: bytes = b"") -> None:
        self._hash.update(f"{kind} {len(data)} ".encode())
        self._hash.update(data)

    def _one(self, value: Any) -> None:
        kind = type(value)
        if kind is str:
            self._add("str", value.encode("utf-8", "surrogatepass"))
        elif kind is float:
            self._add("float", struct.pack("<d", value))
        elif kind is bytes:
            self._add("bytes", value)
        elif kind in _SCALARS:
            self._add(kind.__name__, repr(value).encode())
        elif kind in _SHARED:
            self._other(value, kind)
        elif id(value) in self._seen:  # the same list in two places is not two equal lists, and a list may hold itself
            self._add("again", str(self._seen[id(value)]).encode())
        else:
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)
            self._other(value, kind)

    def _many(self, name: str, values: Any, length: int) -> None:
        self._add(name, str(length).encode())
        for each in values:
            self._one(each)

    def _other(self, value: Any, kind: type) -> None:
        if kind in _LISTS:
            self.mutable |= kind is not tuple
            self._many(_LISTS[kind], value, len(value))
        elif kind in _DICTS or kind is collections.defaultdict:
            self.mutable = True
            self._add(kind.__name__, str(len(value)).encode())
            if kind is collections.defaultdict:
                self._one(value.default_factory)
            for name, each in value.items():
                self._one(name)
                self._one(each)
        elif kind in _SETS:
            self.mutable |= kind is set
            self._set(kind.__name__, value)
        elif kind is bytearray:
            self.mutable = True
            self._add("bytearray", bytes(value))
        elif isinstance(value, (*_CALLABLES, types.ModuleType)):
            self._add("code", self.refer(value).encode())
        elif isinstance(value, enum.Enum):
            self._add("member", f"{self.refer(kind)} {value.name}".encode())
            self._one(value._value_)
        elif not self._wrapped(value, kind) and not self._plain(value, kind):
            self._object(value, kind)

    def _set(self, name: str, value: Any) -> None:
        parts = []
        for each in value:
            inner = Contents(self.refer)
            parts.append(inner.digest(each))
            self.mutable |= inner.mutable
        self._add(name, "".join(sorted(parts)).encode())

    def _wrapped(self, value: Any, kind: type) -> bool:
        """What holds functions: methods, partials, descriptors, memos."""
        if isinstance(value, types.MethodType):
            self._many("method", (value.__self__, value.__func__), 2)
        elif kind is functools.partial:
            self._many("partial", (value.func, value.args, value.keywords), 3)
        elif kind is functools.partialmethod:
            self._many("partialmethod", (value.func, value.args, value.keywords), 3)
        elif isinstance(value, staticmethod | classmethod):
            self._many(kind.__name__, (value.__func__,), 1)
        elif isinstance(value, property):
            self._many("property", (value.fget, value.fset, value.fdel), 3)
        elif isinstance(value, functools.cached_property):
            self._many("cached_property", (value.func,), 1)
        elif kind in _REDUCED:
            self._many(kind.__name__, value.__reduce__()[1], len(value.__reduce__()[1]))
        elif kind.__module__.partition(".")[0] == "tidemill" and isinstance(
            getattr(value, "function", None), types.FunctionType
        ):
            self._many("step", (value.function,), 1)
        elif kind.__name__ == "_lru_cache_wrapper":
            self._many("memo", (value.__wrapped__,), 1)
        elif kind.__module__.startswith("numba.") and hasattr(value, "py_func"):  # its compiler's options count too
            self._many("compiled", (value.py_func, getattr(value, "targetoptions", None)), 2)
        else:
            return False
        return True

    def _inside(self, value: Any) -> None:
        """What an instance holds as the builtin container or scalar that its class extends."""
        if isinstance(value, dict):
            self._many("dict", [part for pair in dict.items(value) for part in pair], len(value))
        elif isinstance(value, list):
            self._many("list", list(list.__iter__(value)), len(value))
        elif isinstance(value, tuple):
            self._many("tuple", list(tuple.__iter__(value)), len(value))
        elif isinstance(value, _SETS):
            self._set("set", list(value))
        elif isinstance(value, str):
            self._one(str.__str__(value))
        elif isinstance(value, bytes):
            self._one(bytes(bytearray(value)))
        elif isinstance(value, int):
            self._one(int.__int__(value))
        elif isinstance(value, float):
            self._one(float.__float__(value))

    def _plain(self, value: Any, kind: type) -> bool:
        """Values of known types, ours and of libraries that are loaded already."""
        if kind is object:
            self._add("object")  # a mark: it has no content but being itself
        elif isinstance(value, pathlib.PurePath):
            self._add("path", str(value).encode())
        elif kind is re.Pattern:
            self._add("pattern", f"{value.flags}".encode())
            self._one(value.pattern)
        elif isinstance(value, logging.Logger):
            self._add("logger", value.name.encode())
        elif kind.__module__ in ("typing", "types") or isinstance(value, typing.TypeVar | types.GenericAlias):
            if kind.__name__ in ("GeneratorType", "CoroutineType", "FrameType", "CodeType", "SimpleNamespace"):
                return False
            if "object at 0x" in repr(value):
                return False
            self._add("type", repr(value).encode())
        elif kind.__module__ == "zoneinfo":
            self._add("zone", str(value).encode())
        else:
            return self._table(value, kind)
        return True

    def _table(self, value: Any, kind: type) -> bool:
        """Arrays and tables."""
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.dtype):
            self._add("dtype", repr(value).encode())
            return True
        if numpy is not None and isinstance(value, numpy.generic) and not value.dtype.hasobject:
            self._add(f"scalar {value.dtype!r}", value.tobytes())
            return True
        if numpy is not None and kind is numpy.ndarray:
            self.mutable = True
            name = f"array {value.dtype!r} {value.shape}"
            if value.dtype.hasobject:
                self._many(name, value.ravel().tolist(), value.size)
            else:
                self._add(name, value.tobytes())
            return True
        found = arrow.encode(value)
        if found is None:
            return False
        self.mutable = True
        self._add(*found)
        return True

    def _object(self, value: Any, kind: type) -> None:
        """An instance whose class is written in Python: its class and its attributes."""
        if callable(value) and _is_there(value):  # of a C library: a ufunc, a compiled function
            self._add("code", self.refer(value).encode())
            return
        if not _has_state(kind):
            raise NoContent(f"is {_shown(value)}, which has no content to go by")
        self.mutable = True
        self._add("object", self.refer(kind).encode())
        self._inside(value)
        held = getattr(value, "__dict__", None) or {}
        for name in sorted(held):
            self._one(name)
            self._one(held[name])
        for part in kind.__mro__:
            for name, slot in sorted(vars(part).items()):
                if isinstance(slot, types.MemberDescriptorType) and hasattr(value, name):
                    self._one(name)
                    self._one(getattr(value, name))


def _is_there(value: Any) -> bool:
    """Whether its module has it under its name."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    numpy = sys.modules.get("numpy")
    ufunc = numpy is not None and isinstance(value, numpy.ufunc)
    module = numpy if ufunc else sys.modules.get(getattr(value, "__module__", None) or "")
    return module is not None and isinstance(name, str) and getattr(module, name, None) is value


def _has_state(kind: type) -> bool:
    """Whether all that an instance holds is in its attributes (and in a builtin container that it extends)."""
    if kind.__flags__ & (1 << 9) == 0:  # Py_TPFLAGS_HEAPTYPE: a class statement makes such types
        return False
    if issubclass(kind, weakref.ref | types.ModuleType | BaseException):
        return False
    base = next(
        each for each in kind.__mro__ if not each.__flags__ & (1 << 9)
    )  # the first that is not from a class statement
    if base not in (object, dict, list, tuple, set, frozenset, int, float, str, bytes):
        return False
    slots = sum(isinstance(each, _SLOT) for part in kind.__mro__ if part is not base for each in vars(part).values())
    return kind.__basicsize__ <= base.__basicsize__ + 8 * slots


def fingerprint(value: Any) -> bytes | None:
    """A quick digest of plain lists, dicts, tuples and scalars, for one process; None for any other value.

    Format 2 of marshal has no references: its bytes depend on content and order alone.
    """
    try:
        return hashlib.sha256(marshal.dumps(value, 2)).digest()
    except (ValueError, TypeError, RecursionError):
        return None


def readable(value: Any) -> str | None:
    """A number or flag as it reads, for people who ask why; None for all else: a text may be a secret."""
    if type(value) in (int, float, bool, type(None)) and len(text := repr(value)) <= 40:
        return f"= {text}"
    return None


def _shown(value: Any) -> str:
    return f"a {type(value).__module__}.{type(value).__qualname__}".replace("a builtins.", "a ")


__all__ = ["Contents", "NoContent", "Refer", "fingerprint", "readable"]
