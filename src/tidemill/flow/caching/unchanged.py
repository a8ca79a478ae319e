"""Whether all that a key was made of is as it was: what lets 5,000 calls of one step be keyed in microseconds each."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

from tidemill.flow.caching import modules, origins
from tidemill.flow.caching.contents import Contents, NoContent, fingerprint

MISSING: Any = object()


class Watch:
    """What must be as it was for a walk to hold: names and what they stand for by identity, values by content."""

    def __init__(self) -> None:
        self.names: list[tuple[Mapping[str, Any], str, Any]] = []
        self.cells: list[tuple[Any, Any]] = []
        self.functions: list[tuple[FunctionType, Any, Any, Any]] = []
        self.classes: list[tuple[type, dict[str, Any]]] = []
        self.contents: list[tuple[Any, str, bytes | None]] = []
        self.environ: list[tuple[str, str | None]] = []
        self.absent: list[str] = []
        self.labels: dict[int, str] = {}
        self.kept: list[Any] = []

    def holds(self) -> bool:
        """Whether nothing changed."""
        for scope, name, value in self.names:
            if scope.get(name, MISSING) is not value:
                return False
        for cell, value in self.cells:
            if in_cell(cell) is not value:
                return False
        for function, code, defaults, words in self.functions:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                return False
            if function.__kwdefaults__ is not words:
                return False
        for kind, had in self.classes:
            now = vars(kind)
            if len(now) != len(had) or any(now.get(name, MISSING) is not had[name] for name in had):
                return False
        if any(os.environ.get(name) != had for name, had in self.environ):
            return False
        if any(name in sys.modules for name in self.absent):
            return False
        return all(self._same(*each) for each in self.contents)

    def _same(self, value: Any, had: str, quick: bytes | None) -> bool:
        if quick is not None:
            return fingerprint(value) == quick
        try:
            return Contents(self._known).digest(value) == had
        except (NoContent, RecursionError):
            return False

    def _known(self, thing: Any) -> str:
        label = self.labels.get(id(thing))
        if label is not None:
            return label
        if isinstance(thing, type | ModuleType):
            package = origins.of_module(thing) if isinstance(thing, ModuleType) else origins.of_object(thing)
            if package is not None:
                name = thing.__name__ if isinstance(thing, ModuleType) else modules.qualified(thing)
                return (
                    f"module {name} of {package.name}" if isinstance(thing, ModuleType) else f"{name} of {package.name}"
                )
        if isinstance(thing, FunctionType):
            package = origins.of_file(thing.__code__.co_filename)
            if package is not None:
                return f"{modules.qualified(thing)} of {package.name}"
        raise NoContent("is new")


def in_cell(cell: Any) -> Any:
    """What a closure's cell holds, MISSING while it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING
