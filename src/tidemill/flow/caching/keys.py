"""The key of a step's call: equal keys mean equal results, so what was computed under the key before is taken.

It is a digest of named parts: the normalised syntax tree of the step and of all code of the user that it reaches; the
values that it finds (globals, defaults, closures), the versions of the distributions imported, the content of the
inputs, the parameters, environment variables and files that were declared. Comments, formatting, docstrings and
annotations do not change it. Where something cannot be followed there is no key, but a reason.

What no key can see: files, networks, clocks and random numbers that code reads without their being declared. A step
that does is declared cache=False, or gets the content as an input.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple

from tidemill.core.errors import BadInput
from tidemill.core.ids import file_digest, json_digest
from tidemill.flow.caching import syntax
from tidemill.flow.caching.contents import Contents, NoContent, readable
from tidemill.flow.caching.reach import Reach, variable

FORMAT = 1  # of keys: another one whenever the same parts would be digested otherwise
KEPT = 1000
RACY_S = 2.0  # a file changed so recently may change again without its times telling


class Keyed(NamedTuple):
    """A key, or the reason why there is none. parts: what it is made of, by name. text: the source of the code reached.
    code: the digest of what the function reaches; whoever makes the call must have the same, or the key is not its.

    Parts: "code clean", "helper mod.f", "class mod.C", "global mod.RATE", "package numpy", "module mod", "input rows",
    "parameter floor", "environment LANG", "extra words.txt". Numbers and versions as they read, all else as digests.
    """

    key: str | None
    parts: Mapping[str, str]
    reason: str | None
    text: str
    code: str = ""


class Code(NamedTuple):
    """The code that a function reaches: a digest, and the source text for people."""

    digest: str
    text: str


class Reached(NamedTuple):
    """What a function's result depends on besides its arguments. digest: of the parts."""

    digest: str
    parts: Mapping[str, str]
    reason: str | None
    text: str


def step_key(
    function: Callable[..., Any],
    *,
    inputs: Mapping[str, str],
    params: Mapping[str, Any],
    env: Iterable[str] = (),
    extras: Mapping[str, Path] | None = None,
) -> Keyed:
    """The key of a call of that function.

    inputs: digests of contents by argument. params: other arguments, plain values. env: names of environment variables
    that count. extras: files or folders whose content counts, by name. The first key of a function takes milliseconds,
    each more some ten microseconds, while nothing that it depends on changed.
    """
    names = tuple(sorted(env))
    found = reached(function, env=names)
    given: dict[str, str] = {f"input {name}": each for name, each in inputs.items()}
    reason = found.reason
    for name, value in params.items():
        try:
            given[f"parameter {name}"] = _parameter(value)
        except NoContent as error:
            reason = reason or f"parameter {name} {error}"
    for name in names:
        given[f"environment {name}"] = variable(os.environ.get(name))
    for name, path in (extras or {}).items():
        try:
            given[f"extra {name}"] = _file(Path(path))
        except OSError as error:
            reason = reason or f"extra {name}: {error.strerror or error}: {path}"
    parts = {**found.parts, **given}
    key = None if reason else json_digest([FORMAT, found.digest, given])
    return Keyed(key, parts, reason, found.text, found.digest)


def reached(function: Callable[..., Any], *, env: Iterable[str] = ()) -> Reached:
    """What the function depends on besides its arguments, as this process has it now.

    A worker that gets another digest than the process that made the key runs other code, or under other values.
    """
    names = frozenset(env)
    name = (id(function), names)
    with _lock:
        known = _known.get(name)
        if known is not None:
            _known.move_to_end(name)
    if known is None or known.function is not function or not known.reach.watch.holds():
        known = _Known(function, names)
        with _lock:
            _known[name] = known
            _known.move_to_end(name)
            while len(_known) > KEPT:
                _known.popitem(last=False)
    return known.reached


def code_of(function: Callable[..., Any]) -> Code:
    """The code of a function and of all that it reaches; what cannot be followed counts as it is called.

    Raises BadInput for a function without readable source (a builtin, or typed at a prompt).
    """
    inner = function.func if isinstance(function, partial) else getattr(function, "__func__", function)
    inner = getattr(inner, "function", inner)
    if not isinstance(inner, FunctionType) and (isinstance(function, BuiltinFunctionType) or not callable(inner)):
        raise BadInput(f"{function!r} is no plain Python function; its code cannot be digested. Wrap it in a def")
    if isinstance(inner, FunctionType) and syntax.file_of(inner.__code__.co_filename, inner.__globals__) is None:
        name = f"{inner.__module__}.{inner.__qualname__}"
        raise BadInput(f"no source text for {name}; put it in a .py file, so that its code can be recorded")
    found = reached(function)
    return Code(found.digest, found.text)


class _Known:
    """A walk that was done. It keeps the function, so that no other one gets its id."""

    def __init__(self, function: Any, env: frozenset[str]) -> None:
        self.function = function
        self.reach = Reach(function, env)
        reasons = list(dict.fromkeys(self.reach.reasons))
        more = f"; and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        reason = f"{reasons[0]}{more}" if reasons else None
        self.reached = Reached(self.reach.digest, self.reach.parts, reason, "\n\n".join(self.reach.texts))


_known: OrderedDict[tuple[int, frozenset[str]], _Known] = OrderedDict()
_files: dict[tuple[str, int, int, int, int], str] = {}
_lock = threading.RLock()


def _parameter(value: Any) -> str:
    return readable(value) or Contents(_no_code).digest(value)


def _no_code(thing: Any) -> str:
    raise NoContent(f"holds {getattr(thing, '__qualname__', thing)!r}; give code to a step by importing it there")


def _file(path: Path) -> str:
    """The digest of a file's content, or of a folder's paths and contents."""
    if path.is_dir():
        inside = sorted(each for each in path.rglob("*") if each.is_file())
        return json_digest([[each.relative_to(path).as_posix(), _file(each)] for each in inside])
    had = path.stat()
    name = (str(path.resolve()), had.st_ino, had.st_size, had.st_mtime_ns, had.st_ctime_ns)
    if name in _files:
        return _files[name]
    found = file_digest(path)
    if time.time() - max(had.st_mtime, had.st_ctime) > RACY_S:
        _files[name] = found
    return found


__all__ = ["Code", "Keyed", "Reached", "code_of", "reached", "step_key"]
