"""The trace or experiment that a request names, or MLflow's word that it is not there."""

from __future__ import annotations

from typing import Any

import msgspec

from tidemill.api.mlflow.errors import Told
from tidemill.core.errors import NotFound
from tidemill.core.graphs.committing import Operation
from tidemill.core.workspace import Workspace
from tidemill.track.tracing import traces


class ById(msgspec.Struct):
    """A trace by its id, in the path or the query."""

    trace_id: str | None = None
    request_id: str | None = None
    allow_partial: bool = False


def known_experiment(change: Operation[Any], place: int) -> Operation[Any]:
    """The operation, its NotFound in MLflow's words."""

    def operation(now: Any) -> Any:
        try:
            return change(now)
        except NotFound:
            raise Told("RESOURCE_DOES_NOT_EXIST", f"No Experiment with id={place} exists") from None

    return operation


def read(ws: Workspace, trace_id: str) -> dict[str, Any]:
    """The state of a trace."""
    try:
        return traces.get(ws, trace_id)
    except NotFound:
        raise Told("RESOURCE_DOES_NOT_EXIST", f"Trace with ID '{trace_id}' not found.") from None
