"""What changes executions and schedules over HTTP, and the one door for webhooks, which have tokens of their own."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import Body, FastAPI, Request
from starlette.concurrency import run_in_threadpool

from tidemill.api import views
from tidemill.api.auth import has_own_token, may_write, shown
from tidemill.api.views.shaping import Shown
from tidemill.core.errors import BadInput
from tidemill.project import Project

Text = Annotated[str, Body(embed=True, max_length=2000)]
Named = Annotated[str | None, Body(embed=True, max_length=2000)]
Flag = Annotated[bool, Body(embed=True)]


def add_writes(app: FastAPI, project: Project, prefix: str) -> None:
    """Add the routes: under `prefix` those that need the workspace's token, and POST /hooks/NAME."""

    def answer(run_id: str, yes: Flag, approval: Named = None, note: Text = "") -> Shown:
        return views.answer(project, run_id, yes=yes, approval=approval, note=note)

    def cancel(run_id: str) -> Shown:
        return views.cancel(project, run_id)

    def again(run_id: str, node: Named = None) -> Shown:
        return views.again(project, run_id, node=node)

    def pause(name: str, on: Flag = True) -> Shown:
        return views.pause(project, name, on=on)

    async def hook(request: Request, name: str) -> Shown:
        delivery = request.headers.get("idempotency-key")
        body = await _json(request)
        return await run_in_threadpool(views.call_hook, project, name, shown(request), body, delivery=delivery)

    for path, call in (
        ("/pipelines/{run_id}/answer", answer),
        ("/pipelines/{run_id}/cancel", cancel),
        ("/pipelines/{run_id}/again", again),
        ("/schedules/{name}/pause", pause),
    ):
        app.add_api_route(prefix + path, call, methods=["POST"], dependencies=[may_write])
    app.add_api_route("/hooks/{name}", hook, methods=["POST"], dependencies=[has_own_token], status_code=202)


async def _json(request: Request) -> object:
    """The body as JSON, None where there is none; BadInput where it is something else."""
    body = await request.body()
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the body of a call of a webhook is no JSON: {error}") from error
