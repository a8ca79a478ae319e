"""What a route is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tidemill.core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. path: after the prefix; what it has in braces is a field of the request too. takes: the struct that
    its request is read into.

    answer(workspace, request): a JSON value or a response; for one that writes, a future of it, or a function without
    arguments that is called in a thread.
    """

    path: str
    methods: tuple[str, ...]
    takes: type[Any]
    answer: Callable[[Workspace, Any], Any]
    writes: bool
