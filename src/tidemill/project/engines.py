"""Engines by their address: "here", "pool", "pool://4", "ray", "ray://head:6379"; or one that is open already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tidemill.core import extend
from tidemill.core.engine import Engine


@contextmanager
def opened(engine: str | Engine) -> Iterator[Engine]:
    """The engine for the body; one opened by its address is closed afterwards. Raises BadInput, MissingExtra."""
    if not isinstance(engine, str):
        yield engine
        return
    made: Engine = extend.load("engine", engine.partition("://")[0])(engine)
    try:
        yield made
    finally:
        made.close()
