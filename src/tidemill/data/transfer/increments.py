"""How far an incremental import has come: the largest value of a column, kept in the record of the version it made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from tidemill.core.ids import iso, parse_time
from tidemill.core.types import Artifact, DatasetVersion
from tidemill.core.workspace import Workspace


def remembered(ws: Workspace, version: DatasetVersion | None, column: str) -> Any:
    """The largest value of the incremental column that was imported into what this version holds; None for none."""
    while version is not None:
        meta = version.artifact.meta
        found = meta.get("incremental")
        if found is not None and found["column"] == column:
            return _from_json(found)
        if meta.get("step") == "replace":
            return None
        before = meta.get("reverted_to") or meta.get("parent")
        artifact = None if before is None else ws.graph.get(str(before))
        version = DatasetVersion(artifact) if isinstance(artifact, Artifact) else None
    return None


def as_json(value: Any) -> dict[str, Any]:
    """A value as JSON: times as ISO text, decimals as text, with the type that it has."""
    if isinstance(value, datetime):
        return {
            "largest": iso(value) if value.tzinfo else value.isoformat(),
            "type": "time" if value.tzinfo else "zoneless",
        }
    if isinstance(value, date):
        return {"largest": value.isoformat(), "type": "date"}
    return {"largest": str(value), "type": "decimal"} if isinstance(value, Decimal) else {"largest": value}


def _from_json(found: Mapping[str, Any]) -> Any:
    value = found["largest"]
    reading: dict[str, Callable[[str], Any]] = {
        "time": parse_time,
        "zoneless": datetime.fromisoformat,
        "date": date.fromisoformat,
        "decimal": Decimal,
    }
    return reading[str(found["type"])](str(value)) if "type" in found else value
