"""Whose a piece of code is: the user's own, which is read; or a distribution's, which is known by its version.

A file belongs to the distribution whose RECORD names it (PyPA, Recording installed projects). The names of the
`*.dist-info` folders hold the versions, so no metadata is parsed: asking importlib.metadata for all packages takes
300 ms where 160 are installed, this takes a few for the first package and less than one for each more.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import sysconfig
from difflib import SequenceMatcher
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

_STDLIB = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib")})
_OURS = str(Path(__file__).resolve().parents[2]) + "/"
_SITES = ("site-packages", "dist-packages")


class Package(NamedTuple):
    """A distribution and its version; "python" for the standard library."""

    name: str
    version: str


PYTHON = Package("python", sys.version.split()[0])
TIDEMILL = Package("tidemill", str(vars(sys.modules["tidemill"])["__version__"]))


@lru_cache(maxsize=10_000)
def of_file(filename: str) -> Package | None:
    """The package that a file belongs to; None where it is the user's own."""
    if filename.startswith("<frozen"):
        return PYTHON
    if filename.startswith("<"):
        return None
    path = Path(filename).resolve()
    if str(path).startswith(_OURS):
        return TIDEMILL
    for place, part in enumerate(path.parts):
        if part in _SITES:
            return _recorded(Path(*path.parts[: place + 1]), "/".join(path.parts[place + 1 :]))
    return PYTHON if str(path).startswith(_STDLIB) else None


def of_module(module: ModuleType) -> Package | None:
    """The package of a module; None where it is the user's own."""
    file = getattr(module, "__file__", None)
    if file is not None:
        return of_file(file)
    name = module.__name__
    if name.partition(".")[0] in sys.stdlib_module_names and name != "__main__":
        return PYTHON
    if name == "__main__":
        return None
    for folder in getattr(module, "__path__", ()):  # a namespace package: any of its parts may be the user's
        found = of_file(f"{folder}/__init__.py") or of_named(name)
        if found is not None:
            return found
    return None


@cache
def of_named(name: str) -> Package | None:
    """The package of a module of that name, loaded or not; None for the user's own, and for what is not there."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return PYTHON
    module = sys.modules.get(name) or sys.modules.get(top)
    if module is not None and getattr(module, "__file__", None):
        return of_file(str(module.__file__))
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.origin is None or not spec.has_location:
        return PYTHON if spec.origin in ("built-in", "frozen") else None
    return of_file(spec.origin)


def of_object(thing: Any) -> Package | None:  # Any: anything that may say which module it is of
    """The package of a class, a builtin function or another thing with a `__module__`."""
    name = getattr(thing, "__module__", None)
    if not isinstance(name, str):
        return PYTHON  # builtins without a module: methods of str, list ...
    module = sys.modules.get(name)
    return of_named(name) if module is None else of_module(module)


@lru_cache(maxsize=1000)
def _recorded(site: Path, file: str) -> Package | None:
    """The distribution in that folder which has the file; None where none has: somebody put it there by hand."""
    top = re.split(r"[/.]", file, maxsplit=1)[0]
    first = _plain(top)
    line = f"{file},".encode()
    for folder in sorted(_dist_infos(str(site)), key=lambda each: -_alike(first, each.name.partition("-")[0])):
        record = _record(folder / "RECORD")
        if record.startswith(line) or b"\n" + line in record:
            name, _, version = folder.name.removesuffix(".dist-info").partition("-")
            return Package(name, version)
    return _by_metadata(top)


@lru_cache(maxsize=20)
def _dist_infos(site: str) -> tuple[Path, ...]:
    return tuple(sorted(Path(site).glob("*.dist-info")))


@lru_cache(maxsize=2000)
def _record(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _by_metadata(top: str) -> Package | None:
    """For what has no RECORD: packages of the system, old eggs."""
    from importlib.metadata import packages_distributions, version

    owners = packages_distributions().get(top)
    return Package(owners[0], version(owners[0])) if owners else None


def _alike(first: str, name: str) -> float:
    """1 where they are equal; the likely ones are looked into first: scikit_learn for sklearn."""
    return SequenceMatcher(None, first, _plain(name), autojunk=False).ratio()


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()
