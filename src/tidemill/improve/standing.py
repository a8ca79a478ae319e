"""How deployments stand: traffic, performance, what the loop decided; as JSON values for the faces."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tidemill.core.ids import iso
from tidemill.core.types import Traffic
from tidemill.core.workspace import Workspace
from tidemill.improve import loop
from tidemill.serve import deploy
from tidemill.watch import performance
from tidemill.watch.alerts import alerts

Json = dict[str, Any]  # Any: JSON values


def deployments(ws: Workspace) -> list[Json]:
    """A line each: revisions and traffic."""
    return [
        {"name": newest.name, "revisions": newest.revision, **asdict(deploy.traffic(ws, newest.name))}
        for newest in deploy.deployments(ws)
    ]


def deployment(ws: Workspace, name: str) -> Json:
    """One deployment: traffic now and before, revisions, performance by month, the loop's decisions, its alerts."""
    traffic = deploy.traffic(ws, name)
    server = deploy.connect(ws, name)
    revisions = [
        {"revision": each.revision, "model": each.model_id, **dict(each.artifact.meta)}
        for each in deploy.revisions(ws, name)
    ]
    moves = [
        {"at": event.body["at"], "why": event.body["why"], "actor": event.actor, **asdict(Traffic.of(event.body))}
        for event in ws.graph.events(f"deployment/{name}", kind="traffic")
    ]
    return {
        "name": name,
        "traffic": asdict(traffic),
        "url": None if server is None else server.url,
        "revisions": revisions,
        "moves": moves,
        "performance": performance.monthly(ws, name),
        "decisions": [
            {"kind": each.kind, "at": iso(each.at), "text": each.text, "evidence": dict(each.evidence)}
            for each in loop.decisions(ws, name)
        ],
        "alerts": [{"at": iso(each.at), "what": each.what, "text": each.text} for each in alerts(ws, name)],
    }
