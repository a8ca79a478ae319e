"""Running an execution once more from one of its nodes: queued with the same parameters, the rest from the cache."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from tidemill.core.errors import NotFound, nearest
from tidemill.core.types import Run
from tidemill.core.workspace import Workspace
from tidemill.flow import entries, states
from tidemill.flow.scheduling import queues


def again(ws: Workspace, run_id: str, *, fresh: Collection[str] = (), queue: str | None = None) -> Run:
    """Queue another execution of the same pipeline with the same parameters; a scheduler (`tidemill up`) runs it.

    fresh: nodes ("plus#2", or "plus" for all of a map) to compute anew with all that follows from them. queue: default,
    that of the one before. Raises NotFound for an unknown execution or node, BadInput where the pipeline cannot be
    found by others.
    """
    state = states.read(ws, run_id)
    known = {each.node for each in state.nodes}
    known |= {node.rpartition("[")[0] for node in known if node.endswith("]")}
    for node in fresh:
        if node not in known:
            raise NotFound(f"execution {state.run.id} has no node {node!r}.{nearest(node, sorted(known))}")
    tags = state.run.tags
    return queues.submit(
        ws,
        state.run.name,
        entries.of_run(state.run),
        params=state.run.params,
        queue=queue or tags.get("queue", queues.DEFAULT),
        trigger="again",
        engine=tags.get("engine", ""),
        tags={"again_of": state.run.id, **({"fresh": json.dumps(sorted(fresh))} if fresh else {})},
        folder=Path(tags["folder"]) if "folder" in tags else None,
    )
